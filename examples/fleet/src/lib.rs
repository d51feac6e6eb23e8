//! Thumbnails of pictures that strangers upload, by any number of workers on any number of machines.
//!
//! * `server.rs` takes uploads, and shows what has become of them (`page.rs`).
//! * `store.rs` keeps pictures, results and failures in PostgreSQL. Each picture gets its final state once.
//! * `queue.rs` puts jobs beside them, and hands these out to workers.
//! * `worker.rs` does a job: it decides what an error means for it, and `report.rs` words it.
//! * `thumbnail.rs` is the part that runs in a confined process, which has seen no other picture.
//! * `telemetry.rs` shows figures to Prometheus; `dashboard.json` is a dashboard for Grafana.
//! * `bench.rs` measures what the queue costs.

pub mod bench;
pub mod page;
pub mod queue;
pub mod report;
pub mod server;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod thumbnail;
pub mod worker;

/// Whatever goes wrong outside of a confined process.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
