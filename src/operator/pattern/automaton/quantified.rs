//! One positive step: its elements, how often it is repeated, what passes over it.

use super::maker::{Guard, Head, Maker, Numbered};
use super::{Action, Formula, Kind, StateId};
use crate::operator::pattern::sequence::{Inner, Link, Step};

/// Where a step stands.
pub(super) struct Place<'a> {
    /// The group that it is the first step of.
    pub(super) head: Option<&'a Head>,
    /// The group that it is in.
    pub(super) group: Option<&'a Head>,
    pub(super) guards: &'a [Guard],
    pub(super) following: Option<&'a Step>,
}

/// Where a copy of a single step leads.
#[derive(Clone, Copy)]
struct Ways {
    /// After taking.
    sink: StateId,
    /// When left out.
    proceed: StateId,
    optional: bool,
}

/// Makes the states of one positive step.
struct Quantified<'m, 'p, 'a> {
    maker: &'m mut Maker,
    numbered: &'p Numbered<'a>,
    place: &'p Place<'p>,
    /// With `greedy` and `until`: the sink as it was before events of the loop were kept from it.
    greedy_copy: Option<(StateId, StateId)>,
}

impl Maker {
    /// States for a positive step with its quantifier.
    pub(super) fn positive(&mut self, numbered: &Numbered<'_>, sink: StateId, place: &Place<'_>) -> StateId {
        let step = numbered.step;
        let optional = step.optional || step.times.from == 0;
        let from = step.times.from.max(1);
        let make = &mut Quantified { maker: self, numbered, place, greedy_copy: None };
        let first = match step.times.to {
            Some(1) => make.single(Ways { sink, proceed: sink, optional }, true),
            Some(to) => make.times(Ways { sink, proceed: sink, optional }, from, to),
            None => {
                let unguarded = make.maker.unguarded(sink, place.guards);
                let looping = make.looping(unguarded, sink);
                make.times(Ways { sink: looping, proceed: sink, optional }, from, from)
            }
        };
        for guard in place.guards {
            self.stop(first, guard);
        }
        first
    }
}

impl Quantified<'_, '_, '_> {
    fn step(&self) -> &Step {
        self.numbered.step
    }

    fn group_until(&self) -> Option<Formula> {
        self.place.group.and_then(|group| group.until.clone())
    }

    fn until(&mut self) -> Option<Formula> {
        let until = self.numbered.step.until.as_ref()?;
        Some(Formula::Atom(self.maker.atom(until)))
    }

    fn take(&mut self) -> Formula {
        let group_until = self.group_until();
        self.maker.condition(self.numbered.step).unless(group_until.as_ref())
    }

    fn ignore(&mut self, link: Link) -> Option<Formula> {
        let group_until = self.group_until();
        let condition = match link {
            Link::Next => return None,
            Link::Any => Formula::True,
            _ => self.maker.condition(self.numbered.step).not(),
        };
        Some(condition.unless(group_until.as_ref()))
    }

    fn inner_ignore(&mut self) -> Option<Formula> {
        match self.step().inner {
            Inner::Strict => None,
            Inner::Combinations => Some(Formula::True),
            Inner::Relaxed => Some(self.maker.condition(self.numbered.step).not()),
        }
    }

    fn smaller(one: Option<i64>, other: Option<i64>) -> Option<i64> {
        [one, other].into_iter().flatten().min()
    }

    /// Limit to the event before for the first element.
    fn outer_gap(&self) -> Option<i64> {
        match self.place.head {
            Some(head) => Self::smaller(head.gap, self.step().after),
            None => Self::smaller(self.maker.gap, self.step().after),
        }
    }

    /// The same for the later elements.
    fn inner_gap(&self) -> Option<i64> {
        Self::smaller(self.maker.gap, self.step().gap)
    }

    /// Copies of the step for `from..=to` elements.
    fn times(&mut self, ways: Ways, from: u32, to: u32) -> StateId {
        let until = self.until();
        let ignore = self.inner_ignore().map(|ignore| ignore.unless(until.as_ref()));
        let take = self.take().unless(until.as_ref());
        if self.step().greedy && from != to {
            if until.is_some() {
                let copy = self.maker.copy(ways.sink);
                self.greedy_copy = Some((ways.sink, copy));
            }
            self.keep_from(ways.sink, &take);
        }
        let mut last = ways.sink;
        for number in from..to + from - 1 {
            let optional = number < to;
            let own = Ways { sink: last, proceed: ways.proceed, optional };
            last = self.element(own, take.clone(), ignore.clone(), false);
            self.stop_if_followed(last);
        }
        let outer = self.place.head.map_or(self.step().link, |head| head.link);
        let ignore = self.ignore(outer);
        self.element(Ways { sink: last, ..ways }, take, ignore, true)
    }

    fn single(&mut self, ways: Ways, first: bool) -> StateId {
        let take = self.take();
        let outer = self.place.head.map_or(self.step().link, |head| head.link);
        let ignore = self.ignore(outer);
        self.element(ways, take, ignore, first)
    }

    /// One element; `first` of a loop.
    fn element(&mut self, ways: Ways, take: Formula, ignore: Option<Formula>, first: bool) -> StateId {
        if !self.numbered.inner.is_empty() {
            return self.group(ways, first);
        }
        let state = self.maker.state(Kind::Open);
        let guards = self.place.guards.to_vec();
        let sink = self.maker.unguarded(ways.sink, &guards);
        let gap = if first { self.outer_gap() } else { self.inner_gap() };
        let action = Action::Take(self.numbered.label, gap);
        self.maker.edge(state, action, sink, take.clone());
        if ways.optional {
            self.leave_out(state, ways.proceed);
        }
        // The way past a group is added by the group.
        let group_optional = first && self.place.head.is_some_and(|head| head.skippable);
        if let Some(ignore) = ignore {
            let ignoring = if ways.optional || group_optional {
                let waiting = self.maker.state(Kind::Open);
                self.maker.edge(waiting, action, sink, take);
                self.maker.edge(waiting, Action::Ignore, waiting, ignore.clone());
                if first {
                    for guard in &guards {
                        self.maker.stop(waiting, guard);
                    }
                } else {
                    self.stop_if_followed(waiting);
                }
                waiting
            } else {
                state
            };
            self.maker.edge(state, Action::Ignore, ignoring, ignore);
        }
        state
    }

    /// The way past a step that may be left out.
    fn leave_out(&mut self, state: StateId, proceed: StateId) {
        let until = self.until();
        match (self.step().greedy, until) {
            (true, Some(until)) => {
                let before = self.greedy_copy.filter(|(sink, _)| *sink == proceed).map_or(proceed, |(_, copy)| copy);
                self.maker.edge(state, Action::Proceed, before, until.clone());
                self.maker.edge(state, Action::Proceed, proceed, until.not());
            }
            _ => self.maker.edge(state, Action::Proceed, proceed, Formula::True),
        }
    }

    /// The state that takes more and more.
    fn looping(&mut self, sink: StateId, original: StateId) -> StateId {
        if !self.numbered.inner.is_empty() {
            return self.looping_group(sink);
        }
        let until = self.until();
        let ignore = self.inner_ignore().map(|ignore| ignore.unless(until.as_ref()));
        let take = self.take().unless(until.as_ref());
        let action = Action::Take(self.numbered.label, self.inner_gap());
        let looping = self.maker.state(Kind::Open);
        if self.step().greedy {
            // Left out as a whole, the step leads to `original`: with its guards.
            let guarded = original != sink;
            if until.is_some() {
                let copy = self.maker.copy(sink);
                let left_out = if guarded { self.maker.copy(original) } else { copy };
                self.greedy_copy = Some((original, left_out));
                self.maker.edge(looping, Action::Proceed, copy, until.clone().unwrap_or(Formula::True));
            }
            self.maker.edge(looping, Action::Proceed, sink, Formula::True.unless(until.as_ref()));
            let taken = self.take();
            self.keep_from(sink, &taken);
            if guarded {
                self.keep_from(original, &taken);
            }
        } else {
            self.maker.edge(looping, Action::Proceed, sink, Formula::True);
        }
        self.maker.edge(looping, action, looping, take.clone());
        self.stop_if_followed(looping);
        if let Some(ignore) = ignore {
            let waiting = self.maker.state(Kind::Open);
            self.maker.edge(waiting, action, looping, take);
            self.maker.edge(waiting, Action::Ignore, waiting, ignore.clone());
            self.maker.edge(looping, Action::Ignore, waiting, ignore);
            self.stop_if_followed(waiting);
        }
        looping
    }

    /// Events that a greedy loop takes do not move what comes after it.
    fn keep_from(&mut self, sink: StateId, taken: &Formula) {
        for edge in &mut self.maker.states[sink as usize].edges {
            edge.when = std::mem::replace(&mut edge.when, Formula::True).and(taken.clone().not());
        }
    }

    /// A negated step right after the loop guards inside it as well.
    fn stop_if_followed(&mut self, state: StateId) {
        if let Some(step) = self.place.following.filter(|step| step.link == Link::Not) {
            let guard = self.maker.guard(step);
            self.maker.stop(state, &guard);
        }
    }

    fn head(&mut self, first: bool, skippable: bool) -> Head {
        let inner = match self.step().inner {
            Inner::Strict => Link::Next,
            Inner::Combinations => Link::Any,
            Inner::Relaxed => Link::Then,
        };
        let own = self.place.head.map_or(self.step().link, |head| head.link);
        let until = self.until();
        let outer = self.group_until();
        let until = match (until, outer) {
            // Whichever holds ends it: not (not a and not b).
            (Some(own), Some(outer)) => Some(own.not().and(outer.not()).not()),
            (own, outer) => own.or(outer),
        };
        let guards = if first { self.place.guards.to_vec() } else { Vec::new() };
        let (link, gap) = if first { (own, self.outer_gap()) } else { (inner, self.inner_gap()) };
        Head { link, skippable, until, gap, guards }
    }

    /// One run through a group.
    fn group(&mut self, ways: Ways, first: bool) -> StateId {
        let head = self.head(first, ways.optional);
        let guards = self.place.guards.to_vec();
        let sink = self.maker.unguarded(ways.sink, &guards);
        let start = self.maker.sequence(&self.numbered.inner, sink, Some(&head), self.place.following);
        if ways.optional {
            self.maker.edge(start, Action::Proceed, ways.proceed, Formula::True);
        }
        start
    }

    /// A group that may begin again and again.
    fn looping_group(&mut self, sink: StateId) -> StateId {
        let head = self.head(false, true);
        let again = self.maker.state(Kind::Open);
        let start = self.maker.sequence(&self.numbered.inner, again, Some(&head), self.place.following);
        self.maker.edge(start, Action::Proceed, sink, Formula::True);
        self.maker.edge(again, Action::Proceed, start, Formula::True);
        again
    }
}
