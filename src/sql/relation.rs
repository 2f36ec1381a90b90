//! Table-valued functions of windows: `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE))` to a [`WindowNode`].
//!
//! | function | arguments, by position or by name |
//! |---|---|
//! | `TUMBLE` | `DATA, TIMECOL, SIZE [, OFFSET]` |
//! | `HOP` | `DATA, TIMECOL, SLIDE, SIZE [, OFFSET]` |
//! | `CUMULATE` | `DATA, TIMECOL, STEP, SIZE [, OFFSET]` |
//! | `SESSION` | `DATA [PARTITION BY …], TIMECOL, GAP` |
//!
//! MATCH_RECOGNIZE comes as a call, too (`recognize/`).
//!
//! `UNNEST(xs) AS t(a, b)` of an array of ROWs gets a column per field here, of a map one of keys and one of values; `WITH
//! ORDINALITY` adds their numbers. What it takes apart stands in a call that `forms.rs` makes.
//!
//! DataFusion's own planner drops modifiers of a table that it does not know (`FOR SYSTEM_TIME AS OF` would become a
//! plain scan): [`unclaimed`] refuses each of them by name.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::functions::core::get_field;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Spanned as _, TableFactor, TableVersion,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::dialect::TableArgument;
use super::functions::NUMBERED_ELEMENTS;
use super::window_node::WindowNode;
use super::{place, recognize};
use crate::error::{Error, Place, did_you_mean};
use crate::time::{MICROS_PER_SECOND, WindowKind};

/// Plans the windowing table-valued functions.
#[derive(Debug)]
pub struct WindowFunctions;

impl RelationPlanner for WindowFunctions {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> DfResult<RelationPlanning> {
        if let Some((text, span)) = unclaimed(&relation) {
            return Err(fault(text, span));
        }
        let (function, args, alias) = match relation {
            TableFactor::TableFunction { expr: ast::Expr::Function(function), alias } => {
                match (Function::of(&function.name), function.args) {
                    (Some(kind), FunctionArguments::List(list)) => ((kind, function.name), list.args, alias),
                    (_, _) => {
                        let name = function.name.to_string();
                        let hint = did_you_mean(&name, Function::ALL.iter().map(|f| f.name()));
                        return Err(fault(format!("no table function '{name}'{hint}"), function.name.span()));
                    }
                }
            }
            TableFactor::TableFunction { expr, .. } => {
                return Err(fault("TABLE( … ) needs a table function, such as TUMBLE".to_owned(), expr.span()));
            }
            TableFactor::Table { name, alias, args: Some(args), .. } if Function::of(&name).is_some() => {
                let Some(kind) = Function::of(&name) else { return Err(fault(format!("no table function '{name}'"), name.span())) };
                ((kind, name), args.args, alias)
            }
            TableFactor::Table { name, alias, args: Some(args), .. } if is_recognition(&name) => {
                let plan = recognition(args.args, &name, context)?;
                return Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))));
            }
            TableFactor::UNNEST { alias: alias @ Some(_), array_exprs, with_offset, with_offset_alias, with_ordinality } => {
                let numbered =
                    array_exprs.iter().any(|expr| matches!(expr, ast::Expr::Function(call) if call.name.to_string() == NUMBERED_ELEMENTS));
                let bare = TableFactor::UNNEST { alias: None, array_exprs, with_offset, with_offset_alias, with_ordinality };
                let plan = fields_as_columns(context.plan(bare)?, numbered)?;
                return Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))));
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let (function, name) = function;
        let plan = Arguments::read(function, &name, args)?.plan(context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// Is it the UNNEST of a FROM?
pub(super) fn is_unnest(name: &ObjectName) -> bool {
    name.to_string().eq_ignore_ascii_case("UNNEST")
}

fn is_recognition(name: &ObjectName) -> bool {
    matches!(&name.0[..], [part] if part.as_ident().is_some_and(|name| name.value == recognize::CLAUSE))
}

/// MATCH_RECOGNIZE, as `recognize/lift.rs` wrote it: a table and the body of the clause.
fn recognition(args: Vec<FunctionArg>, name: &ObjectName, context: &mut dyn RelationPlannerContext) -> DfResult<LogicalPlan> {
    let exprs: Vec<ast::Expr> = args
        .into_iter()
        .filter_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect();
    let read = <[ast::Expr; 2]>::try_from(exprs).ok().and_then(|[table, body]| Some((TableArgument::from_expr(table)?, body)));
    let Some((table, body)) = read else {
        return Err(fault("MATCH_RECOGNIZE stands behind a table: FROM t MATCH_RECOGNIZE (…)".to_owned(), name.span()));
    };
    let input = context.plan(table_factor(table.table)?)?;
    Ok(recognize::plan::plan(input, body, context)?)
}

/// The elements of an array of ROWs have a column per field, as in Flink; `numbered`: they stand beside their numbers.
fn fields_as_columns(elements: LogicalPlan, numbered: bool) -> DfResult<LogicalPlan> {
    let schema = elements.schema().clone();
    let [element] = &schema.fields()[..] else { return Ok(elements) };
    let DataType::Struct(fields) = element.data_type() else { return Ok(elements) };
    let Some(column) = schema.columns().into_iter().next().map(Expr::Column) else { return Ok(elements) };
    let columns = match (numbered, &fields[..]) {
        (true, [element, number]) => {
            let of_row = field_of(&column, element.name());
            let mut columns = match element.data_type() {
                DataType::Struct(fields) => fields.iter().map(|field| field_of(&of_row, field.name()).alias(field.name())).collect(),
                _ => vec![of_row.alias(element.name())],
            };
            columns.push(field_of(&column, number.name()).alias(number.name()));
            columns
        }
        _ => fields.iter().map(|field| field_of(&column, field.name()).alias(field.name())).collect(),
    };
    LogicalPlanBuilder::from(elements).project(columns)?.build()
}

/// `row.name`.
fn field_of(row: &Expr, name: &str) -> Expr {
    get_field().call(vec![row.clone(), Expr::Literal(ScalarValue::Utf8View(Some(name.to_owned())), None)])
}

/// What stands behind a table and nobody here plans: its text for a message, and its place.
pub(super) fn unclaimed(factor: &TableFactor) -> Option<(String, Span)> {
    let (text, span) = match factor {
        TableFactor::Table { name, version: Some(version), .. } => {
            let what = match version {
                TableVersion::ForSystemTimeAsOf(_) => "FOR SYSTEM_TIME AS OF (temporal join) is not supported yet".to_owned(),
                other => format!("'{other}' is not supported"),
            };
            (what, name.span())
        }
        TableFactor::Table { name, sample: Some(_), .. } => ("TABLESAMPLE is not supported".to_owned(), name.span()),
        TableFactor::Derived { subquery, sample: Some(_), .. } => ("TABLESAMPLE is not supported".to_owned(), subquery.span()),
        TableFactor::Table { name, with_hints, index_hints, .. } if !with_hints.is_empty() || !index_hints.is_empty() => {
            ("hints behind a table are not supported".to_owned(), name.span())
        }
        TableFactor::Table { name, partitions, .. } if !partitions.is_empty() => {
            ("PARTITION behind a table is not supported".to_owned(), name.span())
        }
        TableFactor::Table { name, json_path: Some(_), .. } => ("a path behind a table is not supported".to_owned(), name.span()),
        TableFactor::Table { name, with_ordinality: true, .. } if !is_unnest(name) => {
            ("WITH ORDINALITY is not supported".to_owned(), name.span())
        }
        TableFactor::Table { name, args: Some(args), .. } if args.settings.is_some() => {
            ("SETTINGS is not supported".to_owned(), name.span())
        }
        TableFactor::Function { name, .. } => (format!("LATERAL {name}(…) is not supported"), name.span()),
        TableFactor::Pivot { table, .. } => ("PIVOT is not supported".to_owned(), table.span()),
        TableFactor::Unpivot { table, .. } => ("UNPIVOT is not supported".to_owned(), table.span()),
        TableFactor::JsonTable { .. } => ("JSON_TABLE is not supported".to_owned(), factor.span()),
        TableFactor::OpenJsonTable { .. } => ("OPENJSON is not supported".to_owned(), factor.span()),
        TableFactor::XmlTable { .. } => ("XMLTABLE is not supported".to_owned(), factor.span()),
        TableFactor::SemanticView { .. } => ("SEMANTIC_VIEW is not supported".to_owned(), factor.span()),
        _ => return None,
    };
    Some((text, span))
}

/// An error of ours on its way through DataFusion; the file's name is put in where the text is known (`place.rs`).
fn fault(text: String, span: Span) -> DataFusionError {
    let error = Error::input(text);
    let error = if span.start.line > 0 { error.at(Place::text("", span.start.line, span.start.column)) } else { error };
    error.into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

impl Function {
    const ALL: [Function; 4] = [Function::Tumble, Function::Hop, Function::Cumulate, Function::Session];

    fn of(name: &ObjectName) -> Option<Function> {
        let [part] = &name.0[..] else { return None };
        let name = &part.as_ident()?.value;
        Function::ALL.into_iter().find(|f| f.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Function::Tumble => "TUMBLE",
            Function::Hop => "HOP",
            Function::Cumulate => "CUMULATE",
            Function::Session => "SESSION",
        }
    }

    /// Names of the arguments in order, and how many must be there.
    fn parameters(self) -> (&'static [&'static str], usize) {
        match self {
            Function::Tumble => (&["DATA", "TIMECOL", "SIZE", "OFFSET"], 3),
            Function::Hop => (&["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"], 4),
            Function::Cumulate => (&["DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"], 4),
            Function::Session => (&["DATA", "TIMECOL", "GAP"], 3),
        }
    }
}

/// The arguments of one call, each in its place.
struct Arguments {
    function: Function,
    span: Span,
    table: TableArgument,
    time: Ident,
    /// Sizes, as many as `Function::parameters` names after DATA and TIMECOL.
    sizes: Vec<Option<ast::Expr>>,
}

impl Arguments {
    fn read(function: Function, name: &ObjectName, args: Vec<FunctionArg>) -> DfResult<Self> {
        let span = name.span();
        let (names, needed) = function.parameters();
        let usage = || format!("{}({})", function.name(), names.join(", "));
        let mut slots: Vec<Option<ast::Expr>> = vec![None; names.len()];
        for (position, arg) in args.into_iter().enumerate() {
            let (at, value) = match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (position, value),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                    let at = names.iter().position(|n| n.eq_ignore_ascii_case(&name.value)).ok_or_else(|| {
                        let hint = did_you_mean(&name.value, names.iter().copied());
                        fault(format!("{} has no argument '{}'{hint}", usage(), name.value), name.span)
                    })?;
                    (at, value)
                }
                other => return Err(fault(format!("{}: '{other}' is no argument of it", usage()), span)),
            };
            match slots.get_mut(at) {
                Some(slot @ None) => *slot = Some(value),
                Some(Some(_)) => return Err(fault(format!("{}: {} is given twice", usage(), names[at]), span)),
                None => return Err(fault(format!("{} takes at most {} arguments", usage(), names.len()), span)),
            }
        }
        if let Some(at) = slots[..needed].iter().position(Option::is_none) {
            return Err(fault(format!("{}: {} is missing", usage(), names[at]), span));
        }
        let mut slots = slots.into_iter();
        let table = slots
            .next()
            .flatten()
            .and_then(TableArgument::from_expr)
            .ok_or_else(|| fault(format!("{}: DATA must be TABLE name, or a query in parentheses", usage()), span))?;
        let time = match slots.next().flatten() {
            Some(ast::Expr::Function(descriptor)) if descriptor.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") => {
                one_column(&descriptor.args)
            }
            _ => None,
        }
        .ok_or_else(|| fault(format!("{}: TIMECOL must be DESCRIPTOR(column)", usage()), span))?;
        Ok(Arguments { function, span, table, time, sizes: slots.collect() })
    }

    fn plan(self, context: &mut dyn RelationPlannerContext) -> DfResult<LogicalPlan> {
        let Arguments { function, span, table, time, sizes } = self;
        let mut micros = Vec::with_capacity(sizes.len());
        for size in sizes {
            micros.push(match size {
                Some(size) => Some(interval_micros(size, context)?),
                None => None,
            });
        }
        let size = |at: usize| micros.get(at).copied().flatten().unwrap_or(0);
        let kind = match function {
            Function::Tumble => WindowKind::Tumble { size: size(0), offset: size(1) },
            Function::Hop => WindowKind::Hop { slide: size(0), size: size(1), offset: size(2) },
            Function::Cumulate => WindowKind::Cumulate { step: size(0), size: size(1), offset: size(2) },
            Function::Session => WindowKind::Session { gap: size(0) },
        };
        let kind = kind.check().map_err(|e| fault(e.message().to_owned(), span))?;
        if !table.partition_by.is_empty() && function != Function::Session {
            return Err(fault(format!("PARTITION BY belongs to SESSION; {} is over the whole table", function.name()), span));
        }
        let input = context.plan(table_factor(table.table)?)?;
        let time = column(input.schema(), &time)?;
        let partition_by = table.partition_by.iter().map(|key| column(input.schema(), key)).collect::<DfResult<_>>()?;
        let node = WindowNode::new(Arc::new(input), time, kind, partition_by).map_err(|e| match e {
            DataFusionError::Plan(text) => fault(text, span),
            other => other,
        })?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

/// `DESCRIPTOR(column)`.
fn one_column(args: &FunctionArguments) -> Option<Ident> {
    match args {
        FunctionArguments::List(list) => match &list.args[..] {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Identifier(ident)))] => Some(ident.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn table_factor(table: ast::Expr) -> DfResult<TableFactor> {
    match table {
        ast::Expr::Subquery(subquery) => Ok(TableFactor::Derived { lateral: false, subquery, alias: None, sample: None }),
        ast::Expr::CompoundIdentifier(idents) => Ok(TableFactor::Table {
            name: ObjectName(idents.into_iter().map(ObjectNamePart::Identifier).collect()),
            alias: None,
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        }),
        other => Err(fault(format!("'{other}' is no table"), other.span())),
    }
}

pub(super) fn column(schema: &DFSchema, ident: &Ident) -> DfResult<Column> {
    let mut found = schema.iter().filter(|(_, field)| field.name() == &ident.value).map(Column::from);
    match (found.next(), found.next()) {
        (Some(column), None) => Ok(column),
        (Some(_), Some(_)) => Err(fault(format!("column '{}' is there more than once", ident.value), ident.span)),
        _ => {
            let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            Err(fault(format!("no column '{}'{}", ident.value, place::near_or_all(&ident.value, &names)), ident.span))
        }
    }
}

/// The length of an INTERVAL literal in microseconds.
pub(super) fn interval_micros(size: ast::Expr, context: &mut dyn RelationPlannerContext) -> DfResult<i64> {
    let span = size.span();
    let text = size.to_string();
    let (value, sign) = match context.sql_to_expr(size, &DFSchema::empty())? {
        Expr::Negative(inner) => (*inner, -1),
        other => (other, 1),
    };
    let wrong = |why: &str| fault(format!("'{text}' {why}"), span);
    match value {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => {
            if interval.months != 0 {
                return Err(wrong("has months or years, which differ in length; expected a length in days or less"));
            }
            let micros = i64::from(interval.days)
                .checked_mul(24 * 3600 * MICROS_PER_SECOND)
                .and_then(|days| days.checked_add(interval.nanoseconds / 1_000))
                .ok_or_else(|| wrong("is too long"))?;
            Ok(sign * micros)
        }
        _ => Err(wrong("is no INTERVAL literal")),
    }
}
