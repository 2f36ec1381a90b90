//! `eagre replay`: what was refused, or what has been, once more.
//!
//! | command | |
//! |---|---|
//! | `replay dead-letters` | `letters.rs`: dead letters to where they came from, each once; `letter.rs` is one of them, `goal.rs` where it goes, `memory.rs` knows which were sent |
//! | `replay TOPIC` | `history.rs`: what a topic or a table has held (`source.rs`) through the project's pipelines, in a shadow; `difference.rs` sets it beside what is live |

mod difference;
mod goal;
mod history;
mod letter;
mod letters;
mod memory;
mod source;

use clap::Subcommand;

use crate::error::Result;

/// Run the history of a topic through the project again, in a shadow; or send dead letters again (`replay dead-letters`).
///
/// All that the topic holds goes through the project's own decoders, pipelines and rules, and so does what else they are
/// made of. Nothing is written outside unless --into says where. Tables that the project itself writes and reads again
/// are read as they are stored. What is older than --since goes through, too, so that windows, joins and frames are
/// whole: the times choose which rows of the results are shown, compared or written.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    history: history::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    DeadLetters(letters::Args),
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    match args.command {
        Some(Command::DeadLetters(args)) => letters::run(args).await,
        None => history::run(args.history).await,
    }
}
