//! `eagre check`: everything that is wrong with a project, its rules and its fixtures, touching nothing outside.

use super::project_args::ProjectArgs;
use super::test;
use crate::dataflow::graph::NodeKind;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::server::connection::Connection;
use crate::server::doors::queries_of;

/// Parse, plan and lint everything without touching a broker or a file of data.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    project: ProjectArgs,
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let project = args.project.open()?;
    let texts = project.texts.len();
    let engine = Engine::load(project.clone())?;
    check_named(&engine).await?;
    let fixtures = test::all(&project)?;
    test::prepared(&project, &fixtures)?;
    for advice in engine.advice() {
        tracing::warn!("{advice}");
    }
    let count = |wanted: fn(&NodeKind) -> bool| engine.graph().nodes.iter().filter(|node| wanted(&node.kind)).count();
    let (sources, operators) = (count(|kind| matches!(kind, NodeKind::Source(_))), count(|kind| matches!(kind, NodeKind::Operator(_))));
    let sinks = count(|kind| matches!(kind, NodeKind::Sink(_)));
    let end = if engine.is_unbounded() { "runs until it is stopped" } else { "ends with its input" };
    super::print(&format!(
        "{}: no faults in {}: {}, {}, {}; {end}\n",
        engine.name(),
        counted(texts, "SQL file"),
        counted(sources, "source"),
        counted(operators, "operator"),
        counted(sinks, "sink"),
    ))?;
    Ok(0)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The named queries: they run in `eagre sql`, so they are planned as it plans.
async fn check_named(engine: &Engine) -> Result<()> {
    let connection = Connection::new(queries_of(engine)?);
    let mut faults = Vec::new();
    for (_, query) in engine.queries() {
        faults.extend(connection.check(query).await.err());
    }
    Error::all(faults).map_or(Ok(()), |fault| Err(fault.in_order()))
}
