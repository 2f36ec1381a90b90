//! The PostgreSQL door: psql, notebooks and Grafana query live and system tables while they change.
//!
//! Only reading: queries, EXPLAIN, SHOW, SET, transactions and cursors are let through, by name; everything else is refused.
//! Each connection has a session of its own. `startup.rs` lets clients in, `statement.rs` reads their texts (`names.rs`: columns
//! of one name), `cursor.rs` holds their cursors, `rows.rs` writes the answers; `pg_catalog` answers what clients ask of it (`\d`, `\dt`).

mod cursor;
mod names;
mod rows;
mod startup;
mod statement;

use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::hooks::{HookClient, QueryHook};
use datafusion_postgres::pgwire::api::auth::StartupHandler;
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{QueryResponse, Response, Tag};
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, PgWireServerHandlers, RandomPidSecretKeyGenerator, Type};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::tokio::process_socket;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::{Sink, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::cursor::{Cursors, Declared};
use self::rows::{Written, described};
use self::startup::{Cancellable, Cancels, Startup};
use self::statement::{Parser, comparable, parameters, with_room};
use crate::error::{Error, Kind};
use crate::server::listen::Guard;
use crate::server::queries::{Queries, Stop};

/// Connections at a time; further ones are closed at once.
const CONNECTIONS: usize = 256;

/// Serves PostgreSQL's protocol on `listener` until the task is dropped.
pub async fn serve(listener: TcpListener, queries: Queries, guard: Guard) {
    let cancels = Arc::new(Cancels::default());
    let pids = Arc::new(RandomPidSecretKeyGenerator::default());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end.
                tracing::warn!("PostgreSQL door: cannot accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!("PostgreSQL door: {peer} turned away, there are {CONNECTIONS} connections");
            continue;
        };
        let service = Arc::new(Service::new(queries.clone()));
        let startup = Arc::new(Startup { guard: guard.clone(), pids: pids.clone(), cancels: cancels.clone() });
        let handlers = Handlers { service, startup, cancels: cancels.clone() };
        let tls = guard.tls().cloned();
        tokio::spawn(async move {
            if let Err(error) = process_socket(socket, tls, handlers).await {
                tracing::debug!("PostgreSQL door: {peer}: {error}");
            }
            drop(place);
        });
    }
}

/// What pgwire asks for, per connection.
struct Handlers {
    service: Arc<Service>,
    startup: Arc<Startup>,
    cancels: Arc<Cancels>,
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        self.service.clone()
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        self.service.clone()
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        self.startup.clone()
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        self.cancels.clone()
    }
}

/// What pgwire keeps of a prepared statement: its text, its parsed form and its plan. The hooks ask for this type.
type Prepared = (String, Option<(Statement, LogicalPlan)>);

/// Runs the statements of one connection.
struct Service {
    queries: Queries,
    context: Arc<SessionContext>,
    parser: Arc<Parser>,
    cursors: Arc<Cursors>,
}

impl Service {
    fn new(queries: Queries) -> Self {
        let context = Arc::new(queries.session());
        let cursors = Arc::new(Cursors::default());
        let parser = Arc::new(Parser::new(queries.clone(), context.clone(), cursors.clone()));
        Service { queries, context, parser, cursors }
    }

    /// Runs a statement that no hook answers.
    async fn execute(
        &self,
        client: &mut dyn HookClient,
        statement: &Statement,
        plan: LogicalPlan,
        values: Option<ParamValues>,
        format: &Format,
    ) -> PgWireResult<Response> {
        let mut stop = self.stop(client);
        match statement {
            Statement::Declare { stmts } => {
                let declared = Declared::of(stmts)?;
                // A cursor reads the cut of its DECLARE, however long it is open.
                let stream = self.queries.start(&self.context, plan.clone(), values, &mut stop).await.map_err(to_wire)?;
                let portal = self.cursors.open(&declared, &plan, stream)?;
                client.portal_store().put_portal(Arc::new(portal));
                Ok(Response::Execution(Tag::new("DECLARE CURSOR")))
            }
            Statement::Fetch { name, direction, .. } => {
                let stream = stop.over(self.cursors.fetch(name, direction)?);
                let mut response = response(client, stream, format)?;
                response.set_command_tag("FETCH");
                Ok(Response::Query(response))
            }
            Statement::Close { cursor } => {
                forget(client, self.cursors.close(cursor)?);
                Ok(Response::Execution(Tag::new("CLOSE CURSOR")))
            }
            _ => {
                let stream = self.queries.run(&self.context, plan, values, stop).await.map_err(to_wire)?;
                Ok(Response::Query(response(client, stream, format)?))
            }
        }
    }

    /// What ends a statement of this client early.
    fn stop(&self, client: &dyn HookClient) -> Stop {
        let mut stop = Stop::after(self.queries.timeout());
        if let Some(limit) = client.metadata().get("statement_timeout_ms").and_then(|ms| ms.parse().ok()) {
            stop.no_later_than(std::time::Duration::from_millis(limit));
        }
        match client.session_extensions().get::<Cancellable>() {
            Some(connection) => stop.or_on(connection.cancelled.clone()),
            None => stop,
        }
    }

    /// The answer of a hook, if one takes the statement.
    async fn hooked(&self, statement: &Statement, client: &mut dyn HookClient) -> Option<PgWireResult<Response>> {
        for hook in hooks() {
            let answer = hook.handle_simple_query(statement, &self.context, client).await;
            if let Some(Ok(Response::TransactionEnd(_))) = &answer {
                forget(client, self.cursors.end_transaction());
            }
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

/// The rows of an answer as they go to the client.
fn response(client: &dyn HookClient, stream: SendableRecordBatchStream, format: &Format) -> PgWireResult<QueryResponse> {
    let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
    let schema = stream.schema();
    let fields = described(&schema, format, Some(options))?;
    let written = Written::new(&schema, &fields);
    let rows = stream.flat_map(move |batch| {
        let rows = batch.map_err(|error| to_wire(error.into())).and_then(|batch| written.rows(batch));
        futures::stream::iter(rows.unwrap_or_else(|error| Box::new(std::iter::once(Err(error)))))
    });
    Ok(QueryResponse::new(Arc::new(fields), rows))
}

/// The protocol no longer knows these cursors.
fn forget(client: &dyn HookClient, cursors: Vec<String>) {
    cursors.iter().for_each(|name| client.portal_store().rm_portal(name));
}

/// SET, SHOW and transactions are answered by their hooks.
fn hooks() -> [&'static dyn QueryHook; 2] {
    [&SetShowHook, &TransactionStatementHook]
}

#[async_trait]
impl SimpleQueryHandler for Service {
    async fn do_query<C>(&self, client: &mut C, text: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let mut responses = Vec::new();
        for read in self.parser.statements(text)? {
            let statement = read.ast();
            let response = match self.hooked(&statement, client).await {
                Some(response) => response?,
                None => {
                    let plan = self.parser.plan(read).await?;
                    self.execute(client, &statement, plan, None, &Format::UnifiedText).await?
                }
            };
            responses.push(response);
        }
        if responses.is_empty() {
            responses.push(Response::EmptyQuery);
        }
        Ok(responses)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Service {
    type Statement = Prepared;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        self.parser.clone()
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Prepared>, _: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (_, Some((statement, plan))) = &portal.statement.statement else { return Ok(Response::EmptyQuery) };
        if let Some(response) = self.hooked(statement, client).await {
            return response;
        }
        let parameters = parameters(plan)?;
        let sent = |at: usize| portal.statement.parameter_types.get(at).and_then(Option::as_ref);
        let types: Vec<Option<&DataType>> =
            parameters.iter().enumerate().map(|(at, p)| comparable(sent(at), p.data_type.as_ref())).collect();
        let wire: Vec<Option<&Type>> = parameters.iter().map(|p| Some(&p.wire)).collect();
        let values = with_room(deserialize_parameters_with_server_types(portal, &types, &wire)?);
        self.execute(client, statement, plan.clone(), Some(values), &portal.result_column_format).await
    }
}

/// An error in PostgreSQL's words: code by kind, text as it is.
fn to_wire(error: Error) -> PgWireError {
    let code = match error.kind() {
        Kind::Input if error.message().contains("read-only") => "25006",
        Kind::Input => "42601",
        Kind::Row => "22000",
        Kind::Interrupted => "57014",
        Kind::Corrupt => "XX001",
        Kind::Bug => "XX000",
        Kind::Failed | Kind::Restart | Kind::Unreachable | Kind::Fenced => "58000",
    };
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".into(), code.into(), error.to_string())))
}

#[cfg(test)]
mod tests;
