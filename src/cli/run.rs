//! `eagre run`: runs a project folder or one SQL file until it is stopped, or until all bounded inputs have ended.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use futures::future::BoxFuture;
use indicatif::ProgressBar;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::rule_watch::RuleWatch;
use crate::connector::print;
use crate::dataflow::coordinator::Ended;
use crate::dataflow::graph::NodeKind;
use crate::dataflow::settings::Restore;
use crate::engine::Engine;
use crate::error::{Error, Kind, Place, Result};
use crate::project::{Origin, Project, RuleFile};
use crate::server::doors::Doors;
use crate::server::health::PipelineState;

/// Run until stopped, or until all bounded inputs have ended.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Project folder or SQL file.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Worker threads, decoding included [default: number of cores].
    #[arg(long, value_name = "N")]
    parallelism: Option<usize>,
    /// Where state and the embedded log are [default: .eagre in the project folder].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A setting, as in SET or eagre.yaml; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Which checkpoint to go on from: auto (the newest, unless its run had finished), latest (even then), none, or its number.
    #[arg(long, default_value = "auto", value_parser = restore, value_name = "WHICH")]
    restore: Restore,
    /// Go on although the query has changed and some state finds no operator.
    #[arg(long)]
    allow_state_loss: bool,
    /// Open no door: neither PostgreSQL nor HTTP.
    #[arg(long)]
    no_serve: bool,
    /// Where PostgreSQL clients connect [default: 127.0.0.1:5433].
    #[arg(long, value_name = "ADDRESS")]
    pg_listen: Option<String>,
    /// Where HTTP clients connect [default: 127.0.0.1:8433].
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<String>,
    /// Let HTTP clients change rules (setting http.write).
    #[arg(long)]
    http_write: bool,
}

impl Args {
    /// The project with what the flags say about its settings.
    fn project(&self) -> Result<Project> {
        let mut project = Project::open(&self.path)?;
        for assignment in &self.set {
            project.set_from_flag(assignment)?;
        }
        let flags = [
            ("parallelism", self.parallelism.map(|p| p.to_string())),
            ("data-dir", self.data_dir.as_ref().map(std::path::absolute).transpose()?.map(|d| d.display().to_string())),
            ("pg.listen", self.pg_listen.clone()),
            ("http.listen", self.http_listen.clone()),
            ("http.write", self.http_write.then(|| "true".to_owned())),
        ];
        for (key, value) in flags {
            if let Some(value) = value {
                project.settings.set(key, &value, Origin::Flag, Place::thing(format!("--{}", key.replace('.', "-"))))?;
            }
        }
        Ok(project)
    }

    /// A project that never ends is served; one that does only where a door was asked for.
    fn serves(&self, engine: &Engine) -> bool {
        !self.no_serve && (engine.is_unbounded() || self.pg_listen.is_some() || self.http_listen.is_some())
    }
}

fn restore(text: &str) -> Result<Restore, String> {
    match text {
        "auto" => Ok(Restore::Auto),
        "latest" => Ok(Restore::Latest),
        "none" => Ok(Restore::None),
        number => number.parse().map(Restore::Epoch).map_err(|_| "expected auto, latest, none, or the number of a checkpoint".to_owned()),
    }
}

/// A run that takes longer than this shows how far it is …
const PROGRESS_FROM: Duration = Duration::from_secs(1);
/// … so often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// A second signal that comes sooner is the first one told twice: `timeout` signals the process and its group.
const SAME_SIGNAL: Duration = Duration::from_millis(200);

/// Runs that end show how far they are, unless the line would stand between printed rows.
fn shows_progress(engine: &Engine) -> bool {
    let prints = || engine.graph().nodes.iter().any(|node| matches!(&node.kind, NodeKind::Sink(sink) if sink.describe() == print::NAME));
    let between_rows = std::io::stdout().is_terminal() && prints();
    !engine.is_unbounded() && !between_rows
}

/// Rows that reached no result are told at the end, too: by what refused them, and why.
fn tell_drops(engine: &Engine) {
    let drops = engine.metrics().drops();
    if !drops.is_empty() {
        let each: Vec<String> = drops.iter().map(|(node, reason, rows)| format!("{rows} at {node} ({reason})")).collect();
        tracing::warn!(
            "rows that reached no result: {}; the table dead_letters, or the topic that their table names, holds those that were to be kept",
            each.join(", ")
        );
    }
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    // From the first moment on a signal means: stop in order.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let project = args.project()?;
    let mut rules = RuleWatch::begin(&args.path, project.rules.clone());
    let mut engine = Engine::load(project)?;
    for advice in engine.advice().into_iter().chain(engine.left_behind().await?) {
        tracing::warn!("{advice}");
    }
    // Doors first: a port that is taken is told before anything runs.
    let mut doors = Doors::open(&engine, args.serves(&engine)).await?;
    let running = engine.start(args.restore, args.allow_state_loss).await?;
    tracing::info!("{}: {}", engine.name(), running.start);
    doors.health.set(engine.name(), PipelineState::Running);
    doors.serve();

    let mut stopper = running.stopper();
    let progress = if shows_progress(&engine) { super::progress("records read") } else { ProgressBar::hidden() };
    let mut tick = tokio::time::interval_at(Instant::now() + PROGRESS_FROM, PROGRESS_EVERY);
    let mut ended: BoxFuture<'static, Result<Ended>> = Box::pin(running.wait());
    let mut asked = None;
    loop {
        let interrupted = tokio::select! {
            ended = &mut ended => {
                progress.finish_and_clear();
                let ended = ended?;
                tell_drops(&engine);
                return match ended {
                    Ended::Finished => Ok(0),
                    // A bounded run cut short by the keyboard says so; a service that is told to stop has done its duty.
                    Ended::Stopped if asked.is_some_and(|(interrupted, _)| interrupted) && !engine.is_unbounded() => {
                        Err(Error::new(Kind::Interrupted, "interrupted before all input had been read; run it again to go on"))
                    }
                    Ended::Stopped => Ok(0),
                };
            }
            _ = tick.tick(), if !progress.is_hidden() => {
                progress.set_position(engine.metrics().total("eagre_source_records_total"));
                continue;
            }
            files = rules.changed(), if asked.is_none() => {
                let Some(next) = taken(&engine, files, &doors) else { continue };
                // Everything stops behind one checkpoint and goes on from it with the new rules: no event is lost, none late.
                stopper.stop();
                if let Ended::Finished = ended.await? {
                    return Ok(0);
                }
                let running = match next.start(Restore::Latest, true).await {
                    Ok(running) => {
                        engine = next;
                        doors.takes(&engine);
                        tracing::info!("{} rules run now", engine.rules().len());
                        running
                    }
                    Err(fault) => {
                        refuse(&fault, &doors);
                        engine.start(Restore::Latest, true).await?
                    }
                };
                stopper = running.stopper();
                ended = Box::pin(running.wait());
                continue;
            }
            _ = terminate.recv() => false,
            _ = interrupt.recv() => true,
        };
        match asked {
            Some((_, since)) if Instant::now().duration_since(since) < SAME_SIGNAL => continue,
            Some(_) => return Err(Error::new(Kind::Interrupted, "interrupted twice: stopped without a last checkpoint")),
            None => asked = Some((interrupted, Instant::now())),
        }
        tracing::info!("stopping behind a last checkpoint");
        stopper.stop();
    }
}

/// The engine with the rules of `files`; `None`, and the faults told, when they are not fit to run.
fn taken(engine: &Engine, files: Result<Vec<RuleFile>>, doors: &Doors) -> Option<Engine> {
    let next = files.and_then(|files| engine.with_rules(files));
    next.map_err(|faults| refuse(&faults, doors)).ok()
}

fn refuse(faults: &Error, doors: &Doors) {
    tracing::error!("the rules were not taken, those before go on:");
    faults.each().for_each(|fault| tracing::error!("{}", fault.line()));
    doors.refused(faults);
}
