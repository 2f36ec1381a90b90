//! A rule as written: what the file says, checked for form, not yet for meaning. Expressions are still text.

use crate::error::Place;

/// A text of the file with its place: an expression, a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What it says.
    pub text: String,
    /// Where it says so.
    pub place: Place,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleText {
    /// Its name, unique in the project.
    pub name: Text,
    /// What people want to know about it.
    pub meta: Meta,
    /// Its streams: the name it gives them, and the table or view of the project.
    pub on: Vec<(Text, Text)>,
    /// Events of equal key belong together; per stream where the columns are called differently.
    pub key: KeyText,
    /// When it fires.
    pub matching: MatchText,
    /// What an alert says.
    pub emit: EmitText,
    /// At most one alert per key in this many microseconds.
    pub suppress_micros: Option<i64>,
    /// Does it raise alerts?
    pub mode: Mode,
    /// In which order events are looked at.
    pub order: Order,
    /// Where a rule that is new, or has another shape than before, gets its first state from.
    pub warm_up: WarmUp,
    /// Its own tests.
    pub tests: Vec<TestText>,
}

/// What people want to know about a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// A short name for people.
    pub title: Option<String>,
    /// What it looks for and why, for the one who gets the alert.
    pub description: Option<String>,
    /// How bad it is: `low`, `medium`, `high`, `critical`, or the project's own word.
    pub level: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Its version, as its author counts.
    pub version: Option<String>,
}

/// `key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyText {
    /// `none`: all events belong together, on purpose.
    None,
    /// The same columns in every stream.
    Columns(Vec<Text>),
    /// Columns per stream, in the same order.
    PerStream(Vec<(Text, Vec<Text>)>),
}

/// `match`.
#[derive(Debug, Clone, PartialEq)]
pub enum MatchText {
    /// How many events in a sliding time.
    Count(CountText),
    /// An aggregate over the events of a sliding time.
    Aggregate(AggregateText),
    /// One event after another.
    Sequence(SequenceText),
}

/// What both sliding forms have.
#[derive(Debug, Clone, PartialEq)]
pub struct SlidingText {
    /// The stream; needed where a rule has several.
    pub of: Option<Text>,
    /// Which events count.
    pub filter: Option<Text>,
    /// Length of the sliding time `(t - over, t]`, in microseconds.
    pub over_micros: i64,
    /// Fire at every event where the condition holds, not only at the one where it begins to.
    pub each: bool,
}

/// `count`.
#[derive(Debug, Clone, PartialEq)]
pub struct CountText {
    /// Stream, filter and time.
    pub sliding: SlidingText,
    /// When it fires.
    pub limit: Limit,
}

/// `more_than`, `at_least`, `less_than`, with the number as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The comparison.
    pub comparison: Comparison,
    /// The number.
    pub bound: Text,
}

/// How a [`Limit`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    MoreThan,
    /// `>=`
    AtLeast,
    /// `<`
    LessThan,
}

impl Comparison {
    /// Its sign in SQL.
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::MoreThan => ">",
            Comparison::AtLeast => ">=",
            Comparison::LessThan => "<",
        }
    }
}

/// `aggregate`.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateText {
    /// Stream, filter and time.
    pub sliding: SlidingText,
    /// One aggregate call: `sum(amount)`, `count(distinct country)`.
    pub expr: Text,
    /// What its value must fulfil: `> 5000`.
    pub having: Text,
    /// Most memory of all windows of a task, in bytes, the events apart.
    pub max_bytes: Option<usize>,
    /// What happens to one event more.
    pub overflow: Overflow,
}

/// `sequence`.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceText {
    /// The last event is less than this after the first, in microseconds; `None` = `within: none`, on purpose.
    pub within_micros: Option<i64>,
    /// Between any two neighbours less than this.
    pub gap_micros: Option<i64>,
    /// What a match does to matches that share events with it.
    pub skip: Skip,
    /// `start: latest`: a newer first event replaces the run.
    pub start_latest: bool,
    /// The steps.
    pub steps: Vec<StepText>,
    /// What happens to runs that time out.
    pub on_timeout: Option<TimeoutText>,
    /// Most open runs per key.
    pub max_runs: Option<usize>,
    /// Most memory of all runs of a task, in bytes, the events apart.
    pub max_bytes: Option<usize>,
    /// What happens to one more.
    pub overflow: Overflow,
}

/// `skip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// Nothing.
    None,
    /// Drops runs that began at the match's first event.
    ToNext,
    /// Drops runs that began before the match ended.
    PastLast,
    /// Drops runs that began before the match's first event of this step.
    ToFirst(Text),
    /// Drops runs that began before the match's last event of this step.
    ToLast(Text),
}

/// `overflow`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest run, or event of a window, goes.
    #[default]
    DropOldest,
    /// The new one is not taken.
    DropNewest,
    /// The rule stops.
    FailRule,
}

/// How a step follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It begins the sequence.
    First,
    /// `then`: the first event that fits, others are passed over.
    Then,
    /// `next`: the very next event.
    Next,
    /// `any`: any event that fits.
    Any,
    /// `not`: none that fits until the next step.
    Not,
    /// `not_next`: the very next event does not fit.
    NotNext,
}

/// A step, or a group of steps.
#[derive(Debug, Clone, PartialEq)]
pub struct StepText {
    /// Its name; groups may go without.
    pub name: Option<Text>,
    /// Where the step begins in the file.
    pub place: Place,
    /// How it follows.
    pub link: Link,
    /// Its stream; needed where a rule has several.
    pub of: Option<Text>,
    /// Which events fit.
    pub filter: Option<Text>,
    /// How many events it takes, and at most.
    pub times: Times,
    /// It may be left out.
    pub optional: bool,
    /// It takes all it can get.
    pub greedy: bool,
    /// An event that ends its loop, and is not taken.
    pub until: Option<Text>,
    /// How events of its loop follow each other.
    pub looping: Loop,
    /// Between any two events of its loop less than this, in microseconds.
    pub gap_micros: Option<i64>,
    /// It comes less than this after the step before, in microseconds.
    pub after_micros: Option<i64>,
    /// `for`: how long a negation at the start or the end must hold, in microseconds.
    pub hold_micros: Option<i64>,
    /// `between`: the two steps that a negation stands between, when it is not written there.
    pub between: Option<(Text, Text)>,
    /// The steps of a group.
    pub group: Vec<StepText>,
}

/// `times`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// At least.
    pub least: u32,
    /// At most; `None` = no limit.
    pub most: Option<u32>,
}

impl Times {
    /// Once.
    pub const ONCE: Times = Times { least: 1, most: Some(1) };
}

/// `loop`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Loop {
    /// Events that do not fit are passed over.
    #[default]
    Relaxed,
    /// One right after the other.
    Strict,
    /// Any subset of those that fit.
    Combinations,
}

/// `on_timeout`.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeoutText {
    /// Only runs that got this far.
    pub at_least: Option<Text>,
    /// What the alert says.
    pub emit: EmitText,
}

/// `emit`.
#[derive(Debug, Clone, PartialEq)]
pub struct EmitText {
    /// The type of the alert's event.
    pub event_type: Text,
    /// Whom it is about.
    pub subject: Option<Text>,
    /// Name and expression of each field.
    pub data: Vec<(Text, Text)>,
    /// The topic that takes the alerts, too, of the log or (`broker:topic`) of a broker; that of the rule's own `emit` counts.
    pub topic: Option<Text>,
}

/// `mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It raises alerts.
    #[default]
    Active,
    /// It counts and keeps matches, and raises nothing.
    Shadow,
    /// It does not run.
    Off,
}

/// `order`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Sorted by event time, decided when the watermark passes.
    #[default]
    EventTime,
    /// As they come, decided at once.
    Arrival,
}

/// `warm_up`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WarmUp {
    /// It starts empty.
    #[default]
    None,
    /// From what the log still has.
    Log,
}

/// A test that stands in the rule's own file.
#[derive(Debug, Clone, PartialEq)]
pub struct TestText {
    /// Where it begins.
    pub place: Place,
    /// The events, in the order of their times.
    pub events: Vec<TestEvent>,
    /// Values that every event gets.
    pub with: Vec<(Text, Value)>,
    /// What it must raise.
    pub alerts: ExpectedAlerts,
}

/// An event of a test.
#[derive(Debug, Clone, PartialEq)]
pub struct TestEvent {
    /// When, in microseconds from the test's beginning.
    pub at_micros: i64,
    /// The step whose stream and literals it takes; without one, those of the whole rule.
    pub step: Option<Text>,
    /// The stream, where no step says it.
    pub of: Option<Text>,
    /// Values of its columns.
    pub with: Vec<(Text, Value)>,
}

/// A value of a test: as JSON, so that texts and numbers are told apart.
pub type Value = serde_json::Value;

/// What a test must raise.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpectedAlerts {
    /// So many.
    Count(usize),
    /// These, in order: the fields named must be equal, others are not looked at.
    Data(Vec<Vec<(Text, Value)>>),
}
