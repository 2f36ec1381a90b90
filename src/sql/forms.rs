//! Flink's forms of expression turned into those that DataFusion plans, on the parsed text.
//!
//! | written | planned as |
//! |---|---|
//! | `TIMESTAMPDIFF(SECOND, a, b)`, `TIMESTAMPADD(…)` | the unit is a text |
//! | `FLOOR(t TO DAY)`, `CEIL(t TO DAY)`, `EXTRACT(DAY FROM t)` | `floor(t, 'DAY')`, `ceil(t, 'DAY')`, `extract('DAY', t)` |
//! | `INTERVAL '1 02:03' DAY TO MINUTE` | `INTERVAL '1 DAY 2 HOUR 3 MINUTE'` |
//! | `TIMESTAMP '2020-01-01 00:00:00'` | a `TIMESTAMP(3)` unless it has more digits |
//! | `1E3` | a DOUBLE (a number with a point only is a DECIMAL) |
//! | `UNNEST(xs) AS t(x)` in FROM | sqlparser's own UNNEST |
//!
//! Here too, what stands behind a table and nobody plans is refused by name with its place (`relation.rs` says what).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, CeilFloorKind, DateTimeField, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned as _, TableFactor, Value,
    VisitMut, VisitorMut,
};

use super::dialect::call;
use super::{place, relation};
use crate::error::{Error, Result};

/// Rewrites all of a query or an expression.
pub(super) fn rewrite<T: VisitMut>(node: &mut T, file: &str) -> Result<()> {
    match node.visit(&mut Forms { file }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Forms<'a> {
    file: &'a str,
}

impl Forms<'_> {
    fn refuse(&self, text: String, span: datafusion::sql::sqlparser::tokenizer::Span) -> ControlFlow<Box<Error>> {
        ControlFlow::Break(Box::new(Error::input(text).at(place::of_span(self.file, span))))
    }
}

impl VisitorMut for Forms<'_> {
    type Break = Box<Error>;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let Some((text, span)) = relation::unclaimed(factor) {
            return self.refuse(text, span);
        }
        unnest(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(function) => unit_as_text(function),
            Expr::Floor { expr: of, field: CeilFloorKind::DateTimeField(field) } if *field != DateTimeField::NoDateTime => {
                *expr = call(Ident::with_span(of.span(), "floor"), vec![std::mem::replace(of.as_mut(), null()), text(field)]);
            }
            Expr::Ceil { expr: of, field: CeilFloorKind::DateTimeField(field) } if *field != DateTimeField::NoDateTime => {
                *expr = call(Ident::with_span(of.span(), "ceil"), vec![std::mem::replace(of.as_mut(), null()), text(field)]);
            }
            Expr::Extract { field, expr: of, .. } => {
                *expr = call(Ident::with_span(of.span(), "extract"), vec![text(field), std::mem::replace(of.as_mut(), null())]);
            }
            Expr::Interval(interval) => {
                if let Err(text) = compound_interval(interval) {
                    let span = interval.value.span();
                    return self.refuse(text, span);
                }
            }
            Expr::TypedString(literal) => timestamp_literal(literal),
            Expr::Value(value) => match &value.value {
                Value::DoubleQuotedString(text) => {
                    let text = format!("\"{text}\": names are quoted with backticks, texts with single quotes");
                    return self.refuse(text, value.span);
                }
                Value::Number(digits, _) if digits.contains(['e', 'E']) => {
                    *expr = Expr::Cast {
                        kind: ast::CastKind::Cast,
                        data_type: ast::DataType::DoublePrecision,
                        array: false,
                        format: None,
                        expr: Box::new(Expr::Value(Value::SingleQuotedString(digits.clone()).with_span(value.span))),
                    };
                }
                _ => {}
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

fn text(value: &impl ToString) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_string()).with_empty_span())
}

/// The unit of TIMESTAMPDIFF and TIMESTAMPADD reads like a column.
fn unit_as_text(function: &mut ast::Function) {
    let [name] = &function.name.0[..] else { return };
    let name = name.to_string();
    if !name.eq_ignore_ascii_case("TIMESTAMPDIFF") && !name.eq_ignore_ascii_case("TIMESTAMPADD") {
        return;
    }
    if let FunctionArguments::List(list) = &mut function.args
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.first_mut()
        && let Expr::Identifier(ident) = unit
    {
        *unit = text(&ident.value);
    }
}

fn timestamp_literal(literal: &mut ast::TypedString) {
    if let ast::DataType::Timestamp(precision @ None, zone) = &mut literal.data_type
        && let Value::SingleQuotedString(text) = &literal.value.value
    {
        let digits = text.rsplit_once('.').map_or(0, |(_, digits)| digits.len() as u64);
        *precision = Some(digits.max(3));
        *zone = ast::TimezoneInfo::None;
    }
}

/// `'1 02:03' DAY TO MINUTE` to `'1 DAY 2 HOUR 3 MINUTE'`, which DataFusion reads.
fn compound_interval(interval: &mut ast::Interval) -> Result<(), String> {
    interval.leading_precision = None;
    interval.fractional_seconds_precision = None;
    let Some(last) = interval.last_field.take() else { return Ok(()) };
    let first = interval.leading_field.take().unwrap_or(DateTimeField::NoDateTime);
    let Expr::Value(value) = interval.value.as_mut() else {
        return Err(format!("INTERVAL … {first} TO {last} needs a text in quotes"));
    };
    let Value::SingleQuotedString(digits) = &mut value.value else {
        return Err(format!("INTERVAL … {first} TO {last} needs a text in quotes"));
    };
    const YEARS: [DateTimeField; 2] = [DateTimeField::Year, DateTimeField::Month];
    const DAYS: [DateTimeField; 4] = [DateTimeField::Day, DateTimeField::Hour, DateTimeField::Minute, DateTimeField::Second];
    let range = |fields: &'static [DateTimeField]| {
        let from = fields.iter().position(|f| *f == first)?;
        let to = fields.iter().position(|f| *f == last)?;
        fields.get(from..=to)
    };
    let fields = range(&YEARS).or_else(|| range(&DAYS)).ok_or_else(|| format!("INTERVAL … {first} TO {last} is no interval"))?;
    let (sign, unsigned) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits.as_str()),
    };
    let parts: Vec<&str> = unsigned.split([' ', ':', '-']).collect();
    let whole = parts.iter().all(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit() || c == '.'));
    if parts.len() != fields.len() || !whole {
        return Err(format!("INTERVAL '{digits}' does not fit {first} TO {last}"));
    }
    let spelled: Vec<String> = parts.iter().zip(fields).map(|(part, field)| format!("{sign}{part} {field}")).collect();
    *digits = spelled.join(" ");
    Ok(())
}

/// Only some of sqlparser's own dialects read UNNEST as such; for ours it is a call.
fn unnest(factor: &mut TableFactor) {
    if let TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } = factor
        && name.to_string().eq_ignore_ascii_case("UNNEST")
    {
        let array_exprs = std::mem::take(&mut args.args)
            .into_iter()
            .filter_map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect();
        *factor = TableFactor::UNNEST {
            alias: alias.take(),
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: *with_ordinality,
        };
    }
}
