//! Messages of other tools in, messages for other tools out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::outside::numbered;
use super::{Job, Outside, shared, unique};

#[test]
fn what_pika_publishes_is_read_and_what_we_publish_pika_reads() {
    let uri = &shared()["RABBITMQ"];
    let (queue, exchange) = (unique("in"), unique("out"));
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "classic");
    outside.exchange(&exchange, &format!("{exchange}.all"), "order.*");
    let messages = (0..1_000).map(|n| {
        json!({
            "id": format!("id-{n}"), "correlation": format!("c-{n}"), "content_type": "application/json", "timestamp": 1_700_000_000 + n,
            "headers": { "tenant": format!("t{}", n % 3), "attempt": n, "urgent": true }, "body": json!({ "n": n }).to_string(),
        })
    });
    outside.put(&queue, messages.collect());
    let job = Job::new(&format!(
        "CREATE TABLE messages (
  n BIGINT, id STRING METADATA FROM 'message_id' VIRTUAL, corr STRING METADATA FROM 'correlation_id' VIRTUAL,
  kind STRING METADATA FROM 'content_type' VIRTUAL, rk STRING METADATA FROM 'routing_key' VIRTUAL, ex STRING METADATA FROM 'exchange' VIRTUAL,
  again BOOLEAN METADATA FROM 'redelivered' VIRTUAL, tag BIGINT METADATA FROM 'delivery_tag' VIRTUAL,
  headers MAP<STRING, STRING> METADATA VIRTUAL, at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL
) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'queue' = '{queue}', 'format' = 'json');
CREATE TABLE results (
  n BIGINT, id STRING, rk STRING, ex STRING, kind STRING, again BOOLEAN, tag BIGINT, tenant STRING, attempt STRING, urgent STRING, at TIMESTAMP_LTZ(3),
  corr STRING METADATA FROM 'correlation_id', k STRING METADATA FROM 'routing_key'
) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'exchange' = '{exchange}', 'format' = 'json');
INSERT INTO results SELECT n, id, rk, ex, kind, again, tag, headers['tenant'], headers['attempt'], headers['urgent'], at, corr,
  CASE WHEN n % 2 = 0 THEN 'order.even' ELSE 'order.odd' END FROM messages;"
    ));
    let mut running = job.start();
    running.until("all is through", |_| outside.depth(&format!("{exchange}.all")) == 1_000);
    assert_eq!(running.stop(), 0);
    assert_eq!(outside.depth(&queue), 0);
    let taken = outside.drain(&format!("{exchange}.all"));
    assert_eq!(taken.iter().map(|message| message["id"].as_str().unwrap()).collect::<BTreeSet<_>>().len(), 1_000, "ids are unique");
    for message in &taken {
        let body: serde_json::Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
        let n = body["n"].as_i64().unwrap();
        let wanted = json!({
            "n": n, "id": format!("id-{n}"), "rk": queue, "ex": "", "kind": "application/json", "again": false, "tag": n + 1,
            "tenant": format!("t{}", n % 3), "attempt": n.to_string(), "urgent": "true", "at": body["at"],
        });
        assert_eq!(body, wanted);
        assert!(body["at"].as_str().unwrap().starts_with("2023-11-14"), "{body}");
        assert_eq!(message["key"], if n % 2 == 0 { "order.even" } else { "order.odd" });
        assert_eq!((&message["correlation"], &message["mode"]), (&json!(format!("c-{n}")), &json!(2)));
    }
    outside.step(json!({ "step": "delete", "queue": queue }));
    outside.step(json!({ "step": "delete", "queue": format!("{exchange}.all") }));
}

#[test]
fn an_unroutable_message_stops_the_pipeline_and_is_published_once_a_queue_is_bound() {
    let uri = &shared()["RABBITMQ"];
    let (queue, exchange) = (unique("in"), unique("out"));
    let (all, dead) = (format!("{exchange}.all"), format!("{exchange}.dead"));
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "quorum");
    outside.exchange(&exchange, &all, "even");
    outside.exchange(&dead, &dead, "#");
    let sql = |more: &str| {
        format!(
            "CREATE TABLE messages (n BIGINT) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'queue' = '{queue}');
CREATE TABLE results (n BIGINT, k STRING METADATA FROM 'routing_key')
  WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'exchange' = '{exchange}' {more});
INSERT INTO results SELECT n, CASE WHEN n % 2 = 0 THEN 'even' ELSE 'odd' END FROM messages;"
        )
    };
    outside.put(&queue, numbered(0..100));
    let job = Job::new(&sql(""));
    let code = job.start().wait();
    assert_eq!(code, 1, "{}", job.said());
    // How many come before the first checkpoint is the broker's business: as many are routed as wait, give or take one.
    let said = job.said();
    let told = format!("exchange '{exchange}' routes messages with the key 'odd' to no queue (");
    let waiting = said.split(&told).nth(1).and_then(|rest| rest.split(' ').next()).and_then(|number| number.parse::<i64>().ok());
    let waiting = waiting.unwrap_or_else(|| panic!("{said}"));
    let routed = i64::try_from(outside.depth(&all)).unwrap();
    assert!(routed > 0 && (routed - waiting).abs() <= 1, "{routed} routed, {waiting} wait: those that could be routed have been");
    outside.step(json!({ "step": "bind", "exchange": exchange, "queue": all, "key": "odd" }));
    let mut running = job.start();
    running.until("the others are published", |_| outside.depth(&all) == 100);
    assert_eq!(running.stop(), 0);
    assert_eq!(outside.drain(&all).len(), 100, "and none of them twice");

    // With an exchange for such messages the pipeline goes on.
    outside.step(json!({ "step": "unbind", "exchange": exchange, "queue": all, "key": "odd" }));
    outside.put(&queue, numbered(100..200));
    job.rewrite(&sql(&format!(", 'sink.dead-letter.exchange' = '{dead}'")));
    let mut running = job.start();
    running.until("all are published", |_| outside.depth(&all) + outside.depth(&dead) == 100);
    assert_eq!(running.stop(), 0);
    let lost = outside.drain(&dead);
    assert_eq!(lost.len(), 50);
    let told = |m: &&serde_json::Value| m["key"] == "odd" && m["headers"]["x-unroutable-exchange"] == json!(exchange);
    assert_eq!(lost.iter().find(|m| !told(m)), None);
    for queue in [&queue, &all, &dead] {
        outside.step(json!({ "step": "delete", "queue": queue }));
    }
}

#[test]
fn a_small_prefetch_brings_checkpoints_before_their_time() {
    let uri = &shared()["RABBITMQ"];
    let queue = unique("prefetch");
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "classic");
    outside.put(&queue, numbered(0..2_000));
    let mut job = Job::new("");
    job.set = vec!["checkpoint.interval=1 h".into()];
    job.rewrite(&format!(
        "CREATE TABLE messages (n BIGINT) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'queue' = '{queue}', 'prefetch' = '100');
CREATE TABLE seen (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
INSERT INTO seen SELECT n FROM messages;",
        job.path("seen").display()
    ));
    let mut running = job.start();
    // The last half of a prefetch waits for the hour.
    running.until("messages come although none are acknowledged by the clock", |_| job.lines("seen").len() >= 1_900);
    assert_eq!(running.stop(), 0);
    // The broker takes a moment to put back what nobody acknowledges any more.
    let (read, since) = (job.lines("seen").len() as u64, Instant::now());
    while read + outside.depth(&queue) != 2_000 {
        assert!(since.elapsed() < Duration::from_secs(20), "{read} read, {} still waiting: not 2000", outside.depth(&queue));
        std::thread::sleep(Duration::from_millis(50));
    }
    outside.step(json!({ "step": "delete", "queue": queue }));
}
