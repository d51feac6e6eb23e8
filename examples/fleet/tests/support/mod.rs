//! A database, a server and workers, as somebody would run them: processes.
#![allow(dead_code, reason = "each binary uses some of it")]

pub mod cluster;
pub mod pictures;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cluster::Cluster;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Client;
use reqwest::multipart::{Form, Part};

/// How long anything may take on a machine with a load of ten. `CROSSMIST_TEST_PATIENCE` stretches it.
pub fn patience(time: Duration) -> Duration {
    let factor = std::env::var("CROSSMIST_TEST_PATIENCE");
    time * factor.map_or(1, |factor| factor.parse().unwrap())
}

/// Waits until something is so.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + patience(Duration::from_secs(60));
    while !is_so() {
        assert!(Instant::now() < until, "it was not so in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The path of the program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_crossmist-fleet");

/// A process of the program.
pub struct Process {
    pub child: Child,
    output: BufReader<ChildStdout>,
    /// The first line that it printed, if it prints one.
    pub url: String,
}

/// Starts a server.
pub fn server(cluster: &Cluster) -> Process {
    patient_server(cluster, Duration::from_secs(60))
}

/// Starts a server that waits so long for uploads.
pub fn patient_server(cluster: &Cluster, time: Duration) -> Process {
    let mut command = Command::new(PROGRAM);
    command
        .arg("serve")
        .env("FLEET_LISTEN", "127.0.0.1:0")
        .env("FLEET_UPLOAD_TIME", time.as_secs().to_string());
    Process::start(command, cluster, true)
}

/// Starts a worker in a network namespace of its own, from which it reaches nothing but the Unix socket of the
/// database.
pub fn worker(cluster: &Cluster) -> Process {
    let mut command = Command::new("unshare");
    command.args(in_new_network()).args([PROGRAM, "work"]);
    command
        .env("FLEET_WORKERS", "2")
        .env("FLEET_HEARTBEAT", "1");
    Process::start(command, cluster, false)
}

/// Returns the options by which `unshare` gets a network namespace on this machine.
fn in_new_network() -> &'static [&'static str] {
    static OPTIONS: OnceLock<&[&str]> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        // Containers deny the first one to root as well.
        let ways: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
        let mut refusals = String::new();
        for options in ways {
            let output = Command::new("unshare").args(options).arg("true").output();
            let output = output.expect("`unshare` is not installed: it is part of util-linux");
            if output.status.success() {
                return options;
            }
            refusals += &String::from_utf8_lossy(&output.stderr);
        }
        panic!(
            "this machine gives workers no network namespace: run the tests with CAP_SYS_ADMIN, or allow user \
             namespaces\n{refusals}"
        )
    })
}

/// Starts a worker that shows its figures.
pub fn measured_worker(cluster: &Cluster) -> Process {
    let mut command = Command::new(PROGRAM);
    command.arg("work").env("FLEET_METRICS", "127.0.0.1:0");
    command
        .env("FLEET_WORKERS", "2")
        .env("FLEET_HEARTBEAT", "1");
    Process::start(command, cluster, true)
}

impl Process {
    fn start(mut command: Command, cluster: &Cluster, has_url: bool) -> Self {
        command.env("DATABASE_URL", &cluster.url);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(cluster.log())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        if has_url {
            output.read_line(&mut url).unwrap();
        }
        let url = url.trim_end().to_owned();
        Self { child, output, url }
    }

    /// Asks it to stop, waits until it has, and returns what it said last.
    pub fn stop(mut self) -> String {
        let process = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(process, Signal::SIGTERM).unwrap();
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {said}");
        said
    }

    /// Kills it, as a machine would that loses its power.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Returns the processes in its network namespace.
    pub fn family(&self) -> Vec<u32> {
        let network = |id: u32| std::fs::read_link(format!("/proc/{id}/ns/net")).ok();
        let own = network(self.child.id());
        let mut family = processes();
        family.retain(|id| network(*id) == own);
        family
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After a test that failed. Otherwise it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All processes of this machine that run the program.
pub fn processes() -> Vec<u32> {
    // Of one file there may be several paths.
    let file = |path: &Path| {
        let data = std::fs::metadata(path)?;
        std::io::Result::Ok((data.dev(), data.ino()))
    };
    let program = file(Path::new(PROGRAM)).unwrap();
    let entries = std::fs::read_dir("/proc").unwrap();
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id: &u32| {
        file(Path::new(&format!("/proc/{id}/exe"))).is_ok_and(|running| running == program)
    })
    .collect()
}

/// Returns the process that started another one.
pub fn parent(id: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:\t"))?;
    line.parse().ok()
}

/// Uploads files, and returns the status of the answer: that of the page, if they were taken.
pub async fn upload(url: &str, files: Vec<(String, Vec<u8>)>) -> u16 {
    let mut form = Form::new();
    for (name, content) in files {
        form = form.part("pictures", Part::bytes(content).file_name(name));
    }
    let request = Client::new()
        .post(format!("{url}/pictures"))
        .multipart(form);
    request.send().await.unwrap().status().as_u16()
}

/// Returns a page.
pub async fn get(url: &str) -> (u16, Vec<u8>) {
    let response = Client::new().get(url).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.bytes().await.unwrap().to_vec())
}

pub async fn text(url: &str) -> String {
    let (status, body) = get(url).await;
    assert_eq!(status, 200, "{url}");
    String::from_utf8(body).unwrap()
}
