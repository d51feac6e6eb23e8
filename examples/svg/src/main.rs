//! Listens on the address that it is given, or on 127.0.0.1:8080, until it gets SIGINT or SIGTERM. Then it
//! answers the requests that it has, and ends.

use std::error::Error;

use crossmist::Pool;
use crossmist_svg::render::render;
use crossmist_svg::server;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[crossmist::main]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8080")).await?;
    let pool = Pool::of(render).workers(4).spares(4).build()?;
    println!("http://{}", listener.local_addr()?);

    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    axum::serve(listener, server::app(pool.clone()))
        .with_graceful_shutdown(stop)
        .await?;
    pool.shutdown().await;
    println!(
        "{} pictures, {} of which failed",
        pool.stats().calls,
        pool.stats().failed
    );
    Ok(())
}
