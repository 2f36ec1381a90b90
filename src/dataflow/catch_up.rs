//! Before a run goes on from a checkpoint: what is new in an operator and begins with the past is run over the history of
//! its inputs, as a bounded pipeline of its own, and its state is put beside that of the checkpoint.
//!
//! ```text
//!  checkpoint: positions, state ─┬──────────────────────────────────────────────────────┬─▶ state to go on with
//!                                └▶ history up to the positions ─▶ new parts ─▶ state ──┘
//! ```
//! Always holds: the checkpoint itself stays as it is. Whoever dies meanwhile goes on from it and catches up again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::connector::history::HistorySource;
use crate::dataflow::coordinator::Ended;
use crate::dataflow::fingerprint::fingerprints;
use crate::dataflow::graph::{Graph, Node, NodeId, NodeKind, OnError, SourceNode, TimeSpec};
use crate::dataflow::pipeline::Pipeline;
use crate::dataflow::restored::Restored;
use crate::dataflow::settings::{Restore, Settings};
use crate::error::{Error, Kind, Place, Result};
use crate::metrics::Metrics;
use crate::operator::catch_up::StateTables;
use crate::operator::expressions::OnExpressionError;
use crate::state::{Block, Checkpoints, Store};

/// What cannot catch up, should it have to: its name, and why.
pub fn hindrances(graph: &Graph) -> Vec<(String, Error)> {
    let mut found = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let NodeKind::Operator(spec) = &node.kind else { continue };
        let Some(catch_up) = spec.catch_up(&StateTables::new()) else { continue };
        if let Some(why) = hindrance(graph, id) {
            found.extend(catch_up.names().iter().map(|name| (name.clone(), Error::input(why.clone()))));
        }
    }
    found
}

/// Why the history of a node's inputs cannot be had.
fn hindrance(graph: &Graph, node: NodeId) -> Option<String> {
    upstream(graph, node).into_iter().find_map(|id| {
        let Node { name, kind, .. } = &graph.nodes[id];
        match kind {
            NodeKind::Source(source) if !source.source.replays() => Some(format!(
                "what table '{name}' ({}) has brought cannot be read again; a rule on it starts with what comes from now on: leave out warm_up",
                source.source.describe()
            )),
            NodeKind::Operator(spec) if spec.stateful() => Some(format!(
                "its stream comes out of {name}, which keeps state of its own, so that what came before cannot be told again; \
                 a rule on it starts with what comes from now on: leave out warm_up"
            )),
            _ => None,
        }
    })
}

/// The nodes whose rows reach `node`, in order.
fn upstream(graph: &Graph, node: NodeId) -> Vec<NodeId> {
    let mut found = vec![false; graph.nodes.len()];
    let mut next = graph.nodes[node].inputs.clone();
    while let Some(id) = next.pop() {
        if !std::mem::replace(&mut found[id], true) {
            next.extend(&graph.nodes[id].inputs);
        }
    }
    (0..node).filter(|id| found[*id]).collect()
}

/// Brings everything new in `graph` to where a checkpoint stands that gave back `restored`.
pub(super) async fn catch_up(graph: &Graph, settings: &Settings, known: &[String], restored: &mut Restored) -> Result<()> {
    for (id, node) in graph.nodes.iter().enumerate() {
        let NodeKind::Operator(spec) = &node.kind else { continue };
        let state = restored.states.get(&known[id]).cloned().unwrap_or_default();
        let Some(catch_up) = spec.catch_up(&state) else { continue };
        let names = catch_up.names().join(", ");
        if let Some(why) = hindrance(graph, id) {
            return Err(Error::input(format!("{names} cannot warm up: {why}")));
        }
        let last = NodeKind::Operator(catch_up.over_history());
        let Some(history) = history(graph, id, last, known, restored).await? else { continue };
        tracing::info!("warming up from what was read before: {names}");
        let begun = Instant::now();
        let (records, past) = run(history, settings).await.map_err(|error| {
            let place = error.place().cloned().unwrap_or_else(|| Place::thing(&node.name));
            Error::new(error.kind(), format!("{names} cannot warm up: {}", error.message())).at(place)
        })?;
        restored.states.insert(known[id].clone(), catch_up.merge(state, past)?);
        tracing::info!("warmed up on {records} records in {} ms: {names}", begun.elapsed().as_millis());
    }
    Ok(())
}

/// The part of `graph` that leads to `node`, over what its sources have brought; `last` stands in for the node. A partition
/// that was not read yet has brought nothing; `None`: none has.
async fn history(graph: &Graph, node: NodeId, last: NodeKind, known: &[String], restored: &Restored) -> Result<Option<Graph>> {
    let mut part = Graph::default();
    let mut places: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let mut any = false;
    for id in upstream(graph, node) {
        let own = &graph.nodes[id];
        let kind = match &own.kind {
            NodeKind::Source(source) => {
                let partitions = source.source.partitions().await?;
                let mut until = Vec::new();
                for partition in partitions {
                    let stood = restored.stand(&known[id], &partition, source.source.as_ref(), id);
                    if let Some(position) = stood.and_then(|stood| stood.position) {
                        until.push((partition, position));
                    }
                }
                any |= !until.is_empty();
                // The past goes by its rows alone.
                let by_rows = |time: TimeSpec| TimeSpec { idle_timeout_micros: None, advance_by_wall_clock: false, ..time };
                NodeKind::Source(SourceNode {
                    source: Arc::new(HistorySource::new(source.source.clone(), until)?),
                    // What was refused then is refused again, and was told: nobody keeps it. What waited behind it waits again.
                    on_error: if source.on_error == OnError::Skip { OnError::Skip } else { OnError::DeadLetter },
                    time: source.time.clone().map(by_rows),
                    dead_letters: None,
                    ..source.clone()
                })
            }
            other => other.clone(),
        };
        let inputs = own.inputs.iter().filter_map(|input| places.get(input).copied()).collect();
        places.insert(id, part.add(own.name.clone(), kind, inputs));
    }
    let inputs = graph.nodes[node].inputs.iter().filter_map(|input| places.get(input).copied()).collect();
    part.add(graph.nodes[node].name.clone(), last, inputs);
    Ok(any.then_some(part))
}

/// Runs it to its end; how many records it read, and the state of its last node.
async fn run(history: Graph, settings: &Settings) -> Result<(u64, StateTables)> {
    let last = fingerprints(&history).pop().unwrap_or_default();
    let metrics = Metrics::default();
    let settings = Settings {
        checkpoints: Checkpoints::new(Store::memory()),
        restore: Restore::None,
        cuts: None,
        dead_letters: None,
        on_expression_error: OnExpressionError::DeadLetter,
        metrics: metrics.clone(),
        ..settings.clone()
    };
    let checkpoints = settings.checkpoints.clone();
    // A pipeline within the start of another.
    let pipeline = Box::pin(Pipeline::start(history, settings)).await?;
    if pipeline.wait().await? == Ended::Stopped {
        return Err(Error::new(Kind::Interrupted, "stopped before all of its history had been read"));
    }
    let manifest = checkpoints.newest().await?.ok_or_else(|| Error::bug("history ended without a checkpoint"))?;
    let entry = manifest.operators.iter().find(|entry| entry.fingerprint == last);
    let state = match entry {
        Some(entry) => checkpoints.load(entry).await?,
        None => return Err(Error::bug("history left no state")),
    };
    let unwritten = |block: Block| Block { file: None, ..block };
    let state = state.into_iter().map(|(name, blocks)| (name, blocks.into_iter().map(unwritten).collect())).collect();
    Ok((metrics.total("eagre_source_records_total"), state))
}
