//! The server and a worker, as their users see them.

mod support;

use std::time::{Duration, Instant};

use crossmist_fleet::store::{self, Picture};
use crossmist_fleet::thumbnail::hole::ATTACKS;
use sqlx::postgres::PgPool;
use support::cluster::Cluster;
use support::patience;
use support::pictures::{self, Expected};

/// A database with a server.
struct Service {
    server: support::Process,
    database: PgPool,
    cluster: Cluster,
}

impl Service {
    async fn start() -> Self {
        let cluster = Cluster::start();
        let server = support::server(&cluster);
        let database = PgPool::connect(&cluster.url).await.unwrap();
        Self {
            server,
            database,
            cluster,
        }
    }

    async fn upload(&self, name: &str, content: &[u8]) -> u16 {
        let file = (name.to_owned(), content.to_vec());
        support::upload(&self.server.url, vec![file]).await
    }

    /// Waits until all pictures have a final state, and returns the latest one.
    async fn latest(&self) -> Picture {
        let until = Instant::now() + patience(Duration::from_secs(60));
        loop {
            let counts = store::counts(&self.database).await.unwrap();
            let pictures = store::latest(&self.database, 1).await.unwrap();
            if counts.waiting == 0 {
                return pictures.into_iter().next().unwrap();
            }
            assert!(Instant::now() < until, "{pictures:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a confined child of a worker sleeps over the latest picture.
    async fn asleep(&self, worker: &support::Process) {
        self.taken().await;
        support::wait_until("a child sleeps", || {
            let mut family = worker.family().into_iter();
            family.any(|id| {
                let path = format!("/proc/{id}/wchan");
                std::fs::read_to_string(path).is_ok_and(|at| at.contains("nanosleep"))
            })
        });
    }

    /// Waits until a worker has the latest picture.
    async fn taken(&self) {
        let until = Instant::now() + patience(Duration::from_secs(60));
        while store::latest(&self.database, 1).await.unwrap()[0].state != "taken" {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn an_upload_becomes_a_thumbnail_on_the_page() {
    let service = Service::start().await;
    let worker = support::worker(&service.cluster);
    let file = pictures::good(1);
    assert_eq!(
        service.upload("hills <of> home.jpg", &file.content).await,
        200
    );
    let picture = service.latest().await;
    assert_eq!((picture.state.as_str(), picture.attempts), ("done", 1));
    let page = support::text(&service.server.url).await;
    assert!(page.contains("hills &lt;of&gt; home.jpg"), "{page}");
    let address = format!("/pictures/{}/thumbnail", picture.id);
    assert!(page.contains(&address), "{page}");
    let (status, png) = support::get(&format!("{}{address}", service.server.url)).await;
    let Expected::Png(expected) = file.expected else {
        panic!("a good one");
    };
    assert_eq!(status, 200);
    assert!(png == expected);
    assert!(worker.stop().starts_with("1 pictures, 0 of which failed"));
}

#[tokio::test]
async fn each_attack_is_a_dead_letter_after_one_try_with_a_report_that_runs_no_script() {
    let service = Service::start().await;
    let worker = support::worker(&service.cluster);
    for number in 0..ATTACKS.len() {
        let file = pictures::hostile(number);
        assert_eq!(service.upload(&file.name, &file.content).await, 200);
        let picture = service.latest().await;
        assert_eq!(picture.state, "dead", "{picture:?}");
        assert_eq!(picture.attempts, 1, "{picture:?}");
        let Expected::Report(expected) = file.expected else {
            panic!("a hostile one");
        };
        let report = store::report(&service.database, &picture.id).await.unwrap();
        let report = report.unwrap();
        assert!(report.contains(expected), "{}: {report}", file.name);
        assert!(report.len() <= 5 << 10, "{}", report.len());
        let address = format!("{}/pictures/{}", service.server.url, picture.id);
        let page = support::text(&address).await;
        assert!(
            page.contains("<h3>Report</h3>") && !page.contains("<script"),
            "{page}"
        );
        let (status, _) = support::get(&format!("{address}/thumbnail")).await;
        assert_eq!(status, 404);
    }
    let failures: Vec<(String, i64)> =
        sqlx::query_as("SELECT blame, count(*) FROM failures GROUP BY 1")
            .fetch_all(&service.database)
            .await
            .unwrap();
    assert_eq!(failures, [("input".to_owned(), ATTACKS.len() as i64)]);
    worker.stop();
}

#[tokio::test]
async fn a_job_whose_keeper_was_killed_is_tried_again() {
    let service = Service::start().await;
    let worker = support::worker(&service.cluster);
    service.upload("slow", b"HOLE long-sleep").await;
    service.asleep(&worker).await;
    // The process that started the confined ones. The worker has not.
    let mut keeper = None;
    support::wait_until("it has a keeper", || {
        let family = worker.family();
        let mut parents = family.iter().filter_map(|id| support::parent(*id));
        keeper = parents.find(|parent| family.contains(parent) && *parent != worker.child.id());
        keeper.is_some()
    });
    let keeper = nix::unistd::Pid::from_raw(keeper.unwrap().try_into().unwrap());
    nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
    let picture = service.latest().await;
    assert_eq!((picture.state.as_str(), picture.attempts), ("done", 2));
    let failures: Vec<(i32, String, String)> =
        sqlx::query_as("SELECT attempt, blame, report FROM failures")
            .fetch_all(&service.database)
            .await
            .unwrap();
    let [(1, blame, report)] = &failures[..] else {
        panic!("{failures:?}");
    };
    assert_eq!(blame, "machine");
    assert!(report.contains("was killed"), "{report}");
    // The pause was kept.
    assert!(picture.seconds.unwrap() >= 1.0, "{picture:?}");
    worker.stop();
}

#[tokio::test]
async fn a_worker_that_is_to_stop_finishes_what_it_has() {
    let service = Service::start().await;
    let worker = support::worker(&service.cluster);
    service.upload("slow", b"HOLE long-sleep").await;
    service.asleep(&worker).await;
    assert!(worker.stop().starts_with("1 pictures, 0 of which failed"));
    let picture = service.latest().await;
    assert_eq!((picture.state.as_str(), picture.attempts), ("done", 1));
    let status: String = sqlx::query_scalar("SELECT status FROM apalis.jobs")
        .fetch_one(&service.database)
        .await
        .unwrap();
    assert_eq!(status, "Done");
}

#[tokio::test]
async fn the_job_of_a_worker_that_died_is_done_by_another_one() {
    let service = Service::start().await;
    let worker = support::worker(&service.cluster);
    service.upload("slow", b"HOLE sleep").await;
    service.taken().await;
    worker.kill();
    let other = support::worker(&service.cluster);
    let picture = service.latest().await;
    assert_eq!((picture.state.as_str(), picture.attempts), ("done", 2));
    let failures: i64 = sqlx::query_scalar("SELECT count(*) FROM failures")
        .fetch_one(&service.database)
        .await
        .unwrap();
    // Nobody was there to say how it ended.
    assert_eq!(failures, 0);
    other.stop();
}

#[tokio::test]
async fn what_is_no_upload_is_refused() {
    let service = Service::start().await;
    assert_eq!(service.upload("nothing", b"").await, 422);
    let long = vec![0; 9 << 20];
    assert_eq!(service.upload("long", &long).await, 413);
    let nothing = format!("{}/pictures/none", service.server.url);
    assert_eq!(support::get(&nothing).await.0, 404);
    let counts = store::counts(&service.database).await.unwrap();
    assert_eq!(counts, store::Counts::default());
}

/// Every query of the dashboard names metrics and labels that a worker shows.
#[tokio::test]
async fn the_dashboard_asks_for_what_there_is() {
    let service = Service::start().await;
    let worker = support::measured_worker(&service.cluster);
    service.upload("good", &pictures::good(0).content).await;
    service.latest().await;
    service.upload("bad", b"HOLE panic").await;
    service.latest().await;
    // More than there are places, so that some wait.
    for _ in 0..6 {
        service.upload("slow", b"HOLE sleep").await;
    }
    service.latest().await;
    let figures = support::text(&worker.url).await;
    let mut metrics = std::collections::BTreeSet::new();
    for line in figures.lines() {
        let mut words = line.split(' ');
        if let (Some("#"), Some("TYPE"), Some(name), Some(kind)) =
            (words.next(), words.next(), words.next(), words.next())
        {
            match kind {
                "histogram" => {
                    metrics.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
                }
                _ => drop(metrics.insert(name.to_owned())),
            }
        }
    }
    // A keeper that is not replaced has no figure. The library's test has one that is.
    metrics.insert("crossmist_keeper_restarts_total".to_owned());
    let dashboard = include_str!("../dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            queries += 1;
            let query = target["expr"].as_str().unwrap();
            let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let named: Vec<&str> = words
                .filter(|word| word.starts_with("crossmist_") || word.starts_with("fleet_"))
                .collect();
            assert!(!named.is_empty(), "{query}");
            for name in named {
                assert!(
                    metrics.contains(name),
                    "`{query}` asks for `{name}`:\n{figures}"
                );
            }
            for label in ["outcome", "function", "child", "le"] {
                let is_used =
                    query.contains(&format!("({label}")) || query.contains(&format!("{label}="));
                assert!(
                    !is_used || figures.contains(&format!("{label}=\"")),
                    "{query}"
                );
            }
        }
    }
    assert!(queries >= 10, "{queries}");
    worker.stop();
}
