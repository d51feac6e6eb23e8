//! A server that decodes uploads from strangers, each in a process of its own.
//!
//! `cargo run --example service [-- --load CLIENTS REQUESTS]` sends it good, broken and hostile
//! uploads at once, and counts the answers. With `--serve` it listens on 127.0.0.1:7878 until it is
//! stopped. An upload is a length of four bytes, big-endian, and as many bytes of a picture. The
//! answer is a line.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossmist::{Resource, func};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The longest upload.
const UPLOAD_BYTES: u32 = 8 << 20;

/// How many uploads are decoded at a time. Each may take a processor and its share of memory.
const AT_A_TIME: usize = 16;

/// How many clients are served at a time. The others wait in the kernel's queue.
const CLIENTS: usize = 256;

/// How long a client may take for a whole upload, and for reading its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Decodes a picture, and returns its size. It has deliberate bugs: input that begins with `TOY`
/// makes it do what hostile pictures have made decoders do.
#[func(
    sandbox = "parser",
    memory = "128MiB",
    cpu_time = "1s",
    wall_time = "15s"
)]
fn decode(upload: Vec<u8>) -> Result<(u32, u32), String> {
    match upload.as_slice() {
        b"TOY loop" => loop {
            std::hint::black_box(0);
        },
        b"TOY sleep" => std::thread::sleep(Duration::from_secs(60)),
        b"TOY panic" => panic!("index out of bounds"),
        b"TOY memory" => {
            let mut taken = Vec::new();
            loop {
                taken.push(std::hint::black_box(Vec::<u8>::with_capacity(16 << 20)));
            }
        }
        b"TOY network" => {
            let connected = std::net::TcpStream::connect("127.0.0.1:7878");
            return Err(format!("it could connect: {}", connected.is_ok()));
        }
        _ => {}
    }
    let picture = image::load_from_memory(&upload).map_err(|error| error.to_string())?;
    Ok((picture.width(), picture.height()))
}

/// The result of an upload, as a word and its details.
async fn answer(upload: Vec<u8>) -> String {
    match decode.run_tokio(upload).await {
        Ok(Ok((width, height))) => format!("picture {width} {height}"),
        Ok(Err(_)) => "broken".to_owned(),
        Err(crossmist::Error::Panicked(_)) => "hostile panicked".to_owned(),
        Err(crossmist::Error::Violation(_)) => "hostile violation".to_owned(),
        Err(crossmist::Error::Deadline { .. }) => "hostile deadline".to_owned(),
        Err(crossmist::Error::Limit { resource, .. }) => match resource {
            Resource::Memory => "hostile memory".to_owned(),
            Resource::CpuTime => "hostile processor".to_owned(),
            other => format!("hostile {other:?}"),
        },
        Err(error) => format!("failed {error}"),
    }
}

async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let clients = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let client = Arc::clone(&clients).acquire_owned().await;
        let (stream, _) = listener.accept().await?;
        let turns = Arc::clone(&turns);
        tokio::spawn(async move {
            // If a client goes away, only that client is affected.
            let _ = serve_one(stream, &turns).await;
            drop(client);
        });
    }
}

async fn serve_one(mut stream: TcpStream, turns: &Semaphore) -> std::io::Result<()> {
    while let Some(upload) = timeout(PATIENCE, receive(&mut stream)).await?? {
        let line = match upload {
            Some(upload) => {
                let turn = turns.acquire().await.map_err(std::io::Error::other)?;
                let line = answer(upload).await;
                drop(turn);
                line
            }
            None => "too long".to_owned(),
        };
        timeout(PATIENCE, stream.write_all(format!("{line}\n").as_bytes())).await??;
        if line == "too long" {
            break;
        }
    }
    Ok(())
}

/// Receives one upload. Returns `None` at the end, and an inner `None` if the upload is too long.
async fn receive(stream: &mut TcpStream) -> std::io::Result<Option<Option<Vec<u8>>>> {
    let Ok(length) = stream.read_u32().await else {
        return Ok(None);
    };
    if length > UPLOAD_BYTES {
        return Ok(Some(None));
    }
    // Reserve for what arrives, not for what is announced.
    let mut upload = Vec::new();
    let mut rest = stream.take(length.into());
    rest.read_to_end(&mut upload).await?;
    match upload.len() == length as usize {
        true => Ok(Some(Some(upload))),
        false => Ok(None),
    }
}

/// Uploads and their expected answers. On a busy machine, a loop may reach its deadline before it
/// has had the processor for long enough.
fn uploads() -> Result<Vec<(Vec<u8>, &'static str)>, Box<dyn Error>> {
    let read = |name| std::fs::read(crossmist_examples::data(name));
    let mut broken = read("hills.png")?;
    broken.truncate(2000);
    Ok(vec![
        (read("hills.png")?, "picture 640 420"),
        (read("hills.jpg")?, "picture 640 420"),
        (read("hills.gif")?, "picture 320 210"),
        (read("hills.webp")?, "picture 640 420"),
        (read("hills.tiff")?, "picture 200 131"),
        (broken, "broken"),
        (b"not a picture".to_vec(), "broken"),
        (Vec::new(), "broken"),
        (b"TOY panic".to_vec(), "hostile panicked"),
        (b"TOY memory".to_vec(), "hostile memory"),
        (b"TOY network".to_vec(), "hostile violation"),
        (b"TOY loop".to_vec(), "hostile processor or deadline"),
        (b"TOY sleep".to_vec(), "hostile deadline"),
    ])
}

/// Sends uploads to a server, and fails if an answer is not the expected one.
async fn load(clients: usize, requests: usize) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener));
    let uploads = Arc::new(uploads()?);
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..clients {
        let uploads = Arc::clone(&uploads);
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            let mut seen = Vec::new();
            for request in 0..requests {
                // Loops and sleeps take their whole time, so of eight clients two send one, once.
                let kinds = uploads.len() - 2;
                let kind = match (client % 8, request) {
                    (0, 0) => kinds,
                    (1, 0) => kinds + 1,
                    _ => (client * 5 + request) % kinds,
                };
                let (upload, expected) = &uploads[kind];
                let begun = Instant::now();
                stream
                    .write_u32(u32::try_from(upload.len()).unwrap_or(0))
                    .await?;
                stream.write_all(upload).await?;
                let mut line = Vec::new();
                while line.last() != Some(&b'\n') {
                    line.push(stream.read_u8().await?);
                }
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                let is_right = match *expected {
                    "hostile processor or deadline" => {
                        ["hostile processor", "hostile deadline"].contains(&line.as_str())
                    }
                    expected => line == expected,
                };
                seen.push((line, is_right, *expected, begun.elapsed()));
            }
            Ok::<_, std::io::Error>(seen)
        }));
    }
    let mut kinds: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut wrong = 0;
    for task in tasks {
        for (line, is_right, expected, time) in task.await?? {
            if !is_right {
                wrong += 1;
                eprintln!("expected `{expected}`, got `{line}`");
            }
            kinds.entry(expected).or_default().push(time);
        }
    }
    let took = begun.elapsed();
    println!(
        "{:30} {:>7} {:>10} {:>10} {:>10}",
        "answer", "count", "median", "95 %", "worst"
    );
    let mut total = 0;
    for (kind, mut times) in kinds {
        times.sort();
        total += times.len();
        let count = times.len();
        let [median, most, worst] = [count / 2, count * 95 / 100, count - 1].map(|at| times[at]);
        println!("{kind:30} {count:>7} {median:>10.1?} {most:>10.1?} {worst:>10.1?}");
    }
    println!(
        "{total} of {} answered in {took:.1?}, {wrong} wrongly",
        clients * requests
    );
    match (wrong, total == clients * requests) {
        (0, true) => Ok(()),
        _ => Err("some got no answer, or a wrong one".into()),
    }
}

#[crossmist::main]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| {
        let text = arguments.get(index);
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    match arguments.first().map(String::as_str) {
        Some("--serve") => {
            let listener = TcpListener::bind("127.0.0.1:7878").await?;
            println!("on {}", listener.local_addr()?);
            Ok(serve(listener).await?)
        }
        _ => load(number(1, 16), number(2, 12)).await,
    }
}
