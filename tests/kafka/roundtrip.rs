//! What is written comes out again, read by us and by others.

use std::fs;

use super::{Job, Kafka, lines, unique};
use crate::workload;

/// The options that every table here has.
fn kafka(kafka: &Kafka, topic: &str, more: &str) -> String {
    format!("'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', {more}", kafka.servers())
}

const BOUNDED: &str = "'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'";

#[test]
fn every_format_comes_out_as_it_went_in() {
    let broker = Kafka::shared();
    for (format, text, shown) in [("json", "'a' || CHR(10) || 'b'", r#"{"name":"a\nb","n":1}"#), ("csv", "'a,b'", "\"a,b\",1")] {
        let (job, topic) = (Job::new(), broker.topic(&format!("roundtrip-{format}"), 3));
        let table =
            |more: &str| format!("(name STRING, n BIGINT) WITH ({})", kafka(&broker, &topic, &format!("'format' = '{format}', {more}")));
        job.run(
            "write.sql",
            &format!(
                "CREATE TABLE t {}; INSERT INTO t SELECT * FROM (VALUES ({text}, CAST(1 AS BIGINT)), ('ü', 2), (CAST(NULL AS STRING), 3));",
                table("'sink.delivery-guarantee' = 'at-least-once'")
            ),
        );
        assert!(broker.kcat(&["-C", "-t", &topic, "-e"], "").contains(shown), "{format}");
        let out = job.path("out.jsonl");
        job.run(
            "read.sql",
            &format!(
                "CREATE TABLE t {}; CREATE TABLE o (name STRING, n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json'); INSERT INTO o SELECT * FROM t;",
                table(BOUNDED),
                out.display()
            ),
        );
        let first = if format == "json" { shown.to_owned() } else { r#"{"name":"a,b","n":1}"#.to_owned() };
        let found = lines(&out);
        assert_eq!(found.len(), 3, "{format}");
        for row in [first.as_str(), r#"{"name":"ü","n":2}"#] {
            assert!(found.iter().any(|line| line == row), "{format}: {found:?}");
        }
    }
}

#[test]
fn keys_headers_and_times_are_columns_both_ways() {
    let (broker, job) = (Kafka::shared(), Job::new());
    let topic = broker.topic("metadata", 1);
    let columns = "id BIGINT, name STRING, at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', headers MAP<STRING, BYTES> METADATA";
    job.run(
        "write.sql",
        &format!(
            "CREATE TABLE t ({columns}) WITH ({});
             INSERT INTO t SELECT CAST(7 AS BIGINT), 'x', TO_TIMESTAMP_LTZ(1700000000123, 3), MAP['trace', CAST('abc' AS BYTES)];",
            kafka(
                &broker,
                &topic,
                "'value.format' = 'json', 'key.format' = 'json', 'key.fields' = 'id', 'value.fields-include' = 'EXCEPT_KEY'"
            ),
        ),
    );
    assert_eq!(broker.committed(&topic, "%k|%s|%T|%h"), [r#"{"id":7}|{"name":"x"}|1700000000123|trace=abc"#]);

    // The other way, from a client that is not ours; a header that comes twice has its last value.
    broker.kcat(&["-P", "-t", &topic, "-K", "|", "-H", "trace=one", "-H", "trace=two"], "{\"id\":8}|{\"name\":\"y\"}\n");
    let out = job.path("out.jsonl");
    job.run(
        "read.sql",
        &format!(
            "CREATE TABLE t (id BIGINT, name STRING, p INT METADATA FROM 'partition', o BIGINT METADATA FROM 'offset', tp STRING METADATA FROM 'topic',
               at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', headers MAP<STRING, STRING> METADATA) WITH ({});
             CREATE TABLE o (id BIGINT, name STRING, p INT, o BIGINT, t BOOLEAN, trace STRING, recent BOOLEAN) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
             INSERT INTO o SELECT id, name, p, o, tp = '{topic}', headers['trace'], at > TO_TIMESTAMP_LTZ(1700000000123, 3) FROM t;",
            kafka(
                &broker,
                &topic,
                &format!("'value.format' = 'json', 'key.format' = 'json', 'key.fields' = 'id', 'value.fields-include' = 'EXCEPT_KEY', {BOUNDED}")
            ),
            out.display()
        ),
    );
    assert_eq!(
        lines(&out),
        [
            r#"{"id":7,"name":"x","p":0,"o":0,"t":true,"trace":"abc","recent":false}"#,
            r#"{"id":8,"name":"y","p":0,"o":1,"t":true,"trace":"two","recent":true}"#
        ]
    );
}

#[test]
fn rows_without_a_key_go_round_the_partitions_and_equal_keys_together() {
    let (broker, job) = (Kafka::shared(), Job::new());
    let (keyless, keyed, theirs) = (broker.topic("keyless", 4), broker.topic("keyed", 4), broker.topic("theirs", 4));
    let rows = "SELECT CAST(n % 20 AS STRING), n FROM s";
    let source = "CREATE TABLE s (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '400', 'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '399');";
    job.run(
        "write.sql",
        &format!(
            "{source} CREATE TABLE a (k STRING, n BIGINT) WITH ({}); CREATE TABLE b (k STRING, n BIGINT) WITH ({});
             EXECUTE STATEMENT SET BEGIN INSERT INTO a {rows}; INSERT INTO b {rows}; END;",
            kafka(&broker, &keyless, "'format' = 'json'"),
            kafka(&broker, &keyed, "'value.format' = 'json', 'key.format' = 'raw', 'key.fields' = 'k'"),
        ),
    );
    let spread = broker.committed(&keyless, "%p");
    for partition in ["0", "1", "2", "3"] {
        assert_eq!(spread.iter().filter(|p| *p == partition).count(), 100);
    }
    // Where Java clients put a key: kcat told to hash as they do agrees.
    let keys: String = (0..20).map(|k| format!("{k}:x\n")).collect();
    broker.kcat(&["-P", "-t", &theirs, "-K", ":", "-X", "topic.partitioner=murmur2_random"], &keys);
    let mut ours = broker.committed(&keyed, "%k@%p");
    ours.dedup();
    assert_eq!(ours, broker.committed(&theirs, "%k@%p"));
}

#[test]
fn an_upsert_table_is_its_newest_rows_and_deletes_are_tombstones() {
    let (broker, job) = (Kafka::shared(), Job::new());
    let (from, to) = (broker.topic("upsert-in", 1), broker.topic("upsert-out", 1));
    let table = |topic: &str, more: &str| {
        format!(
            "(id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'upsert-kafka', 'topic' = '{topic}',
              'properties.bootstrap.servers' = '{}', 'key.format' = 'json', 'value.format' = 'json'{more})",
            broker.servers()
        )
    };
    broker.kcat(
        &["-P", "-t", &from, "-K", "|", "-Z"],
        "{\"id\":1}|{\"id\":1,\"name\":\"a\"}\n{\"id\":2}|{\"id\":2,\"name\":\"b\"}\n{\"id\":1}|{\"id\":1,\"name\":\"c\"}\n{\"id\":2}|\n",
    );
    job.run(
        "copy.sql",
        &format!(
            "CREATE TABLE a {}; CREATE TABLE b {}; INSERT INTO b SELECT id, UPPER(name) FROM a;",
            table(&from, ", 'scan.bounded.mode' = 'latest-offset'"),
            table(&to, ", 'sink.delivery-guarantee' = 'exactly-once'")
                .replace("'exactly-once'", &format!("'exactly-once', 'sink.transactional-id-prefix' = '{}'", unique("upsert")))
        ),
    );
    let text = broker.kcat(&["-C", "-t", &to, "-e", "-f", "%k|%S|%s\\n"], "");
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            r#"{"id":1}|19|{"id":1,"name":"A"}"#,
            r#"{"id":2}|19|{"id":2,"name":"B"}"#,
            r#"{"id":1}|19|{"id":1,"name":"C"}"#,
            r#"{"id":2}|-1|"#
        ]
    );
}

#[test]
fn w1_from_four_partitions_exactly_once_is_the_reference_answer() {
    let broker = Kafka::shared();
    for interval in ["1 s", "40 ms"] {
        let mut job = Job::new();
        job.set = vec![format!("checkpoint.interval={interval}")];
        let (events, out, prefix) = (broker.topic("w1-events", 4), broker.topic("w1-out", 2), unique("w1"));
        let columns = "eventId STRING, `type` STRING, customerId STRING, orderId STRING, ts BIGINT, amount DOUBLE";
        job.run(
            "fill.sql",
            &format!(
                "CREATE TABLE files ({columns}) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
                 CREATE TABLE events ({columns}) WITH ({}); INSERT INTO events SELECT * FROM files;",
                workload::small().join("all/events.jsonl").display(),
                kafka(&broker, &events, "'value.format' = 'json', 'key.format' = 'raw', 'key.fields' = 'customerId'")
            ),
        );
        let text = fs::read_to_string(workload::bench().join("flink/w1.sql")).unwrap();
        job.run(
            "w1.sql",
            &format!(
                "CREATE TABLE events ({columns}, rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND) WITH ({});
                 CREATE TABLE sink (customerId STRING, ws BIGINT, cnt BIGINT, total DOUBLE) WITH ({});
                 {}",
                kafka(&broker, &events, &format!("'format' = 'json', {BOUNDED}")),
                kafka(
                    &broker,
                    &out,
                    &format!("'format' = 'json', 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{prefix}'")
                ),
                &text[text.find("CREATE TEMPORARY VIEW").unwrap()..]
            ),
        );
        let rows = broker.committed(&out, "%s");
        let mut rows: Vec<String> = rows.iter().map(|row| crate::digests::canonical("w1", &serde_json::from_str(row).unwrap())).collect();
        rows.sort();
        assert!(rows == crate::digests::expected("w1"), "{} rows", rows.len());
    }
}
