//! `eagre explain`: the dataflow that a project becomes; with its figures while an engine runs it.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _};
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

/// Node to its figures, in words.
async fn figures(mut client: Client) -> Result<BTreeMap<String, String>> {
    client.ask(&Request::Sql { text: FIGURES.to_owned(), name: "figures".to_owned() }).await?;
    let mut figures = BTreeMap::new();
    while let Some(answer) = client.next().await? {
        let Answer::Rows(rows) = answer else { continue };
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
            if rows.column(5).is_valid(row) {
                words.push_str(&format!(", watermark {}", array_value_to_string(rows.column(5), row)?));
            }
            figures.insert(nodes.value(row).to_owned(), words);
        }
    }
    Ok(figures)
}
