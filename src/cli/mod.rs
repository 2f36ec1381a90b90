//! The command line: one file per command, each with the same anatomy (arguments, `run`).
//!
//! Results go to stdout, everything else to stderr. A command returns an error with a kind; the exit code follows it.

mod output;
mod project_args;
mod run;
mod sql;
mod topics;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::error::Result;

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
    Run(run::Args),
    Sql(sql::Args),
    Topics(topics::Args),
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
            Command::Run(args) => run::run(args).await,
            Command::Sql(args) => sql::run(args).await,
            Command::Topics(args) => topics::run(args).await,
        }
    });
    runtime.shutdown_background();
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            for one in error.each() {
                eprintln!("error: {}", one.line());
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,datafusion=warn,fjall=warn,lsm_tree=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => builder.without_time().init(),
        LogFormat::Json => builder.json().init(),
    }
}
