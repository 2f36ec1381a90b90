//! What is told when something is wrong, and what goes on nevertheless.

use std::thread;
use std::time::{Duration, Instant};

use super::{Job, Kafka, lines};

/// A job that prints what a table holds.
fn read(options: &str) -> String {
    format!(
        "CREATE TABLE t (line STRING) WITH ('connector' = 'kafka', 'format' = 'raw', {options});
         CREATE TABLE o (line STRING) WITH ('connector' = 'print');
         INSERT INTO o SELECT line FROM t;"
    )
}

const EARLIEST: &str = "'scan.startup.mode' = 'earliest-offset'";
const BOUNDED: &str = "'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'";

#[test]
fn a_broker_that_is_not_there_is_tried_for_a_while_and_named() {
    let job = Job::new();
    let started = Instant::now();
    let (code, said) = job.fails(
        "a.sql",
        &read(&format!("'topic' = 't', 'properties.bootstrap.servers' = '127.0.0.1:1', 'connect.timeout' = '2 s', {EARLIEST}")),
    );
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("127.0.0.1:1") && said.contains("tried for 2 s") && said.contains("refused"), "{said}");
    assert!(started.elapsed() >= Duration::from_secs(2));
    let sink = "CREATE TABLE s (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '4');
        CREATE TABLE t (n BIGINT) WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = '127.0.0.1:1', 'format' = 'json', 'connect.timeout' = '2 s', MORE);
        INSERT INTO t SELECT n FROM s;";
    for guarantee in ["at-least-once", "exactly-once"] {
        let (code, said) = job.fails("b.sql", &sink.replace("MORE", &format!("'sink.delivery-guarantee' = '{guarantee}'")));
        assert!(code == 3 && said.contains("127.0.0.1:1") && said.contains("tried for 2 s"), "{guarantee}: {code} {said}");
    }
}

#[test]
fn an_unknown_topic_names_the_nearest() {
    let (kafka, job) = (Kafka::shared(), Job::new());
    let topic = kafka.topic("payments", 1);
    let wrong = topic.replace("payments", "payment");
    let (code, said) =
        job.fails("a.sql", &read(&format!("'topic' = '{wrong}', 'properties.bootstrap.servers' = '{}', {EARLIEST}", kafka.servers())));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&format!("no topic '{wrong}'")) && said.contains(&format!("did you mean '{topic}'?")), "{said}");
}

#[test]
fn tls_and_logins_are_honoured_and_a_refused_one_ends_the_run() {
    let (kafka, job) = (Kafka::shared(), Job::new());
    let at = |name: &str| kafka.addresses[name].clone();
    let topic = kafka.topic("secure", 1);
    kafka.put(&topic, 0, false, "through\n");
    let secure = |mechanism: &str, password: &str| {
        format!(
            "'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'properties.security.protocol' = 'SASL_SSL', 'properties.ssl.ca.location' = '{}',
             'properties.sasl.mechanism' = '{mechanism}', 'properties.sasl.username' = '{}', 'properties.sasl.password' = '{password}', {BOUNDED}",
            at("KAFKA_SECURE"),
            at("KAFKA_CA"),
            at("KAFKA_USER")
        )
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let out = job.path(&format!("{mechanism}.jsonl"));
        let into_file = format!("'connector' = 'filesystem', 'path' = '{}', 'format' = 'raw'", out.display());
        job.run(&format!("{mechanism}.sql"), &read(&secure(mechanism, &at("KAFKA_PASSWORD"))).replace("'connector' = 'print'", &into_file));
        assert_eq!(lines(&out), ["through"], "{mechanism}");
        let started = Instant::now();
        let (code, said) = job.fails("wrong.sql", &read(&secure(mechanism, "guessed")));
        assert!(code == 2 && said.contains("refuses us") && said.to_lowercase().contains("authentication"), "{mechanism}: {code} {said}");
        assert!(started.elapsed() < Duration::from_secs(15), "a login is not tried again");
    }
    // Without the authority's certificate the broker could be anybody.
    let (code, said) = job.fails(
        "unknown-authority.sql",
        &read(
            &secure("PLAIN", &at("KAFKA_PASSWORD"))
                .replace(&at("KAFKA_CA"), "/etc/ssl/certs/ca-certificates.crt")
                .replace("'scan.startup", "'connect.timeout' = '3 s', 'scan.startup"),
        ),
    );
    assert!(code == 3 && said.contains("certificate"), "{code} {said}");
    // Secrets are never sent in the clear without a word.
    let plain = secure("PLAIN", "x").replace("'properties.security.protocol' = 'SASL_SSL',", "");
    let (code, said) = job.fails("plain.sql", &read(&plain));
    assert!(code == 2 && said.contains("has no effect with 'properties.security.protocol' = 'plaintext'"), "{code} {said}");
}

#[test]
fn a_record_larger_than_the_limit_is_told_with_what_to_raise() {
    let (kafka, job) = (Kafka::shared(), Job::new());
    let small = kafka.topic_with("small", 1, &[("max.message.bytes", "2000")]);
    let write = |topic: &str, bytes: usize| {
        format!(
            "CREATE TABLE s (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '1');
             CREATE TABLE t (line STRING) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'format' = 'raw');
             INSERT INTO t SELECT REPEAT('x', {bytes}) FROM s;",
            kafka.servers()
        )
    };
    for bytes in [5_000, 2_000_000] {
        let (code, said) = job.fails("large.sql", &write(&small, bytes));
        assert!(code == 1 && said.contains("larger than the limit") && said.contains("max.message.bytes"), "{bytes}: {code} {said}");
    }
}

#[test]
fn records_removed_before_they_were_read_stop_the_run_or_are_counted() {
    let (kafka, job) = (Kafka::shared(), Job::new());
    let topic = kafka.topic("gap", 1);
    let table = |more: &str| {
        format!(
            "CREATE TABLE t (line STRING) WITH ('connector' = 'kafka', 'format' = 'raw', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', {BOUNDED}{more});
             CREATE TABLE o (line STRING) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'raw'); INSERT INTO o SELECT line FROM t;",
            kafka.servers(),
            job.path("out").display()
        )
    };
    kafka.put(&topic, 0, false, "a\nb\n");
    std::fs::create_dir(job.path("out")).unwrap();
    job.run("gap.sql", &table(""));
    kafka.put(&topic, 0, false, "c\nd\ne\n");
    kafka.remove_before(&topic, 0, 4);
    let go_on = |sql: &str| {
        let mut command = job.command("gap.sql", sql);
        command.args(["--restore", "latest"]).output().unwrap()
    };
    let done = go_on(&table(""));
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("2 to 3 were removed") && said.contains("'scan.on-retention-gap' = 'earliest'"), "{said}");
    let done = go_on(&table(", 'scan.on-retention-gap' = 'earliest'"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(lines(&job.path("out")), ["a", "b", "e"]);
}

#[test]
fn options_that_do_not_fit_are_told_before_anything_runs() {
    let job = Job::new();
    for (options, told) in [
        (
            "'topic' = 't', 'properties.bootstrap.servers' = 'x:1'",
            "'scan.startup.mode' = 'group-offsets' (the default) needs 'properties.group.id'",
        ),
        ("'topic' = 't', 'scan.startup.mode' = 'earliest-offset'", "the option 'properties.bootstrap.servers' is missing"),
        ("'topic' = 't', 'properties.bootstrap.servers' = 'x:1', 'scan.startup.mode' = 'earliest'", "did you mean 'earliest-offset'?"),
        (
            "'topic' = 't', 'properties.bootstrap.servers' = 'x:1', 'properties.fetch.wait.max' = '1', 'scan.startup.mode' = 'earliest-offset'",
            "did you mean 'fetch.wait.max.ms'?",
        ),
        (
            "'topic' = 't', 'topic-pattern' = 't.*', 'properties.bootstrap.servers' = 'x:1', 'scan.startup.mode' = 'earliest-offset'",
            "exclude each other",
        ),
        (
            "'topic' = 't', 'properties.bootstrap.servers' = 'x:1', 'properties.transactional.id' = 'y', 'scan.startup.mode' = 'earliest-offset'",
            "set 'sink.transactional-id-prefix'",
        ),
    ] {
        let (code, said) = job.fails("a.sql", &read(options));
        assert!(code == 2 && said.contains(told), "{options}: {code} {said}");
    }
}

#[test]
fn two_clusters_cannot_commit_as_one_and_too_short_transactions_are_refused() {
    let (kafka, mut job) = (Kafka::shared(), Job::new());
    let sink = |name: &str, servers: &str, more: &str| {
        format!(
            "CREATE TABLE {name} (n BIGINT) WITH ('connector' = 'kafka', 'topic' = '{name}', 'properties.bootstrap.servers' = '{servers}', 'format' = 'json',
               'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{}'{more});
             INSERT INTO {name} SELECT n FROM s;",
            "two"
        )
    };
    let source = "CREATE TABLE s (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '1');";
    let (code, said) = job.fails("a.sql", &format!("{source}{}{}", sink("a", "x:1", ""), sink("b", "y:1", "")));
    assert!(code == 2 && said.contains("one transaction reaches one cluster"), "{code} {said}");
    job.set = vec!["checkpoint.interval=40 s".into()];
    let short = sink("a", kafka.servers(), ", 'properties.transaction.timeout.ms' = '60000'");
    let (code, said) = job.fails("b.sql", &format!("{source}{short}"));
    assert!(code == 2 && said.contains("too short") && said.contains("140000"), "{code} {said}");
    job.set = vec!["checkpoint.interval=20 min".into()];
    let (code, said) = job.fails("c.sql", &format!("{source}{}", sink("a", kafka.servers(), "")));
    assert!(code == 2 && said.contains("transaction.max.timeout.ms"), "{code} {said}");
}

#[test]
fn a_sink_that_is_slow_slows_the_source_and_memory_stays_bounded() {
    let (kafka, job) = (Kafka::shared(), Job::new());
    let topic = kafka.topic("pressure", 1);
    let line = "y".repeat(1_000);
    let big: String = std::iter::repeat_n(format!("{line}\n"), 60_000).collect();
    for _ in 0..5 {
        kafka.put(&topic, 0, false, &big);
    }
    // 300 MB wait in the topic; standard output is a pipe that nobody reads.
    let sql = read(&format!("'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', {EARLIEST}", kafka.servers()));
    let mut command = job.command("pressure.sql", &sql);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_secs(6));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let kilobytes: u64 = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(kilobytes < 250_000, "{kilobytes} kB");
}
