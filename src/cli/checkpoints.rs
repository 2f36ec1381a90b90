//! `eagre checkpoints`: what a restart would find.

use std::sync::Arc;

use arrow::array::RecordBatch;
use clap::Subcommand;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::output::{self, Format};
use super::project_args::ProjectArgs;
use crate::error::{Error, Result, did_you_mean};
use crate::state::manifest::OperatorEntry;
use crate::state::{Checkpoints, Manifest, Store};

/// Checkpoints of a pipeline.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All checkpoints, oldest first; damaged ones say what is wrong.
    List {
        #[command(flatten)]
        project: ProjectArgs,
        /// How the answer looks.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// What is in a checkpoint; with -c, its state as SQL tables.
    Inspect {
        #[command(flatten)]
        project: ProjectArgs,
        /// Which one [default: the newest].
        #[arg(long, value_name = "EPOCH")]
        id: Option<u64>,
        /// A query over the state: each table is called as the list of state says.
        #[arg(long, short = 'c', value_name = "SQL")]
        command: Option<String>,
        /// How the answer looks.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    match args.action {
        Action::List { project, format } => list(&checkpoints(&project)?, format).await,
        Action::Inspect { project, id, command, format } => {
            let checkpoints = checkpoints(&project)?;
            let manifest = match id {
                Some(id) => checkpoints.of_epoch(id).await?,
                None => checkpoints
                    .newest()
                    .await?
                    .ok_or_else(|| Error::input(format!("there are no checkpoints in {} yet", checkpoints.describe())))?,
            };
            match command {
                None => inspect(&manifest, format),
                Some(sql) => query(&checkpoints, &manifest, &sql, format).await,
            }
        }
    }
}

fn checkpoints(project: &ProjectArgs) -> Result<Checkpoints> {
    let project = project.open()?;
    let settings = project.settings.resolve()?;
    Ok(Checkpoints::new(Store::open(&project.checkpoint_dir(&settings)?)?))
}

async fn list(checkpoints: &Checkpoints, format: Format) -> Result<u8> {
    let mut rows = output::Rows::new(["epoch", "written", "pipeline", "parallelism", "state_rows", "note"]);
    for listed in checkpoints.list().await? {
        rows.push(match listed.manifest {
            Ok(manifest) => [
                manifest.epoch.to_string(),
                output::time(manifest.created_micros),
                manifest.pipeline.clone(),
                manifest.parallelism.to_string(),
                manifest.state_rows().to_string(),
                if manifest.finished { "all input had ended".to_owned() } else { String::new() },
            ],
            Err(error) => [listed.epoch.to_string(), String::new(), String::new(), String::new(), String::new(), error.to_string()],
        });
    }
    super::print(&rows.text(format)?)?;
    Ok(0)
}

/// Everything that the manifest names, a line each.
fn inspect(manifest: &Manifest, format: Format) -> Result<u8> {
    let mut rows = output::Rows::new(["part", "name", "table", "rows", "content"]);
    for source in &manifest.sources {
        for partition in &source.partitions {
            rows.push(["source".into(), source.name.clone(), String::new(), String::new(), partition.to_string()]);
        }
    }
    for (operator, name, table) in state_tables(manifest) {
        let blocks = &operator.tables[table].blocks;
        let files: std::collections::BTreeSet<&str> = blocks.iter().map(|block| block.file.as_str()).collect();
        rows.push([
            "state".into(),
            operator.name.clone(),
            name,
            blocks.iter().map(|block| block.rows).sum::<usize>().to_string(),
            format!("{} blocks in {} files", blocks.len(), files.len()),
        ]);
    }
    for sink in &manifest.sinks {
        for prepared in &sink.prepared {
            rows.push(["sink".into(), sink.name.clone(), String::new(), String::new(), prepared.to_string()]);
        }
    }
    let note = if manifest.finished { ", all input had ended" } else { "" };
    tracing::info!("checkpoint {} of {}, written {}{note}", manifest.epoch, manifest.pipeline, output::time(manifest.created_micros));
    super::print(&rows.text(format)?)?;
    Ok(0)
}

/// The state tables with the names that they have in SQL: the operator's and the table's, made fit.
fn state_tables(manifest: &Manifest) -> Vec<(&OperatorEntry, String, usize)> {
    let fit = |text: &str| text.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "_");
    let name = |operator: &OperatorEntry, table: usize| format!("{}_{}", fit(&operator.name), fit(&operator.tables[table].name));
    let tables = manifest.operators.iter().flat_map(|operator| (0..operator.tables.len()).map(move |table| (operator, table)));
    tables.map(|(operator, table)| (operator, name(operator, table), table)).collect()
}

async fn query(checkpoints: &Checkpoints, manifest: &Manifest, sql: &str, format: Format) -> Result<u8> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_information_schema(true));
    for operator in &manifest.operators {
        let loaded = checkpoints.load(operator).await?;
        for (entry, name, table) in state_tables(manifest) {
            if !std::ptr::eq(entry, operator) {
                continue;
            }
            let blocks = loaded.get(&entry.tables[table].name).map(Vec::as_slice).unwrap_or_default();
            let rows: Vec<RecordBatch> = blocks.iter().map(|block| block.rows.clone()).collect();
            // A table without blocks has no schema to be known by.
            if let Some(first) = rows.first() {
                context.register_table(name.as_str(), Arc::new(MemTable::try_new(first.schema(), vec![rows.clone()])?))?;
            }
        }
    }
    let only = datafusion::execution::context::SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let rows = match context.sql_with_options(sql, only).await {
        Ok(rows) => rows.collect().await?,
        Err(fault) => return Err(explained(fault, &context)),
    };
    super::print(&format.text(&rows)?)?;
    Ok(0)
}

/// A state table that is not there is told with those that are.
fn explained(fault: DataFusionError, context: &SessionContext) -> Error {
    let error = Error::from(fault);
    let Some((_, rest)) = error.message().split_once("table 'datafusion.public.") else { return error };
    let wanted = rest.split('\'').next().unwrap_or_default();
    let schema = context.catalog("datafusion").and_then(|catalog| catalog.schema("public"));
    let names = schema.map(|schema| schema.table_names()).unwrap_or_default();
    let near = did_you_mean(wanted, names.iter().map(String::as_str));
    Error::input(format!("no state table '{wanted}' with rows{near}; there are: {}", names.join(", ")))
}
