//! `eagre check`: everything that is wrong with a project, in one go, touching nothing outside.

use super::project_args::ProjectArgs;
use crate::dataflow::graph::NodeKind;
use crate::engine::Engine;
use crate::error::Result;

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
    let engine = Engine::load(project)?;
    let count = |wanted: fn(&NodeKind) -> bool| engine.graph().nodes.iter().filter(|node| wanted(&node.kind)).count();
    let (sources, operators) = (count(|kind| matches!(kind, NodeKind::Source(_))), count(|kind| matches!(kind, NodeKind::Operator(_))));
    let sinks = count(|kind| matches!(kind, NodeKind::Sink(_)));
    let end = if engine.is_unbounded() { "runs until it is stopped" } else { "ends with its input" };
    super::print(&format!(
        "{}: no faults in {texts} SQL {}: {sources} sources, {operators} operators, {sinks} sinks; {end}\n",
        engine.name(),
        if texts == 1 { "file" } else { "files" },
    ))?;
    Ok(0)
}
