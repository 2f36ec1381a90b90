//! Flink's forms of expression turned into those that DataFusion plans, on the parsed text.
//!
//! | written | planned as |
//! |---|---|
//! | `TIMESTAMPDIFF(SECOND, a, b)`, `TIMESTAMPADD(…)` | the unit is a text |
//! | `FLOOR(t TO DAY)`, `CEIL(t TO DAY)` | `floor(t, 'DAY')`, `ceil(t, 'DAY')` |
//! | `xs[1].field` | the field's name is a text |
//! | `CAST(ROW(x, y) AS ROW<a INT, b STRING>)` | `named_struct('a', CAST(x AS INT), 'b', CAST(y AS STRING))` |
//! | `INTERVAL '1 02:03' DAY TO MINUTE` | `INTERVAL '1 DAY 2 HOUR 3 MINUTE'` |
//! | `TIMESTAMP '2020-01-01 00:00:00'` | a `TIMESTAMP(3)` unless it has more digits |
//! | `CAST(t AS TIMESTAMP(0))`, `CAST(t AS TIME)` | `cut_fraction(CAST(…), 0)`: the Arrow type has more digits |
//! | `s SIMILAR TO p` | `similar_to(s, p)` |
//! | `SELECT n, n`, `SELECT n, CAST(n AS STRING)` | `SELECT n, n AS n0`, `SELECT n, CAST(n AS STRING) AS n0` |
//! | `1E3` | a DOUBLE (a number with a point only is a DECIMAL) |
//! | `IF(c, a, b)`, `IFNULL(a, b)`, `MOD(a, b)` | `CASE`, `COALESCE(a, b)`, `a % b` |
//! | `GREATEST(a, b)`, `LEAST(a, b)` | NULL when one is NULL |
//! | `UNIX_TIMESTAMP()` | `extract('EPOCH', current_timestamp())` |
//! | `FIRST_VALUE(x)`, `LAST_VALUE(x)` | `… IGNORE NULLS` |
//! | `CAST(x AS VARCHAR(3))`, `CAST(x AS CHAR(3))` | cut to that length; CHAR is filled up with blanks |
//! | `ARRAY_POSITION` | an INT |
//! | `ARRAY[x, y]` | `make_array(x, y)` |
//! | `ROW(x, y)` | `named_struct('EXPR$0', x, 'EXPR$1', y)` |
//! | `ARRAY_PREPEND(xs, x)` | `array_prepend(x, xs)` |
//! | `OVER (w ROWS 2 PRECEDING) … WINDOW w AS (…)` | the clauses of `w` and the frame |
//! | `LISTAGG`, `APPROX_COUNT_DISTINCT`, `VARIANCE`, `GROUPING_ID`, `RAND`, `TRUNCATE`, `SPLIT`, `MAP_FROM_ARRAYS` | the same under DataFusion's name |
//! | `UNNEST(xs) AS t(x)` in FROM, `… WITH ORDINALITY` | sqlparser's own UNNEST of `unnest_elements(xs)`, `unnest_numbered(xs)` |
//!
//! Here too, what stands behind a table and nobody plans is refused by name with its place (`relation.rs` says what).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, CeilFloorKind, DateTimeField, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned as _, TableFactor, Value,
    VisitMut, VisitorMut,
};

use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::dialect::call;
use super::functions::{ELEMENTS, NUMBERED_ELEMENTS};
use super::{place, recognize, relation, types};
use crate::error::{Error, Result};

/// Rewrites all of a query or an expression.
pub(super) fn rewrite<T: VisitMut>(node: &mut T, file: &str) -> Result<()> {
    match node.visit(&mut Forms { file, recognitions: 0 }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Forms<'a> {
    file: &'a str,
    /// In how many bodies of MATCH_RECOGNIZE the visit is.
    recognitions: usize,
}

impl Forms<'_> {
    fn refuse(&self, text: String, span: Span) -> ControlFlow<Box<Error>> {
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

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<Self::Break> {
        name_apart(&mut select.projection);
        complete_windows(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Prefixed { prefix, .. } if prefix.value == recognize::CLAUSE => self.recognitions += 1,
            Expr::Prefixed { prefix, .. } if self.recognitions == 0 && recognize::is_semantics(prefix) => {
                let text = format!("{} belongs to MEASURES of MATCH_RECOGNIZE", prefix.value.to_uppercase());
                return self.refuse(text, prefix.span);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Prefixed { prefix, .. } if prefix.value == recognize::CLAUSE => self.recognitions -= 1,
            Expr::Function(function) => {
                unit_as_text(function);
                if let Some(planned) = flink_call(function) {
                    *expr = planned;
                }
            }
            Expr::Floor { expr: of, field: CeilFloorKind::DateTimeField(field) } if *field != DateTimeField::NoDateTime => {
                *expr = call(Ident::with_span(of.span(), "floor"), vec![std::mem::replace(of.as_mut(), null()), text(field)]);
            }
            Expr::Ceil { expr: of, field: CeilFloorKind::DateTimeField(field) } if *field != DateTimeField::NoDateTime => {
                *expr = call(Ident::with_span(of.span(), "ceil"), vec![std::mem::replace(of.as_mut(), null()), text(field)]);
            }
            Expr::Interval(interval) => {
                if let Err(text) = compound_interval(interval) {
                    let span = interval.value.span();
                    return self.refuse(text, span);
                }
            }
            Expr::Cast { data_type: ast::DataType::Varchar(Some(length)) | ast::DataType::Char(Some(length)), .. } => {
                if let ast::CharacterLength::IntegerLength { length, .. } = *length {
                    cut_to(expr, length);
                }
            }
            Expr::Cast { expr: of, data_type: ast::DataType::Struct(fields, _), .. } => {
                if let Some(row) = row_of(of, fields) {
                    *expr = row;
                }
            }
            // DataFusion plans the brackets without the tables outside, the call with them.
            Expr::Array(array) => *expr = call(Ident::with_span(array.span(), "make_array"), std::mem::take(&mut array.elem)),
            Expr::Cast { data_type, .. } => {
                if let Some(digits) = types::digits_to_cut_to(data_type) {
                    let digits = Expr::Value(Value::Number(digits.to_string(), false).with_empty_span());
                    let name = Ident::with_span(expr.span(), "cut_fraction");
                    *expr = call(name, vec![std::mem::replace(expr, null()), digits]);
                }
            }
            Expr::SimilarTo { .. } => similar_to(expr),
            Expr::CompoundFieldAccess { root, access_chain } => fields_as_text(root, access_chain),
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

/// `s [NOT] SIMILAR TO p [ESCAPE e]`, which DataFusion takes for a regular expression that fits some part of the text.
fn similar_to(expr: &mut Expr) {
    let name = Ident::with_span(expr.span(), "similar_to");
    let Expr::SimilarTo { negated, expr: of, pattern, escape_char } = std::mem::replace(expr, null()) else { return };
    let escape = escape_char.map(Expr::Value);
    let similar = call(name, [*of, *pattern].into_iter().chain(escape).collect());
    *expr = match negated {
        true => Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(similar) },
        false => similar,
    };
}

/// A window that builds on a named one gets its clauses; DataFusion would pass over the name.
fn complete_windows(select: &mut ast::Select) {
    struct Complete<'a>(&'a [ast::NamedWindowDefinition]);
    impl VisitorMut for Complete<'_> {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && let Some(ast::WindowType::WindowSpec(window)) = &mut function.over
                && let Some(name) = &window.window_name
                && let Some(ast::NamedWindowDefinition(_, ast::NamedWindowExpr::WindowSpec(base))) = self.0.iter().find(|w| w.0 == *name)
            {
                window.window_name = None;
                window.partition_by.splice(0..0, base.partition_by.iter().cloned());
                window.order_by.splice(0..0, base.order_by.iter().cloned());
            }
            ControlFlow::Continue(())
        }
    }
    if select.named_window.is_empty() {
        return;
    }
    let named = select.named_window.clone();
    _ = select.projection.visit(&mut Complete(&named));
}

/// A cast to CHAR(n) or VARCHAR(n), whose lengths the types here do not have.
fn cut_to(cast: &mut Expr, length: u64) {
    let fills = matches!(cast, Expr::Cast { data_type: ast::DataType::Char(_), .. });
    let name = |name: &str| Ident::with_span(cast.span(), name);
    let (name, length) =
        (name(if fills { "rpad" } else { "left" }), Expr::Value(Value::Number(length.to_string(), false).with_empty_span()));
    let mut args = vec![std::mem::replace(cast, null()), length];
    if let Some(Expr::Cast { data_type, .. }) = args.first_mut() {
        *data_type = ast::DataType::Varchar(None);
    }
    if fills {
        args.push(text(&" "));
    }
    *cast = call(name, args);
}

/// `SELECT n, n` has the columns `n` and `n0`, as in Flink; DataFusion would refuse it. There a cast has the name of what it
/// casts.
fn name_apart(items: &mut [ast::SelectItem]) {
    let mut seen: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        if let ast::SelectItem::UnnamedExpr(expr) = item {
            let mut named: &Expr = expr;
            while let Expr::Cast { expr: of, .. } | Expr::Nested(of) = named {
                named = of;
            }
            let text = named.to_string();
            if seen.contains(&text) {
                let base = match named {
                    Expr::Identifier(ident) => ident.value.clone(),
                    Expr::CompoundIdentifier(parts) => parts.last().map_or_else(String::new, |p| p.value.clone()),
                    _ => "EXPR$".to_owned(),
                };
                let mut names = (0..).map(|n| format!("{base}{n}"));
                if let Some(alias) = names.find(|name| !seen.contains(name)) {
                    let alias = Ident::with_span(expr.span(), alias);
                    seen.push(alias.value.clone());
                    *item = ast::SelectItem::ExprWithAlias { expr: std::mem::replace(expr, null()), alias };
                }
            } else {
                seen.push(text);
            }
        }
    }
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

/// Calls that DataFusion knows under another name, or as an expression of another kind.
fn flink_call(function: &mut ast::Function) -> Option<Expr> {
    let [ast::ObjectNamePart::Identifier(name)] = &mut function.name.0[..] else { return None };
    let args = match &mut function.args {
        FunctionArguments::List(list) => list,
        _ => return None,
    };
    let plain = args.args.iter().all(|a| matches!(a, FunctionArg::Unnamed(FunctionArgExpr::Expr(_))));
    let upper = name.value.to_uppercase();
    let renamed = match upper.as_str() {
        "LISTAGG" => {
            if args.args.len() == 1 {
                args.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(text(&","))));
            }
            "string_agg"
        }
        "FIRST_VALUE" | "LAST_VALUE" => {
            let is_given = |clause: &ast::FunctionArgumentClause| matches!(clause, ast::FunctionArgumentClause::IgnoreOrRespectNulls(_));
            if function.null_treatment.is_none() && !args.clauses.iter().any(is_given) {
                function.null_treatment = Some(ast::NullTreatment::IgnoreNulls);
            }
            return None;
        }
        "ARRAY_POSITION" if plain => {
            let counted = call(Ident::with_span(name.span, upper.to_lowercase()), expressions(&mut args.args).collect());
            return Some(Expr::Cast {
                kind: ast::CastKind::Cast,
                expr: Box::new(counted),
                data_type: ast::DataType::Int(None),
                array: false,
                format: None,
            });
        }
        "ARRAY_PREPEND" if args.args.len() == 2 => {
            args.args.swap(0, 1);
            return None;
        }
        "APPROX_COUNT_DISTINCT" => "approx_distinct",
        "VARIANCE" => "var_samp",
        "GROUPING_ID" => "grouping",
        "SPLIT" => "string_to_array",
        "MAP_FROM_ARRAYS" => "map",
        "RAND" => "random",
        "ROW" if plain => {
            let fields = expressions(&mut args.args).enumerate().flat_map(|(at, value)| [text(&format!("EXPR${at}")), value]);
            return Some(call(Ident::with_span(name.span, "named_struct"), fields.collect()));
        }
        "TRUNCATE" => "trunc",
        "IF" | "IFNULL" | "MOD" | "GREATEST" | "LEAST" | "UNIX_TIMESTAMP" if plain && function.over.is_none() => {
            return Some(as_expression(name.clone(), &upper, expressions(&mut args.args).collect()));
        }
        _ => return None,
    };
    renamed.clone_into(&mut name.value);
    None
}

/// The arguments without a name, taken out.
fn expressions(args: &mut Vec<FunctionArg>) -> impl Iterator<Item = Expr> {
    std::mem::take(args).into_iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    })
}

fn as_expression(name: Ident, upper: &str, args: Vec<Expr>) -> Expr {
    let span = name.span;
    let named = |value: &str| Ident::with_span(span, value);
    match (upper, <[Expr; 3]>::try_from(args)) {
        ("IF", Ok([condition, result, otherwise])) => case(span, condition, result, otherwise),
        (_, Err(args)) => match (upper, <[Expr; 2]>::try_from(args)) {
            ("IFNULL", Ok(args)) => call(named("coalesce"), args.into()),
            ("MOD", Ok([left, right])) => Expr::Nested(Box::new(Expr::BinaryOp {
                left: Box::new(Expr::Nested(Box::new(left))),
                op: ast::BinaryOperator::Modulo,
                right: Box::new(Expr::Nested(Box::new(right))),
            })),
            ("GREATEST" | "LEAST", Ok(args)) => null_if_any(name, args.into()),
            (_, Ok(args)) => call(name, args.into()),
            ("UNIX_TIMESTAMP", Err(args)) if args.is_empty() => {
                call(named("extract"), vec![text(&"EPOCH"), call(named("current_timestamp"), Vec::new())])
            }
            ("GREATEST" | "LEAST", Err(args)) => null_if_any(name, args),
            (_, Err(args)) => call(name, args),
        },
        ("GREATEST" | "LEAST", Ok(args)) => null_if_any(name, args.into()),
        (_, Ok(args)) => call(name, args.into()),
    }
}

/// `CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE f(a, b) END`.
fn null_if_any(name: Ident, args: Vec<Expr>) -> Expr {
    let span = name.span;
    let is_null = |e: &Expr| Expr::IsNull(Box::new(Expr::Nested(Box::new(e.clone()))));
    let any = args.iter().map(is_null).reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: ast::BinaryOperator::Or,
        right: Box::new(right),
    });
    match any {
        Some(any) => case(span, any, null(), call(name, args)),
        None => call(name, args),
    }
}

fn case(span: Span, condition: Expr, result: Expr, otherwise: Expr) -> Expr {
    let token = || ast::helpers::attached_token::AttachedToken(TokenWithSpan::new(Token::make_keyword("CASE"), span));
    Expr::Case {
        case_token: token(),
        end_token: token(),
        operand: None,
        conditions: vec![ast::CaseWhen { condition, result }],
        else_result: Some(Box::new(otherwise)),
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

/// `f(x).field`, `xs[1].field`: DataFusion takes the field's name as a text there; names that may belong to a table stay.
fn fields_as_text(root: &Expr, chain: &mut [ast::AccessExpr]) {
    let mut of_value = !matches!(root, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    for access in chain {
        match access {
            ast::AccessExpr::Dot(field) if of_value => {
                if let Expr::Identifier(ident) = field {
                    *field = text(&ident.value);
                }
            }
            ast::AccessExpr::Dot(_) => {}
            ast::AccessExpr::Subscript(_) => of_value = true,
        }
    }
}

/// The values of a ROW constructor under the names and types of a ROW type, by position.
fn row_of(of: &mut Expr, fields: &[ast::StructField]) -> Option<Expr> {
    // The constructor was visited first: it has names by now.
    let Expr::Function(ast::Function { name, args: FunctionArguments::List(list), .. }) = of else { return None };
    if name.to_string() != "named_struct" || list.args.len() != fields.len() * 2 {
        return None;
    }
    let span = name.span();
    let mut args = Vec::with_capacity(fields.len() * 2);
    for (value, field) in expressions(&mut list.args).skip(1).step_by(2).zip(fields) {
        args.push(text(&field.field_name.as_ref().map_or("", |n| n.value.as_str())));
        let mut value = Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(value),
            data_type: field.field_type.clone(),
            array: false,
            format: None,
        };
        if let Expr::Cast { expr: of, data_type: ast::DataType::Struct(inner, _), .. } = &mut value
            && let Some(row) = row_of(of, &inner.clone())
        {
            value = row;
        }
        args.push(value);
    }
    Some(call(Ident::with_span(span, "named_struct"), args))
}

/// Only some of sqlparser's own dialects read UNNEST as such; for ours it is a call.
fn unnest(factor: &mut TableFactor) {
    if let TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } = factor
        && relation::is_unnest(name)
    {
        let elements = if *with_ordinality { NUMBERED_ELEMENTS } else { ELEMENTS };
        let elements = Ident::with_span(name.span(), elements);
        let array_exprs = expressions(&mut args.args).map(|expr| call(elements.clone(), vec![expr])).collect();
        *factor =
            TableFactor::UNNEST { alias: alias.take(), array_exprs, with_offset: false, with_offset_alias: None, with_ordinality: false };
    }
}
