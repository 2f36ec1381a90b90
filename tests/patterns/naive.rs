//! A matcher that enumerates: every way to spell a pattern out as a chain of single events, every choice of events for a
//! chain, each looked at by the rules of contiguity alone. Slow, and nothing of it is shared with the engine.

/// An event.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub letter: i64,
    pub value: i64,
    /// Milliseconds.
    pub time: i64,
}

/// How something follows what is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Next,
    Then,
    Any,
}

/// A step of a pattern.
#[derive(Debug, Clone)]
pub struct Step {
    pub what: What,
    pub link: Link,
    pub lo: usize,
    pub hi: Option<usize>,
    pub optional: bool,
    pub greedy: bool,
    pub inner: Link,
    /// The loop ends at an event of at least this value.
    pub until: Option<i64>,
    pub gap: Option<i64>,
    pub after: Option<i64>,
    /// Letters that must not come before this step's first event.
    pub not: Vec<i64>,
    /// Letters that must not come right after the event before.
    pub not_next: Vec<i64>,
}

/// What a step takes.
#[derive(Debug, Clone)]
pub enum What {
    Event(Fit),
    Group(Vec<Step>),
}

/// What an event must be.
#[derive(Debug, Clone, Copy)]
pub struct Fit {
    pub label: usize,
    pub letter: i64,
    /// Its value must be at least that of the first event of this label, if there is one.
    pub at_least: Option<usize>,
}

/// A pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    pub steps: Vec<Step>,
    pub within: Option<i64>,
    pub gap: Option<i64>,
    /// Letters that must not come after the last step, until the time is over.
    pub not_after: Vec<i64>,
}

/// Label and event number, in order.
pub type Selection = Vec<(usize, usize)>;

/// One event of a pattern that is spelled out.
#[derive(Debug, Clone)]
struct Element {
    fit: Fit,
    link: Link,
    /// No event from the one before to this one may have such a letter.
    not: Vec<i64>,
    not_next: Vec<i64>,
    /// No event between may have such a value, nor this one.
    until: Option<i64>,
    /// Only this one may not.
    not_itself: Option<i64>,
    /// A greedy loop came before: none of its events may be passed over, nor be this one.
    keeps: Option<Fit>,
    gap: Option<i64>,
}

fn smaller(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    [one, other].into_iter().flatten().min()
}

/// All chains of at most `most` events that spell `steps` out; `head` is the link and limit of the first.
fn chains(steps: &[Step], head: Option<(Link, Option<i64>)>, pattern: &Pattern, most: usize) -> Vec<Vec<Element>> {
    let mut all: Vec<Vec<Element>> = vec![Vec::new()];
    // What a left-out step asks of the next one: (letters that must not come, greedy loop).
    let mut asked: Vec<(Vec<i64>, Vec<i64>, Option<Fit>)> = vec![(Vec::new(), Vec::new(), None)];
    for (at, step) in steps.iter().enumerate() {
        let (link, limit) = match head {
            Some((link, limit)) if at == 0 => (link, smaller(limit, step.after)),
            _ => (step.link, smaller(pattern.gap, step.after)),
        };
        // A negation after a loop holds inside it as well.
        let (follows, follows_next) = match steps.get(at + 1) {
            Some(next) => (next.not.clone(), next.not_next.clone()),
            None if head.is_none() => (pattern.not_after.clone(), Vec::new()),
            None => (Vec::new(), Vec::new()),
        };
        let mut next_all = Vec::new();
        let mut next_asked = Vec::new();
        for (chain, (not, not_next, keeps)) in all.iter().zip(&asked) {
            let (mut not, mut not_next) = (not.clone(), not_next.clone());
            not.extend(&step.not);
            not_next.extend(&step.not_next);
            let greedy = match step.what {
                What::Event(fit) if step.greedy && step.hi != Some(step.lo.max(1)) => Some(fit),
                _ => None,
            };
            if step.optional || step.lo == 0 {
                next_all.push(chain.clone());
                next_asked.push((not.clone(), not_next.clone(), greedy.or(*keeps)));
            }
            let room = most - chain.len();
            // All ways to repeat the body.
            let mut repeated: Vec<Vec<Element>> = vec![Vec::new()];
            for count in 1..=step.hi.unwrap_or(room).min(room) {
                let first = count == 1;
                let mut longer = Vec::new();
                for before in &repeated {
                    for mut body in bodies(
                        step,
                        if first { (link, limit) } else { (step.inner, smaller(pattern.gap, step.gap)) },
                        pattern,
                        room - before.len(),
                    ) {
                        if body.is_empty() || before.len() + body.len() > room {
                            continue;
                        }
                        if first {
                            body[0].not.extend(&not);
                            body[0].not_next.extend(&not_next);
                            body[0].keeps = body[0].keeps.or(*keeps);
                            body[0].not_itself = body[0].not_itself.or(step.until);
                        } else {
                            body[0].not.extend(&follows);
                            // Right after an element behind which the loop could end.
                            if count > step.lo {
                                body[0].not_next.extend(&follows_next);
                            }
                            body[0].until = step.until;
                            body[0].not_itself = body[0].not_itself.or(step.until);
                        }
                        longer.push([before.clone(), body].concat());
                    }
                }
                if count >= step.lo {
                    for part in &longer {
                        next_all.push([chain.clone(), part.clone()].concat());
                        next_asked.push((Vec::new(), Vec::new(), greedy));
                    }
                }
                repeated = longer;
            }
        }
        (all, asked) = (next_all, next_asked);
    }
    all
}

fn bodies(step: &Step, head: (Link, Option<i64>), pattern: &Pattern, most: usize) -> Vec<Vec<Element>> {
    match &step.what {
        What::Event(fit) => {
            let (link, gap) = head;
            let (not, not_next, fit) = (Vec::new(), Vec::new(), *fit);
            vec![vec![Element { fit, link, not, not_next, until: None, not_itself: None, keeps: None, gap }]]
        }
        What::Group(steps) => chains(steps, Some(head), pattern, most),
    }
}

fn fits(fit: Fit, event: Event, taken: &Selection, events: &[Event]) -> bool {
    let bound = fit.at_least.and_then(|label| taken.iter().find(|(other, _)| *other == label));
    // Without an event of that label the comparison is with NULL.
    let bound_holds = match (fit.at_least, bound) {
        (None, _) => true,
        (Some(_), Some((_, at))) => event.value >= events[*at].value,
        (Some(_), None) => false,
    };
    event.letter == fit.letter && bound_holds
}

/// All selections of a pattern.
pub fn selections(pattern: &Pattern, events: &[Event]) -> Vec<Selection> {
    let mut found = Vec::new();
    for chain in chains(&pattern.steps, None, pattern, events.len()) {
        if !chain.is_empty() {
            choose(&chain, pattern, events, &mut Vec::new(), &mut found);
        }
    }
    found.sort();
    found.dedup();
    found
}

fn choose(chain: &[Element], pattern: &Pattern, events: &[Event], taken: &mut Selection, found: &mut Vec<Selection>) {
    let Some(element) = chain.get(taken.len()) else {
        let (first, last) = (events[taken[0].1], taken[taken.len() - 1].1);
        let end = pattern.within.map(|within| first.time + within);
        let absent = |event: &Event| !pattern.not_after.contains(&event.letter) || end.is_some_and(|end| event.time >= end);
        if events[last + 1..].iter().all(absent) {
            found.push(taken.clone());
        }
        return;
    };
    let before = taken.last().map(|(_, at)| *at);
    for at in before.map_or(0, |before| before + 1)..events.len() {
        let event = events[at];
        if let Some(before) = before {
            let between = &events[before + 1..at];
            let first = events[taken[0].1].time;
            let apart = event.time - events[before].time;
            let in_time = pattern.within.is_none_or(|within| event.time - first < within) && element.gap.is_none_or(|gap| apart < gap);
            let linked = match element.link {
                Link::Next => between.is_empty(),
                Link::Then => !between.iter().any(|event| fits(element.fit, *event, taken, events)),
                Link::Any => true,
            };
            let quiet = !events[before + 1..=at].iter().any(|event| {
                element.not.contains(&event.letter)
                    || element.until.is_some_and(|until| event.value >= until)
                    || element.keeps.is_some_and(|keeps| fits(keeps, *event, taken, events))
            });
            if !in_time || !linked || !quiet || element.not_next.contains(&events[before + 1].letter) {
                continue;
            }
        }
        if element.not_itself.is_some_and(|until| event.value >= until) || !fits(element.fit, event, taken, events) {
            continue;
        }
        if before.is_none() && element.keeps.is_some_and(|keeps| fits(keeps, event, taken, events)) {
            continue;
        }
        taken.push((element.fit.label, at));
        choose(chain, pattern, events, taken, found);
        taken.pop();
    }
}

/// Which selections a match drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    None,
    ToNext,
    PastLast,
    ToFirst(usize),
    ToLast(usize),
}

/// What is left of all selections by a skip strategy; `None` where it is open which of several that begin and end alike
/// comes first.
pub fn skipped(all: &[Selection], skip: Skip) -> Option<Vec<Selection>> {
    if skip == Skip::None {
        return Some(all.to_vec());
    }
    let ends = |selection: &Selection| (selection[selection.len() - 1].1, selection[0].1);
    let mut ordered: Vec<&Selection> = all.iter().collect();
    ordered.sort_by_key(|selection| ends(selection));
    if ordered.windows(2).any(|pair| ends(pair[0]) == ends(pair[1])) {
        return None;
    }
    // (when, starts that are dropped)
    let mut dropped: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
    let mut left = Vec::new();
    for selection in ordered {
        let (last, start) = ends(selection);
        // A run is dropped if it was open when the match was found.
        if dropped.iter().any(|(when, starts)| start <= *when && starts.contains(&start)) {
            continue;
        }
        left.push(selection.clone());
        let of = |label: usize| selection.iter().filter(move |(other, _)| *other == label).map(|(_, at)| *at);
        let starts = match skip {
            Skip::None => 0..0,
            Skip::ToNext => start..start + 1,
            Skip::PastLast => 0..last + 1,
            Skip::ToFirst(label) => 0..of(label).next().unwrap_or(0),
            Skip::ToLast(label) => 0..of(label).next_back().unwrap_or(0),
        };
        dropped.push((last, starts));
    }
    left.sort();
    Some(left)
}
