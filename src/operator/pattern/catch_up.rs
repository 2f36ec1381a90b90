//! Rules that are new and begin with the past: they run over the history of their streams by themselves, up to where the
//! other rules have looked, and are then put beside them.
//!
//! ```text
//!  events:   e1 e2 e3 e4 │ e5 e6 │ e7 …          M: watermark of the checkpoint      P: where reading goes on
//!                        M       P
//!  history:  looked at   │ wait  │               they wait for all rules, each once: by the order of rows
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};

use crate::error::Result;
use crate::operator::catch_up::{CatchUp, StateTables};
use crate::operator::expressions::OnExpressionError;
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::kept_state::{EVENTS, KNOWN, PAST_EVENTS, PAST_RULES, PENDING, RULES};
use crate::operator::pattern::operator::Patterns;
use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output, kept_mark};
use crate::state::{Block, StateHandles};
use crate::time::Watermark;

/// New rules that catch up.
pub(super) struct NewRules {
    names: Vec<String>,
    past: Arc<OverHistory>,
}

impl NewRules {
    /// Those of `spec` that are to, where a checkpoint holds `state`.
    pub(super) fn of(spec: &PatternSpec, state: &StateTables) -> Option<NewRules> {
        let mut known: HashSet<&str> = HashSet::new();
        for block in state.get(KNOWN).into_iter().flatten() {
            known.extend(block.rows.column(0).as_string_view().iter().flatten());
        }
        let new = spec.rules.iter().filter(|rule| rule.warm_up && !known.contains(spec.identity_of(rule).as_str()));
        let rules: Vec<_> = new.cloned().collect();
        if rules.is_empty() {
            return None;
        }
        let names = rules.iter().map(|rule| rule.name.clone()).collect();
        let past = OverHistory { spec: PatternSpec { rules, ..spec.clone() }, until: kept_mark::of(state) };
        Some(NewRules { names, past: Arc::new(past) })
    }
}

impl CatchUp for NewRules {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn over_history(&self) -> Arc<dyn OperatorSpec> {
        self.past.clone()
    }

    fn merge(&self, mut state: StateTables, mut history: StateTables) -> Result<StateTables> {
        let mut taken = |name: &str| history.remove(name).unwrap_or_default();
        let waiting = taken(PENDING);
        let (rules, events, mark) = (taken(RULES), taken(EVENTS), taken(kept_mark::TABLE));
        // History brings the rows that wait for the other rules, too, with the columns that the new ones read.
        let left = match self.past.spec.seq_name() {
            Some(seq) => not_in(state.remove(PENDING).unwrap_or_default(), &waiting, &seq)?,
            None => Vec::new(),
        };
        state.insert(PENDING.to_owned(), left.into_iter().chain(waiting).collect());
        state.insert(PAST_RULES.to_owned(), rules);
        state.insert(PAST_EVENTS.to_owned(), events);
        state.entry(kept_mark::TABLE.to_owned()).or_insert(mark);
        Ok(state)
    }
}

/// Those rows of `blocks` that are not among `others`, told by the column `seq`.
fn not_in(blocks: Vec<Block>, others: &[Block], seq: &str) -> Result<Vec<Block>> {
    let of = |block: &Block| block.rows.column_by_name(seq).and_then(|column| column.as_primitive_opt::<Int64Type>()).cloned();
    let known: HashSet<i64> = others.iter().filter_map(of).flat_map(|numbers| numbers.values().to_vec()).collect();
    let mut left = Vec::new();
    for block in blocks {
        let Some(numbers) = of(&block) else { continue };
        let others: BooleanArray = numbers.values().iter().map(|number| Some(!known.contains(number))).collect();
        if others.true_count() > 0 {
            left.push(Block { rows: filter_record_batch(&block.rows, &others)?, file: None, ..block });
        }
    }
    Ok(left)
}

/// Rules over the history of their streams.
#[derive(Debug)]
struct OverHistory {
    spec: PatternSpec,
    /// Up to where the other rules have looked; none: there are no others, history tells itself how far it has come.
    until: Option<Watermark>,
}

impl OperatorSpec for OverHistory {
    fn name(&self) -> &'static str {
        "patterns over history"
    }

    fn describe(&self) -> String {
        self.spec.describe()
    }

    fn identity(&self) -> String {
        self.spec.identity()
    }

    fn schema(&self) -> &SchemaRef {
        self.spec.schema()
    }

    fn distribution(&self, input: Input) -> Distribution {
        self.spec.distribution(input)
    }

    fn stateful(&self) -> bool {
        true
    }

    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Past { patterns: Patterns::open(&self.spec, state)?, until: self.until }))
    }
}

struct Past {
    patterns: Patterns,
    until: Option<Watermark>,
}

impl Past {
    /// What comes of the past has come of it before, or never will.
    fn unseen(&mut self, work: impl FnOnce(&mut Patterns, &mut Output) -> Result<()>) -> Result<()> {
        work(&mut self.patterns, &mut Output::tolerant(OnExpressionError::DeadLetter))
    }
}

impl Operator for Past {
    fn on_batch(&mut self, input: Input, batch: RecordBatch, _: &mut Output) -> Result<()> {
        self.unseen(|patterns, out| patterns.on_batch(input, batch, out))
    }

    /// The end of history is not the end of the stream.
    fn on_watermark(&mut self, mark: Watermark, _: &mut Output) -> Result<Watermark> {
        let reached = match self.until {
            Some(until) => mark.min(until),
            None if mark == Watermark::MAX => return Ok(mark),
            None => mark,
        };
        self.unseen(|patterns, out| patterns.on_watermark(reached, out).map(|_| ()))?;
        Ok(mark)
    }

    fn on_checkpoint(&mut self, out: &mut Output) -> Result<()> {
        self.patterns.on_checkpoint(out)
    }

    fn state_bytes(&self) -> usize {
        self.patterns.state_bytes()
    }
}
