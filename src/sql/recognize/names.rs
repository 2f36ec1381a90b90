//! Names in the expressions of DEFINE and MEASURES: which column of the current row, or which value of the match, each
//! stands for.
//!
//! ```text
//!  DEFINE B AS price > 2 * FIRST(A.price)   ─▶  price > 2 * "$0"     $0 = price of the first row of A
//!  MEASURES SUM(A.price) / COUNT(*) AS x    ─▶  "$0" / "$1"          $0, $1 = aggregates over the rows of A, of the match
//! ```
//! In DEFINE the row that is tried is the last of its variable and of all: a plain column, and one of the variable itself,
//! is the row's own column.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::sql::sqlparser::ast::{
    self, Expr as Syntax, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectNamePart,
    Spanned as _, VisitMut as _, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::node::{Bound, bound_name, with_row_fields};
use super::regex::Variables;
use super::syntax::semantics;
use crate::error::{Error, Result};
use crate::operator::pattern::binding::{End, Labels, ROW_NUMBER, ROW_VARIABLE};
use crate::operator::pattern::row_pattern::MAX_DISTANCE;
use crate::sql::expression::{is_replaced, quoted, with_fields};
use crate::sql::flink_types::with_flink_literals;
use crate::sql::{place, relation, scope};

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clause {
    /// DEFINE of the variable with this label.
    Define(usize),
    Measures,
}

/// What expressions may name.
pub(super) struct Given<'a> {
    pub(super) input: &'a DFSchema,
    pub(super) variables: &'a Variables,
    /// The event-time column.
    pub(super) time: &'a Column,
    pub(super) file: &'a str,
}

/// Expressions in the making, and what is bound for them.
pub(super) struct Names<'a, 'c> {
    pub(super) given: &'a Given<'a>,
    pub(super) clause: Clause,
    pub(super) context: &'a mut (dyn RelationPlannerContext + 'c),
    pub(super) bound: Vec<Bound>,
}

/// A navigation as far as it is read.
struct Walk {
    of: Labels,
    end: End,
    skip: usize,
    running: bool,
    value: Option<Expr>,
}

impl<'a, 'c> Names<'a, 'c> {
    /// For expressions of `clause`; nothing is bound yet.
    pub(super) fn new(given: &'a Given<'a>, clause: Clause, context: &'a mut (dyn RelationPlannerContext + 'c)) -> Self {
        Names { given, clause, context, bound: Vec::new() }
    }

    /// Replaces the names in `syntax`; what they stand for is added to `bound`.
    pub(super) fn replace(&mut self, syntax: &mut Syntax) -> Result<()> {
        match syntax.visit(&mut Replacing(self)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(*error),
        }
    }

    /// The syntax as an expression over `schema`, type-coerced.
    pub(super) fn expression(&mut self, syntax: Syntax, schema: &DFSchema) -> Result<Expr> {
        let span = syntax.span();
        let options = Arc::new(self.context.context_provider().options().clone());
        let planned = self.context.sql_to_expr(syntax, schema).and_then(with_flink_literals);
        let planned = planned.and_then(|expr| scope::finished(expr, schema, options));
        planned.map_err(|e| place::of_planner(self.given.file, e).at(place::of_span(self.given.file, span)))
    }

    fn fault(&self, text: impl Into<String>, span: Span) -> Error {
        Error::input(text).at(place::of_span(self.given.file, span))
    }

    fn bind(&mut self, bound: Bound) -> Syntax {
        let at = self.bound.iter().position(|known| *known == bound).unwrap_or_else(|| {
            self.bound.push(bound);
            self.bound.len() - 1
        });
        quoted(bound_name(at))
    }

    fn navigate(&mut self, walk: Walk, shift: i64) -> Syntax {
        let Walk { of, end, skip, running, value } = walk;
        self.bind(Bound::Navigate { of, end, skip, shift, running, value })
    }

    /// What to put in the place of `expr`; `None`: it stays, and its parts are looked at.
    fn replacement(&mut self, expr: &Syntax) -> Result<Option<Syntax>> {
        if let Some((parts, rest)) = name_of(expr) {
            let of = self.variable_of(&parts)?;
            let own = usize::from(of.is_some());
            return Ok(Some(with_rest(self.column(of, &parts[own..])?, rest)));
        }
        match expr {
            Syntax::Function(function) => self.call(function, None),
            Syntax::Subquery(_) | Syntax::Exists { .. } | Syntax::InSubquery { .. } => {
                Err(self.fault("a query cannot stand in MATCH_RECOGNIZE", expr.span()))
            }
            _ => match semantics(expr) {
                None => Ok(None),
                Some((running, word, of)) => {
                    if self.clause != Clause::Measures {
                        let text =
                            format!("{} belongs to MEASURES: a condition knows the rows up to its own only", word.value.to_uppercase());
                        return Err(self.fault(text, word.span));
                    }
                    let replaced = match of {
                        Syntax::Function(function) => self.call(function, Some(running))?,
                        _ => None,
                    };
                    let text = format!("{} stands before FIRST, LAST, CLASSIFIER or an aggregate", word.value.to_uppercase());
                    replaced.map(Some).ok_or_else(|| self.fault(text, word.span))
                }
            },
        }
    }

    /// The variable before a column; none: the name is the column's own.
    fn variable_of(&self, parts: &[Ident]) -> Result<Labels> {
        let [head, _, ..] = parts else { return Ok(None) };
        let labels = self.given.variables.labels(&head.value);
        if labels.is_none() && !self.given.input.fields().iter().any(|field| *field.name() == head.value) {
            return Err(
                self.fault(format!("PATTERN has no variable '{}'{}", head.value, self.given.variables.near(&head.value)), head.span)
            );
        }
        Ok(labels)
    }

    /// `column.field…` of the last row of `of`.
    fn column(&mut self, of: Labels, parts: &[Ident]) -> Result<Syntax> {
        let [name, fields @ ..] = parts else { return Err(Error::bug("a column without a name")) };
        let column = relation::column(self.given.input, name)?;
        if let Clause::Define(own) = self.clause
            && of.as_ref().is_none_or(|of| of.contains(&own))
        {
            return Ok(with_fields(quoted(column.name), fields));
        }
        let walk = Walk { of, end: End::Last, skip: 0, running: true, value: Some(Expr::Column(column)) };
        let whole = self.navigate(walk, 0);
        Ok(with_fields(whole, fields))
    }

    /// A function of the match; `running` as it is written before it.
    fn call(&mut self, function: &Function, running: Option<bool>) -> Result<Option<Syntax>> {
        let [ObjectNamePart::Identifier(name)] = &function.name.0[..] else { return Ok(None) };
        let upper = name.value.to_uppercase();
        if function.over.is_some() {
            return Err(self.fault(format!("{upper}(…) OVER cannot stand in MATCH_RECOGNIZE"), name.span));
        }
        let measures = self.clause == Clause::Measures;
        match upper.as_str() {
            "FIRST" | "LAST" | "CLASSIFIER" => {
                let walk = self.walk(function, running)?;
                Ok(Some(self.navigate(walk, 0)))
            }
            "PREV" | "NEXT" => self.step(function, &upper, running).map(Some),
            "MATCH_ROWTIME" | "MATCH_PROCTIME" if !measures => {
                Err(self.fault(format!("{upper}() belongs to MEASURES: a condition does not know it yet"), name.span))
            }
            "MATCH_NUMBER" => {
                self.no_arguments(function, &upper)?;
                Ok(Some(self.bind(Bound::Number)))
            }
            "MATCH_ROWTIME" => {
                let zoned = match plain_arguments(function).as_deref() {
                    Some([]) => false,
                    Some([Syntax::Identifier(column)]) if column.value == self.given.time.name => true,
                    _ => {
                        let text = format!("MATCH_ROWTIME takes nothing, or the event-time column '{}'", self.given.time.name);
                        return Err(self.fault(text, name.span));
                    }
                };
                Ok(Some(self.bind(Bound::Time { zoned })))
            }
            "MATCH_PROCTIME" => {
                self.no_arguments(function, &upper)?;
                Ok(Some(crate::sql::dialect::call(Ident::with_span(name.span, "proctime"), Vec::new())))
            }
            _ if self.context.context_provider().get_aggregate_meta(&name.value.to_lowercase()).is_some() => {
                self.aggregate(function, &upper, running.unwrap_or(true)).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn no_arguments(&self, function: &Function, name: &str) -> Result<()> {
        match plain_arguments(function).as_deref() {
            Some([]) => Ok(()),
            _ => Err(self.fault(format!("{name}() takes no arguments"), function.name.span())),
        }
    }

    /// `FIRST(A.x [, n])`, `LAST(A.x [, n])`, `CLASSIFIER([A])`.
    fn walk(&mut self, function: &Function, running: Option<bool>) -> Result<Walk> {
        let (name, span) = (function.name.to_string().to_uppercase(), function.name.span());
        let usage = format!("{name}(…) takes a value of one variable, and perhaps how many rows from there: {name}(A.x, 1)");
        let arguments = plain_arguments(function).ok_or_else(|| self.fault(&usage, span))?;
        let running = running.unwrap_or(true);
        if name == "CLASSIFIER" {
            return Ok(Walk { of: self.classified(function)?, end: End::Last, skip: 0, running, value: None });
        }
        let (value, skip) = match &arguments[..] {
            [value] => (value, 0),
            [value, count] => (value, self.count(count, &name)?),
            _ => return Err(self.fault(&usage, span)),
        };
        let end = if name == "FIRST" { End::First } else { End::Last };
        let (of, value) = self.value(value)?;
        Ok(Walk { of, end, skip: skip as usize, running, value })
    }

    /// Of which variables CLASSIFIER is.
    fn classified(&self, function: &Function) -> Result<Labels> {
        match plain_arguments(function).as_deref() {
            Some([]) => Ok(None),
            Some([Syntax::Identifier(variable)]) => self.given.variables.known(variable, self.given.file).map(Some),
            _ => Err(self.fault("CLASSIFIER(…) takes nothing, or one variable", function.name.span())),
        }
    }

    /// `PREV(A.x [, n])`, `NEXT(LAST(A.x, 1), 2)`.
    fn step(&mut self, function: &Function, name: &str, running: Option<bool>) -> Result<Syntax> {
        let span = function.name.span();
        let usage = || format!("{name}(…) takes a value, FIRST(…) or LAST(…), and perhaps how many rows from there: {name}(x, 2)");
        let arguments = plain_arguments(function).ok_or_else(|| self.fault(usage(), span))?;
        let (inner, distance) = match &arguments[..] {
            [inner] => (inner, 1),
            [inner, count] => (inner, self.count(count, name)?),
            _ => return Err(self.fault(usage(), span)),
        };
        if distance > MAX_DISTANCE {
            return Err(self.fault(
                format!("{name}(…) goes {distance} rows, and so many of every partition would be kept; at most {MAX_DISTANCE}"),
                span,
            ));
        }
        let (said, inner) = match semantics(inner) {
            Some((running, _, of)) => (Some(running), of),
            None => (running, inner),
        };
        let walk = match inner {
            Syntax::Function(function) if is_walk(function) => self.walk(function, said)?,
            value => {
                let (of, value) = self.value(value)?;
                Walk { of, end: End::Last, skip: 0, running: said.unwrap_or(true), value }
            }
        };
        Ok(self.navigate(walk, if name == "PREV" { -distance } else { distance }))
    }

    fn count(&self, count: &Syntax, name: &str) -> Result<i64> {
        let number = match count {
            Syntax::Value(ast::ValueWithSpan { value: ast::Value::Number(digits, _), .. }) => digits.parse::<u32>().ok(),
            _ => None,
        };
        number.map(i64::from).ok_or_else(|| self.fault(format!("{name}(…): '{count}' is no number of rows"), count.span()))
    }

    /// What a navigation gives of a row; `None`: the name of its variable.
    fn value(&mut self, value: &Syntax) -> Result<(Labels, Option<Expr>)> {
        if let Syntax::Function(function) = value
            && is_walk(function)
            && function.name.to_string().eq_ignore_ascii_case("CLASSIFIER")
        {
            let walk = self.walk(function, None)?;
            return Ok((walk.of, None));
        }
        let mut value = value.clone();
        let of = self.of_one_variable(&mut value, Inside::Navigation)?;
        let input = self.given.input;
        Ok((of, Some(self.expression(value, input)?)))
    }

    fn aggregate(&mut self, function: &Function, name: &str, running: bool) -> Result<Syntax> {
        let span = function.name.span();
        let mut function = function.clone();
        let list = match &mut function.args {
            FunctionArguments::List(list) => list,
            _ => return Err(self.fault(format!("{name} needs parentheses"), span)),
        };
        if list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct) {
            return Err(self.fault(format!("{name}(DISTINCT …) is not supported in MATCH_RECOGNIZE"), span));
        }
        if function.filter.is_some() || !list.clauses.is_empty() || !function.within_group.is_empty() {
            return Err(self.fault(format!("FILTER and ORDER BY are not supported in {name}(…) of MATCH_RECOGNIZE"), span));
        }
        let mut of: Labels = None;
        let counted = match &list.args[..] {
            [] | [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => Some(None),
            [FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(ast::ObjectName(parts)))] => match &parts[..] {
                [ObjectNamePart::Identifier(variable)] => Some(Some(self.given.variables.known(variable, self.given.file)?)),
                _ => None,
            },
            _ => None,
        };
        if let (Some(labels), "COUNT") = (counted, name) {
            of = labels;
            let one = Syntax::value(ast::Value::Number("1".into(), false));
            list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(one))];
        } else {
            for argument in &mut list.args {
                let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument else {
                    return Err(self.fault(format!("{name}(…): '{argument}' is no argument of it"), span));
                };
                of = self.of_one_variable(value, Inside::Aggregate)?.or(of);
            }
        }
        let call = self.expression(Syntax::Function(function), &with_row_fields(self.given.input)?)?;
        if !matches!(call, Expr::AggregateFunction(_)) {
            return Err(self.fault(format!("{name}(…) is not supported in MATCH_RECOGNIZE"), span));
        }
        Ok(self.bind(Bound::Aggregate { of, call, running }))
    }

    /// Makes the names in an argument plain columns, and says whose rows it is about.
    fn of_one_variable(&self, value: &mut Syntax, inside: Inside) -> Result<Labels> {
        let mut plain = Plain { names: self, inside, of: None };
        match value.visit(&mut plain) {
            ControlFlow::Break(error) => Err(*error),
            ControlFlow::Continue(()) => Ok(plain.of.flatten()),
        }
    }
}

fn is_walk(function: &Function) -> bool {
    let name = function.name.to_string();
    ["FIRST", "LAST", "CLASSIFIER"].iter().any(|walk| name.eq_ignore_ascii_case(walk))
}

/// A name with its dots, and what is accessed behind it (`A.xs` and `[1].field`); `None`: it is none, or replaced already.
fn name_of(expr: &Syntax) -> Option<(Vec<Ident>, Vec<ast::AccessExpr>)> {
    let (first, more) = match expr {
        Syntax::Identifier(name) => (name, &[][..]),
        Syntax::CompoundIdentifier(parts) => return Some((parts.clone(), Vec::new())),
        Syntax::CompoundFieldAccess { root, access_chain } => match root.as_ref() {
            Syntax::Identifier(name) => (name, &access_chain[..]),
            Syntax::CompoundIdentifier(parts) => return Some((parts.clone(), access_chain.clone())),
            _ => return None,
        },
        _ => return None,
    };
    if is_replaced(first) {
        return None;
    }
    let mut parts = vec![first.clone()];
    parts.extend(more.iter().map_while(|access| match access {
        ast::AccessExpr::Dot(Syntax::Identifier(name)) => Some(name.clone()),
        _ => None,
    }));
    let rest = more[parts.len() - 1..].to_vec();
    Some((parts, rest))
}

fn with_rest(root: Syntax, rest: Vec<ast::AccessExpr>) -> Syntax {
    if rest.is_empty() { root } else { Syntax::CompoundFieldAccess { root: Box::new(root), access_chain: rest } }
}

/// The arguments, if they are nothing but expressions.
fn plain_arguments(function: &Function) -> Option<Vec<Syntax>> {
    let FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses }) = &function.args else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    clauses.is_empty().then(|| args.iter().map(plain).collect())?
}

struct Replacing<'n, 'a, 'c>(&'n mut Names<'a, 'c>);

impl VisitorMut for Replacing<'_, '_, '_> {
    type Break = Box<Error>;

    fn pre_visit_expr(&mut self, expr: &mut Syntax) -> ControlFlow<Self::Break> {
        match self.0.replacement(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(new)) => {
                *expr = new;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

/// What names are inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Navigation,
    /// CLASSIFIER and MATCH_NUMBER are columns of its rows, too.
    Aggregate,
}

/// Inside of a navigation or an aggregate: names are columns of the rows that it is about.
struct Plain<'n, 'a, 'c> {
    names: &'n Names<'a, 'c>,
    inside: Inside,
    /// What the names before said.
    of: Option<Labels>,
}

impl Plain<'_, '_, '_> {
    /// Something here is about the rows of `of`.
    fn about(&mut self, of: Labels, span: Span) -> Result<()> {
        if self.of.as_ref().is_some_and(|before| *before != of) {
            return Err(self.names.fault("FIRST, LAST, PREV, NEXT and aggregates are about the rows of one variable, or of all", span));
        }
        self.of = Some(of);
        Ok(())
    }

    fn column(&mut self, of: Labels, parts: &[Ident], span: Span) -> Result<Syntax> {
        self.about(of, span)?;
        let [name, fields @ ..] = parts else { return Err(Error::bug("a column without a name")) };
        Ok(with_fields(quoted(relation::column(self.names.given.input, name)?.name), fields))
    }

    fn replacement(&mut self, expr: &Syntax) -> Result<Option<Syntax>> {
        if let Some((parts, rest)) = name_of(expr) {
            let of = self.names.variable_of(&parts)?;
            let own = usize::from(of.is_some());
            return Ok(Some(with_rest(self.column(of, &parts[own..], expr.span())?, rest)));
        }
        match expr {
            Syntax::Function(function) => {
                let name = function.name.to_string().to_uppercase();
                match (self.inside, name.as_str()) {
                    (Inside::Aggregate, "CLASSIFIER") => {
                        let of = self.names.classified(function)?;
                        self.about(of, function.name.span())?;
                        return Ok(Some(quoted(ROW_VARIABLE.to_owned())));
                    }
                    (Inside::Aggregate, "MATCH_NUMBER") => {
                        self.names.no_arguments(function, &name)?;
                        return Ok(Some(quoted(ROW_NUMBER.to_owned())));
                    }
                    (Inside::Navigation, "CLASSIFIER" | "MATCH_NUMBER") => {
                        let text = format!("{name}(…) cannot be a part of what FIRST, LAST, PREV and NEXT take; aggregates can read it");
                        return Err(self.names.fault(text, function.name.span()));
                    }
                    _ => {}
                }
                let aggregate = || self.names.context.context_provider().get_aggregate_meta(&name.to_lowercase()).is_some();
                if is_walk(function) || matches!(name.as_str(), "PREV" | "NEXT" | "MATCH_ROWTIME") || aggregate() {
                    let text = format!(
                        "{name}(…) cannot stand inside of FIRST, LAST, PREV, NEXT or an aggregate; only PREV and NEXT take FIRST(…) and LAST(…)"
                    );
                    return Err(self.names.fault(text, function.name.span()));
                }
                Ok(None)
            }
            Syntax::Subquery(_) | Syntax::Exists { .. } | Syntax::InSubquery { .. } => {
                Err(self.names.fault("a query cannot stand in MATCH_RECOGNIZE", expr.span()))
            }
            _ => Ok(None),
        }
    }
}

impl VisitorMut for Plain<'_, '_, '_> {
    type Break = Box<Error>;

    fn pre_visit_expr(&mut self, expr: &mut Syntax) -> ControlFlow<Self::Break> {
        match self.replacement(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(new)) => {
                *expr = new;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}
