//! The loop of a source's task: read one partition, scan chunks (several at once, put back in order), derive the
//! watermark, answer barriers.
//!
//! ```text
//!  read ─▶ [scan][scan][scan] ─▶ in order ─▶ chain
//!          a few chunks ahead     position, watermark move here
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::connector::{Partition, Position, Read, Reader};
use crate::dataflow::align::Pace;
use crate::dataflow::chain::Chain;
use crate::dataflow::dead_letter::DeadLetter;
use crate::dataflow::graph::{OnError, SourceNode, WatermarkExpr};
use crate::dataflow::message::{Barrier, Command, Message, SourceReport};
use crate::dataflow::parking::{Parking, Verdict};
use crate::dataflow::scan::{KeptRecords, RefusedRecord, Scanned, pieces, scan};
use crate::dataflow::state_limit::StateLimit;
use crate::dataflow::task::{Outlets, TaskEvent, TaskId, tell};
use crate::error::{Error, Kind, Place, Result};
use crate::format::{Chunk, Records};
use crate::metrics::{Counter, Gauge, Metrics, Reason};
use crate::operator::expressions::OnExpressionError;
use crate::time::{MICROS_PER_MILLI, Watermark, now_micros};

/// Everything a source task works with.
pub struct SourceTask {
    /// Its number.
    pub task: TaskId,
    /// The source's node id in the graph.
    pub node: usize,
    /// The table's name.
    pub name: String,
    /// The source.
    pub source: SourceNode,
    /// The partition it reads.
    pub partition: Partition,
    /// Where a restored run goes on.
    pub restored: Option<SourceReport>,
    /// The epoch that the run goes on from: those of this run are above it.
    pub epoch: u64,
    /// Chunks scanned at once.
    pub ahead: usize,
    /// Keeps it near the other readers; `None` = live input, read as it comes.
    pub pace: Option<Pace>,
    /// The nodes behind it.
    pub chain: Chain,
    /// The tasks behind it.
    pub outlets: Outlets,
    /// The coordinator's word.
    pub commands: mpsc::Receiver<Command>,
    /// The word to the coordinator.
    pub events: mpsc::Sender<TaskEvent>,
    /// What happens to records on which an expression fails.
    pub on_expression_error: OnExpressionError,
    /// After a small chunk a live reader gathers at least this long before it hands over the next.
    pub linger: Duration,
    /// Slows the source down when state comes near its limit.
    pub limit: StateLimit,
    /// Counters.
    pub metrics: Metrics,
}

/// A chunk being scanned, and where reading goes on after it.
struct Ahead {
    scanned: JoinHandle<Result<Scanned>>,
    after: Position,
}

/// A chunk below this size is small: what comes right after it is worth gathering.
const SMALL_CHUNK_BYTES: u64 = 32 << 10;

/// What changes while a partition is read.
struct State {
    watermark: Watermark,
    position: Option<Position>,
    ended: bool,
    last_epoch: u64,
    /// Checkpoints not yet confirmed, and where the reader stood at their barriers.
    unconfirmed: VecDeque<(u64, Position)>,
    /// A checkpoint before its time has been asked for, and its barrier has not come yet.
    wanted: bool,
    /// Since when there has been nothing to read.
    idle_since: Option<Instant>,
    idle_told: bool,
    /// When the last chunk was handed over, if it was a small one.
    small_since: Option<Instant>,
    /// Records that wait for others of their key.
    parking: Parking,
}

impl State {
    /// As a checkpoint has it, or at the beginning; `ordered`: records may wait for others of their key.
    fn new(restored: Option<SourceReport>, epoch: u64, ordered: bool) -> State {
        State {
            watermark: restored.as_ref().map_or(Watermark::MIN, |r| r.watermark),
            position: restored.as_ref().and_then(|r| r.position.clone()),
            ended: restored.as_ref().is_some_and(|r| r.ended),
            last_epoch: epoch,
            unconfirmed: VecDeque::new(),
            wanted: false,
            idle_since: None,
            idle_told: false,
            small_since: None,
            // What waits is let go on when the option is taken away.
            parking: restored.filter(|_| ordered).map(|report| report.parking).unwrap_or_default(),
        }
    }
}

struct Meters {
    records: Counter,
    bytes: Counter,
    watermark: Gauge,
    lag_ms: Gauge,
    /// Keys whose records wait; only where dead letters are ordered.
    parked: Option<Gauge>,
    /// Made when the reader knows for the first time.
    lag_records: Option<Gauge>,
    /// Table and partition.
    whose: (Metrics, String, String),
}

impl Meters {
    /// Notes how far the reader is behind.
    fn note_lag(&mut self, lag: Option<u64>) {
        let Some(lag) = lag else { return };
        let (metrics, table, partition) = &self.whose;
        let make = || metrics.gauge("eagre_source_lag_records", &[("table", table), ("partition", partition)]);
        self.lag_records.get_or_insert_with(make).set(i64::try_from(lag).unwrap_or(i64::MAX));
    }
}

impl SourceTask {
    /// Runs until the partition has ended, the pipeline stops, or something fails.
    pub async fn run(mut self) -> Result<()> {
        let mut state = State::new(self.restored.take(), self.epoch, self.source.scan.ordered);
        if state.watermark > Watermark::MIN && !state.ended {
            self.chain.mark_from_source(state.watermark, 0)?;
        }
        let mut meters = self.meters();
        let mut reader = match state.ended {
            true => None,
            false => Some(self.source.source.open(&self.partition, state.position.as_ref()).await?),
        };
        // Where reading began is kept, too: the options may mean another place at the next start.
        if let (Some(reader), None) = (&reader, &state.position) {
            state.position = Some(reader.position());
        }
        let mut ahead: VecDeque<Ahead> = VecDeque::new();
        loop {
            while let Ok(command) = self.commands.try_recv() {
                if self.obey(command, &mut state, &mut reader).await? {
                    return Ok(());
                }
            }
            if !state.wanted && reader.as_ref().is_some_and(|reader| reader.wants_checkpoint()) {
                state.wanted = true;
                tell(&self.events, TaskEvent::Wanted).await;
            }
            let may_read = self.pace.as_ref().is_none_or(Pace::may_read);
            let reads = reader.is_some() && may_read && ahead.len() < self.ahead;
            if reads && self.pause(&mut state, &mut reader).await? {
                return Ok(());
            }
            if reads && self.read(&mut state, &mut reader, &mut ahead, &mut meters).await? {
                continue;
            }
            if let Some(next) = ahead.pop_front() {
                let scanned = next.scanned.await.map_err(|e| Error::bug(format!("decoding stopped: {e}")))??;
                self.hand_on(scanned, next.after, &mut state, &meters).await?;
            } else if reader.is_none() {
                return self.finish(state).await;
            } else if let (Some(pace), false) = (&self.pace, may_read) {
                tokio::select! {
                    () = pace.moved() => {}
                    command = self.commands.recv() => match command {
                        Some(command) => if self.obey(command, &mut state, &mut reader).await? { return Ok(()) },
                        None => return Err(Error::new(Kind::Interrupted, "the coordinator is gone")),
                    },
                }
            }
        }
    }

    /// Does a live reader let what comes right after a small chunk gather?
    fn gathers(&self) -> bool {
        self.source.source.gathers() && !self.source.source.bounded() && !self.linger.is_zero()
    }

    /// Waits before a read: near the limit of state, and for more to gather. True: the task is to stop.
    async fn pause(&mut self, state: &mut State, reader: &mut Option<Box<dyn Reader>>) -> Result<bool> {
        if let Some(pause) = self.limit.pause()
            && self.wait(pause, state, reader).await?
        {
            return Ok(true);
        }
        match state.small_since.take().and_then(|since| self.linger.checked_sub(since.elapsed())) {
            Some(left) => self.wait(left, state, reader).await,
            None => Ok(false),
        }
    }

    /// Reads once; what comes is handed on, or put behind what is `ahead`. True: nothing is to be taken from there yet.
    async fn read(
        &mut self,
        state: &mut State,
        reader: &mut Option<Box<dyn Reader>>,
        ahead: &mut VecDeque<Ahead>,
        meters: &mut Meters,
    ) -> Result<bool> {
        let Some(open) = reader else { return Ok(false) };
        let read = open.read().await?;
        meters.note_lag(open.lag());
        match read {
            Read::Chunk(chunk) => {
                (state.idle_since, state.idle_told) = (None, false);
                let bytes = bytes_of(&chunk);
                meters.bytes.add(bytes);
                state.small_since = (bytes < SMALL_CHUNK_BYTES && self.gathers()).then(Instant::now);
                let after = open.position();
                if self.ahead == 1 {
                    let scanned = scan(&self.source.scan, self.source.time.as_ref(), self.partition.index, &chunk, now_micros())?;
                    self.hand_on(scanned, after, state, meters).await?;
                } else {
                    ahead.push_back(Ahead { scanned: self.spawn_scan(chunk), after });
                }
                return Ok(true);
            }
            Read::Watermark(mark) => {
                let scanned = Scanned::watermark(&self.source.scan, self.source.time.as_ref().map(|_| mark));
                let after = open.position();
                // Behind the rows that came before it.
                ahead.push_back(Ahead { scanned: tokio::spawn(async { Ok(scanned) }), after });
            }
            Read::Idle if ahead.is_empty() => {
                self.on_idle(state, meters)?;
                self.outlets.flush(&mut self.chain).await?;
                return Ok(true);
            }
            Read::Away if ahead.is_empty() => {
                state.idle_since = None;
                return Ok(true);
            }
            Read::Idle | Read::Away => {}
            Read::End => *reader = None,
        }
        Ok(false)
    }

    /// Hands a scanned chunk on and waits until there is room for more.
    async fn hand_on(&mut self, scanned: Scanned, after: Position, state: &mut State, meters: &Meters) -> Result<()> {
        self.take(scanned, after, state, meters)?;
        self.outlets.flush(&mut self.chain).await?;
        self.chain.room().await
    }

    /// Waits, and obeys what the coordinator says meanwhile. True: the task is to stop.
    async fn wait(&mut self, how_long: Duration, state: &mut State, reader: &mut Option<Box<dyn Reader>>) -> Result<bool> {
        let until = tokio::time::Instant::now() + how_long;
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => if self.obey(command, state, reader).await? { return Ok(true) },
                    None => return Err(Error::new(Kind::Interrupted, "the coordinator is gone")),
                },
                () = tokio::time::sleep_until(until) => return Ok(false),
            }
        }
    }

    fn spawn_scan(&self, chunk: Chunk) -> JoinHandle<Result<Scanned>> {
        let spec = self.source.scan.clone();
        let time = self.source.time.clone();
        let partition = self.partition.index;
        tokio::spawn(async move { scan(&spec, time.as_ref(), partition, &chunk, now_micros()) })
    }

    fn meters(&self) -> Meters {
        let partition = [("table", self.name.as_str()), ("partition", self.partition.name.as_str())];
        Meters {
            records: self.metrics.counter("eagre_source_records_total", &partition),
            bytes: self.metrics.counter("eagre_source_bytes_total", &partition),
            watermark: self.metrics.gauge("eagre_watermark_micros", &partition),
            lag_ms: self.metrics.gauge("eagre_watermark_lag_ms", &partition),
            parked: self.source.scan.ordered.then(|| self.metrics.gauge("eagre_parked_keys", &partition)),
            lag_records: None,
            whose: (self.metrics.clone(), self.name.clone(), self.partition.name.clone()),
        }
    }

    /// Hands a scanned chunk to the chain, cut where a row must meet the watermark of the rows before it.
    fn take(&mut self, mut scanned: Scanned, after: Position, state: &mut State, meters: &Meters) -> Result<()> {
        meters.records.add(scanned.records);
        if let Some(parked) = &meters.parked {
            self.park(&mut scanned, &mut state.parking)?;
            parked.set(state.parking.keys() as i64);
        }
        let refused = std::mem::take(&mut scanned.refused);
        self.refuse(refused)?;
        match &scanned.times {
            None => self.chain.from_source(scanned.rows, scanned.arrived_micros)?,
            Some(times) => {
                let per_row = self.source.time.as_ref().is_none_or(|time| time.per_row);
                for (from, to, mark) in pieces(times, state.watermark.0, per_row) {
                    if to > from {
                        self.chain.from_source(scanned.rows.slice(from, to - from), scanned.arrived_micros)?;
                    }
                    state.watermark = state.watermark.max(Watermark(mark));
                    self.chain.mark_from_source(state.watermark, scanned.arrived_micros)?;
                }
                if state.watermark > Watermark::MIN {
                    meters.watermark.set(state.watermark.0);
                    meters.lag_ms.set((now_micros() - state.watermark.0) / MICROS_PER_MILLI);
                    if let Some(pace) = &self.pace {
                        pace.advance(state.watermark.0);
                    }
                }
            }
        }
        state.position = Some(after);
        Ok(())
    }

    /// Puts aside what waits for a refused record of its key, in the order of the records.
    fn park(&self, scanned: &mut Scanned, parking: &mut Parking) -> Result<()> {
        let Some(KeptRecords { chunk, offsets }) = scanned.kept.take() else { return Ok(()) };
        if parking.is_empty() && scanned.refused.is_empty() {
            return Ok(());
        }
        let mut refused = std::mem::take(&mut scanned.refused).into_iter().peekable();
        let mut goes = vec![true; offsets.len()];
        let mut row = 0;
        loop {
            let own = refused.peek().map(|refused| refused.offset.unwrap_or(i64::MIN));
            let Some(offset) = own.into_iter().chain(offsets.get(row).copied()).min() else { break };
            let of_record = offsets[row..].iter().take_while(|other| **other == offset).count();
            // Of a record that is several rows there may be several faults: one letter is enough.
            let mut faults = std::iter::from_fn(|| refused.next_if(|refused| refused.offset.unwrap_or(i64::MIN) == offset));
            let fault = faults.next();
            faults.for_each(drop);
            let beside = match &fault {
                Some(fault) => fault.beside.clone(),
                None => chunk.beside(offset)?,
            };
            let kept =
                fault.as_ref().is_some_and(|fault| fault.reason != Reason::Undecodable || self.source.on_error == OnError::DeadLetter);
            match parking.judge(offset, &beside, kept)? {
                Verdict::Goes => scanned.refused.extend(fault),
                Verdict::Waits(first) => {
                    goes[row..row + of_record].fill(false);
                    let record = fault.map_or_else(|| chunk.value(offset).unwrap_or_default(), |fault| fault.record);
                    let error = format!(
                        "{} was refused, and this later record of its key waits for it ('dead-letter.ordered')",
                        Place::record(&self.name, self.partition.index, first)
                    );
                    scanned.refused.push(RefusedRecord { offset: Some(offset), record, beside, reason: Reason::Parked, error });
                }
            }
            row += of_record;
        }
        if goes.contains(&false) {
            let goes = BooleanArray::from(goes);
            scanned.rows = filter_record_batch(&scanned.rows, &goes)?;
            if let Some(times) = &mut scanned.times {
                times.keep(&goes);
            }
        }
        Ok(())
    }

    /// Counts and keeps what did not become a row, or fails where that was asked for.
    fn refuse(&mut self, refused: Vec<RefusedRecord>) -> Result<()> {
        let partition = self.partition.index;
        for refused in refused {
            let (operator, fails, keep, hint) = match refused.reason {
                Reason::Undecodable => {
                    let hint = "set 'format.on-error'='dead-letter' or 'skip' on the table to go on over such records";
                    ("decode", self.source.on_error == OnError::Fail, self.source.on_error == OnError::DeadLetter, hint)
                }
                Reason::Expression => ("scan", self.on_expression_error == OnExpressionError::Fail, true, OnExpressionError::HINT),
                _ => ("scan", false, true, ""),
            };
            if fails {
                let place = refused.offset.map_or_else(|| Place::thing(&self.name), |offset| Place::record(&self.name, partition, offset));
                return Err(Error::new(Kind::Row, format!("{}; {hint}", refused.error)).at(place));
            }
            let letter = DeadLetter {
                source: self.name.clone(),
                origin: Some(self.partition.name.clone()),
                partition: Some(partition),
                offset: refused.offset,
                operator: operator.into(),
                reason: refused.reason,
                error: refused.error,
                record: (!refused.beside.tombstone).then(|| refused.record.to_vec()),
                beside: refused.beside,
            };
            self.chain.dead_letter(letter, keep)?;
        }
        Ok(())
    }

    /// The partition has nothing new.
    fn on_idle(&mut self, state: &mut State, meters: &Meters) -> Result<()> {
        let since = *state.idle_since.get_or_insert_with(Instant::now);
        if let Some(pace) = &self.pace {
            pace.rest();
        }
        let Some(time) = &self.source.time else { return Ok(()) };
        if time.advance_by_wall_clock {
            let delay = if let WatermarkExpr::Delay(delay) = time.watermark { delay } else { 0 };
            state.watermark = state.watermark.max(Watermark(now_micros() - delay + MICROS_PER_MILLI));
            meters.watermark.set(state.watermark.0);
            self.chain.mark_from_source(state.watermark, 0)?;
        } else if let Some(timeout) = time.idle_timeout_micros
            && !state.idle_told
            && since.elapsed().as_micros() as i64 >= timeout
        {
            state.idle_told = true;
            self.chain.idle_from_source()?;
        }
        Ok(())
    }

    /// Sends the barrier on. True: the task has stopped.
    async fn obey(&mut self, command: Command, state: &mut State, reader: &mut Option<Box<dyn Reader>>) -> Result<bool> {
        let (barrier, stop) = match command {
            Command::Barrier(barrier) => (barrier, false),
            Command::Stop(barrier) => (barrier, true),
            Command::Confirmed(epoch) => {
                confirm(epoch, state, reader).await?;
                return Ok(false);
            }
        };
        state.last_epoch = barrier.epoch;
        if barrier.checkpoint {
            state.wanted = false;
            state.unconfirmed.extend(state.position.clone().map(|position| (barrier.epoch, position)));
        }
        let report = self.chain.barrier(barrier)?;
        self.outlets.flush(&mut self.chain).await?;
        self.outlets.broadcast(Message::Barrier(barrier)).await?;
        let parking = if barrier.checkpoint { state.parking.clone() } else { Parking::default() };
        let source = self.report(state, if barrier.checkpoint { reader.as_deref() } else { None }, parking);
        tell(&self.events, TaskEvent::Passed(self.task, barrier, report, Some(source))).await;
        if stop {
            // The channels stay open until the coordinator has heard from everybody and takes the tasks down.
            while let Some(command) = self.commands.recv().await {
                if let Command::Confirmed(epoch) = command {
                    confirm(epoch, state, reader).await?;
                    if epoch >= barrier.epoch {
                        break;
                    }
                }
            }
        }
        Ok(stop)
    }

    async fn finish(mut self, mut state: State) -> Result<()> {
        state.ended = true;
        if let Some(pace) = &self.pace {
            pace.rest();
        }
        self.chain.mark_from_source(Watermark::MAX, 0)?;
        self.outlets.flush(&mut self.chain).await?;
        let report = self.chain.barrier(Barrier { epoch: state.last_epoch + 1, checkpoint: true })?;
        self.outlets.flush(&mut self.chain).await?;
        self.outlets.broadcast(Message::End).await?;
        let parking = std::mem::take(&mut state.parking);
        let source = self.report(&state, None, parking);
        tell(&self.events, TaskEvent::Finished(self.task, report, Some(source))).await;
        Ok(())
    }

    /// Where the partition stands; with a reader as a checkpoint keeps it.
    fn report(&self, state: &State, reader: Option<&dyn Reader>, parking: Parking) -> SourceReport {
        let kept = |position: &Position| reader.map_or_else(|| position.clone(), |reader| reader.kept(position));
        SourceReport {
            node: self.node,
            partition: self.partition.clone(),
            position: state.position.as_ref().map(kept),
            watermark: state.watermark,
            ended: state.ended,
            parking,
        }
    }
}

/// Tells the reader that a checkpoint is confirmed, and with it all earlier ones.
async fn confirm(epoch: u64, state: &mut State, reader: &mut Option<Box<dyn Reader>>) -> Result<()> {
    let mut newest = None;
    while state.unconfirmed.front().is_some_and(|(of, _)| *of <= epoch) {
        newest = state.unconfirmed.pop_front();
    }
    match (newest, reader) {
        (Some((_, position)), Some(reader)) => reader.confirmed(&position).await,
        _ => Ok(()),
    }
}

fn bytes_of(chunk: &Chunk) -> u64 {
    match &chunk.records {
        Records::Lines(bytes) => bytes.len() as u64,
        Records::Framed(framed) => framed.data.len() as u64,
        Records::Rows(rows) => rows.get_array_memory_size() as u64,
    }
}
