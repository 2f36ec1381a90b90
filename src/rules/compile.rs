//! A rule as written to a rule as the pattern operator runs it. All faults of a rule are told in one go.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};

use crate::error::{Error, Result};
use crate::operator::pattern::binding::{Condition, Emission};
use crate::operator::pattern::sequence::{Body, Inner, Sequence, Skip, SkipTo, Start, Step, check_sequence};
use crate::operator::pattern::sequence::{Link as SpecLink, Times as SpecTimes};
use crate::operator::pattern::spec::{AggregateRule, Bounds, Compare, CountRule, Find, MAX_RUNS, OnTimeout, Overflow, Rule};
use crate::rules::alert::{Said, emission};
use crate::rules::form::{
    self, AggregateText, Comparison, CountText, Link, Loop, MatchText, RuleText, SequenceText, SlidingText, StepText, Text, WarmUp,
};
use crate::rules::input::{Input, STREAM};
use crate::rules::syntax::{Names, StepName};
use crate::sql::expression::Expressions;

/// Compiles `rule` over the events of `input`.
pub fn compile(rule: &RuleText, input: &Input, expressions: &Expressions<'_>) -> Result<Rule> {
    let mut compiling = Compiling { rule, input, expressions, faults: Vec::new() };
    let compiled = compiling.rule();
    match (Error::all(compiling.faults), compiled) {
        (Some(fault), _) => Err(fault),
        (None, Some(rule)) => Ok(rule),
        (None, None) => Err(Error::bug(format!("rule '{}' was not compiled and nothing is said about it", rule.name.text))),
    }
}

struct Compiling<'a> {
    rule: &'a RuleText,
    input: &'a Input,
    expressions: &'a Expressions<'a>,
    faults: Vec<Error>,
}

impl Compiling<'_> {
    fn rule(&mut self) -> Option<Rule> {
        let rule = self.rule;
        match &rule.matching {
            MatchText::Count(count) => self.count(count),
            MatchText::Aggregate(aggregate) => self.aggregate(aggregate),
            MatchText::Sequence(sequence) => self.sequence(sequence),
        }
    }

    /// The value, or `None` and one more fault.
    fn told<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(fault) => {
                let name = &self.rule.name;
                // Several faults of one result stay several.
                let within = |fault: &Error| {
                    let place = fault.place().cloned().unwrap_or_else(|| name.place.clone());
                    Error::new(fault.kind(), format!("rule '{}': {}", name.text, fault.message())).at(place)
                };
                self.faults.extend(fault.each().map(within));
                None
            }
        }
    }

    fn warm_up(&self) -> bool {
        self.rule.warm_up == WarmUp::Log
    }

    fn what(&self) -> String {
        format!("rule '{}'", self.rule.name.text)
    }

    /// A rule over a sliding stretch of time: it ends by itself and holds what lies in it.
    fn sliding_rule(&self, find: Find, emit: Emission) -> Rule {
        Rule { name: self.rule.name.text.clone(), find, emit, on_timeout: None, bounds: Bounds::default(), warm_up: self.warm_up() }
    }

    fn count(&mut self, count: &CountText) -> Option<Rule> {
        let stream = self.sliding_stream(&count.sliding);
        let when = stream.and_then(|stream| self.sliding_filter(&count.sliding, stream));
        let bound = count.limit.bound.text.parse().ok();
        let bound = bound.or_else(|| self.told(Err(Error::bug("a bound that is no number").at(count.limit.bound.place.clone()))));
        let emit = stream.and_then(|stream| self.emission(&[], Some(stream), true, &self.rule.emit.clone()));
        let compare = match count.limit.comparison {
            Comparison::MoreThan => Compare::MoreThan(bound?),
            Comparison::AtLeast => Compare::AtLeast(bound?),
            Comparison::LessThan => Compare::LessThan(bound?),
        };
        let find = Find::Count(CountRule { when: when?, over_micros: count.sliding.over_micros, compare, each: count.sliding.each });
        Some(self.sliding_rule(find, emit?))
    }

    fn aggregate(&mut self, aggregate: &AggregateText) -> Option<Rule> {
        let stream = self.sliding_stream(&aggregate.sliding)?;
        let when = self.sliding_filter(&aggregate.sliding, stream);
        let whole = format!("({}) {}", aggregate.expr.text, aggregate.having.text);
        let text = Text { text: whole, place: aggregate.expr.place.clone() };
        let having = self.names(&[], Some(stream), true).condition(&text);
        let having = self.told(having);
        let emit = self.emission(&[], Some(stream), true, &self.rule.emit.clone());
        if having.as_ref().is_some_and(|having| having.bindings.is_empty()) {
            let text = format!("'{}' is no aggregate; expected one such as sum(amount)", aggregate.expr.text);
            self.told::<()>(Err(Error::input(text).at(aggregate.expr.place.clone())));
        }
        let sliding = &aggregate.sliding;
        let find = Find::Aggregate(AggregateRule { when: when?, over_micros: sliding.over_micros, having: having?, each: sliding.each });
        Some(self.sliding_rule(find, emit?))
    }

    fn sliding_stream(&mut self, sliding: &SlidingText) -> Option<usize> {
        let stream = self.input.stream(sliding.of.as_ref(), "match", &self.rule.name.place);
        self.told(stream)
    }

    /// `Some(None)`: every event counts.
    fn sliding_filter(&mut self, sliding: &SlidingText, stream: usize) -> Option<Option<Arc<dyn PhysicalExpr>>> {
        let condition = match &sliding.filter {
            None => None,
            Some(text) => {
                let condition = self.names(&[], Some(stream), true).condition(text).and_then(|condition| match condition.bindings.len() {
                    0 => Ok(condition.expr),
                    _ => {
                        Err(Error::input(format!("'{}': 'where' is about one event, not about several", text.text)).at(text.place.clone()))
                    }
                });
                Some(self.told(condition)?)
            }
        };
        Some(self.of_stream(stream, condition))
    }

    /// The condition, of events of this stream only.
    fn of_stream(&self, stream: usize, condition: Option<Arc<dyn PhysicalExpr>>) -> Option<Arc<dyn PhysicalExpr>> {
        if !self.input.several() {
            return condition;
        }
        let alias = lit(ScalarValue::Utf8View(Some(self.input.streams[stream].alias.clone())));
        let own: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(Arc::new(Column::new(STREAM, 0)), Operator::Eq, alias));
        Some(match condition {
            None => own,
            Some(condition) => Arc::new(BinaryExpr::new(own, Operator::And, condition)),
        })
    }

    fn names<'n>(&'n self, steps: &'n [StepName], stream: Option<usize>, sliding: bool) -> Names<'n> {
        Names { input: self.input, stream, steps, sliding, expressions: self.expressions }
    }

    fn emission(
        &mut self,
        steps: &[StepName],
        stream: Option<usize>,
        sliding: bool,
        emit: &form::EmitText,
    ) -> Option<crate::operator::pattern::binding::Emission> {
        let said = Said { rule: self.rule, emit };
        let made = emission(&said, &self.names(steps, stream, sliding));
        self.told(made)
    }

    fn sequence(&mut self, text: &SequenceText) -> Option<Rule> {
        let ordered = self.told(placed_negations(text))?;
        let mut known = Vec::new();
        let mut label = 0;
        self.learn(&ordered, &mut label, &mut known);
        let steps = self.steps(&ordered, &known);
        let single = (self.input.streams.len() == 1).then_some(0);
        let emit = self.emission(&known, single, false, &self.rule.emit.clone());
        let on_timeout = match &text.on_timeout {
            None => Some(None),
            Some(timeout) => {
                let at_least = match &timeout.at_least {
                    None => Some(None),
                    Some(step) => self.label_of(step, &known, true).map(Some),
                };
                let emit = self.emission(&known, single, false, &timeout.emit);
                at_least.zip(emit).map(|(at_least, emit)| Some(OnTimeout { at_least, emit }))
            }
        };
        let skip = match &text.skip {
            form::Skip::None => Some(Skip::None),
            form::Skip::ToNext => Some(Skip::ToNext),
            form::Skip::PastLast => Some(Skip::PastLast),
            form::Skip::ToFirst(step) => {
                self.label_of(step, &known, false).map(|label| Skip::ToFirst(SkipTo { label, error_on_miss: false }))
            }
            form::Skip::ToLast(step) => self.label_of(step, &known, true).map(|label| Skip::ToLast(SkipTo { label, error_on_miss: false })),
        };
        if combinations(&text.steps) && text.max_runs.is_none() {
            let fault = Error::input("sequence: 'loop: combinations' needs 'max_runs': its runs double with every event that fits");
            self.told::<()>(Err(fault));
        }
        if text.within_micros.is_none() && text.max_runs.is_none() {
            self.told::<()>(Err(Error::input("sequence: 'within: none' needs 'max_runs': its runs never end by themselves")));
        }
        let sequence = Sequence {
            steps: steps?,
            within: text.within_micros,
            gap: text.gap_micros,
            until: None,
            skip: skip?,
            start: if text.start_latest { Start::Latest } else { Start::Every },
        };
        self.told(check_sequence(&sequence))?;
        let bounds = Bounds { max_runs: text.max_runs.unwrap_or(MAX_RUNS), max_bytes: text.max_bytes, overflow: overflow(text.overflow) };
        let find = Find::Sequence(sequence);
        Some(Rule { name: self.rule.name.text.clone(), find, emit: emit?, on_timeout: on_timeout?, bounds, warm_up: self.warm_up() })
    }

    /// Labels and streams of the positive steps and of the groups, by name.
    fn learn(&mut self, steps: &[StepText], label: &mut usize, known: &mut Vec<StepName>) {
        for step in steps.iter().filter(|step| !negated(step)) {
            let first = *label;
            let stream = if step.group.is_empty() {
                *label += 1;
                self.input.stream(step.of.as_ref(), "a step", &step.place).ok()
            } else {
                self.learn(&step.group, label, known);
                let of = |at: usize| known.iter().find(|name| name.labels == [at]).and_then(|name| name.stream);
                let streams: Vec<Option<usize>> = (first..*label).map(of).collect();
                streams.first().copied().flatten().filter(|stream| streams.iter().all(|other| *other == Some(*stream)))
            };
            if let Some(name) = &step.name {
                if known.iter().any(|other| other.name == name.text) {
                    let text = format!("two steps are called '{}'", name.text);
                    self.told::<()>(Err(Error::input(text).at(name.place.clone())));
                }
                known.push(StepName { name: name.text.clone(), labels: (first..*label).collect(), stream });
            }
        }
    }

    fn steps(&mut self, texts: &[StepText], known: &[StepName]) -> Option<Vec<Step>> {
        // Every step is looked at, so that all faults are told.
        let steps: Vec<Option<Step>> = texts.iter().map(|text| self.step(text, known)).collect();
        steps.into_iter().collect()
    }

    fn step(&mut self, text: &StepText, known: &[StepName]) -> Option<Step> {
        let link = match text.link {
            Link::First | Link::Then => SpecLink::Then,
            Link::Next => SpecLink::Next,
            Link::Any => SpecLink::Any,
            Link::Not => SpecLink::Not,
            Link::NotNext => SpecLink::NotNext,
        };
        let (body, until) = if text.group.is_empty() {
            let stream = self.input.stream(text.of.as_ref(), "a step", &text.place);
            let stream = self.told(stream)?;
            let when = match &text.filter {
                None => Some(None),
                Some(filter) => self.condition(filter, stream, known).map(Some),
            };
            let until = match &text.until {
                None => Some(None),
                Some(until) => self.condition(until, stream, known).map(Some),
            };
            let when = match when? {
                None => self.of_stream(stream, None).map(Condition::of_event),
                Some(condition) => {
                    let Condition { bindings, expr } = condition;
                    self.of_stream(stream, Some(expr)).map(|expr| Condition { bindings, expr })
                }
            };
            let until = until?.and_then(|condition| {
                let Condition { bindings, expr } = condition;
                self.of_stream(stream, Some(expr)).map(|expr| Condition { bindings, expr })
            });
            let name = text.name.as_ref().map(|name| name.text.clone()).unwrap_or_default();
            (Body::Event { name, when }, until)
        } else {
            if let Some(until) = &text.until {
                let fault = Error::input("'until' stands on single steps, not on groups").at(until.place.clone());
                self.told::<()>(Err(fault));
            }
            (Body::Group(self.steps(&text.group, known)?), None)
        };
        Some(Step {
            body,
            link,
            times: SpecTimes { from: text.times.least, to: text.times.most },
            optional: text.optional,
            greedy: text.greedy,
            until,
            inner: match text.looping {
                Loop::Relaxed => Inner::Relaxed,
                Loop::Strict => Inner::Strict,
                Loop::Combinations => Inner::Combinations,
            },
            gap: text.gap_micros,
            after: text.after_micros,
            absent_for: text.hold_micros,
        })
    }

    fn condition(&mut self, text: &Text, stream: usize, known: &[StepName]) -> Option<Condition> {
        let condition = self.names(known, Some(stream), false).condition(text);
        self.told(condition)
    }

    /// The first or the last label of a step or group.
    fn label_of(&mut self, step: &Text, known: &[StepName], last: bool) -> Option<usize> {
        let found = known.iter().find(|name| name.name == step.text);
        let label = found.and_then(|name| if last { name.labels.last() } else { name.labels.first() }).copied();
        label.or_else(|| {
            let near = crate::error::did_you_mean(&step.text, known.iter().map(|name| name.name.as_str()));
            let text = format!("{}: no step '{}'{near}", self.what(), step.text);
            self.faults.push(Error::input(text).at(step.place.clone()));
            None
        })
    }
}

fn negated(step: &StepText) -> bool {
    matches!(step.link, Link::Not | Link::NotNext)
}

fn combinations(steps: &[StepText]) -> bool {
    steps.iter().any(|step| step.looping == Loop::Combinations || combinations(&step.group))
}

/// The steps with each negation that says `between` where it belongs: in front of every step on the way it guards.
fn placed_negations(text: &SequenceText) -> Result<Vec<StepText>> {
    let (moving, mut steps): (Vec<StepText>, Vec<StepText>) = text.steps.iter().cloned().partition(|step| step.between.is_some());
    for negation in moving {
        let Some((from, to)) = &negation.between else { continue };
        if !negated(&negation) {
            return Err(Error::input("'between' stands on a 'not' only").at(negation.place.clone()));
        }
        let position = |name: &Text| {
            steps.iter().position(|step| step.name.as_ref().is_some_and(|own| own.text == name.text)).ok_or_else(|| {
                let names: Vec<&str> = steps.iter().filter_map(|step| Some(step.name.as_ref()?.text.as_str())).collect();
                let near = crate::error::did_you_mean(&name.text, names.iter().copied());
                Error::input(format!("'between': no step '{}'{near}", name.text)).at(name.place.clone())
            })
        };
        let (first, last) = (position(from)?, position(to)?);
        if first >= last {
            let text = format!("'between' names an earlier and a later step; '{}' does not come after '{}'", to.text, from.text);
            return Err(Error::input(text).at(from.place.clone()));
        }
        // It guards the way to each step in between: a negation ends with the next step that is taken.
        for at in (first + 1..=last).rev().filter(|at| !negated(&steps[*at])).collect::<Vec<_>>() {
            steps.insert(at, negation.clone());
        }
    }
    Ok(steps)
}

fn overflow(overflow: form::Overflow) -> Overflow {
    match overflow {
        form::Overflow::DropOldest => Overflow::DropOldest,
        form::Overflow::DropNewest => Overflow::DropNewest,
        form::Overflow::FailRule => Overflow::FailRule,
    }
}
