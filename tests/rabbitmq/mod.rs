//! RabbitMQ for real: a broker of `scripts/brokers`, written and read back with pika, a client that is not ours.

mod broken;
mod events;
mod killed;
mod lag;
mod letters;
mod outside;
mod restarts;
mod roundtrip;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::brokers;

pub use outside::Outside;

/// The broker that all tests share: nobody may break it.
pub fn shared() -> &'static BTreeMap<String, String> {
    static SHARED: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    SHARED.get_or_init(|| brokers::up("brokers", "rabbitmq"))
}

/// A name that nobody has used.
pub fn unique(stem: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("{stem}.{micros}.{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A job in a folder of its own.
pub struct Job {
    dir: tempfile::TempDir,
    pub set: Vec<String>,
}

impl Job {
    pub fn new(sql: &str) -> Job {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("job.sql"), sql).unwrap();
        Job { dir, set: vec!["checkpoint.interval=100 ms".into()] }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Another text for the same state.
    pub fn rewrite(&self, sql: &str) {
        fs::write(self.path("job.sql"), sql).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eagre"));
        command.arg("run").arg(self.path("job.sql")).arg("--data-dir").arg(self.path("state"));
        command.args(["--pg-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        self.set.iter().for_each(|set| _ = command.args(["--set", set]));
        command.stdout(Stdio::null()).stderr(fs::File::options().create(true).append(true).open(self.path("stderr")).unwrap());
        command
    }

    pub fn start(&self) -> Running<'_> {
        self.start_with("")
    }

    /// Starts, to be killed at a fault point.
    pub fn start_with(&self, fault: &str) -> Running<'_> {
        let started = self.starts();
        Running { job: self, child: self.command().env("EAGRE_FAULT", fault).spawn().unwrap(), started }
    }

    /// Runs until it fails by itself: exit code and what it says.
    pub fn fails(&self) -> (i32, String) {
        let done = self.command().stderr(Stdio::piped()).output().unwrap();
        (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stderr).into_owned())
    }

    /// How often it has come as far as opening its doors.
    fn starts(&self) -> usize {
        self.said().matches("tables: psql").count()
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// Lines of all visible files of a folder, sorted.
    pub fn lines(&self, name: &str) -> Vec<String> {
        lines(&self.path(name))
    }
}

/// The lines of all files of a folder that are not hidden, sorted.
fn lines(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_string_lossy().starts_with('.') {
            lines.extend(fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned));
        }
    }
    lines.sort();
    lines
}

/// A job that runs; killed when it is dropped.
pub struct Running<'a> {
    job: &'a Job,
    child: Child,
    /// Starts of the job before this one.
    started: usize,
}

impl Running<'_> {
    /// As kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops in order, once it runs; the exit code.
    pub fn stop(mut self) -> i32 {
        self.until("it runs", |running| running.job.starts() > running.started);
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Waits for its end; the exit code.
    pub fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Waits until it is killed at its fault point.
    pub fn ends_killed(mut self) {
        let ended = self.child.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "{}", self.job.said());
    }

    /// What `/health` says.
    pub fn health(&self) -> String {
        let said = self.job.said();
        let Some((_, rest)) = said.rsplit_once("health: ") else { return String::new() };
        fetched(rest.split_whitespace().next().unwrap())
    }

    /// What `/metrics` says; nothing before its doors are open.
    pub fn metrics(&self) -> String {
        let said = self.job.said();
        let url = said.rsplit_once("health: ").and_then(|(_, rest)| rest.split_whitespace().next());
        url.map_or_else(String::new, |url| fetched(&url.replace("/health", "/metrics")))
    }

    /// Waits until something is so; what the job has said when it never is.
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{what}: the job has ended ({status}): {}", self.job.said());
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{what}: not so after two minutes; {}", self.job.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn fetched(url: &str) -> String {
    let done = Command::new("curl").args(["-s", "-m", "5", url]).output().expect("curl is needed");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
