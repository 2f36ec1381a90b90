//! YAML as people write it: a tree whose every node knows its place, and a reader of mappings that tells every fault in
//! one go.
//!
//! Words floor: what a key means is known by those who read it. Scalars stay the text that was written (`3+`, `1h`,
//! `1.10`), so that nothing is lost to a guess at their type.

use std::borrow::Cow;

use saphyr::{MarkedYaml, ScalarStyle, YamlData, YamlLoader};
use saphyr_parser::Parser;

use crate::error::{Error, Place, Result, did_you_mean};

/// A node and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// File, line and column.
    pub place: Place,
    /// What stands there.
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// One value as written, without its quotes.
    Scalar {
        /// The text.
        text: String,
        /// It stood in quotes: a text, whatever it looks like.
        quoted: bool,
    },
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{a: b}`, in the order of the file.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub place: Place,
    /// The value.
    pub node: Node,
}

/// The documents of `text`; `file` is its name for people. An empty document is `Null`.
pub fn documents(text: &str, file: &str) -> Result<Vec<Node>> {
    let mut loader = YamlLoader::<MarkedYaml>::default();
    loader.early_parse(false);
    let fault = |error: &saphyr::ScanError| {
        let place = Place::text(file, error.marker().line() as u64, error.marker().col() as u64 + 1);
        Error::input(format!("not YAML: {}", error.info())).at(place)
    };
    Parser::new_from_str(text).load(&mut loader, true).map_err(|error| fault(&error))?;
    if let Some(error) = loader.error() {
        return Err(fault(error));
    }
    loader.into_documents().iter().map(|document| Node::of(document, file)).collect()
}

/// The only document of `text`; `Null` when the file is empty.
pub fn document(text: &str, file: &str) -> Result<Node> {
    let mut all = documents(text, file)?;
    match all.len() {
        0 => Ok(Node { place: Place::text(file, 1, 1), value: Value::Null }),
        1 => Ok(all.remove(0)),
        _ => Err(Error::input("one document is expected here, not several divided by '---'").at(all.remove(1).place)),
    }
}

impl Node {
    fn of(node: &MarkedYaml<'_>, file: &str) -> Result<Node> {
        let place = Place::text(file, node.span.start.line() as u64, node.span.start.col() as u64 + 1);
        let value = match &node.data {
            YamlData::Representation(text, style, tag) => {
                let quoted =
                    *style != ScalarStyle::Plain || tag.as_ref().is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                match (quoted, text.as_ref()) {
                    (false, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
                    (_, text) => Value::Scalar { text: text.to_owned(), quoted },
                }
            }
            YamlData::Sequence(items) => Value::List(items.iter().map(|item| Node::of(item, file)).collect::<Result<_>>()?),
            YamlData::Mapping(entries) => {
                let entries = entries.iter().map(|(key, node)| {
                    let key = Node::of(key, file)?;
                    match key.value {
                        Value::Scalar { text, .. } => Ok(Entry { key: text, place: key.place, node: Node::of(node, file)? }),
                        _ => Err(Error::input("a key is one word or text").at(key.place)),
                    }
                });
                Value::Map(entries.collect::<Result<_>>()?)
            }
            YamlData::Tagged(_, inner) => return Node::of(inner, file),
            YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => return Err(Error::input("not a value of YAML").at(place)),
        };
        Ok(Node { place, value })
    }

    /// What kind of thing it is, for messages.
    pub fn kind(&self) -> Cow<'_, str> {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Scalar { text, .. } => format!("'{text}'").into(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
        }
    }

    /// The node as JSON: unquoted scalars that read as JSON (`1`, `2.5`, `true`) are what they look like, others texts.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Scalar { text, quoted: true } => text.as_str().into(),
            Value::Scalar { text, quoted: false } => match serde_json::from_str(text) {
                Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => value,
                _ => text.as_str().into(),
            },
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect(),
        }
    }

    /// A fault of this node.
    pub fn fault(&self, message: impl Into<String>) -> Error {
        Error::input(message).at(self.place.clone())
    }

    /// Its text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// Reads a mapping key by key. Whatever is wrong goes to the caller's faults; keys that nobody asked for are faults, too.
pub struct Fields<'a> {
    what: String,
    place: Place,
    entries: Vec<Option<&'a Entry>>,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of `node`; `what` names the thing for messages (`rule 'x'`). `None`, with a fault, if it is no mapping.
    pub fn of(node: &'a Node, what: impl Into<String>, faults: &mut Vec<Error>) -> Option<Fields<'a>> {
        let what = what.into();
        match &node.value {
            Value::Map(entries) => {
                Some(Fields { what, place: node.place.clone(), entries: entries.iter().map(Some).collect(), asked: Vec::new() })
            }
            _ => {
                faults.push(node.fault(format!("{what}: expected a mapping (key: value), not {}", node.kind())));
                None
            }
        }
    }

    /// Calls the thing by a name that was learnt from one of its fields.
    pub fn named(mut self, what: String) -> Self {
        self.what = what;
        self
    }

    /// What the thing is called.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Where the mapping begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The value of `key`, if it is there and not null.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        let found = self.entries.iter_mut().find(|entry| entry.is_some_and(|entry| entry.key == key))?;
        found.take().map(|entry| &entry.node).filter(|node| node.value != Value::Null)
    }

    /// Takes out the entry of a key that is no word of this mapping: a name of the user's, or one that is misplaced.
    pub fn take_any(&mut self, key: &str) -> Option<&'a Entry> {
        self.entries.iter_mut().find(|entry| entry.is_some_and(|entry| entry.key == key))?.take()
    }

    /// The value of `key`; a fault when it is missing.
    pub fn need(&mut self, key: &'static str, faults: &mut Vec<Error>) -> Option<&'a Node> {
        let found = self.take(key);
        if found.is_none() {
            faults.push(Error::input(format!("{}: '{key}' is missing", self.what)).at(self.place.clone()));
        }
        found
    }

    /// The text of `key`; a fault when it is something else.
    pub fn text(&mut self, key: &'static str, faults: &mut Vec<Error>) -> Option<&'a str> {
        let node = self.take(key)?;
        let text = node.text();
        if text.is_none() {
            faults.push(node.fault(format!("{}: '{key}' is one value, not {}", self.what, node.kind())));
        }
        text
    }

    /// The value of `key` as `read` makes it of its text; a fault saying what was `expected` when it cannot.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        faults: &mut Vec<Error>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(key)?;
        let value = node.text().and_then(read);
        if value.is_none() {
            faults.push(node.fault(format!("{}: '{key}' is {}; expected {expected}", self.what, node.kind())));
        }
        value
    }

    /// `true` or `false`; absent is `false`.
    pub fn flag(&mut self, key: &'static str, faults: &mut Vec<Error>) -> bool {
        self.read(key, "true or false", faults, |text| text.parse().ok()).unwrap_or(false)
    }

    /// The elements of the list `key`; one value stands for a list of one.
    pub fn list(&mut self, key: &'static str) -> &'a [Node] {
        match self.take(key) {
            None => &[],
            Some(node) => match &node.value {
                Value::List(items) => items,
                _ => std::slice::from_ref(node),
            },
        }
    }

    /// The entries that nobody asked for, for mappings whose keys are names of the user's.
    pub fn others(&mut self) -> Vec<&'a Entry> {
        self.entries.iter_mut().filter_map(Option::take).collect()
    }

    /// Keys that nobody asked for are faults.
    pub fn close(mut self, faults: &mut Vec<Error>) {
        for entry in self.others() {
            let near = match did_you_mean(&entry.key, self.asked.iter().copied()) {
                near if near.is_empty() => format!("; it knows {}", self.asked.join(", ")),
                near => near,
            };
            faults.push(Error::input(format!("{}: unknown key '{}'{near}", self.what, entry.key)).at(entry.place.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_stay_as_written_and_nodes_know_their_place() {
        let node = document("a: 1.10\nb: { c: 3+, d: 'null', e: null }\nf:\n  - 0x10\n", "f.yaml").unwrap();
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        let places: Vec<String> = entries.iter().map(|e| format!("{} {} {}", e.place, e.key, e.node.place)).collect();
        assert_eq!(places, ["f.yaml:1:1 a f.yaml:1:4", "f.yaml:2:1 b f.yaml:2:4", "f.yaml:3:1 f f.yaml:4:3"]);
        assert_eq!(entries[0].node.text(), Some("1.10"));
        let Value::Map(inner) = &entries[1].node.value else { panic!() };
        assert_eq!(inner[0].node.text(), Some("3+"));
        assert_eq!(inner[1].node.text(), Some("null"));
        assert_eq!(inner[2].node.value, Value::Null);
        let Value::List(items) = &entries[2].node.value else { panic!() };
        assert_eq!(items[0].text(), Some("0x10"));
    }

    #[test]
    fn several_documents_and_anchors() {
        assert_eq!(documents("a: 1\n---\na: 2\n", "f").unwrap().len(), 2);
        assert_eq!(document("", "f").unwrap().value, Value::Null);
        assert!(document("a: 1\n---\nb: 2\n", "f").unwrap_err().to_string().starts_with("f:3:1: one document"));
        let shared = document("a: &x [1, 2]\nb: *x\n", "f").unwrap();
        let Value::Map(entries) = &shared.value else { panic!() };
        assert_eq!(entries[0].node.value, entries[1].node.value);
    }

    #[test]
    fn broken_text_is_told_with_its_place() {
        let told = |text: &str| documents(text, "f.yaml").unwrap_err().to_string();
        assert!(told("a: [1,\nb: 2").starts_with("f.yaml:"), "{}", told("a: [1,\nb: 2"));
        assert!(told("a: 1\na: 2\n").contains("not YAML"), "{}", told("a: 1\na: 2\n"));
    }

    #[test]
    fn a_reader_tells_all_faults_at_once() {
        let node = document("name: x\nlimit: many\nlevle: 2\nsub: [1]\n", "f.yaml").unwrap();
        let mut faults = Vec::new();
        let mut fields = Fields::of(&node, "thing", &mut faults).unwrap();
        assert_eq!(fields.text("name", &mut faults), Some("x"));
        assert_eq!(fields.read("limit", "a whole number", &mut faults, |text| text.parse::<u64>().ok()), None);
        assert_eq!(fields.take("level"), None);
        fields.need("size", &mut faults);
        assert_eq!(fields.text("sub", &mut faults), None);
        fields.close(&mut faults);
        let told: Vec<String> = faults.iter().map(Error::line).collect();
        assert_eq!(
            told,
            [
                "f.yaml:2:8: thing: 'limit' is 'many'; expected a whole number",
                "f.yaml:1:1: thing: 'size' is missing",
                "f.yaml:4:6: thing: 'sub' is one value, not a list",
                "f.yaml:3:1: thing: unknown key 'levle'; did you mean 'level'?",
            ]
        );
    }
}
