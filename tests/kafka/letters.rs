//! Dead letters in a topic of the cluster that they came from: as they came, with Kafka Connect's headers, exactly once.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;

use eagre::fault::Point;

use super::{Job, Kafka, unique};

/// A bounded job that keeps numbers and sends what is none to `letters`; `more` goes to the table that is read.
fn sql(kafka: &Kafka, topic: &str, letters: &str, sink: &str, more: &str) -> String {
    format!(
        "CREATE TABLE t (n BIGINT) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{servers}', 'format' = 'json',
           'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'properties.group.id' = 'g', 'dead-letter' = '{letters}'{more});
         CREATE TABLE o (n BIGINT) WITH ({sink});
         INSERT INTO o SELECT n FROM t;",
        servers = kafka.servers()
    )
}

/// The value of a header as kcat prints them.
fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    let rest = headers.split_once(&format!("{name}="))?.1;
    Some(rest.split(',').next().unwrap_or(rest))
}

#[test]
fn refused_records_keep_value_key_and_headers_and_say_what_became_of_them() {
    let kafka = Kafka::shared();
    let (topic, letters) = (kafka.topic("numbers", 2), unique("letters"));
    kafka.put(&topic, 0, false, "{\"n\": 1}\n");
    let put = |more: &[&str], text: &str| kafka.kcat(&[&["-P", "-t", &topic, "-p", "1", "-K", ":"], more].concat(), text);
    put(&["-H", "tenant=t1", "-H", "trace=abc"], "k7:torn {\n");
    put(&["-Z"], "gone:\n");
    let job = Job::new();
    job.run("letters.sql", &sql(&kafka, &topic, &letters, "'connector' = 'blackhole'", ""));
    let found = kafka.committed(&letters, "%k|%S|%s|%h");
    assert_eq!(found.len(), 2, "{found:?}");
    let (gone, torn) = (&found[0], &found[1]);
    assert!(torn.starts_with("k7|6|torn {|tenant=t1,trace=abc,__connect.errors.topic="), "the record as it came: {torn}");
    for (name, wanted) in [
        ("__connect.errors.topic", topic.as_str()),
        ("__connect.errors.partition", "1"),
        ("__connect.errors.offset", "0"),
        ("__connect.errors.connector.name", "letters"),
        ("__connect.errors.task.id", "1"),
        ("__connect.errors.stage", "VALUE_CONVERTER"),
        ("__connect.errors.class.name", "decode"),
        ("__connect.errors.exception.class.name", "undecodable"),
        ("dead-letter.source", "t"),
        ("dead-letter.reason", "undecodable"),
    ] {
        assert_eq!(header(torn, name), Some(wanted), "{torn}");
    }
    assert!(header(torn, "__connect.errors.exception.message").is_some_and(|told| !told.is_empty()), "{torn}");
    assert!(gone.starts_with("gone|-1||__connect.errors.topic="), "a record without a value stays one: {gone}");
    assert_eq!(header(gone, "__connect.errors.offset"), Some("1"));
}

/// By offset of the record: how often it is among the committed letters.
fn letters_of(kafka: &Kafka, topic: &str) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for line in kafka.committed(topic, "%s %h") {
        let offset: u64 = header(&line, "__connect.errors.offset").unwrap().parse().unwrap();
        assert!(line.starts_with(&format!("bad {offset} ")), "{line}");
        *found.entry(offset).or_default() += 1;
    }
    found
}

#[test]
fn killed_between_any_two_steps_each_letter_is_there_once() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("half", 1);
    let mut records: u64 = 0;
    let mut put_more = || {
        let line = |n: u64| if n.is_multiple_of(2) { format!("{{\"n\": {n}}}\n") } else { format!("bad {n}\n") };
        kafka.put(&topic, 0, false, &(records..records + 4_000).map(line).collect::<String>());
        records += 4_000;
        records
    };
    // Alone in their transaction, and beside the rows of a sink with properties of its own.
    for beside in [false, true] {
        let (letters, out, prefix) = (unique("letters"), kafka.topic("out", 1), unique("letters"));
        let sink = match beside {
            false => "'connector' = 'blackhole'".to_owned(),
            true => format!(
                "'connector' = 'kafka', 'topic' = '{out}', 'properties.bootstrap.servers' = '{}', 'format' = 'json', 'properties.compression.type' = 'gzip',
                 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{prefix}'",
                kafka.servers()
            ),
        };
        let more = if beside { String::new() } else { format!(", 'sink.transactional-id-prefix' = '{prefix}'") };
        let mut job = Job::new();
        job.set = vec!["checkpoint.interval=10 ms".into()];
        let text = sql(&kafka, &topic, &letters, &sink, &more);
        let (mut killed, mut records) = (0, 0);
        for (point, passing) in Point::ALL.iter().flat_map(|point| [(point, 1), (point, 2)]) {
            // A run that had come to its end goes on with what is new.
            records = put_more();
            let mut command = job.command("half.sql", &text);
            command.args(["--restore", "latest"]).env("EAGRE_FAULT", format!("{}:{passing}", point.name()));
            let done = command.output().unwrap();
            match (done.status.signal(), done.status.success()) {
                (Some(9), _) => killed += 1,
                (_, true) => {}
                _ => panic!("{}", String::from_utf8_lossy(&done.stderr)),
            }
        }
        assert!(killed >= 8, "killed only {killed} times");
        let done = job.command("half.sql", &text).args(["--restore", "latest"]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let found = letters_of(&kafka, &letters);
        let wanted: BTreeMap<u64, usize> = (0..records).filter(|n| n % 2 == 1).map(|n| (n, 1)).collect();
        assert!(
            found == wanted,
            "beside a sink: {beside}; {} letters, {} of them once",
            found.len(),
            found.values().filter(|n| **n == 1).count()
        );
        if beside {
            assert_eq!(kafka.committed(&out, "%s").len() as u64, records / 2);
        }
    }
}

#[test]
fn what_cannot_be_is_told() {
    let kafka = Kafka::shared();
    let (topic, job) = (kafka.topic("told", 1), Job::new());
    let blackhole = "'connector' = 'blackhole'";
    let (code, said) = job.fails("own.sql", &sql(&kafka, &topic, &topic, blackhole, ""));
    assert!(code == 2 && said.contains(&format!("table 't': its dead letters cannot go to its own topic '{topic}'")), "{code} {said}");
    assert!(said.contains("own.sql:2:"), "{said}");
    let elsewhere = "'connector' = 'kafka', 'topic' = 'x', 'properties.bootstrap.servers' = 'elsewhere:1', 'format' = 'json', 'sink.delivery-guarantee' = 'exactly-once'";
    let (code, said) = job.fails("two.sql", &sql(&kafka, &topic, "refused", elsewhere, ""));
    assert!(code == 2 && said.contains("one transaction reaches one cluster"), "{code} {said}");
    // In the embedded log they can be, in any case.
    job.run("inside.sql", &sql(&kafka, &topic, "log:refused", blackhole, ""));
}
