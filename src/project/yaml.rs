//! `eagre.yaml` to settings: `checkpoint: { interval: 10 s }` and `checkpoint.interval: 10 s` say the same.

use super::env::expand;
use crate::error::{Error, Place, Result};
use crate::yaml::{Node, Value, document};

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
    let root = document(text, file)?;
    let mut entries = Vec::new();
    let mut faults = Vec::new();
    if root.value != Value::Null {
        flatten(&root, &mut Vec::new(), &root.place, &mut |path, place, value| {
            let key = path.join(".");
            match value.and_then(|value| expand(value, lookup)) {
                Ok(value) => entries.push(Entry { key, value, place: place.clone() }),
                Err(error) => faults.push(Error::input(format!("'{key}': {}", error.message())).at(place.clone())),
            }
        });
    }
    Error::all(faults).map_or(Ok(entries), Err)
}

/// Calls `found` for every leaf, with the place of its key.
fn flatten<'a>(node: &'a Node, path: &mut Vec<&'a str>, place: &Place, found: &mut dyn FnMut(&[&str], &Place, Result<&str>)) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                path.push(&entry.key);
                flatten(&entry.node, path, &entry.place, found);
                path.pop();
            }
        }
        _ => found(path, place, node.text().ok_or_else(|| Error::input("expected one value"))),
    }
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
