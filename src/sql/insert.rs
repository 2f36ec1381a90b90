//! Rows of a query made to fit the columns of a sink, as Flink does: by position, with casts that cannot lose a value. NULL in
//! a column that is NOT NULL is a fault of its row.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};

use super::catalog::ColumnKind;
use super::declared::DeclaredTable;
use super::flink_types::flink_cast_of;
use super::functions::not_null;
use super::statement::Name;
use super::types;
use crate::error::{Error, Place, Result, did_you_mean};

/// `rows` with the names and types of the columns that `table` writes.
///
/// `columns`: those that are named, or all; `place`: where the query stands.
pub(super) fn fit(rows: LogicalPlan, table: &DeclaredTable, columns: Option<&[Name]>, place: &Place) -> Result<LogicalPlan> {
    let sink = &table.def.name;
    let written: Vec<&Field> =
        table.def.columns.iter().zip(table.schema.fields()).filter(|(c, _)| is_written(&c.kind)).map(|(_, f)| f.as_ref()).collect();
    let names = || written.iter().map(|f| f.name().as_str());
    // Per written column: which column of the query.
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    let wanted = match columns {
        None => {
            sources.extend(names().enumerate().map(|(at, name)| (name, at)));
            written.len()
        }
        Some(columns) => {
            for (at, column) in columns.iter().enumerate() {
                let Some(field) = written.iter().find(|f| f.name() == &column.value) else {
                    let hint = did_you_mean(&column.value, names());
                    return Err(Error::input(format!("no column '{}' to write in '{sink}'{hint}", column.value)).at(column.place.clone()));
                };
                if sources.insert(field.name(), at).is_some() {
                    return Err(Error::input(format!("column '{}' is named twice", column.value)).at(column.place.clone()));
                }
            }
            columns.len()
        }
    };
    let given = rows.schema().clone();
    if given.fields().len() != wanted {
        let query: Vec<_> = given.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(Error::input(format!(
            "'{sink}' takes {wanted} columns ({}), the query gives {} ({})",
            match columns {
                None => names().collect::<Vec<_>>().join(", "),
                Some(columns) => columns.iter().map(|c| c.value.as_str()).collect::<Vec<_>>().join(", "),
            },
            query.len(),
            query.join(", ")
        ))
        .at(place.clone()));
    }
    let mut errors = Vec::new();
    let mut exprs = Vec::with_capacity(written.len());
    for field in &written {
        let expr = match sources.get(field.name().as_str()) {
            Some(&at) => {
                let from = given.field(at).data_type();
                if !fits(from, field.data_type()) {
                    errors.push(
                        Error::input(format!(
                            "column {} of the query, '{}', is {}; '{sink}' takes {} for '{}' (CAST it)",
                            at + 1,
                            given.field(at).name(),
                            types::name(from),
                            types::name(field.data_type()),
                            field.name()
                        ))
                        .at(place.clone()),
                    );
                    continue;
                }
                let column = Expr::Column(given.columns()[at].clone());
                let value = if from == field.data_type() { column } else { flink_cast_of(column, from, field.data_type()) };
                // What keys are stays visible: they are columns as they come.
                match !field.is_nullable() && given.field(at).is_nullable() && !table.def.primary_key.contains(field.name()) {
                    true => {
                        let fault = format!("NULL for '{}' of '{sink}', which is NOT NULL", field.name());
                        not_null().call(vec![value, lit(ScalarValue::Utf8View(Some(fault)))])
                    }
                    false => value,
                }
            }
            None if field.is_nullable() => Expr::Literal(ScalarValue::try_from(field.data_type())?, None),
            None => {
                errors.push(Error::input(format!("'{}' of '{sink}' is NOT NULL and must be named", field.name())).at(place.clone()));
                continue;
            }
        };
        exprs.push(expr.alias(field.name()));
    }
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    Ok(LogicalPlanBuilder::from(rows).project(exprs)?.build()?)
}

fn is_written(kind: &ColumnKind) -> bool {
    match kind {
        ColumnKind::Physical => true,
        ColumnKind::Metadata { is_virtual, .. } => !is_virtual,
        ColumnKind::Computed(_) => false,
    }
}

/// Does Flink cast from the one to the other without being told?
fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let rank = |t: &DataType| match t {
        T::Int8 => Some(1),
        T::Int16 | T::UInt8 => Some(2),
        T::Int32 | T::UInt16 => Some(3),
        T::Int64 | T::UInt32 | T::UInt64 => Some(4),
        _ => None,
    };
    let is_text = |t: &DataType| matches!(t, T::Utf8 | T::Utf8View | T::LargeUtf8);
    let is_bytes = |t: &DataType| matches!(t, T::Binary | T::BinaryView | T::LargeBinary | T::FixedSizeBinary(_));
    match (from, to) {
        (T::Null, _) => true,
        (from, to) if from == to => true,
        (from, to) if is_text(from) && is_text(to) => true,
        (from, to) if is_bytes(from) && is_bytes(to) => true,
        (from, to) if rank(from).is_some() && rank(to).is_some() => rank(from) <= rank(to),
        (from, T::Decimal128(..)) => from.is_numeric(),
        (from, T::Float32) => rank(from).is_some() || matches!(from, T::Decimal128(..) | T::Decimal256(..)),
        (from, T::Float64) => from.is_numeric(),
        (T::Timestamp(..), T::Timestamp(..) | T::Date32) => true,
        (T::Time32(_) | T::Time64(_), T::Time32(_) | T::Time64(_)) => true,
        (T::List(a) | T::LargeList(a), T::List(b)) => fits(a.data_type(), b.data_type()),
        (T::Map(a, _), T::Map(b, _)) => fits(a.data_type(), b.data_type()),
        (T::Struct(a), T::Struct(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| fits(a.data_type(), b.data_type())),
        _ => false,
    }
}
