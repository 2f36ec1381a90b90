//! The same on a Kafka: planned, applied, looked into; read back by clients that are not ours.

use std::process::Command;

use serde_json::Value;

use super::Folder;
use crate::brokers;
use crate::kafka::{Kafka, unique};

/// The settings of a project whose broker is at `servers`.
fn settings(servers: &str) -> String {
    format!("brokers:\n  shop: {{ connector: kafka, properties.bootstrap.servers: '{servers}', connect.timeout: 5 s }}\n")
}

/// What a topic has been given, as the brokers tell another client.
fn own_settings(kafka: &Kafka, topic: &str) -> Vec<String> {
    let mut command = Command::new("java");
    command.args(["-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &format!("{}/*", kafka.addresses["KAFKA_JARS"])]);
    command.args(["kafka.admin.ConfigCommand", "--bootstrap-server", kafka.servers(), "--describe", "--entity-type", "topics"]);
    let done = command.args(["--entity-name", topic]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let settings = text.lines().filter_map(|line| line.trim().split_once(" sensitive=")).map(|(setting, _)| setting.to_owned());
    let mut settings: Vec<String> = settings.collect();
    settings.sort();
    settings
}

/// What kcat tells of a topic.
fn described(kafka: &Kafka, topic: &str) -> Value {
    let all: Value = serde_json::from_str(&kafka.kcat(&["-L", "-J", "-t", topic], "")).unwrap();
    all["topics"][0].clone()
}

#[test]
fn topics_are_made_and_changed_and_what_nobody_names_stays() {
    let kafka = Kafka::shared();
    let (orders, clicks) = (unique("orders"), unique("clicks"));
    let other = kafka.topic_with("other", 1, &[("max.message.bytes", "2000"), ("segment.ms", "600000")]);
    let wanted = |retention: &str| {
        format!(
            "topics:\n  {orders}: {{ partitions: 3, replication_factor: 1, config: {{ retention.ms: {retention}, min.cleanable.dirty.ratio: 0.50, cleanup.policy: 'compact, delete' }} }}\n  \
             {clicks}:\n  {other}: {{ config: {{ retention.ms: {retention} }} }}\n"
        )
    };
    let folder = Folder::new(&settings(kafka.servers()), &wanted("604800000"));
    let planned = folder.ok(&["plan"]);
    let made = format!(
        "topic {orders}: made (3 partitions, 1 replica, cleanup.policy compact, delete, min.cleanable.dirty.ratio 0.50, retention.ms 604800000)"
    );
    assert!(planned.contains(&made) && planned.contains(&format!("topic {clicks}: made (as the brokers like)")), "{planned}");
    assert!(!planned.contains(&other), "604800000 is what the brokers have: {planned}");
    folder.ok(&["apply"]);
    let as_declared = format!("kafka {}: as declared\n", kafka.servers());
    assert_eq!(folder.ok(&["plan"]), as_declared);
    assert_eq!(described(&kafka, &orders)["partitions"].as_array().unwrap().len(), 3);

    folder.write("topics.yaml", &wanted("7776000000"));
    let applied = folder.ok(&["apply"]);
    for topic in [&orders, &other] {
        assert!(applied.contains(&format!("topic {topic}: retention.ms: 604800000 -> 7776000000")), "{applied}");
    }
    assert_eq!(folder.ok(&["plan"]), as_declared);
    assert_eq!(
        own_settings(&kafka, &orders),
        ["cleanup.policy=compact,delete", "min.cleanable.dirty.ratio=0.5", "retention.ms=7776000000"],
        "settings that did not change were not reset"
    );
    assert_eq!(own_settings(&kafka, &other), ["max.message.bytes=2000", "retention.ms=7776000000", "segment.ms=600000"]);

    // A topic that nobody names any more is still there.
    folder.write("topics.yaml", &format!("topics: {{ {clicks}: }}\n"));
    assert_eq!(folder.ok(&["apply"]), as_declared);
    assert_eq!(described(&kafka, &orders)["partitions"].as_array().unwrap().len(), 3);
}

#[test]
fn more_partitions_need_their_flag_and_what_kafka_cannot_do_is_told() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("size", 2);
    let folder =
        Folder::new(&settings(kafka.servers()), &format!("topics: {{ {topic}: {{ partitions: 5, config: {{ retention.ms: 1000 }} }} }}\n"));
    let (code, said) = folder.topics(&["apply"]);
    let needs = format!("topic {topic}: partitions: 2 -> 5: keys go to other partitions from then on (needs --allow-repartition)");
    assert!(code == 2 && said.contains(&needs) && said.contains("retention.ms: 604800000 -> 1000"), "{code} {said}");
    assert_eq!(own_settings(&kafka, &topic), ["retention.ms=1000"], "the rest is carried out");
    assert_eq!(described(&kafka, &topic)["partitions"].as_array().unwrap().len(), 2);
    folder.ok(&["apply", "--allow-repartition"]);
    assert_eq!(described(&kafka, &topic)["partitions"].as_array().unwrap().len(), 5);
    assert!(folder.ok(&["plan"]).ends_with(": as declared\n"));

    folder.write("topics.yaml", &format!("topics: {{ {topic}: {{ partitions: 4, replication_factor: 2 }} }}\n"));
    let (code, said) = folder.topics(&["plan"]);
    assert!(code == 2 && said.contains("partitions: 5 -> 4: Kafka takes none away; make another topic"), "{code} {said}");
    let (code, said) = folder.topics(&["apply", "--allow-repartition"]);
    assert!(code == 2 && said.contains("partitions: 5 -> 4: Kafka takes none away") && said.contains("(cannot be done)"), "{code} {said}");
    assert!(said.contains("replication_factor: 1 -> 2: it cannot be changed from here"), "{said}");
}

#[test]
fn settings_that_the_brokers_refuse_are_named_and_the_others_are_carried_out() {
    let kafka = Kafka::shared();
    let (there, new) = (kafka.topic("refused", 1), unique("refused"));
    for topic in [&there, &new] {
        let text = format!("topics: {{ {topic}: {{ config: {{ retention.mss: 5, cleanup.policy: burn, retention.ms: 1000 }} }} }}\n");
        let folder = Folder::new(&settings(kafka.servers()), &text);
        let (code, said) = folder.topics(&["apply"]);
        assert!(code == 2 && said.contains("the brokers know no setting 'retention.mss'; did you mean 'retention.ms'?"), "{code} {said}");
        assert!(said.contains("cleanup.policy: the brokers refuse the value 'burn'"), "{said}");
    }
    assert_eq!(own_settings(&kafka, &there), ["retention.ms=1000"]);
}

/// The standard's block, under names of our own.
fn standard(prefix: &str) -> String {
    format!(
        "topics:
  {prefix}-order-events: {{ partitions: 12, replication_factor: 3, config: {{ retention.ms: 2592000000, cleanup.policy: delete, compression.type: snappy, min.insync.replicas: 2, segment.ms: 604800000 }} }}
  {prefix}-customer-events: {{ partitions: 6, replication_factor: 3, config: {{ retention.ms: 7776000000, cleanup.policy: delete, compression.type: lz4 }} }}
producer: {{ acks: all, retries: 2147483647, max.in.flight.requests.per.connection: 5, enable.idempotence: true, compression.type: snappy, batch.size: 16384, linger.ms: 5 }}
consumer: {{ enable.auto.commit: false, auto.offset.reset: earliest, isolation.level: read_committed, max.poll.records: 500, session.timeout.ms: 30000 }}
"
    )
}

#[test]
fn the_standards_kafka_block_on_one_broker_says_how_many_it_needs() {
    let kafka = Kafka::shared();
    let folder = Folder::new(&settings(kafka.servers()), &standard(&unique("one")));
    let (code, planned) = folder.topics(&["plan"]);
    assert_eq!(code, 2, "what cannot be done is no plan: {planned}");
    assert!(planned.contains("replication_factor 3 needs 3 brokers, and the cluster has 1 (cannot be done)"), "{planned}");
    let (code, said) = folder.topics(&["apply"]);
    assert!(code == 2 && said.contains("12 partitions, 3 replicas") && said.contains("the cluster has 1"), "{code} {said}");
}

#[test]
fn the_standards_kafka_block_is_applied_on_three_brokers_and_a_second_plan_is_empty() {
    let kafka = Kafka { addresses: brokers::up_nodes(THREE, "kafka", 3) };
    let _down = Down;
    let prefix = unique("std");
    let folder = Folder::new(&settings(kafka.servers()), &standard(&prefix));
    folder.ok(&["apply"]);
    assert_eq!(folder.ok(&["plan"]), format!("kafka {}: as declared\n", kafka.servers()));
    for (topic, partitions) in [("order-events", 12), ("customer-events", 6)] {
        let found = described(&kafka, &format!("{prefix}-{topic}"));
        let found = found["partitions"].as_array().unwrap();
        assert_eq!(found.len(), partitions);
        assert!(found.iter().all(|partition| partition["replicas"].as_array().unwrap().len() == 3), "{found:?}");
    }
    let settings = own_settings(&kafka, &format!("{prefix}-order-events"));
    assert!(
        settings.contains(&"min.insync.replicas=2".to_owned()) && settings.contains(&"compression.type=snappy".to_owned()),
        "{settings:?}"
    );
}

/// The folder of the three.
const THREE: &str = "brokers-three";

/// Takes the three down, however the test ends.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        brokers::down(THREE, "kafka");
    }
}

/// The values' field `n`.
fn numbers(said: &str) -> Vec<i64> {
    let lines = said.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["value"]["n"].as_i64().unwrap()).collect()
}

#[test]
fn a_topic_is_listed_looked_into_and_written_to() {
    let kafka = Kafka::shared();
    let topic = kafka.topic_with("look", 3, &[("retention.ms", "604800000")]);
    let folder = Folder::new(&settings(kafka.servers()), "");
    let shop = |args: &[&str]| folder.ok(&[args, &["--broker", "shop"]].concat());
    let lines: String = (0..3_000).map(|n| format!("{{\"n\":{n},\"user\":\"u{}\"}}\n", n % 7)).collect();
    let put = folder.put(&["--broker", "shop", "--key-field", "user", &topic], &lines);
    assert_eq!(put, format!("3000 records put into {topic}\n"));
    // Keys are where another client expects them, and each key has its order.
    let keyed = kafka.kcat(&["-C", "-t", &topic, "-e", "-o", "beginning", "-f", "%k %p %s\n"], "");
    assert_eq!(keyed.lines().count(), 3_000);
    let of_u3: Vec<&str> = keyed.lines().filter(|line| line.starts_with("u3 ")).collect();
    let partition = of_u3[0].split(' ').nth(1).unwrap();
    assert!(of_u3.iter().all(|line| line.split(' ').nth(1) == Some(partition)) && of_u3[0].contains("\"n\":3,"), "{of_u3:?}");

    let listed = shop(&["list"]);
    let row: Vec<&str> = listed.lines().find(|line| line.starts_with(&topic)).unwrap().split_whitespace().collect();
    assert_eq!(row, [topic.as_str(), "3", "1", "3000", "7", "d"], "{listed}");

    let mut all = numbers(&shop(&["tail", "--from", "earliest", "--no-follow", &topic]));
    all.sort_unstable();
    assert_eq!(all, (0..3_000).collect::<Vec<_>>());
    let mut kept = numbers(&shop(&["tail", "--from", "earliest", "--no-follow", "--where", "n >= 2990 AND key = 'u1'", &topic]));
    kept.sort_unstable();
    assert_eq!(kept, [2_990, 2_997]);
    assert_eq!(numbers(&shop(&["tail", "--from", "earliest", "--no-follow", "--limit", "5", &topic])).len(), 5);
    assert_eq!(numbers(&shop(&["tail", "--from", "-2", "--partition", partition, "--no-follow", &topic])).len(), 2);
    // Headers of another client, and a time to begin at.
    kafka.kcat(&["-P", "-t", &topic, "-p", "0", "-k", "k", "-H", "trace=abc"], "{\"n\":-1}");
    let said = shop(&["tail", "--from", "-1", "--partition", "0", "--no-follow", &topic]);
    let record: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!((&record["key"], &record["headers"]["trace"], &record["value"]["n"]), (&"k".into(), &"abc".into(), &(-1).into()), "{said}");
    let at = record["timestamp"].as_str().unwrap();
    assert_eq!(numbers(&shop(&["tail", "--from", at, "--partition", "0", "--no-follow", &topic])), [-1]);
    assert_eq!(shop(&["tail", "--from", "latest", "--no-follow", &topic]), "");
}

#[test]
fn slips_are_told_before_anything_is_read_or_written() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("slips", 2);
    let folder = Folder::new(&settings(kafka.servers()), "");
    let wrong = topic.replace("slips", "slip");
    for (args, told) in [
        (vec!["tail", &wrong], format!("no topic '{wrong}'")),
        (vec!["put", &wrong], format!("did you mean '{topic}'?")),
        (vec!["tail", "--partition", "2", &topic], format!("topic '{topic}' has no partition 2, only 0 to 1")),
        (vec!["put", "--routing-key", "a", &topic], "--routing-key is RabbitMQ's".to_owned()),
    ] {
        let file = folder.path().join("lines.jsonl");
        std::fs::write(&file, "{\"n\":1}\n").unwrap();
        let file = file.to_str().unwrap();
        let args = if args[0] == "put" { [&args[..], &[file]].concat() } else { args };
        let (code, said) = folder.topics(&[&args[..], &["--broker", "shop"]].concat());
        assert!(code == 2 && said.contains(&told), "{args:?}: {code} {said}");
    }
    std::fs::write(folder.path().join("bad.jsonl"), "{\"number\":1}\n{\"numbre\":2}\n").unwrap();
    let bad = folder.path().join("bad.jsonl");
    let (code, said) = folder.topics(&["put", "--broker", "shop", "--key-field", "number", &topic, bad.to_str().unwrap()]);
    assert!(
        code == 2
            && said.contains("bad.jsonl:2:1: the object has no field 'number'; did you mean 'numbre'?; the 1 records before it are put"),
        "{said}"
    );
    assert_eq!(kafka.committed(&topic, "%s"), ["{\"number\":1}"]);
}

#[test]
fn a_cluster_that_is_away_is_exit_code_3_and_logins_are_honoured() {
    let away = "brokers: { k: { connector: kafka, properties.bootstrap.servers: '127.0.0.1:1', connect.timeout: 1 s } }\n";
    let folder = Folder::new(away, "topics: { t: { partitions: 1 } }\n");
    for args in [vec!["plan"], vec!["apply"], vec!["list", "--broker", "k"], vec!["tail", "--broker", "k", "t"]] {
        let (code, said) = folder.topics(&args);
        assert!(code == 3 && said.contains("127.0.0.1:1") && said.contains("tried for 1 s"), "{args:?}: {code} {said}");
    }
    let kafka = Kafka::shared();
    let at = |name: &str| kafka.addresses[name].clone();
    let topic = kafka.topic("secure", 1);
    let secure = |password: &str| {
        format!(
            "brokers:\n  k:\n    connector: kafka\n    properties: {{ bootstrap.servers: '{}', security.protocol: SASL_SSL, ssl.ca.location: '{}', sasl.mechanism: PLAIN, sasl.username: '{}', sasl.password: '{password}' }}\n",
            at("KAFKA_SECURE"),
            at("KAFKA_CA"),
            at("KAFKA_USER")
        )
    };
    let folder = Folder::new(&secure(&at("KAFKA_PASSWORD")), &format!("topics: {{ {topic}: {{ partitions: 1 }} }}\n"));
    assert!(folder.ok(&["plan"]).ends_with(": as declared\n"));
    folder.put(&["--broker", "k", &topic], "{\"n\":1}\n");
    assert_eq!(numbers(&folder.ok(&["tail", "--broker", "k", "--from", "earliest", "--no-follow", &topic])), [1]);
    folder.write("eagre.yaml", &secure("guessed"));
    let (code, said) = folder.topics(&["plan"]);
    assert!(code == 2 && said.contains("refuses us"), "{code} {said}");
}
