//! The engine: SQL texts to one running pipeline, its live tables and the queries over them. What the command line, the
//! doors and an embedding program all stand on.
//!
//! ```text
//!  scripts ─ load ─▶ catalog + pipelines ─ start ─▶ running pipeline ─▶ live tables ◀─ queries
//! ```
//! Comes in: texts and options. Goes out: a [`Running`] pipeline, tables to query. Always holds: `load` touches nothing
//! outside and tells every fault in one go. Read this file first.

mod live;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;
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
use crate::sql::catalog::{Catalog, Entry};
use crate::sql::lower::{self, Connected, Target};
use crate::sql::plan::Planner;
use crate::sql::statement::{Insert, Query, Spanned, Statement, parse};
use crate::state::{Checkpoints, Store};
use crate::table::Tables;
use crate::time::parse_duration;

pub use settings::Options;

/// A text with the name that messages call it by.
#[derive(Debug, Clone)]
pub struct Script {
    /// File name.
    pub name: String,
    /// Its content.
    pub text: String,
}

impl Script {
    /// A text under a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Script { name: name.into(), text: text.into() }
    }
}

/// Everything that a set of scripts means, ready to run.
pub struct Engine {
    catalog: Catalog,
    /// Named queries: scripts whose only statement is a SELECT.
    queries: BTreeMap<String, Query>,
    tables: Tables,
    metrics: Metrics,
    environment: Environment,
    options: Options,
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
    /// Reads, plans and checks scripts, in order. All faults are told at once.
    pub fn load(scripts: &[Script], options: Options) -> Result<Engine> {
        Self::load_with(scripts, options, Catalog::new())
    }

    /// The same, over a catalog that holds functions (or tables) of the caller's own.
    pub fn load_with(scripts: &[Script], mut options: Options, mut catalog: Catalog) -> Result<Engine> {
        let mut faults = Vec::new();
        let mut inserts: Vec<(Insert, Place)> = Vec::new();
        let mut views = Vec::new();
        let mut queries = BTreeMap::new();
        for script in scripts {
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
                    Statement::Set { key, value } => options.set(&key.value, value).map_err(|e| e.at(key.place.clone())),
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
                    Statement::Reset { .. } => Ok(()),
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
        let metrics = Metrics::default();
        let environment = Environment::new(&options.base_dir, &options.data_dir, &options.pipeline);
        let tables = Tables::new(metrics.clone());
        let live = live::Registering { tables: &tables };
        let outside = Connected { environment: &environment, live: &live };
        let graph = lower::lower(&pipelines, &outside, lower::Options::default())?;
        let dead_letters = Arc::new(LiveSink::dead_letters(&tables, dead_letter::schema())?);
        let engine = Engine { catalog, queries, tables, metrics, environment, options, graph, dead_letters };
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

    /// Starts the pipeline. After it has ended it can be started again.
    pub async fn start(&self) -> Result<Running> {
        self.start_as(self.options.parallelism, self.options.restore).await
    }

    /// Starts the pipeline at another parallelism, or from another checkpoint, than the options say.
    pub async fn start_as(&self, parallelism: usize, restore: Restore) -> Result<Running> {
        if self.graph.nodes.is_empty() {
            return Err(Error::input("there is nothing to run: no INSERT INTO and no CREATE MATERIALIZED VIEW"));
        }
        let settings = pipeline::Settings {
            pipeline: self.options.pipeline.clone(),
            parallelism,
            checkpoint_interval: self.options.checkpoint_interval,
            checkpoints: self.checkpoints()?,
            restore,
            allow_state_loss: self.options.allow_state_loss,
            cuts: Some((self.options.cut_interval, publisher(&self.tables))),
            dead_letters: Some(self.dead_letters.clone()),
            state_max_bytes: self.options.state_max_bytes,
            metrics: self.metrics.clone(),
        };
        let pipeline = Pipeline::start(self.graph.clone(), settings).await?;
        Ok(Running { start: pipeline.start.clone(), pipeline })
    }

    /// Where this pipeline's checkpoints are.
    pub fn checkpoints(&self) -> Result<Checkpoints> {
        Ok(Checkpoints::new(Store::open(&self.options.checkpoint_place())?))
    }

    /// The way for an embedding program to hand rows to a table with `'connector' = 'feed'`.
    pub fn feed(&self, table: &str) -> Result<Feed> {
        match self.catalog.find(table)? {
            Entry::Table(_) => Ok(self.environment.feeds.of(table)),
            other => Err(Error::input(format!("'{table}' is a {}; only tables are fed", other.kind()))),
        }
    }

    /// Tables, views and functions as declared.
    pub fn catalog(&self) -> &Catalog {
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

    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.options
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
    PathBuf::from(file).file_stem().map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// Default time between checkpoints.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// Default time between cuts.
pub const CUT_INTERVAL: Duration = Duration::from_millis(20);
