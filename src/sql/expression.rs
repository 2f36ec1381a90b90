//! Expressions that stand outside of a query, as those of rules do: text to syntax, syntax to expressions over a schema.
//!
//! Between the two the caller may replace names by columns of its own (`syntax.rs` of `rules`), for which syntax stays
//! sqlparser's.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, Tokenizer};

use super::catalog::Catalog;
use super::dialect::FlinkDialect;
use super::functions::Functions;
use super::scope::{NoTables, Scope};
use super::{forms, place};
use crate::error::{Error, Place, Result};

/// Reads one expression that stands at `at`.
pub fn parse_expression(text: &str, at: &Place) -> Result<ast::Expr> {
    let read = || {
        let dialect = FlinkDialect;
        let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|e| Error::input(e.message))?;
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
        let parsed = parser.parse_expr().map_err(|e| place::of_parser("", e, &Place::default()))?;
        let next = parser.peek_token();
        if next.token != Token::EOF {
            return Err(Error::input(format!("'{}' is not expected here", next.token)));
        }
        Ok(parsed)
    };
    // Lines and columns of the expression's own text would only mislead.
    let in_file = |error: Error| Error::input(format!("'{text}': {}", error.message())).at(at.clone());
    let mut parsed = read().map_err(in_file)?;
    forms::rewrite(&mut parsed, "").map_err(in_file)?;
    Ok(parsed)
}

/// Quotes that the dialect does not know: they mark names that are replaced already.
const REPLACED: char = '[';

/// A column by which a name was replaced.
pub fn quoted(name: String) -> ast::Expr {
    ast::Expr::Identifier(ast::Ident { value: name, quote_style: Some(REPLACED), span: Span::empty() })
}

/// Is it what [`quoted`] makes?
pub fn is_replaced(name: &ast::Ident) -> bool {
    name.quote_style == Some(REPLACED)
}

/// `expr.a.b`: the fields are texts from here on, so that nobody takes them for names of something else.
pub fn with_fields(expr: ast::Expr, fields: &[ast::Ident]) -> ast::Expr {
    if fields.is_empty() {
        return expr;
    }
    let text = |field: &ast::Ident| ast::Expr::Value(ast::Value::SingleQuotedString(field.value.clone()).with_span(field.span));
    let access_chain = fields.iter().map(|field| ast::AccessExpr::Dot(text(field))).collect();
    ast::Expr::CompoundFieldAccess { root: Box::new(expr), access_chain }
}

/// Makes expressions of syntax.
pub struct Expressions<'a> {
    functions: &'a Functions,
    props: ExecutionProps,
    context: PhysicalPlanningContext,
}

impl<'a> Expressions<'a> {
    /// With the functions that `catalog` knows.
    pub fn new(catalog: &'a Catalog) -> Self {
        Expressions { functions: catalog.functions(), props: ExecutionProps::new(), context: PhysicalPlanningContext::default() }
    }

    /// The expression over the columns of `schema`, type-coerced and simplified. Errors have no place.
    pub fn physical(&self, expr: &ast::Expr, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
        let schema = DFSchema::try_from(schema.clone())?;
        let expr = self.logical(expr, &schema)?;
        Ok(create_physical_expr(&expr, &schema, &self.props, &self.context)?)
    }

    /// The aggregate call over the columns of `schema`. Errors have no place.
    pub fn aggregate(&self, call: &ast::Expr, schema: &Schema) -> Result<Arc<AggregateFunctionExpr>> {
        let schema = DFSchema::try_from(schema.clone())?;
        let expr = self.logical(call, &schema)?;
        if !matches!(expr, Expr::AggregateFunction(_)) {
            return Err(Error::input(format!("'{call}' is not one aggregate call such as sum(amount) or count(distinct country)")));
        }
        let built =
            LoweredAggregateBuilder::new(&expr, &schema, schema.inner(), &self.props, &self.context).with_name(call.to_string()).build()?;
        if built.filter.is_some() {
            return Err(Error::input(format!("'{call}': FILTER is not supported here; put the condition into 'where'")));
        }
        Ok(built.aggregate)
    }

    /// Is there an aggregate function of this name?
    pub fn is_aggregate(&self, name: &str) -> bool {
        self.functions.aggregate(name).is_some()
    }

    /// The expression over the columns of a plan, type-coerced and simplified. Errors have no place.
    pub fn logical(&self, expr: &ast::Expr, schema: &DFSchema) -> Result<Expr> {
        let scope = Scope::new(&NoTables, self.functions);
        scope.expression(expr, schema).map_err(|error| {
            // The place in the expression's own text is dropped: the caller knows where the text stands.
            let error = place::of_planner("", error);
            Error::new(error.kind(), error.message())
        })
    }
}
