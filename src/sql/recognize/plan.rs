//! The clause to a plan: a [`RecognizeNode`] over its table, the measures as a projection over that.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, when};
use datafusion::sql::sqlparser::ast::{Expr as Syntax, Spanned as _};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::names::{Clause, Given, Names};
use super::node::{Bound, Defined, OrderBy, Pattern, RecognizeNode, bound_name, with_bound};
use super::regex::{self, Variables};
use super::syntax::{Recognition, Rows, Skip};
use crate::error::{Error, Result};
use crate::operator::pattern::row_pattern::{RowSkip, RowsPerMatch};
use crate::sql::{place, relation, types};

/// Plans the clause `body` over the rows of `input`.
pub(in crate::sql) fn plan(input: LogicalPlan, body: Syntax, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let text = Recognition::from_expr(body).ok_or_else(|| Error::bug("MATCH_RECOGNIZE without its body"))?;
    let schema = input.schema().clone();
    let (regex, mut variables) = regex::read(&text)?;
    variables.add_unions(&text)?;
    regex::check_defined(&text, &variables)?;
    let columns = Columns { text: &text, schema: &schema };
    let partition_by = columns.partition_by()?;
    let (time, then_by) = columns.order_by()?;

    let given = Given { input: &schema, variables: &variables, time: &time, file: &text.file };
    let mut define = vec![None; variables.names.len()];
    for (variable, condition) in &text.define {
        let Some(label) = variables.names.iter().position(|name| *name == variable.value) else { continue };
        let defined = condition_of(Names::new(&given, Clause::Define(label), &mut *context), condition)?;
        define[label] = Some(defined);
    }
    let rows = match text.rows {
        Rows::One => RowsPerMatch::One,
        Rows::All => RowsPerMatch::All { empty: true, unmatched: false },
        Rows::AllOmitEmpty => RowsPerMatch::All { empty: false, unmatched: false },
        Rows::AllWithUnmatched => RowsPerMatch::All { empty: true, unmatched: true },
    };
    let within = text.within.as_ref().map(|length| {
        let micros = relation::interval_micros(length.clone(), context)?;
        let text_of = || format!("WITHIN {length}: it must be longer than nothing");
        if micros > 0 { Ok(micros) } else { Err(Error::input(text_of()).at(place::of_span(&text.file, length.span()))) }
    });
    let pattern = Pattern {
        skip: skip(&text, &variables)?,
        skip_given: text.skip.is_some(),
        variables: variables.names.clone(),
        regex,
        rows,
        within: within.transpose()?,
    };

    let mut measuring = Names::new(&given, Clause::Measures, context);
    let mut measures = Vec::new();
    for (name, expr) in &text.measures {
        let mut syntax = expr.clone();
        measuring.replace(&mut syntax)?;
        measures.push((name, syntax));
    }
    // Rows that are in no match have no measures.
    let matched = (rows == RowsPerMatch::All { empty: true, unmatched: true }).then(|| {
        let number = measuring.bound.iter().position(|bound| *bound == Bound::Number);
        number.unwrap_or_else(|| {
            measuring.bound.push(Bound::Number);
            measuring.bound.len() - 1
        })
    });
    let node = RecognizeNode::new(RecognizeNode {
        input: Arc::new(input),
        partition_by: partition_by.clone(),
        time: time.clone(),
        then_by: then_by.clone(),
        pattern,
        define,
        measured: std::mem::take(&mut measuring.bound),
        place: place::of_span(&text.file, text.span),
        schema: Arc::new(DFSchema::empty()),
    })?;

    let mut output = Output { text: &text, columns: Vec::new() };
    for key in &partition_by {
        output.add(Expr::Column(key.clone()), &key.name, text.span)?;
    }
    let all = rows != RowsPerMatch::One;
    for column in std::iter::once(&time).chain(then_by.iter().map(|order| &order.column)).filter(|_| all) {
        output.add_once(column);
    }
    for (name, syntax) in measures {
        let expr = measuring.context.sql_to_expr(syntax, &node.schema);
        let mut expr = expr.map_err(|e| place::of_planner(&text.file, e).at(place::of_span(&text.file, name.span)))?;
        if let Some(matched) = matched {
            expr = when(Expr::Column(Column::from_name(bound_name(matched))).is_not_null(), expr).end()?;
        }
        output.add(expr, &name.value, name.span)?;
    }
    for (qualifier, field) in schema.iter().filter(|_| all) {
        output.add_once(&Column::from((qualifier, field)));
    }
    if output.columns.is_empty() {
        let text_of = "MATCH_RECOGNIZE without PARTITION BY and MEASURES has no columns; add MEASURES … AS …";
        return Err(Error::input(text_of).at(place::of_span(&text.file, text.span)));
    }
    let columns = output.columns.into_iter().map(|(_, expr)| expr);
    Ok(LogicalPlanBuilder::from(LogicalPlan::Extension(Extension { node: Arc::new(node) })).project(columns)?.build()?)
}

fn condition_of(mut names: Names<'_, '_>, condition: &Syntax) -> Result<Defined> {
    let given = names.given;
    let span = condition.span();
    let mut syntax = condition.clone();
    names.replace(&mut syntax)?;
    let all: Vec<usize> = (0..given.input.fields().len()).collect();
    let schema = with_bound(given.input, &all, &names.bound, given.time)?;
    let condition = names.expression(syntax, &schema)?;
    let data_type = datafusion::logical_expr::ExprSchemable::get_type(&condition, &schema)?;
    if !matches!(data_type, arrow::datatypes::DataType::Boolean | arrow::datatypes::DataType::Null) {
        let text = format!("DEFINE: this is {}; a condition is true or false", types::name(&data_type));
        return Err(Error::input(text).at(place::of_span(given.file, span)));
    }
    Ok(Defined { bound: names.bound, condition })
}

fn skip(text: &Recognition, variables: &Variables) -> Result<RowSkip> {
    Ok(match &text.skip {
        // As in Flink.
        None | Some(Skip::ToNext) => RowSkip::ToNext,
        Some(Skip::PastLast) => RowSkip::PastLast,
        Some(Skip::ToFirst(variable)) => RowSkip::ToFirst(variables.known(variable, &text.file)?),
        Some(Skip::ToLast(variable)) => RowSkip::ToLast(variables.known(variable, &text.file)?),
    })
}

/// The columns that the clause is over.
struct Columns<'a> {
    text: &'a Recognition,
    schema: &'a DFSchema,
}

impl Columns<'_> {
    fn fault(&self, text: String, span: Span) -> Error {
        Error::input(text).at(place::of_span(&self.text.file, span))
    }

    fn column(&self, expr: &Syntax, clause: &str) -> Result<Column> {
        let Syntax::Identifier(name) = expr else {
            return Err(self
                .fault(format!("{clause} of MATCH_RECOGNIZE takes columns of its table; compute '{expr}' in a query below"), expr.span()));
        };
        Ok(relation::column(self.schema, name)?)
    }

    fn partition_by(&self) -> Result<Vec<Column>> {
        let mut keys: Vec<Column> = Vec::new();
        for expr in &self.text.partition_by {
            let key = self.column(expr, "PARTITION BY")?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// The event-time column, and what orders rows of one time.
    fn order_by(&self) -> Result<(Column, Vec<OrderBy>)> {
        let Some((first, others)) = self.text.order_by.split_first() else {
            let text = "MATCH_RECOGNIZE needs ORDER BY: its event-time column, ascending";
            return Err(self.fault(text.to_owned(), self.text.span));
        };
        let time = self.column(&first.expr, "ORDER BY")?;
        let field = self.schema.field_with_name(time.relation.as_ref(), &time.name)?;
        if !matches!(field.data_type(), arrow::datatypes::DataType::Timestamp(..)) || !first.ascending {
            let how = if first.ascending { types::name(field.data_type()) } else { "descending".to_owned() };
            let text = format!("ORDER BY of MATCH_RECOGNIZE begins with the event-time column, ascending; '{}' is {how}", time.name);
            return Err(self.fault(text, first.expr.span()));
        }
        let mut then_by = Vec::new();
        for order in others {
            let column = self.column(&order.expr, "ORDER BY")?;
            // As in Flink: NULL is the lowest value.
            then_by.push(OrderBy { column, descending: !order.ascending, nulls_first: order.nulls_first.unwrap_or(order.ascending) });
        }
        Ok((time, then_by))
    }
}

/// The columns that come out.
struct Output<'a> {
    text: &'a Recognition,
    columns: Vec<(String, Expr)>,
}

impl Output<'_> {
    fn add(&mut self, expr: Expr, name: &str, span: Span) -> Result<()> {
        if self.columns.iter().any(|(other, _)| other == name) {
            let text = format!("MATCH_RECOGNIZE: two of its columns are called '{name}'");
            return Err(Error::input(text).at(place::of_span(&self.text.file, span)));
        }
        self.columns.push((name.to_owned(), expr.alias(name)));
        Ok(())
    }

    /// A column of the input, unless there is one of its name.
    fn add_once(&mut self, column: &Column) {
        if !self.columns.iter().any(|(other, _)| *other == column.name) {
            self.columns.push((column.name.clone(), Expr::Column(column.clone()).alias(&column.name)));
        }
    }
}
