//! Measures jobs per second through the queue, beside the same pool called directly.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::settings::Settings;
use crate::thumbnail::{self, Thumbnails};
use crate::worker::Worker;
use crate::{Failure, queue, store};

/// The pictures: the same, in five formats.
const PICTURES: [(&str, &[u8]); 5] = [
    ("hills.png", include_bytes!("../../data/hills.png")),
    ("hills.jpg", include_bytes!("../../data/hills.jpg")),
    ("hills.gif", include_bytes!("../../data/hills.gif")),
    ("hills.webp", include_bytes!("../../data/hills.webp")),
    ("hills.tiff", include_bytes!("../../data/hills.tiff")),
];

/// How often the two are measured, one after the other.
const ROUNDS: usize = 3;

/// How many jobs are done at a time.
const AT_ONCE: [usize; 3] = [1, 2, 4];

/// Measures, and prints a table.
///
/// # Errors
///
/// If the database or a picture fails.
pub async fn run(settings: &Settings, pictures: usize) -> Result<(), Failure> {
    let database = store::connect(settings).await?;
    store::set_up(&database).await?;
    println!(
        "{pictures} pictures a row. Processor time is that of all processes of the kind, per job."
    );
    println!(
        "{:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}",
        "at once", "direct/s", "cpu ms", "queue/s", "cpu ms", "db ms", "ratio"
    );
    for workers in AT_ONCE {
        let settings = Settings {
            workers,
            ..settings.clone()
        };
        let pool = thumbnail::pool(workers)?;
        // The first calls find the caches cold.
        directly(&pool, workers, pictures.min(50)).await?;
        for _ in 0..ROUNDS {
            let direct = Measured::of(directly(&pool, workers, pictures)).await?;
            let queue = Measured::of(queued(&database, &pool, &settings, pictures)).await?;
            let rate = |measured: &Measured| pictures as f64 / measured.time.as_secs_f64();
            let each = |time: Duration| time.as_secs_f64() * 1e3 / pictures as f64;
            println!(
                "{workers:>7} {:>9.1} {:>9.2} {:>9.1} {:>9.2} {:>9.2} {:>6.2}",
                rate(&direct),
                each(direct.cpu),
                rate(&queue),
                each(queue.cpu),
                each(queue.database_cpu),
                rate(&queue) / rate(&direct),
            );
        }
        pool.shutdown().await;
    }
    Ok(())
}

/// How long something took, and what processor time.
#[derive(Debug)]
struct Measured {
    time: Duration,
    /// Of this program with its children, and of the database, if it is on this machine.
    cpu: Duration,
    database_cpu: Duration,
}

impl Measured {
    async fn of(work: impl Future<Output = Result<Duration, Failure>>) -> Result<Self, Failure> {
        let (own, postgres) = (std::env::current_exe()?, Path::new("postgres"));
        let before = (cpu_time(&own)?, cpu_time(postgres)?);
        let time = work.await?;
        Ok(Self {
            time,
            cpu: cpu_time(&own)?.saturating_sub(before.0),
            database_cpu: cpu_time(postgres)?.saturating_sub(before.1),
        })
    }
}

/// Returns the processor time of all processes of a program, and of those that they have waited for.
fn cpu_time(program: &Path) -> Result<Duration, Failure> {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc")? {
        let folder = entry?.path();
        // It has ended, or is no process.
        let Ok(executable) = std::fs::read_link(folder.join("exe")) else {
            continue;
        };
        if executable.ends_with(program)
            && let Ok(stat) = std::fs::read_to_string(folder.join("stat"))
            && let Some((_, fields)) = stat.rsplit_once(") ")
        {
            let times = fields.split(' ').skip(11).take(4);
            ticks += times
                .filter_map(|time| time.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    // Linux counts 100 a second for programs, on all its platforms.
    Ok(Duration::from_millis(ticks * 10))
}

fn content(number: usize) -> (&'static str, &'static [u8]) {
    PICTURES[number % PICTURES.len()]
}

/// Makes thumbnails by the pool.
async fn directly(pool: &Thumbnails, workers: usize, pictures: usize) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let places = Arc::new(Semaphore::new(workers));
    let mut calls = JoinSet::new();
    for number in 0..pictures {
        let (pool, place) = (pool.clone(), Arc::clone(&places).acquire_owned().await?);
        calls.spawn(async move {
            let pixels = pool.run_tokio(content(number).1.to_vec()).await??;
            let png = pixels.into_png()?;
            drop(place);
            Ok::<_, Failure>(png.len())
        });
    }
    while let Some(result) = calls.join_next().await {
        result??;
    }
    Ok(begun.elapsed())
}

/// Makes thumbnails by jobs, which are in the queue at the beginning. The time ends when all are stored.
async fn queued(
    database: &PgPool,
    pool: &Thumbnails,
    settings: &Settings,
    pictures: usize,
) -> Result<Duration, Failure> {
    let before = store::counts(database).await?;
    if before.waiting > 0 {
        return Err("there are other jobs in the queue: measure with an empty one".into());
    }
    let files: Vec<_> = (0..pictures).map(content).collect();
    let ids = queue::submit(database, &files).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::new(database.clone(), pool.clone());
    let begun = Instant::now();
    let working = {
        let settings = settings.clone();
        tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            queue::work(worker, &settings, stop).await
        })
    };
    let time = loop {
        let counts = store::counts(database).await?;
        if counts.waiting == 0 {
            break begun.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let _ = stop.send(());
    working.await??;
    let after = store::counts(database).await?;
    if usize::try_from(after.done - before.done)? != pictures {
        return Err("not all pictures were done".into());
    }
    sqlx::query("DELETE FROM pictures WHERE id = ANY($1)")
        .bind(&ids)
        .execute(database)
        .await?;
    Ok(time)
}
