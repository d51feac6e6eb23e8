//! The web service: takes pictures, and shows what has become of them.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRef, Multipart, Path, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use sqlx::PgPool;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::settings::Settings;
use crate::thumbnail::PICTURE_BYTES;
use crate::{Failure, page, queue, store};

/// The longest upload, and the most parts of one. Each part may be a picture, which takes a statement of its own.
const UPLOAD_BYTES: usize = 32 << 20;
const PARTS: usize = 100;

/// How many uploads are read at a time. The others wait.
const UPLOADS: usize = 16;

/// How many pictures the page shows.
const SHOWN: i64 = 60;

/// Whatever a response holds, a browser takes it for what it is said to be, and runs no script.
const RULES: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'";

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The state that requests share.
#[derive(Clone, Debug)]
struct Service {
    database: PgPool,
    /// How long an upload may take until it is here.
    upload_time: Duration,
}

impl FromRef<Service> for PgPool {
    fn from_ref(service: &Service) -> Self {
        service.database.clone()
    }
}

/// Returns the service.
pub fn app(database: PgPool, settings: &Settings) -> Router {
    // Uploads hold memory, for as long as the client likes to take. Nothing else waits for them.
    let uploads = Router::new()
        .route("/pictures", post(upload))
        .layer(DefaultBodyLimit::max(UPLOAD_BYTES))
        .layer(GlobalConcurrencyLimitLayer::new(UPLOADS));
    let style = include_str!("page/page.css");
    Router::new()
        .route("/", get(index))
        .route(
            "/page.css",
            get(async move || answer(StatusCode::OK, "text/css", style)),
        )
        .route("/pictures/{id}", get(picture))
        .route("/pictures/{id}/thumbnail", get(thumbnail))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .merge(uploads)
        .with_state(Service {
            database,
            upload_time: settings.upload_time,
        })
}

async fn index(State(database): State<PgPool>) -> Result<Response, Refusal> {
    let counts = store::counts(&database).await?;
    let pictures = store::latest(&database, SHOWN).await?;
    let page = page::index(counts, &pictures);
    Ok(answer(StatusCode::OK, HTML, page.into_string()))
}

/// Stores the pictures of a form with their jobs, and leads back to the page.
async fn upload(State(service): State<Service>, form: Multipart) -> Result<Response, Refusal> {
    let pictures = tokio::time::timeout(service.upload_time, read(form))
        .await
        .map_err(|_| Refusal::Slow)??;
    if pictures.is_empty() {
        return Err(Refusal::Empty);
    }
    queue::submit(&service.database, &pictures).await?;
    Ok(Redirect::to("/").into_response())
}

/// Reads the pictures of a form, and their names.
async fn read(mut form: Multipart) -> Result<Vec<(String, Bytes)>, Refusal> {
    let mut pictures = Vec::new();
    let mut parts = 0;
    while let Some(field) = form.next_field().await? {
        parts += 1;
        if parts > PARTS {
            return Err(Refusal::Parts);
        }
        let name: String = field
            .file_name()
            .unwrap_or("picture")
            .chars()
            .take(100)
            .collect();
        // PostgreSQL has no text with it.
        let name = name.replace('\0', "");
        let content = field.bytes().await?;
        if content.len() > PICTURE_BYTES {
            return Err(Refusal::Long);
        }
        // A form without a file has an empty one.
        if !content.is_empty() {
            pictures.push((name, content));
        }
    }
    Ok(pictures)
}

async fn picture(
    State(database): State<PgPool>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let Some(picture) = store::picture(&database, &id).await? else {
        let text = "There is no such picture.";
        return Ok(answer(StatusCode::NOT_FOUND, TEXT, text));
    };
    let report = store::report(&database, &id).await?;
    let page = page::picture(&picture, report.as_deref());
    Ok(answer(StatusCode::OK, HTML, page.into_string()))
}

async fn thumbnail(
    State(database): State<PgPool>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    Ok(match store::thumbnail(&database, &id).await? {
        Some(png) => answer(StatusCode::OK, "image/png", png),
        None => answer(StatusCode::NOT_FOUND, TEXT, "There is no such thumbnail."),
    })
}

/// Says whether the service can do its work, to whoever sends it requests.
async fn ready(State(database): State<PgPool>) -> Result<Response, Refusal> {
    sqlx::query("SELECT 1").execute(&database).await?;
    Ok(answer(StatusCode::OK, TEXT, "ok"))
}

fn answer(status: StatusCode, kind: &'static str, content: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, RULES),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, content).into_response()
}

/// Why a request was not answered as it should have been.
enum Refusal {
    Empty,
    Long,
    Parts,
    Slow,
    Form(axum::extract::multipart::MultipartError),
    Database(Failure),
}

impl From<axum::extract::multipart::MultipartError> for Refusal {
    fn from(error: axum::extract::multipart::MultipartError) -> Self {
        Self::Form(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Failure> for Refusal {
    fn from(error: Failure) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Empty => {
                let text = "Choose a picture first.";
                answer(StatusCode::UNPROCESSABLE_ENTITY, TEXT, text)
            }
            Self::Long => {
                let text = "A picture may have 8 MiB.";
                answer(StatusCode::PAYLOAD_TOO_LARGE, TEXT, text)
            }
            Self::Parts => {
                let text = format!("Upload {PARTS} pictures at a time at most.");
                answer(StatusCode::PAYLOAD_TOO_LARGE, TEXT, text)
            }
            Self::Slow => {
                let text = "The upload took too long. Try fewer pictures at a time.";
                answer(StatusCode::REQUEST_TIMEOUT, TEXT, text)
            }
            Self::Form(error) => answer(error.status(), TEXT, error.body_text()),
            Self::Database(error) => {
                // The details are for whoever runs the service.
                eprintln!("{error}");
                let text = "The database does not answer. Try again in a moment.";
                answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
            }
        }
    }
}
