//! Jobs: how they are stored beside their pictures, and handed out to workers.
//!
//! The queue promises that a job is delivered until somebody says how it ended. A worker that dies stops to
//! send heartbeats; the others then put its jobs back.

use std::time::Duration;

use apalis::prelude::{
    AbortError, Attempt, BackendExt, Data, TaskBuilder, TaskId, WorkerBuilder, WorkerBuilderExt,
    WorkerContext,
};
use apalis_postgres::{Config, PgPool, PostgresStorage, queries};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::settings::Settings;
use crate::store;
use crate::worker::{LEAST_PAUSE, Outcome, Worker};

/// The name of the queue.
pub const QUEUE: &str = "thumbnails";

/// The most deliveries of a job. After that, its picture is given up, whoever is to blame.
pub const MOST_ATTEMPTS: usize = 20;

/// The bound of the queue itself, which forgets a job after it, whatever has become of the picture. So it is out
/// of reach: the worker counts deliveries, and ends a job only once the picture has its final state.
const QUEUE_ATTEMPTS: usize = i32::MAX as usize;

/// How often a worker without work asks for some.
const INTERVAL: Duration = Duration::from_millis(100);

/// How many heartbeats a worker may miss.
const MISSED_HEARTBEATS: usize = 12;

/// A job. Its picture stays in the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub picture: String,
}

/// Stores pictures and their jobs, all or none. Returns the ids.
///
/// # Errors
///
/// Those of the database.
pub async fn submit(
    database: &PgPool,
    pictures: &[(impl AsRef<str> + Sync, impl AsRef<[u8]> + Sync)],
) -> Result<Vec<String>, Failure> {
    let mut transaction = database.begin().await?;
    let ids = submit_in(&mut transaction, pictures).await?;
    transaction.commit().await?;
    Ok(ids)
}

/// Stores pictures and their jobs as part of a transaction. Returns the ids.
///
/// # Errors
///
/// Those of the database.
pub(crate) async fn submit_in(
    transaction: &mut sqlx::PgTransaction<'_>,
    pictures: &[(impl AsRef<str> + Sync, impl AsRef<[u8]> + Sync)],
) -> Result<Vec<String>, Failure> {
    let (mut ids, mut tasks) = (Vec::new(), Vec::new());
    for (name, content) in pictures {
        let id = ulid::Ulid::generate();
        let picture = id.to_string();
        store::add(&mut *transaction, &picture, name.as_ref(), content.as_ref()).await?;
        let job = serde_json::to_vec(&Job {
            picture: picture.clone(),
        })?;
        let task = TaskBuilder::new(job)
            .task_id(TaskId::from_ulid(id))
            .max_attempts(QUEUE_ATTEMPTS)
            .build();
        tasks.push(task);
        ids.push(picture);
    }
    queries::push_tasks(&mut **transaction, QUEUE, tasks).await?;
    Ok(ids)
}

/// Does jobs until `stop`, and then finishes those that it has.
///
/// # Errors
///
/// If no job can succeed in this program as it was deployed.
pub async fn work(
    worker: Worker,
    settings: &Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        stop.await;
        stopping.send_replace(true);
    });
    for run in 0_u32.. {
        // Each run has a name of its own. The jobs of a run that has failed are those of a dead worker.
        let worker = worker.named(run);
        let until = {
            let (mut stopped, broken) = (stopped.clone(), worker.clone());
            async move {
                tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                    () = broken.is_broken() => {}
                }
                Ok::<(), std::io::Error>(())
            }
        };
        let result = run_worker(worker.clone(), settings, until).await;
        if let Some(reason) = worker.broken() {
            return Err(reason.into());
        }
        match result {
            _ if *stopped.borrow() => return Ok(()),
            Ok(()) => {}
            // The database is gone, or is being restarted.
            Err(error) => eprintln!("{}: {error}; trying again", worker.name()),
        }
        let pause = Duration::from_millis(500);
        let _ = tokio::time::timeout(pause, stopped.wait_for(|stopped| *stopped)).await;
        if *stopped.borrow() {
            return Ok(());
        }
    }
    Ok(())
}

async fn run_worker(
    worker: Worker,
    settings: &Settings,
    until: impl Future<Output = Result<(), std::io::Error>> + Send + 'static,
) -> Result<(), Failure> {
    let config = Config::default()
        .queue(QUEUE)
        // While a worker has jobs that it has taken and not begun, `apalis` sends neither heartbeats nor outcomes.
        .batch_size(1)
        .heartbeat_interval(settings.heartbeat)
        .missed_heartbeats(MISSED_HEARTBEATS)
        // Another statement for each job, which says that it has begun.
        .lock_tasks(false);
    let backend = PostgresStorage::<Job>::new(worker.database())
        .with_config(config)
        .poll_with_interval(INTERVAL);
    WorkerBuilder::new(worker.name())
        .backend(backend)
        .data(worker)
        // The pool lets in as many as it has workers. Meanwhile others load their pictures and store results.
        .concurrency(settings.workers.saturating_mul(2))
        .build(deliver)
        .run_until(until)
        .await?;
    Ok(())
}

/// Does one job, and tells the queue how it ended.
async fn deliver(
    job: Job,
    attempt: Attempt,
    worker: Data<Worker>,
    _context: WorkerContext,
) -> Result<(), Failure> {
    match worker.run(&job.picture, attempt.current()).await {
        Ok(Outcome::Done) => Ok(()),
        Ok(Outcome::Dead(report)) => Err(Box::new(AbortError::new(report))),
        Ok(Outcome::Again(report)) => Err(report.into()),
        Err(error) => {
            eprintln!("{}: {}: {error}", worker.name(), job.picture);
            // The queue delivers it again at once, and no pause was stored.
            tokio::time::sleep(LEAST_PAUSE).await;
            Err(error)
        }
    }
}
