//! A running pipeline: restores, builds the tasks of a graph, starts them on their own worker threads, stops them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::connector::transaction::TransactionGroup;
use crate::connector::{Partition, Prepared, Sink};
use crate::dataflow::build::{Builder, TaskFuture};
use crate::dataflow::catch_up;
use crate::dataflow::confirmed::Marker;
use crate::dataflow::coordinator::{Coordinator, Ended, Names};
use crate::dataflow::dead_letter::DEAD_LETTERS;
use crate::dataflow::fingerprint::fingerprints;
use crate::dataflow::graph::{Graph, NodeKind};
use crate::dataflow::layout::Layout;
use crate::dataflow::restored::{Restored, find_checkpoint};
use crate::dataflow::settings::{Settings, Stopper};
use crate::dataflow::state_limit::StateLimit;
use crate::dataflow::task::{TaskEvent, tell};
use crate::dataflow::threads::Threads;
use crate::dataflow::{dead_letter, discovery};
use crate::error::{Error, Place, Result};
use crate::state::SHARDS;

/// Task events under way to the coordinator before a task waits.
const EVENTS: usize = 1024;

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
        for (_, topic, sink) in graph.sinks().filter(|(id, ..)| *id >= graph.nodes.len()) {
            fingerprints.push(format!("{DEAD_LETTERS} {}", sink.identity()));
            names.push(topic.to_owned());
        }
        let limit = StateLimit::new(settings.state_max_bytes, settings.on_state_limit, &settings.metrics);
        // Before anything else: it fences an instance that may still be writing, and decides where to go on.
        let group = the_group(&graph)?;
        let marker = match &group {
            Some(group) => Some(begin(group.clone(), settings.checkpoint_interval).await?),
            None => None,
        };
        let (found, start) = find_checkpoint(settings.restore, &settings.checkpoints, marker.as_ref()).await?;
        let mut restored = match &found {
            Some(manifest) => Restored::load(&settings.checkpoints, settings.allow_state_loss, &graph, &fingerprints, manifest).await?,
            None => Restored::default(),
        };
        settings.checkpoints.forget_after(found.as_ref().map(|m| m.epoch)).await?;
        if found.is_some() {
            catch_up::catch_up(&graph, &settings, &fingerprints, &mut restored).await?;
        }

        let partitions = partitions_of(&graph).await?;
        for (id, name, sink) in graph.sinks() {
            start_sink(sink, restored.prepared.remove(&fingerprints[id]), name).await?;
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
            sinks: graph.sinks().map(|(id, _, sink)| (id, sink.clone())).collect(),
            fingerprints,
            names,
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
            threads.runtimes()?.work.spawn(watched(name, task, events.clone()));
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

/// Runs a task; that it fails or panics is told to the coordinator.
async fn watched(name: String, task: TaskFuture, events: mpsc::Sender<TaskEvent>) {
    let error = match AssertUnwindSafe(task).catch_unwind().await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(panic) => Error::bug(format!("a task stopped: {}", panic_text(panic.as_ref()))).at(Place::thing(name)),
    };
    tell(&events, TaskEvent::Failed(error)).await;
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic without text")
}

/// Per node of the graph: the partitions that its source has now.
async fn partitions_of(graph: &Graph) -> Result<Vec<Vec<Partition>>> {
    let mut partitions = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        partitions.push(match &node.kind {
            NodeKind::Source(source) => source.source.partitions().await.map_err(|e| e.at(Place::thing(&node.name)))?,
            _ => Vec::new(),
        });
    }
    Ok(partitions)
}

/// Begins a run of a sink: off the tasks, since it may ask brokers and wait for them.
async fn start_sink(sink: &Arc<dyn Sink>, prepared: Option<Vec<Prepared>>, name: &str) -> Result<()> {
    let starting = sink.clone();
    let started = tokio::task::spawn_blocking(move || starting.start(prepared.as_deref())).await;
    started.map_err(|e| Error::bug("starting a sink stopped").because(e))?.map_err(|e| e.at(Place::thing(name)))
}

/// The one transaction that sinks of the graph take part in.
fn the_group(graph: &Graph) -> Result<Option<Arc<dyn TransactionGroup>>> {
    let mut found: Option<Arc<dyn TransactionGroup>> = None;
    for (_, name, sink) in graph.sinks() {
        match (&found, sink.group()) {
            (Some(known), Some(group)) if known.id() != group.id() => {
                let text =
                    format!("sinks take part in two transactions, '{}' and '{}', which cannot commit as one", known.id(), group.id());
                return Err(Error::input(text).at(Place::thing(name)));
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
