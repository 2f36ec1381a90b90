//! Bounded queries: the same text over tables that end, answered by plain DataFusion.
//!
//! ```text
//! text ─ statement.rs ─▶ Query ─ [`plan`] ─▶ LogicalPlan over TableProviders ─ DataFusion ─▶ rows
//!                                  └─ views of the catalog, tables registered in the session by name
//! ```
//! Comes in: a query, a [`SessionContext`] made by [`session`] with the tables to read registered in it. Always holds:
//! same dialect, same functions, same windows as in a pipeline; no row is late, so the answer is that of a pipeline
//! which dropped nothing. `window_exec.rs` materialises windows, `recognize_exec.rs` finds matches; tables are any `TableProvider`.

mod recognize_exec;
mod window_exec;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, TableSource};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner as _};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::sqlparser::ast::{self, ObjectName, Visit, Visitor};

use super::catalog::{Catalog, Entry};
use super::dialect::TableArgument;
use super::functions::Functions;
use super::plan::{ViewSource, query_plan, view_plan};
use super::relation::WindowFunctions;
use super::scope::{self, Scope, Tables};
use super::statement::Query;
use super::types::FlinkTypes;
use super::{lateral_unnest, place};
use crate::error::{Error, Result, did_you_mean};
use recognize_exec::RecognizePlanner;
use window_exec::WindowPlanner;

/// A DataFusion session that means by a text what pipelines mean by it: register tables in it, then [`query`].
///
/// Texts in another dialect (PostgreSQL's, from psql) may be planned by the session itself: it knows Flink's functions,
/// types and windows too, its names are case-sensitive.
pub fn session(functions: &Functions) -> SessionContext {
    SessionContext::new_with_state(state(functions))
}

fn state(functions: &Functions) -> SessionState {
    let config = SessionConfig::from(scope::options()).with_information_schema(true);
    let mut builder = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_expr_planners(scope::expr_planners())
        .with_relation_planners(vec![Arc::new(WindowFunctions)])
        .with_type_planner(Arc::new(FlinkTypes))
        .with_analyzer_rules(scope::analyzer_rules())
        .with_query_planner(Arc::new(Planner));
    builder.scalar_functions().get_or_insert_default().extend_from_slice(functions.own_scalar());
    builder.aggregate_functions().get_or_insert_default().extend_from_slice(functions.own_aggregate());
    builder.build()
}

/// DataFusion's physical planner, which also knows windows and patterns.
#[derive(Debug)]
struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> DfResult<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(WindowPlanner), Arc::new(RecognizePlanner)]);
        planner.create_physical_plan(plan, session).await
    }
}

/// The plan of `query`: tables are those registered in `context`, views are the catalog's.
pub async fn plan(context: &SessionContext, catalog: &Catalog, query: &Query) -> Result<LogicalPlan> {
    let tables = Registered::resolve(context, catalog, query).await?;
    let scope = Scope::new(&tables, catalog.functions());
    let plan = query_plan(&scope, query)?;
    lateral_unnest::rewrite(plan).map_err(|e| place::of_planner(&query.place.name, e).at(query.place.clone()))
}

/// `query` ready to be collected or streamed.
pub async fn query(context: &SessionContext, catalog: &Catalog, query: &Query) -> Result<DataFrame> {
    let plan = plan(context, catalog, query).await?;
    Ok(context.execute_logical_plan(plan).await?)
}

/// All rows of `text`, one query over the tables of `context`.
pub async fn collect(context: &SessionContext, catalog: &Catalog, text: &str, file: &str) -> Result<Vec<RecordBatch>> {
    let parsed = super::statement::parse_query(text, file)?;
    Ok(query(context, catalog, &parsed).await?.collect().await?)
}

/// What the names of one query stand for. DataFusion looks tables up asynchronously but plans synchronously, so they
/// are looked up first.
struct Registered<'a> {
    catalog: &'a Catalog,
    sources: HashMap<TableReference, Arc<dyn TableSource>>,
    /// For the nearest match.
    names: Vec<String>,
}

impl<'a> Registered<'a> {
    async fn resolve(context: &SessionContext, catalog: &'a Catalog, query: &Query) -> Result<Self> {
        let mut sources: HashMap<TableReference, Arc<dyn TableSource>> = HashMap::new();
        let mut open = named(&query.value);
        let mut seen = Vec::new();
        while let Some(name) = open.pop() {
            if seen.contains(&name) {
                continue;
            }
            if let Ok(provider) = context.table_provider(name.clone()).await {
                sources.insert(name.clone(), provider_as_source(provider));
            } else if let TableReference::Bare { table } = &name {
                match catalog.get(table) {
                    Some(Entry::View(view)) => open.extend(named(&view.query.value)),
                    Some(Entry::MaterializedView(view, _)) => open.extend(named(&view.query.value)),
                    _ => {}
                }
            }
            seen.push(name);
        }
        let mut names: Vec<String> = catalog.entries().map(|(name, _)| name.to_owned()).collect();
        for catalog in context.catalog_names() {
            let schemas =
                context.catalog(&catalog).into_iter().flat_map(|c| c.schema_names().into_iter().filter_map(move |s| c.schema(&s)));
            names.extend(schemas.flat_map(|s| s.table_names()));
        }
        Ok(Registered { catalog, sources, names })
    }
}

impl Tables for Registered<'_> {
    fn table(&self, name: &TableReference) -> Result<Arc<dyn TableSource>> {
        if let Some(source) = self.sources.get(name) {
            return Ok(source.clone());
        }
        let scope = Scope::new(self, self.catalog.functions());
        let plan = match self.catalog.get(name.table()) {
            Some(Entry::View(view)) => view_plan(&scope, view)?,
            Some(Entry::MaterializedView(view, _)) => query_plan(&scope, &view.query)?,
            Some(Entry::Table(_)) => {
                return Err(Error::input(format!(
                    "'{name}' is a table, not a live table: this door reads live tables, `eagre sql` reads it"
                )));
            }
            None => {
                let hint = did_you_mean(name.table(), self.names.iter().map(String::as_str));
                return Err(Error::input(format!("no table or view '{name}'{hint}")));
            }
        };
        Ok(Arc::new(ViewSource::new(plan)))
    }
}

/// All names that stand where a table can.
pub fn named(query: &ast::Query) -> Vec<TableReference> {
    struct Names(Vec<TableReference>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
            self.0.extend(datafusion::sql::planner::object_name_to_table_reference(name.clone(), false));
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            if let ast::Expr::Prefixed { .. } = expr
                && let Some(TableArgument { table: ast::Expr::CompoundIdentifier(idents), .. }) = TableArgument::from_expr(expr.clone())
            {
                let parts = idents.into_iter().map(ast::ObjectNamePart::Identifier).collect();
                return self.pre_visit_relation(&ObjectName(parts));
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(Vec::new());
    _ = query.visit(&mut names);
    names.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::arrow::array::{Int64Array, StringViewArray, TimestampMillisecondArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::datasource::MemTable;

    /// Rows of (key, seconds, value) in two partitions.
    fn context(rows: &[(&str, Option<i64>, i64)]) -> SessionContext {
        let schema = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8View, true),
            Field::new("rt", DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())), true),
            Field::new("v", DataType::Int64, true),
        ]));
        let batch = |rows: &[(&str, Option<i64>, i64)]| {
            let times: TimestampMillisecondArray = rows.iter().map(|r| r.1.map(|s| s * 1000)).collect();
            RecordBatch::try_new(
                schema.clone(),
                vec![
                    Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| r.0))),
                    Arc::new(times.with_timezone("+00:00")),
                    Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2))),
                ],
            )
            .unwrap()
        };
        let (one, two) = rows.split_at(rows.len() / 2);
        let table = MemTable::try_new(schema.clone(), vec![vec![batch(one)], vec![batch(two)]]).unwrap();
        let context = session(&Functions::default());
        context.register_table("t", Arc::new(table)).unwrap();
        context
    }

    async fn rows(context: &SessionContext, text: &str) -> Vec<String> {
        let batches = collect(context, &Catalog::new(), text, "q.sql").await.unwrap();
        let text = pretty_format_batches(&batches).unwrap().to_string();
        text.lines()
            .skip(3)
            .filter(|l| l.starts_with('|'))
            .map(|l| l.split('|').map(str::trim).filter(|c| !c.is_empty()).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[tokio::test]
    async fn windows_are_materialised() {
        let context = context(&[("a", Some(1), 10), ("a", Some(7), 1), ("b", Some(8), 2), ("b", None, 99)]);
        let tumble = "SELECT k, window_start, window_end, SUM(v) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(rt), INTERVAL '5' SECOND))
            GROUP BY k, window_start, window_end ORDER BY 1, 2";
        assert_eq!(
            rows(&context, tumble).await,
            [
                "a 1970-01-01T00:00:00 1970-01-01T00:00:05 10",
                "a 1970-01-01T00:00:05 1970-01-01T00:00:10 1",
                "b 1970-01-01T00:00:05 1970-01-01T00:00:10 2",
            ]
        );
        let hop = "SELECT window_start, Count(*) FROM TABLE(HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(rt), SLIDE => INTERVAL '5' SECONDS,
            SIZE => INTERVAL '10' SECONDS)) GROUP BY window_start, window_end ORDER BY 1";
        assert_eq!(rows(&context, hop).await, ["1969-12-31T23:59:55 1", "1970-01-01T00:00:00 3", "1970-01-01T00:00:05 2"]);
        let cumulate = "SELECT window_end, SUM(v) FROM CUMULATE(TABLE t, DESCRIPTOR(rt), INTERVAL '5' SECOND, INTERVAL '10' SECOND)
            GROUP BY window_start, window_end ORDER BY 1";
        assert_eq!(rows(&context, cumulate).await, ["1970-01-01T00:00:05 10", "1970-01-01T00:00:10 13"]);
    }

    #[tokio::test]
    async fn sessions_touch_bridge_and_keep_keys_apart() {
        // Gap 5: 1, 6 touch; 12 is alone; b has its own.
        let context = context(&[("a", Some(12), 4), ("a", Some(6), 2), ("b", Some(3), 8), ("a", Some(1), 1), ("a", None, 99)]);
        let session = "SELECT k, window_start, window_end, SUM(v)
            FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(rt), INTERVAL '5' SECOND))
            GROUP BY k, window_start, window_end ORDER BY 1, 2";
        assert_eq!(
            rows(&context, session).await,
            [
                "a 1970-01-01T00:00:01 1970-01-01T00:00:11 3",
                "a 1970-01-01T00:00:12 1970-01-01T00:00:17 4",
                "b 1970-01-01T00:00:03 1970-01-01T00:00:08 8",
            ]
        );
        let one_chain =
            "SELECT window_start, window_end, window_time, SUM(v) FROM TABLE(SESSION(TABLE t, DESCRIPTOR(rt), INTERVAL '5' SECOND))
            GROUP BY window_start, window_end, window_time ORDER BY 1";
        assert_eq!(
            rows(&context, one_chain).await,
            [
                "1970-01-01T00:00:01 1970-01-01T00:00:11 1970-01-01T00:00:10.999Z 11",
                "1970-01-01T00:00:12 1970-01-01T00:00:17 1970-01-01T00:00:16.999Z 4",
            ]
        );
    }

    #[tokio::test]
    async fn arrays_become_rows_and_their_rows_columns() {
        let context = context(&[("a", Some(1), 10), ("b", Some(2), 20)]);
        let scalars = "SELECT k, x FROM (SELECT k, ARRAY[v, v + 1] AS xs FROM t) s CROSS JOIN UNNEST(xs) AS u(x) ORDER BY 1, 2";
        assert_eq!(rows(&context, scalars).await, ["a 10", "a 11", "b 20", "b 21"]);
        let structs = "SELECT s.k, u.n, u.amount FROM (SELECT k, ARRAY[CAST(ROW(k, v) AS ROW<name STRING, v INT>)] AS xs FROM t) s
            CROSS JOIN UNNEST(s.xs) AS u(n, amount) WHERE u.amount > 10";
        assert_eq!(rows(&context, structs).await, ["b b 20"]);
    }

    #[tokio::test]
    async fn views_of_the_catalog_read_registered_tables() {
        let context = context(&[("a", Some(1), 10), ("b", Some(2), 20)]);
        let mut catalog = Catalog::new();
        catalog.functions_mut();
        let declared =
            "CREATE TABLE t (k STRING, rt TIMESTAMP_LTZ(3), v BIGINT); CREATE VIEW big (key, amount) AS SELECT k, v FROM t WHERE v > 10;";
        for statement in super::super::statement::parse(declared, "d.sql").unwrap() {
            catalog.apply(&statement).unwrap();
        }
        let batches = collect(&context, &catalog, "SELECT key, amount FROM big", "q.sql").await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        let error = collect(&context, &catalog, "SELECT *\nFROM bigg", "q.sql").await.unwrap_err();
        assert_eq!(error.to_string(), "q.sql:2:6: no table or view 'bigg'; did you mean 'big'?");
    }
}
