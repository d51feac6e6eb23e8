//! The service: a page, and pictures for uploads.

use std::time::Duration;

use axum::Router;
use axum::extract::multipart::MultipartError;
use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use crossmist::{Error, Pool};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::error::Overloaded;
use tower::{BoxError, ServiceBuilder, ServiceExt};

/// Renders a picture in a process that waits for one.
pub type Renderer = Pool<(Vec<u8>,), Result<Vec<u8>, String>>;

/// The longest upload.
const UPLOAD_BYTES: usize = 2 << 20;

/// How many requests are read at a time. The others wait.
const REQUESTS: usize = 256;

/// How long a client may take for an upload.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whatever a response holds, a browser takes it for what it is said to be, and runs nothing but this program's
/// script.
const RULES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' blob:; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Returns the service.
pub fn app(renderer: Renderer) -> Router {
    let file = |kind, text: &'static str| get(async move || answer(StatusCode::OK, kind, text));
    let (page, sample) = (
        include_str!("page/index.html"),
        include_str!("../samples/hills.svg"),
    );
    let (style, script) = (include_str!("page/page.css"), include_str!("page/page.js"));
    Router::new()
        .route("/", file(HTML, page))
        .route("/page.css", file("text/css", style))
        .route("/page.js", file("text/javascript", script))
        .route("/sample.svg", file("image/svg+xml", sample))
        .route("/render", post(upload))
        .layer(DefaultBodyLimit::disable())
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS))
        .with_state(renderer)
}

/// Answers a form, whose first field is a picture, with that picture as PNG.
async fn upload(State(renderer): State<Renderer>, form: Multipart) -> Response {
    let svg = match tokio::time::timeout(PATIENCE, receive(form)).await {
        Ok(Ok(svg)) if svg.len() > UPLOAD_BYTES => {
            return answer(
                StatusCode::PAYLOAD_TOO_LARGE,
                TEXT,
                "This file is too long.",
            );
        }
        Ok(Ok(svg)) => svg,
        Ok(Err(error)) => return answer(error.status(), TEXT, error.body_text()),
        Err(_) => {
            return answer(
                StatusCode::REQUEST_TIMEOUT,
                TEXT,
                "The upload took too long.",
            );
        }
    };
    // Readiness is a free worker. If there is none, nobody waits.
    let renderer = ServiceBuilder::new().load_shed().service(renderer);
    match renderer.oneshot(svg).await {
        Ok(Ok(png)) => answer(StatusCode::OK, "image/png", png),
        Ok(Err(reason)) => {
            let text = format!("This is no picture: {reason}.");
            answer(StatusCode::UNPROCESSABLE_ENTITY, TEXT, text)
        }
        Err(error) => refuse(&error),
    }
}

/// Receives the first field. Of what is too long, the rest is read and dropped: a client hears its answer only once it
/// has sent everything.
async fn receive(mut form: Multipart) -> Result<Vec<u8>, MultipartError> {
    let mut svg = Vec::new();
    if let Some(mut field) = form.next_field().await? {
        while let Some(chunk) = field.chunk().await? {
            if svg.len() <= UPLOAD_BYTES {
                svg.extend_from_slice(&chunk);
            }
        }
    }
    Ok(svg)
}

/// Answers a call that failed.
fn refuse(error: &BoxError) -> Response {
    if error.is::<Overloaded>() {
        let text = "All workers are busy. Try again in a second.";
        let busy = answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, text);
        return ([(RETRY_AFTER, "1")], busy).into_response();
    }
    // The details are for whoever runs the service.
    eprintln!("{error}");
    let text = match error.downcast_ref() {
        Some(Error::Deadline { .. } | Error::Limit { .. }) => {
            "This picture takes too much time or memory."
        }
        Some(Error::Panicked(_) | Error::Signalled { .. } | Error::Violation(_)) => {
            "This picture brought the renderer down."
        }
        _ => {
            let text = "The renderer does not work.";
            return answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text);
        }
    };
    answer(StatusCode::UNPROCESSABLE_ENTITY, TEXT, text)
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
