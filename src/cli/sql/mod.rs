//! `eagre sql`: SQL over live tables, views and system tables: typed into a shell, given with `-c`, or piped in.
//!
//! ```text
//!  shell.rs ┐                        ┌ engine of the folder, through its socket
//!  -c, stdin ├─ text ─ session.rs ───┤
//!            ┘                        └ data directory, when none runs: tables as of the newest checkpoint
//!  show.rs ◀─ rows ──────────────────┘
//! ```

pub(super) mod session;
mod shell;
mod show;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::project::Project;
use session::Session;
use show::Show;

use super::output::Format;
use super::project_args::PlaceArgs;

/// SQL over live tables, system tables and views.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Project folder or SQL file.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Statements to run, instead of a shell; may be repeated.
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    commands: Vec<String>,
    /// How answers look.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let project = args.place.apply(Project::open(&args.path)?)?;
    let data_dir = project.data_dir(&project.settings.resolve()?);
    let mut session = Session::open(project, &data_dir).await?;
    let mut show = Show::new(args.format, std::io::stdout());
    if args.commands.is_empty() && std::io::stdin().is_terminal() {
        return shell::run(session, show, &data_dir).await;
    }
    match run_texts(&args.commands, &mut session, &mut show).await {
        // Nobody reads any more (`| head`): that is the end, and no fault.
        Err(_) if show.is_closed() => Ok(0),
        done => done.map(|()| 0),
    }
}

async fn run_texts(commands: &[String], session: &mut Session, show: &mut Show) -> Result<()> {
    for (i, command) in commands.iter().enumerate() {
        let name = if commands.len() == 1 { "-c".to_owned() } else { format!("-c {}", i + 1) };
        session.run(command, &name, show).await?;
    }
    if commands.is_empty() {
        let text = std::io::read_to_string(std::io::stdin()).map_err(|e| Error::failed("standard input cannot be read").because(e))?;
        session.run(&text, "standard input", show).await?;
    }
    Ok(())
}
