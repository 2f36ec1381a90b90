//! CloudEvents over AMQP, binary and structured, both ways, and headers of rows: what pika writes is read, and the other way.

use serde_json::{Value, json};

use super::{Job, Outside, shared, unique};

const COLUMNS: &str = "orderId STRING, amount DOUBLE, id STRING METADATA, `type` STRING METADATA, source STRING METADATA,
  subject STRING METADATA, `time` TIMESTAMP_LTZ(3) METADATA, correlationid STRING METADATA";

/// One event in binary mode, under one of the prefixes that the binding knows.
fn binary(prefix: &str, order: &str) -> Value {
    let attribute = |name: &str| format!("{prefix}{name}");
    json!({
        "id": format!("m-{order}"), "content_type": "application/json",
        "headers": {
            attribute("specversion"): "1.0", attribute("id"): format!("e-{order}"), attribute("type"): "shop.order.OrderCreated",
            attribute("source"): "urn:shop", attribute("subject"): order, attribute("correlationid"): "visit-1",
        },
        // A native timestamp, as the binding prefers.
        "times": { attribute("time"): 1_700_000_000 },
        "body": json!({ "orderId": order, "amount": 9.5 }).to_string(),
    })
}

#[test]
fn events_in_either_mode_are_read_and_written_as_told() {
    let uri = &shared()["RABBITMQ"];
    let (queue, exchange) = (unique("events.in"), unique("events.out"));
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "classic");
    let structured = json!({ "specversion": "1.0", "id": "e-3", "type": "shop.order.OrderCreated", "source": "urn:shop", "subject": "3",
        "time": "2023-11-14T22:13:20Z", "correlationid": "visit-1", "data": { "orderId": "3", "amount": 9.5 } });
    outside.put(
        &queue,
        vec![
            binary("cloudEvents:", "1"),
            binary("cloudEvents_", "2"),
            json!({ "id": "m-3", "content_type": "application/cloudevents+json", "body": structured.to_string() }),
            // Judged like any event: without a type it is none.
            json!({ "id": "m-4", "content_type": "application/json", "headers": { "cloudEvents:specversion": "1.0" }, "body": "{}" }),
        ],
    );
    let job = Job::new(&format!(
        "CREATE TABLE events ({COLUMNS}, headers MAP<STRING, BYTES> METADATA VIRTUAL)
  WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'queue' = '{queue}', 'format' = 'cloudevents');
CREATE TABLE b ({COLUMNS}) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'exchange' = '{exchange}.b', 'format' = 'cloudevents', 'cloudevents.mode' = 'binary');
CREATE TABLE s ({COLUMNS}, headers MAP<STRING, STRING> METADATA)
  WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'exchange' = '{exchange}.s', 'format' = 'cloudevents');
EXECUTE STATEMENT SET BEGIN
  INSERT INTO b SELECT orderId, amount, id, `type`, source, subject, `time`, correlationid FROM events;
  INSERT INTO s SELECT orderId, amount, id, `type`, source, subject, `time`, correlationid, MAP['tenant', 't' || orderId, 'note', 'x=\"y\"'] FROM events;
END;"
    ));
    for way in ["b", "s"] {
        outside.exchange(&format!("{exchange}.{way}"), &format!("{exchange}.{way}.all"), "#");
    }
    let mut running = job.start();
    let (b, s) = (format!("{exchange}.b.all"), format!("{exchange}.s.all"));
    running.until("all are through", |_| outside.depth(&b) == 3 && outside.depth(&s) == 3);
    assert_eq!(running.stop(), 0);
    for (number, message) in (1..).zip(outside.drain(&b)) {
        let order = number.to_string();
        assert_eq!(message["content_type"], "application/json");
        let wanted = json!({
            "cloudEvents_specversion": "1.0", "cloudEvents_id": format!("e-{order}"), "cloudEvents_type": "shop.order.OrderCreated",
            "cloudEvents_source": "urn:shop", "cloudEvents_subject": order, "cloudEvents_time": "2023-11-14T22:13:20Z",
            "cloudEvents_correlationid": "visit-1",
        });
        assert_eq!(message["headers"], wanted);
        let data: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
        assert_eq!(data, json!({ "orderId": order, "amount": 9.5 }));
    }
    for (number, message) in (1..).zip(outside.drain(&s)) {
        assert_eq!(message["content_type"], "application/cloudevents+json; charset=UTF-8");
        assert_eq!(message["headers"], json!({ "tenant": format!("t{number}"), "note": "x=\"y\"" }));
        let event: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
        assert_eq!((&event["id"], &event["data"]["orderId"]), (&json!(format!("e-{number}")), &json!(number.to_string())));
        assert_eq!(event["time"], "2023-11-14T22:13:20Z");
    }
    assert!(job.said().contains("undecodable"), "the fourth is no event: {}", job.said());
    for queue in [&queue, &b, &s] {
        outside.step(json!({ "step": "delete", "queue": queue }));
    }
}
