//! Pictures, results and failures in PostgreSQL.
//!
//! A job may be delivered more than once, since a worker can die after it has stored a result and before the
//! queue knows. So it is the statement that sets a picture's final state which happens once: it changes
//! pictures that wait, and no others.

use std::time::Duration;

use apalis_postgres::PostgresStorage;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, FromRow};

use crate::Failure;
use crate::settings::Settings;

/// Connects to the database, which may still be starting.
///
/// # Errors
///
/// If it cannot be reached for half a minute.
pub async fn connect(settings: &Settings) -> Result<PgPool, Failure> {
    let connections = u32::try_from(settings.workers.saturating_add(4))?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(30))
        .connect(&settings.database)
        .await?;
    Ok(pool)
}

/// Creates the tables, if they are not there.
///
/// # Errors
///
/// If the database refuses that.
pub async fn set_up(database: &PgPool) -> Result<(), Failure> {
    PostgresStorage::setup(database).await?;
    let mut transaction = database.begin().await?;
    // Servers and workers start at the same moment.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('crossmist-fleet'))")
        .execute(&mut *transaction)
        .await?;
    // Only once: some of the statements lock tables and wait for whoever writes into them, even if they find
    // nothing to do. The last table is there if everything is.
    let is_set_up: bool = sqlx::query_scalar("SELECT to_regclass('failures') IS NOT NULL")
        .fetch_one(&mut *transaction)
        .await?;
    if !is_set_up {
        sqlx::raw_sql(AssertSqlSafe(include_str!("schema.sql")))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// A picture that was done, or not, as the page shows it.
#[derive(Clone, Debug, FromRow)]
pub struct Picture {
    pub id: String,
    pub name: String,
    pub bytes: i32,
    /// `waiting`, `taken`, `retry`, `done` or `dead`.
    pub state: String,
    pub width: Option<i32>,
    pub height: Option<i32>,
    /// How often the queue has delivered the job.
    pub attempts: i32,
    pub worker: Option<String>,
    pub seconds: Option<f64>,
}

/// Everything that the page shows of a picture. What the queue knows is joined.
const PICTURES: &str = "
    SELECT p.id, p.name, octet_length(p.content) AS bytes, p.width, p.height,
        CASE
            WHEN p.state <> 'waiting' THEN p.state
            WHEN j.status IN ('Queued', 'Running') THEN 'taken'
            WHEN j.status = 'Failed' THEN 'retry'
            ELSE 'waiting'
        END AS state,
        coalesce(p.attempt, j.attempts, 0) AS attempts,
        coalesce(p.worker, j.lock_by) AS worker,
        extract(epoch FROM p.finished - p.uploaded)::float8 AS seconds
    FROM pictures p LEFT JOIN apalis.jobs j ON j.id = p.id";

/// Returns the latest pictures.
///
/// # Errors
///
/// Those of the database.
pub async fn latest(database: &PgPool, most: i64) -> Result<Vec<Picture>, sqlx::Error> {
    let query = format!("{PICTURES} ORDER BY p.uploaded DESC, p.id DESC LIMIT $1");
    sqlx::query_as(AssertSqlSafe(query))
        .bind(most)
        .fetch_all(database)
        .await
}

/// Returns a picture.
///
/// # Errors
///
/// Those of the database.
pub async fn picture(database: &PgPool, id: &str) -> Result<Option<Picture>, sqlx::Error> {
    let query = format!("{PICTURES} WHERE p.id = $1");
    sqlx::query_as(AssertSqlSafe(query))
        .bind(id)
        .fetch_optional(database)
        .await
}

/// Returns the last report on a picture, if a try has failed.
///
/// # Errors
///
/// Those of the database.
pub async fn report(database: &PgPool, id: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT report FROM failures WHERE picture = $1 ORDER BY attempt DESC LIMIT 1",
    )
    .bind(id)
    .fetch_optional(database)
    .await
}

/// Returns the thumbnail of a picture that is done.
///
/// # Errors
///
/// Those of the database.
pub async fn thumbnail(database: &PgPool, id: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT thumbnail FROM pictures WHERE id = $1 AND state = 'done'")
        .bind(id)
        .fetch_optional(database)
        .await
}

/// How many pictures there are in each state.
#[derive(Clone, Copy, Debug, Default, FromRow, PartialEq, Eq)]
pub struct Counts {
    pub waiting: i64,
    pub done: i64,
    pub dead: i64,
}

/// Counts the pictures.
///
/// # Errors
///
/// Those of the database.
pub async fn counts(database: &PgPool) -> Result<Counts, sqlx::Error> {
    let query = "SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting,
        count(*) FILTER (WHERE state = 'done') AS done,
        count(*) FILTER (WHERE state = 'dead') AS dead FROM pictures";
    sqlx::query_as(query).fetch_one(database).await
}

/// Stores a picture, as part of the transaction that stores its job.
///
/// # Errors
///
/// Those of the database.
pub async fn add(
    connection: &mut sqlx::PgConnection,
    id: &str,
    name: &str,
    content: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO pictures (id, name, content) VALUES ($1, $2, $3)")
        .bind(id)
        .bind(name)
        .bind(content)
        .execute(connection)
        .await?;
    Ok(())
}

/// A picture whose job was delivered.
#[derive(Clone, Debug, FromRow)]
pub struct Delivered {
    pub state: String,
    /// `None` if the picture has its final state.
    pub content: Option<Vec<u8>>,
}

/// Returns a picture whose job was delivered, if it was not deleted.
///
/// # Errors
///
/// Those of the database.
pub async fn delivered(database: &PgPool, id: &str) -> Result<Option<Delivered>, sqlx::Error> {
    let query = "SELECT state, CASE WHEN state = 'waiting' THEN content END AS content
        FROM pictures WHERE id = $1";
    sqlx::query_as(query)
        .bind(id)
        .fetch_optional(database)
        .await
}

/// A delivery of a job.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub picture: &'a str,
    pub worker: &'a str,
    pub attempt: i32,
}

/// A thumbnail.
#[derive(Debug)]
pub struct Thumbnail {
    pub width: i32,
    pub height: i32,
    pub png: Vec<u8>,
}

/// Sets the final state of a picture to `done`. Returns whether it had none before.
///
/// # Errors
///
/// Those of the database.
pub async fn finish(
    database: &PgPool,
    delivery: Delivery<'_>,
    thumbnail: Thumbnail,
) -> Result<bool, sqlx::Error> {
    let query = "UPDATE pictures SET state = 'done', finished = now(), worker = $2, attempt = $3,
        width = $4, height = $5, thumbnail = $6 WHERE id = $1 AND state = 'waiting'";
    let result = sqlx::query(query)
        .bind(delivery.picture)
        .bind(delivery.worker)
        .bind(delivery.attempt)
        .bind(thumbnail.width)
        .bind(thumbnail.height)
        .bind(thumbnail.png)
        .execute(database)
        .await?;
    Ok(result.rows_affected() == 1)
}

/// Sets the final state of a picture to `dead`, with the report. Returns whether it had none before.
///
/// # Errors
///
/// Those of the database.
pub async fn bury(
    database: &PgPool,
    delivery: Delivery<'_>,
    blame: &str,
    report: &str,
) -> Result<bool, sqlx::Error> {
    let query = "WITH dead AS (
            UPDATE pictures SET state = 'dead', finished = now(), worker = $2, attempt = $3
            WHERE id = $1 AND state = 'waiting' RETURNING id
        )
        INSERT INTO failures (picture, worker, attempt, blame, report) SELECT id, $2, $3, $4, $5 FROM dead
        ON CONFLICT DO NOTHING";
    let result = sqlx::query(query)
        .bind(delivery.picture)
        .bind(delivery.worker)
        .bind(delivery.attempt)
        .bind(blame)
        .bind(report)
        .execute(database)
        .await?;
    Ok(result.rows_affected() == 1)
}

/// Records a try that failed, and puts off the next one.
///
/// # Errors
///
/// Those of the database.
pub async fn put_off(
    database: &PgPool,
    delivery: Delivery<'_>,
    blame: &str,
    report: &str,
    pause: Duration,
) -> Result<(), sqlx::Error> {
    let query = "WITH failed AS (
            INSERT INTO failures (picture, worker, attempt, blame, report) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT DO NOTHING
        )
        UPDATE apalis.jobs SET run_at = now() + make_interval(secs => $6) WHERE id = $1 AND lock_by = $2";
    sqlx::query(query)
        .bind(delivery.picture)
        .bind(delivery.worker)
        .bind(delivery.attempt)
        .bind(blame)
        .bind(report)
        .bind(pause.as_secs_f64())
        .execute(database)
        .await?;
    Ok(())
}
