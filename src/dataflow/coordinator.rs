//! The checkpoint coordinator: sends barriers in at the sources, gathers what the tasks report, makes checkpoints durable
//! and commits the sinks.
//!
//! ```text
//!  tick ─▶ barrier to every source ─▶ … ─▶ every task reports ─┬─ cut: live tables publish
//!                                                             └─ checkpoint: blocks ─▶ manifest ─▶ sinks commit
//! ```
//! Order of a checkpoint: barrier through everything, all writers prepared, manifest durable, the transaction (if there is
//! one) commits, sinks commit, sources are told (and acknowledge what they have read). A restart takes the newest manifest
//! and repeats its commits; with a transaction the newest one that it confirms (`confirmed.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::connector::transaction::TransactionGroup;
use crate::connector::{Prepared, Sink};
use crate::dataflow::chain::{Report, TableState};
use crate::dataflow::dead_letter::DEAD_LETTERS;
use crate::dataflow::graph::NodeId;
use crate::dataflow::message::{Barrier, Command, SourceReport};
use crate::dataflow::state_limit::StateLimit;
use crate::dataflow::task::{TaskEvent, TaskId};
use crate::error::{Error, Kind, Place, Result};
use crate::fault::{Point, reach};
use crate::metrics::Metrics;
use crate::state::Checkpoints;
use crate::state::manifest::{Manifest, OperatorEntry, SinkEntry, SourceEntry, TableEntry, TransactionEntry, VERSION};
use crate::time::now_micros;

/// How long the cause of a broken channel is waited for: the task that failed speaks a moment after its channels close.
const CAUSE_WAIT: Duration = Duration::from_secs(2);
/// How long a pipeline that stops waits for its sources to acknowledge what its last checkpoint covers.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(10);
/// Cuts under way at once; a slow pipeline gets fewer cuts, not a queue of them.
const CUTS_UNDER_WAY: usize = 2;

/// Called when all tasks have passed a cut: live tables show what they staged.
pub type OnCut = Arc<dyn Fn(u64) -> Result<()> + Send + Sync>;

/// How a pipeline came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All bounded inputs had ended.
    Finished,
    /// It was asked to stop, and did so behind a checkpoint.
    Stopped,
}

/// What persisting a checkpoint needs to know about the graph.
pub struct Names {
    /// Per node: its fingerprint.
    pub fingerprints: Vec<String>,
    /// Per node: its name.
    pub names: Vec<String>,
    /// The sinks by node.
    pub sinks: BTreeMap<NodeId, Arc<dyn Sink>>,
    /// The transaction that some of them share, and its newest committed epoch.
    pub group: Option<Arc<dyn TransactionGroup>>,
    /// See `group`.
    pub committed: Mutex<Option<u64>>,
    /// The pipeline's id.
    pub pipeline: String,
    /// Tasks of a keyed stage.
    pub parallelism: usize,
    /// Where checkpoints go.
    pub checkpoints: Checkpoints,
    /// Tells this run's state files from those of an earlier one.
    pub run: String,
    /// What the pipeline holds, and how much it may.
    pub limit: StateLimit,
    /// Counters.
    pub metrics: Metrics,
}

/// The coordinator of a running pipeline.
pub struct Coordinator {
    /// What persisting needs.
    pub names: Arc<Names>,
    /// Number of tasks.
    pub tasks: usize,
    /// One per source task.
    pub commands: Vec<(TaskId, mpsc::Sender<Command>)>,
    /// What the tasks say.
    pub events: mpsc::Receiver<TaskEvent>,
    /// Stop when this turns true.
    pub stop: watch::Receiver<bool>,
    /// What sources have grown by: a reason to start again.
    pub grown: mpsc::Receiver<String>,
    /// Epoch of the next barrier.
    pub next_epoch: u64,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Time between cuts, and what to do at each; `None` = no live tables.
    pub cuts: Option<(Duration, OnCut)>,
}

type Reports = BTreeMap<TaskId, (Report, Option<SourceReport>)>;

/// A barrier that is on its way.
struct UnderWay {
    barrier: Barrier,
    waiting: BTreeSet<TaskId>,
    reports: Reports,
}

impl Coordinator {
    /// Runs until the pipeline has finished, stopped or failed.
    pub async fn run(mut self) -> Result<Ended> {
        let mut alive: BTreeSet<TaskId> = (0..self.tasks).collect();
        let mut finished: Reports = BTreeMap::new();
        let mut under_way: Vec<UnderWay> = Vec::new();
        // At most one; a coordinator that is dropped takes the writing of its checkpoint down with it.
        let mut persisting: JoinSet<Result<u64>> = JoinSet::new();
        let mut stopping = false;
        // Why it stops, where nobody asked for it.
        let mut too_large = None;
        // What sources have grown by.
        let mut grown = None;
        // A source cannot wait for the next checkpoint's time.
        let mut wanted = false;
        let mut checkpoint_tick =
            tokio::time::interval_at(tokio::time::Instant::now() + self.checkpoint_interval, self.checkpoint_interval);
        checkpoint_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let cut_interval = self.cuts.as_ref().map_or(Duration::from_secs(3600), |(interval, _)| *interval);
        let mut cut_tick = tokio::time::interval(cut_interval);
        cut_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);

        loop {
            // Whatever all tasks have passed is complete, oldest first.
            while under_way.first().is_some_and(|first| first.waiting.is_empty()) {
                if under_way[0].barrier.checkpoint && !persisting.is_empty() {
                    break;
                }
                let mut done = under_way.remove(0);
                self.publish(done.barrier.epoch, [&mut done.reports, &mut finished])?;
                if done.barrier.checkpoint {
                    let mut reports = done.reports;
                    carry(&mut finished, &mut reports);
                    persisting.spawn(persist(self.names.clone(), done.barrier.epoch, reports, false));
                }
            }
            if alive.is_empty() {
                written(&mut persisting).await?;
                if under_way.is_empty() {
                    return self.finish(finished).await;
                }
                // One more had waited for the one that was being written.
                continue;
            }
            if stopping && under_way.is_empty() && persisting.is_empty() {
                self.acknowledged().await;
                let grown = grown.map(|grown| Error::new(Kind::Restart, grown));
                return too_large.or(grown).map_or(Ok(Ended::Stopped), Err);
            }
            if !stopping && let Some(error) = self.names.limit.watch() {
                too_large = Some(error);
                stopping = true;
                under_way.push(self.send_barrier(true, Command::Stop, &alive).await);
                continue;
            }
            let checkpointing = !persisting.is_empty() || under_way.iter().any(|u| u.barrier.checkpoint);
            if wanted && !stopping && !checkpointing {
                wanted = false;
                checkpoint_tick.reset_immediately();
            }
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    None => return Err(Error::bug("all tasks are gone without a word")),
                    Some(TaskEvent::Failed(error)) => return Err(self.cause(error).await),
                    Some(TaskEvent::Wanted) => wanted = true,
                    Some(TaskEvent::Passed(task, barrier, report, source)) => {
                        if let Some(found) = under_way.iter_mut().find(|u| u.barrier.epoch == barrier.epoch) {
                            found.waiting.remove(&task);
                            found.reports.insert(task, (report, source));
                        }
                    }
                    Some(TaskEvent::Finished(task, report, source)) => {
                        alive.remove(&task);
                        under_way.iter_mut().for_each(|u| { u.waiting.remove(&task); });
                        self.commands.retain(|(id, _)| *id != task);
                        finished.insert(task, (report, source));
                    }
                },
                written = written(&mut persisting), if !persisting.is_empty() => {
                    if let Some(epoch) = written? {
                        self.send(Command::Confirmed(epoch)).await;
                    }
                }
                changed = self.stop.changed(), if !stopping => {
                    if changed.is_err() || *self.stop.borrow() {
                        stopping = true;
                        under_way.push(self.send_barrier(true, Command::Stop, &alive).await);
                    }
                }
                Some(what) = self.grown.recv(), if !stopping => {
                    (stopping, grown) = (true, Some(what));
                    under_way.push(self.send_barrier(true, Command::Stop, &alive).await);
                }
                _ = checkpoint_tick.tick(), if !stopping && !checkpointing => {
                    under_way.push(self.send_barrier(true, Command::Barrier, &alive).await);
                }
                _ = cut_tick.tick(), if self.cuts.is_some() && !stopping && under_way.len() < CUTS_UNDER_WAY => {
                    under_way.push(self.send_barrier(false, Command::Barrier, &alive).await);
                }
            }
        }
    }

    /// Sends the next barrier in at the sources; it is under way until all tasks that are alive have passed it.
    async fn send_barrier(&mut self, checkpoint: bool, command: fn(Barrier) -> Command, alive: &BTreeSet<TaskId>) -> UnderWay {
        let barrier = Barrier { epoch: self.next_epoch, checkpoint };
        self.next_epoch += 1;
        self.send(command(barrier)).await;
        UnderWay { barrier, waiting: alive.clone(), reports: BTreeMap::new() }
    }

    async fn send(&self, command: Command) {
        for (_, source) in &self.commands {
            // A source that has just ended no longer listens: its `Finished` is on the way.
            if source.send(command).await.is_err() {
                tracing::debug!("a source has ended before its barrier");
            }
        }
    }

    /// Waits until the sources have acknowledged the last checkpoint, and have gone.
    async fn acknowledged(&self) {
        let gone = futures::future::join_all(self.commands.iter().map(|(_, source)| source.closed()));
        if tokio::time::timeout(ACKNOWLEDGE_WAIT, gone).await.is_err() {
            tracing::warn!("a source did not acknowledge its last records in time; they may be delivered again");
        }
    }

    /// Live tables show what they have staged up to `epoch`, and how long that took since its bytes arrived is counted.
    fn publish<const N: usize>(&self, epoch: u64, reports: [&mut Reports; N]) -> Result<()> {
        let Some((_, on_cut)) = &self.cuts else { return Ok(()) };
        on_cut(epoch)?;
        let now = now_micros();
        for (report, _) in reports.into_iter().flat_map(|reports| reports.values_mut()) {
            std::mem::take(&mut report.unseen).into_iter().for_each(|unseen| unseen.shown(now));
        }
        Ok(())
    }

    /// The end of a bounded run: a last checkpoint, the last commits, final names.
    async fn finish(&mut self, mut finished: Reports) -> Result<Ended> {
        let epoch = self.next_epoch;
        self.publish(epoch, [&mut finished])?;
        persist(self.names.clone(), epoch, finished, true).await?;
        for (node, sink) in &self.names.sinks {
            sink.finish().map_err(|e| e.at(Place::thing(&self.names.names[*node])))?;
        }
        Ok(Ended::Finished)
    }

    /// A closed channel is only a consequence: waits a moment for the cause.
    async fn cause(&mut self, error: Error) -> Error {
        let deadline = tokio::time::sleep(CAUSE_WAIT);
        tokio::pin!(deadline);
        let mut known = error;
        while known.kind() == Kind::Interrupted {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(TaskEvent::Failed(error)) => known = error,
                    Some(_) => {}
                    None => break,
                },
                () = &mut deadline => break,
            }
        }
        known
    }
}

/// Waits for the checkpoint being written, if there is one; returns its epoch.
async fn written(persisting: &mut JoinSet<Result<u64>>) -> Result<Option<u64>> {
    match persisting.join_next().await {
        Some(done) => done.map_err(|e| Error::bug("writing a checkpoint stopped").because(e))?.map(Some),
        None => Ok(None),
    }
}

/// Tasks that had finished before the barrier belong to every later checkpoint: their state and positions stay, what
/// they prepared is named once. A task that has passed the barrier and finished since is in this checkpoint as it was
/// at the barrier: what it did after belongs to the next.
fn carry(finished: &mut Reports, reports: &mut Reports) {
    for (task, (report, source)) in finished {
        if reports.contains_key(task) {
            continue;
        }
        let states = report.states.iter().map(|(node, tables)| (*node, tables.iter().map(TableState::again).collect())).collect();
        let prepared = std::mem::take(&mut report.prepared);
        reports.insert(*task, (Report { states, prepared, ..Report::default() }, source.clone()));
    }
}

/// Waits until everything that writers handed to the outside is durable there; returns the transaction that holds it.
async fn settle(names: &Arc<Names>, epoch: u64) -> Result<Option<TransactionEntry>> {
    let names = names.clone();
    let settled = tokio::task::spawn_blocking(move || {
        for (node, sink) in &names.sinks {
            sink.settle(epoch).map_err(|e| e.at(Place::thing(&names.names[*node])))?;
        }
        let Some(group) = &names.group else { return Ok(None) };
        let holds = group.prepare(epoch)?;
        reach(Point::Prepared);
        Ok(holds.then(|| TransactionEntry { id: group.id(), after: *names.committed.lock() }))
    });
    settled.await.map_err(|e| Error::bug("settling a checkpoint stopped").because(e))?
}

/// What the tasks have told at a barrier, by node.
#[derive(Default)]
struct Told {
    sources: BTreeMap<NodeId, Vec<serde_json::Value>>,
    operators: BTreeMap<NodeId, BTreeMap<String, TableEntry>>,
    prepared: BTreeMap<NodeId, Vec<Prepared>>,
    /// Bytes of new blocks.
    written: u64,
}

impl Told {
    /// Gathers the reports, and writes the state blocks that no file holds yet.
    async fn write(names: &Names, epoch: u64, reports: Reports) -> Result<Told> {
        let mut told = Told::default();
        for (task, (report, source)) in reports {
            if let Some(source) = source {
                let value = serde_json::to_value(&source).map_err(|e| Error::bug("a position does not serialise").because(e))?;
                told.sources.entry(source.node).or_default().push(value);
            }
            for (node, tables) in report.states {
                for state in tables {
                    let stem = format!("{epoch:010}-{}-{}-{task}-{}", names.run, names.fingerprint(node), state.name);
                    let (blocks, bytes) = names.checkpoints.write_blocks(&stem, &state.table, &state.blocks).await?;
                    told.written += bytes;
                    let tables = told.operators.entry(node).or_default();
                    let table = tables.entry(state.name.clone()).or_insert_with(|| TableEntry { name: state.name, blocks: Vec::new() });
                    table.blocks.extend(blocks);
                }
            }
            for (node, what) in report.prepared {
                told.prepared.entry(node).or_default().push(what);
            }
        }
        Ok(told)
    }
}

impl Names {
    fn fingerprint(&self, node: NodeId) -> String {
        self.fingerprints.get(node).map_or(DEAD_LETTERS, String::as_str).to_owned()
    }

    fn name(&self, node: NodeId) -> String {
        self.names.get(node).map_or(DEAD_LETTERS, String::as_str).to_owned()
    }

    fn manifest(&self, epoch: u64, told: &mut Told, transaction: Option<TransactionEntry>, finished: bool) -> Manifest {
        let sources = std::mem::take(&mut told.sources).into_iter();
        let sources =
            sources.map(|(node, partitions)| SourceEntry { fingerprint: self.fingerprint(node), name: self.name(node), partitions });
        let operators = std::mem::take(&mut told.operators).into_iter().map(|(node, tables)| OperatorEntry {
            fingerprint: self.fingerprint(node),
            name: self.name(node),
            tables: tables.into_values().collect(),
        });
        let sinks = self.sinks.keys().map(|node| SinkEntry {
            fingerprint: self.fingerprint(*node),
            name: self.name(*node),
            prepared: told.prepared.get(node).into_iter().flatten().map(|prepared| prepared.0.clone()).collect(),
        });
        Manifest {
            version: VERSION,
            pipeline: self.pipeline.clone(),
            epoch,
            created_micros: now_micros(),
            finished,
            parallelism: self.parallelism,
            sources: sources.collect(),
            operators: operators.collect(),
            sinks: sinks.collect(),
            transaction,
        }
    }
}

/// Makes a checkpoint durable, then commits the sinks; returns its epoch.
async fn persist(names: Arc<Names>, epoch: u64, reports: Reports, finished: bool) -> Result<u64> {
    let started = Instant::now();
    let mut told = Told::write(&names, epoch, reports).await?;
    let transaction = settle(&names, epoch).await?;
    let manifest = names.manifest(epoch, &mut told, transaction, finished);
    names.checkpoints.write_manifest(&manifest).await?;
    reach(Point::Manifest);
    commit(&names, epoch, told.prepared, manifest.transaction.is_some()).await?;
    reach(Point::Confirmed);
    names.checkpoints.tidy().await?;

    let set = |name: &str, value: i64| names.metrics.gauge(name, &[]).set(value);
    set("eagre_checkpoint_epoch", epoch as i64);
    set("eagre_checkpoint_bytes", told.written as i64);
    set("eagre_checkpoint_time_ms", started.elapsed().as_millis() as i64);
    Ok(epoch)
}

/// Commits the transaction, then the sinks.
async fn commit(names: &Arc<Names>, epoch: u64, prepared: BTreeMap<NodeId, Vec<Prepared>>, holds_transaction: bool) -> Result<()> {
    let names = names.clone();
    let committed = tokio::task::spawn_blocking(move || {
        if let Some(group) = &names.group {
            group.commit(epoch)?;
            if holds_transaction {
                *names.committed.lock() = Some(epoch);
            }
        }
        reach(Point::Committed);
        names.sinks.iter().try_for_each(|(node, sink)| {
            let prepared = prepared.get(node).map_or(&[][..], Vec::as_slice);
            sink.commit(epoch, prepared).map_err(|e| e.at(Place::thing(&names.names[*node])))
        })
    });
    committed.await.map_err(|e| Error::bug("a commit stopped").because(e))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(prepared: &str) -> (Report, Option<SourceReport>) {
        (Report { prepared: vec![(0, Prepared(prepared.into()))], ..Report::default() }, None)
    }

    fn prepared(reports: &Reports) -> Vec<(TaskId, Vec<serde_json::Value>)> {
        reports.iter().map(|(task, (report, _))| (*task, report.prepared.iter().map(|(_, p)| p.0.clone()).collect())).collect()
    }

    #[test]
    fn what_a_task_prepared_at_the_barrier_is_kept_when_it_finishes_before_the_others_pass() {
        let mut finished: Reports = [(1, report("1 at its end")), (2, report("2 at its end"))].into();
        let mut reports: Reports = [(0, report("0 at the barrier")), (1, report("1 at the barrier"))].into();
        carry(&mut finished, &mut reports);
        let told = [(0, vec!["0 at the barrier".into()]), (1, vec!["1 at the barrier".into()]), (2, vec!["2 at its end".into()])];
        assert_eq!(prepared(&reports), told);
        // The next checkpoint has the rest, once.
        let mut next: Reports = [(0, report("0 later"))].into();
        carry(&mut finished, &mut next);
        assert_eq!(prepared(&next), [(0, vec!["0 later".into()]), (1, vec!["1 at its end".into()]), (2, vec![])]);
    }
}
