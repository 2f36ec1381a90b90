//! What a text may name while it is planned: tables, functions, types. Our side of DataFusion's planner.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, TableReference};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast;

use super::approximate::{Approximate, with_approximate};
use super::flink_types::{FlinkCasts, FlinkLiterals, with_flink_casts};
use super::functions::Functions;
use super::functions::planner::FlinkExpressions;
use super::relation::WindowFunctions;
use super::row_star;
use super::types::FlinkTypes;

/// Finds tables by name.
pub(super) trait Tables {
    /// The table, or an error that names it and the nearest match.
    fn table(&self, name: &TableReference) -> crate::error::Result<Arc<dyn TableSource>>;
}

/// No tables: expressions of a table's own columns are planned with it.
pub(super) struct NoTables;

impl Tables for NoTables {
    fn table(&self, name: &TableReference) -> crate::error::Result<Arc<dyn TableSource>> {
        Err(crate::error::Error::input(format!("'{name}': no query can stand here")))
    }
}

/// All that a text may name.
pub(super) struct Scope<'a> {
    tables: &'a dyn Tables,
    functions: &'a Functions,
    options: Arc<ConfigOptions>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    type_planner: Arc<dyn TypePlanner>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(tables: &'a dyn Tables, functions: &'a Functions) -> Self {
        Scope {
            tables,
            functions,
            options: Arc::new(options()),
            expr_planners: expr_planners(),
            relation_planners: vec![Arc::new(WindowFunctions)],
            type_planner: Arc::new(FlinkTypes),
        }
    }

    /// The plan of a query as written, neither analysed nor optimised.
    pub(super) fn query(&self, query: &ast::Query) -> DfResult<LogicalPlan> {
        let mut query = query.clone();
        row_star::expand(&mut query, &|probe| Ok(self.planned(probe)?.schema().field(0).data_type().clone()))?;
        self.planned(query)
    }

    fn planned(&self, query: ast::Query) -> DfResult<LogicalPlan> {
        self.planner().sql_statement_to_plan(ast::Statement::Query(Box::new(query)))
    }

    /// An expression over the columns of `schema`, type-coerced and simplified.
    pub(super) fn expression(&self, expr: &ast::Expr, schema: &DFSchema) -> DfResult<Expr> {
        let expr = self.planner().sql_to_expr(expr.clone(), schema, &mut PlannerContext::new())?;
        finished(expr, schema, self.options.clone())
    }

    fn planner(&self) -> SqlToRel<'_, Self> {
        SqlToRel::new_with_options(self, ParserOptions::from(&self.options.sql_parser))
    }
}

/// An expression as planned, type-coerced and simplified.
pub(super) fn finished(expr: Expr, schema: &DFSchema, options: Arc<ConfigOptions>) -> DfResult<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).with_config_options(options).build();
    let simplifier = ExprSimplifier::new(context);
    let coerced = simplifier.coerce(with_approximate(expr, schema)?, schema)?;
    simplifier.simplify(with_flink_casts(coerced, schema)?)
}

/// DataFusion's options as Flink's text needs them.
pub(super) fn options() -> ConfigOptions {
    let mut options = ConfigOptions::new();
    let parser = &mut options.sql_parser;
    parser.enable_ident_normalization = false;
    parser.collect_spans = true;
    // A number with a point is a DECIMAL.
    parser.parse_float_as_decimal = true;
    // Flink: NULLs sort as the lowest value.
    parser.default_null_ordering = "nulls_min".to_owned();
    options.execution.time_zone = Some(super::types::UTC.to_owned());
    options
}

/// DataFusion's analysis between ours.
pub(super) fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(FlinkLiterals), Arc::new(Approximate)];
    rules.extend(Analyzer::new().rules);
    rules.push(Arc::new(FlinkCasts));
    rules
}

/// Ours, then DataFusion's.
pub(super) fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(FlinkExpressions)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
}

impl ContextProvider for Scope<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        Ok(self.tables.table(&name)?)
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(self.type_planner.clone())
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar(name)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.functions.higher_order(name)
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window(name)
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<arrow::datatypes::DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.functions.higher_order_names()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.functions.window_names()
    }
}
