//! The engine: a project to one running pipeline, its live tables and the queries over them. What the command line, the
//! doors and an embedding program all stand on.
//!
//! ```text
//!  project ─ builder.rs ─▶ catalog + graph ─ start ─▶ running pipeline ─▶ live tables ◀─ queries
//! ```
//! Comes in: a project. Goes out: a [`Running`] pipeline, tables to query. Always holds: `load` touches nothing
//! outside and tells every fault in one go. Read `builder.rs` first.

mod builder;
pub mod isolated;
mod live;
mod running;
pub mod shadow;
mod standing;
mod stored;
pub mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::connector::environment::Environment;
use crate::connector::feed::Feed;
use crate::dataflow::graph::{Graph, NodeKind};
use crate::dataflow::live::{LiveSink, publisher};
use crate::dataflow::settings::{self, Restore, Stopper};
use crate::error::{Error, Place, Result, did_you_mean};
use crate::metrics::Metrics;
use crate::project::{Project, RuleFile, SETTINGS_FILE, Settings};
use crate::rules::form::RuleText;
use crate::sql::catalog::{Catalog, Entry};
use crate::sql::lower;
use crate::sql::statement::Query;
use crate::state::{Checkpoints, SHARDS};
use crate::table::{LiveSchema, Tables};

pub use builder::Builder;
pub use running::Running;
pub use stored::StoredSchema;

/// Everything that a project means, ready to run.
pub struct Engine {
    /// As it was read.
    project: Project,
    /// The rules, as written.
    rules: Arc<Vec<RuleText>>,
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

impl Engine {
    /// Reads, plans and checks a project. All faults are told at once; nothing outside is touched.
    pub fn load(project: Project) -> Result<Engine> {
        Builder::new(project).build()
    }

    /// The same project with other rules: what is neither a rule nor made by one stays as it is, live tables, figures and
    /// surroundings go on. Stop this one before the new one is started.
    pub fn with_rules(&self, rules: Vec<RuleFile>) -> Result<Engine> {
        let mut project = self.project.clone();
        project.rules = rules;
        Builder::new(project).beside(self).build()
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

    /// What runs and is probably not meant: state that grows for ever, rows that will come too late.
    pub fn advice(&self) -> Vec<String> {
        let mut advice = self.graph.advice.clone();
        for node in &self.graph.nodes {
            let NodeKind::Source(source) = &node.kind else { continue };
            let idle = source.time.as_ref().and_then(|time| time.idle_timeout_micros);
            let written_here = self.graph.nodes.iter().any(|other| other.name == lower::written(&node.name));
            if let Some(idle) = idle.filter(|idle| written_here && *idle <= self.settings.checkpoint_interval_micros) {
                advice.push(format!(
                    "table '{}' counts as idle after {} ms, but what this project writes to it is seen only at a checkpoint, every {} ms: \
                     rows that then come at once may be late; set 'scan.watermark.idle-timeout' above checkpoint.interval",
                    node.name,
                    idle / 1_000,
                    self.settings.checkpoint_interval_micros / 1_000
                ));
            }
        }
        if self.is_unbounded() {
            let endless = self.tables.specs().into_iter().filter(|spec| spec.primary_key.is_empty() && spec.retention_micros.is_none());
            advice.extend(endless.map(|spec| {
                format!(
                    "live table '{}' keeps every row for ever; give it WITH ('retention' = '…'), or a PRIMARY KEY whose rows replace each other",
                    spec.name
                )
            }));
        }
        advice
    }

    /// State of earlier runs that a start does not go on from, because the project went by another name then.
    pub async fn left_behind(&self) -> Result<Option<String>> {
        let names = self.project.earlier_names(&self.settings, &self.name);
        if names.is_empty() || !self.checkpoints.list().await?.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!(
            "'{}' has no state yet, but '{}' holds that of '{}': if the folder was renamed, set 'name' in {SETTINGS_FILE} to go on from it",
            self.name,
            self.settings.data_dir.display(),
            names.join("', '")
        )))
    }

    /// The project, as it was read.
    pub fn project(&self) -> &Project {
        &self.project
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
        let settings = settings::Settings {
            pipeline: self.name.clone(),
            parallelism: parallelism.min(SHARDS),
            checkpoint_interval: Duration::from_micros(self.settings.checkpoint_interval_micros as u64),
            checkpoints: self.checkpoints.clone(),
            restore,
            allow_state_loss,
            cuts: Some((Duration::from_micros(self.settings.cut_interval_micros as u64), publisher(&self.tables))),
            dead_letters: Some(self.dead_letters.clone()),
            linger: Duration::from_micros(self.settings.batch_linger_micros as u64),
            on_expression_error: self.settings.on_expression_error,
            state_max_bytes: Some(self.settings.state_max.bytes()),
            on_state_limit: self.settings.on_state_limit,
            metrics: self.metrics.clone(),
            stop: Stopper::default(),
        };
        Running::start(self.graph.clone(), settings, self.environment.troubles.clone()).await
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

    /// Live tables and what the declared tables hold now, as a query of `eagre sql` reads them.
    pub fn stored(&self) -> StoredSchema {
        StoredSchema::new(Arc::new(LiveSchema::new(self.tables.clone())), self.catalog.clone(), self.environment.clone())
    }

    /// The rules, as written.
    pub fn rules(&self) -> &[RuleText] {
        &self.rules
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
