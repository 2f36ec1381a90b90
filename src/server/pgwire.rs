//! The PostgreSQL door: psql, notebooks and Grafana query live and system tables while they change.
//!
//! Only reading: queries, EXPLAIN, SHOW, SET, transactions and cursors are let through, by name; everything else is refused.
//! Each connection has a session of its own. `pg_catalog` answers what clients ask of it (`\d`, `\dt`).

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as PlannerStatement;
use datafusion::sql::sqlparser::ast::{Set, Statement};
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::arrow_pg::datatypes::{
    PG_OID_ALIAS_KEY, arrow_schema_to_pg_fields, encode_recordbatch, into_pg_type, pg_type_for_alias_kind,
};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::hooks::cursor::CursorStatementHook;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::hooks::{HookClient, QueryHook};
use datafusion_postgres::pgwire::api::auth::{
    DefaultServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation, save_startup_parameters_to_metadata,
};
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{FieldInfo, QueryResponse, Response};
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{
    ClientInfo, ClientPortalStore, PgWireConnectionState, PgWireServerHandlers, PidSecretKeyGenerator, RandomPidSecretKeyGenerator, Type,
};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::cancel::CancelRequest;
use datafusion_postgres::pgwire::messages::startup::{Authentication, SecretKey};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::process_socket;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::{Sink, SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::error::{Error, Kind};
use crate::server::listen::Guard;
use crate::server::queries::{Queries, Stop, refused};
use crate::sql::bounded;
use crate::sql::statement as flink;
use crate::table::at_one_cut;

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

/// Running connections by process number and secret, so that a cancel request, which comes on a connection of its own, finds its query.
#[derive(Default)]
struct Cancels {
    by_key: Mutex<HashMap<i32, (SecretKey, watch::Sender<u64>)>>,
}

/// A connection's entry in [`Cancels`]; taken out when the connection ends.
struct Cancellable {
    pid: i32,
    cancels: Arc<Cancels>,
    cancelled: watch::Receiver<u64>,
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.cancels.by_key.lock().remove(&self.pid);
    }
}

#[async_trait]
impl CancelHandler for Cancels {
    async fn on_cancel_request(&self, request: CancelRequest) {
        if let Some((secret, cancel)) = self.by_key.lock().get(&request.pid)
            && secret.eq_value(&request.secret_key)
        {
            cancel.send_modify(|times| *times += 1);
        }
    }
}

/// Lets clients in: at once, or after they have given the token as password.
struct Startup {
    guard: Guard,
    pids: Arc<RandomPidSecretKeyGenerator>,
    cancels: Arc<Cancels>,
}

impl Startup {
    async fn admit<C>(&self, client: &mut C) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (pid, secret) = self.pids.generate(client);
        client.set_pid_and_secret_key(pid, secret.clone());
        let (cancel, cancelled) = watch::channel(0);
        self.cancels.by_key.lock().insert(pid, (secret, cancel));
        client.session_extensions().insert(Cancellable { pid, cancels: self.cancels.clone(), cancelled });
        let mut parameters = DefaultServerParameterProvider::default();
        // Clients choose their catalog queries by this version; 15 is what the catalog answers best.
        parameters.server_version = concat!("15.0 (Eagre ", env!("CARGO_PKG_VERSION"), ")").to_owned();
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        finish_authentication(client, &parameters).await
    }
}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                if !self.guard.wants_token() {
                    return self.admit(client).await;
                }
                client.set_state(PgWireConnectionState::AuthenticationInProgress);
                client.send(PgWireBackendMessage::Authentication(Authentication::CleartextPassword)).await?;
                Ok(())
            }
            PgWireFrontendMessage::PasswordMessageFamily(password) => {
                let password = password.into_password()?;
                if self.guard.admits(Some(&password.password)) {
                    return self.admit(client).await;
                }
                let mut error =
                    ErrorInfo::new("FATAL".into(), "28P01".into(), "wrong password: this door takes the token as password".into());
                error.hint = Some("set PGPASSWORD to the token".into());
                Err(PgWireError::UserError(Box::new(error)))
            }
            _ => Ok(()),
        }
    }
}

/// What pgwire keeps of a prepared statement: its text, its parsed form and its plan. The cursor hook asks for this type.
type Prepared = (String, Option<(Statement, LogicalPlan)>);

/// Runs the statements of one connection.
struct Service {
    queries: Queries,
    context: Arc<SessionContext>,
    parser: Arc<Parser>,
}

/// Text to plans.
struct Parser {
    queries: Queries,
    context: Arc<SessionContext>,
    postgres: PostgresCompatibilityParser,
}

impl Service {
    fn new(queries: Queries) -> Self {
        let context = Arc::new(queries.session());
        let parser = Arc::new(Parser { queries: queries.clone(), context: context.clone(), postgres: PostgresCompatibilityParser::new() });
        Service { queries, context, parser }
    }

    async fn answer<C>(&self, client: &C, plan: LogicalPlan, values: Option<ParamValues>, format: &Format) -> PgWireResult<Response>
    where
        C: ClientInfo + ?Sized,
    {
        let mut stop = Stop::after(self.queries.timeout());
        if let Some(limit) = client.metadata().get("statement_timeout_ms").and_then(|ms| ms.parse().ok()) {
            stop.no_later_than(std::time::Duration::from_millis(limit));
        }
        if let Some(connection) = client.session_extensions().get::<Cancellable>() {
            stop = stop.or_on(connection.cancelled.clone());
        }
        let stream = self.queries.run(&self.context, plan, values, stop).await.map_err(to_wire)?;
        let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
        let fields = Arc::new(arrow_schema_to_pg_fields(&stream.schema(), format, Some(options))?);
        let of_rows = fields.clone();
        let rows = stream.flat_map(move |batch| {
            let rows: Box<dyn Iterator<Item = _> + Send> = match batch {
                Ok(batch) => Box::new(encode_recordbatch(of_rows.clone(), batch)),
                Err(error) => Box::new(std::iter::once(Err(to_wire(error.into())))),
            };
            futures::stream::iter(rows)
        });
        Ok(Response::Query(QueryResponse::new(fields, rows)))
    }
}

/// SET, SHOW, transactions and cursors are answered by their hooks.
fn hooks() -> [&'static dyn QueryHook; 3] {
    [&CursorStatementHook, &SetShowHook, &TransactionStatementHook]
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
            let response = match self.hooked(&read.ast(), client).await {
                Some(response) => response?,
                None => {
                    let plan = self.parser.plan(read).await?;
                    self.answer(client, plan, None, &Format::UnifiedText).await?
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

impl Service {
    async fn hooked(&self, statement: &Statement, client: &mut dyn HookClient) -> Option<PgWireResult<Response>> {
        for hook in hooks() {
            // A cursor reads the cut of its DECLARE.
            let answer = at_one_cut(self.queries.tables(), hook.handle_simple_query(statement, &self.context, client)).await;
            if answer.is_some() {
                return answer;
            }
        }
        None
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
        let types: Vec<Option<&DataType>> = parameters.iter().map(|p| p.data_type.as_ref()).collect();
        let wire: Vec<Option<&Type>> = parameters.iter().map(|p| Some(&p.wire)).collect();
        let values = deserialize_parameters_with_server_types(portal, &types, &wire)?;
        self.answer(client, plan.clone(), Some(values), &portal.result_column_format).await
    }
}

impl Parser {
    /// The statements of a text, all of a kind that this door takes. A text that is not PostgreSQL's may be Flink's: that
    /// is how window table functions are called.
    fn statements(&self, text: &str) -> PgWireResult<Vec<Read>> {
        let statements = match self.postgres.parse(text) {
            Ok(statements) => statements,
            Err(fault) => {
                return match flink::parse(text, "query") {
                    Ok(flink) if flink.iter().all(|s| matches!(s.value, flink::Statement::Query(_))) => Ok(flink
                        .into_iter()
                        .filter_map(|s| if let flink::Statement::Query(query) = s.value { Some(Read::Flink(query)) } else { None })
                        .collect()),
                    _ => Err(to_wire(unreadable(text, &fault.to_string()))),
                };
            }
        };
        for statement in &statements {
            admitted(statement).map_err(to_wire)?;
        }
        Ok(statements.into_iter().map(Read::Postgres).collect())
    }

    async fn plan(&self, read: Read) -> PgWireResult<LogicalPlan> {
        let planned = at_one_cut(self.queries.tables(), async {
            match read {
                Read::Postgres(statement) => {
                    let statement = PlannerStatement::Statement(Box::new(statement));
                    Ok(self.context.state().statement_to_plan(statement).await?)
                }
                Read::Flink(query) => bounded::plan(&self.context, self.queries.catalog(), &query).await,
            }
        });
        planned.await.map_err(to_wire)
    }
}

/// A statement in the dialect that it could be read in.
#[derive(Clone)]
enum Read {
    Postgres(Statement),
    Flink(flink::Query),
}

impl Read {
    /// The statement as sqlparser has it.
    fn ast(&self) -> Statement {
        match self {
            Read::Postgres(statement) => statement.clone(),
            Read::Flink(query) => Statement::Query(query.value.clone()),
        }
    }
}

#[async_trait]
impl QueryParser for Parser {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, client: &C, text: &str, _: &[Option<Type>]) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut statements = self.statements(text)?.into_iter();
        let Some(read) = statements.next() else { return Ok(None) };
        let statement = read.ast();
        if statements.next().is_some() {
            return Err(to_wire(Error::input("a prepared statement is one statement, here are several")));
        }
        for hook in hooks() {
            if let Some(plan) = hook.handle_extended_parse_query(&statement, &self.context, client).await {
                return Ok(Some((text.to_owned(), Some((statement, plan?)))));
            }
        }
        let plan = self.plan(read).await?;
        Ok(Some((text.to_owned(), Some((statement, plan)))))
    }

    fn get_parameter_types(&self, (_, prepared): &Prepared) -> PgWireResult<Vec<Type>> {
        prepared.as_ref().map_or(Ok(Vec::new()), |(_, plan)| Ok(parameters(plan)?.into_iter().map(|p| p.wire).collect()))
    }

    fn get_result_schema(&self, (_, prepared): &Prepared, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        prepared.as_ref().map_or(Ok(Vec::new()), |(_, plan)| {
            arrow_schema_to_pg_fields(plan.schema().as_arrow(), format.unwrap_or(&Format::UnifiedText), None)
        })
    }
}

/// A parameter of a prepared statement.
struct Parameter {
    /// Its type as the planner sees it, if it does.
    data_type: Option<DataType>,
    /// Its type on the wire.
    wire: Type,
}

/// The parameters of a plan, `$1` first.
fn parameters(plan: &LogicalPlan) -> PgWireResult<Vec<Parameter>> {
    let mut types = plan.get_parameter_types().map_err(|error| to_wire(error.into()))?;
    let mut oids: HashMap<String, Type> = HashMap::new();
    let looked = plan.apply(|node| {
        for expr in node.expressions() {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr
                    && let Expr::Placeholder(placeholder) = cast.expr.as_ref()
                {
                    // `$1::BIGINT` says its type itself.
                    types.insert(placeholder.id.clone(), Some(cast.field.data_type().clone()));
                }
                // Catalog columns of object ids: clients bind them as such.
                if let Expr::Placeholder(placeholder) = expr
                    && let Some(field) = &placeholder.field
                    && field.data_type() == &DataType::Int32
                    && let Some(alias) = field.metadata().get(PG_OID_ALIAS_KEY).and_then(|kind| pg_type_for_alias_kind(kind))
                {
                    oids.insert(placeholder.id.clone(), alias);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    looked.map_err(|error| to_wire(error.into()))?;
    let number = |id: &str| id.trim_start_matches('$').parse::<u32>().unwrap_or(u32::MAX);
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort_by_key(|(id, _)| number(id));
    types
        .into_iter()
        .map(|(id, data_type)| {
            let wire = match (oids.remove(&id), &data_type) {
                (Some(oid), _) => oid,
                (None, Some(data_type)) => into_pg_type(data_type)?,
                (None, None) => Type::UNKNOWN,
            };
            Ok(Parameter { data_type, wire })
        })
        .collect()
}

/// Refuses what is neither a query nor harmless.
fn admitted(statement: &Statement) -> crate::error::Result<()> {
    match statement {
        Statement::Explain { statement, .. } => admitted(statement),
        Statement::Set(Set::SingleAssignment { variable, .. }) if variable.to_string().to_lowercase().starts_with("datafusion.") => {
            Err(refused(&format!("SET {variable}")))
        }
        Statement::Query(_)
        | Statement::ExplainTable { .. }
        | Statement::Set(_)
        | Statement::ShowVariable { .. }
        | Statement::ShowStatus { .. }
        | Statement::ShowCatalogs { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Declare { .. }
        | Statement::Fetch { .. }
        | Statement::Close { .. } => Ok(()),
        other => Err(refused(&name_of(&other.to_string()))),
    }
}

/// What a statement is called: its first word, with the second where that says what is made or dropped.
fn name_of(text: &str) -> String {
    let mut words = text.split_whitespace().map(str::to_uppercase);
    let first = words.next().unwrap_or_default();
    match (first.as_str(), words.next()) {
        ("CREATE" | "DROP" | "ALTER", Some(second)) => format!("{first} {second}"),
        _ => first,
    }
}

/// The error of a text that is not PostgreSQL's: a writing statement is refused as such, whatever its spelling.
fn unreadable(text: &str, fault: &str) -> Error {
    match name_of(text) {
        name if ["CREATE", "DROP", "ALTER", "COPY", "INSERT", "UPDATE", "DELETE", "MERGE"].iter().any(|w| name.starts_with(w)) => {
            refused(&name)
        }
        _ => Error::input(fault),
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
        Kind::Failed | Kind::Unreachable | Kind::Fenced => "58000",
    };
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".into(), code.into(), error.to_string())))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;
    use crate::server::listen::listen;
    use crate::server::queries::QueryLimits;
    use crate::server::testing::orders;
    use crate::table::{SystemSchema, Tables};

    /// A door on a free port, over the table `orders`.
    async fn door(token: Option<&str>, limits: QueryLimits) -> (u16, Tables, crate::table::TableWriter) {
        let (tables, writer) = orders();
        let queries = Queries::new(tables.clone(), SystemSchema::new(Metrics::default()), Arc::default(), &limits).unwrap();
        let guard = Guard::new(token.map(str::to_owned), None).unwrap();
        let listener = listen("--pg-listen", "127.0.0.1:0", &guard).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(serve(listener, queries, guard));
        (port, tables, writer)
    }

    async fn psql(port: u16, password: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("psql");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "me", "-d", "eagre", "-X", "-A", "-t", "-w"]);
        command.args(arguments).env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "5");
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn ask(port: u16, sql: &str) -> (String, String) {
        let output = psql(port, "", &["-c", sql]).await;
        (String::from_utf8(output.stdout).unwrap().trim_end().to_owned(), String::from_utf8(output.stderr).unwrap().trim_end().to_owned())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn psql_reads_tables_while_they_change() {
        let (port, tables, mut writer) = door(None, QueryLimits::default()).await;
        for (sql, want) in [
            ("SELECT id, amount, placed FROM orders WHERE id = 'o2'", "o2|20|1970-01-01 00:00:02.000000"),
            ("SELECT count(*), SUM(amount) FROM orders", "3|60"),
            ("SELECT \"id\" FROM orders ORDER BY amount DESC LIMIT 1", "o3"),
            (
                "SELECT window_start, SUM(amount) FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '2' SECOND)) GROUP BY window_start, window_end ORDER BY 1",
                "1970-01-01 00:00:00.000000|10\n1970-01-01 00:00:02.000000|50",
            ),
            ("SHOW TRANSACTION ISOLATION LEVEL", "read_committed"),
            ("SELECT name FROM system.metrics LIMIT 0", ""),
            ("BEGIN; SELECT 1; COMMIT", "BEGIN\n1\nCOMMIT"),
            ("SET application_name = 'x'", "SET"),
        ] {
            assert_eq!(ask(port, sql).await, (want.to_owned(), String::new()), "{sql}");
        }
        crate::server::testing::write_orders(&mut writer, &[("o2", 99, 2), ("o4", 1, 4)]);
        writer.cut(2).unwrap();
        tables.publish(2);
        assert_eq!(ask(port, "SELECT count(*), SUM(amount) FROM orders").await.0, "4|140");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn psql_describes_tables() {
        let (port, ..) = door(None, QueryLimits::default()).await;
        let (listed, errors) = ask(port, "\\dt").await;
        assert!(errors.is_empty() && listed.contains("public|orders|table"), "{listed}\n{errors}");
        let (described, errors) = ask(port, "\\d orders").await;
        assert!(errors.is_empty(), "{errors}");
        for column in ["id|", "amount|bigint", "placed|timestamp without time zone"] {
            assert!(described.contains(column), "{described}");
        }
        let (listed, errors) = ask(port, "\\d").await;
        assert!(errors.is_empty() && listed.contains("orders"), "{listed}\n{errors}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whatever_writes_is_refused_by_name() {
        let (port, ..) = door(None, QueryLimits::default()).await;
        let outside = tempfile::tempdir().unwrap();
        let file = outside.path().join("out.csv");
        let file = file.to_str().unwrap();
        for (sql, name) in [
            ("INSERT INTO orders VALUES ('x', 1, NULL)", "INSERT"),
            ("UPDATE orders SET amount = 0", "UPDATE"),
            ("DELETE FROM orders", "DELETE"),
            ("TRUNCATE orders", "TRUNCATE"),
            ("CREATE TABLE t (a INT)", "CREATE TABLE"),
            ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
            ("DROP TABLE orders", "DROP TABLE"),
            ("ALTER TABLE orders ADD COLUMN b INT", "ALTER TABLE"),
            (&format!("COPY orders TO '{file}'"), "COPY"),
            (&format!("COPY (SELECT 1) TO '{file}'"), "COPY"),
            (&format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{file}'"), "CREATE EXTERNAL"),
            ("SELECT 1 AS a INTO t2", "CreateMemoryTable"),
            ("EXPLAIN INSERT INTO orders VALUES ('x', 1, NULL)", "INSERT"),
            ("SET datafusion.runtime.memory_limit = '100G'", "SET datafusion.runtime.memory_limit"),
            ("PREPARE p AS INSERT INTO orders VALUES ('x', 1, NULL)", "PREPARE"),
        ] {
            let (out, errors) = ask(port, sql).await;
            assert!(out.is_empty() && errors.contains(name), "{sql}: {out} {errors}");
        }
        for sql in ["INSERT INTO orders VALUES ('x', 1, NULL)", "COPY (SELECT 1) TO '/tmp/x'"] {
            assert!(ask(port, sql).await.1.contains("this door is read-only"));
        }
        assert_eq!(ask(port, "SELECT count(*) FROM orders").await.0, "3");
        assert!(!std::path::Path::new(file).exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_is_asked_for_as_password() {
        let (port, ..) = door(Some("secret"), QueryLimits::default()).await;
        let right = psql(port, "secret", &["-c", "SELECT 1"]).await;
        assert_eq!(String::from_utf8_lossy(&right.stdout).trim(), "1");
        let wrong = psql(port, "guess", &["-c", "SELECT 1"]).await;
        let errors = String::from_utf8_lossy(&wrong.stderr).into_owned();
        assert!(!wrong.status.success() && errors.contains("takes the token as password"), "{errors}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_prepared_statement_reads_anew_each_time() {
        let (port, tables, mut writer) = door(None, QueryLimits::default()).await;
        let (client, connection) =
            tokio_postgres::connect(&format!("host=127.0.0.1 port={port} user=me"), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let prepared = client.prepare("SELECT amount FROM orders WHERE id = $1 AND amount > $2::bigint").await.unwrap();
        let amount = |rows: Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>();
        assert_eq!(amount(client.query(&prepared, &[&"o2", &5_i64]).await.unwrap()), [20]);
        crate::server::testing::write_orders(&mut writer, &[("o2", 99, 2)]);
        writer.cut(2).unwrap();
        tables.publish(2);
        assert_eq!(amount(client.query(&prepared, &[&"o2", &5_i64]).await.unwrap()), [99]);
        assert!(client.query("INSERT INTO orders VALUES ('x', 1, NULL)", &[]).await.unwrap_err().to_string().contains("db error"));
        assert_eq!(amount(client.query(&prepared, &[&"none", &5_i64]).await.unwrap()), [0_i64; 0]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_query_ends_at_its_time_limit_or_when_it_is_cancelled() {
        let endless = "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000) b WHERE a.value % 7 = b.value";
        let (port, ..) = door(None, QueryLimits { timeout: Duration::from_millis(300), ..QueryLimits::default() }).await;
        let (_, errors) = ask(port, endless).await;
        assert!(errors.contains("time limit"), "{errors}");
        let (port, ..) = door(None, QueryLimits::default()).await;
        let (client, connection) =
            tokio_postgres::connect(&format!("host=127.0.0.1 port={port} user=me"), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let cancel = client.cancel_token();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        });
        let error = client.simple_query(endless).await.unwrap_err();
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::QUERY_CANCELED), "{error}");
        assert!(client.simple_query("SELECT 1").await.is_ok(), "the connection lives on");
    }
}
