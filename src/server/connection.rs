//! One connection that speaks Flink SQL: its session, and what it has declared for itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use arrow::datatypes::{Field, Schema};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{ExplainOption, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::prelude::SessionContext;

use crate::error::{Error, Result, did_you_mean};
use crate::server::queries::{CATALOG, Queries, SCHEMA, Stop, refused};
use crate::sql::bounded;
use crate::sql::catalog::Catalog;
use crate::sql::statement::{self, DropKind, Name, Query, Spanned, Statement};
use crate::sql::types;
use crate::table::at_one_cut;

/// See the file's head.
pub struct Connection {
    queries: Queries,
    context: SessionContext,
    /// The project's views and this connection's own.
    catalog: Catalog,
}

impl Connection {
    /// A new one.
    pub fn new(queries: Queries) -> Self {
        Connection { context: queries.command_line_session(), catalog: queries.catalog().as_ref().clone(), queries }
    }

    /// Reads a text of one or more statements; `name` is the text's name in messages.
    pub fn parse(&self, text: &str, name: &str) -> Result<Vec<Spanned<Statement>>> {
        statement::parse(text, name)
    }

    /// Plans a query without running it.
    pub async fn check(&self, query: &Query) -> Result<()> {
        at_one_cut(self.queries.tables(), bounded::plan(&self.context, &self.catalog, query)).await.map(|_| ())
    }

    /// Runs one statement. Views that it creates live as long as the connection; what would write is refused.
    pub async fn run(&mut self, statement: &Spanned<Statement>, stop: Stop) -> Result<SendableRecordBatchStream> {
        match &statement.value {
            Statement::Query(query) => {
                let plan = at_one_cut(self.queries.tables(), bounded::plan(&self.context, &self.catalog, query)).await?;
                self.queries.run(&self.context, plan, None, stop).await
            }
            Statement::Explain(inner) => {
                let Statement::Query(query) = &inner.value else {
                    return Err(Error::input("EXPLAIN takes a query here; `eagre explain` shows pipelines").at(inner.place.clone()));
                };
                let plan = at_one_cut(self.queries.tables(), bounded::plan(&self.context, &self.catalog, query)).await?;
                self.queries.run(&self.context, explained(plan)?, None, stop).await
            }
            Statement::Describe(table) => rows(self.describe(&table.value).await.map_err(|e| e.at(table.place.clone()))?),
            Statement::ShowTables | Statement::ShowViews => rows(self.names(matches!(statement.value, Statement::ShowViews))?),
            Statement::Drop { kind, name, .. } if !self.owns(*kind, &name.value) => Err(not_dropped(*kind, name)),
            Statement::CreateView(_) | Statement::Drop { .. } => {
                self.catalog.apply(statement)?;
                rows(RecordBatch::new_empty(Arc::new(Schema::empty())))
            }
            Statement::Set { .. } | Statement::ShowSet | Statement::Reset { .. } => {
                Err(Error::input("SET belongs into the texts of pipelines; a query has no settings").at(statement.place.clone()))
            }
            Statement::CreateTable { .. } => Err(refused("CREATE TABLE").at(statement.place.clone())),
            Statement::CreateMaterializedView(_) => Err(refused("CREATE MATERIALIZED VIEW").at(statement.place.clone())),
            Statement::Insert(_) | Statement::StatementSet(_) => Err(refused("INSERT").at(statement.place.clone())),
        }
    }

    /// Names that a query can read, for completion: live tables and views plain, system tables with their schema.
    pub fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.queries.tables().snapshot().tables.keys().cloned().collect();
        names.extend(self.catalog.entries().map(|(name, _)| name.to_owned()));
        if let Some(system) = self.context.catalog(CATALOG).and_then(|catalog| catalog.schema("system")) {
            names.extend(system.table_names().iter().map(|name| format!("system.{name}")));
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Every name that a text may hold, for completion: tables, and their columns.
    pub async fn names_to_complete(&self) -> Result<Vec<String>> {
        let mut names = self.table_names();
        for schema in [SCHEMA, "system"] {
            let Some(schema) = self.context.catalog(CATALOG).and_then(|catalog| catalog.schema(schema)) else { continue };
            for table in schema.table_names() {
                if let Some(table) = schema.table(&table).await? {
                    names.extend(table.schema().fields().iter().map(|field| field.name().clone()));
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// May this connection drop it? A view that it has made itself, or one that nobody has made.
    fn owns(&self, kind: DropKind, name: &str) -> bool {
        kind == DropKind::View && self.queries.catalog().get(name).is_none()
    }

    async fn describe(&self, table: &str) -> Result<RecordBatch> {
        let name = table.split_once('.').unwrap_or((SCHEMA, table));
        let provider = match self.context.catalog(CATALOG).and_then(|catalog| catalog.schema(name.0)) {
            Some(schema) if schema.table_exist(name.1) => schema.table(name.1).await?,
            _ => None,
        };
        let Some(provider) = provider else {
            let names = self.table_names();
            return Err(Error::input(format!("no table '{table}'{}", did_you_mean(table, names.iter().map(String::as_str)))));
        };
        let schema = provider.schema();
        let key: Vec<usize> = provider.constraints().map(|c| c.iter().flat_map(primary_key).copied().collect()).unwrap_or_default();
        let fields = schema.fields();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(fields.iter().map(|f| f.name()))),
            Arc::new(StringViewArray::from_iter_values(fields.iter().map(|f| types::name(f.data_type())))),
            Arc::new(fields.iter().map(|f| Some(f.is_nullable())).collect::<BooleanArray>()),
            Arc::new(
                (0..fields.len()).map(|i| key.contains(&i).then(|| format!("PRI({})", fields[i].name()))).collect::<StringViewArray>(),
            ),
        ];
        table_of(&["name", "type", "null", "key"], columns)
    }

    fn names(&self, views: bool) -> Result<RecordBatch> {
        let mut named: Vec<(String, &str)> = self.catalog.entries().map(|(name, entry)| (name.to_owned(), entry.kind())).collect();
        if !views {
            let live = self.queries.tables().snapshot();
            named.retain(|(name, _)| live.table(name).is_none());
            named.extend(live.tables.keys().map(|name| (name.clone(), "live table")));
            named.extend(self.table_names().into_iter().filter(|name| name.starts_with("system.")).map(|name| (name, "system table")));
        } else {
            named.retain(|(_, kind)| *kind != "table");
        }
        named.sort_unstable();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(named.iter().map(|(name, _)| name))),
            Arc::new(StringViewArray::from_iter_values(named.iter().map(|(_, kind)| kind))),
        ];
        table_of(&["table name", "kind"], columns)
    }
}

fn primary_key(constraint: &datafusion::common::Constraint) -> &[usize] {
    match constraint {
        datafusion::common::Constraint::PrimaryKey(columns) => columns,
        datafusion::common::Constraint::Unique(_) => &[],
    }
}

fn not_dropped(kind: DropKind, name: &Name) -> Error {
    let what = match kind {
        DropKind::Table => "DROP TABLE",
        DropKind::View => "DROP VIEW",
        DropKind::MaterializedView => "DROP MATERIALIZED VIEW",
    };
    let text = format!("{what} {}: nothing is dropped here; take the statement that declares it out of the project's files", name.value);
    Error::input(text).at(name.place.clone())
}

fn explained(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlanBuilder::from(plan).explain_option_format(ExplainOption::default())?.build()?)
}

fn table_of(names: &[&str], columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let fields: Vec<Field> = names.iter().zip(&columns).map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn rows(batch: RecordBatch) -> Result<SendableRecordBatchStream> {
    let schema = batch.schema();
    let batches = if batch.num_rows() == 0 { Vec::new() } else { vec![batch] };
    Ok(Box::pin(MemoryStream::try_new(batches, schema, None)?))
}
