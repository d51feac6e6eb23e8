//! The web service: takes pictures, and shows what has become of them.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Multipart, Path, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use sqlx::PgPool;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::{Failure, page, queue, store};

/// The longest picture, and the longest upload.
const PICTURE_BYTES: usize = 8 << 20;
const UPLOAD_BYTES: usize = 32 << 20;

/// How many requests are read at a time. The others wait.
const REQUESTS: usize = 64;

/// How many pictures the page shows.
const SHOWN: i64 = 60;

/// Whatever a response holds, a browser takes it for what it is said to be, and runs no script.
const RULES: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'";

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Returns the service.
pub fn app(database: PgPool) -> Router {
    let style = include_str!("page/page.css");
    Router::new()
        .route("/", get(index))
        .route(
            "/page.css",
            get(async move || answer(StatusCode::OK, "text/css", style)),
        )
        .route("/pictures", post(upload))
        .route("/pictures/{id}", get(picture))
        .route("/pictures/{id}/thumbnail", get(thumbnail))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .layer(DefaultBodyLimit::max(UPLOAD_BYTES))
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS))
        .with_state(database)
}

async fn index(State(database): State<PgPool>) -> Result<Response, Refusal> {
    let counts = store::counts(&database).await?;
    let pictures = store::latest(&database, SHOWN).await?;
    let page = page::index(counts, &pictures);
    Ok(answer(StatusCode::OK, HTML, page.into_string()))
}

/// Stores the pictures of a form with their jobs, and leads back to the page.
async fn upload(State(database): State<PgPool>, mut form: Multipart) -> Result<Response, Refusal> {
    let mut pictures = Vec::new();
    while let Some(field) = form.next_field().await? {
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
            let text = "A picture may have 8 MiB.";
            return Ok(answer(StatusCode::PAYLOAD_TOO_LARGE, TEXT, text));
        }
        // A form without a file has an empty one.
        if !content.is_empty() {
            pictures.push((name, content));
        }
    }
    if pictures.is_empty() {
        let text = "Choose a picture first.";
        return Ok(answer(StatusCode::UNPROCESSABLE_ENTITY, TEXT, text));
    }
    queue::submit(&database, &pictures).await?;
    Ok(Redirect::to("/").into_response())
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
