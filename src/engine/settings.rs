//! How an engine runs, and what SET may change about it.
//!
//! Precedence: flag > `--set` > SET > eagre.yaml > default. Whoever builds the options fixes what stands above SET.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::dataflow::pipeline::Restore;
use crate::engine::{CHECKPOINT_INTERVAL, CUT_INTERVAL};
use crate::error::{Error, Result, did_you_mean};
use crate::time::parse_duration;

/// How an engine runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The pipeline's id: its state lies under `<data_dir>/<pipeline>/`.
    pub pipeline: String,
    /// Where relative paths start.
    pub base_dir: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Worker threads, decoding included.
    pub parallelism: usize,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Where checkpoints go instead of the data directory: a directory or `s3://bucket/prefix`.
    pub checkpoint_dir: Option<String>,
    /// Time between cuts: how often live tables show what is new.
    pub cut_interval: Duration,
    /// State above this stops the pipeline; `None`: no limit.
    pub state_max_bytes: Option<u64>,
    /// Which checkpoint to go on from.
    pub restore: Restore,
    /// Go on although some state finds no operator.
    pub allow_state_loss: bool,
    /// Keys that were given by a flag or `--set`: SET does not change them.
    pub fixed: BTreeSet<String>,
}

impl Options {
    /// The defaults: state in `.eagre` below `base_dir`, as many threads as cores.
    pub fn new(pipeline: impl Into<String>, base_dir: impl Into<PathBuf>) -> Self {
        let base_dir = base_dir.into();
        Options {
            pipeline: pipeline.into(),
            data_dir: base_dir.join(".eagre"),
            base_dir,
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
            checkpoint_interval: CHECKPOINT_INTERVAL,
            checkpoint_dir: None,
            cut_interval: CUT_INTERVAL,
            state_max_bytes: None,
            restore: Restore::Auto,
            allow_state_loss: false,
            fixed: BTreeSet::new(),
        }
    }

    /// Where the checkpoints of this pipeline are.
    pub fn checkpoint_place(&self) -> String {
        match &self.checkpoint_dir {
            Some(place) => format!("{}/{}", place.trim_end_matches('/'), self.pipeline),
            None => self.data_dir.join(&self.pipeline).join("checkpoints").display().to_string(),
        }
    }

    /// `SET 'key' = 'value'`: keys of Flink that mean something here, and ours. Known keys of Flink without a meaning
    /// here are accepted and named once; others are refused.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let key = match key {
            "parallelism.default" | "table.exec.resource.default-parallelism" => "parallelism",
            "execution.checkpointing.interval" => "checkpoint.interval",
            "execution.checkpointing.dir" | "state.checkpoints.dir" => "checkpoint.dir",
            other => other,
        };
        if self.fixed.contains(key) {
            return Ok(());
        }
        let wrong = |what: &str| Error::input(format!("SET '{key}' = '{value}': expected {what}"));
        let duration = || match parse_duration(value) {
            Ok(micros) if micros > 0 => Ok(Duration::from_micros(micros as u64)),
            _ => Err(wrong("a duration above zero, such as '10 s'")),
        };
        match key {
            "parallelism" => match value.parse() {
                Ok(tasks) if (1..=crate::state::SHARDS).contains(&tasks) => self.parallelism = tasks,
                _ => return Err(wrong("a number from 1 to 128")),
            },
            "checkpoint.interval" => self.checkpoint_interval = duration()?,
            "checkpoint.dir" => self.checkpoint_dir = Some(value.to_owned()),
            "cut.interval" => self.cut_interval = duration()?,
            "state.max-bytes" => self.state_max_bytes = Some(value.parse().map_err(|_| wrong("a number of bytes"))?),
            "table.local-time-zone" if !["UTC", "Etc/UTC", "Z", "+00:00"].contains(&value) => {
                return Err(Error::input(format!("SET '{key}' = '{value}': only UTC is supported; convert in the query")));
            }
            "execution.runtime-mode" if !value.eq_ignore_ascii_case("streaming") => {
                return Err(Error::input(format!(
                    "SET '{key}' = '{value}': `eagre run` streams; run the text in `eagre sql` for a bounded query"
                )));
            }
            known if WITHOUT_EFFECT.iter().any(|prefix| known.starts_with(prefix)) => {
                if !QUIET.contains(&known) && self.fixed.insert(known.to_owned()) {
                    tracing::info!("SET '{known}' has no effect here");
                }
            }
            unknown => {
                let near = did_you_mean(unknown, OURS);
                return Err(Error::input(format!("SET: unknown option '{unknown}'{near}")));
            }
        }
        Ok(())
    }
}

/// The options that SET changes.
const OURS: [&str; 7] = [
    "parallelism.default",
    "execution.checkpointing.interval",
    "checkpoint.interval",
    "checkpoint.dir",
    "cut.interval",
    "state.max-bytes",
    "table.local-time-zone",
];
/// Flink's options that say nothing new to this engine.
const QUIET: [&str; 3] = ["execution.runtime-mode", "table.local-time-zone", "table.dml-sync"];
/// Flink's options that are known and without effect.
const WITHOUT_EFFECT: [&str; 12] = [
    "execution.runtime-mode",
    "table.local-time-zone",
    "table.dml-sync",
    "pipeline.",
    "execution.",
    "state.backend",
    "table.exec.",
    "table.optimizer.",
    "sql-client.",
    "restart-strategy",
    "taskmanager.",
    "jobmanager.",
];
