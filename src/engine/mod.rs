//! The engine: a project to one running pipeline, its live tables and the queries over them. What the command line, the
//! doors and an embedding program all stand on.
//!
//! ```text
//!  project ─ load ─▶ catalog + pipelines ─ start ─▶ running pipeline ─▶ live tables ◀─ queries
//! ```
//! Comes in: a project. Goes out: a [`Running`] pipeline, tables to query. Always holds: `load` touches nothing
//! outside and tells every fault in one go. Read this file first.

mod live;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::connector::feed::Feed;
use crate::connector::registry::Environment;
use crate::dataflow::coordinator::Ended;
use crate::dataflow::dead_letter;
use crate::dataflow::graph::{Graph, NodeKind};
use crate::dataflow::live::{LiveSink, publisher};
use crate::dataflow::pipeline::{self, Pipeline, Restore, Stopper};
use crate::error::{Error, Place, Result, did_you_mean};
use crate::metrics::Metrics;
use crate::project::{Origin, Project, Settings};
use crate::sql::catalog::{Catalog, Entry};
use crate::sql::lower::{self, Connected, Target};
use crate::sql::plan::Planner;
use crate::sql::statement::{Insert, Query, Spanned, Statement, parse};
use crate::state::{Checkpoints, SHARDS, Store};
use crate::table::Tables;
use crate::time::parse_duration;

/// Everything that a project means, ready to run.
pub struct Engine {
    catalog: Arc<Catalog>,
    /// Named queries: scripts whose only statement is a SELECT.
    queries: BTreeMap<String, Query>,
    tables: Tables,
    metrics: Metrics,
    environment: Environment,
    settings: Settings,
    /// The pipeline's id: state belongs to it.
    name: String,
    checkpoints: Checkpoints,
    graph: Graph,
    dead_letters: Arc<LiveSink>,
}

/// A running pipeline and what belongs to it.
pub struct Running {
    /// What the start found, in a sentence.
    pub start: String,
    pipeline: Pipeline,
}

impl Running {
    /// A handle that stops it.
    pub fn stopper(&self) -> Stopper {
        self.pipeline.stopper()
    }

    /// Waits for its end.
    pub async fn wait(self) -> Result<Ended> {
        self.pipeline.wait().await
    }
}

impl Engine {
    /// Reads, plans and checks a project. All faults are told at once; nothing outside is touched.
    pub fn load(project: Project) -> Result<Engine> {
        Self::load_with(project, Catalog::new())
    }

    /// The same, over a catalog that holds functions (or tables) of the caller's own.
    pub fn load_with(mut project: Project, mut catalog: Catalog) -> Result<Engine> {
        let mut faults = Vec::new();
        let mut inserts: Vec<(Insert, Place)> = Vec::new();
        let mut views = Vec::new();
        let mut queries = BTreeMap::new();
        for script in std::mem::take(&mut project.texts) {
            let statements = match parse(&script.text, &script.name) {
                Ok(statements) => statements,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            if let [Spanned { value: Statement::Query(query), .. }] = statements.as_slice() {
                queries.insert(stem(&script.name), query.clone());
                continue;
            }
            for statement in statements {
                let place = statement.place.clone();
                let done = match &statement.value {
                    Statement::Set { key, value } => project.settings.set(&key.value, value, Origin::Sql, key.place.clone()),
                    Statement::Reset { key } => {
                        project.settings.reset(key.as_ref().map(|key| key.value.as_str()));
                        Ok(())
                    }
                    Statement::Insert(insert) => {
                        inserts.push((insert.clone(), place));
                        Ok(())
                    }
                    Statement::StatementSet(set) => {
                        inserts.extend(set.iter().map(|insert| (insert.clone(), insert.table.place.clone())));
                        Ok(())
                    }
                    Statement::CreateMaterializedView(view) => {
                        views.push((view.name.value.clone(), place));
                        catalog.apply(&statement).map(|_| ())
                    }
                    Statement::Query(_) => Err(Error::input(
                        "a SELECT among other statements shows nothing here: INSERT INTO a table ('connector' = 'print' writes to the terminal), or put it into a file of its own",
                    )),
                    Statement::Explain(_) | Statement::Describe(_) | Statement::ShowTables | Statement::ShowViews | Statement::ShowSet => {
                        Err(Error::input("this statement asks for an answer: use it in `eagre sql`"))
                    }
                    _ => catalog.apply(&statement).map(|_| ()),
                };
                if let Err(fault) = done {
                    faults.push(fault.at(statement.place.clone()));
                }
            }
        }

        let mut pipelines = Vec::new();
        for (insert, place) in inserts {
            match Planner::new(&catalog).plan_insert(&insert) {
                Ok(planned) => pipelines.push(lower::Pipeline { target: Target::Table(planned.table), plan: planned.rows, place }),
                Err(fault) => faults.push(fault.at(place)),
            }
        }
        for (name, place) in views {
            match view_pipeline(&catalog, &name, place) {
                Ok(pipeline) => pipelines.push(pipeline),
                Err(fault) => faults.push(fault),
            }
        }
        if let Some(fault) = Error::all(faults) {
            return Err(fault);
        }
        let settings = project.settings.resolve()?;
        for key in project.settings.without_effect() {
            tracing::debug!("SET '{key}' has no effect here");
        }
        let name = project.pipeline(&settings)?;
        let checkpoints = Checkpoints::new(Store::open(&project.checkpoint_dir(&settings)?)?);
        let metrics = Metrics::default();
        let environment = Environment::new(&project.base_dir, project.data_dir(&settings), &name);
        let tables = Tables::new(metrics.clone());
        let live = live::Registering { tables: &tables };
        let outside = Connected { environment: &environment, live: &live };
        let graph = lower::lower(&pipelines, &outside, lower::Options::default())?;
        let dead_letters = Arc::new(LiveSink::dead_letters(&tables, dead_letter::schema())?);
        let catalog = Arc::new(catalog);
        let engine = Engine { catalog, queries, tables, metrics, environment, settings, name, checkpoints, graph, dead_letters };
        engine.check_endless_sinks()?;
        Ok(engine)
    }

    /// A sink that only makes sense for input that ends must not be fed for ever.
    fn check_endless_sinks(&self) -> Result<()> {
        for node in &self.graph.nodes {
            if let (NodeKind::Sink(sink), true) = (&node.kind, self.is_unbounded()) {
                sink.check_unbounded().map_err(|e| e.at(Place::thing(&node.name)))?;
            }
        }
        Ok(())
    }

    /// The dataflow graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Does it run until it is stopped?
    pub fn is_unbounded(&self) -> bool {
        self.graph.nodes.iter().any(|node| matches!(&node.kind, NodeKind::Source(source) if !source.source.bounded()))
    }

    /// Starts the pipeline; with the same data directory only one may run. After it has ended it can be started again.
    pub async fn start(&self, restore: Restore, allow_state_loss: bool) -> Result<Running> {
        self.start_at(self.settings.parallelism, restore, allow_state_loss).await
    }

    /// The same, at another parallelism than the settings say.
    pub async fn start_at(&self, parallelism: usize, restore: Restore, allow_state_loss: bool) -> Result<Running> {
        if self.graph.nodes.is_empty() {
            return Err(Error::input("there is nothing to run: no INSERT INTO and no CREATE MATERIALIZED VIEW"));
        }
        let settings = pipeline::Settings {
            pipeline: self.name.clone(),
            parallelism: parallelism.min(SHARDS),
            checkpoint_interval: Duration::from_micros(self.settings.checkpoint_interval_micros as u64),
            checkpoints: self.checkpoints.clone(),
            restore,
            allow_state_loss,
            cuts: Some((Duration::from_micros(self.settings.cut_interval_micros as u64), publisher(&self.tables))),
            dead_letters: Some(self.dead_letters.clone()),
            state_max_bytes: Some(self.settings.state_max.bytes()),
            metrics: self.metrics.clone(),
        };
        let pipeline = Pipeline::start(self.graph.clone(), settings).await?;
        Ok(Running { start: pipeline.start.clone(), pipeline })
    }

    /// The pipeline's id: the project's name or the file's stem.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This pipeline's checkpoints.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// The way for an embedding program to hand rows to a table with `'connector' = 'feed'`.
    pub fn feed(&self, table: &str) -> Result<Feed> {
        match self.catalog.find(table)? {
            Entry::Table(_) => Ok(self.environment.feeds.of(table)),
            other => Err(Error::input(format!("'{table}' is a {}; only tables are fed", other.kind()))),
        }
    }

    /// Tables, views and functions as declared.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The live tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Counters of everything.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The connectors' surroundings.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The named query of this name.
    pub fn query(&self, name: &str) -> Result<&Query> {
        self.queries.get(name).ok_or_else(|| {
            let near = did_you_mean(name, self.queries.keys().map(String::as_str));
            Error::input(format!("no query '{name}' in the project{near}"))
        })
    }

    /// The named queries.
    pub fn queries(&self) -> impl Iterator<Item = (&str, &Query)> {
        self.queries.iter().map(|(name, query)| (name.as_str(), query))
    }
}

/// The pipeline behind a materialized view.
fn view_pipeline(catalog: &Catalog, name: &str, place: Place) -> Result<lower::Pipeline> {
    let Entry::MaterializedView(view, _) = catalog.find(name)? else {
        return Err(Error::bug(format!("'{name}' was declared a materialized view and is none")));
    };
    let mut retention_micros = None;
    for (key, option) in &view.options {
        match key.as_str() {
            "retention" => retention_micros = Some(parse_duration(&option.value).map_err(|e| e.at(option.place.clone()))?),
            other => {
                let near = did_you_mean(other, ["retention"]);
                return Err(Error::input(format!("materialized view '{name}': unknown option '{other}'{near}")).at(option.place.clone()));
            }
        }
    }
    let plan = Planner::new(catalog).plan_query(&view.query)?;
    let primary_key = view.primary_key.iter().map(|key| key.value.clone()).collect();
    Ok(lower::Pipeline { target: Target::View { name: name.to_owned(), primary_key, retention_micros }, plan, place })
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned())
}
