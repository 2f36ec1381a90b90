//! Events by cause: each under the one that its `causationid` names. What is not known is said: causes that were not found,
//! and events that cause each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// An event as it was found, once or in several places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its type, where it has one.
    pub kind: Option<String>,
    /// When it happened.
    pub time: Option<String>,
    /// What it belongs to.
    pub correlation: Option<String>,
    /// The event that caused it.
    pub causation: Option<String>,
    /// Where it was found: `orders[0]@12`, `table alerts`.
    pub places: Vec<String>,
}

/// All events that were found, by id.
#[derive(Debug, Default)]
pub struct Events(BTreeMap<String, Event>);

/// An event and what it caused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// What it belongs to.
    #[serde(rename = "correlationid", skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The event that caused it.
    #[serde(rename = "causationid", skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
    /// Where it was found.
    pub places: Vec<String>,
    /// Why it stands here without its cause, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it caused.
    pub caused: Vec<Node>,
}

impl Events {
    /// Adds an event; found again, it is one event in several places.
    pub fn add(&mut self, event: Event) {
        let Some(known) = self.0.get_mut(&event.id) else {
            _ = self.0.insert(event.id.clone(), event);
            return;
        };
        for (mine, other) in [
            (&mut known.kind, event.kind),
            (&mut known.time, event.time),
            (&mut known.correlation, event.correlation),
            (&mut known.causation, event.causation),
        ] {
            *mine = mine.take().or(other);
        }
        known.places.extend(event.places);
    }

    /// The trees of everything that belongs to `wanted`, a correlation id or the id of an event; none: nothing does.
    pub fn trees(&self, wanted: &str) -> Vec<Node> {
        let members = self.members(wanted);
        let mut caused: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        let mut roots: Vec<(&Event, Option<String>)> = Vec::new();
        for event in members.iter().filter_map(|id| self.0.get(*id)) {
            match event.causation.as_deref() {
                Some(cause) if cause == event.id => roots.push((event, Some("names itself as its cause".to_owned()))),
                Some(cause) if members.contains(cause) => caused.entry(cause).or_default().push(event),
                Some(cause) => roots.push((event, Some(format!("its cause {cause} was not found")))),
                None => roots.push((event, None)),
            }
        }
        let mut seen = BTreeSet::new();
        let order = |event: &Event| (event.time.clone(), event.id.clone());
        roots.sort_by_key(|(event, _)| order(event));
        let mut trees: Vec<Node> = roots.into_iter().map(|(event, note)| tree(event, note, &caused, &mut seen)).collect();
        // What no root leads to causes itself in the end.
        let mut left: Vec<&Event> = members.iter().filter_map(|id| self.0.get(*id)).collect();
        left.sort_by_key(|event| order(event));
        for event in left {
            if !seen.contains(event.id.as_str()) {
                let cause = event.causation.as_deref().unwrap_or_default();
                let note = format!("in a circle: its cause {cause} comes from it");
                trees.push(tree(event, Some(note), &caused, &mut seen));
            }
        }
        trees
    }

    /// Who belongs to `wanted`: by correlation, and all that they were caused by and have caused.
    fn members(&self, wanted: &str) -> BTreeSet<&str> {
        let own = self.0.get(wanted).and_then(|event| event.correlation.as_deref());
        let belongs = |event: &Event| {
            let correlation = event.correlation.as_deref();
            event.id == wanted || correlation == Some(wanted) || (own.is_some() && correlation == own)
        };
        let mut members: BTreeSet<&str> = self.0.values().filter(|event| belongs(event)).map(|event| event.id.as_str()).collect();
        loop {
            let before = members.len();
            let causes: Vec<&str> = members.iter().filter_map(|id| self.0.get(*id)?.causation.as_deref()).collect();
            members.extend(causes.into_iter().filter_map(|cause| self.0.get(cause)).map(|event| event.id.as_str()));
            let effects = self.0.values().filter(|event| event.causation.as_deref().is_some_and(|cause| members.contains(cause)));
            let effects: Vec<&str> = effects.map(|event| event.id.as_str()).collect();
            members.extend(effects);
            if members.len() == before {
                return members;
            }
        }
    }
}

fn tree<'a>(event: &'a Event, note: Option<String>, caused: &BTreeMap<&str, Vec<&'a Event>>, seen: &mut BTreeSet<&'a str>) -> Node {
    seen.insert(&event.id);
    let mut effects: Vec<&Event> = caused.get(event.id.as_str()).cloned().unwrap_or_default();
    effects.sort_by_key(|event| (event.time.clone(), event.id.clone()));
    let mut nodes = Vec::new();
    for effect in effects {
        // One that stands further up ends the circle.
        if !seen.contains(effect.id.as_str()) {
            nodes.push(tree(effect, None, caused, seen));
        }
    }
    Node {
        id: event.id.clone(),
        kind: event.kind.clone(),
        time: event.time.clone(),
        correlation: event.correlation.clone(),
        causation: event.causation.clone(),
        places: event.places.clone(),
        note,
        caused: nodes,
    }
}

impl Node {
    /// How many events stand in the tree.
    pub fn count(&self) -> usize {
        1 + self.caused.iter().map(Node::count).sum::<usize>()
    }

    /// The tree as lines.
    pub fn write(&self, out: &mut String) {
        self.lines("", "", out);
    }

    fn lines(&self, first: &str, rest: &str, out: &mut String) {
        let mut parts = vec![self.id.clone()];
        parts.extend(self.kind.clone());
        parts.extend(self.time.clone());
        parts.push(self.places.join(", "));
        parts.extend(self.note.as_ref().map(|note| format!("({note})")));
        out.push_str(&format!("{first}{}\n", parts.join("  ")));
        for (number, node) in self.caused.iter().enumerate() {
            let (branch, below) = if number + 1 == self.caused.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            node.lines(&format!("{rest}{branch}"), &format!("{rest}{below}"), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(of: &[(&str, Option<&str>, Option<&str>)]) -> Events {
        let mut events = Events::default();
        for (number, (id, causation, correlation)) in of.iter().enumerate() {
            events.add(Event {
                id: (*id).to_owned(),
                kind: None,
                time: Some(format!("{number:02}")),
                correlation: correlation.map(str::to_owned),
                causation: causation.map(str::to_owned),
                places: vec![format!("t[0]@{number}")],
            });
        }
        events
    }

    fn told(events: &Events, wanted: &str) -> String {
        let mut text = String::new();
        events.trees(wanted).iter().for_each(|tree| tree.write(&mut text));
        text
    }

    #[test]
    fn events_stand_under_their_causes_whichever_id_is_asked_for() {
        let all = events(&[
            ("o", None, Some("visit")),
            ("p", Some("o"), Some("visit")),
            ("a", Some("p"), None),
            ("q", Some("o"), Some("visit")),
            ("other", None, Some("x")),
        ]);
        let wanted = "o  00  t[0]@0\n├─ p  01  t[0]@1\n│  └─ a  02  t[0]@2\n└─ q  03  t[0]@3\n";
        for id in ["visit", "o", "p", "a"] {
            assert_eq!(told(&all, id), wanted, "{id}");
        }
        assert_eq!(told(&all, "nobody"), "");
    }

    #[test]
    fn missing_causes_and_circles_are_told_and_the_same_event_is_one() {
        let mut all =
            events(&[("a", Some("gone"), Some("c")), ("b", Some("d"), Some("c")), ("d", Some("b"), None), ("s", Some("s"), Some("c"))]);
        all.add(Event { id: "a".into(), kind: Some("t.A".into()), places: vec!["table alerts".into()], ..Event::default() });
        assert_eq!(
            told(&all, "c"),
            "a  t.A  00  t[0]@0, table alerts  (its cause gone was not found)\n\
             s  03  t[0]@3  (names itself as its cause)\n\
             b  01  t[0]@1  (in a circle: its cause d comes from it)\n└─ d  02  t[0]@2\n"
        );
    }
}
