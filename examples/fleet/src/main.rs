//! `crossmist-fleet serve`, `crossmist-fleet work` or `crossmist-fleet bench [PICTURES]`, until SIGINT or
//! SIGTERM. Then it finishes what it has begun, and ends. Environment variables set the rest: see `settings.rs`.

use crossmist_fleet::settings::Settings;
use crossmist_fleet::{Failure, bench, queue, server, store, telemetry, thumbnail, worker};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: crossmist-fleet serve|work|bench [PICTURES]";

#[crossmist::main]
fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let settings = Settings::from_environment()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match (command.as_deref(), arguments.next(), arguments.next()) {
            (Some("serve"), None, None) => serve(&settings).await,
            (Some("work"), None, None) => work(&settings).await,
            (Some("bench"), pictures, None) => {
                let pictures = pictures.map_or(Ok(500), |number| number.parse());
                // Its workers end with it.
                tokio::select! {
                    result = bench::run(&settings, pictures?) => result,
                    () = stop()? => Err("stopped".into()),
                }
            }
            _ => Err(USAGE.into()),
        }
    })
}

async fn serve(settings: &Settings) -> Result<(), Failure> {
    let database = store::connect(settings).await?;
    store::set_up(&database).await?;
    let listener = TcpListener::bind(&settings.listen).await?;
    println!("http://{}", listener.local_addr()?);
    let stop = stop()?;
    let serving = axum::serve(listener, server::app(database, settings));
    serving.with_graceful_shutdown(stop).await?;
    Ok(())
}

async fn work(settings: &Settings) -> Result<(), Failure> {
    // Before the pool, whose spares are counted from its beginning.
    if let Some(address) = &settings.metrics {
        let listener = TcpListener::bind(address).await?;
        println!("http://{}/metrics", listener.local_addr()?);
        telemetry::serve(listener)?;
    }
    let pool = thumbnail::pool(settings.workers)?;
    let database = store::connect(settings).await?;
    store::set_up(&database).await?;
    let worker = worker::Worker::new(database, pool.clone());
    let result = queue::work(worker, settings, stop()?).await;
    pool.shutdown().await;
    let stats = pool.stats();
    println!("{} pictures, {} of which failed", stats.calls, stats.failed);
    result
}

/// Returns what waits for SIGINT or SIGTERM.
fn stop() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
