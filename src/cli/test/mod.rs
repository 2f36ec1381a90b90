//! `eagre test`: runs a project's fixtures in event time, touching nothing outside.

mod junit;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::project_args::ProjectArgs;
use crate::engine::Builder;
use crate::error::{Error, Result, did_you_mean};
use crate::fixture::form::Fixture;
use crate::fixture::{Mismatch, Trial, read};
use crate::project::{Project, TESTS};

/// Run the fixtures of a project: given events, expected rows, alerts and dead letters.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    project: ProjectArgs,
    /// Only tests whose name, or whose file, contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the outcome as JUnit XML as well, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What became of a test.
struct Outcome<'a> {
    fixture: &'a Fixture,
    /// The expectations that do not hold, or why the run stopped.
    failed: Result<Vec<Mismatch>>,
    took: Duration,
}

impl Outcome<'_> {
    fn passed(&self) -> bool {
        self.failed.as_ref().is_ok_and(Vec::is_empty)
    }

    /// What is wrong, line by line; nothing of a test that has passed.
    fn lines(&self) -> Vec<String> {
        match &self.failed {
            Ok(mismatches) => mismatches
                .iter()
                .flat_map(|mismatch| {
                    let rows = mismatch.lines.iter().map(|line| format!("  {line}"));
                    std::iter::once(format!("{}: {}", mismatch.place, mismatch.summary)).chain(rows)
                })
                .collect(),
            Err(error) => error.each().map(|one| format!("the pipeline stopped: {}", one.line())).collect(),
        }
    }
}

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    let project = args.project.open()?;
    let fixtures = chosen(all(&project)?, args.filter.as_deref(), &project)?;
    // What is wrong with the project itself is told once, not by every test.
    Builder::new(project.clone()).isolated().0.build()?;
    let mut outcomes = Vec::new();
    for (fixture, trial) in fixtures.iter().zip(prepared(&project, &fixtures)?) {
        let begun = Instant::now();
        let failed = trial.run().await;
        let outcome = Outcome { fixture, failed, took: begun.elapsed() };
        tell(&outcome)?;
        outcomes.push(outcome);
    }
    if let Some(path) = &args.junit {
        let written = std::fs::write(path, junit::report(&outcomes));
        written.map_err(|e| Error::unreachable(format!("writing '{}'", path.display())).because(e))?;
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let tests = if outcomes.len() == 1 { "test" } else { "tests" };
    super::print(&format!("{} {tests}: {} passed, {failed} failed\n", outcomes.len(), outcomes.len() - failed))?;
    Ok(u8::from(failed > 0))
}

/// The fixtures beside their project. Everything in which they do not fit is told.
pub(super) fn prepared<'a>(project: &'a Project, fixtures: &'a [Fixture]) -> Result<Vec<Trial<'a>>> {
    let mut trials = Vec::new();
    let mut faults = Vec::new();
    for fixture in fixtures {
        match Trial::prepare(project, fixture) {
            Ok(trial) => trials.push(trial),
            Err(fault) => faults.push(fault),
        }
    }
    Error::all(faults).map_or(Ok(trials), Err)
}

/// All fixtures of a project. Every fault of every file is told.
pub(super) fn all(project: &Project) -> Result<Vec<Fixture>> {
    let mut faults = Vec::new();
    let mut all = Vec::new();
    for file in project.fixtures()? {
        match read::fixtures(&file.text, &file.name) {
            Ok(fixtures) => all.extend(fixtures),
            Err(fault) => faults.push(fault),
        }
    }
    Error::all(faults).map_or(Ok(all), Err)
}

/// The fixtures to run.
fn chosen(all: Vec<Fixture>, filter: Option<&str>, project: &Project) -> Result<Vec<Fixture>> {
    if all.is_empty() {
        let dir = project.base_dir.join(TESTS);
        return Err(Error::input(format!("there are no fixtures: no test stands in '{}'", dir.join("*.yaml").display())));
    }
    let Some(filter) = filter else { return Ok(all) };
    let (chosen, others): (Vec<Fixture>, Vec<Fixture>) =
        all.into_iter().partition(|fixture| fixture.name.contains(filter) || fixture.place.name.contains(filter));
    if chosen.is_empty() {
        let near = did_you_mean(filter, others.iter().map(|fixture| fixture.name.as_str()));
        return Err(Error::input(format!("--filter: no test is called '{filter}'{near}")));
    }
    Ok(chosen)
}

fn tell(outcome: &Outcome<'_>) -> Result<()> {
    let word = if outcome.passed() { "ok    " } else { "FAILED" };
    let mut text = format!("{word}  {}  ({})\n", outcome.fixture.name, outcome.fixture.place);
    for line in outcome.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    super::print(&text)
}
