//! A sequence of steps: what events must come, in which order, how often, how far apart.

use crate::error::{Error, Result};
use crate::operator::pattern::binding::Condition;

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

    /// What its runs mean, without names.
    pub(crate) fn identity(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(Step::identity).collect();
        let until = self.until.as_ref().map(Condition::identity);
        format!("sequence {} within {:?} gap {:?} {until:?} {:?}", steps.join(" "), self.within, self.gap, self.start)
    }
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
