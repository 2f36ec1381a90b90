//! The analyses of `queries/` over whole files of real events, against other formulations of the same questions, put to
//! plain DataFusion over all rows: no windows, no watermarks, none of our functions.
//!
//! The files are read from `EAGRE_DATA` (default `../shared/data`), or where that is missing from `queries/data`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use eagre::dataflow::settings::Restore;
use eagre::engine::Engine;
use eagre::error::Place;
use eagre::project::{Origin, Project, SqlText};

/// Where the files of real events are.
pub fn data() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("EAGRE_DATA").map_or_else(|| here.join("../shared/data"), PathBuf::from);
    if given.is_dir() { given } else { here.join("queries/data") }
}

/// A file's events as a table: the envelope's type and time, and the fields of the data.
fn events(file: &str) -> RecordBatch {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(data().join(file)).unwrap()).read_to_string(&mut text).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let time = |row: &serde_json::Value| chrono::DateTime::parse_from_rfc3339(row["time"].as_str().unwrap()).unwrap().timestamp_millis();
    let texts = |name: &str| -> ArrayRef { Arc::new(rows.iter().map(|row| row["data"][name].as_str()).collect::<StringArray>()) };
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("type", Arc::new(rows.iter().map(|row| row["type"].as_str()).collect::<StringArray>())),
        ("millis", Arc::new(rows.iter().map(|row| Some(time(row))).collect::<Int64Array>())),
        ("quantity", Arc::new(rows.iter().map(|row| row["data"]["quantity"].as_i64()).collect::<Int64Array>())),
        ("amount", Arc::new(rows.iter().map(|row| row["data"]["amount"].as_f64()).collect::<Float64Array>())),
    ];
    columns.extend(["userId", "sessionId", "event", "platform", "customerId"].map(|name| (name, texts(name))));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// A value as it is compared: times as milliseconds, doubles to nine digits.
fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => match chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f") {
            Ok(time) => time.and_utc().timestamp_millis().to_string(),
            Err(_) => text.clone(),
        },
        serde_json::Value::Number(n) if n.is_f64() => format!("{:.8e}", n.as_f64().unwrap()),
        other => other.to_string(),
    }
}

/// The rows that a query of `queries/` prints, in the order of its sink's columns.
async fn answer(query: &str, parallelism: usize) -> Vec<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries");
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(folder.join(query)).unwrap();
    let out = dir.path().join("rows.jsonl");
    let sink = format!("'connector' = 'filesystem', 'format' = 'json', 'path' = '{}'", out.display());
    let text = text.replace("'connector' = 'print'", &sink).replace("'data/", &format!("'{}/", data().display()));
    assert!(text.contains(&sink), "{query} prints nothing");
    let columns: Vec<String> = {
        let declared = text.split("CREATE TABLE ").find(|t| t.contains(&sink)).unwrap();
        let list = declared.split_once('(').unwrap().1.split(") WITH").next().unwrap();
        list.split(", ").map(|column| column.trim().split(' ').next().unwrap().trim_matches('`').to_owned()).collect()
    };
    let mut project = Project::of_texts("query", dir.path(), vec![SqlText { name: query.into(), text }]);
    project.settings.set("parallelism", &parallelism.to_string(), Origin::Set, Place::thing("test")).unwrap();
    let engine = Engine::load(project).unwrap();
    engine.start(Restore::Auto, false).await.unwrap().wait().await.unwrap();
    let late =
        engine.metrics().values().iter().filter(|(name, ..)| name == "eagre_rows_dropped_total").map(|(.., n)| *n as u64).sum::<u64>();
    assert_eq!(late, 0, "{query} drops rows");
    let rows = fs::read_to_string(&out).unwrap();
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        columns.iter().map(|column| cell(&row[column])).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> = rows.lines().map(row).collect();
    rows.sort();
    rows
}

/// The rows of plain SQL over a file's events, called `e`.
async fn asked(file: &str, sql: &str) -> Vec<Vec<String>> {
    let events = events(file);
    let context = SessionContext::new();
    context.register_table("e", Arc::new(MemTable::try_new(events.schema(), vec![vec![events]]).unwrap())).unwrap();
    let mut rows = Vec::new();
    for batch in context.sql(sql).await.unwrap().collect().await.unwrap() {
        let columns: Vec<Vec<String>> = batch.columns().iter().map(cells).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c[row].clone()).collect::<Vec<_>>()));
    }
    rows.sort();
    rows
}

fn cells(column: &ArrayRef) -> Vec<String> {
    match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().map(|x| format!("{:.8e}", x.unwrap())).collect(),
        DataType::Int64 => column.as_primitive::<Int64Type>().iter().map(|n| n.unwrap().to_string()).collect(),
        _ => {
            let texts = arrow::compute::cast(column, &DataType::Utf8).unwrap();
            texts.as_string::<i32>().iter().map(|text| text.unwrap_or("null").to_owned()).collect()
        }
    }
}

async fn agree(query: &str, file: &str, sql: &str) {
    let wanted = asked(file, sql).await;
    assert!(wanted.len() > 10, "{query}: hardly an answer: {wanted:?}");
    for parallelism in [1, 2] {
        let given = answer(query, parallelism).await;
        assert_eq!(given.len(), wanted.len(), "{query} at parallelism {parallelism}");
        for (given, wanted) in given.iter().zip(&wanted) {
            assert_eq!(given, wanted, "{query} at parallelism {parallelism}");
        }
    }
}

const SHOP: &str = "shop-events.jsonl.gz";
const ORDERS: &str = "cdnow-orders.jsonl.gz";

/// Gaps and islands: a session begins with every row that no row of the last half hour came before.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_per_user_and_platform() {
    agree(
        "sessions.sql",
        SHOP,
        r#"SELECT "userId", platform, MIN(millis), MAX(millis) + 1800000, COUNT(*) FROM (
             SELECT *, SUM(begins) OVER (PARTITION BY "userId", platform ORDER BY millis ROWS UNBOUNDED PRECEDING) AS session FROM (
               SELECT *, CASE WHEN millis - LAG(millis) OVER (PARTITION BY "userId", platform ORDER BY millis) <= 1800000
                         THEN 0 ELSE 1 END AS begins FROM e))
           GROUP BY "userId", platform, session"#,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_per_type_and_hour() {
    agree("hourly-counts.sql", SHOP, "SELECT millis - millis % 3600000, type, COUNT(*) FROM e GROUP BY 1, 2").await;
}

/// Users counted once a day and step, by a table of (day, step, user).
#[tokio::test(flavor = "multi_thread")]
async fn the_funnel_of_the_shop() {
    let step = |name: &str| format!("COALESCE(SUM(CASE WHEN type = 'shop.{name}' THEN 1 END), 0)");
    let steps = ["product.ProductViewed", "cart.ItemAdded", "checkout.ShippingEntered", "checkout.PaymentEntered", "order.OrderCreated"];
    let steps: Vec<String> = steps.iter().map(|s| step(s)).collect();
    let sql = format!(
        r#"SELECT day, {} FROM (SELECT DISTINCT millis - millis % 86400000 AS day, type, "userId" FROM e) GROUP BY day"#,
        steps.join(", ")
    );
    agree("funnel.sql", SHOP, &sql).await;
}

/// Months are sums of the days of the query's answer.
#[tokio::test(flavor = "multi_thread")]
async fn revenue_per_month() {
    let by_month = "SELECT to_char(arrow_cast(millis, 'Timestamp(Millisecond, None)'), '%Y-%m'), COUNT(*), SUM(quantity), SUM(amount) FROM e GROUP BY 1";
    let wanted = asked(ORDERS, by_month).await;
    assert_eq!(wanted.len(), 18, "January 1997 to June 1998");
    for parallelism in [1, 2] {
        let mut months: BTreeMap<String, (i64, i64, f64)> = BTreeMap::new();
        for day in answer("monthly-revenue.sql", parallelism).await {
            let month = months.entry(day[0].clone()).or_default();
            month.0 += day[2].parse::<i64>().unwrap();
            month.1 += day[3].parse::<i64>().unwrap();
            month.2 += day[4].parse::<f64>().unwrap();
        }
        for (wanted, (month, (orders, items, revenue))) in wanted.iter().zip(&months) {
            assert_eq!(&wanted[..3], [month.clone(), orders.to_string(), items.to_string()], "parallelism {parallelism}");
            let (wanted, given) = (wanted[3].parse::<f64>().unwrap(), *revenue);
            assert!((wanted - given).abs() < 1e-6 * wanted, "{month}: {given} and not {wanted}");
        }
        assert_eq!(months.len(), wanted.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_per_customer_and_minute() {
    agree("order-metrics.sql", ORDERS, r#"SELECT "customerId", millis - millis % 60000, COUNT(*), SUM(amount) FROM e GROUP BY 1, 2"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_customers_looked_at_around_an_order() {
    agree(
        "customer-journey.sql",
        SHOP,
        r#"SELECT b."userId", b."sessionId", l.event, (b.millis - l.millis) / 1000 FROM e b JOIN e l ON b."userId" = l."userId"
           WHERE b.type = 'shop.order.OrderCreated' AND l.type <> 'shop.order.OrderCreated' AND ABS(b.millis - l.millis) <= 300000"#,
    )
    .await;
}
