//! `eagre rules`: look at a project's rules, check them on their own tests, try one on stored events, print the form.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use clap::{Args as ClapArgs, Subcommand};

use super::moment::Moment;
use super::output::{self, Format, Rows};
use super::project_args::{PlaceArgs, ProjectArgs};
use super::sql::session::Session;
use crate::engine::Engine;
use crate::error::{Error, Place, Result, did_you_mean};
use crate::project::{Project, RuleFile};
use crate::rules::form::{MatchText, RuleText};
use crate::rules::group::{Group, groups};
use crate::rules::runner::{Runner, columns_wanted, events, in_order};
use crate::rules::{SCHEMA, inline, read};

/// Look at rules, check them, try one on stored events.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the rules of a project.
    List {
        #[command(flatten)]
        project: ProjectArgs,
        /// How the answer looks.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Check all rules against the project's streams and run their tests.
    Check {
        #[command(flatten)]
        project: ProjectArgs,
    },
    /// Run a rule over stored events and show what it would have raised. Nothing is written.
    Try {
        /// The rule's name, or a file of rules that is not in the project yet.
        rule: String,
        /// Project folder.
        #[arg(default_value = ".")]
        path: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
        /// Only events from this time on: 2026-01-31T12:00:00Z, or -1h for an hour ago.
        #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
        since: Option<Moment>,
        /// Only events before this time.
        #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
        until: Option<Moment>,
        /// How the answer looks.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Print the JSON Schema of rule files: editors complete from it.
    Schema,
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    match args.command {
        Command::List { project, format } => list(&project.open()?, format),
        Command::Check { project } => check(project.open()?),
        Command::Try { rule, path, place, since, until, format } => {
            let project = place.apply(Project::open(&path)?)?;
            try_rule(project, &rule, since, until, format).await
        }
        Command::Schema => {
            super::print(SCHEMA)?;
            Ok(0)
        }
    }
}

/// The rules of some files; every fault is told.
fn rules_of(files: &[RuleFile]) -> Result<Vec<RuleText>> {
    let mut rules = Vec::new();
    let mut faults = Vec::new();
    for file in files {
        match read::rules(&file.text, &file.name) {
            Ok(read) => rules.extend(read),
            Err(fault) => faults.push(fault),
        }
    }
    Error::all(faults).map_or(Ok(rules), Err)
}

fn list(project: &Project, format: Format) -> Result<u8> {
    let mut rows = Rows::new(["rule", "mode", "level", "kind", "streams", "tests", "title", "file"]);
    for rule in rules_of(&project.rules)? {
        let kind = match &rule.matching {
            MatchText::Count(_) => "count",
            MatchText::Aggregate(_) => "aggregate",
            MatchText::Sequence(_) => "sequence",
        };
        let streams: Vec<&str> = rule.on.iter().map(|(_, table)| table.text.as_str()).collect();
        rows.push([
            rule.name.text.clone(),
            format!("{:?}", rule.mode).to_lowercase(),
            rule.meta.level.clone().unwrap_or_default(),
            kind.to_owned(),
            streams.join(", "),
            rule.tests.len().to_string(),
            rule.meta.title.clone().unwrap_or_default(),
            rule.name.place.name.clone(),
        ]);
    }
    super::print(&rows.text(format)?)?;
    Ok(0)
}

fn check(project: Project) -> Result<u8> {
    let engine = Engine::load(project)?;
    let tests: usize = engine.rules().iter().map(|rule| rule.tests.len()).sum();
    let rules = engine.rules().len();
    super::print(&format!("{}: {rules} rules without faults, {tests} tests passed\n", engine.name()))?;
    Ok(0)
}

/// A rule of the project by its name, or of a file by its path; its own tests come first.
fn find(wanted: &str, project: &Project) -> Result<RuleText> {
    if wanted.ends_with(".yaml") || wanted.ends_with(".yml") {
        let text = std::fs::read_to_string(wanted).map_err(|e| Error::unreachable(format!("reading '{wanted}'")).because(e))?;
        let mut rules = read::rules(&text, wanted)?;
        return match rules.len() {
            1 => Ok(rules.remove(0)),
            several => Err(Error::input(format!("'{wanted}' holds {several} rules; one at a time is tried"))),
        };
    }
    let rules = rules_of(&project.rules)?;
    let found = rules.iter().find(|rule| rule.name.text == wanted).cloned();
    found.ok_or_else(|| {
        let near = did_you_mean(wanted, rules.iter().map(|rule| rule.name.text.as_str()));
        Error::input(format!("the project has no rule '{wanted}'{near}"))
    })
}

async fn try_rule(mut project: Project, wanted: &str, since: Option<Moment>, until: Option<Moment>, format: Format) -> Result<u8> {
    let rule = find(wanted, &project)?;
    project.rules.clear();
    let engine = Engine::load(project.clone())?;
    inline::run(&rule, engine.catalog())?;
    let mut all = groups(std::slice::from_ref(&rule), engine.catalog())?;
    let group = all.pop().ok_or_else(|| Error::bug("a rule of no group"))?;
    // A running engine holds the log, and then it is the one to read.
    let mut session = Session::open(project, &engine.environment().data_dir).await?;
    let mut stored = Vec::new();
    let mut count = 0;
    for stream in 0..group.input.streams.len() {
        let sql = select(&group, stream, since, until);
        for batch in session.rows(&sql, "stored events").await.map_err(|e| e.at(Place::thing("stored events")))? {
            count += batch.num_rows();
            stored.push(events(&group.input, stream, &batch)?);
        }
    }
    let mut runner = Runner::new(&group, &[&rule])?;
    runner.rows(in_order(&group.input, &stored)?)?;
    let alerts = runner.finish()?;
    let raised: usize = alerts.iter().map(RecordBatch::num_rows).sum();
    let shown: Vec<RecordBatch> = alerts.iter().map(shown).collect::<Result<_>>()?;
    if !shown.is_empty() {
        super::print(&format.text(&shown)?)?;
    }
    tracing::info!("rule '{}' over {count} stored events: {raised} {}", rule.name.text, if raised == 1 { "alert" } else { "alerts" });
    Ok(0)
}

/// The columns that the rule reads of a stream, as a query.
fn select(group: &Group, stream: usize, since: Option<Moment>, until: Option<Moment>) -> String {
    let of = &group.input.streams[stream];
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let columns: Vec<String> = columns_wanted(&group.input, stream).into_iter().map(quoted).collect();
    let time = quoted(of.schema.field(of.time).name());
    let literal = |moment: Moment| format!("CAST('{}' AS TIMESTAMP(3))", output::time(moment.0));
    let mut conditions = Vec::new();
    conditions.extend(since.map(|since| format!("CAST({time} AS TIMESTAMP(3)) >= {}", literal(since))));
    conditions.extend(until.map(|until| format!("CAST({time} AS TIMESTAMP(3)) < {}", literal(until))));
    let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    format!("SELECT {} FROM {}{filter}", columns.join(", "), quoted(&of.table))
}

/// What a person wants to see of an alert.
fn shown(alerts: &RecordBatch) -> Result<RecordBatch> {
    let places = ["alert_time", "type", "subject", "key", "data", "held_back"];
    let places = places.iter().map(|name| alerts.schema().index_of(name)).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(alerts.project(&places)?)
}
