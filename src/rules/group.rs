//! Rules that look at the same streams by the same key form a group: one operator runs them, so that what many of them ask
//! of an event is looked at once.
//!
//! ```text
//!  payments ─ columns that are asked for, events that concern some rule ─┐
//!  logins   ─ the same ──────────────────────────────────────────────────┴▶ union ─▶ patterns ─▶ alerts
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator};

use crate::error::{Error, Result, did_you_mean};
use crate::operator::pattern::spec::{Order, Rule};
use crate::rules::alert;
use crate::rules::compile::compile;
use crate::rules::form::{self, KeyText, Link, Loop, MatchText, RuleText, StepText, Text};
use crate::rules::input::{CORRELATION, ID, Input, STREAM, StreamColumns, TIME, key_name};
use crate::sql::catalog::Catalog;
use crate::sql::expression::{Expressions, parse_expression};
use crate::sql::origin::{metadata_column, time_columns};
use crate::sql::pattern_node::PatternNode;
use crate::sql::plan::Planner;
use crate::sql::types;

/// Rules that run together, compiled.
#[derive(Debug)]
pub struct Group {
    /// What their state belongs to.
    pub name: String,
    /// The rows that they emit, as a plan over their streams.
    pub plan: LogicalPlan,
    /// The events that they look at.
    pub input: Input,
    /// In which order.
    pub order: Order,
    /// The rules.
    pub rules: Vec<Rule>,
    /// What they emit.
    pub emitted: SchemaRef,
}

/// The groups of all rules that run. Every rule is tried, so that all faults are told in one go.
pub fn groups(rules: &[RuleText], catalog: &Catalog) -> Result<Vec<Group>> {
    let mut by_streams: BTreeMap<String, Vec<&RuleText>> = BTreeMap::new();
    let mut faults = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        if let Some(other) = rules[..number].iter().find(|other| other.name.text == rule.name.text) {
            let text = format!("there is a rule '{}' already, at {}", rule.name.text, other.name.place);
            faults.push(Error::input(text).at(rule.name.place.clone()));
        }
        by_streams.entry(name_of(rule)).or_default().push(rule);
    }
    let mut groups = Vec::new();
    for (name, rules) in by_streams {
        match group(name, &rules, catalog) {
            Ok(group) => groups.push(group),
            Err(fault) => faults.push(fault),
        }
    }
    Error::all(faults).map_or(Ok(groups), Err)
}

/// Streams, key and order as text: equal for rules that run together.
fn name_of(rule: &RuleText) -> String {
    let mut streams: Vec<String> = rule.on.iter().map(|(alias, table)| format!("{}={}", alias.text, table.text)).collect();
    if rule.on.len() == 1 {
        // What a rule calls its only stream makes no difference.
        streams = rule.on.iter().map(|(_, table)| table.text.clone()).collect();
    }
    streams.sort();
    let names = |columns: &[Text]| columns.iter().map(|column| column.text.as_str()).collect::<Vec<_>>().join(", ");
    let key = match &rule.key {
        KeyText::None => "none".to_owned(),
        KeyText::Columns(columns) => names(columns),
        KeyText::PerStream(streams) => {
            let mut keys: Vec<String> = streams.iter().map(|(stream, columns)| format!("{}: {}", stream.text, names(columns))).collect();
            keys.sort();
            keys.join("; ")
        }
    };
    format!("{} by {key} in order of {:?}", streams.join(", "), rule.order)
}

fn group(name: String, rules: &[&RuleText], catalog: &Catalog) -> Result<Group> {
    let Some(first) = rules.first() else { return Err(Error::bug("a group without rules")) };
    let planner = Planner::new(catalog);
    let mut on: Vec<&(Text, Text)> = first.on.iter().collect();
    on.sort_by(|a, b| a.0.text.cmp(&b.0.text));
    if on.is_empty() {
        return Err(Error::input(format!("rule '{}': 'on' names no stream", first.name.text)).at(first.name.place.clone()));
    }
    let mut faults = Vec::new();
    let mut plans = Vec::new();
    let mut streams = Vec::new();
    for (alias, table) in on {
        match stream(first, alias, table, &planner) {
            Ok((plan, columns)) => {
                plans.push(plan);
                streams.push(columns);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if let Some(fault) = Error::all(faults) {
        return Err(fault);
    }
    let keys = keys(first, &streams)?;
    let times: Vec<DataType> = streams.iter().map(|stream| stream.schema.field(stream.time).data_type().clone()).collect();
    if let Some(other) = times.iter().find(|time| **time != times[0]) {
        let text = format!(
            "rule '{}': its streams have event times of different types, {} and {}; cast one of them in a view",
            first.name.text,
            types::name(&times[0]),
            types::name(other)
        );
        return Err(Error::input(text).at(first.name.place.clone()));
    }

    let expressions = Expressions::new(catalog);
    let wide = Input::wide(streams, keys);
    compile_all(rules, &wide, &expressions)?;
    let input = wide.narrow();
    let compiled = compile_all(rules, &input, &expressions)?;

    let mut events = Vec::new();
    for (number, plan) in plans.into_iter().enumerate() {
        let concerned = concerned(rules, &input, number, &plan, &expressions)?;
        events.push(columns_of(&input, number, plan, concerned)?);
    }
    let mut events = events.into_iter();
    let mut union = LogicalPlanBuilder::from(events.next().ok_or_else(|| Error::bug("rules without streams"))?);
    for other in events {
        union = union.union(other)?;
    }
    let order = match first.order {
        form::Order::EventTime => Order::EventTime,
        form::Order::Arrival => Order::Arrival,
    };
    let suppress = rules.iter().filter_map(|rule| Some((rule.name.text.clone(), rule.suppress_micros?))).collect();
    let emitted = alert::schema(&input);
    let node = PatternNode::new(
        Arc::new(union.build()?),
        name.clone(),
        input.key_positions(),
        input.time(),
        order,
        compiled.clone(),
        suppress,
        emitted.clone(),
    )?;
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    Ok(Group { name, plan, input, order, rules: compiled, emitted })
}

fn compile_all(rules: &[&RuleText], input: &Input, expressions: &Expressions<'_>) -> Result<Vec<Rule>> {
    let mut faults = Vec::new();
    let mut compiled = Vec::new();
    for rule in rules {
        match compile(rule, input, expressions) {
            Ok(rule) => compiled.push(rule),
            Err(fault) => faults.push(fault),
        }
    }
    Error::all(faults).map_or(Ok(compiled), Err)
}

fn stream(rule: &RuleText, alias: &Text, table: &Text, planner: &Planner<'_>) -> Result<(LogicalPlan, StreamColumns)> {
    let within = |error: Error| Error::input(format!("rule '{}': {}", rule.name.text, error.message())).at(table.place.clone());
    let plan = planner.scan(&table.text).map_err(within)?;
    let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
    let times = time_columns(&plan);
    let Some(time) = times.first().copied() else {
        let text = format!("'{}' has no event time: declare WATERMARK FOR … on its table, and hand the column on in views", table.text);
        return Err(within(Error::input(text)));
    };
    let columns = match &rule.key {
        KeyText::None => Vec::new(),
        KeyText::Columns(columns) => columns.clone(),
        KeyText::PerStream(streams) => match streams.iter().find(|(stream, _)| stream.text == alias.text) {
            Some((_, columns)) => columns.clone(),
            None => return Err(within(Error::input(format!("'key' says nothing about stream '{}'", alias.text)))),
        },
    };
    let position = |column: &Text| {
        schema.index_of(&column.text).map_err(|_| {
            let near = did_you_mean(&column.text, schema.fields().iter().map(|field| field.name().as_str()));
            let text = format!("rule '{}': key: no column '{}' in {}{near}", rule.name.text, column.text, table.text);
            Error::input(text).at(column.place.clone())
        })
    };
    let keys = columns.iter().map(position).collect::<Result<Vec<_>>>()?;
    let text_column =
        |key: &str| metadata_column(&plan, key).filter(|at| matches!(schema.field(*at).data_type(), DataType::Utf8View | DataType::Utf8));
    let (id, correlation) = (text_column("id"), text_column("correlationid"));
    let stream =
        StreamColumns { alias: alias.text.clone(), table: table.text.clone(), schema: schema.clone(), time, keys, id, correlation };
    Ok((plan, stream))
}

/// Names and types of the key columns; equal types in all streams.
fn keys(rule: &RuleText, streams: &[StreamColumns]) -> Result<Vec<(String, DataType)>> {
    let of = |stream: &StreamColumns| -> Vec<(String, DataType)> {
        stream.keys.iter().map(|at| (stream.schema.field(*at).name().clone(), stream.schema.field(*at).data_type().clone())).collect()
    };
    let first = streams.first().map(of).unwrap_or_default();
    for other in streams.iter().skip(1) {
        let found = of(other);
        let fault = |text: String| Err(Error::input(format!("rule '{}': {text}", rule.name.text)).at(rule.name.place.clone()));
        if found.len() != first.len() {
            return fault("the key of every stream has the same number of columns".to_owned());
        }
        if let Some((own, first)) = found.iter().zip(&first).find(|(own, first)| own.1 != first.1) {
            return fault(format!(
                "key '{}' is {} in {} and {} in {}; cast one of them in a view",
                first.0,
                types::name(&first.1),
                streams[0].table,
                types::name(&own.1),
                other.table
            ));
        }
    }
    Ok(first)
}

/// The columns of the input made of one stream; `concerned`: which of its events.
fn columns_of(input: &Input, number: usize, plan: LogicalPlan, concerned: Option<Expr>) -> Result<LogicalPlan> {
    let stream = &input.streams[number];
    let columns = plan.schema().columns();
    let own = |at: usize| Expr::Column(columns[at].clone());
    let text_or_null = |at: Option<usize>| match at {
        Some(at) => own(at),
        None => lit(ScalarValue::Utf8View(None)),
    };
    let mut out: Vec<Expr> = Vec::new();
    if input.several() {
        out.push(lit(ScalarValue::Utf8View(Some(stream.alias.clone()))).alias(STREAM));
    }
    out.push(own(stream.time).alias(TIME));
    out.extend(stream.keys.iter().enumerate().map(|(number, at)| own(*at).alias(key_name(number))));
    out.push(text_or_null(stream.id).alias(ID));
    out.push(text_or_null(stream.correlation).alias(CORRELATION));
    let mut place = out.len();
    for other in 0..input.streams.len() {
        for at in input.columns(other) {
            let field = input.schema().field(place);
            let value = if other == number { own(at) } else { cast(lit(ScalarValue::Null), field.data_type().clone()) };
            out.push(value.alias(field.name()));
            place += 1;
        }
    }
    let mut plan = LogicalPlanBuilder::from(plan);
    if let Some(concerned) = concerned {
        plan = plan.filter(concerned)?;
    }
    Ok(plan.project(out)?.build()?)
}

/// Which events of a stream concern some rule; `None`: all of them. Where the very next event counts, all do.
fn concerned(rules: &[&RuleText], input: &Input, number: usize, plan: &LogicalPlan, expressions: &Expressions<'_>) -> Result<Option<Expr>> {
    let alias = &input.streams[number].alias;
    let mut wanted: Vec<Expr> = Vec::new();
    for rule in rules {
        let mut filters: Vec<Option<&Text>> = Vec::new();
        match &rule.matching {
            MatchText::Count(count) => sliding_filter(&count.sliding, alias, &mut filters),
            MatchText::Aggregate(aggregate) => sliding_filter(&aggregate.sliding, alias, &mut filters),
            MatchText::Sequence(sequence) if strict(&sequence.steps) => return Ok(None),
            MatchText::Sequence(sequence) => step_filters(&sequence.steps, alias, &mut filters),
        }
        for filter in filters {
            let own = match filter {
                Some(text) => own_conditions(&parse_expression(&text.text, &text.place)?, plan, expressions),
                None => None,
            };
            match own {
                None => return Ok(None),
                Some(condition) if wanted.contains(&condition) => {}
                Some(condition) => wanted.push(condition),
            }
        }
    }
    // A filter of a thousand rules would cost more than it saves; they are told apart by hash.
    const MOST: usize = 16;
    Ok(if wanted.len() > MOST { None } else { wanted.into_iter().reduce(Expr::or) })
}

fn sliding_filter<'a>(sliding: &'a form::SlidingText, alias: &str, filters: &mut Vec<Option<&'a Text>>) {
    if sliding.of.as_ref().is_none_or(|of| of.text == alias) {
        filters.push(sliding.filter.as_ref());
    }
}

fn step_filters<'a>(steps: &'a [StepText], alias: &str, filters: &mut Vec<Option<&'a Text>>) {
    for step in steps {
        if !step.group.is_empty() {
            step_filters(&step.group, alias, filters);
        } else if step.of.as_ref().is_none_or(|of| of.text == alias) {
            filters.push(step.filter.as_ref());
            if step.until.is_some() {
                filters.push(step.until.as_ref());
            }
        }
    }
}

fn strict(steps: &[StepText]) -> bool {
    steps.iter().any(|step| matches!(step.link, Link::Next | Link::NotNext) || step.looping == Loop::Strict || strict(&step.group))
}

/// Those of the conditions joined by AND that read the event alone, over the stream's plan; `None` when there are none.
fn own_conditions(syntax: &ast::Expr, plan: &LogicalPlan, expressions: &Expressions<'_>) -> Option<Expr> {
    match syntax {
        ast::Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let sides = [left, right].map(|side| own_conditions(side, plan, expressions));
            sides.into_iter().flatten().reduce(Expr::and)
        }
        ast::Expr::Nested(inner) => own_conditions(inner, plan, expressions),
        // Whatever names a step or calls an aggregate is no expression over the stream.
        other => expressions.logical(other, plan.schema()).ok().filter(|expr| {
            use datafusion::common::tree_node::TreeNode as _;
            !expr.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_) | Expr::WindowFunction(_)))).unwrap_or(true)
        }),
    }
}
