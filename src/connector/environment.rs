//! What connectors may use from their surroundings: folders, the embedded log, named brokers, counters, the run they work for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::feed::lanes::Feeds;
use super::kafka::transactions::Groups;
use super::trouble::Troubles;
use crate::error::Result;
use crate::log::Log;
use crate::metrics::Metrics;

/// What a connector may use from its surroundings.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Relative paths start here.
    pub base_dir: PathBuf,
    /// The data directory, `.eagre` unless told otherwise.
    pub data_dir: PathBuf,
    /// The embedded log, opened on first use.
    pub log: LogHandle,
    /// Rows handed over by the embedding program.
    pub feeds: Feeds,
    /// Named brokers: the options of tables that say `'broker' = 'name'`.
    pub brokers: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    /// What is wrong though work goes on: brokers that are away.
    pub troubles: Troubles,
    /// The transactions of Kafka sinks.
    pub kafka: Groups,
    /// Counters.
    pub metrics: Metrics,
    /// The run that the connectors work for.
    pub run: RunInfo,
}

impl Environment {
    /// The surroundings of `pipeline`, whose log lies in `data_dir`.
    pub fn new(base_dir: impl Into<PathBuf>, data_dir: impl Into<PathBuf>, pipeline: impl Into<String>) -> Self {
        let data_dir = data_dir.into();
        let log = LogHandle::new(data_dir.join("log"));
        Environment {
            base_dir: base_dir.into(),
            data_dir,
            log,
            feeds: Feeds::default(),
            brokers: Arc::default(),
            troubles: Troubles::default(),
            kafka: Groups::default(),
            metrics: Metrics::default(),
            run: RunInfo { pipeline: pipeline.into(), unbounded: true },
        }
    }
}

/// The embedded log of a data directory. Clones open it once between them.
#[derive(Debug, Clone)]
pub struct LogHandle {
    dir: PathBuf,
    log: Arc<Mutex<Option<Log>>>,
}

impl LogHandle {
    /// The log in `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        LogHandle { dir: dir.into(), log: Arc::default() }
    }

    /// A log that is open already.
    pub fn opened(log: Log) -> Self {
        LogHandle { dir: log.dir().to_owned(), log: Arc::new(Mutex::new(Some(log))) }
    }

    /// Where the log lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The log; the first call opens it (or makes it) and holds it for this process. Errors as of [`Log::open`].
    pub fn open(&self) -> Result<Log> {
        let mut log = self.log.lock();
        match &*log {
            Some(log) => Ok(log.clone()),
            None => Ok(log.insert(Log::open(&self.dir)?).clone()),
        }
    }
}

/// The run that connectors work for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// Id of the pipeline: project name or file stem.
    pub pipeline: String,
    /// May sources go on for ever? `false` for a query over what is stored now: the log then ends where it ends at the start.
    pub unbounded: bool,
}
