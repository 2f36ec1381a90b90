//! Queries and Flink's answers to them (`tests/flink/*.sql`, `*.flink`): `scripts/compare-flink --record` asked Flink once,
//! here Eagre is held to what it said. A query that differs on purpose says why in a comment `differs:`, and must differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use eagre::dataflow::settings::Restore;
use eagre::engine::Engine;
use eagre::error::Place;
use eagre::project::{Origin, Project, SqlText};

/// A file's declarations and queries.
#[derive(Default)]
struct Script {
    /// Rows of the files that it reads, by name.
    data: BTreeMap<String, String>,
    declarations: String,
    queries: Vec<Query>,
}

struct Query {
    title: String,
    text: String,
    /// Why it differs, if it does on purpose.
    differs: Option<String>,
}

/// The same reading as `scripts/compare-flink`'s.
fn parse(path: &Path) -> Script {
    let mut script = Script::default();
    let (mut comments, mut statement, mut into) = (Vec::new(), String::new(), None);
    for line in fs::read_to_string(path).unwrap().lines() {
        if let Some(comment) = line.trim_start().strip_prefix("--").filter(|_| statement.is_empty()) {
            let comment = comment.strip_prefix(' ').unwrap_or(comment);
            if let Some(name) = comment.strip_prefix("data ").map(str::trim).filter(|name| !name.contains(' ')) {
                script.data.insert(name.to_owned(), String::new());
                into = Some(name.to_owned());
            } else if let Some(name) = into.as_ref().filter(|_| comment.starts_with("  ")) {
                let rows = script.data.get_mut(name).unwrap();
                rows.push_str(comment.trim());
                rows.push('\n');
            } else {
                into = None;
                comments.push(comment.to_owned());
            }
            continue;
        }
        into = None;
        if !line.trim().is_empty() {
            statement.push_str(line);
            statement.push('\n');
        }
        if line.trim_end().ends_with(';') {
            let text = statement.trim_end().trim_end_matches(';').to_owned();
            let comments = std::mem::take(&mut comments);
            statement.clear();
            if ["SELECT", "WITH", "VALUES"].iter().any(|word| text.starts_with(word)) {
                let differs = comments.iter().find_map(|c| c.strip_prefix("differs:")).map(|why| why.trim().to_owned());
                let title: Vec<&str> =
                    comments.iter().map(String::as_str).filter(|c| !c.is_empty() && !c.starts_with("differs:")).collect();
                script.queries.push(Query { title: title.join(" "), text, differs });
            } else {
                script.declarations.push_str(&text);
                script.declarations.push_str(";\n");
            }
        }
    }
    script
}

/// One text for equal rows: no NULLs, numbers as texts, those with a fraction rounded to nine digits, types without NOT NULL.
fn canonical(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(n) => match (n.as_i64(), format!("{:.8e}", n.as_f64().unwrap()).parse::<f64>().unwrap()) {
            (Some(n), _) => n.to_string().into(),
            (None, x) if x.fract() == 0.0 && x.abs() < 1e15 => (x as i64).to_string().into(),
            (None, x) => format!("{x:.8e}").into(),
        },
        Value::String(text) => text.replace(" NOT NULL", "").into(),
        Value::Array(values) => values.iter().map(canonical).collect(),
        Value::Object(fields) => fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), canonical(v))).collect(),
        other => other.clone(),
    }
}

fn rows(folder: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            rows.push(canonical(&serde_json::from_str(line).unwrap()).to_string());
        }
    }
    rows.sort();
    rows
}

/// What Eagre makes of a query whose result has these columns (`None`: of any): its rows, or why it refuses it.
async fn answer(script: &Script, query: &Query, columns: Option<&str>) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    for (name, rows) in &script.data {
        fs::write(dir.path().join(name), rows).unwrap();
    }
    let declarations = script.declarations.replace("__DATA__", &at.to_string());
    let text = match columns {
        None => format!("{declarations}CREATE MATERIALIZED VIEW answer AS {};", query.text),
        Some(columns) => format!(
            "{declarations}CREATE TABLE answer ({columns}) WITH ('connector'='filesystem','format'='json','path'='{at}/answer');\n\
             INSERT INTO answer {};",
            query.text
        ),
    };
    let mut project = Project::of_texts("flink", dir.path(), vec![SqlText { name: "q.sql".into(), text }]);
    for (key, value) in [("parallelism", "2"), ("checkpoint.interval", "1 h")] {
        project.settings.set(key, value, Origin::Set, Place::thing("test")).unwrap();
    }
    let engine = Engine::load(project).map_err(|e| e.to_string())?;
    if columns.is_none() {
        return Ok(Vec::new());
    }
    let running = engine.start(Restore::Auto, false).await.map_err(|e| e.to_string())?;
    running.wait().await.map_err(|e| e.to_string())?;
    Ok(rows(&dir.path().join("answer")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_are_flinks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flink");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "sql"));
    files.sort();
    let (mut asked, mut failures) = (0, Vec::new());
    for file in files {
        let script = parse(&file);
        let answers: serde_json::Value = serde_json::from_str(&fs::read_to_string(file.with_extension("flink")).unwrap()).unwrap();
        for query in &script.queries {
            let recorded = answers.get(&query.title).unwrap_or_else(|| panic!("{}: '{}' was never recorded", file.display(), query.title));
            let given = answer(&script, query, recorded["columns"].as_str()).await;
            let difference = match (recorded["rows"].as_array(), given) {
                (None, Err(_)) => None,
                (None, Ok(_)) => Some(format!("Flink refuses it: {}", recorded["refused"])),
                (Some(_), Err(why)) => Some(why),
                (Some(wanted), Ok(given)) => {
                    let mut wanted: Vec<String> = wanted.iter().map(|row| canonical(row).to_string()).collect();
                    wanted.sort();
                    (wanted != given).then(|| format!("wanted {wanted:#?}\n  found {given:#?}"))
                }
            };
            match (difference, &query.differs) {
                (Some(how), None) => failures.push(format!("{}: {}: {how}", file.display(), query.title)),
                (None, Some(why)) => failures.push(format!("{}: {}: does not differ any more ({why})", file.display(), query.title)),
                _ => asked += 1,
            }
        }
    }
    assert!(failures.is_empty(), "{} queries differ from Flink\n{}", failures.len(), failures.join("\n"));
    println!("{asked} queries");
}
