//! What a start goes on from: the checkpoint that is found, and what it gives back to sources, operators and sinks.

use std::collections::{BTreeMap, HashMap};

use crate::connector::{Partition, Prepared, Source};
use crate::dataflow::confirmed::{self, Marker};
use crate::dataflow::dead_letter::DEAD_LETTERS;
use crate::dataflow::graph::{Graph, NodeId, NodeKind};
use crate::dataflow::message::SourceReport;
use crate::dataflow::parking::Parking;
use crate::dataflow::settings::Restore;
use crate::error::{Error, Result};
use crate::state::{Block, Checkpoints, Manifest};
use crate::time::Watermark;

/// The checkpoint to go on from, and a sentence about it.
pub async fn find_checkpoint(restore: Restore, checkpoints: &Checkpoints, marker: Option<&Marker>) -> Result<(Option<Manifest>, String)> {
    let go_on = |manifest: Manifest| {
        let mut text = format!("going on from checkpoint {}", manifest.epoch);
        if manifest.finished {
            // The end of input closes everything, and what it gave out cannot be taken back.
            text.push_str(
                " with what has come since; its run had finished: the windows, joins and OVER frames that its end closed begin anew",
            );
        }
        (Some(manifest), text)
    };
    let newest = async || confirmed::newest(checkpoints.list().await?, marker);
    Ok(match restore {
        Restore::None => (None, "starting afresh, as asked".to_owned()),
        Restore::Epoch(epoch) => go_on(checkpoints.of_epoch(epoch).await?),
        Restore::Latest => match newest().await? {
            Some(manifest) => go_on(manifest),
            None => (None, "starting afresh: there is no checkpoint yet".to_owned()),
        },
        Restore::Auto => match newest().await? {
            Some(manifest) if manifest.finished => (None, "starting afresh: the last run had finished".to_owned()),
            Some(manifest) => go_on(manifest),
            None => (None, "starting afresh".to_owned()),
        },
    })
}

/// What a checkpoint gives back.
#[derive(Default)]
pub struct Restored {
    /// Source fingerprint -> where its partitions stood.
    pub sources: HashMap<String, Vec<SourceReport>>,
    /// Operator fingerprint -> table -> blocks.
    pub states: HashMap<String, BTreeMap<String, Vec<Block>>>,
    /// Sink fingerprint -> what it had prepared.
    pub prepared: HashMap<String, Vec<Prepared>>,
}

impl Restored {
    /// Where a partition goes on. By its name: where partitions come and go their numbers change.
    pub fn stand(&self, fingerprint: &str, partition: &Partition, source: &dyn Source, node: NodeId) -> Option<SourceReport> {
        let known = self.sources.get(fingerprint)?;
        let named: Vec<&SourceReport> = known.iter().filter(|report| report.partition.name == partition.name).collect();
        let exact = named.iter().find(|report| report.partition.index == partition.index);
        match (exact, named.as_slice()) {
            (Some(report), _) | (None, [report]) => Some((*report).clone()),
            // It has appeared since the checkpoint.
            _ => source.first_position().map(|position| SourceReport {
                node,
                partition: partition.clone(),
                position: Some(position),
                watermark: Watermark::MIN,
                ended: false,
                parking: Parking::default(),
            }),
        }
    }

    /// Reads what `manifest` holds for the nodes of `graph`. State that finds no node is an error, or with
    /// `allow_state_loss` left behind.
    pub async fn load(
        checkpoints: &Checkpoints,
        allow_state_loss: bool,
        graph: &Graph,
        fingerprints: &[String],
        manifest: &Manifest,
    ) -> Result<Restored> {
        let mut restored = Restored::default();
        let mut homeless = Vec::new();
        for entry in &manifest.operators {
            if fingerprints.contains(&entry.fingerprint) || entry.fingerprint == DEAD_LETTERS {
                restored.states.insert(entry.fingerprint.clone(), checkpoints.load(entry).await?);
            } else if entry.tables.iter().any(|t| t.blocks.iter().any(|b| b.rows > 0)) {
                homeless.push(entry.name.as_str());
            }
        }
        for entry in &manifest.sources {
            let mut partitions = Vec::new();
            for value in &entry.partitions {
                let mut report: SourceReport = serde_json::from_value(value.clone()).map_err(|e| {
                    Error::corrupt(format!("checkpoint {} does not say where {} stood", manifest.epoch, entry.name)).because(e)
                })?;
                // A run that goes on after a finished one looks for what has come since.
                report.ended &= !manifest.finished;
                partitions.push(report);
            }
            if fingerprints.contains(&entry.fingerprint) {
                restored.sources.insert(entry.fingerprint.clone(), partitions);
            } else {
                homeless.push(entry.name.as_str());
            }
        }
        for entry in &manifest.sinks {
            let prepared = entry.prepared.iter().cloned().map(Prepared).collect();
            restored.prepared.insert(entry.fingerprint.clone(), prepared);
        }
        if !homeless.is_empty() && !allow_state_loss {
            return Err(Error::input(format!(
                "the query has changed: checkpoint {} holds state of {} that no operator of the query takes up now. Run with --allow-state-loss to go on without it, or --restore none to start afresh",
                manifest.epoch,
                homeless.join(", ")
            )));
        }
        let fresh: Vec<&str> = graph
            .nodes
            .iter()
            .zip(fingerprints)
            .filter(|(node, fingerprint)| {
                matches!(&node.kind, NodeKind::Operator(spec) if spec.stateful()) && !restored.states.contains_key(*fingerprint)
            })
            .map(|(node, _)| node.name.as_str())
            .collect();
        if !fresh.is_empty() {
            tracing::info!("starting without earlier state: {}", fresh.join(", "));
        }
        Ok(restored)
    }
}
