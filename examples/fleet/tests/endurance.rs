//! The service under strain: databases that refuse, workers that are busy for long, uploads that never end.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crossmist_fleet::store;
use sqlx::postgres::PgPool;
use support::cluster::Cluster;
use support::{patience, pictures};

/// Waits until a query returns `true`.
async fn until(database: &PgPool, query: &'static str) {
    let until = Instant::now() + patience(Duration::from_secs(90));
    loop {
        let is_so: bool = sqlx::query_scalar(query).fetch_one(database).await.unwrap();
        if is_so {
            return;
        }
        assert!(Instant::now() < until, "it was not so in time: {query}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const ALL_ARE_FINAL: &str = "SELECT NOT EXISTS (SELECT FROM pictures WHERE state = 'waiting')";

#[tokio::test]
async fn a_job_whose_end_cannot_be_stored_is_delivered_until_it_can() {
    let cluster = Cluster::start();
    let server = support::server(&cluster);
    let database = PgPool::connect(&cluster.url).await.unwrap();
    let file = ("bad".to_owned(), b"HOLE panic".to_vec());
    assert_eq!(support::upload(&server.url, vec![file]).await, 200);
    // Late deliveries are the hard ones: the worker wants to give up the picture.
    let statements = "
        UPDATE apalis.jobs SET attempts = 30;
        ALTER TABLE failures ADD CONSTRAINT refused CHECK (report = '');";
    sqlx::raw_sql(statements).execute(&database).await.unwrap();
    let worker = support::worker(&cluster);
    until(&database, "SELECT attempts >= 33 FROM apalis.jobs").await;
    let counts = store::counts(&database).await.unwrap();
    assert_eq!((counts.waiting, counts.dead), (1, 0));
    sqlx::raw_sql("ALTER TABLE failures DROP CONSTRAINT refused")
        .execute(&database)
        .await
        .unwrap();
    until(&database, ALL_ARE_FINAL).await;
    let picture = &store::latest(&database, 1).await.unwrap()[0];
    assert_eq!(picture.state, "dead", "{picture:?}");
    let report = store::report(&database, &picture.id).await.unwrap();
    let expected = "Too many workers have ended while they had this picture";
    assert_eq!(report.as_deref(), Some(expected));
    worker.stop();
    server.stop();
}

/// `apalis` sends heartbeats and outcomes only while it holds no job that it has not begun.
#[tokio::test]
async fn a_worker_that_is_busy_for_long_is_not_taken_for_dead() {
    let cluster = Cluster::start();
    let server = support::server(&cluster);
    let database = PgPool::connect(&cluster.url).await.unwrap();
    let worker = support::worker(&cluster);
    // Two at a time take 8 s each.
    let file = |number| (format!("slow-{number}"), b"HOLE long-sleep".to_vec());
    let files = (0..8).map(file).collect();
    assert_eq!(support::upload(&server.url, files).await, 200);
    until(
        &database,
        "SELECT count(*) >= 4 FROM apalis.jobs WHERE lock_by IS NOT NULL",
    )
    .await;
    // One that looks for dead workers.
    let other = support::worker(&cluster);
    until(&database, ALL_ARE_FINAL).await;
    let states: Vec<(String, i32, i64)> =
        sqlx::query_as("SELECT state, attempt, count(*) FROM pictures GROUP BY 1, 2")
            .fetch_all(&database)
            .await
            .unwrap();
    assert_eq!(states, [("done".to_owned(), 1, 8)]);
    worker.stop();
    other.stop();
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_do_not_end_are_given_up_and_hold_up_other_uploads_only() {
    let cluster = Cluster::start();
    let server = support::patient_server(&cluster, Duration::from_secs(3));
    let address = server.url.strip_prefix("http://").unwrap();
    let begin = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /pictures HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1000\r\n\
             Content-Type: multipart/form-data; boundary=end\r\n\r\n--end\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let slow: Vec<TcpStream> = (0..64).map(begin).collect();
    let (url, file) = (server.url.clone(), pictures::good(0));
    let good =
        tokio::spawn(async move { support::upload(&url, vec![(file.name, file.content)]).await });
    // Whoever watches the server does not have it started again.
    assert_eq!(
        support::text(&format!("{}/healthz", server.url)).await,
        "ok"
    );
    let mut bytes = [0; 1];
    let answered = slow.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        let answer = stream.peek(&mut bytes);
        stream.set_nonblocking(false).unwrap();
        answer.is_ok()
    });
    assert!(answered.count() < 64, "some are still being read");
    for mut stream in slow {
        let time = patience(Duration::from_secs(60));
        stream.set_read_timeout(Some(time)).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
    assert_eq!(good.await.unwrap(), 200);
    server.stop();
}

#[tokio::test]
async fn an_upload_has_a_hundred_pictures_at_most() {
    let cluster = Cluster::start();
    let server = support::server(&cluster);
    let database = PgPool::connect(&cluster.url).await.unwrap();
    let files = |number| (0..number).map(|_| ("tiny".to_owned(), vec![1])).collect();
    assert_eq!(support::upload(&server.url, files(101)).await, 413);
    let counts = store::counts(&database).await.unwrap();
    assert_eq!(counts, store::Counts::default());
    assert_eq!(support::upload(&server.url, files(100)).await, 200);
    assert_eq!(store::counts(&database).await.unwrap().waiting, 100);
    server.stop();
}

#[tokio::test]
async fn another_server_starts_while_an_upload_is_being_stored() {
    let cluster = Cluster::start();
    let server = support::server(&cluster);
    let database = PgPool::connect(&cluster.url).await.unwrap();
    let mut upload = database.begin().await.unwrap();
    store::add(&mut upload, "one", "name", b"content")
        .await
        .unwrap();
    // Whatever waits for the transaction above would wait for ever.
    let starting = store::set_up(&database);
    let started = tokio::time::timeout(patience(Duration::from_secs(30)), starting).await;
    started.expect("it waits for a lock").unwrap();
    upload.rollback().await.unwrap();
    let storage: String = sqlx::query_scalar(
        "SELECT attstorage::text FROM pg_attribute WHERE attname = 'content'
            AND attrelid = 'pictures'::regclass",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    assert_eq!(storage, "e");
    server.stop();
}
