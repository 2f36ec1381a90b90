//! Texts to plans: what is admitted, in which dialect, with which parameters.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as PlannerStatement;
use datafusion::sql::sqlparser::ast::{Set, Statement};
use datafusion_postgres::arrow_pg::datatypes::{PG_OID_ALIAS_KEY, into_pg_type, pg_type_for_alias_kind};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::FieldInfo;
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::{ClientInfo, Type};
use datafusion_postgres::pgwire::error::PgWireResult;

use super::cursor::{Cursors, Declared};
use super::rows::described;
use super::{Prepared, hooks, names, to_wire};
use crate::error::Error;
use crate::server::queries::{Queries, refused};
use crate::sql::bounded;
use crate::sql::statement as flink;
use crate::table::at_one_cut;

/// Text to plans.
pub(super) struct Parser {
    queries: Queries,
    context: Arc<SessionContext>,
    /// What FETCH fetches from.
    cursors: Arc<Cursors>,
    postgres: PostgresCompatibilityParser,
}

impl Parser {
    /// For the texts of one connection.
    pub(super) fn new(queries: Queries, context: Arc<SessionContext>, cursors: Arc<Cursors>) -> Self {
        Parser { queries, context, cursors, postgres: PostgresCompatibilityParser::new() }
    }

    /// The statements of a text, all of a kind that this door takes. A text that is not PostgreSQL's may be Flink's: that
    /// is how window table functions are called.
    pub(super) fn statements(&self, text: &str) -> PgWireResult<Vec<Read>> {
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

    /// The plan of a statement; of a DECLARE that of its query, of a FETCH the columns of its cursor.
    pub(super) async fn plan(&self, read: Read) -> PgWireResult<LogicalPlan> {
        let read = match read {
            Read::Postgres(Statement::Fetch { name, .. }) => return self.cursors.shape(&name),
            Read::Postgres(Statement::Close { .. }) => {
                return LogicalPlanBuilder::empty(false).build().map_err(|error| to_wire(error.into()));
            }
            Read::Postgres(Statement::Declare { stmts }) => Read::Postgres(Statement::Query(Declared::of(&stmts)?.query)),
            read => read,
        };
        let planned = at_one_cut(self.queries.tables(), async {
            match read {
                Read::Postgres(mut statement) => {
                    names::set_apart(&mut statement);
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
pub(super) enum Read {
    Postgres(Statement),
    Flink(flink::Query),
}

impl Read {
    /// The statement as sqlparser has it.
    pub(super) fn ast(&self) -> Statement {
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
        match prepared {
            // Its plan is that of what it declares.
            None | Some((Statement::Declare { .. }, _)) => Ok(Vec::new()),
            Some((_, plan)) => described(plan.schema().as_arrow(), format.unwrap_or(&Format::UnifiedText), None),
        }
    }
}

/// A parameter of a prepared statement.
pub(super) struct Parameter {
    /// Its type as the planner sees it, if it does.
    pub(super) data_type: Option<DataType>,
    /// Its type on the wire.
    pub(super) wire: Type,
}

/// The parameters of a plan, `$1` first.
pub(super) fn parameters(plan: &LogicalPlan) -> PgWireResult<Vec<Parameter>> {
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

/// Kinds of numbers.
#[derive(PartialEq)]
enum Number {
    Whole,
    Approximate,
    Decimal,
}

/// The type that a value is read as. A number of another kind than the column's stays what was sent, and the planner compares
/// the two: no fraction is cut off to fit a BIGINT, and whole numbers fit a DECIMAL.
pub(super) fn comparable<'a>(sent: Option<&Type>, column: Option<&'a DataType>) -> Option<&'a DataType> {
    let Some(sent) = sent else { return column };
    let sent = match *sent {
        Type::INT2 | Type::INT4 | Type::INT8 => Number::Whole,
        Type::FLOAT4 | Type::FLOAT8 => Number::Approximate,
        Type::NUMERIC => Number::Decimal,
        _ => return column,
    };
    let asked = match column? {
        whole if whole.is_integer() => Number::Whole,
        approximate if approximate.is_floating() => Number::Approximate,
        DataType::Decimal128(..) => Number::Decimal,
        _ => return column,
    };
    column.filter(|_| sent == asked)
}

/// Decimals with room for their fraction: as many digits as there are is too few for `0.01`.
pub(super) fn with_room(mut values: ParamValues) -> ParamValues {
    if let ParamValues::List(list) = &mut values {
        for value in list {
            if let ScalarValue::Decimal128(_, precision, scale) = &mut value.value {
                *precision = (*precision).max(scale.unsigned_abs()).max(1);
            }
        }
    }
    values
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
