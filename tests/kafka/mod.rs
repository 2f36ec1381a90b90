//! Kafka for real: a broker of `scripts/brokers`, read back with kcat, a client that is not ours.

mod broken;
mod chaos;
mod discovery;
mod lag;
mod letters;
mod proxy;
mod roundtrip;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::brokers::{self, Addresses};
use crate::digests::eagre;

/// A cluster to test with.
#[derive(Debug, Clone)]
pub struct Kafka {
    pub addresses: Addresses,
}

impl Kafka {
    /// The broker that all tests share: nobody may break it.
    pub fn shared() -> Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Kafka { addresses: brokers::up("brokers", "kafka") }).clone()
    }

    /// The plain listener.
    pub fn servers(&self) -> &str {
        &self.addresses["KAFKA"]
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", self.servers()).create().unwrap()
    }

    /// A new topic under a name of its own, which is returned.
    pub fn topic(&self, stem: &str, partitions: i32) -> String {
        self.topic_with(stem, partitions, &[])
    }

    /// The same, with settings.
    pub fn topic_with(&self, stem: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let name = unique(stem);
        let topic = settings.iter().fold(NewTopic::new(&name, partitions, TopicReplication::Fixed(1)), |topic, (k, v)| topic.set(k, v));
        let made = futures::executor::block_on(self.admin().create_topics([&topic], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|one| _ = one.unwrap());
        name
    }

    /// Lets a topic grow.
    pub fn grow(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let done = futures::executor::block_on(self.admin().create_partitions([&new], &AdminOptions::new())).unwrap();
        done.into_iter().for_each(|one| _ = one.unwrap());
    }

    /// Removes the records of a partition before `offset`, as retention would.
    pub fn remove_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(offset)).unwrap();
        futures::executor::block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
    }

    /// kcat with its input; returns what it prints.
    pub fn kcat(&self, args: &[&str], input: &str) -> String {
        let mut command = Command::new("kcat");
        command.args(["-b", self.servers(), "-q"]).args(args);
        let mut kcat = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kcat is needed");
        kcat.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let done = kcat.wait_with_output().unwrap();
        assert!(done.status.success(), "kcat {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Writes lines into a topic, as records; `key:value` where `keyed`.
    pub fn put(&self, topic: &str, partition: i32, keyed: bool, lines: &str) {
        let partition = partition.to_string();
        let key: &[&str] = if keyed { &["-K", ":"] } else { &[] };
        self.kcat(&[&["-P", "-t", topic, "-p", &partition], key].concat(), lines);
    }

    /// All committed records of a topic, each as kcat formats it, sorted.
    pub fn committed(&self, topic: &str, format: &str) -> Vec<String> {
        let format = format!("{format}\\n");
        let text = self.kcat(&["-C", "-t", topic, "-e", "-o", "beginning", "-X", "isolation.level=read_committed", "-f", &format], "");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// A name that nobody has used.
pub fn unique(stem: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("{stem}-{micros}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A folder with a job in it.
pub struct Job {
    pub dir: tempfile::TempDir,
    /// Settings of its runs.
    pub set: Vec<String>,
}

impl Job {
    pub fn new() -> Job {
        Job { dir: tempfile::tempdir().unwrap(), set: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `eagre run` of a text.
    pub fn command(&self, name: &str, sql: &str) -> Command {
        let path = self.path(name);
        fs::write(&path, sql).unwrap();
        let set: Vec<&str> = self.set.iter().map(String::as_str).collect();
        eagre(&path, &self.path(&format!("{name}.state")), 2, &set)
    }

    /// Runs a text to its end.
    pub fn run(&self, name: &str, sql: &str) {
        let done = self.command(name, sql).output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Runs a text that fails; returns exit code and what it says.
    pub fn fails(&self, name: &str, sql: &str) -> (i32, String) {
        let done = self.command(name, sql).output().unwrap();
        (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stderr).into_owned())
    }
}

/// The lines of a file, or of all files of a folder that are not hidden, sorted.
pub fn lines(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let files = if path.is_dir() { fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect() } else { vec![path.to_owned()] };
    for file in files.iter().filter(|f| !f.file_name().unwrap().to_string_lossy().starts_with('.')) {
        lines.extend(fs::read_to_string(file).unwrap().lines().map(str::to_owned));
    }
    lines.sort();
    lines
}
