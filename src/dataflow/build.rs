//! Turns a layout into tasks: their channels, chains, state and dead letters.

use std::collections::HashMap;

use tokio::sync::mpsc;

use crate::connector::Partition;
use crate::dataflow::align::Aligner;
use crate::dataflow::chain::{Chain, ChainNode, Target, Work};
use crate::dataflow::channel::{FanIn, Receiver, channel};
use crate::dataflow::dead_letter::{self, DEAD_LETTERS, DeadLetterWriter};
use crate::dataflow::graph::{Graph, NodeId, NodeKind};
use crate::dataflow::layout::{Layout, Route, StageId};
use crate::dataflow::message::Command;
use crate::dataflow::restored::Restored;
use crate::dataflow::settings::Settings;
use crate::dataflow::source_task::SourceTask;
use crate::dataflow::state_limit::StateLimit;
use crate::dataflow::table_mark::TableMark;
use crate::dataflow::task::{self, Outlet, Outlets, TaskEvent, TaskId};
use crate::error::{Error, Place, Result};
use crate::state::{Sharder, StateHandles};

/// Barriers under way to a source before the coordinator waits.
const COMMANDS: usize = 16;

/// The body of a task.
pub type TaskFuture = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The tasks of a pipeline, not yet started.
pub struct Built {
    /// Name and body of each task.
    pub tasks: Vec<(String, TaskFuture)>,
    /// The way to each source task.
    pub commands: Vec<(TaskId, mpsc::Sender<Command>)>,
}

/// Turns a layout into tasks.
pub struct Builder<'a> {
    /// What is run.
    pub graph: &'a Graph,
    /// How it is cut into stages and tasks.
    pub layout: &'a Layout,
    /// How it is run.
    pub settings: &'a Settings,
    /// Per node: what its state is found by.
    pub fingerprints: &'a [String],
    /// Per node: the partitions of a source.
    pub partitions: &'a [Vec<Partition>],
    /// Per node: the topic of its dead letters.
    pub letters: Vec<Option<String>>,
    /// The bound of state.
    pub limit: &'a StateLimit,
    /// Tasks of a keyed stage.
    pub parallelism: usize,
    /// Of the checkpoint that the run goes on from.
    pub epoch: u64,
}

/// The wiring of one task, gathered before its chain is built.
#[derive(Default)]
struct Wiring {
    receivers: Vec<Receiver>,
    /// Per receiver: chain node and in-slot.
    inlets: Vec<(usize, usize)>,
    outlets: Vec<Outlet>,
    /// Per chain node: in-slot -> input.
    slots: Vec<Vec<usize>>,
    /// Per chain node: where its rows go.
    targets: Vec<Vec<Target>>,
}

impl Builder<'_> {
    /// Builds all tasks; `events` is their way to the coordinator.
    pub fn build(&self, restored: &mut Restored, events: &mpsc::Sender<TaskEvent>) -> Result<Built> {
        let mut wirings = self.wire();
        let aligner = Aligner::default();
        let mut built = Built { tasks: Vec::new(), commands: Vec::new() };
        for (stage_id, stage) in self.layout.stages.iter().enumerate() {
            let mark = match (&self.graph.nodes[stage.nodes[0]].name, &self.graph.nodes[stage.nodes[0]].kind) {
                (name, NodeKind::Source(source)) if source.time.is_some() => {
                    Some(TableMark::new(name, stage.tasks, &self.settings.metrics))
                }
                _ => None,
            };
            for task in 0..stage.tasks {
                let id = built.tasks.len();
                let name = stage.nodes.iter().map(|n| self.graph.nodes[*n].name.as_str()).collect::<Vec<_>>().join(" > ");
                let mut wiring = wirings.remove(&(stage_id, task)).ok_or_else(|| Error::bug(format!("{name} has no wiring")))?;
                let mut nodes = self.chain_nodes(stage_id, task, &mut wiring, restored)?;
                let busy = self.settings.metrics.counter("eagre_busy_nanos_total", &[("task", &format!("{name}/{task}"))]);
                let dead_letters = self.dead_letters(id, &mut nodes, restored)?;
                let chain = Chain::new(nodes, dead_letters, self.settings.on_expression_error, self.settings.metrics.clone(), busy);
                let chain = chain.telling(mark.as_ref().map(|mark| mark.of_partition(task)));
                let outlets = Outlets(wiring.outlets);
                let head = stage.nodes[0];
                let body: TaskFuture = match &self.graph.nodes[head].kind {
                    NodeKind::Source(source) => {
                        let (command, commands) = mpsc::channel(COMMANDS);
                        built.commands.push((id, command));
                        let partition = self.partitions[head][task].clone();
                        let restored = restored.stand(&self.fingerprints[head], &partition, source.source.as_ref(), head);
                        let drift = source.time.as_ref().and_then(|t| t.max_drift_micros);
                        let paced = source.time.is_some() && (source.source.bounded() || drift.is_some());
                        let source_task = SourceTask {
                            task: id,
                            node: head,
                            name: self.graph.nodes[head].name.clone(),
                            source: source.clone(),
                            partition,
                            restored,
                            epoch: self.epoch,
                            ahead: self.chunks_ahead(),
                            pace: paced.then(|| aligner.join(drift)),
                            chain,
                            outlets,
                            commands,
                            events: events.clone(),
                            on_expression_error: self.settings.on_expression_error,
                            linger: self.settings.linger,
                            limit: self.limit.clone(),
                            metrics: self.settings.metrics.clone(),
                        };
                        Box::pin(source_task.run())
                    }
                    _ => {
                        let fan_in = FanIn::new(wiring.receivers);
                        Box::pin(task::run(id, self.epoch, chain, fan_in, wiring.inlets.into(), outlets, events.clone()))
                    }
                };
                built.tasks.push((name, body));
            }
        }
        Ok(built)
    }

    /// Chunks of one partition scanned at once: with fewer readers than threads, the others help decoding.
    fn chunks_ahead(&self) -> usize {
        let readers: usize = self.partitions.iter().map(Vec::len).sum();
        if readers >= self.parallelism { 1 } else { self.parallelism.div_ceil(readers.max(1)) + 1 }
    }

    /// Channels, in-slots and targets of every task.
    fn wire(&self) -> HashMap<(StageId, usize), Wiring> {
        let mut wirings: HashMap<(StageId, usize), Wiring> = HashMap::new();
        for (stage_id, stage) in self.layout.stages.iter().enumerate() {
            for task in 0..stage.tasks {
                let nodes = stage.nodes.len();
                wirings.insert(
                    (stage_id, task),
                    Wiring { slots: vec![Vec::new(); nodes], targets: vec![Vec::new(); nodes], ..Wiring::default() },
                );
            }
        }
        let place = |stage: StageId, node: NodeId| self.layout.stages[stage].nodes.iter().position(|n| *n == node).unwrap_or_default();
        let take_slot = |wirings: &mut HashMap<(StageId, usize), Wiring>, stage, task, node: usize, input| {
            let slots = wirings.get_mut(&(stage, task)).map(|w| &mut w.slots[node]);
            slots.map_or(0, |slots: &mut Vec<usize>| {
                slots.push(input);
                slots.len() - 1
            })
        };
        for edge in &self.layout.edges {
            let (from_stage, to_stage) = (edge.from.0, edge.to.0);
            let (from, to) = (place(from_stage, edge.from.1), place(to_stage, edge.to.1));
            for sender_task in 0..self.layout.stages[from_stage].tasks {
                if edge.route == Route::Local {
                    let slot = take_slot(&mut wirings, to_stage, sender_task, to, edge.input);
                    if let Some(wiring) = wirings.get_mut(&(from_stage, sender_task)) {
                        wiring.targets[from].push(Target::Node(to, slot));
                    }
                    continue;
                }
                let mut senders = Vec::new();
                for receiver_task in 0..self.layout.stages[to_stage].tasks {
                    let name = format!(
                        "{} > {} {sender_task}/{receiver_task}",
                        self.graph.nodes[edge.from.1].name, self.graph.nodes[edge.to.1].name
                    );
                    let (sender, receiver) = channel(self.settings.metrics.gauge("eagre_channel_fill", &[("channel", &name)]));
                    senders.push(sender);
                    let slot = take_slot(&mut wirings, to_stage, receiver_task, to, edge.input);
                    if let Some(wiring) = wirings.get_mut(&(to_stage, receiver_task)) {
                        wiring.receivers.push(receiver);
                        wiring.inlets.push((to, slot));
                    }
                }
                if let Some(wiring) = wirings.get_mut(&(from_stage, sender_task)) {
                    wiring.targets[from].push(Target::Output(wiring.outlets.len()));
                    let sharder = Sharder::new(senders.len());
                    wiring.outlets.push(Outlet { route: edge.route.clone(), senders, sharder });
                }
            }
        }
        wirings
    }

    fn chain_nodes(&self, stage: StageId, task: usize, wiring: &mut Wiring, restored: &Restored) -> Result<Vec<ChainNode>> {
        let mut nodes = Vec::new();
        for (index, id) in self.layout.stages[stage].nodes.iter().copied().enumerate() {
            let node = &self.graph.nodes[id];
            let place = || Place::thing(&node.name);
            let (instance, instances) = (self.layout.instance(stage, task, id), self.layout.instances(id));
            let mut state = match restored.states.get(&self.fingerprints[id]) {
                Some(tables) => StateHandles::restoring(instance, instances, tables.clone()),
                None => StateHandles::empty(instance, instances),
            };
            let work = match &node.kind {
                NodeKind::Source(_) => Work::Head,
                NodeKind::Operator(spec) => Work::Operator(spec.open(&mut state).map_err(|e| e.at(place()))?),
                NodeKind::Sink(sink) => Work::Writer(sink.open(instance, &mut state).map_err(|e| e.at(place()))?),
            };
            let slots = std::mem::take(&mut wiring.slots[index]);
            let targets = std::mem::take(&mut wiring.targets[index]);
            let grows_state = match &node.kind {
                NodeKind::Operator(spec) => spec.grows_state(),
                NodeKind::Sink(_) => state.tables().next().is_some(),
                NodeKind::Source(_) => false,
            };
            let mut node = ChainNode::new(id, &node.name, work, slots, targets, state, self.limit);
            node.grows_state = grows_state;
            nodes.push(node);
        }
        Ok(nodes)
    }

    /// The places that take the dead letters of a task; tells its nodes which is theirs.
    fn dead_letters(&self, task: TaskId, nodes: &mut [ChainNode], restored: &Restored) -> Result<Vec<DeadLetterWriter>> {
        let tasks: usize = self.layout.stages.iter().map(|s| s.tasks).sum();
        let mut writers = Vec::new();
        if let Some(sink) = &self.settings.dead_letters {
            let tables = restored.states.get(DEAD_LETTERS).cloned().unwrap_or_default();
            let todays = tables.into_iter().map(|(name, blocks)| Ok((name, dead_letter::in_todays_columns(blocks)?)));
            let mut state = StateHandles::restoring(task, tasks, todays.collect::<Result<_>>()?);
            let writer = sink.open(task, &mut state)?;
            writers.push(DeadLetterWriter::new(NodeId::MAX, writer, state));
        }
        let table = (!writers.is_empty()).then_some(0);
        for (id, (topic, sink)) in (self.graph.nodes.len()..).zip(&self.graph.dead_letters) {
            let mut theirs = nodes.iter_mut().filter(|node| self.letters[node.id].as_ref() == Some(topic)).peekable();
            if theirs.peek().is_some() {
                theirs.for_each(|node| node.letters = Some(writers.len()));
                let mut state = StateHandles::empty(task, tasks);
                writers.push(DeadLetterWriter::new(id, sink.open(task, &mut state)?, state));
            }
        }
        nodes.iter_mut().filter(|node| self.letters[node.id].is_none()).for_each(|node| node.letters = table);
        Ok(writers)
    }
}
