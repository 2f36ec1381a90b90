//! Settings under Flink's names: what they are here.

use crate::error::{Error, Result, did_you_mean};

/// What a Flink setting is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The setting of this name.
    Ours(&'static str),
    /// Nothing: a knob of Flink's runtime that changes no result.
    NoEffect,
}

/// Flink's names of settings that there are here, too.
const OURS: [(&str, &str); 7] = [
    ("execution.checkpointing.dir", "checkpoint.dir"),
    ("execution.checkpointing.interval", "checkpoint.interval"),
    ("parallelism.default", "parallelism"),
    ("pipeline.name", "name"),
    ("state.checkpoints.dir", "checkpoint.dir"),
    ("table.exec.resource.default-parallelism", "parallelism"),
    ("table.local-time-zone", "table.local-time-zone"),
];

/// Beginnings of names that have no effect here.
const NO_EFFECT: [&str; 21] = [
    "cluster.",
    "execution.buffer-timeout",
    "execution.checkpointing.",
    "execution.runtime-mode",
    "heartbeat.",
    "jobmanager.",
    "metrics.",
    "parallelism.max",
    "pipeline.auto-watermark-interval",
    "pipeline.max-parallelism",
    "pipeline.object-reuse",
    "pipeline.operator-chaining",
    "rest.",
    "restart-strategy",
    "sql-client.",
    "state.",
    "table.dml-sync",
    "table.exec.mini-batch.",
    "table.optimizer.",
    "taskmanager.",
    "web.",
];

/// What the Flink setting `key` is here; `None` = it is none of Flink's that is known. Errors: one that would change
/// results and is not supported.
pub fn meaning(key: &str) -> Result<Option<Meaning>> {
    if let Some((_, ours)) = OURS.iter().find(|(flink, _)| *flink == key) {
        return Ok(Some(Meaning::Ours(ours)));
    }
    match key {
        "table.exec.source.idle-timeout" => Err(Error::input(format!(
            "'{key}' is not supported for all tables at once; set 'scan.watermark.idle-timeout' in the WITH of each table that may fall silent"
        ))),
        "state.max-bytes" | "state.on-limit" => Ok(None),
        _ if NO_EFFECT.iter().any(|start| key.starts_with(start)) => Ok(Some(Meaning::NoEffect)),
        _ => Ok(None),
    }
}

/// The nearest of the names that are known here.
pub fn nearest(key: &str, ours: &[&'static str]) -> String {
    did_you_mean(key, ours.iter().copied().chain(OURS.iter().map(|(flink, _)| *flink)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flink_settings_are_mapped_ignored_or_refused() {
        assert_eq!(meaning("parallelism.default").unwrap(), Some(Meaning::Ours("parallelism")));
        assert_eq!(meaning("pipeline.object-reuse").unwrap(), Some(Meaning::NoEffect));
        assert_eq!(meaning("state.backend.type").unwrap(), Some(Meaning::NoEffect));
        assert_eq!(meaning("state.max-bytes").unwrap(), None);
        assert_eq!(meaning("state.on-limit").unwrap(), None);
        assert_eq!(meaning("no.such").unwrap(), None);
        assert!(meaning("table.exec.source.idle-timeout").is_err());
    }
}
