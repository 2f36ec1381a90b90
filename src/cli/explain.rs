//! `eagre explain`: the dataflow that a project becomes.

use super::project_args::ProjectArgs;
use crate::dataflow::explain::explain;
use crate::engine::Engine;
use crate::error::Result;

/// Show the dataflow: sources, operators, keys, windows, state and watermarks.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    project: ProjectArgs,
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let engine = Engine::load(args.project.open()?)?;
    super::print(&explain(engine.graph()))?;
    Ok(0)
}
