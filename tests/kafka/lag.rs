//! How far reading is behind: in `/metrics`, in the system table, and in `eagre explain` of a running engine.

use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use super::{Job, Kafka, unique};

/// Starts a job and asks `eagre explain` until it says all this.
#[expect(clippy::zombie_processes, reason = "the caller waits for it")]
fn until_explained(job: &Job, name: &str, sql: &str, wanted: &[&str]) -> Child {
    let mut run = job.command(name, sql).args(["--http-listen", "127.0.0.1:0", "--pg-listen", "127.0.0.1:0"]).spawn().unwrap();
    let started = Instant::now();
    loop {
        let mut explain = Command::new(env!("CARGO_BIN_EXE_eagre"));
        let explain = explain.arg("explain").arg(job.path(name)).arg("--data-dir").arg(job.path(&format!("{name}.state")));
        let told = String::from_utf8(explain.output().unwrap().stdout).unwrap();
        if wanted.iter().all(|wanted| told.contains(wanted)) {
            return run;
        }
        if started.elapsed() > Duration::from_secs(60) {
            _ = run.kill();
            panic!("never: {wanted:?} in {told}");
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn nobody_is_behind_of_what_transactions_leave_at_the_end() {
    let (kafka, mut job) = (Kafka::shared(), Job::new());
    job.set = vec!["checkpoint.interval=100 ms".into()];
    let topic = kafka.topic("transactions", 1);
    let table = |name: &str, more: &str| {
        format!(
            "CREATE TABLE {name} (n BIGINT) WITH ('connector' = 'kafka', 'format' = 'json', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}'{more});",
            kafka.servers()
        )
    };
    let once = format!(", 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{}'", unique("lag"));
    job.run(
        "fill.sql",
        &format!(
            "CREATE TABLE s (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '10'); {}
             INSERT INTO t SELECT n FROM s;",
            table("t", &once)
        ),
    );
    let read = format!(
        "{} CREATE TABLE o (n BIGINT) WITH ('connector' = 'blackhole'); INSERT INTO o SELECT n FROM t;",
        table("t", ", 'scan.startup.mode' = 'earliest-offset'")
    );
    let mut run = until_explained(&job, "read.sql", &read, &["10 rows, 0 behind the end"]);
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn lag_is_told_by_partition_while_it_runs() {
    let (kafka, mut job) = (Kafka::shared(), Job::new());
    job.set = vec!["checkpoint.interval=100 ms".into()];
    let (held, live) = (kafka.topic("held", 2), kafka.topic("live", 1));
    let lines: String = (0..1_000).map(|n| format!("{n}\n")).collect();
    kafka.put(&held, 0, false, &lines);
    kafka.put(&held, 1, false, &lines);
    kafka.put(&live, 0, false, "1\n");
    let kafka_table = |name: &str, topic: &str, more: &str| {
        format!(
            "CREATE TABLE {name} (line STRING) WITH ('connector' = 'kafka', 'format' = 'raw', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}',
               'scan.startup.mode' = 'earliest-offset'{more});",
            kafka.servers()
        )
    };
    // One table is read up to a place and no further, the other keeps the pipeline alive.
    let stops =
        ", 'scan.bounded.mode' = 'specific-offsets', 'scan.bounded.specific-offsets' = 'partition:0,offset:400;partition:1,offset:1000'";
    let sql = format!(
        "{} {}
         CREATE TABLE o (line STRING) WITH ('connector' = 'blackhole');
         INSERT INTO o SELECT line FROM held UNION ALL SELECT line FROM live;",
        kafka_table("held", &held, stops),
        kafka_table("live", &live, ""),
    );
    let first = format!("1400 rows, 600 behind the end ({held}[0] 600)");
    let mut run = until_explained(&job, "lag.sql", &sql, &[&first, "1 rows, 0 behind the end"]);
    let mut sql = Command::new(env!("CARGO_BIN_EXE_eagre"));
    sql.arg("sql").arg(job.path("lag.sql")).arg("--data-dir").arg(job.path("lag.sql.state"));
    let query = "SELECT lag_records FROM system.partitions WHERE source = 'held' ORDER BY partition";
    let done = sql.args(["--format", "csv", "-c", query]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), ["600", "0"], "{text}");
    run.kill().unwrap();
    run.wait().unwrap();
}
