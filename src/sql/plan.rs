//! Queries and INSERTs to analysed, optimised logical plans.
//!
//! Views are planned where they are used. Materialized views too: a pipeline that reads one computes its query, and
//! equal subplans of several pipelines are shared by the lowering; bounded queries read the live table instead.
//!
//! # Rewrites
//! DataFusion's, in its order, all but these:
//!
//! | left out | why |
//! |---|---|
//! | `SingleDistinctToGroupBy` | hides DISTINCT aggregates in a nested aggregation that has no window |
//! | `CommonSubexprEliminate` | moves expressions into projections between the nodes that the lowering looks for |
//! | `ExtractLeafExpressions`, `PushDownLeafProjections` | the same |
//! | `FilterNullJoinKeys` | null keys are the joins' own business (an outer row with a null key is padded, not lost) |
//! | `EliminateGroupByConstant` | a constant key is a key |
//! | `UnionsToFilter` | would merge branches that are read with different watermarks |

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::TableReference;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableSource, cast};
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext};

use super::catalog::{Catalog, Entry};
use super::declared::DeclaredTable;
use super::insert;
use super::lateral_unnest;
use super::place;
use super::scope::{Scope, Tables};
use super::statement::{Insert, Query, ViewDef};
use crate::error::{Error, Result};

/// Plans texts over the tables of a catalog.
pub struct Planner<'a> {
    catalog: &'a Catalog,
}

/// An INSERT as planned.
#[derive(Debug, Clone)]
pub struct PlannedInsert {
    /// The sink.
    pub table: Arc<DeclaredTable>,
    /// Its rows: the columns that the sink writes (those of the record and metadata that is not VIRTUAL), in declared
    /// order, with the sink's names and types.
    pub rows: LogicalPlan,
}

impl<'a> Planner<'a> {
    /// A planner over `catalog`.
    pub fn new(catalog: &'a Catalog) -> Self {
        Planner { catalog }
    }

    /// The plan of a query, analysed and optimised: filters and columns pushed to `TableScan`s over [`DeclaredTable`].
    pub fn plan_query(&self, query: &Query) -> Result<LogicalPlan> {
        let plan = self.analysed(self.query(query)?, query)?;
        self.optimized(with_string_views(plan)?, query)
    }

    /// The plan of an INSERT. Columns are matched by position and cast where Flink casts by itself.
    pub fn plan_insert(&self, insert: &Insert) -> Result<PlannedInsert> {
        let table = match self.catalog.find(&insert.table.value).map_err(|e| e.at(insert.table.place.clone()))? {
            Entry::Table(table) => table.clone(),
            entry => {
                let text = format!("'{}' is a {}; only tables can be inserted into", insert.table.value, entry.kind());
                return Err(Error::input(text).at(insert.table.place.clone()));
            }
        };
        let rows = self.analysed(self.query(&insert.query)?, &insert.query)?;
        let rows = insert::fit(rows, &table, insert.columns.as_deref(), &insert.query.place)?;
        let rows = self.optimized(rows, &insert.query)?;
        Ok(PlannedInsert { table, rows })
    }

    /// A table or view as the beginning of a plan that is built by hand.
    pub fn scan(&self, name: &str) -> Result<LogicalPlan> {
        let source = CatalogTables { catalog: self.catalog }.table(&TableReference::bare(name))?;
        Ok(LogicalPlanBuilder::scan(TableReference::bare(name), source, None)?.build()?)
    }

    /// A plan built by hand, analysed and optimised like that of a text.
    pub fn finish(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        Ok(optimize(analyse(plan)?)?)
    }

    /// A plan built by hand whose rows go into `table`, as with INSERT INTO.
    pub fn finish_insert(&self, plan: LogicalPlan, table: &str) -> Result<PlannedInsert> {
        let Entry::Table(table) = self.catalog.find(table)? else {
            return Err(Error::input(format!("'{table}' is a view; only tables can be inserted into")));
        };
        let rows = insert::fit(analyse(plan)?, table, None, &table.def.place)?;
        Ok(PlannedInsert { table: table.clone(), rows: optimize(rows)? })
    }

    /// The plan of a view as declared, not yet optimised.
    pub(super) fn view(&self, view: &ViewDef) -> Result<LogicalPlan> {
        let tables = CatalogTables { catalog: self.catalog };
        view_plan(&Scope::new(&tables, self.catalog.functions()), view)
    }

    fn query(&self, query: &Query) -> Result<LogicalPlan> {
        let tables = CatalogTables { catalog: self.catalog };
        query_plan(&Scope::new(&tables, self.catalog.functions()), query)
    }

    fn analysed(&self, plan: LogicalPlan, query: &Query) -> Result<LogicalPlan> {
        analyse(plan).map_err(|e| place::of_planner(&query.place.name, e).at(query.place.clone()))
    }

    fn optimized(&self, plan: LogicalPlan, query: &Query) -> Result<LogicalPlan> {
        optimize(plan).map_err(|e| place::of_planner(&query.place.name, e).at(query.place.clone()))
    }
}

/// The plan of a query as written; errors have their place.
pub(super) fn query_plan(scope: &Scope, query: &Query) -> Result<LogicalPlan> {
    scope.query(&query.value).map_err(|e| place::of_planner(&query.place.name, e).at(query.place.clone()))
}

/// The plan of a view's query, its columns renamed as the view names them.
pub(super) fn view_plan(scope: &Scope, view: &ViewDef) -> Result<LogicalPlan> {
    let plan = query_plan(scope, &view.query)?;
    if view.columns.is_empty() {
        return Ok(plan);
    }
    let given = plan.schema().fields().len();
    if given != view.columns.len() {
        let text = format!("view '{}' names {} columns, its query has {given}", view.name.value, view.columns.len());
        return Err(Error::input(text).at(view.name.place.clone()));
    }
    let renamed: Vec<Expr> =
        plan.schema().columns().into_iter().zip(&view.columns).map(|(column, name)| Expr::Column(column).alias(name)).collect();
    Ok(LogicalPlanBuilder::from(plan).project(renamed)?.build()?)
}

fn analyse(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    Analyzer::with_rules(super::scope::analyzer_rules()).execute_and_check(
        lateral_unnest::rewrite(plan)?,
        &super::scope::options(),
        |_, _| {},
    )
}

/// Some of DataFusion's functions give other kinds of text than `Utf8View`; a query gives no other.
fn with_string_views(plan: LogicalPlan) -> Result<LogicalPlan> {
    let is_other = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8);
    if !plan.schema().fields().iter().any(|f| is_other(f.data_type())) {
        return Ok(plan);
    }
    let schema = plan.schema().clone();
    let columns = schema.iter().map(|(qualifier, field)| {
        let column = Expr::from((qualifier, field));
        if is_other(field.data_type()) {
            cast(column, DataType::Utf8View).alias_qualified(qualifier.cloned(), field.name())
        } else {
            column
        }
    });
    Ok(LogicalPlanBuilder::from(plan).project(columns.collect::<Vec<_>>())?.build()?)
}

fn optimize(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    const LEFT_OUT: [&str; 7] = [
        "single_distinct_aggregation_to_group_by",
        "common_sub_expression_eliminate",
        "extract_leaf_expressions",
        "push_down_leaf_projections",
        "filter_null_join_keys",
        "eliminate_group_by_constant",
        "unions_to_filter",
    ];
    let mut rules = Optimizer::new().rules;
    rules.retain(|rule| !LEFT_OUT.contains(&rule.name()));
    let context = OptimizerContext::new_with_config_options(Arc::new(super::scope::options()));
    Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})
}

/// The catalog's tables as streams.
struct CatalogTables<'a> {
    catalog: &'a Catalog,
}

impl Tables for CatalogTables<'_> {
    fn table(&self, name: &TableReference) -> Result<Arc<dyn TableSource>> {
        let TableReference::Bare { table } = name else {
            return Err(Error::input(format!("'{name}': catalogs and databases are not supported, name the table alone")));
        };
        let scope = Scope::new(self, self.catalog.functions());
        Ok(match self.catalog.find(table)? {
            Entry::Table(table) => table.clone(),
            Entry::View(view) => Arc::new(ViewSource::new(view_plan(&scope, view)?)),
            Entry::MaterializedView(view, _) => Arc::new(ViewSource::new(query_plan(&scope, &view.query)?)),
        })
    }
}

/// A view: DataFusion puts its plan where it is named.
pub(super) struct ViewSource {
    plan: LogicalPlan,
    schema: arrow::datatypes::SchemaRef,
}

impl ViewSource {
    pub(super) fn new(plan: LogicalPlan) -> Self {
        let schema = Arc::new(plan.schema().as_arrow().clone());
        ViewSource { plan, schema }
    }
}

impl TableSource for ViewSource {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.schema.clone()
    }

    fn get_logical_plan(&self) -> Option<std::borrow::Cow<'_, LogicalPlan>> {
        Some(std::borrow::Cow::Borrowed(&self.plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::statement::{Statement, parse};

    fn plans(text: &str) -> String {
        let mut catalog = Catalog::new();
        let mut plans = Vec::new();
        for statement in parse(text, "q.sql").unwrap() {
            if catalog.apply(&statement).unwrap() {
                continue;
            }
            match &statement.value {
                Statement::Insert(insert) => {
                    plans.push(Planner::new(&catalog).plan_insert(insert).unwrap().rows.display_indent().to_string())
                }
                Statement::Query(query) => plans.push(Planner::new(&catalog).plan_query(query).unwrap().display_indent().to_string()),
                _ => {}
            }
        }
        plans.join("\n")
    }

    #[test]
    fn filters_and_columns_reach_the_scan_below_the_windows() {
        let text = "
            CREATE TABLE e (`type` STRING, k STRING, ts BIGINT, amount DOUBLE,
              rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND);
            CREATE TEMPORARY VIEW orders AS SELECT k, amount, rt FROM e WHERE `type` = 'OrderCreated';
            SELECT k, COUNT(*), SUM(amount) FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(rt), INTERVAL '1' MINUTE))
            GROUP BY window_start, window_end, k;";
        let plan = plans(text);
        assert!(plan.contains("Window: Tumble { size: 60000000, offset: 0 } on orders.rt"), "{plan}");
        assert!(plan.contains("TableScan: e projection=[k, amount, rt], full_filters=[e.type = Utf8View(\"OrderCreated\")]"), "{plan}");
    }

    #[test]
    fn rows_go_into_columns_by_position() {
        let text = "
            CREATE TABLE e (n TINYINT, k STRING);
            CREATE TABLE o (r ROW<x INT, y STRING>, rs ARRAY<ROW<x BIGINT, y STRING>>, m MAP<STRING, ROW<z ROW<x DOUBLE>>>);
            INSERT INTO o SELECT ROW(n, k), ARRAY[ROW(n, k)], MAP[k, ROW(ROW(n))] FROM e;";
        let plan = plans(text);
        assert_eq!(plan.matches("by_position(").count(), 3, "{plan}");
    }
}
