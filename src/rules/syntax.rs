//! Names in a rule's expressions: which column of the input, or which value of the events taken before, each stands for.
//!
//! ```text
//!  amount > 2 * first(fail.amount)  ─▶  "amount" > 2 * "$0"     $0 = `amount` of the first event of step `fail`
//!  sum(p.amount) > 100              ─▶  "$0" > 100              $0 = sum(amount) over the events of step `p`
//! ```

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, Value, VisitMut as _, VisitorMut,
};

use crate::error::{Error, Result, did_you_mean};
use crate::operator::pattern::binding::{Binding, Condition, End, Labels, bindings_schema};
use crate::rules::form::Text;
use crate::rules::input::Input;
use crate::sql::expression::{Expressions, is_replaced, parse_expression, quoted, with_fields};

/// A step, or a group of them, that expressions may name.
#[derive(Debug, Clone)]
pub struct StepName {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<usize>,
    /// The stream of its events; `None`: several.
    pub stream: Option<usize>,
}

/// What an expression may name.
pub struct Names<'a> {
    /// The events.
    pub input: &'a Input,
    /// Whose columns are meant by bare names; `None`: only the key's.
    pub stream: Option<usize>,
    /// The steps.
    pub steps: &'a [StepName],
    /// Bare aggregates are over the events of the sliding time.
    pub sliding: bool,
    /// What makes expressions of syntax.
    pub expressions: &'a Expressions<'a>,
}

impl Names<'_> {
    /// A condition as the operator wants it.
    pub fn condition(&self, text: &Text) -> Result<Condition> {
        let mut bindings = Vec::new();
        let syntax = self.bind(text, &mut bindings)?;
        let expr = self.physical(&syntax, &bindings).map_err(|error| in_text(error, text))?;
        let schema = self.bound_schema(&bindings)?;
        match expr.data_type(&schema)? {
            arrow::datatypes::DataType::Boolean | arrow::datatypes::DataType::Null => Ok(Condition { bindings, expr }),
            other => Err(Error::input(format!("'{}' is {}; a condition is true or false", text.text, crate::sql::types::name(&other)))
                .at(text.place.clone())),
        }
    }

    /// Syntax with names replaced; what is bound is added to `bindings`.
    pub fn bind(&self, text: &Text, bindings: &mut Vec<Binding>) -> Result<Expr> {
        let mut syntax = parse_expression(&text.text, &text.place)?;
        let mut replacing = Replacing { names: self, bindings };
        match syntax.visit(&mut replacing) {
            ControlFlow::Continue(()) => Ok(syntax),
            ControlFlow::Break(error) => Err(in_text(*error, text)),
        }
    }

    /// The expression over a row of bindings.
    pub fn physical(&self, syntax: &Expr, bindings: &[Binding]) -> Result<Arc<dyn datafusion::physical_expr::PhysicalExpr>> {
        let schema = self.bound_schema(bindings)?;
        self.expressions.physical(syntax, &schema)
    }

    /// Schema of a row of bindings.
    pub fn bound_schema(&self, bindings: &[Binding]) -> Result<Arc<Schema>> {
        bindings_schema(self.input.schema(), self.input.time(), bindings)
    }

    fn step(&self, name: &str) -> Option<&StepName> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The column of this stream, as an identifier over the input.
    fn column(&self, stream: Option<usize>, name: &str) -> Result<Expr> {
        match stream {
            Some(stream) => self.input.column(stream, name).map(quoted).ok_or_else(|| self.input.no_column(stream, name)),
            None => self.input.key(name).map(quoted).ok_or_else(|| {
                let keys = self.input.keys.iter().map(|(key, _)| key.as_str());
                let all = keys.chain(self.steps.iter().map(|step| step.name.as_str()));
                let near = did_you_mean(name, all);
                Error::input(format!("'{name}' is neither a key column nor a step{near}; write STEP.column"))
            }),
        }
    }

    fn no_step(&self, name: &str) -> Error {
        let near = did_you_mean(name, self.steps.iter().map(|step| step.name.as_str()));
        Error::input(format!("'{name}' is no earlier step{near}"))
    }
}

/// The error with the expression and its place.
fn in_text(error: Error, text: &Text) -> Error {
    Error::new(error.kind(), format!("'{}': {}", text.text, error.message())).at(text.place.clone())
}

struct Replacing<'a, 'b> {
    names: &'a Names<'a>,
    bindings: &'b mut Vec<Binding>,
}

impl VisitorMut for Replacing<'_, '_> {
    type Break = Box<Error>;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match self.replacement(expr) {
            Ok(Some(new)) => {
                *expr = new;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

impl Replacing<'_, '_> {
    /// What to put in the place of `expr`; `None`: it stays, and its parts are looked at.
    fn replacement(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match expr {
            Expr::Identifier(name) if is_replaced(name) => Ok(None),
            Expr::Identifier(name) => self.names.column(self.names.stream, &name.value).map(Some),
            Expr::CompoundIdentifier(parts) => self.compound(parts).map(Some),
            Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                let end = match name.as_str() {
                    "first" | "first_value" => Some(End::First),
                    "last" | "last_value" => Some(End::Last),
                    _ => None,
                };
                match end {
                    Some(end) => self.row(&name, end, &function.args).map(Some),
                    None if self.names.expressions.is_aggregate(&name) => self.aggregate(expr, &name).map(Some),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// `step.column`, `stream.column`, or a field of a column.
    fn compound(&mut self, parts: &[Ident]) -> Result<Expr> {
        let [head, column, rest @ ..] = parts else { return Err(Error::bug("a compound name of one part")) };
        let whole = if let Some(step) = self.names.step(&head.value) {
            let value = self.names.column(step.stream, &column.value)?;
            let of = Some(step.labels.clone());
            let value = self.names.expressions.physical(&value, self.names.input.schema())?;
            self.bound(Binding::Row { of, end: End::Last, skip: 0, value })
        } else if let Some(stream) = self.names.input.streams.iter().position(|stream| stream.alias == head.value) {
            self.names.column(Some(stream), &column.value)?
        } else if self.names.stream.is_some_and(|stream| self.names.input.streams[stream].schema.index_of(&head.value).is_ok()) {
            let column_of = self.names.column(self.names.stream, &head.value)?;
            return Ok(with_fields(column_of, &parts[1..]));
        } else {
            return Err(self.names.no_step(&head.value));
        };
        Ok(with_fields(whole, rest))
    }

    /// `first(step.column)`, `last(step.column)`; in a sliding rule `first(column)`.
    fn row(&mut self, name: &str, end: End, args: &FunctionArguments) -> Result<Expr> {
        let FunctionArguments::List(FunctionArgumentList { args, .. }) = args else {
            return Err(Error::input(format!("{name}(…) takes one value of a step, such as {name}(step.column)")));
        };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(value))] = args.as_slice() else {
            return Err(Error::input(format!("{name}(…) takes one value of a step, such as {name}(step.column)")));
        };
        let mut value = value.clone();
        let of = self.own_events(&mut value)?;
        let value = self.names.expressions.physical(&value, self.names.input.schema())?;
        Ok(self.bound(Binding::Row { of, end, skip: 0, value }))
    }

    /// `sum(step.column)`, `count(step)`, `count()`.
    fn aggregate(&mut self, call: &Expr, name: &str) -> Result<Expr> {
        let mut call = call.clone();
        let Expr::Function(function) = &mut call else { return Err(Error::bug("an aggregate that is no call")) };
        let mut of: Labels = None;
        if let FunctionArguments::List(list) = &mut function.args {
            let counted = match list.args.as_slice() {
                [] | [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => Some(None),
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(step)))] => {
                    self.names.step(&step.value).map(|step| Some(step.labels.clone()))
                }
                _ => None,
            };
            if let (Some(labels), "count") = (counted, name) {
                of = labels;
                let one = Expr::value(Value::Number("1".into(), false));
                list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(one))];
            } else {
                for arg in &mut list.args {
                    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = arg {
                        of = self.own_events(value)?.or(of);
                    }
                }
            }
        }
        let function = self.names.expressions.aggregate(&call, self.names.input.schema())?;
        Ok(self.bound(Binding::Aggregate { of, function }))
    }

    /// Replaces the names in an argument by columns of the input, and says whose events it is about.
    fn own_events(&self, value: &mut Expr) -> Result<Labels> {
        let mut plain = Plain { names: self.names, of: None, several: false };
        match value.visit(&mut plain) {
            ControlFlow::Break(error) => Err(*error),
            ControlFlow::Continue(()) if plain.several => Err(Error::input("an aggregate is over the events of one step")),
            ControlFlow::Continue(()) if plain.of.is_none() && !self.names.sliding && !self.names.steps.is_empty() => {
                Err(Error::input("over the events of which step? Write sum(STEP.column)"))
            }
            ControlFlow::Continue(()) => Ok(plain.of),
        }
    }

    fn bound(&mut self, binding: Binding) -> Expr {
        let text = format!("{binding:?}");
        let number = self.bindings.iter().position(|known| format!("{known:?}") == text).unwrap_or_else(|| {
            self.bindings.push(binding);
            self.bindings.len() - 1
        });
        quoted(format!("${number}"))
    }
}

/// Inside an aggregate: names are plain columns of the step's stream.
struct Plain<'a> {
    names: &'a Names<'a>,
    of: Labels,
    several: bool,
}

impl VisitorMut for Plain<'_> {
    type Break = Box<Error>;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let new = match expr {
            Expr::Identifier(name) if is_replaced(name) => None,
            Expr::Identifier(name) => Some(self.names.column(self.names.stream, &name.value)),
            Expr::CompoundIdentifier(parts) => match (self.names.step(&parts[0].value), parts.get(1)) {
                (Some(step), Some(column)) => {
                    self.several |= self.of.as_ref().is_some_and(|of| *of != step.labels);
                    self.of = Some(step.labels.clone());
                    Some(self.names.column(step.stream, &column.value).map(|whole| with_fields(whole, &parts[2..])))
                }
                _ => Some(Err(self.names.no_step(&parts[0].value))),
            },
            _ => None,
        };
        match new {
            None => ControlFlow::Continue(()),
            Some(Ok(new)) => {
                *expr = new;
                ControlFlow::Continue(())
            }
            Some(Err(error)) => ControlFlow::Break(Box::new(error)),
        }
    }
}
