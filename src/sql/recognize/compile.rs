//! A [`RecognizeNode`] to what the pattern operator runs, over the columns as they really come.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, cast};
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::CLAUSE;
use super::node::{Bound, RecognizeNode, bound_name, with_bound, with_row_fields};
use crate::error::{Error, Result};
use crate::operator::pattern::PatternSpec;
use crate::operator::pattern::binding::{Binding, Condition, Emission, End, Navigation, rows_schema};
use crate::operator::pattern::row_pattern::{RowPattern, RowsPerMatch};
use crate::operator::pattern::spec::{Bounds, Find, Order, Rule, TieOrder};

/// What the operator does for `node`, over `rows`: the columns of the node's input as they come. `seq`: the column that
/// orders rows of one time, right behind them.
pub(in crate::sql) fn spec(node: &RecognizeNode, rows: SchemaRef, seq: Option<usize>) -> Result<PatternSpec> {
    let input = node.input.schema();
    let compiling = Compiling { node, input, rows: &rows, props: ExecutionProps::new(), context: PhysicalPlanningContext::default() };
    let position = |column| Ok::<_, Error>(input.index_of_column(column)?);
    let keys = node.partition_by.iter().map(position).collect::<Result<Vec<_>>>()?;
    let then_by = node.then_by.iter().map(|order| {
        let options = SortOptions { descending: order.descending, nulls_first: order.nulls_first };
        Ok(TieOrder { column: position(&order.column)?, options })
    });
    let then_by = then_by.collect::<Result<Vec<_>>>()?;
    let define = node.define.iter().map(|defined| defined.as_ref().map(|defined| compiling.condition(defined)).transpose());
    let pattern = RowPattern {
        variables: node.pattern.variables.clone(),
        regex: node.pattern.regex.clone(),
        define: define.collect::<Result<_>>()?,
        skip: node.pattern.skip.clone(),
        rows: node.pattern.rows,
        within: node.pattern.within,
        timed: node.measured.iter().any(|bound| matches!(bound, Bound::Time { .. })),
    };
    let bindings = node.measured.iter().map(|bound| compiling.binding(bound)).collect::<Result<Vec<_>>>()?;
    let own: Vec<usize> = match node.pattern.rows {
        RowsPerMatch::One => keys.clone(),
        RowsPerMatch::All { .. } => (0..input.fields().len()).collect(),
    };
    let column = |name: &str, at: usize| Arc::new(Column::new(name, at)) as Arc<dyn PhysicalExpr>;
    let mut columns: Vec<_> = own.iter().map(|at| column(rows.field(*at).name(), *at)).collect();
    columns.extend((0..bindings.len()).map(|at| column(&bound_name(at), rows.fields().len() + at)));
    let rule = Rule {
        name: CLAUSE.to_owned(),
        find: Find::Rows(pattern),
        emit: Emission { bindings, columns },
        on_timeout: None,
        bounds: Bounds::default(),
        warm_up: false,
    };
    Ok(PatternSpec {
        group: None,
        keys,
        time: position(&node.time)?,
        then_by,
        seq,
        order: Order::EventTime,
        rules: vec![rule],
        schema: Arc::new(node.schema.as_arrow().clone()),
        input: rows,
    })
}

struct Compiling<'a> {
    node: &'a RecognizeNode,
    input: &'a DFSchema,
    rows: &'a Schema,
    props: ExecutionProps,
    context: PhysicalPlanningContext,
}

impl Compiling<'_> {
    fn condition(&self, defined: &super::node::Defined) -> Result<Condition> {
        let bindings = defined.bound.iter().map(|bound| self.binding(bound)).collect::<Result<Vec<_>>>()?;
        let all: Vec<usize> = (0..self.input.fields().len()).collect();
        let schema = with_bound(self.input, &all, &defined.bound, &self.node.time)?;
        let expr = create_physical_expr(&defined.condition, &schema, &self.props, &self.context)?;
        Ok(Condition { bindings, expr })
    }

    fn binding(&self, bound: &Bound) -> Result<Binding> {
        Ok(match bound {
            Bound::Navigate { of, end, skip, shift, running, value } => Binding::Navigate(Navigation {
                of: of.clone(),
                end: *end,
                skip: *skip,
                shift: *shift,
                running: *running,
                value: value.as_ref().map(|value| self.physical(value)).transpose()?,
            }),
            Bound::Aggregate { of, call, running } => {
                Binding::AggregateRows { of: of.clone(), function: self.aggregate(call)?, running: *running }
            }
            Bound::Number => Binding::MatchNumber,
            Bound::Time { .. } => {
                let time = cast(Expr::Column(self.node.time.clone()), bound.data_type(self.input, &self.node.time)?);
                let time = self.physical(&time)?;
                Binding::Navigate(Navigation { of: None, end: End::Last, skip: 0, shift: 0, running: false, value: Some(time) })
            }
        })
    }

    fn physical(&self, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(create_physical_expr(expr, self.input, &self.props, &self.context)?)
    }

    fn aggregate(&self, call: &Expr) -> Result<Arc<AggregateFunctionExpr>> {
        let (input, rows) = (with_row_fields(self.input)?, rows_schema(self.rows));
        let built = LoweredAggregateBuilder::new(call, &input, &rows, &self.props, &self.context);
        Ok(built.with_name(call.schema_name().to_string()).build()?.aggregate)
    }
}
