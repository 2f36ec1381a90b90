//! `eagre.yaml` to settings: `checkpoint: { interval: 10 s }` and `checkpoint.interval: 10 s` say the same.

use serde_yaml_ng::Value;

use super::env::expand;
use crate::error::{Error, Place, Result};

/// A setting as it stands in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, with dots.
    pub key: String,
    /// Its value, with environment variables filled in.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// All settings of `text`, in its order; `file` is its name for people. Reports all faults, not only the first.
pub fn read(text: &str, file: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Entry>> {
    let value: Value = serde_yaml_ng::from_str(text).map_err(|error| {
        let place = error.location().map_or_else(|| Place::thing(file), |at| Place::text(file, at.line() as u64, at.column() as u64));
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        Error::input(format!("not YAML: {message}")).at(place)
    })?;
    let mut entries = Vec::new();
    let mut faults = Vec::new();
    flatten(&value, &mut Vec::new(), &mut |path, value| {
        let place = place_of(text, file, path);
        match value.and_then(|value| expand(&value, lookup)) {
            Ok(value) => entries.push(Entry { key: path.join("."), value, place }),
            Err(error) => faults.push(Error::input(format!("'{}': {}", path.join("."), error.message())).at(place)),
        }
    });
    Error::all(faults).map_or(Ok(entries), Err)
}

/// Calls `found` for every leaf.
fn flatten(value: &Value, path: &mut Vec<String>, found: &mut dyn FnMut(&[String], Result<String>)) {
    match value {
        Value::Null if path.is_empty() => {}
        Value::Mapping(fields) => {
            for (key, value) in fields {
                path.push(scalar(key).unwrap_or_else(|| "?".to_owned()));
                flatten(value, path, found);
                path.pop();
            }
        }
        _ => match scalar(value) {
            Some(text) => found(path, Ok(text)),
            None => found(path, Err(Error::input("expected one value"))),
        },
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Where the key at `path` stands: the parser tells no places of keys, so each part is searched behind the one before.
fn place_of(text: &str, file: &str, path: &[String]) -> Place {
    let mut lines = (1..).zip(text.lines());
    let mut place = Place::thing(file);
    for part in path {
        let here = lines.by_ref().find_map(|(number, line)| {
            let plain = line.trim_start();
            let name = plain.trim_start_matches(['"', '\'']).strip_prefix(part.as_str())?;
            name.trim_start_matches(['"', '\'']).trim_start().starts_with(':').then_some((number, line.len() - plain.len()))
        });
        // Not found: a mapping on one line. The place of its head is good enough.
        let Some((line, column)) = here else { break };
        place = Place::text(file, line, column as u64 + 1);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Vec<String>> {
        let entries = read(text, "eagre.yaml", &|name| (name == "N").then(|| "7".to_owned()))?;
        Ok(entries.iter().map(|e| format!("{} {}={}", e.place, e.key, e.value)).collect())
    }

    #[test]
    fn nested_and_dotted_keys_are_the_same() {
        let text = "name: shop\ncheckpoint:\n  interval: 10 s\nparallelism: ${N}\ncut.interval: 20 ms\n";
        let wanted = [
            "eagre.yaml:1:1 name=shop",
            "eagre.yaml:3:3 checkpoint.interval=10 s",
            "eagre.yaml:4:1 parallelism=7",
            "eagre.yaml:5:1 cut.interval=20 ms",
        ];
        assert_eq!(told(text).unwrap(), wanted);
        assert_eq!(told("").unwrap(), [""; 0]);
    }

    #[test]
    fn faults_have_their_place() {
        assert_eq!(
            told("a: 1\nb: [1]\nc: ${NO}\n").unwrap_err().to_string(),
            "eagre.yaml:2:1: 'b': expected one value\n\
             eagre.yaml:3:1: 'c': the environment variable NO is not set; set it, or write ${NO:-default}"
        );
        assert!(told("a: [").unwrap_err().to_string().starts_with("eagre.yaml:2:1: not YAML: "), "{}", told("a: [").unwrap_err());
    }
}
