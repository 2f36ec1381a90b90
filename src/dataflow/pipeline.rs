//! A running pipeline: restores, builds the tasks of a graph, starts them on their own worker threads, stops them.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::connector::transaction::TransactionGroup;
use crate::connector::{Partition, Prepared, Sink, Source};
use crate::dataflow::align::Aligner;
use crate::dataflow::chain::{Chain, ChainNode, Target, Work};
use crate::dataflow::channel::{FanIn, Receiver, channel};
use crate::dataflow::confirmed::{self, Marker};
use crate::dataflow::coordinator::{Coordinator, DEAD_LETTERS, Ended, Names, OnCut};
use crate::dataflow::dead_letter::{self, DeadLetterWriter};
use crate::dataflow::discovery;
use crate::dataflow::fingerprint::fingerprints;
use crate::dataflow::graph::{Graph, NodeId, NodeKind};
use crate::dataflow::layout::{Layout, Route, StageId};
use crate::dataflow::source_task::{SourceReport, SourceTask};
use crate::dataflow::state_limit::{OnStateLimit, StateLimit};
use crate::dataflow::task::{self, Outlet, Outlets, TaskEvent, TaskId, tell};
use crate::error::{Error, Place, Result};
use crate::metrics::Metrics;
use crate::operator::expressions::OnExpressionError;
use crate::state::{Block, Checkpoints, Manifest, SHARDS, Sharder, StateHandles};
use crate::time::Watermark;

/// Task events under way to the coordinator before a task waits.
const EVENTS: usize = 1024;
/// Barriers under way to a source before the coordinator waits.
const COMMANDS: usize = 16;

/// Which checkpoint to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// The newest, if the last run was interrupted; afresh if it had finished.
    Auto,
    /// The newest, even of a finished run: input is read from where that run ended, tables keep their rows. Windows, joins
    /// and frames of OVER begin anew, since the end of the input closed them and gave out their results.
    Latest,
    /// None: afresh.
    None,
    /// This one.
    Epoch(u64),
}

/// How to run a graph.
#[derive(Clone)]
pub struct Settings {
    /// The pipeline's id: its state belongs to it.
    pub pipeline: String,
    /// Worker threads, decoding included; also the number of tasks of a keyed stage.
    pub parallelism: usize,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Where checkpoints are.
    pub checkpoints: Checkpoints,
    /// Which one to go on from.
    pub restore: Restore,
    /// Go on although some state finds no operator.
    pub allow_state_loss: bool,
    /// Live tables: time between cuts, and what publishes them.
    pub cuts: Option<(Duration, OnCut)>,
    /// Where dead letters go whose table names no topic; `None` = they are only counted.
    pub dead_letters: Option<Arc<dyn Sink>>,
    /// After a small chunk a live reader gathers at least this long before it hands over the next.
    pub linger: Duration,
    /// What happens to rows on which an expression fails.
    pub on_expression_error: OnExpressionError,
    /// The most state there may be; `None` = no limit.
    pub state_max_bytes: Option<u64>,
    /// What happens when there is as much.
    pub on_state_limit: OnStateLimit,
    /// Counters.
    pub metrics: Metrics,
    /// Asks the pipeline to stop.
    pub stop: Stopper,
}

/// A running pipeline. Dropping it takes it down without a checkpoint: when the drop returns, nothing of it writes any
/// more, and another one may start on the same state.
pub struct Pipeline {
    /// What the start found, in a sentence for the user.
    pub start: String,
    /// The tasks, for people.
    pub layout: Layout,
    stop: Stopper,
    coordinator: JoinHandle<Result<Ended>>,
    threads: Threads,
    /// Those that look for new partitions.
    _watching: JoinSet<()>,
}

/// Threads of the coordinator: it hears the tasks while a checkpoint is being written.
const COORDINATOR_THREADS: usize = 2;
/// Longest wait for work under way when a pipeline is dropped: the end of a batch, of a write to the disk.
const AT_REST_WITHIN: Duration = Duration::from_secs(10);

/// The threads of a pipeline. They may be let go from asynchronous code.
struct Threads {
    /// `None`: let go.
    runtimes: Option<Runtimes>,
    /// Nothing of the pipeline writes any more: there is nothing to wait for.
    at_rest: bool,
}

struct Runtimes {
    /// The coordinator, which writes checkpoints and commits sinks.
    coordination: Runtime,
    /// The tasks.
    work: Runtime,
}

impl Threads {
    fn start(workers: usize) -> Result<Threads> {
        let start = |threads: usize, name: &str| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let built = builder.worker_threads(threads).thread_name(name).enable_all().build();
            built.map_err(|e| Error::failed("cannot start the worker threads").because(e))
        };
        let coordination = start(COORDINATOR_THREADS, "eagre-checkpoint")?;
        Ok(Threads { runtimes: Some(Runtimes { coordination, work: start(workers, "eagre-dataflow")? }), at_rest: false })
    }

    fn runtimes(&self) -> Result<&Runtimes> {
        self.runtimes.as_ref().ok_or_else(|| Error::bug("the threads of the pipeline have been let go"))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let Some(Runtimes { coordination, work }) = self.runtimes.take() else { return };
        if self.at_rest {
            coordination.shutdown_background();
            work.shutdown_background();
            return;
        }
        // What a thread has begun, a write or a commit, cannot be called off. It is waited for: else a checkpoint could
        // become durable when another run has already gone on from the one before. A thread of its own waits, since
        // asynchronous code must not.
        let waiting = std::thread::spawn(move || {
            coordination.shutdown_timeout(AT_REST_WITHIN);
            work.shutdown_timeout(AT_REST_WITHIN);
        });
        if waiting.join().is_err() {
            tracing::warn!("the threads of the pipeline ended badly");
        }
    }
}

/// Asks a pipeline to stop.
#[derive(Debug, Clone, Default)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Stop behind a last checkpoint.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Hears the asking, also one from before.
    fn listen(&self) -> watch::Receiver<bool> {
        let mut heard = self.0.subscribe();
        if *heard.borrow() {
            heard.mark_changed();
        }
        heard
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        // The sender is ours: it does not go away meanwhile.
        _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.coordinator.abort();
    }
}

impl Pipeline {
    /// Restores and starts `graph`. Returns once everything runs.
    pub async fn start(graph: Graph, settings: Settings) -> Result<Pipeline> {
        let parallelism = settings.parallelism.clamp(1, SHARDS);
        let mut fingerprints = fingerprints(&graph);
        let mut names: Vec<String> = graph.nodes.iter().map(|node| node.name.clone()).collect();
        for (topic, sink) in &graph.dead_letters {
            // In checkpoints a topic of dead letters is a sink behind all nodes.
            fingerprints.push(format!("{DEAD_LETTERS} {}", sink.identity()));
            names.push(format!("dead letters to {topic}"));
        }
        let limit = StateLimit::new(settings.state_max_bytes, settings.on_state_limit, &settings.metrics);
        // Before anything else: it fences an instance that may still be writing, and decides where to go on.
        let group = the_group(&graph)?;
        let marker = match &group {
            Some(group) => Some(begin(group.clone(), settings.checkpoint_interval).await?),
            None => None,
        };
        let (found, start) = find_checkpoint(&settings, marker.as_ref()).await?;
        let mut restored = match &found {
            Some(manifest) => Restored::load(&settings, &graph, &fingerprints, manifest).await?,
            None => Restored::default(),
        };
        settings.checkpoints.forget_after(found.as_ref().map(|m| m.epoch)).await?;

        let mut partitions: Vec<Vec<Partition>> = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            partitions.push(match &node.kind {
                NodeKind::Source(source) => source.source.partitions().await.map_err(|e| e.at(Place::thing(&node.name)))?,
                _ => Vec::new(),
            });
        }
        let mut sinks = BTreeMap::new();
        for (id, node) in graph.nodes.iter().enumerate() {
            if let NodeKind::Sink(sink) = &node.kind {
                let prepared = restored.prepared.remove(&fingerprints[id]);
                let starting = sink.clone();
                // It may ask brokers, and wait for them.
                tokio::task::spawn_blocking(move || starting.start(prepared.as_deref()))
                    .await
                    .map_err(|e| Error::bug("starting a sink stopped").because(e))?
                    .map_err(|e| e.at(Place::thing(&node.name)))?;
                sinks.insert(id, sink.clone());
            }
        }
        for (id, sink) in (graph.nodes.len()..).zip(graph.dead_letters.values()) {
            sink.start(restored.prepared.remove(&fingerprints[id]).as_deref()).map_err(|e| e.at(Place::thing(&names[id])))?;
            sinks.insert(id, sink.clone());
        }
        if let Some(sink) = &settings.dead_letters {
            sink.start(found.is_some().then_some(&[]))?;
        }
        let counts: Vec<usize> = partitions.iter().map(Vec::len).collect();
        let layout = Layout::of(&graph, &counts, parallelism);

        let threads = Threads::start(parallelism)?;
        let (events, heard) = mpsc::channel(EVENTS);
        let builder = Builder {
            graph: &graph,
            layout: &layout,
            settings: &settings,
            fingerprints: &fingerprints,
            partitions: &partitions,
            letters: dead_letter::topics(&graph),
            limit: &limit,
            parallelism,
            epoch: found.as_ref().map_or(0, |m| m.epoch),
        };
        let built = builder.build(&mut restored, &events)?;
        let (found_more, grown) = mpsc::channel(1);
        let watching = discovery::watch(&graph, &partitions, &found_more);
        let (stop, committed) = (settings.stop.clone(), marker.and_then(|marker| marker.epoch));
        if let Some((_, on_cut)) = &settings.cuts {
            // What was restored is shown before the first new row.
            on_cut(found.as_ref().map_or(0, |m| m.epoch))?;
        }
        let names = Names {
            fingerprints: fingerprints.clone(),
            names,
            sinks,
            group,
            committed: Mutex::new(committed),
            pipeline: settings.pipeline.clone(),
            parallelism,
            checkpoints: settings.checkpoints.clone(),
            run: uuid::Uuid::new_v4().simple().to_string()[..8].to_owned(),
            limit: limit.clone(),
            metrics: settings.metrics.clone(),
        };
        let coordinator = Coordinator {
            names: Arc::new(names),
            tasks: built.tasks.len(),
            commands: built.commands,
            events: heard,
            stop: stop.listen(),
            grown,
            // Never an epoch that a marker names already.
            next_epoch: found.as_ref().map(|m| m.epoch).max(committed).map_or(1, |epoch| epoch + 1),
            checkpoint_interval: settings.checkpoint_interval,
            cuts: settings.cuts.clone(),
        };
        for (name, task) in built.tasks {
            let events = events.clone();
            threads.runtimes()?.work.spawn(async move {
                let ended = AssertUnwindSafe(task).catch_unwind().await;
                let error = match ended {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error,
                    Err(panic) => Error::bug(format!("a task stopped: {}", panic_text(panic.as_ref()))).at(Place::thing(name)),
                };
                tell(&events, TaskEvent::Failed(error)).await;
            });
        }
        let coordinator = threads.runtimes()?.coordination.spawn(coordinator.run());
        Ok(Pipeline { start, layout, stop, coordinator, threads, _watching: watching })
    }

    /// A handle that stops the pipeline.
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Waits for the end.
    pub async fn wait(mut self) -> Result<Ended> {
        let ended = (&mut self.coordinator).await.map_err(|e| Error::bug("the coordinator stopped").because(e))?;
        // Finished or stopped, all tasks have passed the last barrier.
        self.threads.at_rest = ended.is_ok();
        ended
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic without text")
}

/// The one transaction that sinks of the graph take part in.
fn the_group(graph: &Graph) -> Result<Option<Arc<dyn TransactionGroup>>> {
    let mut found: Option<Arc<dyn TransactionGroup>> = None;
    for node in &graph.nodes {
        let NodeKind::Sink(sink) = &node.kind else { continue };
        match (&found, sink.group()) {
            (Some(known), Some(group)) if known.id() != group.id() => {
                let text =
                    format!("sinks take part in two transactions, '{}' and '{}', which cannot commit as one", known.id(), group.id());
                return Err(Error::input(text).at(Place::thing(&node.name)));
            }
            (None, Some(group)) => found = Some(group),
            _ => {}
        }
    }
    Ok(found)
}

async fn begin(group: Arc<dyn TransactionGroup>, checkpoint_interval: Duration) -> Result<Marker> {
    let id = group.id();
    let begun = tokio::task::spawn_blocking(move || group.begin(checkpoint_interval)).await;
    let epoch = begun.map_err(|e| Error::bug("beginning transactions stopped").because(e))??;
    Ok(Marker { id, epoch })
}

/// The checkpoint to go on from, and a sentence about it.
async fn find_checkpoint(settings: &Settings, marker: Option<&Marker>) -> Result<(Option<Manifest>, String)> {
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
    let newest = async || confirmed::newest(settings.checkpoints.list().await?, marker);
    Ok(match settings.restore {
        Restore::None => (None, "starting afresh, as asked".to_owned()),
        Restore::Epoch(epoch) => go_on(settings.checkpoints.of_epoch(epoch).await?),
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
struct Restored {
    /// Source fingerprint -> where its partitions stood.
    sources: HashMap<String, Vec<SourceReport>>,
    /// Operator fingerprint -> table -> blocks.
    states: HashMap<String, BTreeMap<String, Vec<Block>>>,
    /// Sink fingerprint -> what it had prepared.
    prepared: HashMap<String, Vec<Prepared>>,
}

impl Restored {
    /// Where a partition goes on. By its name: where partitions come and go their numbers change.
    fn stand(&self, fingerprint: &str, partition: &Partition, source: &dyn Source, node: NodeId) -> Option<SourceReport> {
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
            }),
        }
    }

    async fn load(settings: &Settings, graph: &Graph, fingerprints: &[String], manifest: &Manifest) -> Result<Restored> {
        let mut restored = Restored::default();
        let mut homeless = Vec::new();
        for entry in &manifest.operators {
            if fingerprints.contains(&entry.fingerprint) || entry.fingerprint == DEAD_LETTERS {
                restored.states.insert(entry.fingerprint.clone(), settings.checkpoints.load(entry).await?);
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
        if !homeless.is_empty() && !settings.allow_state_loss {
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

type TaskFuture = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

struct Built {
    /// Name and body of each task.
    tasks: Vec<(String, TaskFuture)>,
    /// The way to each source task.
    commands: Vec<(TaskId, mpsc::Sender<crate::dataflow::source_task::Command>)>,
}

/// Turns a layout into tasks.
struct Builder<'a> {
    graph: &'a Graph,
    layout: &'a Layout,
    settings: &'a Settings,
    fingerprints: &'a [String],
    partitions: &'a [Vec<Partition>],
    /// Per node: the topic of its dead letters.
    letters: Vec<Option<String>>,
    limit: &'a StateLimit,
    parallelism: usize,
    /// Of the checkpoint that the run goes on from.
    epoch: u64,
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
    fn build(&self, restored: &mut Restored, events: &mpsc::Sender<TaskEvent>) -> Result<Built> {
        let mut wirings = self.wire();
        let aligner = Aligner::default();
        let mut built = Built { tasks: Vec::new(), commands: Vec::new() };
        for (stage_id, stage) in self.layout.stages.iter().enumerate() {
            for task in 0..stage.tasks {
                let id = built.tasks.len();
                let name = stage.nodes.iter().map(|n| self.graph.nodes[*n].name.as_str()).collect::<Vec<_>>().join(" > ");
                let mut wiring = wirings.remove(&(stage_id, task)).ok_or_else(|| Error::bug(format!("{name} has no wiring")))?;
                let mut nodes = self.chain_nodes(stage_id, task, &mut wiring, restored)?;
                let busy = self.settings.metrics.counter("eagre_busy_nanos_total", &[("task", &format!("{name}/{task}"))]);
                let dead_letters = self.dead_letters(id, &mut nodes, restored)?;
                let chain = Chain::new(nodes, dead_letters, self.settings.on_expression_error, self.settings.metrics.clone(), busy);
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
            let mut state = match restored.states.get(DEAD_LETTERS) {
                Some(tables) => StateHandles::restoring(task, tasks, tables.clone()),
                None => StateHandles::empty(task, tasks),
            };
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
