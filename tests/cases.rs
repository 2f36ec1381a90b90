//! SQL cases as texts (`tests/sql/**/*.case`): rows go in, one sees which one makes which result appear.
//!
//! ```text
//! # What the case shows.
//! disorder: 5 s                                   (optional) rows may arrive this much out of order: also run shuffled
//! CREATE TABLE t (…) WITH ('connector' = 'feed', 'format' = 'json');
//! CREATE MATERIALIZED VIEW out AS SELECT …;
//! ----
//! t {"k": "a", "ts": "2024-01-01 00:00:01"}       a row of t
//! = {"k": "a", "n": 1}                            a row that has appeared in `out` by now
//! - {"k": "c", "n": 1}                            a row that has vanished from `out` by now
//! end                                             all inputs end
//! = {"k": "b", "n": 2}
//! dropped late 1                                  counted by reason in the whole run (late rows: pairs of row and window)
//! ```
//! Each case is run step by step; at once, in one batch per table; with a stop and a restore at another parallelism
//! between every two steps; at parallelism 2 and 3; shuffled within the allowed disorder. One answer every time.
//! `EAGRE_FILL=1` writes the results found step by step into the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eagre::dataflow::settings::Restore;
use eagre::engine::Engine;
use eagre::error::Place;
use eagre::project::{Origin, Project, SqlText};

/// What a case waits for at most.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Row(String, String),
    End,
}

#[derive(Debug)]
pub struct Case {
    pub path: PathBuf,
    pub sql: String,
    pub disorder_micros: Option<i64>,
    /// Input steps with the results that must have appeared before the next step.
    pub steps: Vec<(Step, Vec<String>)>,
    pub dropped: BTreeMap<String, u64>,
}

/// What came out in the end, or what went wrong: rows, then what was dropped by reason.
type Answer = Result<(Vec<String>, BTreeMap<String, u64>), String>;

fn parse(path: &Path) -> Case {
    let text = fs::read_to_string(path).unwrap();
    let (head, body) = text.split_once("\n----\n").unwrap_or_else(|| panic!("{}: no line '----'", path.display()));
    let mut case = Case { path: path.into(), sql: String::new(), disorder_micros: None, steps: vec![], dropped: BTreeMap::new() };
    for line in head.lines() {
        if let Some(disorder) = line.strip_prefix("disorder:") {
            case.disorder_micros = Some(eagre::time::parse_duration(disorder.trim()).unwrap());
        } else if !line.starts_with('#') {
            case.sql.push_str(line);
        }
        case.sql.push('\n');
    }
    for line in body.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(row) = line.strip_prefix("= ") {
            case.steps.last_mut().unwrap_or_else(|| panic!("{}: a result before any input", path.display())).1.push(canonical(row));
        } else if let Some(row) = line.strip_prefix("- ") {
            let results = &mut case.steps.last_mut().unwrap_or_else(|| panic!("{}: a result before any input", path.display())).1;
            results.push(format!("- {}", canonical(row)));
        } else if line == "end" {
            case.steps.push((Step::End, vec![]));
        } else if let Some(dropped) = line.strip_prefix("dropped ") {
            let (reason, count) = dropped.split_once(' ').unwrap();
            case.dropped.insert(reason.into(), count.parse().unwrap());
        } else {
            let (table, row) = line.split_once(' ').unwrap_or_else(|| panic!("{}: '{line}'", path.display()));
            case.steps.push((Step::Row(table.into(), row.into()), vec![]));
        }
    }
    if case.steps.last().is_none_or(|(step, _)| *step != Step::End) {
        case.steps.push((Step::End, vec![]));
    }
    case
}

/// Keys in order, doubles rounded to nine digits: equal rows become equal texts.
pub fn canonical(row: &str) -> String {
    fn tidy(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Number(n) if n.is_f64() => serde_json::Value::String(format!("{:.9e}", n.as_f64().unwrap())),
            serde_json::Value::Object(map) => {
                let sorted: BTreeMap<_, _> = map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, tidy(v))).collect();
                serde_json::Value::Object(sorted.into_iter().collect())
            }
            serde_json::Value::Array(list) => serde_json::Value::Array(list.into_iter().map(tidy).collect()),
            other => other,
        }
    }
    tidy(serde_json::from_str(row).unwrap_or_else(|e| panic!("'{row}': {e}"))).to_string()
}

/// The rows of a batch, canonical.
pub fn rows_of(batch: &arrow::array::RecordBatch) -> Vec<String> {
    let mut text = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut text);
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    String::from_utf8(text).unwrap().lines().map(canonical).collect()
}

/// An engine over a case, with what has been fed and seen so far.
struct Bench {
    engine: Engine,
    fed: u64,
    seen: Vec<String>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(case: &Case, parallelism: usize) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let text = SqlText { name: case.path.file_name().unwrap().to_string_lossy().into(), text: case.sql.clone() };
        let mut project = Project::of_texts("case", dir.path(), vec![text]);
        for (key, value) in [("parallelism", parallelism.to_string().as_str()), ("cut.interval", "1 ms"), ("checkpoint.interval", "1 h")] {
            project.settings.set(key, value, Origin::Set, Place::thing("test")).unwrap();
        }
        let engine = Engine::load(project).unwrap_or_else(|e| panic!("{}: {e}", case.path.display()));
        for table in &tables(case) {
            engine.feed(table).unwrap().keep();
        }
        Bench { engine, fed: 0, seen: vec![], _dir: dir }
    }

    /// All rows of `out` now, canonical and sorted.
    fn rows(&self) -> Vec<String> {
        let snapshot = self.engine.tables().snapshot();
        let table = snapshot.table("out").expect("the case fills no table 'out'");
        let mut rows = Vec::new();
        for batch in table.batches().unwrap() {
            rows.extend(rows_of(&batch));
        }
        rows.sort();
        rows
    }

    /// What has appeared and, with `- ` before it, what has vanished since the last look.
    fn fresh(&mut self) -> Vec<String> {
        let all = self.rows();
        let mut left = self.seen.clone();
        let mut fresh = all.clone();
        fresh.retain(|row| match left.iter().position(|old| old == row) {
            Some(at) => {
                left.swap_remove(at);
                false
            }
            None => true,
        });
        fresh.extend(left.iter().map(|row| format!("- {row}")));
        self.seen = all;
        fresh
    }

    async fn feed(&mut self, table: &str, lines: &[&str]) {
        self.fed += lines.len() as u64;
        self.engine.feed(table).unwrap().send_lines(0, lines.join("\n") + "\n").await.unwrap();
    }

    /// Waits until everything fed has been read and a later cut has been published.
    async fn settle(&self, before: u64) {
        let read =
            || self.engine.metrics().values().iter().filter(|(n, _, _)| n == "eagre_source_records_total").map(|v| v.2 as u64).sum::<u64>();
        let settled = async {
            while read() - before < self.fed {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut published = self.engine.tables().published();
            let target = *published.borrow() + 4;
            published.wait_for(|epoch| *epoch >= target).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, settled).await.expect("the pipeline does not come to rest");
    }

    fn dropped(&self) -> BTreeMap<String, u64> {
        let mut dropped = BTreeMap::new();
        for (name, labels, value) in self.engine.metrics().values() {
            if name == "eagre_rows_dropped_total" && value > 0 {
                let reason = labels.split("reason=\"").nth(1).unwrap().trim_end_matches('"').to_owned();
                *dropped.entry(reason).or_default() += value as u64;
            }
        }
        dropped
    }

    fn end(&self, case: &Case) {
        tables(case).iter().for_each(|t| self.engine.feed(t).unwrap().end());
    }
}

/// The fed tables: those of the rows, and those that the text declares as feeds.
fn tables(case: &Case) -> Vec<String> {
    let mut tables: Vec<String> = case
        .sql
        .split("CREATE TABLE ")
        .skip(1)
        .filter(|t| t.contains("'feed'"))
        .map(|t| t.split_whitespace().next().unwrap().into())
        .collect();
    tables.sort();
    tables.dedup();
    tables
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

fn all_results(case: &Case) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for result in case.steps.iter().flat_map(|(_, results)| sorted(results.clone())) {
        match result.strip_prefix("- ") {
            None => rows.push(result),
            Some(gone) => {
                let at =
                    rows.iter().position(|row| row == gone).unwrap_or_else(|| panic!("{}: {gone} was never there", case.path.display()));
                rows.swap_remove(at);
            }
        }
    }
    sorted(rows)
}

/// Step by step; returns the results found after each step.
async fn stepwise(case: &Case, parallelism: usize) -> (Vec<Vec<String>>, BTreeMap<String, u64>) {
    let mut bench = Bench::new(case, parallelism);
    let running = bench.engine.start(Restore::Auto, false).await.unwrap();
    let mut found = Vec::new();
    let mut running = Some(running);
    for (step, _) in &case.steps {
        match step {
            Step::Row(table, row) => {
                bench.feed(table, &[row]).await;
                bench.settle(0).await;
            }
            Step::End => {
                bench.end(case);
                if let Some(running) = running.take() {
                    tokio::time::timeout(PATIENCE, running.wait()).await.expect("it does not end").unwrap();
                }
            }
        }
        found.push(bench.fresh());
    }
    (found, bench.dropped())
}

/// Stopped and restored, at another parallelism, between every two steps.
pub async fn restarted(case: &Case) -> Answer {
    let mut bench = Bench::new(case, 1);
    for (number, (step, _)) in case.steps.iter().enumerate() {
        let running = bench.engine.start_at(1 + number % 3, Restore::Latest, false).await.unwrap();
        let stopper = running.stopper();
        let mut ended = Box::pin(ended(running));
        match step {
            Step::Row(table, row) => {
                bench.feed(table, &[row]).await;
                or_ended(bench.settle(0), &mut ended).await?;
                stopper.stop();
            }
            Step::End => bench.end(case),
        }
        ended.await?;
    }
    Ok((bench.rows(), bench.dropped()))
}

/// All rows of a table in one batch, in an order of choice.
pub async fn at_once(case: &Case, parallelism: usize, order: impl Fn(&[&str]) -> Vec<String>) -> Answer {
    let mut bench = Bench::new(case, parallelism);
    let mut by_table: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (step, _) in &case.steps {
        if let Step::Row(table, row) = step {
            by_table.entry(table).or_default().push(row);
        }
    }
    for (table, rows) in &by_table {
        let ordered = order(rows);
        bench.feed(table, &ordered.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    bench.end(case);
    let running = bench.engine.start(Restore::Auto, false).await.unwrap();
    ended(running).await?;
    Ok((bench.rows(), bench.dropped()))
}

/// Of one table: its rows in batches that begin at `cuts`.
pub async fn in_cuts(case: &Case, parallelism: usize, cuts: &[usize]) -> Answer {
    let mut bench = Bench::new(case, parallelism);
    let mut ended = Box::pin(ended(bench.engine.start(Restore::Auto, false).await.unwrap()));
    let mut batch = Vec::new();
    for (number, (step, _)) in case.steps.iter().enumerate() {
        let Step::Row(table, row) = step else { continue };
        batch.push(row.as_str());
        if cuts.contains(&(number + 1)) || number + 2 == case.steps.len() {
            bench.feed(table, &batch).await;
            batch.clear();
            or_ended(bench.settle(0), &mut ended).await?;
        }
    }
    bench.end(case);
    ended.await?;
    Ok((bench.rows(), bench.dropped()))
}

/// Waits for something, but not for ever where the run ends before.
async fn or_ended(
    something: impl Future<Output = ()>,
    ended: &mut std::pin::Pin<Box<impl Future<Output = Result<(), String>>>>,
) -> Result<(), String> {
    tokio::select! {
        () = something => Ok(()),
        end = ended => Err(end.err().unwrap_or_else(|| "it ended too early".to_owned())),
    }
}

async fn ended(running: eagre::engine::Running) -> Result<(), String> {
    tokio::time::timeout(PATIENCE, running.wait()).await.expect("it does not end").map(|_| ()).map_err(|error| error.to_string())
}

/// Rows in an order that a stream with this much disorder could have: sorted by event time plus a random delay.
fn shuffled(rows: &[&str], disorder_micros: i64, seed: u64) -> Vec<String> {
    let mut state = seed;
    let mut delayed: Vec<(i64, &str)> = rows
        .iter()
        .map(|row| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value: serde_json::Value = serde_json::from_str(row).unwrap();
            let ts = value["ts"].as_str().and_then(|t| chrono::NaiveDateTime::parse_from_str(t, "%Y-%m-%d %H:%M:%S%.f").ok());
            let ts = ts.map_or(i64::MIN / 2, |t| t.and_utc().timestamp_micros());
            (ts + (state >> 33) as i64 % disorder_micros.max(1), *row)
        })
        .collect();
    delayed.sort_by_key(|(at, _)| *at);
    delayed.into_iter().map(|(_, row)| row.to_owned()).collect()
}

fn fill(case: &Case, found: &[Vec<String>]) {
    let text = fs::read_to_string(&case.path).unwrap();
    let (head, body) = text.split_once("\n----\n").unwrap();
    let mut out = format!("{head}\n----\n");
    let mut steps = found.iter();
    let mut write = |out: &mut String| {
        for row in steps.next().into_iter().flatten() {
            out.push_str(&if row.starts_with("- ") { format!("{row}\n") } else { format!("= {row}\n") });
        }
    };
    let mut ended = false;
    for line in body.lines().filter(|l| !l.trim().starts_with("= ") && !l.trim().starts_with("- ")) {
        out.push_str(line);
        out.push('\n');
        let trimmed = line.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') && !trimmed.starts_with("dropped ") {
            write(&mut out);
            ended |= trimmed == "end";
        }
    }
    if !ended {
        out.push_str("end\n");
        write(&mut out);
    }
    fs::write(&case.path, out).unwrap();
}

fn case_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            case_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "case") {
            found.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_gives_one_answer_however_it_is_run() {
    let mut files = Vec::new();
    case_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql"), &mut files);
    files.sort();
    if let Ok(only) = std::env::var("EAGRE_CASE") {
        files.retain(|file| file.to_string_lossy().contains(&only));
    }
    assert!(!files.is_empty(), "no cases found");
    let mut failures = Vec::new();
    for file in &files {
        let case = parse(file);
        let name = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
        let (found, dropped) = stepwise(&case, 1).await;
        if std::env::var_os("EAGRE_FILL").is_some() {
            fill(&case, &found);
            continue;
        }
        for ((step, expected), found) in case.steps.iter().zip(&found) {
            let (expected, found) = (sorted(expected.clone()), sorted(found.clone()));
            if expected != found {
                failures.push(format!("{name}: after {step:?}\n  expected {expected:#?}\n  found    {found:#?}"));
            }
        }
        if dropped != case.dropped {
            failures.push(format!("{name}: dropped {dropped:?}, expected {:?}", case.dropped));
        }
        let expected = all_results(&case);
        let mut compare = |how: &str, answer: Answer, count: bool| {
            let (found, dropped) = answer.unwrap_or_else(|error| panic!("{name}, {how}: {error}"));
            if found != expected {
                failures.push(format!("{name}, {how}:\n  expected {expected:#?}\n  found    {found:#?}"));
            }
            if count && dropped != case.dropped {
                failures.push(format!("{name}, {how}: dropped {dropped:?}, expected {:?}", case.dropped));
            }
        };
        let as_is = |rows: &[&str]| rows.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();
        compare("restarted between steps", restarted(&case).await, true);
        let one_input = tables(&case).len() == 1;
        if one_input || case.dropped.is_empty() {
            for parallelism in [1, 2, 3] {
                compare(&format!("at once, parallelism {parallelism}"), at_once(&case, parallelism, as_is).await, one_input);
            }
        }
        if let Some(disorder) = case.disorder_micros {
            for seed in 1..=3 {
                let answer = at_once(&case, 2, |rows| shuffled(rows, disorder, seed)).await;
                compare(&format!("shuffled with seed {seed}"), answer, true);
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    println!("{} cases", files.len());
}
