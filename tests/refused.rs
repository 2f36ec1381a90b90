//! Nothing is lost silently: rows that reach no result are counted, kept with their origin and their bytes, also over a
//! restart; and state has a limit that is told, not exceeded.

use std::path::Path;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt32Type};
use eagre::dataflow::coordinator::Ended;
use eagre::dataflow::settings::Restore;
use eagre::engine::{Engine, Running};
use eagre::error::{Error, Kind, Place};
use eagre::project::{Origin, Project, SqlText};

const PATIENCE: Duration = Duration::from_secs(30);

fn load(dir: &Path, sql: &str, settings: &[(&str, &str)]) -> Result<Engine, Error> {
    let text = SqlText { name: "job.sql".into(), text: sql.into() };
    let mut project = Project::of_texts("job", dir, vec![text]);
    for (key, value) in [("parallelism", "2"), ("cut.interval", "1 ms")].iter().chain(settings) {
        project.settings.set(key, value, Origin::Set, Place::thing("test")).unwrap();
    }
    Engine::load(project)
}

async fn ended(running: Running) -> Result<Ended, Error> {
    tokio::time::timeout(PATIENCE, running.wait()).await.expect("it does not end")
}

fn counter(engine: &Engine, name: &str, label: &str) -> i64 {
    engine.metrics().values().iter().filter(|(n, labels, _)| n == name && labels.contains(label)).map(|(_, _, value)| value).sum()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The table `dead_letters`: source, partition, offset, reason, bytes of the record.
fn dead_letters(engine: &Engine) -> Vec<(String, Option<u32>, Option<i64>, String, String)> {
    let snapshot = engine.tables().snapshot();
    let mut letters = Vec::new();
    for batch in snapshot.table("dead_letters").unwrap().batches().unwrap() {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let text = |name: &str, row| column(name).as_string_view().value(row).to_owned();
        for row in 0..batch.num_rows() {
            let partition = column("partition");
            let offset = column("offset");
            letters.push((
                text("source", row),
                partition.is_valid(row).then(|| partition.as_primitive::<UInt32Type>().value(row)),
                offset.is_valid(row).then(|| offset.as_primitive::<Int64Type>().value(row)),
                text("reason", row),
                String::from_utf8(column("record").as_binary::<i32>().value(row).to_vec()).unwrap(),
            ));
        }
    }
    letters.sort();
    letters
}

/// The offset that a feed gives the first record of a chunk.
fn offset(chunk: i64) -> i64 {
    chunk << 24
}

fn rows_of(engine: &Engine, table: &str) -> Vec<RecordBatch> {
    engine.tables().snapshot().table(table).unwrap().batches().unwrap()
}

const TABLE: &str = "
SET 'pipeline.on-expression-error' = 'dead-letter';
CREATE TABLE t (k STRING, v STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
  WITH ('connector' = 'feed', 'format' = 'json', 'scan.watermark.max-future-skew' = '1 h' {more});
CREATE MATERIALIZED VIEW out AS
SELECT window_start, COUNT(*) AS n, SUM(CAST(v AS INT)) AS s FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end;
";

/// One record of each fate.
const RECORDS: [&str; 6] = [
    r#"{"k": "good", "v": "1", "ts": "2024-01-01 00:00:11"}"#,
    r#"{"k": "torn", "v": "#,
    r#"{"k": "timeless", "v": "1",  "ts": null}"#,
    r#"{"k": "future", "v": "1", "ts":  "2924-01-01 00:00:11"}"#,
    r#"{"k": "late", "v": "1", "ts": "2024-01-01 00:00:01"}"#,
    r#"{"k": "no number", "v": "x", "ts": "2024-01-01 00:00:12"}"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_have_origin_reason_and_bytes_and_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let sql = TABLE.replace("{more}", "");
    let engine = load(dir.path(), &sql, &[]).unwrap();
    let feed = engine.feed("t").unwrap();
    feed.keep();
    let running = engine.start(Restore::Auto, false).await.unwrap();
    for record in RECORDS {
        feed.send_lines(0, format!("{record}\n")).await.unwrap();
    }
    until("all refused", || counter(&engine, "eagre_rows_dropped_total", "") == 5).await;
    running.stopper().stop();
    ended(running).await.unwrap();
    let running = engine.start(Restore::Latest, false).await.unwrap();
    feed.send_lines(0, "torn, too\n").await.unwrap();
    feed.end();
    ended(running).await.unwrap();

    let found = dead_letters(&engine);
    let of = |source: &str| found.iter().filter(|letter| letter.0 == source).cloned().collect::<Vec<_>>();
    let letter =
        |chunk: i64, reason: &str, record: &str| ("t".to_owned(), Some(0), Some(offset(chunk)), reason.to_owned(), record.to_owned());
    assert_eq!(
        of("t"),
        [
            letter(1, "undecodable", RECORDS[1]),
            letter(2, "null_event_time", RECORDS[2]),
            letter(3, "future", RECORDS[3]),
            letter(6, "undecodable", "torn, too"),
        ]
    );
    let others: Vec<_> = found.iter().filter(|letter| letter.0 != "t").map(|letter| (letter.3.as_str(), letter.4.as_str())).collect();
    assert_eq!(others.len(), 2, "{others:?}");
    assert!(others.iter().any(|(reason, record)| *reason == "late" && record.contains(r#""v":"1""#)), "{others:?}");
    assert!(others.iter().any(|(reason, record)| *reason == "expression" && record.contains(r#""v":"x""#)), "{others:?}");
    let page = engine.metrics().prometheus();
    for reason in ["undecodable", "null_event_time", "future", "late", "expression"] {
        assert!(page.lines().any(|l| l.starts_with("eagre_rows_dropped_total{") && l.contains(&format!("reason=\"{reason}\""))), "{page}");
    }
    assert_eq!(rows_of(&engine, "out").iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_takes_the_dead_letters_of_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let sql = TABLE.replace("{more}", ", 'dead-letter' = 'refused'");
    let engine = load(dir.path(), &sql, &[]).unwrap();
    let feed = engine.feed("t").unwrap();
    let running = engine.start(Restore::Auto, false).await.unwrap();
    for record in RECORDS {
        feed.send_lines(0, format!("{record}\n")).await.unwrap();
    }
    feed.end();
    ended(running).await.unwrap();
    assert_eq!(dead_letters(&engine), []);
    let log = engine.environment().log.open().unwrap();
    let records = log.read(&log.topic("refused").unwrap(), 0, 0, 1 << 20).unwrap();
    let header = |row: usize, name: &str| {
        let found = records.headers[row].iter().find(|(known, _)| known == &format!("dead-letter.{name}"));
        found.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap())
    };
    let value = |row: usize| String::from_utf8(records.value(row).unwrap().to_vec()).unwrap();
    let mut reasons: Vec<_> = (0..records.len()).map(|row| header(row, "reason").unwrap()).collect();
    reasons.sort();
    assert_eq!(reasons, ["expression", "future", "late", "null_event_time", "undecodable"]);
    let torn = (0..records.len()).find(|row| header(*row, "reason").unwrap() == "undecodable").unwrap();
    assert_eq!(value(torn), RECORDS[1]);
    assert_eq!(header(torn, "source").unwrap(), "t");
    assert_eq!(header(torn, "partition").unwrap(), "0");
    assert_eq!(header(torn, "attempts").unwrap(), "1");
    assert_eq!(header(torn, "offset").unwrap(), offset(1).to_string());
    assert!(header(torn, "error").unwrap().contains("ends inside"), "{:?}", header(torn, "error"));
    let late = (0..records.len()).find(|row| header(*row, "reason").unwrap() == "late").unwrap();
    assert_eq!(header(late, "offset"), None, "an operator knows no offsets");
}

#[test]
fn a_table_cannot_be_its_own_dead_letter() {
    let sql = "
CREATE TABLE orders (k STRING) WITH ('connector' = 'log', 'format' = 'json', 'dead-letter' = 'orders');
CREATE MATERIALIZED VIEW out AS SELECT k FROM orders;";
    let told = load(tempfile::tempdir().unwrap().path(), sql, &[]).err().unwrap().to_string();
    assert!(told.contains("job.sql:2:") && told.contains("cannot go to its own topic 'orders'"), "{told}");
    let elsewhere = sql.replace("'dead-letter' = 'orders'", "'dead-letter' = 'shp:lost'");
    let told = load(tempfile::tempdir().unwrap().path(), &elsewhere, &[]).err().unwrap().to_string();
    assert!(told.contains("job.sql:2:") && told.contains("topic name 'shp:lost' holds ':'") && told.contains("'broker:topic'"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_expression_stops_the_pipeline_and_names_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let sql = TABLE
        .replace("{more}", "")
        .replace("'dead-letter'", "'fail'")
        .replace("SUM(CAST(v AS INT))", "SUM(v)")
        .replace("k STRING", "k INT");
    let sql = sql.replace("k INT, v STRING", "k STRING, w STRING, v AS CAST(w AS INT)");
    let engine = load(dir.path(), &sql, &[]).unwrap();
    let feed = engine.feed("t").unwrap();
    let running = engine.start(Restore::Auto, false).await.unwrap();
    feed.send_lines(
        0,
        "{\"k\": \"a\", \"w\": \"1\", \"ts\": \"2024-01-01 00:00:01\"}\n{\"k\": \"a\", \"w\": \"x\", \"ts\": \"2024-01-01 00:00:01\"}\n",
    )
    .await
    .unwrap();
    let error = ended(running).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Row);
    let told = error.to_string();
    assert!(told.starts_with("t[0]@1: ") && told.contains("'x'") && told.contains("pipeline.on-expression-error"), "{told}");
}

const HELD: &str = "
CREATE TABLE t (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'feed', 'format' = 'json');
CREATE VIEW by_key AS
SELECT k, COUNT(*) AS c, window_time AS at FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY k, window_start, window_end, window_time;
CREATE MATERIALIZED VIEW out AS
SELECT COUNT(*) AS n FROM TABLE(TUMBLE(TABLE by_key, DESCRIPTOR(at), INTERVAL '1' DAY)) GROUP BY window_start, window_end;
";

/// Lines with keys `from..to`, all in one window.
fn keys(from: usize, to: usize) -> String {
    (from..to)
        .map(|n| format!("{{\"k\": \"a key that takes some room in memory, number {n}\", \"ts\": \"2024-01-01 00:00:01\"}}\n"))
        .collect()
}

fn total(engine: &Engine) -> i64 {
    rows_of(engine, "out").iter().map(|b| b.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_limit_the_pipeline_stops_behind_a_checkpoint_and_goes_on_with_a_higher_one() {
    const KEYS: usize = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let engine = load(dir.path(), HELD, &[("state.max-bytes", "1 mb")]).unwrap();
    let feed = engine.feed("t").unwrap();
    feed.keep();
    for from in (0..KEYS).step_by(1_000) {
        feed.send_lines(0, keys(from, from + 1_000)).await.unwrap();
    }
    let error = ended(engine.start(Restore::Auto, false).await.unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (Kind::Failed, 1));
    let told = error.to_string();
    assert!(told.contains("state.max-bytes allows (1048576); window ") && told.contains("nothing is lost"), "{told}");

    // The same checkpoints, the same feed (which is the outside world here), more room.
    let roomy = load(dir.path(), HELD, &[("state.max-bytes", "1 gb")]).unwrap();
    let again = roomy.feed("t").unwrap();
    again.keep();
    for from in (0..KEYS).step_by(1_000) {
        again.send_lines(0, keys(from, from + 1_000)).await.unwrap();
    }
    again.end();
    ended(roomy.start(Restore::Auto, false).await.unwrap()).await.unwrap();
    assert_eq!(total(&roomy), KEYS as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_dropped_for_state_only_where_that_was_asked_for_and_are_counted() {
    const KEYS: usize = 30_000;
    let dir = tempfile::tempdir().unwrap();
    let engine = load(dir.path(), HELD, &[("state.max-bytes", "1 mb"), ("state.on-limit", "dead-letter")]).unwrap();
    let feed = engine.feed("t").unwrap();
    let running = engine.start(Restore::Auto, false).await.unwrap();
    feed.send_lines(0, keys(0, KEYS / 2)).await.unwrap();
    until("state is at its limit", || counter(&engine, "eagre_state_bytes", "") >= 1 << 20).await;
    feed.send_lines(0, keys(KEYS / 2, KEYS)).await.unwrap();
    until("rows are refused", || counter(&engine, "eagre_rows_dropped_total", "state_limit") > 0).await;
    feed.end();
    assert_eq!(ended(running).await.unwrap(), Ended::Finished);
    let refused = counter(&engine, "eagre_rows_dropped_total", "state_limit");
    assert_eq!(total(&engine) + refused, KEYS as i64);
    let kept = dead_letters(&engine);
    assert_eq!(kept.len() as i64, refused);
    assert!(kept.iter().all(|letter| letter.3 == "state_limit"), "{:?}", kept.first());
}
