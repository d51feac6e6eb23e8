//! Figures for Prometheus: those of the library, and of the jobs.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use metrics::describe_counter;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;

use crate::Failure;

/// The bounds of the histograms of times, in seconds.
const TIMES: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0,
];

const MIB: f64 = 1024.0 * 1024.0;

/// The bounds of the histogram of memory, in bytes.
const MEMORY: [f64; 8] = [
    4.0 * MIB,
    8.0 * MIB,
    16.0 * MIB,
    32.0 * MIB,
    64.0 * MIB,
    128.0 * MIB,
    256.0 * MIB,
    512.0 * MIB,
];

/// Installs the recorder, and shows its figures under `/metrics`.
///
/// # Errors
///
/// If there is a recorder already.
pub fn serve(listener: TcpListener) -> Result<(), Failure> {
    let figures = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &TIMES)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &MEMORY)?
        .install_recorder()?;
    crossmist::describe_metrics();
    describe_counter!(
        "fleet_jobs_total",
        "Deliveries of jobs, by what became of them"
    );
    let upkeep = figures.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    let app = Router::new()
        .route("/metrics", get(async move || figures.render()))
        .route("/healthz", get(async || "ok"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}
