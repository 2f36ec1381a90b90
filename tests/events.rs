//! CloudEvents through the door: what is taken, what is refused, and events that a pipeline writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use arrow::array::AsArray;
use eagre::dataflow::settings::Restore;
use eagre::engine::Engine;
use eagre::error::Error;
use eagre::event::{Validity, judge};
use eagre::project::{Project, SqlText};
use serde_json::{Map, Value, json};

/// Events and raw texts with what our door is to make of each (`contract`).
const CASES: &str = include_str!("cases/cloudevents.jsonl");

const DOOR: &str = "
CREATE TABLE incoming (
  orderId STRING,
  kind STRING METADATA FROM 'type', id STRING METADATA, source STRING METADATA, subject STRING METADATA,
  at TIMESTAMP_LTZ(6) METADATA FROM 'time', correlationid STRING METADATA, causationid STRING METADATA, traceparent STRING METADATA,
  WATERMARK FOR at AS at - INTERVAL '3650' DAY
) WITH ('connector' = 'feed', 'format' = 'cloudevents');
CREATE TABLE outgoing (
  orderId STRING,
  kind STRING METADATA FROM 'type', id STRING METADATA, source STRING METADATA, subject STRING METADATA,
  at TIMESTAMP_LTZ(6) METADATA FROM 'time', correlationid STRING METADATA, causationid STRING METADATA, traceparent STRING METADATA
) WITH ('connector' = 'log', 'topic' = 'copied', 'partitions' = '1', 'format' = 'cloudevents');
INSERT INTO outgoing SELECT orderId, kind, id, source, subject, at, correlationid, causationid, traceparent FROM incoming;
";

fn load(dir: &Path, sql: &str) -> Result<Engine, Error> {
    Engine::load(Project::of_texts("events", dir, vec![SqlText { name: "events.sql".into(), text: sql.into() }]))
}

async fn run(engine: &Engine, table: &str, lines: &[String]) {
    let feed = engine.feed(table).unwrap();
    feed.send_lines(0, lines.join("\n") + "\n").await.unwrap();
    feed.end();
    let running = engine.start(Restore::Auto, false).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), running.wait()).await.expect("it does not end").unwrap();
}

/// The events of a topic.
fn topic(engine: &Engine, name: &str) -> Vec<Map<String, Value>> {
    let log = engine.environment().log.open().unwrap();
    let records = log.read(&log.topic(name).unwrap(), 0, 0, 1 << 20).unwrap();
    (0..records.len()).map(|row| serde_json::from_slice(&records.value(row).unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_is_taken_or_refused_with_its_bytes_and_what_is_taken_can_be_written_again() {
    let cases: Vec<Value> = CASES.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |case: &Value| case["raw"].as_str().map_or_else(|| case["event"].to_string(), str::to_owned);
    let lines: Vec<String> = cases.iter().map(text).collect();
    assert!(lines.iter().all(|line| !line.contains('\n') && !line.trim().is_empty()), "a record is a line here");
    let dir = tempfile::tempdir().unwrap();
    let engine = load(dir.path(), DOOR).unwrap();
    run(&engine, "incoming", &lines).await;

    let mut refused = Vec::new();
    for batch in engine.tables().snapshot().table("dead_letters").unwrap().batches().unwrap() {
        let records = batch.column_by_name("record").unwrap().as_binary::<i32>();
        refused.extend(records.iter().flatten().map(|record| String::from_utf8_lossy(record).into_owned()));
    }
    let (taken, rejected): (Vec<&Value>, Vec<&Value>) = cases.iter().partition(|case| case["contract"] != "reject");
    let wanted: Vec<String> = rejected.iter().map(|case| text(case)).collect();
    assert_eq!(refused.len(), wanted.len(), "refused {refused:#?}");
    for record in &wanted {
        assert!(refused.contains(record), "not refused: {record}");
    }

    let written = topic(&engine, "copied");
    assert_eq!(written.len(), taken.len());
    for (event, case) in written.iter().zip(taken) {
        assert_eq!(judge(event), Ok(Validity::Accepted), "{event:?}");
        let mut original: Map<String, Value> = serde_json::from_str(&text(case)).unwrap();
        eagre::event::lift_metadata(&mut original);
        for name in ["type", "id", "source", "subject", "causationid", "traceparent"] {
            let given = original.get(name).filter(|value| !value.is_null());
            assert_eq!(event.get(name), given, "{name} of {case}");
        }
        let order = original["data"].get("orderId").cloned().unwrap_or(Value::Null);
        assert_eq!(event["data"], json!({ "orderId": order }), "{case}");
    }
}

const TOTALS: &str = "
CREATE TABLE orders (customer STRING, amount INT, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'feed', 'format' = 'json');
CREATE TABLE totals (customer STRING, total INT, cause STRING METADATA FROM 'causationid', flow STRING METADATA FROM 'correlationid', about STRING METADATA FROM 'subject')
  WITH ('connector' = 'log', 'topic' = '{topic}', 'partitions' = '1', 'format' = 'cloudevents',
        'cloudevents.type' = 'shop.order.Totalled', 'cloudevents.source' = 'urn:shop:totals', 'cloudevents.metadata' = '{form}');
INSERT INTO totals SELECT customer, CAST(SUM(amount) AS INT), MAX(customer), CAST(NULL AS STRING), 'customers'
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY customer, window_start, window_end;
";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_does_not_bring_has_its_default_and_ids_are_made_again() {
    let lines = [
        r#"{"customer": "c1", "amount": 2, "ts": "2024-01-01 00:00:01Z"}"#.to_owned(),
        r#"{"customer": "c1", "amount": 3, "ts": "2024-01-01 00:00:02Z"}"#.to_owned(),
    ];
    let mut ids = BTreeMap::new();
    for form in ["attributes", "object", "attributes"] {
        let dir = tempfile::tempdir().unwrap();
        let engine = load(dir.path(), &TOTALS.replace("{form}", form).replace("{topic}", "totals")).unwrap();
        run(&engine, "orders", &lines).await;
        let events = topic(&engine, "totals");
        let [event] = events.as_slice() else { panic!("{events:?}") };
        let expected = if form == "object" { Validity::Lifted } else { Validity::Accepted };
        assert_eq!(judge(event), Ok(expected), "{event:?}");
        assert_eq!(event["type"], "shop.order.Totalled");
        assert_eq!(event["subject"], "customers");
        assert_eq!(event["data"], json!({"customer": "c1", "total": 5}));
        if form == "object" {
            assert_eq!(event["metadata"], json!({"causationId": "c1", "correlationId": "c1"}));
        } else {
            assert_eq!((&event["causationid"], &event["correlationid"]), (&json!("c1"), &json!("c1")));
        }
        let id = event["id"].as_str().unwrap().to_owned();
        assert_eq!(ids.entry("totals").or_insert_with(|| id.clone()), &id, "the same event has the same id");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_time_takes_the_event_time_of_its_row_and_a_root_correlates_with_itself() {
    let sql = "
CREATE TABLE orders (orderId STRING, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'feed', 'format' = 'json');
CREATE TABLE seen (orderId STRING, ts TIMESTAMP_LTZ(3))
  WITH ('connector' = 'log', 'partitions' = '1', 'format' = 'cloudevents', 'cloudevents.type' = 'shop.order.Seen', 'cloudevents.source' = 'urn:shop');
INSERT INTO seen SELECT orderId, ts FROM orders;";
    let dir = tempfile::tempdir().unwrap();
    let engine = load(dir.path(), sql).unwrap();
    run(&engine, "orders", &[r#"{"orderId": "o-1", "ts": "2024-01-01 00:00:01.5Z"}"#.to_owned()]).await;
    let events = topic(&engine, "seen");
    assert_eq!(events[0]["time"], "2024-01-01T00:00:01.5Z");
    assert_eq!(events[0]["correlationid"], events[0]["id"]);
}

#[test]
fn a_column_that_cannot_be_written_is_told_before_anything_runs() {
    let told = |sink: &str| {
        let sql =
            format!("CREATE TABLE a (k STRING) WITH ('connector' = 'feed', 'format' = 'json');\n{sink}\nINSERT INTO b SELECT k, k FROM a;");
        load(tempfile::tempdir().unwrap().path(), &sql).err().unwrap().to_string()
    };
    let json = told("CREATE TABLE b (k STRING, t STRING METADATA FROM 'type') WITH ('connector' = 'log', 'format' = 'json');");
    assert!(json.contains("column 't': METADATA FROM 'type' cannot be written with format 'json'"), "{json}");
    let typeless = told("CREATE TABLE b (k STRING, i STRING METADATA FROM 'id') WITH ('connector' = 'log', 'format' = 'cloudevents');");
    assert!(typeless.contains("an event needs its type: a column METADATA FROM 'type' or 'cloudevents.type'"), "{typeless}");
}
