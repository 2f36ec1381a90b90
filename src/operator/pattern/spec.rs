//! What a pattern is: rules over one stream, as the planner hands them to the operator. Every option that a user may write
//! is a field here; nothing here knows of YAML or SQL.
//!
//! One operator serves several rules that share input, keys and order, so that the conditions of all of them are looked at
//! once a batch. Rules over several streams read one input: the union of the streams, with a column that tells which one a
//! row came from, tested by an equality in each step's condition (equalities are found by hash).

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::error::{Error, Result};
use crate::operator::identity::{aggregate_identity, expr_identity};
use crate::operator::pattern::row_pattern::RowPattern;

/// An expression that never sees SQL.
pub type Expr = Arc<dyn PhysicalExpr>;

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

/// Steps in order.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// The steps; negated ones between those they guard. The link of the first says nothing, unless it is negated.
    pub steps: Vec<Step>,
    /// last - first < within, microseconds.
    pub within: Option<i64>,
    /// Each neighbouring pair of taken events is less than this apart, microseconds.
    pub gap: Option<i64>,
    /// An event that ends every open run that does not take it. Reads the event only.
    pub until: Option<Condition>,
    /// Which runs a match drops.
    pub skip: Skip,
    /// Does a start replace older runs?
    pub start: Start,
}

/// One step of a sequence.
#[derive(Debug, Clone)]
pub struct Step {
    /// An event or a group.
    pub body: Body,
    /// How it follows the step before.
    pub link: Link,
    /// How many times, in a row as `inner` says.
    pub times: Times,
    /// May it be left out? (`times` from 0 says the same.)
    pub optional: bool,
    /// While an event fits the loop the run does not leave it.
    pub greedy: bool,
    /// Ends the loop; the event is not taken.
    pub until: Option<Condition>,
    /// How the elements of a loop follow each other.
    pub inner: Inner,
    /// Neighbours inside the loop are less than this apart, microseconds.
    pub gap: Option<i64>,
    /// Less than this after the step before, microseconds.
    pub after: Option<i64>,
    /// A negated step that is the first or the last: how long it must be absent, microseconds.
    pub absent_for: Option<i64>,
}

/// What a step takes.
#[derive(Debug, Clone)]
pub enum Body {
    /// An event.
    Event {
        /// The name by which later expressions call it.
        name: String,
        /// What it must be; none: anything.
        when: Option<Condition>,
    },
    /// Steps that are repeated together.
    Group(Vec<Step>),
}

/// How a step follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// The very next event of the key.
    Next,
    /// The first that fits; others are passed over.
    Then,
    /// Any that fits; a fit may also be passed over.
    Any,
    /// None may come before the next positive step is taken; as the last step: none in time.
    Not,
    /// The event right after must not be one.
    NotNext,
}

/// How elements of a loop follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inner {
    /// The first that fits, others are passed over.
    #[default]
    Relaxed,
    /// The very next event.
    Strict,
    /// Any subset of the later fits.
    Combinations,
}

/// How often a step is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// At least.
    pub from: u32,
    /// At most; none: without end.
    pub to: Option<u32>,
}

/// Which open runs and further matches a match drops.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Skip {
    /// None.
    None,
    /// Those begun at the same event.
    ToNext,
    /// Those begun before the match ended.
    #[default]
    PastLast,
    /// Those begun before the first event of a step.
    ToFirst(SkipTo),
    /// Those begun before the last event of a step.
    ToLast(SkipTo),
}

/// Where to skip to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipTo {
    /// Label of the step.
    pub label: usize,
    /// Fail where the match has no event of that step, or where it is the first of the match.
    pub error_on_miss: bool,
}

/// Does a start replace older runs?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// Every fitting start opens a run of its own.
    #[default]
    Every,
    /// Of the runs that wait at one step only the one begun last goes on.
    Latest,
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

/// The row of a match: one expression per column of the operator's schema, over a row of bindings (see [`Condition`]).
/// Its "tried event" is the last event of the match.
#[derive(Debug, Clone)]
pub struct Emission {
    /// What is bound behind the event's columns.
    pub bindings: Vec<Binding>,
    /// The columns.
    pub columns: Vec<Expr>,
}

/// A boolean expression over the tried event and the events taken before it.
///
/// `expr` is over a row of bindings: the input's columns (of the tried event), then one column per binding.
#[derive(Debug, Clone)]
pub struct Condition {
    /// What is bound behind the event's columns; none: the condition reads the event only and is evaluated once a batch.
    pub bindings: Vec<Binding>,
    /// The expression; NULL is false.
    pub expr: Expr,
}

/// Something about taken events, by label: the positive steps of a sequence in order, groups flattened; label 0 for the
/// rows of a window.
#[derive(Debug, Clone)]
pub enum Binding {
    /// A value of one taken event; NULL where there is none.
    Row {
        /// Of which labels; none: of all.
        of: Labels,
        /// Counted from which end.
        end: End,
        /// How many from there.
        skip: usize,
        /// The value, over the input.
        value: Expr,
    },
    /// An aggregate over taken events, its arguments over the input.
    Aggregate {
        /// Of which labels; none: of all.
        of: Labels,
        /// The function.
        function: Arc<AggregateFunctionExpr>,
    },
    /// When the match is emitted: the time of its last event, or when an absence or a timeout was certain. In the type of
    /// the time column.
    EmitTime,
    /// The taken events: a list of structs of `step` (its name) and these input columns.
    Matched(Vec<usize>),
    /// MATCH_RECOGNIZE: a value of one row of the match, or of a row at some distance from it.
    Navigate(Navigation),
    /// MATCH_RECOGNIZE: an aggregate over rows of the match.
    AggregateRows {
        /// Of which labels; none: of all.
        of: Labels,
        /// The function.
        function: Arc<AggregateFunctionExpr>,
        /// Only rows up to the current one.
        running: bool,
    },
    /// MATCH_RECOGNIZE: MATCH_NUMBER().
    MatchNumber,
}

/// FIRST, LAST, PREV, NEXT and CLASSIFIER of MATCH_RECOGNIZE.
#[derive(Debug, Clone)]
pub struct Navigation {
    /// Of which labels; none: of all.
    pub of: Labels,
    /// FIRST or LAST (a plain column, PREV and NEXT are LAST).
    pub end: End,
    /// The logical offset of FIRST and LAST: how many rows of those labels from that end.
    pub skip: usize,
    /// The physical offset of PREV (negative) and NEXT, applied after the logical one; it may lead out of the match.
    pub shift: i64,
    /// LAST looks at rows up to the current one only. FIRST counts from the first row of the match either way.
    pub running: bool,
    /// The value, over the input; none: the name of the row's variable (CLASSIFIER).
    pub value: Option<Expr>,
}

/// Some labels; none: all of them.
pub type Labels = Option<Vec<usize>>;

/// An end of the taken events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The first.
    First,
    /// The last.
    Last,
}

impl Condition {
    /// A condition that reads only the event.
    pub fn of_event(expr: Expr) -> Self {
        Condition { bindings: Vec::new(), expr }
    }
}

impl Times {
    /// Once.
    pub const ONE: Times = Times { from: 1, to: Some(1) };
}

impl Step {
    /// An event that follows as `link` says, once.
    pub fn event(name: &str, link: Link, when: Option<Condition>) -> Self {
        Step::of(Body::Event { name: name.to_owned(), when }, link)
    }

    /// Something that follows as `link` says, once.
    pub fn of(body: Body, link: Link) -> Self {
        Step {
            body,
            link,
            times: Times::ONE,
            optional: false,
            greedy: false,
            until: None,
            inner: Inner::Relaxed,
            gap: None,
            after: None,
            absent_for: None,
        }
    }

    /// Is it something that must not come?
    pub fn negated(&self) -> bool {
        matches!(self.link, Link::Not | Link::NotNext)
    }

    fn labels<'a>(&'a self, found: &mut Vec<&'a str>) {
        match &self.body {
            _ if self.negated() => {}
            Body::Event { name, .. } => found.push(name),
            Body::Group(steps) => steps.iter().for_each(|step| step.labels(found)),
        }
    }

    fn identity(&self) -> String {
        let body = match &self.body {
            Body::Event { when, .. } => format!("[{}]", when.as_ref().map(Condition::identity).unwrap_or_default()),
            Body::Group(steps) => format!("({})", steps.iter().map(Step::identity).collect::<Vec<_>>().join(" ")),
        };
        let until = self.until.as_ref().map(Condition::identity);
        format!(
            "{:?} {body} {:?} {} {} {until:?} {:?} {:?} {:?} {:?}",
            self.link, self.times, self.optional, self.greedy, self.inner, self.gap, self.after, self.absent_for
        )
    }
}

impl Sequence {
    /// Steps with every fitting start a run of its own and no skipping.
    pub fn of(steps: Vec<Step>) -> Self {
        Sequence { steps, within: None, gap: None, until: None, skip: Skip::None, start: Start::Every }
    }

    /// The names of the positive steps in order, groups flattened: position = label.
    pub fn labels(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.steps.iter().for_each(|step| step.labels(&mut found));
        found
    }
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
            Find::Sequence(sequence) => {
                let steps: Vec<String> = sequence.steps.iter().map(Step::identity).collect();
                let until = sequence.until.as_ref().map(Condition::identity);
                format!("sequence {} within {:?} gap {:?} {until:?} {:?}", steps.join(" "), sequence.within, sequence.gap, sequence.start)
            }
            Find::Rows(pattern) => pattern.identity(),
        }
    }
}

impl Emission {
    /// What it says of a match, without names.
    pub(crate) fn identity(&self) -> String {
        let bindings: Vec<String> = self.bindings.iter().map(Binding::identity).collect();
        let columns: Vec<String> = self.columns.iter().map(expr_identity).collect();
        format!("{} with ({})", columns.join(", "), bindings.join(", "))
    }
}

impl Condition {
    /// What it computes, without names.
    pub(crate) fn identity(&self) -> String {
        let bindings: Vec<String> = self.bindings.iter().map(Binding::identity).collect();
        format!("{} with ({})", expr_identity(&self.expr), bindings.join(", "))
    }
}

impl Binding {
    /// Type of the bound column.
    pub fn data_type(&self, input: &Schema, time: usize) -> Result<DataType> {
        Ok(match self {
            Binding::Row { value, .. } => value.data_type(input)?,
            Binding::Aggregate { function, .. } => function.field().data_type().clone(),
            Binding::EmitTime => input.field(time).data_type().clone(),
            Binding::Matched(columns) => {
                DataType::List(Arc::new(Field::new_list_field(DataType::Struct(matched_fields(input, columns)), true)))
            }
            Binding::Navigate(Navigation { value: Some(value), .. }) => value.data_type(input)?,
            Binding::Navigate(Navigation { value: None, .. }) => DataType::Utf8View,
            Binding::AggregateRows { function, .. } => function.field().data_type().clone(),
            Binding::MatchNumber => DataType::Int64,
        })
    }

    fn identity(&self) -> String {
        match self {
            Binding::Row { of, end, skip, value } => format!("{of:?} {end:?} {skip} {}", expr_identity(value)),
            Binding::Aggregate { of, function } => format!("{of:?} {}", aggregate_identity(function, None)),
            Binding::EmitTime => "emit time".to_owned(),
            Binding::Matched(columns) => format!("matched {columns:?}"),
            Binding::Navigate(Navigation { of, end, skip, shift, running, value }) => {
                format!("{of:?} {end:?} {skip} {shift} {running} {:?}", value.as_ref().map(expr_identity))
            }
            Binding::AggregateRows { of, function, running } => format!("{of:?} {} {running}", aggregate_identity(function, None)),
            Binding::MatchNumber => "match number".to_owned(),
        }
    }
}

/// The fields of an element of [`Binding::Matched`]; a `$` that marks a hidden column is left out of its name.
pub fn matched_fields(input: &Schema, columns: &[usize]) -> Fields {
    let step = Field::new("step", DataType::Utf8View, false);
    let plain = |field: &Field| field.clone().with_name(field.name().trim_start_matches('$')).with_nullable(true);
    let others = columns.iter().map(|column| plain(input.field(*column)));
    std::iter::once(step).chain(others).collect()
}

/// Schema of a row of bindings: the input's columns, then `$0`, `$1`, … for the bindings; all nullable.
pub fn bindings_schema(input: &Schema, time: usize, bindings: &[Binding]) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    for (number, binding) in bindings.iter().enumerate() {
        fields.push(Field::new(format!("${number}"), binding.data_type(input, time)?, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Says what is wrong with a sequence, naming the step.
pub fn check_sequence(sequence: &Sequence) -> Result<()> {
    let names = sequence.labels();
    if names.is_empty() {
        return Err(Error::input("a sequence needs at least one step that is not negated"));
    }
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(Error::input(format!("two steps are called '{name}'; expressions could not tell them apart")));
        }
    }
    if sequence.until.as_ref().is_some_and(|until| !until.bindings.is_empty()) {
        return Err(Error::input("`until` of a whole sequence cannot refer to its steps: it ends all runs alike"));
    }
    let first_positive = sequence.steps.iter().position(|step| !step.negated()).unwrap_or_default();
    let last = sequence.steps.len() - 1;
    check_steps(&sequence.steps, &|at, step| {
        let name = step_name(step);
        match step.link {
            Link::NotNext if at < first_positive => {
                Err(Error::input(format!("step '{name}': `not_next` cannot be the first step, there is no event before it")))
            }
            Link::Not if at < first_positive && step.absent_for.is_none() => {
                Err(Error::input(format!("step '{name}': `not` as the first step needs `for`: how long it must be absent")))
            }
            Link::Not if at == last && step.absent_for.is_none() && sequence.within.is_none() => {
                Err(Error::input(format!("step '{name}': `not` as the last step needs `within` or `for`: when is it certain?")))
            }
            Link::Not if at < first_positive && step_when(step).is_some_and(|when| !when.bindings.is_empty()) => {
                Err(Error::input(format!("step '{name}' comes first and cannot refer to other steps")))
            }
            Link::NotNext | Link::Next | Link::Then | Link::Any if step.absent_for.is_some() => {
                Err(Error::input(format!("step '{name}': only `not` as the first or last step takes `for`")))
            }
            Link::Not if step.absent_for.is_some() && at >= first_positive && at < last => {
                Err(Error::input(format!("step '{name}': `for` stands only on a `not` that is the first or the last step")))
            }
            _ => Ok(()),
        }
    })
}

fn check_steps(steps: &[Step], place: &dyn Fn(usize, &Step) -> Result<()>) -> Result<()> {
    for (at, step) in steps.iter().enumerate() {
        let name = step_name(step);
        place(at, step)?;
        if step.times.to.is_some_and(|to| to < step.times.from.max(1)) {
            return Err(Error::input(format!("step '{name}': `times` ends below its beginning")));
        }
        if step.negated() && (step.times != Times::ONE || step.optional || step.greedy || step.until.is_some()) {
            return Err(Error::input(format!("step '{name}' is negated: it takes no times, optional, greedy or until")));
        }
        let Body::Group(inner) = &step.body else { continue };
        if step.negated() {
            return Err(Error::input(format!("step '{name}': a group cannot be negated")));
        }
        if step.greedy {
            return Err(Error::input(format!("group '{name}': `greedy` stands on single steps only")));
        }
        if inner.first().is_none_or(Step::negated) || inner.last().is_some_and(Step::negated) {
            return Err(Error::input(format!("group '{name}' must begin and end with a step that is not negated")));
        }
        check_steps(inner, &|_, _| Ok(()))?;
    }
    Ok(())
}

fn step_when(step: &Step) -> Option<&Condition> {
    if let Body::Event { when, .. } = &step.body { when.as_ref() } else { None }
}

fn step_name(step: &Step) -> &str {
    match &step.body {
        Body::Event { name, .. } => name,
        Body::Group(steps) => steps.first().map_or("()", step_name),
    }
}
