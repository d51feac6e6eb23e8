//! Measures jobs per second through the queue, beside a pool that is called directly.

use std::io::Cursor;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::imageops::FilterType;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::settings::Settings;
use crate::thumbnail::{self, Thumbnails};
use crate::{Failure, queue, store};

/// The pictures: the same, in five formats.
const FILES: [(&str, &[u8]); 5] = [
    ("hills.png", include_bytes!("../../data/hills.png")),
    ("hills.jpg", include_bytes!("../../data/hills.jpg")),
    ("hills.gif", include_bytes!("../../data/hills.gif")),
    ("hills.webp", include_bytes!("../../data/hills.webp")),
    ("hills.tiff", include_bytes!("../../data/hills.tiff")),
];

/// How often the two are measured, one after the other.
const ROUNDS: usize = 3;

/// How many workers there are, each of which is a process whose pool runs one picture at a time.
const WORKERS: [usize; 3] = [1, 2, 4];

/// How long the workers may take to start.
const START_TIME: Duration = Duration::from_secs(30);

/// How long they may take for a row.
const WORK_TIME: Duration = Duration::from_secs(600);

/// Pictures of about one size.
struct Set {
    name: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    /// How many of them are done a row.
    pictures: usize,
}

impl Set {
    fn file(&self, number: usize) -> (&'static str, &[u8]) {
        let (name, content) = &self.files[number % self.files.len()];
        (name, content)
    }
}

/// Returns what is measured: the files, and one of them in the size that cameras make.
fn sets(pictures: usize) -> Result<[Set; 2], Failure> {
    let files = FILES.map(|(name, content)| (name, content.to_vec()));
    let small = image::load_from_memory(&FILES[1].1)?;
    let large = small.resize(4000, 3000, FilterType::CatmullRom).into_rgb8();
    let mut photo = Vec::new();
    large.write_to(&mut Cursor::new(&mut photo), image::ImageFormat::Jpeg)?;
    Ok([
        Set {
            name: "files of examples/data, up to 640 x 420",
            files: files.into(),
            pictures,
        },
        Set {
            name: "hills.jpg, enlarged to 4000 x 2625",
            files: vec![("photo.jpg", photo)],
            pictures: (pictures / 10).max(10),
        },
    ])
}

/// Measures, and prints two tables.
///
/// # Errors
///
/// If the database, a worker or a picture fails.
pub async fn run(settings: &Settings, pictures: usize) -> Result<(), Failure> {
    let database = store::connect(settings).await?;
    store::set_up(&database).await?;
    println!("Processor time is that of all processes of the kind, per picture, in milliseconds.");
    for set in sets(pictures)? {
        println!("\n{}; {} a row", set.name, set.pictures);
        println!(
            "{:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}",
            "workers", "direct/s", "cpu", "queue/s", "cpu", "db cpu", "ratio"
        );
        for workers in WORKERS {
            measure(&database, &set, workers).await?;
        }
    }
    Ok(())
}

async fn measure(database: &PgPool, set: &Set, workers: usize) -> Result<(), Failure> {
    let pictures = set.pictures;
    for _ in 0..ROUNDS {
        let pool = thumbnail::pool(workers)?;
        // The first calls find the caches cold.
        directly(&pool, set, workers, pictures.div_ceil(10)).await?;
        let direct = Measured::of(directly(&pool, set, workers, pictures)).await?;
        pool.shutdown().await;
        drop(pool);
        let mut running = Workers::start(database, workers).await?;
        queued(database, &mut running, set, pictures.div_ceil(10)).await?;
        let queue = Measured::of(queued(database, &mut running, set, pictures)).await?;
        running.stop()?;
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
    Ok(())
}

/// Processes that do jobs. Dropping them kills those that were not stopped.
struct Workers(Vec<Child>);

impl Workers {
    /// Starts some, and waits until the queue knows all of them.
    async fn start(database: &PgPool, count: usize) -> Result<Self, Failure> {
        let before = known_workers(database).await?;
        let mut workers = Self(Vec::new());
        for _ in 0..count {
            let mut command = Command::new(std::env::current_exe()?);
            command
                .arg("work")
                .env("FLEET_WORKERS", "1")
                .env_remove("FLEET_METRICS")
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            workers.0.push(command.spawn()?);
        }
        let begun = Instant::now();
        let all = before + i64::try_from(count)?;
        while known_workers(database).await? < all {
            workers.check()?;
            if begun.elapsed() > START_TIME {
                return Err("the workers did not start".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(workers)
    }

    /// Fails if one has ended.
    fn check(&mut self) -> Result<(), Failure> {
        for worker in &mut self.0 {
            if let Some(status) = worker.try_wait()? {
                return Err(format!("a worker has ended before its time: {status}").into());
            }
        }
        Ok(())
    }

    /// Has them finish.
    fn stop(mut self) -> Result<(), Failure> {
        self.check()?;
        for worker in &self.0 {
            let status = Command::new("sh")
                .args(["-c", "kill \"$0\"", &worker.id().to_string()])
                .status()?;
            if !status.success() {
                return Err("a worker can't be stopped".into());
            }
        }
        for worker in &mut self.0 {
            let status = worker.wait()?;
            if !status.success() {
                return Err(format!("a worker has failed: {status}").into());
            }
        }
        self.0.clear();
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

async fn known_workers(database: &PgPool) -> Result<i64, Failure> {
    let query = "SELECT count(*) FROM apalis.workers";
    Ok(sqlx::query_scalar(query).fetch_one(database).await?)
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

/// Makes thumbnails by the pool.
async fn directly(
    pool: &Thumbnails,
    set: &Set,
    workers: usize,
    pictures: usize,
) -> Result<Duration, Failure> {
    let begun = Instant::now();
    // As a worker does: the pool runs as many as it has workers, and meanwhile others are encoded.
    let places = Arc::new(Semaphore::new(workers.saturating_mul(2)));
    let mut calls = JoinSet::new();
    for number in 0..pictures {
        let (pool, place) = (pool.clone(), Arc::clone(&places).acquire_owned().await?);
        let picture = set.file(number).1.to_vec();
        calls.spawn(async move {
            let pixels = pool.run_tokio(picture).await??;
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

/// Has the workers make thumbnails. All jobs are in the queue at the beginning. The time ends when all are stored.
async fn queued(
    database: &PgPool,
    workers: &mut Workers,
    set: &Set,
    pictures: usize,
) -> Result<Duration, Failure> {
    let before = store::counts(database).await?;
    if before.waiting > 0 {
        return Err("there are other jobs in the queue: measure with an empty one".into());
    }
    let files: Vec<_> = (0..pictures).map(|number| set.file(number)).collect();
    let mut transaction = database.begin().await?;
    let ids = queue::submit_in(&mut transaction, &files).await?;
    let begun = Instant::now();
    transaction.commit().await?;
    let time = loop {
        let counts = store::counts(database).await?;
        if counts.waiting == 0 {
            break begun.elapsed();
        }
        workers.check()?;
        if begun.elapsed() > WORK_TIME {
            return Err("the workers do not finish".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
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
