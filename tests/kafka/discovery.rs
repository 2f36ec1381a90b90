//! Partitions and topics that appear while a pipeline runs.

use std::thread;
use std::time::{Duration, Instant};

use super::{Job, Kafka, lines, unique};

#[test]
fn new_partitions_and_topics_are_read_from_their_first_record() {
    let (kafka, mut job) = (Kafka::shared(), Job::new());
    job.set = vec!["checkpoint.interval=100 ms".into()];
    let stem = unique("found");
    let topic = kafka.topic(&stem, 1);
    kafka.put(&topic, 0, false, "old\n");
    let out = job.path("out");
    let sql = format!(
        "CREATE TABLE t (line STRING) WITH ('connector' = 'kafka', 'format' = 'raw', 'topic-pattern' = '{stem}-.*', 'properties.bootstrap.servers' = '{}',
           'scan.startup.mode' = 'latest-offset', 'scan.topic-partition-discovery.interval' = '200 ms');
         CREATE TABLE o (line STRING) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'raw');
         INSERT INTO o SELECT line FROM t;",
        kafka.servers(),
        out.display()
    );
    let wait_for = |wanted: &[&str]| {
        let started = Instant::now();
        while !out.is_dir() || lines(&out) != wanted {
            assert!(started.elapsed() < Duration::from_secs(40), "{:?}", out.is_dir().then(|| lines(&out)));
            thread::sleep(Duration::from_millis(50));
        }
    };
    let mut run = job.command("found.sql", &sql).spawn().unwrap();
    // It has begun when it reads what comes.
    let started = Instant::now();
    while !out.is_dir() || lines(&out).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(40));
        kafka.put(&topic, 0, false, "begun\n");
        thread::sleep(Duration::from_millis(300));
    }
    kafka.grow(&topic, 3);
    kafka.put(&topic, 2, false, "new partition\n");
    let other = kafka.topic(&stem, 1);
    kafka.put(&other, 0, false, "new topic\n");
    let found = |lines: &[String]| lines.iter().any(|l| l == "new partition") && lines.iter().any(|l| l == "new topic");
    let started = Instant::now();
    while !found(&lines(&out)) {
        assert!(started.elapsed() < Duration::from_secs(40), "{:?}", lines(&out));
        thread::sleep(Duration::from_millis(50));
    }
    // Killed and started again, each goes on where it stood; what came meanwhile in a new partition is read from its start.
    thread::sleep(Duration::from_millis(500));
    run.kill().unwrap();
    run.wait().unwrap();
    kafka.grow(&other, 2);
    kafka.put(&other, 1, false, "while away\n");
    kafka.put(&topic, 2, false, "again\n");
    let mut run = job.command("found.sql", &sql).spawn().unwrap();
    let before: Vec<String> = lines(&out);
    let mut wanted: Vec<&str> = before.iter().map(String::as_str).chain(["while away", "again"]).collect();
    wanted.sort_unstable();
    wait_for(&wanted);
    run.kill().unwrap();
    run.wait().unwrap();
}
