//! Nothing is lost, and nothing is counted twice: workers die at random, and the database once.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossmist_fleet::store;
use sqlx::postgres::PgPool;
use support::cluster::Cluster;
use support::patience;
use support::pictures::{self, Expected, File};

const JOBS: usize = 1000;

/// One in so many is hostile.
const HOSTILE: usize = 10;

/// How many different good pictures there are.
const DIFFERENT: usize = 60;

/// How long all of it may take.
const TIME: Duration = Duration::from_secs(180);

/// So many workers are killed at least, and at most.
const LEAST_KILLS: usize = 5;
const MOST_KILLS: usize = 15;

/// Marsaglia's xorshift: the times and the victims.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_has_one_final_state_although_workers_and_the_database_die() {
    let seed = std::env::var("FLEET_SEED").map_or(0, |seed| seed.parse().unwrap());
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = if seed == 0 {
        now.as_micros() as u64
    } else {
        seed
    };
    println!("FLEET_SEED={seed} repeats the times and the victims");
    let mut dice = Dice(seed);

    let good: Vec<File> = (0..DIFFERENT).map(pictures::good).collect();
    let begun = Instant::now();
    let cluster = Cluster::start();
    let server = support::server(&cluster);
    let database = PgPool::connect(&cluster.url).await.unwrap();
    record_transitions(&database).await;

    let mut expected = BTreeMap::new();
    let mut upload = Vec::new();
    for number in 0..JOBS {
        let file = match number % HOSTILE {
            3 => pictures::hostile(number / HOSTILE),
            _ => {
                let File {
                    content, expected, ..
                } = &good[number % DIFFERENT];
                let Expected::Png(png) = expected else {
                    panic!("a good one");
                };
                File {
                    name: format!("good-{number}"),
                    content: content.clone(),
                    expected: Expected::Png(png.clone()),
                }
            }
        };
        upload.push((file.name.clone(), file.content));
        assert!(expected.insert(file.name, file.expected).is_none());
        if upload.len() == 50 {
            let files = std::mem::take(&mut upload);
            assert_eq!(support::upload(&server.url, files).await, 200);
        }
    }
    assert_eq!(store::counts(&database).await.unwrap().waiting, 1000);

    let mut workers = [support::worker(&cluster), support::worker(&cluster)];
    let (mut kills, mut has_restarted) = (0, false);
    loop {
        tokio::time::sleep(Duration::from_millis(200 + dice.throw(900))).await;
        // While the database restarts, nobody can say.
        let Ok(counts) = store::counts(&database).await else {
            continue;
        };
        if counts.waiting == 0 {
            break;
        }
        assert!(
            begun.elapsed() < patience(TIME),
            "{counts:?}, {kills} kills"
        );
        if !has_restarted && counts.done >= 200 {
            cluster.crash_and_restart();
            has_restarted = true;
        } else if kills < MOST_KILLS {
            let victim = dice.throw(2) as usize;
            std::mem::replace(&mut workers[victim], support::worker(&cluster)).kill();
            kills += 1;
        }
    }
    assert!(has_restarted && kills >= LEAST_KILLS, "{kills} kills");

    check_pictures(&database, &expected).await;
    check_queue(&database).await;
    let deliveries: Vec<(i32, i64)> = sqlx::query_as(
        "SELECT attempt, count(*) FROM pictures WHERE state = 'dead' GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(&database)
    .await
    .unwrap();
    println!(
        "{JOBS} jobs in {:.1?}, {kills} workers killed; hostile ones by deliveries: {deliveries:?}",
        begun.elapsed()
    );
    assert!(!support::processes().is_empty(), "they are seen");
    workers.into_iter().for_each(|worker| drop(worker.stop()));
    server.stop();
    support::wait_until("no process is left", || support::processes().is_empty());
    assert!(begun.elapsed() < patience(TIME), "{:?}", begun.elapsed());
}

/// Has the database itself keep a list of all changes of states.
async fn record_transitions(database: &PgPool) {
    let statements = "
        CREATE TABLE transitions (picture text, before text, after text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO transitions VALUES (NEW.id, OLD.state, NEW.state);
            RETURN NULL;
        END $$;
        CREATE TRIGGER note AFTER UPDATE ON pictures FOR EACH ROW EXECUTE FUNCTION note();";
    sqlx::raw_sql(statements).execute(database).await.unwrap();
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    state: String,
    thumbnail: Option<Vec<u8>>,
    /// All changes of its state.
    transitions: Vec<String>,
    /// Who was blamed in each try that failed, and the reports.
    blamed: Vec<String>,
    reports: Vec<String>,
}

/// Checks the final state of each picture.
async fn check_pictures(database: &PgPool, expected: &BTreeMap<String, Expected>) {
    let query = "SELECT name, state, thumbnail,
        ARRAY(SELECT before || ' ' || after FROM transitions WHERE picture = id) AS transitions,
        ARRAY(SELECT blame FROM failures WHERE picture = id) AS blamed,
        ARRAY(SELECT report FROM failures WHERE picture = id) AS reports
        FROM pictures";
    let rows: Vec<Row> = sqlx::query_as(query).fetch_all(database).await.unwrap();
    assert_eq!(rows.len(), JOBS);
    for row in &rows {
        let name = &row.name;
        match &expected[name] {
            Expected::Png(png) => {
                assert_eq!(row.transitions, ["waiting done"], "{name}");
                assert!(row.thumbnail.as_ref() == Some(png), "{name}");
                let blames_it = row.blamed.iter().any(|blame| blame == "input");
                assert!(!blames_it, "{name}: {:?}", row.reports);
            }
            Expected::Report(report) => {
                assert_eq!(
                    row.transitions,
                    ["waiting dead"],
                    "{name}: {:?}",
                    row.reports
                );
                assert_eq!(row.state, "dead");
                assert_eq!(row.thumbnail, None);
                // One try had an outcome. Others may have ended with their worker, and had none.
                let inputs = row.blamed.iter().filter(|blame| *blame == "input");
                assert_eq!(inputs.count(), 1, "{name}: {:?}", row.reports);
                let is_told = row.reports.iter().any(|text| text.contains(report));
                assert!(is_told, "{name}: {:?}", row.reports);
            }
        }
    }
}

/// Checks that the queue comes to the same conclusion, a moment later.
async fn check_queue(database: &PgPool) {
    let until = Instant::now() + patience(Duration::from_secs(60));
    let expected = vec![
        ("dead Killed".to_owned(), (JOBS / HOSTILE) as i64),
        ("done Done".to_owned(), (JOBS - JOBS / HOSTILE) as i64),
    ];
    loop {
        let states: Vec<(String, i64)> = sqlx::query_as(
            "SELECT state || ' ' || status, count(*) FROM pictures p JOIN apalis.jobs j ON j.id = p.id
            GROUP BY 1 ORDER BY 1",
        )
        .fetch_all(database)
        .await
        .unwrap();
        if states == expected {
            return;
        }
        assert!(Instant::now() < until, "{states:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
