//! Alerts outside of their table: events of a topic of the log or of Kafka, exactly once; rules over HTTP; events by cause.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eagre::fault::Point;
use serde_json::{Value, json};

use crate::kafka::{Kafka, unique};

fn queries(options: &str) -> String {
    format!(
        "CREATE TABLE payments (
  id STRING METADATA, correlationid STRING METADATA, customer STRING, amount DOUBLE, ts TIMESTAMP_LTZ(3) METADATA FROM 'time',
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'log', 'format' = 'cloudevents', 'partitions' = '2'{options});
CREATE MATERIALIZED VIEW seen WITH ('retention' = '1 d') AS SELECT id, ts FROM payments;"
    )
}

fn rule(name: &str, more_than: u32, more: &str) -> String {
    format!(
        "rule: {name}
meta: {{ title: Too many }}
on: payments
key: [customer]
match: {{ count: {{ over: 1h, more_than: {more_than} }} }}
emit: {{ type: shop.fraud.FraudAlertRaised, subject: customer, data: {{ customer: customer, payments: 'count()' }}{more} }}
"
    )
}

/// A payment of a customer, `second` seconds after noon.
fn payment(customer: &str, number: u32, second: u32) -> String {
    let time = format!("2024-01-01T{:02}:{:02}:{:02}Z", 12 + second / 3_600, second / 60 % 60, second % 60);
    json!({
        "specversion": "1.0", "id": format!("{customer}-{number}"), "source": "urn:shop", "type": "shop.payment.PaymentProcessed", "time": time,
        "correlationid": format!("visit-{customer}"), "customer": customer, "data": {"customer": customer, "amount": 1.5}
    })
    .to_string()
}

fn project(settings: &str, queries: &str, rules: &[(&str, String)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("queries")).unwrap();
    fs::create_dir(dir.path().join("rules")).unwrap();
    fs::write(dir.path().join("eagre.yaml"), format!("name: pay\n{settings}")).unwrap();
    fs::write(dir.path().join("queries/10.sql"), queries).unwrap();
    for (name, text) in rules {
        fs::write(dir.path().join("rules").join(name), text).unwrap();
    }
    dir
}

fn eagre(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eagre"));
    command.current_dir(dir).args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn put(dir: &Path, lines: &str) {
    fs::write(dir.join("lines.jsonl"), lines).unwrap();
    done(&eagre(dir, &["topics", "put", "payments", "lines.jsonl", "--key-field", "customer"]).output().unwrap());
}

/// The records of a topic.
fn topic(dir: &Path, name: &str) -> Vec<Value> {
    let lines = done(&eagre(dir, &["topics", "tail", name, "--from", "earliest", "--no-follow"]).output().unwrap());
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A running engine, taken down with the test.
struct Running {
    child: Child,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn start(dir: &Path, arguments: &[&str]) -> Running {
    let mut command = eagre(dir, &["run", "--pg-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    let mut child = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let port = lines.by_ref().map(Result::unwrap).find_map(|line| {
        let (_, after) = line.split_once("http://127.0.0.1:")?;
        after.split('/').next()?.parse().ok()
    });
    std::thread::spawn(move || lines.for_each(drop));
    Running { child, port: port.expect("the engine says where its doors are") }
}

impl Running {
    /// Status and body of a request.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn rules(&self) -> Vec<Value> {
        let (status, body) = self.ask("GET", "/rules", "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["rules"].as_array().unwrap().clone()
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What the topics of alerts hold after a bounded run that was killed so often: (topic, key, event) in a fixed order.
fn alerts_of(lines: &str, seed: u64, kills: usize) -> Vec<(String, String, String)> {
    let rules = [("a.yaml", rule("often", 5, "")), ("b.yaml", rule("very-often", 20, ", topic: very"))];
    let settings = "checkpoint.interval: 15 ms\nalerts.topic: raised\n";
    let dir = project(settings, &queries(", 'scan.bounded.mode' = 'latest-offset'"), &rules);
    put(dir.path(), lines);
    let (mut random, mut killed) = (seed, 0);
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let parallelism = (1 + (random >> 40) % 2).to_string();
        let mut run = eagre(dir.path(), &["run", "--parallelism", &parallelism]).stderr(Stdio::piped()).spawn().unwrap();
        if killed < kills {
            std::thread::sleep(Duration::from_millis(100 + (random >> 33) % 900));
            run.kill().unwrap();
            if !run.wait().unwrap().success() {
                killed += 1;
                continue;
            }
        }
        done(&run.wait_with_output().unwrap());
        break;
    }
    println!("killed {killed} times");
    let mut alerts = Vec::new();
    for name in ["raised", "very"] {
        for record in topic(dir.path(), name) {
            alerts.push((name.to_owned(), record["key"].as_str().unwrap().to_owned(), record["value"].to_string()));
        }
    }
    alerts.sort();
    alerts
}

#[test]
fn alerts_reach_their_topics_exactly_once_however_often_the_process_is_killed() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("EAGRE_SEED").map_or(now, |s| s.parse().unwrap());
    println!("EAGRE_SEED={seed}");
    // The n-th payment of each customer, customer by customer in turn, so that time goes on.
    let lines: String = (0..30_000_u32).map(|n| payment(&format!("c{}", n % 700), n / 700, n / 10) + "\n").collect();
    let calm = alerts_of(&lines, seed, 0);
    assert_eq!(calm.iter().filter(|(topic, ..)| topic == "raised").count(), 700);
    assert_eq!(calm.iter().filter(|(topic, ..)| topic == "very").count(), 700);
    let (_, key, event) = calm.iter().find(|(topic, key, _)| topic == "raised" && key.contains("\"c7\"")).unwrap();
    assert_eq!(key, "{\"customer\":\"c7\"}");
    let event: Value = serde_json::from_str(event).unwrap();
    eagre::event::check(event.as_object().unwrap(), eagre::event::Reading::Standard).unwrap();
    assert_eq!((&event["causationid"], &event["correlationid"], &event["subject"]), (&json!("c7-5"), &json!("visit-c7"), &json!("c7")));
    assert_eq!((&event["data"], &event["source"]), (&json!({"customer": "c7", "payments": 6}), &json!("urn:eagre:pay")));
    let shaken = alerts_of(&lines, seed, 8);
    assert!(calm == shaken, "EAGRE_SEED={seed}: {} alerts, the calm run has {}", shaken.len(), calm.len());
}

/// What two topics of Kafka hold, key and event, after a bounded run that was killed at these fault points.
fn alerts_in_kafka(kafka: &Kafka, lines: &str, faults: &[String]) -> [Vec<String>; 2] {
    let topics = ["raised", "very"].map(|stem| kafka.topic(stem, 2));
    let [raised, very] = &topics;
    let rules = [("a.yaml", rule("often", 5, "")), ("b.yaml", rule("very-often", 20, &format!(", topic: 'shop:{very}'")))];
    let settings = format!(
        "checkpoint.interval: 15 ms\nalerts.topic: 'shop:{raised}'\nbrokers:\n  shop:\n    connector: kafka\n    \
         properties.bootstrap.servers: {}\n    sink.transactional-id-prefix: {}\n",
        kafka.servers(),
        unique("alerts")
    );
    let dir = project(&settings, &queries(", 'scan.bounded.mode' = 'latest-offset'"), &rules);
    put(dir.path(), lines);
    let mut killed = 0;
    for fault in faults {
        let run = eagre(dir.path(), &["run", "--restore", "latest"]).env("EAGRE_FAULT", fault).output().unwrap();
        killed += usize::from(!run.status.success());
        assert!(run.status.success() || run.status.code().is_none(), "{}", String::from_utf8_lossy(&run.stderr));
    }
    assert!(killed * 2 >= faults.len(), "killed only {killed} times");
    done(&eagre(dir.path(), &["run", "--restore", "latest"]).output().unwrap());
    topics.map(|topic| kafka.committed(&topic, "%k %s"))
}

#[test]
fn alerts_reach_topics_of_kafka_exactly_once_killed_between_any_two_steps() {
    let kafka = Kafka::shared();
    let lines: String = (0..12_000_u32).map(|n| payment(&format!("c{}", n % 300), n / 300, n / 10) + "\n").collect();
    let calm = alerts_in_kafka(&kafka, &lines, &[]);
    assert_eq!(calm.each_ref().map(Vec::len), [300, 300]);
    let (key, event) = calm[0][0].split_once("} ").unwrap();
    assert!(key.starts_with("{\"customer\":\"c"), "{key}");
    let event: Value = serde_json::from_str(event).unwrap();
    eagre::event::check(event.as_object().unwrap(), eagre::event::Reading::Standard).unwrap();
    let faults: Vec<String> = Point::ALL.iter().map(|point| format!("{}:1", point.name())).collect();
    let shaken = alerts_in_kafka(&kafka, &lines, &faults);
    assert!(calm == shaken, "{:?} alerts, the calm run has 300 and 300", shaken.each_ref().map(Vec::len));
}

#[test]
fn a_topic_of_a_broker_that_cannot_take_alerts_is_told_at_its_place() {
    let brokers = "brokers:\n  shop:\n    connector: kafka\n    properties.bootstrap.servers: nowhere:1\n  mail:\n    connector: rabbitmq\n    uri: amqp://nowhere\n";
    for (topic, told) in [
        ("shp:raised", "'shp:raised': there is no broker 'shp' under 'brokers' in eagre.yaml; did you mean 'shop'?"),
        ("mail:raised", "broker 'mail' is one of rabbitmq; alerts go to topics of kafka and of the log"),
        ("shop:a b", "topic name 'a b' holds ' '"),
    ] {
        let dir = project(brokers, &queries(""), &[("a.yaml", rule("often", 5, &format!(", topic: '{topic}'")))]);
        let checked = eagre(dir.path(), &["check"]).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.code() == Some(2) && said.contains(told) && said.contains("a.yaml:6:"), "{said}");
    }
}

#[test]
fn rules_are_looked_at_and_changed_over_http_and_wrong_ones_change_nothing() {
    let rules = [("a.yaml", format!("{}---\n{}mode: shadow\n", rule("often", 2, ""), rule("shade", 1, "")))];
    let dir = project("checkpoint.interval: 100 ms\nalerts.topic: raised\n", &queries(""), &rules);
    let running = start(dir.path(), &["--http-write"]);
    let lines: String = (0..4).map(|n| payment("ann", n, n * 60) + "\n").collect();
    put(dir.path(), &(lines + &payment("bob", 0, 7_200) + "\n" + &payment("cid", 0, 7_200) + "\n" + &payment("dan", 0, 7_200) + "\n"));
    wait_until("an alert is counted", || running.rules().iter().any(|rule| rule["rule"] == "often" && rule["alerts"] == 1));
    let listed = running.rules();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!((&listed[0]["rule"], &listed[0]["state"], &listed[0]["title"]), (&json!("often"), &json!("active"), &json!("Too many")));
    assert!(listed[0]["last_alert"].as_str().unwrap().starts_with("2024-01-01T12:02:00"), "{}", listed[0]);
    assert_eq!((&listed[1]["rule"], &listed[1]["state"]), (&json!("shade"), &json!("shadow")));
    assert_eq!(running.ask("GET", "/rules/often", "").1, rule("often", 2, ""));
    let (status, told) = running.ask("GET", "/rules/oftn", "");
    assert!(status == 404 && told.contains("did you mean 'often'?"), "{status} {told}");

    // Wrong ones: told with their places, and nothing is written.
    let before = fs::read_to_string(dir.path().join("rules/a.yaml")).unwrap();
    let (status, told) = running.ask("PUT", "/rules/often", &rule("often", 2, "").replace("[customer]", "[custmer]"));
    let told: Value = serde_json::from_str(&told).unwrap();
    let fault = told["faults"][0].as_str().unwrap();
    assert!(status == 422 && fault.contains("rules/a.yaml:4:7: ") && fault.contains("did you mean 'customer'?"), "{status} {told}");
    let (status, told) = running.ask("PUT", "/rules/other", &rule("often", 2, ""));
    assert_eq!(status, 422, "{told}");
    assert_eq!(fs::read_to_string(dir.path().join("rules/a.yaml")).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path().join("rules")).unwrap().count(), 1);

    // A new one, one changed in a file of several, one taken away: swapped in when the answer comes.
    let (status, told) = running.ask("PUT", "/rules/fresh", &rule("fresh", 3, ""));
    assert_eq!(status, 200, "{told}");
    let (status, told) = running.ask("PUT", "/rules/shade", &rule("shade", 1, ", topic: other"));
    assert_eq!(status, 200, "{told}");
    let (status, told) = running.ask("DELETE", "/rules/often", "");
    assert_eq!(status, 200, "{told}");
    let names = || {
        running
            .rules()
            .iter()
            .map(|rule| format!("{}:{}", rule["rule"].as_str().unwrap(), rule["state"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["fresh:active", "shade:active"]);
    let left = fs::read_to_string(dir.path().join("rules/a.yaml")).unwrap();
    assert_eq!(left, rule("shade", 1, ", topic: other"));
    // What runs is what the system tables say.
    let nodes = done(&eagre(dir.path(), &["sql", "--format", "csv", "-c", "SELECT node FROM system.operators"]).output().unwrap());
    assert!(nodes.contains("alerts to other") && nodes.contains("alerts to raised") && !nodes.contains("shadow_alerts"), "{nodes}");
    // The topic of the new rules takes what they raise from now on.
    let lines: String = (0..4).map(|n| payment("eve", n, 7_300 + n) + "\n").collect();
    put(dir.path(), &(lines + &payment("bob", 1, 14_000) + "\n" + &payment("cid", 1, 14_000) + "\n" + &payment("dan", 1, 14_000) + "\n"));
    wait_until("the new topic is written", || {
        let figures = done(&eagre(dir.path(), &["topics", "list"]).output().unwrap());
        figures.contains("other") && topic(dir.path(), "other").iter().any(|record| record["value"]["subject"] == "eve")
    });
    // A file that somebody saves and that is wrong is shown with its reason.
    fs::write(dir.path().join("rules/bad.yaml"), "rule: bad\n").unwrap();
    wait_until("the refusal is shown", || names().contains(&"bad:refused".to_owned()));
    let bad = running.rules().into_iter().find(|rule| rule["rule"] == "bad").unwrap();
    assert!(bad["refused"].to_string().contains("bad.yaml:1:1: rule 'bad': 'on' is missing"), "{bad}");
    drop(running);

    // Without the setting nothing is written.
    fs::remove_file(dir.path().join("rules/bad.yaml")).unwrap();
    let running = start(dir.path(), &[]);
    for method in ["PUT", "DELETE"] {
        let (status, told) = running.ask(method, "/rules/fresh", &rule("fresh", 9, ""));
        assert!(status == 403 && told.contains("'http.write'"), "{status} {told}");
    }
}

#[test]
fn events_are_traced_by_cause_while_the_engine_runs_and_when_it_is_stopped() {
    let dir = project("checkpoint.interval: 100 ms\nalerts.topic: raised\n", &queries(""), &[("a.yaml", rule("often", 2, ""))]);
    let running = start(dir.path(), &[]);
    let order = json!({"specversion": "1.0", "id": "o-1", "source": "urn:shop", "type": "shop.order.OrderCreated", "time": "2024-01-01T11:59:00Z",
        "correlationid": "visit-ann", "customer": "ann", "data": {}});
    fs::write(dir.path().join("orders.jsonl"), format!("{order}\n")).unwrap();
    done(&eagre(dir.path(), &["topics", "put", "orders", "orders.jsonl"]).output().unwrap());
    let caused = |n: u32| payment("ann", n, n * 60).replace("\"correlationid\"", "\"causationid\":\"o-1\",\"correlationid\"") + "\n";
    let lines: String = (0..3).map(caused).collect();
    put(dir.path(), &(lines + &payment("bob", 0, 7_200) + "\n" + &payment("cid", 0, 7_200) + "\n" + &payment("dan", 0, 7_200) + "\n"));
    wait_until("the alert is in its topic", || {
        done(&eagre(dir.path(), &["topics", "list"]).output().unwrap())
            .lines()
            .any(|line| line.starts_with("raised") && line.contains(" 1 "))
    });
    let trace = |arguments: &[&str]| eagre(dir.path(), &[&["trace"], arguments].concat()).output().unwrap();
    let while_running = done(&trace(&["visit-ann"]));
    let lines: Vec<&str> = while_running.lines().collect();
    assert_eq!(lines.len(), 6, "{while_running}");
    assert!(lines[0].starts_with("o-1  shop.order.OrderCreated  2024-01-01T11:59:00Z  orders["), "{while_running}");
    assert!(lines[1].starts_with("├─ ann-0  ") && lines[3].starts_with("└─ ann-2  "), "{while_running}");
    assert!(
        lines[4].starts_with("   └─ ") && lines[4].contains("shop.fraud.FraudAlertRaised") && lines[4].contains("table alerts"),
        "{while_running}"
    );
    assert!(lines[4].contains("raised["), "the alert is one event in two places: {while_running}");
    assert_eq!(lines[5], "5 events");
    // Any event leads there, and unknown ones are told with what was searched.
    assert_eq!(done(&trace(&["ann-1"])), while_running);
    let tree: Value = serde_json::from_str(&done(&trace(&["o-1", "--format", "json"]))).unwrap();
    assert_eq!(tree[0]["caused"][2]["caused"][0]["causationid"], "ann-2");
    let unknown = trace(&["nobody"]);
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(1), "{told}");
    assert!(told.contains("no event has 'nobody' as its id or its correlation id; searched: topic orders (1 record), "), "{told}");
    assert!(told.contains("table alerts (1 row)"), "{told}");
    let mut running = running;
    _ = Command::new("kill").args(["-TERM", &running.child.id().to_string()]).status().unwrap();
    assert!(running.child.wait().unwrap().success());
    assert_eq!(done(&trace(&["visit-ann"])), while_running);
}
