//! The command line: one file per command, each with the same anatomy (arguments, `run`).
//!
//! Results go to stdout, everything else to stderr. A command returns an error with a kind; the exit code follows it.

mod bench;
mod check;
mod checkpoints;
mod explain;
mod init;
mod moment;
mod output;
mod project_args;
mod replay;
mod rule_watch;
mod rules;
mod run;
mod sql;
mod test;
mod topics;
mod trace;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// Flink SQL in one binary: event topics in, windows, joins and patterns over event time, live Arrow tables and topics out.
#[derive(Debug, Parser)]
#[command(name = "eagre", version, max_term_width = 100)]
struct Cli {
    /// How log lines on stderr look (what is logged: RUST_LOG).
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Run(run::Args),
    Sql(sql::Args),
    Check(check::Args),
    Test(test::Args),
    Explain(explain::Args),
    Topics(topics::Args),
    Replay(replay::Args),
    Trace(trace::Args),
    Rules(rules::Args),
    Checkpoints(checkpoints::Args),
    Bench(bench::Args),
}

/// Parses the arguments, runs the command, tells errors, returns the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    let done: Result<u8> = runtime.block_on(async {
        match cli.command {
            Command::Init(args) => init::run(args).await,
            Command::Run(args) => run::run(args).await,
            Command::Sql(args) => sql::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Test(args) => test::run(args).await,
            Command::Explain(args) => explain::run(args).await,
            Command::Topics(args) => topics::run(args).await,
            Command::Replay(args) => replay::run(args).await,
            Command::Trace(args) => trace::run(args).await,
            Command::Rules(args) => rules::run(args).await,
            Command::Checkpoints(args) => checkpoints::run(args).await,
            Command::Bench(args) => bench::run(args).await,
        }
    });
    runtime.shutdown_background();
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            for one in error.each() {
                match cli.log_format {
                    LogFormat::Text => eprintln!("error: {}", one.line()),
                    LogFormat::Json => tracing::error!("{}", one.line()),
                }
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,datafusion=warn,datafusion_postgres=error,fjall=warn,lsm_tree=warn,lapin=off"));
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).with_ansi(colours);
    match format {
        LogFormat::Text => builder.without_time().init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Writes a result to standard output; a reader that went away is no fault.
fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::failed("writing to standard output").because(error)),
        _ => Ok(()),
    }
}

/// A progress line on a terminal; nothing elsewhere.
fn progress(what: &'static str) -> indicatif::ProgressBar {
    use indicatif::{ProgressBar, ProgressStyle};
    let style = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {per_sec}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style).with_message(what)
}
