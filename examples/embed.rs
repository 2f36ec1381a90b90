//! Embedding the engine: batches go in, a live table comes out, with a function of one's own in the SQL.
//!
//!     cargo run --example embed

#![allow(clippy::print_stdout)]

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};

use eagre::dataflow::settings::Restore;
use eagre::engine::Builder;
use eagre::project::{Project, SqlText};

const SQL: &str = "
    CREATE TABLE readings (
      sensor STRING, celsius BIGINT, ts TIMESTAMP(3),
      WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
    ) WITH ('connector' = 'feed');

    CREATE MATERIALIZED VIEW warmest AS
    SELECT window_start, sensor, MAX(fahrenheit(celsius)) AS fahrenheit
    FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
    GROUP BY window_start, window_end, sensor;";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fahrenheit = create_udf(
        "fahrenheit",
        vec![DataType::Int64],
        DataType::Int64,
        Volatility::Immutable,
        Arc::new(|args| {
            let celsius = args[0].to_array(1)?;
            let values: Int64Array = celsius.as_primitive::<Int64Type>().unary(|c| c * 9 / 5 + 32);
            Ok(ColumnarValue::Array(Arc::new(values)))
        }),
    );
    let folder = tempfile::tempdir()?;
    let text = SqlText { name: "readings.sql".into(), text: SQL.into() };
    let engine = Builder::new(Project::of_texts("readings", folder.path(), vec![text])).function(fahrenheit).build()?;

    tokio::runtime::Runtime::new()?.block_on(async {
        let running = engine.start(Restore::Auto, false).await?;
        let readings = engine.feed("readings")?;
        readings.send(batch(&["roof", "cellar"], &[31, 12], &[1_000, 2_000])?).await?;
        readings.send(batch(&["roof", "cellar"], &[34, 13], &[59_000, 61_000])?).await?;
        readings.end();
        running.wait().await
    })?;

    let snapshot = engine.tables().snapshot();
    let warmest = snapshot.table("warmest").ok_or("no table")?;
    println!("{}", pretty_format_batches(&warmest.batches()?)?);
    Ok(())
}

fn batch(sensors: &[&str], celsius: &[i64], millis: &[i64]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema = Schema::new(vec![
        Field::new("sensor", DataType::Utf8View, true),
        Field::new("celsius", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(StringViewArray::from_iter_values(sensors)),
            Arc::new(Int64Array::from(celsius.to_vec())),
            Arc::new(TimestampMillisecondArray::from(millis.to_vec())),
        ],
    )
}
