//! What a pattern is: rules over one stream, as the planner hands them to the operator. Every option that a user may write
//! is a field here; nothing here knows of YAML or SQL.
//!
//! One operator serves several rules that share input, keys and order, so that the conditions of all of them are looked at
//! once a batch. Rules over several streams read one input: the union of the streams, with a column that tells which one a
//! row came from, tested by an equality in each step's condition (equalities are found by hash).

use arrow::compute::SortOptions;

use crate::operator::identity::expr_identity;
use crate::operator::pattern::binding::{Binding, Condition, Emission, Expr, Navigation};
use crate::operator::pattern::row_pattern::RowPattern;
use crate::operator::pattern::sequence::Sequence;

/// Default of [`Bounds::max_runs`].
pub const MAX_RUNS: usize = 1_000;

/// In which order events are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By event time (ties by the sequence column, then arrival), decided when the watermark passes: deterministic.
    #[default]
    EventTime,
    /// As they come, decided at once: lowest delay.
    Arrival,
}

/// A column that orders events of one time, before the sequence column does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TieOrder {
    /// The column.
    pub column: usize,
    /// Its direction, and where NULLs are.
    pub options: SortOptions,
}

/// A rule: what to look for, and what to say when it was found.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its id: names it in logs and metrics, and its state in checkpoints.
    pub name: String,
    /// What to look for.
    pub find: Find,
    /// The row of a match.
    pub emit: Emission,
    /// The row of a sequence that ran out of time.
    pub on_timeout: Option<OnTimeout>,
    /// How much it may keep.
    pub bounds: Bounds,
    /// Where it is new among rules that have run before: does it begin with what its stream has brought so far? Nothing that
    /// it finds there is emitted.
    pub warm_up: bool,
}

/// What a rule looks for, among the events of one key.
#[derive(Debug, Clone)]
pub enum Find {
    /// A number of events within a sliding time.
    Count(CountRule),
    /// A condition over aggregates of the events within a sliding time.
    Aggregate(AggregateRule),
    /// Events in some order.
    Sequence(Sequence),
    /// MATCH_RECOGNIZE: a regular expression over rows, the first match in preference order.
    Rows(RowPattern),
}

/// Counts events over (t - over, t].
///
/// Judged at each event that is counted; fires where the condition holds and did not hold at the event before (one that
/// has left the window does not count as one before, so that a key can be forgotten with its last event).
#[derive(Debug, Clone)]
pub struct CountRule {
    /// Which events count; none: all. Over the input.
    pub when: Option<Expr>,
    /// Length of the window, microseconds.
    pub over_micros: i64,
    /// What is asked of the count.
    pub compare: Compare,
    /// Fire at every event where it holds.
    pub each: bool,
}

/// What is asked of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// More than this many.
    MoreThan(u64),
    /// This many or more.
    AtLeast(u64),
    /// Fewer than this many.
    LessThan(u64),
}

/// Aggregates events over (t - over, t]; judged as a [`CountRule`] is.
#[derive(Debug, Clone)]
pub struct AggregateRule {
    /// Which events are aggregated; none: all. Over the input.
    pub when: Option<Expr>,
    /// Length of the window, microseconds.
    pub over_micros: i64,
    /// The condition: its bindings are over the window's rows (label 0).
    pub having: Condition,
    /// Fire at every event where it holds.
    pub each: bool,
}

/// How much a rule may keep, and what happens when it is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Open runs per key.
    pub max_runs: usize,
    /// Bytes of runs, or of windows, of all keys of a task, without the kept events; none: no limit.
    pub max_bytes: Option<usize>,
    /// What is dropped.
    pub overflow: Overflow,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { max_runs: MAX_RUNS, max_bytes: None, overflow: Overflow::default() }
    }
}

/// What happens when a bound is reached. Always counted and logged with the rule and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The runs begun first are dropped.
    #[default]
    DropOldest,
    /// The runs begun or branched off last are dropped.
    DropNewest,
    /// The rule stops and its state goes; other rules go on.
    FailRule,
}

/// The row of a sequence that ran out of time, if it had come far enough.
#[derive(Debug, Clone)]
pub struct OnTimeout {
    /// The label that must have an event.
    pub at_least: Option<usize>,
    /// The row.
    pub emit: Emission,
}

impl Find {
    /// The names of the labels that bindings refer to.
    pub fn labels(&self) -> Vec<&str> {
        match self {
            Find::Count(_) | Find::Aggregate(_) => vec!["event"],
            Find::Sequence(sequence) => sequence.labels(),
            Find::Rows(pattern) => pattern.variables.iter().map(String::as_str).collect(),
        }
    }
}

impl Rule {
    /// Do the names of its labels come out?
    pub(crate) fn tells_labels(&self) -> bool {
        let tells = |binding: &Binding| matches!(binding, Binding::Matched(_) | Binding::Navigate(Navigation { value: None, .. }));
        let of_rows = match &self.find {
            Find::Rows(pattern) => pattern.define.iter().flatten().any(|define| define.bindings.iter().any(tells)),
            _ => false,
        };
        of_rows || self.emit.bindings.iter().any(tells)
    }

    /// Everything that gives the rule's state a meaning: a rule of another shape starts empty.
    pub fn shape(&self) -> String {
        let when = |when: &Option<Expr>| when.as_ref().map(expr_identity).unwrap_or_default();
        match &self.find {
            Find::Count(rule) => format!("count [{}] {}", when(&rule.when), rule.over_micros),
            Find::Aggregate(rule) => format!("aggregate [{}] {} {}", when(&rule.when), rule.over_micros, rule.having.identity()),
            Find::Sequence(sequence) => sequence.identity(),
            Find::Rows(pattern) => pattern.identity(),
        }
    }
}
