//! The rules of a running engine as its doors show and change them. Whoever runs the engine tells which rules run and which
//! were refused; a change is checked, saved into the project's folder, and taken from there as any other.
//!
//! ```text
//!  PUT /rules/x ─ check (isolated, nothing outside) ─▶ .x.yaml.new ─ rename ─▶ rules/x.yaml ─ watch ─▶ swapped in
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::engine::{Builder, Engine};
use crate::error::{Error, Kind, Result, did_you_mean};
use crate::project::{Project, RULES, RuleFile, rule_files};
use crate::rules::form::{Mode, RuleText};
use crate::rules::pipelines::{ALERTS, SHADOW_ALERTS};
use crate::rules::{documents, read};
use crate::table::Tables;
use crate::time::Watermark;

/// How long a change is waited for to be taken.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// The setting that lets rules be changed.
pub const WRITE: &str = "http.write";

/// The rules of an engine. Cheap to clone.
#[derive(Clone)]
pub struct RuleBoard {
    inner: Arc<Mutex<Inner>>,
    /// Rings when other rules run, or some were refused.
    changed: watch::Sender<u64>,
    tables: Tables,
    /// One change at a time.
    writing: Arc<tokio::sync::Mutex<()>>,
    /// May rules be changed?
    may_write: bool,
}

struct Inner {
    project: Project,
    rules: Vec<RuleText>,
    /// Why what was saved last does not run.
    refused: Vec<RefusedText>,
}

/// A fault of rules that were not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RefusedText {
    file: String,
    line: String,
}

/// A rule as a door shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownRule {
    /// Its name; of a file that cannot be read, that of the file.
    pub rule: String,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `active`, `shadow`, `off`, or `refused`: it does not run.
    pub state: &'static str,
    /// Why its file as it is now was not taken. A rule that ran before runs on as it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Where it stands.
    pub file: String,
    /// How often it matched, as far as its alerts are kept: those that were held back included, but for those after the last.
    pub matches: u64,
    /// How many alerts it has raised (in shadow mode: would have raised), as far as they are kept.
    pub alerts: u64,
    /// Event time of the last of them.
    pub last_alert: Option<String>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The rule.
    pub rule: String,
    /// The file that was written or removed.
    pub file: String,
    /// The engine has taken it: false when that took too long.
    pub taken: bool,
}

#[derive(Default, Clone, Copy)]
struct Figures {
    alerts: u64,
    held_back: u64,
    last: Option<i64>,
}

impl RuleBoard {
    /// The rules of `engine`.
    pub fn new(engine: &Engine) -> RuleBoard {
        RuleBoard::of(engine.project().clone(), engine.rules().to_vec(), engine.tables().clone(), engine.settings().http_write)
    }

    /// The rules of a project, whose alerts are in `tables`.
    pub fn of(project: Project, rules: Vec<RuleText>, tables: Tables, may_write: bool) -> RuleBoard {
        let inner = Arc::new(Mutex::new(Inner { project, rules, refused: Vec::new() }));
        RuleBoard { inner, changed: watch::Sender::new(0), tables, writing: Arc::default(), may_write }
    }

    /// These rules run now.
    pub fn runs(&self, engine: &Engine) {
        let mut inner = self.inner.lock();
        inner.project.rules.clone_from(&engine.project().rules);
        inner.rules = engine.rules().to_vec();
        inner.refused.clear();
        drop(inner);
        self.changed.send_modify(|version| *version += 1);
    }

    /// What was saved is not fit to run.
    pub fn refused(&self, faults: &Error) {
        let told = faults
            .each()
            .map(|fault| RefusedText { file: fault.place().map(|place| place.name.clone()).unwrap_or_default(), line: fault.line() });
        self.inner.lock().refused = told.collect();
        self.changed.send_modify(|version| *version += 1);
    }

    /// All rules, by name.
    pub fn list(&self) -> Result<Vec<ShownRule>> {
        let figures = self.figures()?;
        let inner = self.inner.lock();
        let reasons = |file: &str| inner.refused.iter().filter(|fault| fault.file == file).map(|fault| fault.line.clone()).collect();
        let mut shown: Vec<ShownRule> = Vec::new();
        for rule in &inner.rules {
            let file = rule.name.place.name.clone();
            let of = figures.get(&rule.name.text).copied().unwrap_or_default();
            shown.push(ShownRule {
                rule: rule.name.text.clone(),
                title: rule.meta.title.clone(),
                state: match rule.mode {
                    Mode::Active => "active",
                    Mode::Shadow => "shadow",
                    Mode::Off => "off",
                },
                refused: reasons(&file),
                matches: of.alerts + of.held_back,
                alerts: of.alerts,
                last_alert: of.last.map(|micros| Watermark(micros).to_string()),
                file,
            });
        }
        for fault in &inner.refused {
            if shown.iter().all(|rule| rule.file != fault.file) {
                let stem = Path::new(&fault.file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
                shown.push(ShownRule {
                    rule: stem.unwrap_or_default(),
                    title: None,
                    state: "refused",
                    refused: reasons(&fault.file),
                    file: fault.file.clone(),
                    matches: 0,
                    alerts: 0,
                    last_alert: None,
                });
            }
        }
        shown.sort_by(|a, b| a.rule.cmp(&b.rule));
        Ok(shown)
    }

    /// The text of a running rule.
    pub fn text(&self, name: &str) -> Result<String> {
        let inner = self.inner.lock();
        let (rule, file) = inner.find(name)?;
        Ok(file.text[documents::of(&file.text, rule)?].to_owned())
    }

    /// Saves the text `given` as the rule `name`. Nothing changes when it is not fit to run.
    pub async fn put(&self, name: &str, given: &str) -> Result<Changed> {
        let _one = self.writing.lock().await;
        let (project, dir) = self.writable()?;
        let fit = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(fit) {
            return Err(Error::input(format!("'{name}' cannot be a rule's file: expected letters, digits, '-', '_' and '.'")));
        }
        let mut files = rule_files(&project.base_dir)?;
        let own = dir.join(format!("{name}.yaml"));
        let (file, text) = match found(&files, name) {
            Some((rule, at)) => (PathBuf::from(&files[at].name), documents::replaced(&files[at].text, &rule, given)?),
            None if own.exists() => return Err(Error::input(format!("'{}' is there already and holds no rule '{name}'", own.display()))),
            None => (own, given.to_owned()),
        };
        let shown = file.display().to_string();
        let sent = read::rules(&text, &shown)?;
        if !sent.iter().any(|rule| rule.name.text == name) {
            let names: Vec<&str> = sent.iter().map(|rule| rule.name.text.as_str()).collect();
            return Err(Error::input(format!("the text is of rule '{}', not of '{name}'", names.join("', '"))));
        }
        let alone = read::rules(given, &shown)?;
        if alone.len() > 1 {
            return Err(Error::input(format!("one rule is saved at a time; the text holds {}", alone.len())));
        }
        files.retain(|other| other.name != shown);
        files.push(RuleFile { name: shown.clone(), text: text.clone() });
        files.sort_by(|a, b| a.name.cmp(&b.name));
        self.check(project, files.clone())?;
        std::fs::create_dir_all(&dir).map_err(|e| unwritable(&dir, e))?;
        save(&file, &text)?;
        Ok(Changed { rule: name.to_owned(), file: shown, taken: self.taken(&files).await })
    }

    /// Takes a rule out of its file; with the last one the file goes.
    pub async fn delete(&self, name: &str) -> Result<Changed> {
        let _one = self.writing.lock().await;
        let (project, _) = self.writable()?;
        let mut files = rule_files(&project.base_dir)?;
        let Some((rule, at)) = found(&files, name) else { return Err(unknown(name, &self.inner.lock().rules)) };
        let rules = read::rules(&files[at].text, &files[at].name)?.len();
        let shown = files[at].name.clone();
        let path = PathBuf::from(&shown);
        match documents::removed(&files[at].text, &rule, rules)? {
            Some(text) => {
                files[at].text.clone_from(&text);
                self.check(project, files.clone())?;
                save(&path, &text)?;
            }
            None => {
                files.remove(at);
                self.check(project, files.clone())?;
                std::fs::remove_file(&path).map_err(|e| unwritable(&path, e))?;
            }
        }
        Ok(Changed { rule: name.to_owned(), file: shown, taken: self.taken(&files).await })
    }

    /// The project and its folder of rules, where they may be changed.
    fn writable(&self) -> Result<(Project, PathBuf)> {
        if !self.may_write {
            let text =
                format!("rules are not changed through this door: set '{WRITE}' to true in eagre.yaml to allow it (or --http-write)");
            return Err(Error::new(Kind::Fenced, text));
        }
        let project = self.inner.lock().project.clone();
        if project.is_file() {
            return Err(Error::input("this project is a single SQL file: rules need a project folder"));
        }
        let dir = project.base_dir.join(RULES);
        Ok((project, dir))
    }

    /// Would the project run with these rules?
    fn check(&self, mut project: Project, files: Vec<RuleFile>) -> Result<()> {
        project.rules = files;
        Builder::new(project).isolated().0.build().map(|_| ())
    }

    /// Waits until just these files run.
    async fn taken(&self, files: &[RuleFile]) -> bool {
        let mut changed = self.changed.subscribe();
        let taken = changed.wait_for(|_| self.inner.lock().project.rules == files);
        tokio::time::timeout(TAKEN_WITHIN, taken).await.is_ok_and(|taken| taken.is_ok())
    }

    /// Per rule, what the tables of alerts hold.
    fn figures(&self) -> Result<BTreeMap<String, Figures>> {
        let snapshot = self.tables.snapshot();
        let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
        for table in [ALERTS, SHADOW_ALERTS].iter().filter_map(|name| snapshot.table(name)) {
            for batch in table.batches()? {
                let column = |name: &str| batch.column_by_name(name);
                let rules = column("rule").and_then(|column| column.as_string_view_opt());
                let times = column("alert_time").and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
                let held = column("held_back").and_then(|column| column.as_primitive_opt::<Int64Type>());
                let (Some(rules), Some(times), Some(held)) = (rules, times, held) else {
                    return Err(Error::bug("a table of alerts without rule, alert_time and held_back"));
                };
                for row in 0..batch.num_rows() {
                    let of = figures.entry(rules.value(row).to_owned()).or_default();
                    of.alerts += 1;
                    of.held_back += if held.is_valid(row) { held.value(row).max(0) as u64 } else { 0 };
                    of.last = of.last.max(Some(times.value(row) * 1_000));
                }
            }
        }
        Ok(figures)
    }
}

impl Inner {
    fn find(&self, name: &str) -> Result<(&RuleText, &RuleFile)> {
        let rule = self.rules.iter().find(|rule| rule.name.text == name).ok_or_else(|| unknown(name, &self.rules))?;
        let file = self.project.rules.iter().find(|file| file.name == rule.name.place.name);
        Ok((rule, file.ok_or_else(|| Error::bug(format!("rule '{name}' is in no file")))?))
    }
}

fn unknown(name: &str, rules: &[RuleText]) -> Error {
    let near = did_you_mean(name, rules.iter().map(|rule| rule.name.text.as_str()));
    Error::unreachable(format!("there is no rule '{name}'{near}"))
}

/// The rule of this name, and which of the files holds it. Files that cannot be read are nobody's.
fn found(files: &[RuleFile], name: &str) -> Option<(RuleText, usize)> {
    for (at, file) in files.iter().enumerate() {
        if let Ok(rules) = read::rules(&file.text, &file.name)
            && let Some(rule) = rules.into_iter().find(|rule| rule.name.text == name)
        {
            return Some((rule, at));
        }
    }
    None
}

/// Puts the whole text in the place of the file at once: who reads it meanwhile sees the old one.
fn save(path: &Path, text: &str) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hidden = path.with_file_name(format!(".{name}.new"));
    let written = std::fs::File::create(&hidden).and_then(|mut file| {
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&hidden, path)
    });
    written.map_err(|e| unwritable(path, e))
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::failed(format!("'{}' cannot be written", path.display())).because(error)
}
