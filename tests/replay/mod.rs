//! `eagre replay`: dead letters go back once and as they were; history runs again in a shadow.

mod brokers;
mod history;
mod letters;
mod ordered;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eagre::log::{Batch, Log, Record, Records};
use serde_json::Value;

/// 2024-01-01 12:00:00, in microseconds.
pub const NOON: i64 = 1_704_110_400_000_000;

/// A project folder.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new(sql: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        fs::create_dir(folder.path("queries")).unwrap();
        fs::write(folder.path("eagre.yaml"), "name: again\ncheckpoint.interval: 50 ms\n").unwrap();
        folder.query(sql);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn query(&self, sql: &str) {
        fs::write(self.path("queries/10.sql"), sql).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eagre"));
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }

    /// What a command prints; it must succeed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", err(&done));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Exit code and what is told of a command that is refused.
    pub fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let done = self.command(arguments).output().unwrap();
        (done.status.code().unwrap_or(-1), err(&done))
    }

    /// The rows of a query, a JSON object each, in the order of their texts.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let mut rows: Vec<String> = self.ok(&["sql", "--format", "json", "-c", sql]).lines().map(str::to_owned).collect();
        rows.sort();
        rows
    }

    /// Starts the project; it is killed when the handle is dropped.
    pub fn start(&self) -> Running {
        let log = fs::File::options().create(true).append(true).open(self.path("said")).unwrap();
        let mut command = self.command(&["run", ".", "--pg-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        Running { child: command.stdout(Stdio::null()).stderr(log).spawn().unwrap(), said: self.path("said") }
    }

    /// Runs until a count of SQL is `wanted`, then stops in order.
    #[track_caller]
    pub fn run_until(&self, sql: &str, wanted: usize) {
        let mut running = self.start();
        running.until_count(self, sql, wanted);
        running.stop();
    }

    /// The log, while no engine holds it.
    pub fn log(&self) -> Log {
        Log::open(&self.path(".eagre/log")).unwrap()
    }

    /// Writes records into a topic, each to the partition of its key, without an engine.
    pub fn put(&self, topic: &str, partitions: u32, records: &[(&str, String, i64)]) {
        let log = self.log();
        let topic = log.topic_or_create(topic, Some(partitions), None).unwrap();
        let mut batch = Batch::default();
        for (number, (key, value, micros)) in records.iter().enumerate() {
            let headers = [("trace".to_owned(), Bytes::from(format!("{number}"))), ("raw".to_owned(), Bytes::from_static(b"\xff\x00"))];
            let record = Record { value: Some(value.as_bytes()), key: Some(key.as_bytes()), timestamp: *micros, headers: &headers };
            batch.push_by_key(&topic, &record).unwrap();
        }
        log.append(batch).unwrap();
    }

    /// All records of a topic, partition by partition, while no engine holds the log.
    pub fn topic(&self, name: &str) -> Vec<Records> {
        let log = self.log();
        let topic = log.topic(name).unwrap();
        (0..topic.partitions()).map(|partition| log.read(&topic, partition, 0, 1 << 30).unwrap()).collect()
    }
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A header of a record, as JSON.
pub fn header(records: &Records, row: usize, name: &str) -> Option<Value> {
    let (_, value) = records.headers[row].iter().find(|(known, _)| known == name)?;
    serde_json::from_slice(value).ok()
}

/// A project that runs.
pub struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    /// Waits until a count of SQL is `wanted`.
    #[track_caller]
    pub fn until_count(&mut self, folder: &Folder, sql: &str, wanted: usize) {
        let begun = Instant::now();
        loop {
            let done = folder.command(&["sql", "--format", "csv", "-c", sql]).output().unwrap();
            let out = String::from_utf8_lossy(&done.stdout).into_owned();
            let count = out.lines().nth(1).and_then(|line| line.parse::<usize>().ok());
            // Only what the engine itself says counts.
            let attached = !err(&done).contains("no engine runs here");
            if attached && count == Some(wanted) {
                return;
            }
            let said = || fs::read_to_string(&self.said).unwrap();
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{sql}: the project has ended ({status}): {}", said());
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{sql}: {count:?}, not {wanted}: {} {}", err(&done), said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops in order.
    pub fn stop(mut self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{}", fs::read_to_string(&self.said).unwrap());
    }

    /// As kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
