//! MATCH_RECOGNIZE at work: per partition the rows that may still matter, and a backtracking search in preference order from
//! the next possible start. A search that would need a row that has not come is put off until it has.
//!
//! ```text
//!  rows kept:  ·  ·  [start … tried …]  ·  ·
//!                     └ search: the first way in preference order that fits ─▶ match ─▶ rows out ─▶ skip ─▶ next start
//! ```

use std::collections::{BTreeSet, VecDeque};

use ahash::RandomState;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::utils::collect_columns;
use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::operator::OUTPUT_ROWS;
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::bind::{emitted, truth};
use crate::operator::pattern::binding::Expr;
use crate::operator::pattern::conditions::{ConditionId, Conditions};
use crate::operator::pattern::executor::{Executor, Loaded, Rows, Saved, Shared};
use crate::operator::pattern::kept_rows::{Handle, KeptRows, NO_ROW};
use crate::operator::pattern::row_bind::{Context, PartitionRow, RowBinder};
use crate::operator::pattern::row_pattern::{MAX_VARIABLES, Op, Program, RowPattern, RowSkip, RowsPerMatch};
use crate::operator::pattern::row_search::{Path, Running, Search, Way};
use crate::operator::pattern::spec::{Order, Rule};
use crate::operator::pattern::timers::Timer;

/// Version of the saved form.
const VERSION: i64 = 1;
/// Most ways that one search tries before it is given up as hopeless.
const MAX_TRIED: usize = 10_000_000;

/// What a variable must be.
#[derive(Debug)]
enum Define {
    Anything,
    /// Reads the row only.
    Row(ConditionId),
    /// Reads the row and rows at fixed distances: the same whatever the match.
    Local(BoundDefine),
    /// Reads the match.
    Match(BoundDefine),
}

#[derive(Debug)]
struct BoundDefine {
    binder: RowBinder,
    expr: Expr,
    columns: Vec<usize>,
}

/// The rows of a key.
#[derive(Debug, Default)]
struct Partition {
    rows: VecDeque<PartitionRow>,
    /// Number of the first of `rows` within the partition.
    base: u64,
    /// Where the next match may begin, among `rows`.
    next: usize,
    /// Before this no row is shown as unmatched: it was in a match.
    shown: usize,
    /// Number of the last match.
    number: i64,
    /// The search from `next`, put off until more rows have come. No part of what is saved: it is done again.
    search: Option<Search>,
    /// The time of a row that may be the last of a match still to be found, as noted in `open`.
    open: Option<i64>,
    /// When the timer that is set goes off: one is enough.
    armed: Option<i64>,
}

/// A match to be emitted.
struct Matched {
    slot: u32,
    start: usize,
    path: Path,
    /// Per row: is it excluded?
    excluded: Vec<bool>,
    /// None: an unmatched row.
    number: Option<i64>,
}

/// How a search ended.
enum Outcome {
    Match {
        path: Path,
        excluded: Vec<bool>,
    },
    Nothing,
    /// It needs a row that has not come.
    Open,
}

/// How far a search has come.
enum Step {
    Match,
    Nothing,
    /// This way needs a row that has not come.
    Open(Way),
}

/// MATCH_RECOGNIZE over one stream.
pub(super) struct RowMatches {
    rule: u32,
    name: String,
    pattern: RowPattern,
    program: Program,
    define: Vec<Define>,
    measures: RowBinder,
    columns: Vec<Expr>,
    /// Columns of the input that the measures read of the current row.
    needed: Vec<usize>,
    schema: SchemaRef,
    /// Rows looked at before the start of a match.
    back: usize,
    /// Must a partition be remembered when it has no rows?
    remembered: bool,
    partitions: HashMap<u32, Partition, RandomState>,
    /// Labels that a match may end with, as bits; none: nobody asks when matches end.
    last: u64,
    /// Those of them that depend on more than the row.
    undecided: u64,
    /// Rows before the last one at least.
    ahead: usize,
    /// By partition: the first row that may be the last of a match still to be found.
    open: BTreeSet<(i64, u32)>,
}

impl RowMatches {
    /// MATCH_RECOGNIZE over `input`, emitting rows of `schema`; what variables ask of a row alone becomes part of `conditions`.
    pub(super) fn new(number: u32, rule: &Rule, pattern: &RowPattern, spec: &PatternSpec, conditions: &mut Conditions) -> Result<Self> {
        let PatternSpec { input, time, order, schema, .. } = spec;
        if *order != Order::EventTime {
            return Err(Error::input(format!("'{}' matches rows in the order of event time only", rule.name)));
        }
        if pattern.variables.len() > MAX_VARIABLES || pattern.define.len() != pattern.variables.len() {
            let variables = pattern.variables.len();
            return Err(Error::input(format!("'{}' has {variables} variables; at most {MAX_VARIABLES} can be told apart", rule.name)));
        }
        let mut define = Vec::new();
        let (mut back, mut numbered) = (0, false);
        for (label, condition) in pattern.define.iter().enumerate() {
            let Some(condition) = condition else {
                define.push(Define::Anything);
                continue;
            };
            if condition.bindings.is_empty() {
                define.push(Define::Row(conditions.add(&condition.expr)));
                continue;
            }
            let binder = RowBinder::new(&condition.bindings, input, *time, &pattern.variables)?;
            back = back.max(binder.reach().0);
            numbered |= binder.reads_number();
            let local = binder.is_local(label);
            let columns = collect_columns(&condition.expr).iter().map(|column| column.index()).collect();
            let bound = BoundDefine { binder, expr: condition.expr.clone(), columns };
            define.push(if local { Define::Local(bound) } else { Define::Match(bound) });
        }
        let measures = RowBinder::new(&rule.emit.bindings, input, *time, &pattern.variables)?;
        back = back.max(measures.reach().0);
        let mut needed: Vec<usize> = rule.emit.columns.iter().flat_map(collect_columns).map(|column| column.index()).collect();
        needed.retain(|column| *column < input.fields().len());
        let program = Program::new(&pattern.regex)?;
        let asked = |define: &Define| matches!(define, Define::Anything | Define::Match(_));
        let undecided = (0..define.len()).filter(|label| asked(&define[*label])).fold(0, |all, label| all | 1_u64 << label);
        let last = if pattern.timed { pattern.regex.last() } else { 0 };
        let remembered = program.anchored || numbered || measures.reads_number();
        Ok(RowMatches {
            rule: number,
            name: rule.name.clone(),
            pattern: pattern.clone(),
            program,
            define,
            measures,
            columns: rule.emit.columns.clone(),
            needed,
            schema: schema.clone(),
            back,
            remembered,
            partitions: HashMap::with_hasher(RandomState::with_seeds(41, 42, 43, 44)),
            last,
            undecided: undecided & last,
            ahead: pattern.regex.shortest().saturating_sub(1),
            open: BTreeSet::new(),
        })
    }

    /// Finds what can be found in the partitions of `slots`, emits it, and forgets the rows that no match can need.
    fn look(&mut self, slots: &[u32], now: i64, shared: &mut Shared<'_>) -> Result<()> {
        self.know(slots, now == i64::MAX, shared.kept)?;
        let mut found = Vec::new();
        for slot in slots {
            let Some(mut partition) = self.partitions.remove(slot) else { continue };
            let result = self.matches(*slot, &mut partition, now, shared, &mut found);
            self.partitions.insert(*slot, partition);
            result?;
        }
        self.emit(&found, shared)?;
        for slot in slots {
            self.note_open(*slot);
            self.forget(*slot, now, shared);
        }
        Ok(())
    }

    /// Notes the first row of a partition that may be the last of a match still to be found.
    fn note_open(&mut self, slot: u32) {
        if self.last == 0 {
            return;
        }
        let Some(partition) = self.partitions.get_mut(&slot) else { return };
        let may_end = |row: &&PartitionRow| self.undecided != 0 || self.last & (row.fits | !row.known) != 0;
        let open = partition.rows.iter().skip(partition.next + self.ahead).find(may_end).map(|row| row.time);
        if partition.open == open {
            return;
        }
        if let Some(time) = partition.open {
            self.open.remove(&(time, slot));
        }
        self.open.extend(open.map(|time| (time, slot)));
        partition.open = open;
    }

    /// Works out which variables rows may be where that does not depend on the match.
    fn know(&mut self, slots: &[u32], ended: bool, kept: &KeptRows) -> Result<()> {
        for (label, define) in self.define.iter().enumerate() {
            let Define::Local(define) = define else { continue };
            let bit = 1_u64 << label;
            let ahead = define.binder.reach().1;
            let path = Path::of(label as u16);
            let (mut contexts, mut places) = (Vec::new(), Vec::new());
            for slot in slots {
                let Some(partition) = self.partitions.get(slot) else { continue };
                let end = if ended { partition.rows.len() } else { partition.rows.len().saturating_sub(ahead) };
                for at in (0..end).filter(|at| partition.rows[*at].known & bit == 0) {
                    contexts.push(Context { rows: &partition.rows, start: at, path: &path, current: Some(at), number: None });
                    places.push((*slot, at));
                }
            }
            if contexts.is_empty() {
                continue;
            }
            let values = define.holds(&contexts, kept)?;
            for ((slot, at), value) in places.into_iter().zip(values.values()) {
                let Some(row) = self.partitions.get_mut(&slot).and_then(|partition| partition.rows.get_mut(at)) else { continue };
                row.known |= bit;
                row.fits = if value { row.fits | bit } else { row.fits & !bit };
            }
        }
        Ok(())
    }

    fn matches(&self, slot: u32, partition: &mut Partition, now: i64, shared: &mut Shared<'_>, found: &mut Vec<Matched>) -> Result<()> {
        while partition.next < partition.rows.len() {
            let start = partition.next;
            match self.search(partition, now, shared.kept)? {
                Outcome::Open => {
                    if let Some(within) = self.pattern.within {
                        let at = partition.rows[start].time.saturating_add(within);
                        // Past its time it waits for a row, or for the end.
                        if at > now && partition.armed.is_none_or(|armed| at < armed) {
                            partition.armed = Some(at);
                            shared.timers.set(Timer { at, rule: self.rule, slot });
                        }
                    }
                    break;
                }
                Outcome::Nothing => {
                    if start >= partition.shown {
                        found.push(Matched { slot, start, path: Path::default(), excluded: Vec::new(), number: None });
                    }
                    partition.next += 1;
                }
                Outcome::Match { path, excluded } => {
                    partition.number += 1;
                    partition.next = start + self.skip(path.labels())?;
                    partition.shown = partition.shown.max(start + path.len().max(1));
                    found.push(Matched { slot, start, path, excluded, number: Some(partition.number) });
                }
            }
        }
        Ok(())
    }

    /// How far behind the start of a match the next may begin.
    fn skip(&self, labels: &[u16]) -> Result<usize> {
        if labels.is_empty() {
            return Ok(1);
        }
        let fits = |to: &[usize], at: &usize| to.contains(&(labels[*at] as usize));
        let target = match &self.pattern.skip {
            RowSkip::ToNext => return Ok(1),
            RowSkip::PastLast => return Ok(labels.len()),
            RowSkip::ToFirst(to) => (0..labels.len()).find(|at| fits(to, at)),
            RowSkip::ToLast(to) => (0..labels.len()).rev().find(|at| fits(to, at)),
        };
        let name = &self.name;
        match target {
            None => Err(Error::failed(format!("{name}: AFTER MATCH SKIP names a variable that has no row in the match"))),
            Some(0) => Err(Error::failed(format!("{name}: AFTER MATCH SKIP leads to the first row of the match: it would never end"))),
            Some(at) => Ok(at),
        }
    }

    /// The first way in preference order that fits from the next start.
    fn search(&self, partition: &mut Partition, now: i64, kept: &KeptRows) -> Result<Outcome> {
        let known = partition.search.take();
        let mut search = known.unwrap_or_else(|| Search::new(self.program.marks as usize, self.pattern.variables.len()));
        let outcome = self.go_on(&mut search, partition, now, kept)?;
        Ok(match outcome {
            Step::Nothing => Outcome::Nothing,
            Step::Match => Outcome::Match { path: search.path, excluded: search.excluded },
            Step::Open(way) => {
                search.stack.push(way);
                partition.search = Some(search);
                Outcome::Open
            }
        })
    }

    fn go_on(&self, search: &mut Search, partition: &Partition, now: i64, kept: &KeptRows) -> Result<Step> {
        let start = partition.next;
        let rows = &partition.rows;
        // No row from here on can be in the match.
        let deadline = self.pattern.within.map(|within| rows[start].time.saturating_add(within));
        let end = deadline.map_or(rows.len(), |deadline| rows.partition_point(|row| row.time < deadline)) - start;
        let there = rows.len() - start;
        let ended = now == i64::MAX;
        let closed = ended || end < there || deadline.is_some_and(|deadline| now >= deadline);
        let number = Some(partition.number + 1);
        while let Some(mut way) = search.next_way() {
            if search.tried > MAX_TRIED {
                return Err(Error::failed(format!(
                    "{}: more than {MAX_TRIED} ways to match from one row; make the pattern less ambiguous",
                    self.name
                )));
            }
            loop {
                match self.program.ops[way.at as usize] {
                    Op::Split(first, second) => {
                        search.stack.push(Way { at: second, ..way.clone() });
                        way.at = first;
                    }
                    Op::Jump(to) => way.at = to,
                    Op::Exclude(on) => (way.excluding, way.at) = (on, way.at + 1),
                    Op::Mark(mark) => (way.marks[mark as usize], way.at) = (way.row, way.at + 1),
                    Op::Again(mark, again, out) => way.at = if way.marks[mark as usize] == way.row { out } else { again },
                    Op::Start if partition.base + (start + way.row) as u64 == 0 => way.at += 1,
                    Op::Start => break,
                    Op::End if way.row < there => break,
                    Op::End if ended => way.at += 1,
                    Op::End => return Ok(Step::Open(way)),
                    Op::Label(_) if way.row >= end && closed => break,
                    Op::Label(_) if way.row >= end => return Ok(Step::Open(way)),
                    Op::Label(label) => {
                        search.path.push(label);
                        let context = Context { rows, start, path: &search.path, current: Some(start + way.row), number };
                        match self.fits(label, context, &mut search.running[label as usize], ended, kept)? {
                            None => return Ok(Step::Open(way)),
                            Some(false) => break,
                            Some(true) => {
                                search.excluded.push(way.excluding);
                                (way.row, way.at) = (way.row + 1, way.at + 1);
                            }
                        }
                    }
                    Op::Accept if way.row + self.measures.reach().1 > there && !ended => return Ok(Step::Open(way)),
                    Op::Accept => return Ok(Step::Match),
                }
            }
        }
        Ok(Step::Nothing)
    }

    /// May the current row be `label`? None: that depends on rows that have not come.
    fn fits(&self, label: u16, context: Context<'_>, running: &mut Running, ended: bool, kept: &KeptRows) -> Result<Option<bool>> {
        let Some(row) = context.current else { return Ok(Some(false)) };
        let (bit, own) = (1_u64 << label, &context.rows[row]);
        match &self.define[label as usize] {
            Define::Anything => Ok(Some(true)),
            Define::Row(_) => Ok(Some(own.fits & bit != 0)),
            Define::Local(_) => Ok((own.known & bit != 0).then_some(own.fits & bit != 0)),
            Define::Match(define) if !ended && row + define.binder.reach().1 >= context.rows.len() => Ok(None),
            Define::Match(define) => Ok(Some(define.holds_next(context, kept, running)?)),
        }
    }

    /// Emits the rows of matches.
    fn emit(&self, found: &[Matched], shared: &mut Shared<'_>) -> Result<()> {
        let (mut contexts, mut others) = (Vec::new(), Vec::new());
        for matched in found {
            let Some(partition) = self.partitions.get(&matched.slot) else { continue };
            let Matched { start, path, number, .. } = matched;
            let one = |current: Option<usize>| Context { rows: &partition.rows, start: *start, path, current, number: *number };
            let mut push = |current: Option<usize>| {
                contexts.push(one(current));
                others.push(partition.rows[*start].event);
            };
            let (empty, unmatched) = match self.pattern.rows {
                RowsPerMatch::One => (true, false),
                RowsPerMatch::All { empty, unmatched } => (empty, unmatched),
            };
            match (number, self.pattern.rows) {
                (None, _) if unmatched => push(None),
                (Some(_), _) if path.len() == 0 && empty => push(None),
                (Some(_), RowsPerMatch::One) if path.len() > 0 => push(Some(start + path.len() - 1)),
                (Some(_), RowsPerMatch::All { .. }) => {
                    (0..path.len()).filter(|at| !matched.excluded[*at]).for_each(|at| push(Some(start + at)));
                }
                _ => {}
            }
        }
        for (contexts, others) in contexts.chunks(OUTPUT_ROWS).zip(others.chunks(OUTPUT_ROWS)) {
            let bound = self.measures.bind(contexts, others, &self.needed, shared.kept)?;
            shared.emitted.push(emitted(&self.columns, &bound, &self.schema)?);
        }
        Ok(())
    }

    /// Lets rows go that no match can need.
    fn forget(&mut self, slot: u32, now: i64, shared: &mut Shared<'_>) {
        let Some(partition) = self.partitions.get_mut(&slot) else { return };
        let gone = partition.next.saturating_sub(self.back).min(partition.rows.len());
        partition.rows.drain(..gone).for_each(|row| shared.kept.release(row.event));
        partition.base += gone as u64;
        partition.next -= gone;
        partition.shown = partition.shown.saturating_sub(gone);
        let done = partition.rows.is_empty() && partition.next == 0 && partition.shown == 0;
        if done && (!self.remembered || now == i64::MAX) {
            self.partitions.remove(&slot);
            shared.release(slot);
        }
    }
}

impl BoundDefine {
    fn holds_next(&self, context: Context<'_>, kept: &KeptRows, running: &mut Running) -> Result<bool> {
        Ok(truth(&self.expr, &self.binder.bind_next(context, &self.columns, kept, running)?)?.value(0))
    }

    fn holds(&self, contexts: &[Context<'_>], kept: &KeptRows) -> Result<arrow::array::BooleanArray> {
        let others = vec![NO_ROW; contexts.len()];
        truth(&self.expr, &self.binder.bind(contexts, &others, &self.columns, kept)?)
    }
}

impl Executor for RowMatches {
    fn on_rows(&mut self, rows: &Rows<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let mut slots: Vec<u32> = Vec::new();
        for (row, slot) in rows.slots.iter().enumerate() {
            if !self.partitions.contains_key(slot) {
                shared.hold(*slot);
            }
            let time = rows.times[row];
            let (mut fits, mut known) = (0, 0);
            for (label, define) in self.define.iter().enumerate() {
                if let Define::Row(id) = define {
                    known |= 1 << label;
                    fits |= u64::from(rows.sets[*id].contains(row as u32)) << label;
                }
            }
            let event = shared.kept.keep(row as u32);
            self.partitions.entry(*slot).or_default().rows.push_back(PartitionRow { event, time, fits, known });
            slots.push(*slot);
        }
        slots.sort_unstable();
        slots.dedup();
        let now = rows.times.last().copied().unwrap_or(i64::MIN);
        self.look(&slots, now, shared)
    }

    fn on_timers(&mut self, timers: &[Timer], now: i64, shared: &mut Shared<'_>) -> Result<()> {
        for timer in timers {
            if let Some(partition) = self.partitions.get_mut(&timer.slot) {
                partition.armed = None;
            }
            self.look(&[timer.slot], now, shared)?;
        }
        Ok(())
    }

    /// What is still open is decided.
    fn at_end(&mut self, shared: &mut Shared<'_>) -> Result<()> {
        self.look(&self.slots(), i64::MAX, shared)
    }

    fn bytes(&self) -> usize {
        let search = |partition: &Partition| partition.search.as_ref().map_or(0, Search::bytes);
        let of = |partition: &Partition| partition.rows.len() * size_of::<PartitionRow>() + search(partition);
        let rows: usize = self.partitions.values().map(of).sum();
        self.partitions.len() * size_of::<(u32, Partition)>() + rows
    }

    fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.partitions.keys().copied().collect();
        slots.sort_unstable();
        slots
    }

    fn open_since(&self) -> Option<i64> {
        self.open.first().map(|(time, _)| *time)
    }

    /// Version, base, next, shown, number, then per row the event and what it fits.
    fn save(&self, slot: u32, to: &mut Saved<'_>) {
        let Some(partition) = self.partitions.get(&slot) else { return };
        let Partition { base, next, shown, number, rows, search: _, open: _, armed: _ } = partition;
        [VERSION, *base as i64, *next as i64, *shown as i64, *number, rows.len() as i64].into_iter().for_each(|word| to.word(word));
        for row in rows {
            to.event(row.event);
            [row.time, row.fits as i64, row.known as i64].into_iter().for_each(|word| to.word(word));
        }
    }

    fn load(&mut self, slot: u32, from: &mut Loaded<'_>, shared: &mut Shared<'_>) -> Result<()> {
        let version = from.word()?;
        if version != VERSION {
            return Err(Error::corrupt(format!("the state of '{}' is of version {version}, this program reads {VERSION}", self.name)));
        }
        let (base, next, shown, number) = (from.word()? as u64, from.count()?, from.count()?, from.word()?);
        let mut rows = VecDeque::new();
        for _ in 0..from.count()? {
            let event: Handle = from.event()?;
            shared.kept.hold(event);
            rows.push_back(PartitionRow { event, time: from.word()?, fits: from.word()? as u64, known: from.word()? as u64 });
        }
        shared.hold(slot);
        let armed = self.pattern.within.zip(rows.get(next)).map(|(within, first)| first.time.saturating_add(within));
        if let Some(at) = armed {
            shared.timers.set(Timer { at, rule: self.rule, slot });
        }
        self.partitions.insert(slot, Partition { rows, base, next, shown, number, search: None, open: None, armed });
        self.note_open(slot);
        Ok(())
    }
}
