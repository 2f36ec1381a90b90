//! Live traffic: what tables hold while it runs and after it, and what is counted as latency. How long it takes and how
//! memory behaves over ten minutes is `scripts/soak`, which `scripts/test --long` runs.

use std::time::Duration;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use eagre::dataflow::settings::Restore;
use eagre::engine::Engine;
use eagre::project::{Project, SqlText};

/// Counts per customer in windows of a tenth of a second over `orders`, as the text of its table declares it.
fn engine(dir: &std::path::Path, settings: &str, connector: &str) -> Engine {
    let text = format!(
        "{settings}
         CREATE TABLE orders (customer STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '0.001' SECOND) WITH ({connector});
         CREATE MATERIALIZED VIEW counts AS SELECT window_start, customer, COUNT(*) AS orders
         FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '0.1' SECOND)) GROUP BY window_start, window_end, customer;"
    );
    let mut project = Project::of_texts("live", dir, vec![SqlText { name: "live.sql".into(), text }]);
    project.set_from_flag(&format!("data-dir={}", dir.join("data").display())).unwrap();
    Engine::load(project).unwrap()
}

/// Window start and count of every row that the table shows.
fn shown(engine: &Engine) -> Vec<(i64, i64)> {
    let batches = engine.tables().snapshot().table("counts").unwrap().batches().unwrap();
    let rows = |batch: &RecordBatch| {
        let starts = batch.column(0).as_primitive::<TimestampMillisecondType>().values().to_vec();
        starts.into_iter().zip(batch.column(2).as_primitive::<Int64Type>().values().to_vec()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(rows).collect()
}

fn sum(engine: &Engine) -> i64 {
    shown(engine).iter().map(|(_, orders)| orders).sum()
}

/// Rows of windows that an event has closed, and not the end of the input: only those have an arrival to count from.
fn closed_by_events(engine: &Engine) -> usize {
    let rows = shown(engine);
    let last = rows.iter().map(|(start, _)| *start).max();
    rows.iter().filter(|(start, _)| Some(*start) < last).count()
}

fn counted(engine: &Engine) -> u64 {
    engine.metrics().latencies().iter().filter(|(name, ..)| name == "eagre_latency_seconds").map(|(.., latency)| latency.count()).sum()
}

fn written(engine: &Engine) -> i64 {
    let of_table = |(name, labels, value): (String, String, i64)| {
        (name == "eagre_table_rows_written_total" && labels.contains("counts")).then_some(value)
    };
    engine.metrics().values().into_iter().find_map(of_table).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_in_its_window_once_under_cuts_and_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let often = "SET 'cut.interval' = '5 ms'; SET 'checkpoint.interval' = '100 ms';";
    let by_the_clock = "'connector' = 'datagen', 'rows-per-second' = '10000', 'number-of-rows' = '10000',
        'fields.customer.pattern' = 'C-#', 'fields.customer.min' = '0', 'fields.customer.max' = '9'";
    let engine = engine(dir.path(), often, by_the_clock);
    engine.start(Restore::None, false).await.unwrap().wait().await.unwrap();
    assert_eq!(sum(&engine), 10_000);
    assert_eq!(counted(&engine), closed_by_events(&engine) as u64, "the latency of every row was counted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_is_counted_when_rows_can_be_seen_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let seldom = "SET 'cut.interval' = '1 h'; SET 'checkpoint.interval' = '1 h';";
    let engine = engine(dir.path(), seldom, "'connector' = 'feed', 'format' = 'json'");
    let mut published = engine.tables().published();
    let running = engine.start(Restore::None, false).await.unwrap();
    // The first cut comes at once, the next one in an hour.
    published.wait_for(|epoch| *epoch > 0).await.unwrap();
    let feed = engine.feed("orders").unwrap();
    let event = |customer: &str, second: u32| format!("{{\"customer\": \"{customer}\", \"ts\": \"2024-01-01 12:00:{second:02}\"}}\n");
    feed.send_lines(0, [event("a", 1), event("b", 1), event("a", 2)].concat()).await.unwrap();
    while written(&engine) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((sum(&engine), counted(&engine)), (0, 0), "both windows have closed, none can be seen");
    feed.end();
    running.wait().await.unwrap();
    assert_eq!((sum(&engine), counted(&engine)), (3, closed_by_events(&engine) as u64));
    assert_eq!(counted(&engine), 2);
}
