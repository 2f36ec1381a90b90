//! A broker that is killed under a running pipeline and comes back.

use std::process::Command;

use serde_json::json;

use super::outside::numbered;
use super::{Job, Outside};
use crate::brokers;

#[test]
fn a_broker_that_is_killed_and_comes_back_is_read_and_written_on() {
    let own = "brokers-rabbitmq-killed";
    let addresses = brokers::up(own, "rabbitmq");
    let uri = &addresses["RABBITMQ"];
    let mut outside = Outside::connect(uri);
    outside.queue("in", "quorum");
    outside.exchange("out", "out.all", "#");
    let sql = format!(
        "CREATE TABLE messages (n BIGINT) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'queue' = 'in');
CREATE TABLE results (n BIGINT) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'exchange' = 'out', 'routing-key' = 'n');
INSERT INTO results SELECT n FROM messages;"
    );
    let job = Job::new(&sql);
    let mut running = job.start();
    outside.put("in", numbered(0..1_000));
    running.until("the first messages are through", |_| outside.depth("out.all") >= 1_000);
    for round in 1..=3u32 {
        outside.put("in", numbered(round * 1_000..round * 1_000 + 500));
        let pid = std::fs::read_to_string(&addresses["RABBITMQ_PID"]).unwrap();
        assert!(Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap().success());
        running.until("the loss is told", |running| {
            running.health().contains("degraded") && running.health().contains("broker amqp://127.0.0.1")
        });
        brokers::up(own, "rabbitmq");
        outside = Outside::connect(uri);
        outside.put("in", numbered(round * 1_000 + 500..round * 1_000 + 1_000));
        let wanted = u64::from(round + 1) * 1_000;
        running.until("all messages are through", |_| outside.depth("out.all") >= wanted);
        running.until("it is mended", |running| running.health().contains("\"status\":\"ok\""));
    }
    assert_eq!(running.stop(), 0);
    // A message may have been published twice over a connection that broke: then under the same id.
    let mut by_id = std::collections::BTreeMap::new();
    for message in outside.drain("out.all") {
        by_id.insert(message["id"].as_str().unwrap().to_owned(), message["body"].as_str().unwrap().to_owned());
    }
    let mut bodies: Vec<String> = by_id.into_values().collect();
    bodies.sort();
    let mut wanted: Vec<String> = (0..4_000).map(|n| json!({ "n": n }).to_string()).collect();
    wanted.sort();
    assert!(bodies == wanted, "{} bodies of 4000; {}", bodies.len(), job.said());
    brokers::down(own, "rabbitmq");
}
