//! The nodes of one task and what happens inside it: rows and watermarks run through operators and writers without a
//! channel between them. Synchronous; whatever must leave the task waits in the outbox.
//!
//! ```text
//!  accept ─▶ node ─▶ node ─▶ writer
//!               └──▶ outbox (another task)
//! ```

use std::collections::VecDeque;
use std::time::Instant;

use arrow::array::RecordBatch;

use crate::connector::{Prepared, Writer};
use crate::dataflow::dead_letter::{DeadLetter, DeadLetterWriter};
use crate::dataflow::graph::NodeId;
use crate::dataflow::message::{ArrivedMicros, Barrier, Message};
use crate::dataflow::state_limit::{Measuring, Share, StateLimit};
use crate::dataflow::table_mark::PartitionMark;
use crate::error::{Place, Result};
use crate::metrics::{Counter, Gauge, Latency, Metrics, Reason};
use crate::operator::expressions::OnExpressionError;
use crate::operator::{Operator, Output, Refused};
use crate::state::{Block, BlockId, BlockTable, StateHandles};
use crate::time::{Watermark, WatermarkMerge, now_micros};

/// What a node of a chain does.
pub enum Work {
    /// A source: rows enter here.
    Head,
    /// Works on rows.
    Operator(Box<dyn Operator>),
    /// Takes rows out of the pipeline.
    Writer(Box<dyn Writer>),
}

/// Where what a node emits goes to.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// A later node of the chain and its in-slot.
    Node(usize, usize),
    /// An entry of the task's outputs.
    Output(usize),
}

/// A node of a chain.
pub struct ChainNode {
    /// Its id in the graph.
    pub id: NodeId,
    /// Its name in the graph.
    pub name: String,
    /// What it does.
    pub work: Work,
    /// In-slot (one per local edge, one per channel) -> operator input.
    pub slots: Vec<usize>,
    /// Where its output goes.
    pub targets: Vec<Target>,
    /// Its state tables.
    pub state: StateHandles,
    /// Which of the chain's places takes its dead letters; `None` = they are only counted.
    pub letters: Option<usize>,
    /// What it holds of the pipeline's state.
    pub share: Share,
    /// Is it to refuse rows when state is at its limit?
    pub grows_state: bool,
    /// Merges the watermarks of the in-slots.
    merge: WatermarkMerge,
    /// The watermark last passed on.
    passed: Watermark,
    /// Idleness was passed on and not yet revoked.
    idle: bool,
    rows_in: Counter,
    rows_out: Counter,
    watermark: Gauge,
    latency: Option<Latency>,
    /// Rows of a writer whose rows show at a cut, since the last one.
    unseen: Vec<(ArrivedMicros, u64)>,
}

impl ChainNode {
    /// A node whose counters live where those of `limit` do.
    pub fn new(
        id: NodeId,
        name: &str,
        work: Work,
        slots: Vec<usize>,
        targets: Vec<Target>,
        state: StateHandles,
        limit: &StateLimit,
    ) -> Self {
        let metrics = limit.metrics();
        let labels = [("node", name)];
        ChainNode {
            id,
            name: name.to_owned(),
            letters: None,
            share: limit.share(name),
            grows_state: false,
            merge: WatermarkMerge::new(slots.len()),
            slots,
            targets,
            state,
            passed: Watermark::MIN,
            idle: false,
            rows_in: metrics.counter("eagre_rows_in_total", &labels),
            rows_out: metrics.counter("eagre_rows_out_total", &labels),
            watermark: metrics.gauge("eagre_node_watermark_micros", &labels),
            latency: matches!(work, Work::Writer(_)).then(|| metrics.latency("eagre_latency_seconds", &labels)),
            unseen: Vec::new(),
            work,
        }
    }
}

/// What happens to a node.
#[derive(Debug)]
enum Event {
    Batch(RecordBatch),
    Mark(Watermark),
    Idle,
}

/// What a task tells the coordinator at a barrier or at its end.
#[derive(Debug, Default)]
pub struct Report {
    /// State per stateful node: table name, handle, and its live blocks at the barrier.
    pub states: Vec<(NodeId, Vec<TableState>)>,
    /// What writers made durable.
    pub prepared: Vec<(NodeId, Prepared)>,
    /// Rows that show once the cut is published.
    pub unseen: Vec<Unseen>,
}

/// Rows of one writer that a cut makes visible: counted as latency when it has.
#[derive(Debug)]
pub struct Unseen {
    latency: Latency,
    /// When the bytes behind them arrived, and how many they are.
    rows: Vec<(ArrivedMicros, u64)>,
}

impl Unseen {
    /// They are visible since `now_micros`.
    pub fn shown(self, now_micros: i64) {
        for (arrived, count) in self.rows {
            self.latency.record((now_micros - arrived).max(0) as u64, count);
        }
    }
}

/// A state table as of a barrier.
#[derive(Debug)]
pub struct TableState {
    /// Its name within the operator.
    pub name: String,
    /// The handle, to note where blocks were written.
    pub table: BlockTable,
    /// The live blocks.
    pub blocks: Vec<(BlockId, Block)>,
}

impl TableState {
    /// The same table as it is now: of a task that has finished, so only what was written has changed.
    pub fn again(&self) -> TableState {
        TableState { name: self.name.clone(), table: self.table.clone(), blocks: self.table.blocks() }
    }
}

/// The nodes of one task.
pub struct Chain {
    nodes: Vec<ChainNode>,
    queue: VecDeque<(usize, usize, Event)>,
    outbox: Vec<(usize, Message)>,
    output: Output,
    /// When the bytes behind the message at work arrived.
    arrived: ArrivedMicros,
    /// The places that take dead letters.
    dead_letters: Vec<DeadLetterWriter>,
    measuring: Measuring,
    metrics: Metrics,
    busy: Counter,
    /// Behind a source with event time: how far its partition is.
    mark: Option<PartitionMark>,
}

impl Chain {
    /// A chain; nodes in topological order.
    pub fn new(
        nodes: Vec<ChainNode>,
        dead_letters: Vec<DeadLetterWriter>,
        on_expression_error: OnExpressionError,
        metrics: Metrics,
        busy: Counter,
    ) -> Self {
        let output = Output::tolerant(on_expression_error);
        let (queue, outbox, measuring) = Default::default();
        Chain { nodes, queue, outbox, output, arrived: 0, dead_letters, measuring, metrics, busy, mark: None }
    }

    /// Lets it tell how far the partition of its source is.
    pub fn telling(mut self, mark: Option<PartitionMark>) -> Self {
        self.mark = mark;
        self
    }

    /// Works on a message that came in by `slot` of node `node`.
    pub fn accept(&mut self, node: usize, slot: usize, message: Message) -> Result<()> {
        let event = match message {
            Message::Batch(batch, arrived) => {
                self.arrived = arrived;
                Event::Batch(batch)
            }
            Message::Watermark(mark, arrived) => {
                self.arrived = arrived;
                Event::Mark(mark)
            }
            Message::Idle => Event::Idle,
            // Every End follows a Watermark::MAX, which has done the work.
            Message::End | Message::Barrier(_) => return Ok(()),
        };
        self.queue.push_back((node, slot, event));
        self.drain()
    }

    /// Rows of the source at the head of the chain.
    pub fn from_source(&mut self, rows: RecordBatch, arrived: ArrivedMicros) -> Result<()> {
        self.arrived = arrived;
        self.emit(0, rows);
        self.drain()
    }

    /// The watermark of the source at the head of the chain.
    pub fn mark_from_source(&mut self, mark: Watermark, arrived: ArrivedMicros) -> Result<()> {
        self.arrived = arrived;
        if let Some(told) = &self.mark {
            told.reached(mark);
        }
        self.pass_mark(0, mark);
        self.drain()
    }

    /// The source at the head of the chain has nothing to say for now.
    pub fn idle_from_source(&mut self) -> Result<()> {
        if let Some(told) = &self.mark {
            told.idle();
        }
        self.pass_idle(0);
        self.drain()
    }

    /// Counts a record that the source at the head of the chain refuses and, if asked to, keeps it.
    pub fn dead_letter(&mut self, letter: DeadLetter, keep: bool) -> Result<()> {
        self.metrics.dropped(&letter.source, letter.reason).add(1);
        match self.nodes.first().and_then(|head| head.letters) {
            Some(place) if keep => self.dead_letters[place].add(letter),
            _ => Ok(()),
        }
    }

    /// Counts and keeps what a node refuses.
    fn refuse(&mut self, index: usize, refused: &Refused) -> Result<()> {
        let node = &self.nodes[index];
        self.metrics.dropped(&node.name, refused.reason).add(refused.pairs);
        node.letters.map_or(Ok(()), |place| self.dead_letters[place].add_rows(&node.name, refused))
    }

    /// A barrier that every input has delivered: writers stage or prepare, state tables are read.
    pub fn barrier(&mut self, barrier: Barrier) -> Result<Report> {
        let started = Instant::now();
        let mut report = Report::default();
        if barrier.checkpoint {
            for node in 0..self.nodes.len() {
                if let Work::Operator(operator) = &mut self.nodes[node].work {
                    let mut output = std::mem::take(&mut self.output);
                    let done = operator.on_checkpoint(&mut output);
                    self.output = output;
                    done.map_err(|e| e.at(Place::thing(&self.nodes[node].name)))?;
                    self.after_operator(node)?;
                    self.drain()?;
                }
            }
        }
        for node in &mut self.nodes {
            if let Work::Writer(writer) = &mut node.work {
                let place = || Place::thing(&node.name);
                writer.cut(barrier.epoch).map_err(|e| e.at(place()))?;
                if barrier.checkpoint
                    && let Some(prepared) = writer.prepare(barrier.epoch).map_err(|e| e.at(place()))?
                {
                    report.prepared.push((node.id, prepared));
                }
                if let (Some(latency), false) = (&node.latency, node.unseen.is_empty()) {
                    report.unseen.push(Unseen { latency: latency.clone(), rows: std::mem::take(&mut node.unseen) });
                }
            }
        }
        for writer in &mut self.dead_letters {
            let prepared = writer.barrier(barrier)?;
            report.prepared.extend(prepared.map(|prepared| (writer.node(), prepared)));
        }
        if barrier.checkpoint {
            report.states =
                self.nodes.iter().map(|node| (node.id, tables_of(&node.state))).filter(|(_, tables)| !tables.is_empty()).collect();
            let letters = self.dead_letters.iter().map(|writer| (writer.node(), tables_of(writer.state())));
            report.states.extend(letters.filter(|(_, tables)| !tables.is_empty()));
        }
        if self.measuring.is_due(barrier.checkpoint) {
            self.measure();
        }
        self.busy.add(started.elapsed().as_nanos() as u64);
        Ok(report)
    }

    /// Notes what each node holds.
    fn measure(&mut self) {
        for node in &mut self.nodes {
            let outside = if let Work::Operator(operator) = &node.work { operator.state_bytes() } else { 0 };
            node.share.set(node.state.bytes() + outside);
        }
    }

    /// Waits until every writer has room for more rows.
    pub async fn room(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Work::Writer(writer) = &node.work
                && let Some(room) = writer.room()
            {
                room.await.map_err(|e| e.at(Place::thing(&node.name)))?;
            }
        }
        for letters in &mut self.dead_letters {
            if let Some(room) = letters.room() {
                room.await?;
            }
        }
        Ok(())
    }

    /// What must leave the task: output index and message, in order.
    pub fn take_outbox(&mut self) -> Vec<(usize, Message)> {
        std::mem::take(&mut self.outbox)
    }

    fn drain(&mut self) -> Result<()> {
        let started = Instant::now();
        while let Some((node, slot, event)) = self.queue.pop_front() {
            self.handle(node, slot, event).map_err(|e| e.at(Place::thing(&self.nodes[node].name)))?;
        }
        self.busy.add(started.elapsed().as_nanos() as u64);
        Ok(())
    }

    fn handle(&mut self, index: usize, slot: usize, event: Event) -> Result<()> {
        let node = &mut self.nodes[index];
        match event {
            Event::Batch(batch) => {
                node.merge.on_active(slot);
                self.revoke_idle(index);
                let node = &mut self.nodes[index];
                node.rows_in.add(batch.num_rows() as u64);
                if node.grows_state && node.share.refuses() {
                    let (reason, pairs) = (Reason::StateLimit, batch.num_rows() as u64);
                    let error = "state is at its limit, state.max-bytes, and state.on-limit is dead-letter".to_owned();
                    return self.refuse(index, &Refused { reason, rows: batch, pairs, error });
                }
                match &mut node.work {
                    Work::Operator(operator) => {
                        operator.on_batch(node.slots[slot], batch, &mut self.output)?;
                        self.after_operator(index)?;
                    }
                    Work::Writer(writer) => {
                        writer.write(&batch)?;
                        if let (Some(latency), true) = (&node.latency, self.arrived > 0) {
                            let count = batch.num_rows() as u64;
                            match node.unseen.last_mut() {
                                _ if !writer.shows_at_cuts() => latency.record((now_micros() - self.arrived).max(0) as u64, count),
                                Some((arrived, rows)) if *arrived == self.arrived => *rows += count,
                                _ => node.unseen.push((self.arrived, count)),
                            }
                        }
                    }
                    Work::Head => self.emit(index, batch),
                }
            }
            Event::Mark(mark) => {
                let moved = node.merge.on_mark(slot, mark);
                self.after_merge(index, moved)?;
            }
            Event::Idle => {
                let moved = node.merge.on_idle(slot);
                self.after_merge(index, moved)?;
            }
        }
        Ok(())
    }

    /// An input of the node has said how far it is: the merged watermark has `moved`, the node rests, or it does no more.
    fn after_merge(&mut self, index: usize, moved: Option<Watermark>) -> Result<()> {
        if let Some(mark) = moved {
            self.advance(index, mark)?;
        }
        if !self.nodes[index].merge.all_rest() {
            self.revoke_idle(index);
            return Ok(());
        }
        if let Work::Operator(operator) = &mut self.nodes[index].work {
            operator.on_idle(&mut self.output)?;
            self.after_operator(index)?;
        }
        self.pass_idle(index);
        Ok(())
    }

    /// Those behind wait for the node again, whether it hands on what it gets now or not.
    fn revoke_idle(&mut self, index: usize) {
        if self.nodes[index].idle {
            let passed = self.nodes[index].passed;
            self.pass_mark(index, passed);
        }
    }

    fn advance(&mut self, index: usize, mark: Watermark) -> Result<()> {
        let node = &mut self.nodes[index];
        let onward = match &mut node.work {
            Work::Operator(operator) => operator.on_watermark(mark, &mut self.output)?,
            Work::Writer(_) | Work::Head => mark,
        };
        self.after_operator(index)?;
        self.pass_mark(index, onward);
        Ok(())
    }

    /// Sends on what the operator left in `self.output`.
    fn after_operator(&mut self, index: usize) -> Result<()> {
        for batch in self.output.take_batches() {
            self.emit(index, batch);
        }
        for counted in self.output.take_counted() {
            self.metrics.counter(counted.name, &[("rule", &counted.rule)]).add(counted.count);
        }
        self.output.take_refused().iter().try_for_each(|refused| self.refuse(index, refused))
    }

    fn emit(&mut self, index: usize, batch: RecordBatch) {
        let node = &mut self.nodes[index];
        node.rows_out.add(batch.num_rows() as u64);
        node.idle = false;
        for target in node.targets.iter().copied() {
            match target {
                Target::Node(next, slot) => self.queue.push_back((next, slot, Event::Batch(batch.clone()))),
                Target::Output(output) => self.outbox.push((output, Message::Batch(batch.clone(), self.arrived))),
            }
        }
    }

    fn pass_mark(&mut self, index: usize, mark: Watermark) {
        let node = &mut self.nodes[index];
        if mark <= node.passed && !node.idle {
            return;
        }
        node.passed = node.passed.max(mark);
        node.idle = false;
        node.watermark.set(node.passed.0);
        for target in node.targets.iter().copied() {
            match target {
                Target::Node(next, slot) => self.queue.push_back((next, slot, Event::Mark(node.passed))),
                Target::Output(output) => self.outbox.push((output, Message::Watermark(node.passed, self.arrived))),
            }
        }
    }

    fn pass_idle(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if std::mem::replace(&mut node.idle, true) {
            return;
        }
        for target in node.targets.iter().copied() {
            match target {
                Target::Node(next, slot) => self.queue.push_back((next, slot, Event::Idle)),
                Target::Output(output) => self.outbox.push((output, Message::Idle)),
            }
        }
    }
}

fn tables_of(state: &StateHandles) -> Vec<TableState> {
    state.tables().map(|(name, table)| TableState { name: name.to_owned(), table: table.clone(), blocks: table.blocks() }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use parking_lot::Mutex;

    use super::*;
    use crate::dataflow::state_limit::OnStateLimit;
    use crate::operator::Input;

    /// Keeps rows back, passes watermarks on, and notes them.
    #[derive(Default)]
    struct Gathers(Arc<Mutex<Vec<Watermark>>>);

    impl Operator for Gathers {
        fn on_batch(&mut self, _: Input, _: RecordBatch, _: &mut Output) -> Result<()> {
            Ok(())
        }

        fn on_watermark(&mut self, mark: Watermark, _: &mut Output) -> Result<Watermark> {
            self.0.lock().push(mark);
            Ok(mark)
        }
    }

    #[test]
    fn who_gets_rows_again_holds_time_for_those_behind_it_whether_it_hands_them_on_or_not() {
        let metrics = Metrics::default();
        let limit = StateLimit::new(None, OnStateLimit::Stop, &metrics);
        let marks: Arc<Mutex<Vec<Watermark>>> = Arc::default();
        let node = |name: &str, work: Gathers, inputs: Vec<usize>, targets| {
            ChainNode::new(0, name, Work::Operator(Box::new(work)), inputs, targets, StateHandles::empty(0, 1), &limit)
        };
        let nodes = vec![
            node("aggregation", Gathers::default(), vec![0], vec![Target::Node(1, 0)]),
            node("join", Gathers(marks.clone()), vec![0, 1], Vec::new()),
        ];
        let mut chain = Chain::new(nodes, Vec::new(), OnExpressionError::Fail, metrics.clone(), metrics.counter("busy", &[]));
        let mark = |micros| Message::Watermark(Watermark(micros), 0);
        chain.accept(0, 0, mark(100)).unwrap();
        chain.accept(1, 1, mark(200)).unwrap();
        chain.accept(0, 0, Message::Idle).unwrap();
        assert_eq!(*marks.lock(), [Watermark(100), Watermark(200)]);
        chain.accept(0, 0, Message::Batch(RecordBatch::new_empty(Arc::new(Schema::empty())), 0)).unwrap();
        chain.accept(1, 1, mark(500)).unwrap();
        assert_eq!(*marks.lock(), [Watermark(100), Watermark(200)], "the aggregation has rows that are not so far");
        chain.accept(0, 0, mark(300)).unwrap();
        assert_eq!(*marks.lock(), [Watermark(100), Watermark(200), Watermark(300)]);
    }
}
