//! PostgreSQL in a temporary folder, as an ordinary user.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::{User, chown};

/// A cluster that runs until this is dropped.
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    pub url: String,
}

impl Cluster {
    pub fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossmist-fleet-{}-{number}", std::process::id());
        // The path of a socket has 107 bytes at most.
        let folder = Path::new("/tmp").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let cluster = Self {
            programs: programs(),
            url: format!(
                "postgres://fleet@localhost/postgres?host={}",
                folder.display()
            ),
            folder,
        };
        if let Some(user) = ordinary_user() {
            chown(&cluster.folder, Some(user.uid), Some(user.gid)).unwrap();
        }
        let data = cluster.folder.join("data");
        cluster.run(cluster.program("initdb").arg("--pgdata").arg(&data).args([
            "--username=fleet",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]));
        // Only a crash of the machine loses what was not synchronized, and none is tested.
        let options = format!(
            "-c listen_addresses= -c fsync=off -c unix_socket_directories={}",
            cluster.folder.display()
        );
        cluster.run(&mut cluster.control(&["-o", &options, "start"]));
        cluster
    }

    /// Ends the database without a farewell, and starts it again: it recovers as after a crash.
    pub fn crash_and_restart(&self) {
        self.run(&mut self.control(&["--mode=immediate", "restart"]));
    }

    /// Returns the file into which the processes of a test write.
    pub fn log(&self) -> File {
        let path = self.folder.join("log");
        File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
    }

    fn control(&self, arguments: &[&str]) -> Command {
        let mut command = self.program("pg_ctl");
        command.arg("--pgdata").arg(self.folder.join("data"));
        command.arg("--log").arg(self.folder.join("postgresql.log"));
        command.args(["--wait", "--timeout=120"]).args(arguments);
        command
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir("/").stdin(Stdio::null());
        // PostgreSQL refuses to run as root.
        if let Some(user) = ordinary_user() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    #[track_caller]
    fn run(&self, command: &mut Command) {
        let status = command
            .stdout(self.log())
            .stderr(self.log())
            .status()
            .unwrap();
        if !status.success() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            panic!("{command:?}: {status}\n{log}");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.control(&["--mode=immediate", "stop"]).output();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let end = log.len().saturating_sub(8000);
            eprintln!("{}", log.get(end..).unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Returns whom to be for the database, if this process is root.
fn ordinary_user() -> Option<User> {
    let user = || User::from_name("nobody").unwrap().expect("a user `nobody`");
    nix::unistd::geteuid().is_root().then(user)
}

/// Returns the folder of the newest version that is installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let with_server = folders.filter(|folder| folder.join("initdb").exists());
    with_server.max().expect(
        "PostgreSQL is not installed in /usr/lib/postgresql: `examples/fleet/run` installs Debian's package",
    )
}
