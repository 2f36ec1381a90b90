//! What a sink has made durable and not yet published, and the way out: published when its checkpoint is confirmed.

use std::path::PathBuf;
use std::sync::Arc;

use super::NAME;
use super::connection::Broker;
use super::publisher::{Publisher, Target};
use super::stage::{StageWriter, Stages};
use crate::connector::Prepared;
use crate::connector::trouble::Troubles;
use crate::error::{Error, Result};

/// Stages on the disk and the publisher that empties them.
#[derive(Debug)]
pub struct Outbox {
    stages: Stages,
    publisher: Publisher,
}

impl Outbox {
    /// Of stages in `dir`, which are published to `target`.
    pub fn new(dir: PathBuf, broker: Arc<Broker>, target: Target, troubles: Troubles) -> Self {
        Outbox { stages: Stages::new(dir), publisher: Publisher::new(broker, target, troubles) }
    }

    /// The stages.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// A run begins: what the restored checkpoint names is published unless it has been, what was staged after it is
    /// thrown away.
    pub fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        let names = names_of(restored.unwrap_or_default())?;
        self.stages.tidy(&names, restored.is_none())?;
        self.publisher.check()?;
        // The process may have died between the manifest and the commit.
        self.publisher.publish(&self.stages, names)
    }

    /// Publishes what was prepared.
    pub fn commit(&self, prepared: &[Prepared]) -> Result<()> {
        if prepared.is_empty() { Ok(()) } else { self.publisher.publish(&self.stages, names_of(prepared)?) }
    }
}

/// Makes what a task has written durable as the stage of an epoch; `None` = there is nothing.
pub fn prepare(stage: &mut Option<StageWriter>, epoch: u64) -> Result<Option<Prepared>> {
    let Some(stage) = stage.take() else { return Ok(None) };
    let (name, messages) = stage.finish(epoch)?;
    Ok(Some(Prepared(serde_json::json!({ "stage": name, "messages": messages }))))
}

fn names_of(prepared: &[Prepared]) -> Result<Vec<String>> {
    let name = |prepared: &Prepared| {
        let name = prepared.0["stage"].as_str().map(str::to_owned);
        name.ok_or_else(|| Error::corrupt(format!("{} is nothing that a sink of {NAME} prepared", prepared.0)))
    };
    prepared.iter().map(name).collect()
}
