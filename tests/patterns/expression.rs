//! The expression language of the cases, as physical expressions over a row of bindings.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::functions_aggregate::{average::avg_udaf, count::count_udaf, min_max::max_udaf, min_max::min_udaf, sum::sum_udaf};
use datafusion::logical_expr::{Expr as Logical, cast, lit, when};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions as physical;
use datafusion::prelude::SessionContext;
use eagre::operator::pattern::binding::{Binding, Condition, End, Expr, Labels, Navigation, bindings_schema};
use serde_json::Value;

/// What an expression may refer to.
pub struct Scope<'a> {
    pub input: &'a Arc<Schema>,
    pub time: usize,
    /// Label names, by position.
    pub labels: &'a [String],
    /// Names of several labels together (SUBSET).
    pub unions: &'a [(String, Vec<usize>)],
    /// MATCH_RECOGNIZE: the variable that is tried, sums of nothing being NULL; none: a rule, sums of nothing being 0.
    pub tried: Option<usize>,
}

/// Why an expression cannot be had.
pub type Unknown = String;

/// A condition.
pub fn condition(value: &Value, scope: &Scope<'_>) -> Result<Condition, Unknown> {
    let mut bindings = Vec::new();
    let expr = logical(value, scope, &mut bindings)?;
    let expr = finish(expr, scope, &bindings);
    Ok(Condition { bindings, expr })
}

fn finish(expr: Logical, scope: &Scope<'_>, bindings: &[Binding]) -> Expr {
    let schema = bindings_schema(scope.input, scope.time, bindings).unwrap();
    let schema = DFSchema::try_from(schema.as_ref().clone()).unwrap();
    SessionContext::new().create_physical_expr(expr, &schema).unwrap()
}

fn column(name: &str) -> Logical {
    Logical::Column(Column::from_name(name))
}

fn field_name(value: &Value) -> Option<&str> {
    value.as_str().map(|text| text.strip_prefix('$').unwrap_or(text))
}

fn labels(value: &Value, scope: &Scope<'_>) -> Result<Labels, Unknown> {
    let name = value.as_str().ok_or("a step that is no name")?;
    if name == "*" {
        return Ok(None);
    }
    if let Some((_, members)) = scope.unions.iter().find(|(union, _)| union == name) {
        return Ok(Some(members.clone()));
    }
    let at = scope.labels.iter().position(|label| label == name).ok_or_else(|| format!("unknown step {name}"))?;
    Ok(Some(vec![at]))
}

fn logical(value: &Value, scope: &Scope<'_>, bindings: &mut Vec<Binding>) -> Result<Logical, Unknown> {
    Ok(match value {
        Value::Null => lit(ScalarValue::Null),
        Value::Bool(value) => lit(*value),
        Value::Number(number) => lit(number.as_f64().ok_or("a number out of range")?),
        Value::String(text) => match text.strip_prefix('$') {
            Some(field) if scope.input.index_of(field).is_ok() => column(field),
            Some(_) => lit(ScalarValue::Null),
            None => lit(text.as_str()),
        },
        Value::Array(parts) => {
            let (op, args) = parts.split_first().ok_or("an empty expression")?;
            call(op.as_str().ok_or("an operator that is no name")?, args, scope, bindings)?
        }
        Value::Object(_) => return Err("an object in an expression".to_owned()),
    })
}

fn call(op: &str, args: &[Value], scope: &Scope<'_>, bindings: &mut Vec<Binding>) -> Result<Logical, Unknown> {
    let aggregate = matches!(op, "sum" | "avg" | "count" | "min" | "max" | "first" | "last" | "tag" | "prev" | "next");
    if aggregate {
        return bound(op, args, scope, bindings);
    }
    let mut all = args.iter().map(|arg| logical(arg, scope, bindings)).collect::<Result<Vec<_>, _>>()?;
    let text = |expr: &Logical| matches!(type_of(expr, scope, bindings), DataType::Utf8 | DataType::Utf8View);
    if let ("==" | "!=" | "<" | "<=" | ">" | ">=", [left, right]) = (op, all.as_slice()) {
        let (one, other) = (type_of(left, scope, bindings), type_of(right, scope, bindings));
        if [&one, &other].iter().all(|t| **t != DataType::Null) && text(left) != text(right) {
            // A text is no number: neither equal nor comparable.
            return Ok(lit(op == "!="));
        }
    }
    let count = all.len();
    let mut fold = |f: fn(Logical, Logical) -> Logical| {
        let first = all.drain(..1).next();
        first.map(|first| all.drain(..).fold(first, f)).ok_or_else(|| format!("{op} of nothing"))
    };
    Ok(match op {
        "and" => fold(Logical::and)?,
        "or" => fold(Logical::or)?,
        "not" => Logical::Not(Box::new(fold(Logical::and)?)),
        "==" => fold(Logical::eq)?.is_true(),
        "!=" => fold(Logical::not_eq)?.is_true(),
        "<" => fold(Logical::lt)?.is_true(),
        "<=" => fold(Logical::lt_eq)?.is_true(),
        ">" => fold(Logical::gt)?.is_true(),
        ">=" => fold(Logical::gt_eq)?.is_true(),
        "+" => fold(|a, b| a + b)?,
        "-" if count == 1 => -fold(|a, _| a)?,
        "-" => fold(|a, b| a - b)?,
        "*" => fold(|a, b| a * b)?,
        "/" => fold(|a, b| a / b)?,
        "%" => fold(|a, b| a % b)?,
        "contains" => {
            fold(|a, b| datafusion::functions::string::expr_fn::contains(cast(a, DataType::Utf8), cast(b, DataType::Utf8)))?.is_true()
        }
        "starts" => {
            fold(|a, b| datafusion::functions::string::expr_fn::starts_with(cast(a, DataType::Utf8), cast(b, DataType::Utf8)))?.is_true()
        }
        "ends" => {
            fold(|a, b| datafusion::functions::string::expr_fn::ends_with(cast(a, DataType::Utf8), cast(b, DataType::Utf8)))?.is_true()
        }
        "is_null" => fold(|a, _| a)?.is_null(),
        other => return Err(format!("unknown operator {other}")),
    })
}

fn type_of(expr: &Logical, scope: &Scope<'_>, bindings: &[Binding]) -> DataType {
    use datafusion::logical_expr::ExprSchemable as _;
    let schema = bindings_schema(scope.input, scope.time, bindings).unwrap();
    let schema = DFSchema::try_from(schema.as_ref().clone()).unwrap();
    expr.get_type(&schema).unwrap_or(DataType::Null)
}

/// Something about taken events.
fn bound(op: &str, args: &[Value], scope: &Scope<'_>, bindings: &mut Vec<Binding>) -> Result<Logical, Unknown> {
    if let ("prev" | "next", Some(tried)) = (op, scope.tried) {
        let (Some(steps), Some(name)) = (args.first().and_then(Value::as_i64), args.get(1).and_then(field_name)) else {
            return Err(format!("{op} needs a number and a field"));
        };
        let at = scope.input.index_of(name).map_err(|_| format!("unknown field {name}"))?;
        let (shift, value) = (if op == "prev" { -steps } else { steps }, Arc::new(physical::Column::new(name, at)));
        let of = Some(vec![tried]);
        bindings.push(Binding::Navigate(Navigation { of, end: End::Last, skip: 0, shift, running: true, value: Some(value) }));
        return Ok(column(&format!("${}", bindings.len() - 1)));
    }
    let (of, field) = match args {
        [of] => (of, None),
        [of, field, ..] => (of, Some(field)),
        [] => return Err(format!("{op} of nothing")),
    };
    let of = labels(of, scope)?;
    let value = || -> Result<Expr, Unknown> {
        let name = field.and_then(field_name).ok_or_else(|| format!("{op} needs a field"))?;
        let at = scope.input.index_of(name).map_err(|_| format!("unknown field {name}"))?;
        Ok(Arc::new(physical::Column::new(name, at)))
    };
    let name = format!("${}", bindings.len());
    let offset = |at: usize| args.get(at).map_or(Some(0), Value::as_i64).ok_or("an offset that is no number");
    if scope.tried.is_some() && matches!(op, "first" | "last") {
        let end = if op == "last" { End::Last } else { End::First };
        let (skip, shift) = (offset(2)? as usize, offset(3)?);
        bindings.push(Binding::Navigate(Navigation { of, end, skip, shift, running: true, value: Some(value()?) }));
        return Ok(column(&name));
    }
    if matches!(op, "first" | "last" | "tag") {
        if args.len() > 2 {
            return Err("offsets of first and last".to_owned());
        }
        let end = if op == "last" { End::Last } else { End::First };
        bindings.push(Binding::Row { of, end, skip: 0, value: value()? });
        return Ok(column(&name));
    }
    let function = match op {
        "sum" => sum_udaf(),
        "avg" => avg_udaf(),
        "count" => count_udaf(),
        "min" => min_udaf(),
        "max" => max_udaf(),
        other => return Err(format!("unknown function {other}")),
    };
    let argument = if op == "count" && field.is_none() { physical::lit(1_i64) } else { value()? };
    let built = AggregateExprBuilder::new(function, vec![argument]).schema(scope.input.clone()).alias(name.clone()).build();
    let function = Arc::new(built.map_err(|error| error.to_string())?);
    bindings.push(match scope.tried {
        Some(_) => Binding::AggregateRows { of, function, running: true },
        None => Binding::Aggregate { of, function },
    });
    let result = cast(column(&name), DataType::Float64);
    let zero = scope.tried.is_none() && op == "sum";
    Ok(if zero { when(result.clone().is_null(), lit(0.0)).otherwise(result).map_err(|error| error.to_string())? } else { result })
}
