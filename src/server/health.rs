//! How the engine is: what `/health` and `eagre` on the socket say.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::connector::trouble::Troubles;
use crate::dataflow::table_mark::TABLE_WATERMARK;
use crate::metrics::{Metrics, Reason, label};
use crate::time::Watermark;

/// What a pipeline is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "why")]
pub enum PipelineState {
    /// It runs.
    Running,
    /// Its inputs have ended.
    Finished,
    /// It stopped with this error.
    Failed(String),
}

/// The state of the engine; cloning it is cheap, everybody may report to it.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Pipeline -> state.
    pipelines: Arc<Mutex<BTreeMap<String, PipelineState>>>,
    troubles: Troubles,
    metrics: Metrics,
}

/// A report, as JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `ok`, `degraded` or `failed`.
    pub status: &'static str,
    /// Pipeline -> state.
    pub pipelines: BTreeMap<String, PipelineState>,
    /// Thing -> trouble.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, String>,
    /// Table with event time -> how far it is for the operators behind it: merged over its partitions, those left out that
    /// are idle; none while a partition has not said anything.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub watermarks: BTreeMap<String, Option<String>>,
}

impl Health {
    /// Nothing runs yet; watermarks come from `metrics`, what is wrong from `troubles`.
    pub fn new(metrics: Metrics, troubles: Troubles) -> Self {
        Health { pipelines: Arc::default(), troubles, metrics }
    }

    /// Pipeline `name` is now in this state.
    pub fn set(&self, name: impl Into<String>, state: PipelineState) {
        self.pipelines.lock().insert(name.into(), state);
    }

    /// How many rows came too late for the running pipelines.
    pub fn late_rows(&self) -> u64 {
        self.metrics.dropped_for(Reason::Late)
    }

    /// How things are.
    pub fn report(&self) -> Report {
        let (pipelines, troubles) = (self.pipelines.lock().clone(), self.troubles.all());
        let failed = pipelines.values().any(|state| matches!(state, PipelineState::Failed(_)));
        let marks = self.metrics.values().into_iter().filter(|(name, _, _)| name == TABLE_WATERMARK);
        // The gauge is zero until there is one.
        let mark = |micros| (micros != 0).then(|| Watermark(micros).to_string());
        Report {
            status: match (failed, troubles.is_empty()) {
                (true, _) => "failed",
                (false, false) => "degraded",
                (false, true) => "ok",
            },
            pipelines,
            troubles,
            watermarks: marks.filter_map(|(_, labels, micros)| Some((label(&labels, "table")?, mark(micros)))).collect(),
        }
    }
}
