//! Settings that differ from machine to machine, from environment variables.

use std::str::FromStr;
use std::time::Duration;

use crate::Failure;

/// The settings of a server or a worker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `DATABASE_URL`, or the content of the file that `DATABASE_URL_FILE` names: where PostgreSQL is.
    pub database: String,
    /// `FLEET_LISTEN`: where the server listens. 127.0.0.1:8080 by default.
    pub listen: String,
    /// `FLEET_METRICS`: where a worker shows its figures. Nowhere by default.
    pub metrics: Option<String>,
    /// `FLEET_WORKERS`: how many jobs a worker does at a time. As many as there are processors by default.
    pub workers: usize,
    /// `FLEET_HEARTBEAT`, in seconds: how often a worker says that it is alive. 5 by default. A worker that
    /// has not done so twelve times is taken for dead, and others take its jobs.
    pub heartbeat: Duration,
    /// `FLEET_UPLOAD_TIME`, in seconds: how long the server waits for the whole of an upload. 60 by default.
    pub upload_time: Duration,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// If a variable is missing, or has a value that makes no sense. The error names it.
    pub fn from_environment() -> Result<Self, Failure> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            database: database()?,
            listen: variable("FLEET_LISTEN").unwrap_or_else(|| "127.0.0.1:8080".to_owned()),
            metrics: variable("FLEET_METRICS"),
            workers: number("FLEET_WORKERS", processors)?.max(1),
            heartbeat: Duration::from_secs(number("FLEET_HEARTBEAT", 5)?.max(1)),
            upload_time: Duration::from_secs(number("FLEET_UPLOAD_TIME", 60)?.max(1)),
        })
    }
}

fn database() -> Result<String, Failure> {
    match (variable("DATABASE_URL"), variable("DATABASE_URL_FILE")) {
        (Some(url), _) => Ok(url),
        (None, Some(file)) => match std::fs::read_to_string(&file) {
            Ok(url) => Ok(url.trim().to_owned()),
            Err(error) => Err(format!("{file}, which DATABASE_URL_FILE names: {error}").into()),
        },
        (None, None) => Err(
            "DATABASE_URL is not set, nor DATABASE_URL_FILE: one of them says where PostgreSQL is, as in \
             postgres://user@host/database"
                .into(),
        ),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number<T: FromStr>(name: &str, default: T) -> Result<T, Failure> {
    match variable(name) {
        None => Ok(default),
        Some(value) => value.parse().map_err(|_| {
            format!("{name} is `{value}`, which is not a number that makes sense").into()
        }),
    }
}
