//! From a project to an engine: texts are read in order, every INSERT and every materialized view becomes a pipeline,
//! all pipelines become one graph. Programs may add functions, and pipelines made without SQL (`stream.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use crate::connector::environment::Environment;
use crate::connector::registry::TABLE;
use crate::dataflow::catch_up;
use crate::dataflow::dead_letter;
use crate::dataflow::graph::Graph;
use crate::dataflow::live::LiveSink;
use crate::engine::Engine;
use crate::engine::isolated::{self, Inside, Isolated};
use crate::engine::live::Registering;
use crate::engine::stream::Stream;
use crate::error::{Error, Place, Result};
use crate::metrics::Metrics;
use crate::project::{Layers, Origin, Project, SqlText};
use crate::rules;
use crate::rules::form::RuleText;
use crate::rules::pipelines::AlertSettings;
use crate::sql::bounded;
use crate::sql::catalog::{Catalog, Entry};
use crate::sql::lower::{self, Connected};
use crate::sql::plan::Planner;
use crate::sql::statement::{Insert, Query, Spanned, Statement, parse_each};
use crate::state::{Checkpoints, Store};
use crate::table::Tables;

/// Builds an [`Engine`].
pub struct Builder {
    project: Project,
    catalog: Catalog,
    /// INSERTs and materialized views in the order of the texts: planned once everything is declared.
    inserts: Vec<(Insert, Place)>,
    views: Vec<(String, Place)>,
    /// Pipelines made without SQL.
    pipelines: Vec<lower::Pipeline>,
    queries: BTreeMap<String, Query>,
    /// Queries whose rows are printed.
    printed: Vec<Query>,
    faults: Vec<Error>,
    /// Names whose declaration has a fault: what only misses them has none of its own.
    undeclared: BTreeSet<String>,
    /// The project's texts have been read.
    read: bool,
    /// Of an engine whose place this one takes: its live tables, figures and surroundings go on.
    beside: Option<(Tables, Metrics, Environment)>,
    /// What stands in for everything outside.
    isolated: Option<Isolated>,
}

impl Builder {
    /// Begins with a project; its texts are read when the first stream is asked for, or at the end.
    pub fn new(project: Project) -> Self {
        Builder {
            project,
            catalog: Catalog::new(),
            inserts: Vec::new(),
            views: Vec::new(),
            pipelines: Vec::new(),
            queries: BTreeMap::new(),
            printed: Vec::new(),
            faults: Vec::new(),
            undeclared: BTreeSet::new(),
            read: false,
            beside: None,
            isolated: None,
        }
    }

    /// Takes the place of `engine`: its live tables, figures and surroundings go on.
    pub(super) fn beside(mut self, engine: &Engine) -> Self {
        engine.tables.hand_over();
        self.beside = Some((engine.tables.clone(), engine.metrics.clone(), engine.environment.clone()));
        self
    }

    /// Cuts the project off from the world: its sources are fed, its sinks keep their rows, its checkpoints are gone with
    /// the process, and nothing in it goes by the clock.
    pub fn isolated(mut self) -> (Self, Isolated) {
        let isolated = Isolated::default();
        self.isolated = Some(isolated.clone());
        (self, isolated)
    }

    /// Lets a view, or a table that no pipeline writes, be looked at as a live table of its name.
    pub fn observe(&mut self, name: &str) -> Result<()> {
        self.read_texts();
        if self.queries.contains_key(name) {
            return Err(Error::input(format!("'{name}' is a query that `eagre sql` answers: no rows flow through it")));
        }
        let key = match self.catalog.find(name)? {
            Entry::MaterializedView(..) => return Ok(()),
            Entry::Table(table) if table.def.options.get("connector").is_some_and(|c| c.value == TABLE) => return Ok(()),
            Entry::Table(_) if self.inserts.iter().any(|(insert, _)| insert.table.value == name) => return Ok(()),
            Entry::Table(table) => table.def.primary_key.clone(),
            Entry::View(_) => Vec::new(),
        };
        let stream = self.stream(name)?;
        self.live_table(stream, name, &key.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Adds a scalar function that the texts may call.
    pub fn function(mut self, function: ScalarUDF) -> Self {
        self.catalog.functions_mut().add_scalar(Arc::new(function));
        self
    }

    /// Adds an aggregate function that the texts may call.
    pub fn aggregate(mut self, function: AggregateUDF) -> Self {
        self.catalog.functions_mut().add_aggregate(Arc::new(function));
        self
    }

    /// A table or view of the texts as a stream to build on.
    pub fn stream(&mut self, name: &str) -> Result<Stream> {
        self.read_texts();
        Ok(Stream::new(Planner::new(&self.catalog).scan(name)?))
    }

    /// Adds a pipeline that writes a stream into a declared table.
    pub fn insert(&mut self, stream: Stream, table: &str) -> Result<()> {
        let planned = Planner::new(&self.catalog).finish_insert(stream.plan, table)?;
        self.pipelines.push(lower::Pipeline::insert(planned, Place::thing(table)));
        Ok(())
    }

    /// Adds a live table that holds a stream: appended, or upserted by `primary_key`.
    pub fn live_table(&mut self, stream: Stream, name: &str, primary_key: &[&str]) -> Result<()> {
        let plan = Planner::new(&self.catalog).finish(stream.plan)?;
        let primary_key = primary_key.iter().map(|key| (*key).to_owned()).collect();
        let target = lower::Target::View { name: name.to_owned(), primary_key, retention_micros: None };
        self.pipelines.push(lower::Pipeline { target, plan, place: Place::thing(name) });
        Ok(())
    }

    /// Plans everything. All faults are told at once; nothing outside is touched.
    pub fn build(mut self) -> Result<Engine> {
        let project = self.project.clone();
        self.read_texts();
        let mut faults = std::mem::take(&mut self.faults);
        let mut pipelines = self.plan(&mut faults);
        let rules = self.rules(&mut faults);
        let settings = match self.project.settings.resolve() {
            Ok(settings) => settings,
            Err(fault) => {
                faults.push(fault);
                // What else is wrong is looked for all the same.
                Layers::default().resolve()?
            }
        };
        // What is wrong with them is told with the settings.
        let brokers = self.project.settings.brokers().unwrap_or_default();
        let name = self.project.pipeline(&settings)?;
        let alerts = AlertSettings {
            retention_micros: settings.alerts_retention_micros,
            topic: settings.alerts_topic.clone(),
            brokers: brokers.iter().filter_map(|(name, options)| Some((name.clone(), options.get("connector")?.clone()))).collect(),
            source: format!("urn:eagre:{name}"),
        };
        match rules::pipelines::pipelines(&rules, &self.catalog, &alerts) {
            Ok(more) => {
                pipelines.extend(more);
                faults.extend(rules::inline::run_all(&rules, &self.catalog).err());
            }
            Err(fault) => faults.push(fault),
        }
        for key in self.project.settings.without_effect() {
            tracing::info!("'{key}' is a setting of Flink's runtime: it has no effect here");
        }
        let checkpoints = Checkpoints::new(match &self.isolated {
            Some(_) => Store::memory(),
            None => Store::open(&self.project.checkpoint_dir(&settings)?)?,
        });
        let (tables, metrics, environment) = self.beside.take().unwrap_or_else(|| {
            let metrics = Metrics::default();
            let mut environment = Environment::new(&self.project.base_dir, self.project.data_dir(&settings), &name);
            environment.metrics = metrics.clone();
            environment.brokers = Arc::new(brokers);
            (Tables::new(metrics.clone()), metrics, environment)
        });
        let live = Registering { tables: &tables };
        let connected = Connected { environment: &environment, live: &live };
        let lowered = match &self.isolated {
            None => lower::lower(&pipelines, &connected, lower::Options::default()),
            Some(isolated) => {
                let graph = lower::lower(&pipelines, &Inside { connected, isolated }, lower::Options::default());
                graph.map(isolated::without_clock)
            }
        };
        let graph = match lowered {
            Ok(graph) if faults.is_empty() => graph,
            lowered => {
                faults.extend(lowered.err());
                return Err(Error::all(faults).map_or_else(|| Error::bug("a fault was lost"), Error::in_order));
            }
        };
        // What is fed by a test has no past.
        if self.isolated.is_none() {
            check_warm_ups(&graph, &rules)?;
        }
        let dead_letters = Arc::new(LiveSink::dead_letters(&tables, dead_letter::schema())?);
        let (catalog, queries) = (Arc::new(self.catalog), self.queries);
        let rules = Arc::new(rules);
        let engine =
            Engine { project, rules, catalog, queries, tables, metrics, environment, settings, name, checkpoints, graph, dead_letters };
        engine.check_endless_sinks()?;
        Ok(engine)
    }

    /// Plans what writes: programs' own pipelines, INSERTs, materialized views, queries that are printed.
    fn plan(&mut self, faults: &mut Vec<Error>) -> Vec<lower::Pipeline> {
        let mut pipelines = std::mem::take(&mut self.pipelines);
        for (insert, place) in &self.inserts {
            if self.misses_declared(&insert.query) || self.undeclared.contains(&insert.table.value) {
                continue;
            }
            match Planner::new(&self.catalog).plan_insert(insert) {
                Ok(planned) => pipelines.push(lower::Pipeline::insert(planned, place.clone())),
                Err(fault) => faults.push(fault.at(place.clone())),
            }
        }
        for (name, place) in &self.views {
            match self.view(name) {
                Ok(pipeline) => pipelines.push(pipeline),
                Err(fault) => faults.push(fault.at(place.clone())),
            }
        }
        for query in self.printed.iter().filter(|query| !self.misses_declared(query)) {
            match Planner::new(&self.catalog).plan_query(query) {
                Ok(plan) => {
                    let name = format!("SELECT at {}", query.place);
                    pipelines.push(lower::Pipeline { target: lower::Target::Printed { name }, plan, place: query.place.clone() });
                }
                Err(fault) => faults.push(fault.at(query.place.clone())),
            }
        }
        pipelines
    }

    /// The rules as written; what cannot be read is a fault.
    fn rules(&self, faults: &mut Vec<Error>) -> Vec<RuleText> {
        let mut rules = Vec::new();
        for file in &self.project.rules {
            match rules::read::rules(&file.text, &file.name) {
                Ok(read) => rules.extend(read),
                Err(fault) => faults.push(fault),
            }
        }
        rules
    }

    fn view(&self, name: &str) -> Result<lower::Pipeline> {
        let Entry::MaterializedView(view, _) = self.catalog.find(name)? else {
            return Err(Error::bug(format!("'{name}' was declared a materialized view and is none")));
        };
        let plan = Planner::new(&self.catalog).plan_query(&view.query)?;
        lower::Pipeline::view(view, plan)
    }

    /// Does the query read what a faulty statement would have declared?
    fn misses_declared(&self, query: &Query) -> bool {
        bounded::named(&query.value).iter().any(|name| self.undeclared.contains(name.table()))
    }

    fn read_texts(&mut self) {
        if std::mem::replace(&mut self.read, true) {
            return;
        }
        for text in std::mem::take(&mut self.project.texts) {
            self.read_text(&text);
        }
        // What a query is called must not be taken, and it may read whatever the texts declare.
        for (name, query) in &self.queries {
            let named = Spanned { value: name.clone(), place: query.place.clone() };
            if let Err(fault) = self.catalog.name_query(named, query.clone()) {
                self.faults.push(fault);
            }
        }
    }

    fn read_text(&mut self, text: &SqlText) {
        let parsed = parse_each(&text.text, &text.name);
        let whole = parsed.faults.is_empty();
        self.faults.extend(parsed.faults);
        self.undeclared.extend(parsed.undeclared);
        if let ([Spanned { value: Statement::Query(query), .. }], true, false) =
            (parsed.statements.as_slice(), whole, self.project.is_file())
        {
            self.queries.insert(stem(&text.name), query.clone());
            return;
        }
        for statement in parsed.statements {
            if let Err(fault) = self.apply(&statement) {
                self.faults.push(fault.at(statement.place));
            }
        }
    }

    fn apply(&mut self, statement: &Spanned<Statement>) -> Result<()> {
        let place = statement.place.clone();
        match &statement.value {
            Statement::Set { key, value } => self.project.settings.set(&key.value, value, Origin::Sql, key.place.clone())?,
            Statement::Reset { key } => self.project.settings.reset(key.as_ref().map(|key| key.value.as_str())),
            Statement::Insert(insert) => self.inserts.push((insert.clone(), place)),
            Statement::StatementSet(set) => {
                self.inserts.extend(set.iter().map(|insert| (insert.clone(), insert.table.place.clone())));
            }
            Statement::CreateMaterializedView(view) => {
                self.declare(&view.name.value, Some(&view.query), statement)?;
                if !self.undeclared.contains(&view.name.value) {
                    self.views.push((view.name.value.clone(), place));
                }
            }
            Statement::CreateTable { table, .. } => self.declare(&table.name, None, statement)?,
            Statement::CreateView(view) => self.declare(&view.name.value, Some(&view.query), statement)?,
            Statement::Query(query) if self.project.is_file() => self.printed.push(query.clone()),
            Statement::Query(_) => {
                return Err(Error::input(
                    "a SELECT among other statements shows nothing here: INSERT INTO a table ('connector' = 'print' writes to the terminal), or put it into a file of its own",
                ));
            }
            Statement::Explain(_) | Statement::Describe(_) | Statement::ShowTables | Statement::ShowViews | Statement::ShowSet => {
                return Err(Error::input("this statement asks for an answer: use it in `eagre sql`"));
            }
            Statement::Drop { .. } => {
                self.catalog.apply(statement)?;
            }
        }
        Ok(())
    }

    /// Declares a table or view; one with a fault, or one that reads such a one, is noted.
    fn declare(&mut self, name: &str, query: Option<&Query>, statement: &Spanned<Statement>) -> Result<()> {
        if query.is_some_and(|query| self.misses_declared(query)) {
            self.undeclared.insert(name.to_owned());
            return Ok(());
        }
        let is_new = self.catalog.get(name).is_none();
        let declared = self.catalog.apply(statement);
        if declared.is_err() && is_new {
            self.undeclared.insert(name.to_owned());
        }
        declared.map(|_| ())
    }
}

/// Can the rules that are to warm up have the history of their streams?
fn check_warm_ups(graph: &Graph, rules: &[RuleText]) -> Result<()> {
    let located = |(name, fault): (String, Error)| match rules.iter().find(|rule| rule.name.text == name) {
        Some(rule) => Error::input(format!("rule '{name}': {}", fault.message())).at(rule.name.place.clone()),
        None => fault,
    };
    Error::all(catch_up::hindrances(graph).into_iter().map(located).collect()).map_or(Ok(()), Err)
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned())
}
