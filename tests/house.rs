//! The rules of the house, run as a test: imports point downwards, neighbours leave each other alone.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the top down. Folders of one floor do not import each other, except where `MAY` says so.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["server"],
    &["fixture"],
    &["engine"],
    &["rules"],
    &["project", "sql"],
    &["dataflow"],
    &["connector", "operator", "table", "saga", "eventstore"],
    &["format", "log", "state"],
    &["change", "event", "time", "metrics", "options", "yaml", "fault"],
    &["error"],
];

/// Neighbours that one floor's table allows: a project is resolved into SQL.
const MAY: &[(&str, &str)] = &[("project", "sql"), ("event", "time"), ("metrics", "time")];

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// The rooms that a line of code names: `crate::room::…`, `crate::{a::…, b::…}`.
fn rooms_named(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for piece in line.split("crate::").skip(1) {
        let names: Vec<&str> = match piece.strip_prefix('{') {
            Some(list) => list.split(',').collect(),
            None => vec![piece],
        };
        rooms.extend(names.iter().map(|n| n.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()));
    }
    rooms
}

#[test]
fn imports_point_downwards() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut faults = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&source).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        if room == "lib" || inside.ends_with("tests.rs") {
            continue;
        }
        let Some(own) = floor_of(&room) else { panic!("{}: the folder '{room}' stands on no floor", inside.display()) };
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("mod tests") {
                break;
            }
            if line.trim_start().starts_with("//") {
                continue;
            }
            for named in rooms_named(line) {
                let Some(other) = floor_of(&named) else { continue };
                let allowed = named == room || other > own || MAY.contains(&(room.as_str(), named.as_str()));
                if !allowed {
                    faults.push(format!("{}:{}: {room} imports {named}", inside.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "imports must point downwards:\n{}", faults.join("\n"));
}

#[test]
fn no_drawers_and_nothing_unfinished() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    for file in files {
        let shown = file.display();
        let stem = file.file_stem().unwrap().to_string_lossy();
        assert!(!["utils", "util", "common", "helpers", "misc"].contains(&stem.as_ref()), "{shown} is a drawer");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!") || file.ends_with("tests.rs"), "{shown} does not say what it is for");
        for word in ["todo!(", "unimplemented!(", "FIXME"] {
            assert!(!text.contains(word), "{shown} holds {word}");
        }
    }
}
