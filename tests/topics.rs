//! `eagre topics` on real brokers: what `topics.yaml` says is what they have, and what they have besides stays.

mod kafka;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::rabbitmq::{self, Outside, unique};

/// A project folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(settings: &str, topics: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("eagre.yaml", settings);
        folder.write("topics.yaml", topics);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Exit code and what is said on stdout and stderr.
    fn topics(&self, args: &[&str]) -> (i32, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_eagre")).arg("topics").args(args).arg("--project").arg(self.path()).output().unwrap();
        let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (done.status.code().unwrap_or(-1), said)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let (code, said) = self.topics(args);
        assert_eq!(code, 0, "{args:?}: {said}");
        said
    }

    fn put(&self, args: &[&str], lines: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eagre"));
        command.args(["topics", "put"]).args(args).arg("--project").arg(self.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stdout).unwrap()
    }
}

/// The HTTP API of the shared RabbitMQ.
fn api(method: &str, path: &str, body: Option<Value>) -> Value {
    let http = &rabbitmq::shared()["RABBITMQ_HTTP"];
    let mut command = Command::new("curl");
    command.args(["-s", "-u", "guest:guest", "-X", method, "-H", "content-type: application/json"]);
    if let Some(body) = body {
        command.args(["-d", &body.to_string()]);
    }
    let done = command.arg(format!("{http}/api/{path}")).output().expect("curl is needed");
    serde_json::from_slice(&done.stdout).unwrap_or(Value::Null)
}

fn settings() -> String {
    let shared = rabbitmq::shared();
    format!("brokers:\n  rabbit: {{ connector: rabbitmq, uri: '{}', management.uri: '{}' }}\n", shared["RABBITMQ"], shared["RABBITMQ_HTTP"])
}

/// The standard's block, under names of our own.
fn standard(prefix: &str) -> String {
    format!(
        "exchanges:
  - {{ name: {prefix}.order.events, type: topic, durable: true, properties: {{ alternate-exchange: {prefix}.order.dead-letter }} }}
  - {{ name: {prefix}.customer.events, type: fanout, durable: true }}
queues:
  - {{ name: {prefix}.order.processing, durable: true, properties: {{ x-message-ttl: 3600000, x-max-retries: 3, x-dead-letter-exchange: {prefix}.order.dead-letter, x-dead-letter-routing-key: failed }} }}
  - {{ name: {prefix}.order.dead-letter, durable: true, properties: {{ x-message-ttl: 2592000000 }} }}
bindings:
  - {{ exchange: {prefix}.order.events, queue: {prefix}.order.processing, routing_key: order.created }}
"
    )
}

#[test]
fn the_standards_rabbitmq_block_is_applied_and_a_second_plan_is_empty() {
    let prefix = unique("std");
    let folder = Folder::new(&settings(), &standard(&prefix));
    let planned = folder.ok(&["plan"]);
    assert!(planned.contains(&format!("exchange {prefix}.order.events: made (type \"topic\", durable true")), "{planned}");
    assert!(planned.contains(&format!("queue {prefix}.order.processing: policy: dead-letter-exchange: null -> ")), "{planned}");
    assert!(planned.contains(&format!("binding {prefix}.order.events -> {prefix}.order.processing: made")), "{planned}");
    folder.ok(&["apply"]);
    let again = folder.ok(&["plan"]);
    assert!(again.trim_end().ends_with(": as declared") && again.lines().count() == 1, "{again}");
    let policy = api("GET", &format!("policies/%2f/eagre.queue.{prefix}.order.processing"), None);
    assert_eq!(policy["definition"]["message-ttl"], 3_600_000, "{policy}");
    let policy = api("GET", &format!("policies/%2f/eagre.exchange.{prefix}.order.events"), None);
    assert_eq!(policy["definition"]["alternate-exchange"], format!("{prefix}.order.dead-letter"), "{policy}");
    let queue = api("GET", &format!("queues/%2f/{prefix}.order.processing"), None);
    assert_eq!(queue["arguments"]["x-max-retries"], 3, "{queue}");
    let bindings = api("GET", &format!("bindings/%2f/e/{prefix}.order.events/q/{prefix}.order.processing"), None);
    assert_eq!(bindings[0]["routing_key"], "order.created");
}

#[test]
fn what_a_broker_has_besides_stays() {
    let prefix = unique("merge");
    let queue = format!("{prefix}.q");
    // Somebody else's policy counts for the queue already.
    api(
        "PUT",
        &format!("policies/%2f/{prefix}"),
        Some(json!({ "pattern": format!("^{prefix}"), "definition": { "max-length": 500 }, "apply-to": "queues" })),
    );
    let mut outside = Outside::connect(&rabbitmq::shared()["RABBITMQ"]);
    outside.queue(&queue, "quorum");
    let wanted = |ttl: u32| format!("queues:\n  - {{ name: {queue}, properties: {{ x-queue-type: quorum, x-message-ttl: {ttl} }} }}\n");
    let folder = Folder::new(&settings(), &wanted(60_000));
    for ttl in [60_000, 70_000] {
        folder.write("topics.yaml", &wanted(ttl));
        let applied = folder.ok(&["apply"]);
        assert!(applied.contains(&format!("message-ttl: {} -> {ttl}", if ttl == 60_000 { "null" } else { "60000" })), "{applied}");
        assert!(folder.ok(&["plan"]).trim_end().ends_with(": as declared"));
        let policy = api("GET", &format!("policies/%2f/eagre.queue.{queue}"), None);
        let definition = &policy["definition"];
        assert_eq!((&definition["message-ttl"], &definition["max-length"]), (&json!(ttl), &json!(500)), "{policy}");
    }
    api("DELETE", &format!("policies/%2f/eagre.queue.{queue}"), None);
    api("DELETE", &format!("policies/%2f/{prefix}"), None);
    outside.step(json!({ "step": "delete", "queue": queue }));
}

#[test]
fn what_cannot_be_changed_is_made_again_only_when_asked_and_empty() {
    let prefix = unique("again");
    let wanted = |kind: &str, durable: bool| {
        format!(
            "exchanges: [ {{ name: {prefix}.x, type: topic, durable: {durable} }} ]
queues: [ {{ name: {prefix}.q, properties: {{ x-queue-type: {kind} }} }} ]
bindings: [ {{ exchange: {prefix}.x, queue: {prefix}.q, routing_key: 'a.*' }} ]
"
        )
    };
    let folder = Folder::new(&settings(), &wanted("classic", true));
    folder.ok(&["apply"]);
    folder.write("topics.yaml", &wanted("quorum", false));
    let (code, said) = folder.topics(&["apply"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&format!("queue {prefix}.q: x-queue-type: \"classic\" -> \"quorum\": cannot be changed")), "{said}");
    assert!(said.contains("(recreate: needs --recreate)"), "{said}");
    // A message in the queue: it stays.
    let mut outside = Outside::connect(&rabbitmq::shared()["RABBITMQ"]);
    outside.put(&format!("{prefix}.q"), vec![json!({ "body": "{}" })]);
    let (code, said) = folder.topics(&["apply", "--recreate"]);
    assert!(code == 2 && said.contains("holds 1 messages and has 0 consumers: it is not deleted; drain it first"), "{code} {said}");
    assert_eq!(outside.drain(&format!("{prefix}.q")).len(), 1);
    folder.ok(&["apply", "--recreate"]);
    assert!(folder.ok(&["plan"]).trim_end().ends_with(": as declared"));
    let found = api("GET", &format!("queues/%2f/{prefix}.q"), None);
    assert_eq!(found["type"], "quorum");
    assert_eq!(api("GET", &format!("exchanges/%2f/{prefix}.x"), None)["durable"], false);
    assert_eq!(
        api("GET", &format!("bindings/%2f/e/{prefix}.x/q/{prefix}.q"), None)[0]["routing_key"],
        "a.*",
        "the binding is made again, too"
    );
    outside.step(json!({ "step": "delete", "queue": format!("{prefix}.q") }));
}

#[test]
fn a_queue_is_listed_looked_into_and_written_to() {
    let prefix = unique("look");
    let topics = format!(
        "exchanges: [ {{ name: {prefix}.x, type: topic }} ]
queues: [ {{ name: {prefix}.q }}, {{ name: {prefix}.s, properties: {{ x-queue-type: stream }} }} ]
bindings: [ {{ exchange: {prefix}.x, queue: {prefix}.q, routing_key: 'order.*' }}, {{ exchange: {prefix}.x, queue: {prefix}.s, routing_key: 'order.*' }} ]
"
    );
    let folder = Folder::new(&settings(), &topics);
    folder.ok(&["apply"]);
    let lines: String = (0..100).map(|n| format!("{{\"n\":{n},\"kind\":\"order.k{}\"}}\n", n % 3)).collect();
    let put = folder.put(&["--broker", "rabbit", "--key-field", "kind", &format!("{prefix}.x")], &lines);
    assert_eq!(put, format!("100 records put into {prefix}.x\n"));
    let (code, said) = folder.topics(&["list", "--broker", "rabbit"]);
    assert!(code == 0 && said.starts_with("queue ") && said.contains(&format!("{prefix}.q")), "{said}");
    for name in ["q", "s"] {
        let name = format!("{prefix}.{name}");
        let said = folder.ok(&[
            "tail",
            "--broker",
            "rabbit",
            "--from",
            "earliest",
            "--no-follow",
            "--where",
            "n >= 90 AND kind = 'order.k1'",
            &name,
        ]);
        let lines = said.lines().filter(|line| line.starts_with('{'));
        let numbers: Vec<i64> = lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["value"]["n"].as_i64().unwrap()).collect();
        assert_eq!(numbers, [91, 94, 97], "{said}");
    }
    let mut outside = Outside::connect(&rabbitmq::shared()["RABBITMQ"]);
    assert_eq!(outside.depth(&format!("{prefix}.q")), 100, "what was looked at is still there");
    let (code, said) = folder.topics(&["tail", "--broker", "rabbit", &format!("{prefix}.qq")]);
    assert!(code == 2 && said.contains("did you mean"), "{code} {said}");
    let (code, said) = folder.topics(&["list", "--broker", "rabit"]);
    assert!(
        code == 2 && said.contains("there is no broker 'rabit' under 'brokers' in eagre.yaml; did you mean 'rabbit'?"),
        "{code} {said}"
    );
    for name in ["q", "s"] {
        outside.step(json!({ "step": "delete", "queue": format!("{prefix}.{name}") }));
    }
}

#[test]
fn topics_of_the_embedded_log_are_made_and_kept_as_declared() {
    let wanted = |partitions: u32, kept: &str| {
        format!("broker: log\ntopics: {{ metrics: {{ partitions: {partitions}, retention: {kept} }}, clicks: }}\n")
    };
    let folder = Folder::new("name: x\n", &wanted(3, "30 d"));
    assert!(folder.ok(&["plan"]).contains("topic metrics: made (3 partitions, kept 30 d)"));
    folder.ok(&["apply"]);
    assert_eq!(folder.ok(&["plan"]), "embedded log: as declared\n");
    let listed = folder.ok(&["list"]);
    assert!(listed.contains("metrics           3") && listed.contains("30 d") && listed.contains("clicks"), "{listed}");
    folder.write("topics.yaml", &wanted(3, "7 d"));
    assert!(folder.ok(&["apply"]).contains("topic metrics: kept: 30 d -> 7 d"));
    assert_eq!(folder.ok(&["plan"]), "embedded log: as declared\n");
    folder.write("topics.yaml", &wanted(5, "7 d"));
    let (code, said) = folder.topics(&["apply"]);
    assert!(
        code == 2
            && said.contains(
                "partitions: 3 -> 5: a topic of the log keeps those it was made with; declare 3, or another topic (cannot be done)"
            ),
        "{code} {said}"
    );
    // The plan shows it, and does not end as if all were well.
    let (code, said) = folder.topics(&["plan"]);
    assert!(code == 2 && said.contains("error: embedded log: topic metrics: partitions: 3 -> 5"), "{code} {said}");
}

#[test]
fn lint_tells_faults_with_their_places_and_touches_no_broker() {
    let folder = Folder::new("name: x\n", &standard("p"));
    let (code, said) = folder.topics(&["lint"]);
    assert_eq!(code, 2);
    assert!(said.contains("topics.yaml:5:") && said.contains("'x-max-retries' is no argument of RabbitMQ"), "{said}");
    folder.write("topics.yaml", "broker: log\ntopics: { metrics: { partitions: 4 } }\n");
    assert_eq!(folder.topics(&["lint"]), (0, String::new()));
    folder.write("topics.yaml", "topics: { a: { partitons: 4 } }\n");
    let (code, said) = folder.topics(&["lint"]);
    assert!(code == 2 && said.contains("topics.yaml:1:16: topic 'a': unknown key 'partitons'"), "{code} {said}");
}

#[test]
fn a_broker_that_is_not_there_is_exit_code_3_and_one_that_nobody_named_2() {
    let topics = "queues: [ { name: q } ]\n";
    let rabbit = "brokers: { rabbit: { connector: rabbitmq, uri: 'amqp://127.0.0.1:1/%2f', management.uri: 'http://127.0.0.1:1' } }\n";
    let (code, said) = Folder::new(rabbit, topics).topics(&["plan"]);
    assert!(code == 3 && said.contains("management API http://127.0.0.1:1/"), "{code} {said}");
    let (code, said) = Folder::new("name: x\n", topics).topics(&["plan"]);
    assert!(code == 2 && said.contains("no broker of kind RabbitMQ is named: eagre.yaml has it as brokers:"), "{code} {said}");
    let two = "brokers: { a: { connector: rabbitmq, uri: 'amqp://x' }, b: { connector: rabbitmq, uri: 'amqp://y' } }\n";
    let (code, said) = Folder::new(two, topics).topics(&["plan"]);
    assert!(code == 2 && said.contains("several brokers are a RabbitMQ ('a', 'b')"), "{code} {said}");
}

#[test]
fn a_topic_that_lines_make_is_as_the_project_declares_it() {
    let folder = Folder::new("name: put\n", "topics: {}\n");
    fs::create_dir(folder.path().join("queries")).unwrap();
    let table = "CREATE TABLE orders (id INT) WITH ('connector' = 'log', 'topic' = 'bought', 'format' = 'json', 'partitions' = '7', 'retention' = '1 h');";
    folder.write("queries/10.sql", table);
    assert_eq!(folder.put(&["bought"], "{\"id\":1}\n"), "1 records put into bought\n");
    folder.put(&["others"], "{\"id\":1}\n");
    let listed = folder.ok(&["list"]);
    let partitions = |topic: &str| listed.lines().find(|line| line.starts_with(topic)).and_then(|line| line.split_whitespace().nth(1));
    assert_eq!((partitions("bought"), partitions("others")), (Some("7"), Some("4")), "{listed}");
}
