//! The same pipelines without SQL: streams, windows and joins over DataFusion's expressions.
//!
//!     cargo run --example fluent

#![allow(clippy::print_stdout)]

use std::time::Duration;

use arrow::util::pretty::pretty_format_batches;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::prelude::lit;

use eagre::dataflow::settings::Restore;
use eagre::engine::Builder;
use eagre::engine::stream::{Tumble, column};
use eagre::project::{Project, SqlText};

const TABLES: &str = "
    CREATE TABLE orders (orderId STRING, customer STRING, amount BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
    WITH ('connector' = 'feed', 'format' = 'json');
    CREATE TABLE payments (paymentId STRING, customer STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
    WITH ('connector' = 'feed', 'format' = 'json');";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let text = SqlText { name: "tables.sql".into(), text: TABLES.into() };
    let mut builder = Builder::new(Project::of_texts("fluent", folder.path(), vec![text]));

    let per_minute = builder
        .stream("orders")?
        .filter(column("amount").gt(lit(0_i64)))?
        .window(Tumble::of(Duration::from_secs(60)).on("ts"))?
        .group_by([column("customer")])
        .aggregate([count(lit(1_i64)).alias("orders"), sum(column("amount")).alias("total")])?;
    builder.live_table(per_minute, "per_minute", &[])?;

    let paid = builder
        .stream("orders")?
        .join(builder.stream("payments")?, [("orders.customer", "payments.customer")])
        .within(("orders.ts", "payments.ts"), Duration::ZERO, Duration::from_secs(300))?
        .select([column("orderId"), column("paymentId")])?;
    builder.live_table(paid, "paid", &[])?;

    let engine = builder.build()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let running = engine.start(Restore::Auto, false).await?;
        let (orders, payments) = (engine.feed("orders")?, engine.feed("payments")?);
        orders.send_lines(0, "{\"orderId\": \"o1\", \"customer\": \"c\", \"amount\": 5, \"ts\": \"2024-01-01 12:00:01\"}\n").await?;
        orders.send_lines(0, "{\"orderId\": \"o2\", \"customer\": \"c\", \"amount\": 7, \"ts\": \"2024-01-01 12:00:30\"}\n").await?;
        payments.send_lines(0, "{\"paymentId\": \"p1\", \"customer\": \"c\", \"ts\": \"2024-01-01 12:00:20\"}\n").await?;
        orders.end();
        payments.end();
        running.wait().await
    })?;

    let snapshot = engine.tables().snapshot();
    for name in ["per_minute", "paid"] {
        let table = snapshot.table(name).ok_or("no table")?;
        println!("{name}\n{}", pretty_format_batches(&table.batches()?)?);
    }
    Ok(())
}
