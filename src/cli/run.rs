//! `eagre run`: runs a project folder or one SQL file until it is stopped, or until all bounded inputs have ended.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use tokio::signal::unix::{SignalKind, signal};

use crate::dataflow::coordinator::Ended;
use crate::dataflow::pipeline::Restore;
use crate::engine::{Engine, Options, Script};
use crate::error::{Error, Kind, Result};

/// Run until stopped, or until all bounded inputs have ended.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Project folder or SQL file.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Worker threads, decoding included [default: number of cores].
    #[arg(long)]
    parallelism: Option<usize>,
    /// Where state and the embedded log are [default: .eagre in the project folder].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// A setting, as in SET or eagre.yaml; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Which checkpoint to go on from: auto, latest, none, or its number.
    #[arg(long, default_value = "auto", value_parser = restore)]
    restore: Restore,
    /// Go on although the query has changed and some state finds no operator.
    #[arg(long)]
    allow_state_loss: bool,
    /// Open no door: neither PostgreSQL nor HTTP.
    #[arg(long)]
    no_serve: bool,
}

fn restore(text: &str) -> Result<Restore, String> {
    match text {
        "auto" => Ok(Restore::Auto),
        "latest" => Ok(Restore::Latest),
        "none" => Ok(Restore::None),
        number => number.parse().map(Restore::Epoch).map_err(|_| "expected auto, latest, none, or the number of a checkpoint".to_owned()),
    }
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let (scripts, mut options) = read_project(&args.path)?;
    if let Some(dir) = &args.data_dir {
        options.data_dir = dir.clone();
    }
    for pair in &args.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| Error::input(format!("--set {pair}: expected KEY=VALUE")))?;
        options.set(key, value)?;
        options.fixed.insert(key.to_owned());
    }
    if let Some(parallelism) = args.parallelism {
        options.parallelism = parallelism;
        options.fixed.insert("parallelism".to_owned());
    }
    options.restore = args.restore;
    options.allow_state_loss = args.allow_state_loss;

    let engine = Engine::load(&scripts, options)?;
    let running = engine.start().await?;
    tracing::info!("{}: {}", engine.options().pipeline, running.start);
    let stopper = running.stopper();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = running.wait();
    tokio::pin!(ended);
    let mut asked = false;
    loop {
        let interrupted = tokio::select! {
            ended = &mut ended => return match ended? {
                Ended::Stopped if asked && !engine.is_unbounded() => Err(Error::new(Kind::Interrupted, "interrupted before all input had been read; run again to go on")),
                _ => Ok(0),
            },
            _ = terminate.recv() => false,
            _ = interrupt.recv() => true,
        };
        if std::mem::replace(&mut asked, interrupted) {
            return Err(Error::new(Kind::Interrupted, "interrupted twice: stopped without a last checkpoint"));
        }
        stopper.stop();
    }
}

/// The scripts of a project folder (queries/*.sql in name order) or of a single file.
fn read_project(path: &Path) -> Result<(Vec<Script>, Options)> {
    let unreadable = |path: &Path, e: std::io::Error| Error::unreachable(format!("cannot read {}", path.display())).because(e);
    let read =
        |file: &Path, name: String| std::fs::read_to_string(file).map(|text| Script::new(name, text)).map_err(|e| unreadable(file, e));
    if path.is_dir() {
        let queries = path.join("queries");
        let mut files: Vec<PathBuf> = std::fs::read_dir(&queries)
            .map_err(|e| unreadable(&queries, e))?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "sql"))
            .collect();
        files.sort();
        let scripts = files.iter().map(|f| read(f, format!("queries/{}", file_name(f)))).collect::<Result<_>>()?;
        let full = path.canonicalize().map_err(|e| unreadable(path, e))?;
        return Ok((scripts, Options::new(file_name(&full), path)));
    }
    let script = read(path, path.display().to_string())?;
    let stem = path.file_stem().map_or_else(|| "run".to_owned(), |s| s.to_string_lossy().into_owned());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((vec![script], Options::new(stem, folder)))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}
