//! How every door runs SQL: read-only, over one cut of the live tables, with a bounded share of memory and time.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider};
use datafusion::common::ParamValues;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::server::catalog_functions::catalog_functions;
use crate::server::interrupt::Interruptible;
use crate::sql::bounded;
use crate::sql::catalog::Catalog;
use crate::table::{LiveSchema, SystemSchema, Tables, at_one_cut};

/// Catalog and schema of the live tables.
pub const CATALOG: &str = "eagre";
/// Schema of the live tables.
pub const SCHEMA: &str = "public";

/// The share of the machine that queries get.
#[derive(Debug, Clone)]
pub struct QueryLimits {
    /// Memory of all queries together, in bytes; sorts and joins beyond it spill, or fail.
    pub memory_bytes: usize,
    /// Longest time of one query, planning and sending included.
    pub timeout: Duration,
    /// Threads that one query may use.
    pub threads: usize,
}

impl Default for QueryLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        QueryLimits { memory_bytes: 1 << 30, timeout: Duration::from_secs(60), threads: cores.div_ceil(2) }
    }
}

/// Runs queries for the doors; cloning it is cheap.
#[derive(Clone)]
pub struct Queries {
    tables: Tables,
    /// The views of the project, and the functions that texts may call.
    catalog: Arc<Catalog>,
    /// What each connection's own context starts from, so that no `SET` of one is seen by another.
    session: SessionState,
    /// The same for the command line, which reads declared tables too.
    command_line: SessionState,
    timeout: Duration,
}

impl std::fmt::Debug for Queries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queries").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Queries {
    /// Queries over live and system tables and over the views of `catalog`, with its functions.
    pub fn new(tables: Tables, system: SystemSchema, catalog: Arc<Catalog>, limits: &QueryLimits) -> Result<Self> {
        let session = bounded::session(catalog.functions()).state();
        let config = session
            .config()
            .clone()
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_create_default_catalog_and_schema(false)
            .with_target_partitions(limits.threads.max(1));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(limits.memory_bytes), NonZeroUsize::MIN)))
            .with_max_temp_directory_size(4 * limits.memory_bytes as u64)
            .build_arc()?;
        // A catalog list of its own: that of the given session would be shared.
        let session = SessionStateBuilder::new_from_existing(session)
            .with_config(config)
            .with_runtime_env(runtime)
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .with_physical_optimizer_rule(Arc::new(Interruptible))
            .build();
        let context = SessionContext::new_with_state(session);
        let schemas = Arc::new(MemoryCatalogProvider::new());
        let declared = catalog.entries().map(|(name, entry)| (name.to_owned(), entry.kind()));
        schemas.register_schema(SCHEMA, Arc::new(LiveSchema::new(tables.clone()).beside(declared)))?;
        schemas.register_schema("system", Arc::new(system))?;
        context.register_catalog(CATALOG, schemas);
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| Error::from(*error))?;
        catalog_functions().into_iter().for_each(|function| context.register_udf(function));
        let session = context.state();
        Ok(Queries { tables, catalog, command_line: session.clone(), session, timeout: limits.timeout })
    }

    /// Lets the command line read `schema` (live tables among others) in place of the live tables alone.
    pub fn with_command_line(mut self, schema: Arc<dyn SchemaProvider>) -> Result<Self> {
        let list = Arc::new(MemoryCatalogProviderList::new());
        let schemas = Arc::new(MemoryCatalogProvider::new());
        if let Some(all) = self.session.catalog_list().catalog(CATALOG) {
            for name in all.schema_names() {
                if let Some(schema) = all.schema(&name) {
                    schemas.register_schema(&name, schema)?;
                }
            }
        }
        schemas.register_schema(SCHEMA, schema)?;
        list.register_catalog(CATALOG.to_owned(), schemas);
        self.command_line = SessionStateBuilder::new_from_existing(self.session.clone()).with_catalog_list(list).build();
        Ok(self)
    }

    /// A context for one connection of the command line.
    pub fn command_line_session(&self) -> SessionContext {
        SessionContext::new_with_state(self.command_line.clone())
    }

    /// A context of its own, for one connection.
    pub fn session(&self) -> SessionContext {
        SessionContext::new_with_state(self.session.clone())
    }

    /// The views of the project and the functions.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The live tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Longest time of a query.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs a planned query, with the values of its parameters: all live tables in it are read at one cut.
    pub async fn run(
        &self,
        context: &SessionContext,
        plan: LogicalPlan,
        parameters: Option<ParamValues>,
        mut stop: Stop,
    ) -> Result<SendableRecordBatchStream> {
        let stream = self.start(context, plan, parameters, &mut stop).await?;
        Ok(stop.over(stream))
    }

    /// As [`Queries::run`], but `stop` ends only the start: the rows may be read at any time.
    pub async fn start(
        &self,
        context: &SessionContext,
        plan: LogicalPlan,
        parameters: Option<ParamValues>,
        stop: &mut Stop,
    ) -> Result<SendableRecordBatchStream> {
        read_only(&plan)?;
        let started = at_one_cut(&self.tables, async {
            let plan = match parameters {
                Some(values) => plan.replace_params_with_values(&values)?,
                None => plan,
            };
            Ok(context.execute_logical_plan(plan).await?.execute_stream().await?)
        });
        stop.or(started).await
    }
}

/// Refuses plans that change or write anything.
pub fn read_only(plan: &LogicalPlan) -> Result<()> {
    let only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    only.verify_plan(plan).map_err(|error| refused(&error.strip_backtrace().replace("Error during planning: ", "")))
}

/// The refusal of a statement by its name.
pub fn refused(what: &str) -> Error {
    Error::input(format!(
        "{what}: this door is read-only, it takes queries, SHOW, SET and transactions; tables are written by pipelines (`eagre run`)"
    ))
}

/// What ends a query before its own end.
#[derive(Debug)]
pub struct Stop {
    deadline: Instant,
    cancelled: Option<watch::Receiver<u64>>,
}

impl Stop {
    /// When so much time has passed.
    pub fn after(time: Duration) -> Self {
        Stop { deadline: Instant::now() + time, cancelled: None }
    }

    /// At the latest when so much time has passed from now.
    pub fn no_later_than(&mut self, time: Duration) {
        self.deadline = self.deadline.min(Instant::now() + time);
    }

    /// Also when `cancelled` changes from now on.
    pub fn or_on(mut self, mut cancelled: watch::Receiver<u64>) -> Self {
        cancelled.mark_unchanged();
        self.cancelled = Some(cancelled);
        self
    }

    /// The rows of `stream`, until it is stopped.
    pub fn over(self, stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let schema = stream.schema();
        Box::pin(RecordBatchStreamAdapter::new(schema, until(self, stream)))
    }

    /// The result of `work`, unless it is stopped.
    async fn or<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let cancelled = async {
            if let Some(cancelled) = &mut self.cancelled
                && cancelled.changed().await.is_ok()
            {
                return;
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = cancelled => Err(Error::new(Kind::Interrupted, "the query was cancelled")),
            () = tokio::time::sleep_until(self.deadline) => Err(Error::new(Kind::Interrupted, "the query was stopped: it ran into its time limit")),
            done = work => done,
        }
    }
}

fn until(stop: Stop, stream: SendableRecordBatchStream) -> Pin<Box<dyn Stream<Item = datafusion::error::Result<RecordBatch>> + Send>> {
    Box::pin(futures::stream::unfold(Some((stop, stream)), move |running| async move {
        let (mut stop, mut stream) = running?;
        match stop.or(async { Ok(stream.next().await) }).await {
            Ok(Some(batch)) => Some((batch, Some((stop, stream)))),
            Ok(None) => None,
            Err(error) => Some((Err(error.into()), None)),
        }
    }))
}
