//! `eagre explain`: the dataflow that a project becomes; with its figures while an engine runs it.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::display::array_value_to_string;

use super::project_args::ProjectArgs;
use crate::dataflow::explain::explain;
use crate::engine::Engine;
use crate::error::Result;
use crate::server::socket::{Answer, Client, Request};

/// Show the dataflow: sources, operators, keys, windows, state and watermarks; with figures while it runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    project: ProjectArgs,
}

/// What a running engine says of its nodes.
const FIGURES: &str = "SELECT node, kind, rows_in, rows_out, rows_dropped, watermark FROM system.operators";

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let engine = Engine::load(args.project.open()?)?;
    let now = match Client::connect(&engine.environment().data_dir).await? {
        Some(client) => figures(client).await?,
        None => BTreeMap::new(),
    };
    super::print(&explain(engine.graph(), &now))?;
    Ok(0)
}

/// What it says of the records that wait to be read.
const LAGS: &str = "SELECT source, partition, lag_records FROM system.partitions WHERE lag_records IS NOT NULL ORDER BY source, partition";
/// So many partitions that are behind are named.
const PARTITIONS_NAMED: usize = 4;

/// The rows of a query to a running engine.
async fn ask(client: &mut Client, query: &str) -> Result<Vec<RecordBatch>> {
    client.ask(&Request::Sql { text: query.to_owned(), name: "figures".to_owned() }).await?;
    let mut batches = Vec::new();
    while let Some(answer) = client.next().await? {
        if let Answer::Rows(rows) = answer {
            batches.push(rows);
        }
    }
    Ok(batches)
}

/// By source: how many records wait to be read, in words.
fn lags(batches: &[RecordBatch]) -> BTreeMap<String, String> {
    let mut by_source: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for rows in batches {
        let (sources, partitions) = (rows.column(0).as_string_view(), rows.column(1).as_string_view());
        let lags = rows.column(2).as_primitive::<Int64Type>();
        for row in 0..rows.num_rows() {
            by_source.entry(sources.value(row).to_owned()).or_default().push((partitions.value(row).to_owned(), lags.value(row)));
        }
    }
    let words = |mut partitions: Vec<(String, i64)>| {
        let total: i64 = partitions.iter().map(|(_, lag)| lag).sum();
        partitions.retain(|(_, lag)| *lag > 0);
        // The one that is furthest behind first.
        partitions.sort_by_key(|(_, lag)| std::cmp::Reverse(*lag));
        let more = partitions.len().saturating_sub(PARTITIONS_NAMED);
        let mut named: Vec<String> =
            partitions.iter().take(PARTITIONS_NAMED).map(|(partition, lag)| format!("{partition} {lag}")).collect();
        if more > 0 {
            named.push(format!("{more} more"));
        }
        if named.is_empty() { format!("{total} behind the end") } else { format!("{total} behind the end ({})", named.join(", ")) }
    };
    by_source.into_iter().map(|(source, partitions)| (source, words(partitions))).collect()
}

/// Node to its figures, in words.
async fn figures(mut client: Client) -> Result<BTreeMap<String, String>> {
    let nodes = ask(&mut client, FIGURES).await?;
    let mut lags = lags(&ask(&mut client, LAGS).await?);
    let mut figures = BTreeMap::new();
    for rows in nodes {
        let (nodes, kinds) = (rows.column(0).as_string_view(), rows.column(1).as_string_view());
        let number = |column: usize, row: usize| rows.column(column).as_primitive::<Int64Type>().value(row);
        for row in 0..rows.num_rows() {
            let mut words = match kinds.value(row) {
                "source" => format!("{} rows", number(3, row)),
                "sink" => format!("{} rows", number(2, row)),
                _ => format!("{} rows in, {} out", number(2, row), number(3, row)),
            };
            if number(4, row) > 0 {
                words.push_str(&format!(", {} dropped", number(4, row)));
            }
            if let Some(lag) = lags.remove(nodes.value(row)) {
                words.push_str(&format!(", {lag}"));
            }
            if rows.column(5).is_valid(row) {
                words.push_str(&format!(", watermark {}", array_value_to_string(rows.column(5), row)?));
            }
            figures.insert(nodes.value(row).to_owned(), words);
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};
    use std::sync::Arc;

    #[test]
    fn lag_is_told_in_sum_and_by_the_partitions_that_are_behind() {
        let rows: Vec<(&str, String, i64)> =
            (0..6).map(|n| ("orders", format!("orders[{n}]"), n * 10)).chain([("idle", "idle[0]".into(), 0)]).collect();
        let batch = RecordBatch::try_from_iter([
            ("source", Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.0))) as arrow::array::ArrayRef),
            ("partition", Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.1.as_str())))),
            ("lag", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)))),
        ]);
        let words = lags(&[batch.unwrap()]);
        assert_eq!(words["orders"], "150 behind the end (orders[5] 50, orders[4] 40, orders[3] 30, orders[2] 20, 1 more)");
        assert_eq!(words["idle"], "0 behind the end");
    }
}
