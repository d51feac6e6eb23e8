//! One job, from the delivery to its outcome: what an error of the confined process means for it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apalis_postgres::PgPool;
use crossmist::Blame;
use tokio::sync::Notify;

use crate::queue::MOST_ATTEMPTS;
use crate::store::{self, Delivered, Delivery, Thumbnail};
use crate::thumbnail::{Pixels, Thumbnails};
use crate::{Failure, report};

/// Does jobs. Clones are one worker.
#[derive(Clone, Debug)]
pub struct Worker {
    name: Arc<str>,
    database: PgPool,
    pool: Thumbnails,
    broken: Arc<Broken>,
}

/// Why this program cannot do any job.
#[derive(Debug, Default)]
struct Broken {
    reason: OnceLock<String>,
    notify: Notify,
}

/// The outcome of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The picture has its final state.
    Done,
    /// The picture is in the dead letters, with this report.
    Dead(String),
    /// Another delivery may succeed.
    Again(String),
}

/// The pauses before another try, from the first to the longest.
pub(crate) const LEAST_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(300);

impl Worker {
    #[must_use]
    pub fn new(database: PgPool, pool: Thumbnails) -> Self {
        Self {
            name: name().into(),
            database,
            pool,
            broken: Arc::default(),
        }
    }

    /// Returns the same worker under the name of a run.
    #[must_use]
    pub fn named(&self, run: u32) -> Self {
        Self {
            name: format!("{}-{run}", self.name).into(),
            ..self.clone()
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn database(&self) -> &PgPool {
        &self.database
    }

    /// Returns why no job can succeed, if that is so.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.reason.get().map(String::as_str)
    }

    /// Returns once no job can succeed.
    pub async fn is_broken(&self) {
        while self.broken().is_none() {
            self.broken.notify.notified().await;
        }
    }

    /// Does a job: the `attempt`th delivery of it.
    ///
    /// # Errors
    ///
    /// If the database does not take the outcome. The job is delivered again.
    pub async fn run(&self, picture: &str, attempt: usize) -> Result<Outcome, Failure> {
        let delivery = Delivery {
            picture,
            worker: &self.name,
            attempt: i32::try_from(attempt)?,
        };
        let content = match store::delivered(&self.database, picture).await? {
            None => return Ok(Outcome::Done),
            Some(Delivered {
                content: Some(content),
                ..
            }) => content,
            // Somebody has done it, and died before the queue knew.
            Some(picture) => {
                count("repeated");
                return Ok(match picture.state.as_str() {
                    "dead" => Outcome::Dead("an earlier delivery led to a dead letter".to_owned()),
                    _ => Outcome::Done,
                });
            }
        };
        if attempt > MOST_ATTEMPTS {
            let report = "Too many workers have ended while they had this picture".to_owned();
            return self.bury(delivery, "machine", report).await;
        }
        match self.pool.run_tokio(content).await {
            Ok(Ok(pixels)) => self.finish(delivery, pixels).await,
            Ok(Err(reason)) => {
                let report = format!("This is no picture: {reason}");
                self.bury(delivery, "input", report).await
            }
            Err(error) => self.fail(delivery, error).await,
        }
    }

    async fn finish(&self, delivery: Delivery<'_>, pixels: Pixels) -> Result<Outcome, Failure> {
        let (width, height) = (pixels.width, pixels.height);
        let png = match pixels.into_png() {
            Ok(png) => png,
            Err(error) => {
                let report = format!("The confined process lied: {error}");
                return self.bury(delivery, "input", report).await;
            }
        };
        let thumbnail = Thumbnail {
            width: i32::try_from(width)?,
            height: i32::try_from(height)?,
            png,
        };
        let is_first = store::finish(&self.database, delivery, thumbnail).await?;
        count(if is_first { "done" } else { "repeated" });
        Ok(Outcome::Done)
    }

    async fn fail(
        &self,
        delivery: Delivery<'_>,
        error: crossmist::Error,
    ) -> Result<Outcome, Failure> {
        let report = report::to_store(&report::of(&error));
        let blame = match error.blame() {
            Blame::Input => return self.bury(delivery, "input", report).await,
            Blame::Program => {
                let _ = self.broken.reason.set(report.clone());
                self.broken.notify.notify_waiters();
                "program"
            }
            // What is added to the library later says nothing about the input until this knows it.
            _ => "machine",
        };
        if usize::try_from(delivery.attempt)? >= MOST_ATTEMPTS {
            let report = format!("This was tried {MOST_ATTEMPTS} times. In the end: {report}");
            return self.bury(delivery, blame, report).await;
        }
        let pause = pause(delivery.attempt);
        store::put_off(&self.database, delivery, blame, &report, pause).await?;
        count("put_off");
        Ok(Outcome::Again(report))
    }

    async fn bury(
        &self,
        delivery: Delivery<'_>,
        blame: &str,
        report: String,
    ) -> Result<Outcome, Failure> {
        let report = report::to_store(&report);
        let is_first = store::bury(&self.database, delivery, blame, &report).await?;
        count(if is_first { "dead" } else { "repeated" });
        Ok(Outcome::Dead(report))
    }
}

/// Counts a job.
fn count(outcome: &'static str) {
    metrics::counter!("fleet_jobs_total", "outcome" => outcome).increment(1);
}

/// Returns how long to wait after a failed try: twice as long after each.
fn pause(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0);
    LEAST_PAUSE
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(MOST_PAUSE)
}

/// Returns a name that no other worker has.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), ulid::Ulid::generate())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_the_one_before_up_to_a_bound() {
        let pauses = [1, 2, 3, 9, 10, i32::MAX].map(|attempt| pause(attempt).as_secs());
        assert_eq!(pauses, [1, 2, 4, 256, 300, 300]);
    }
}
