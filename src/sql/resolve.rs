//! A table as declared to a table with its expressions resolved: types of computed columns, the watermark.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::ExprSchemable as _;

use super::catalog::{ColumnKind, TableDef};
use super::declared::DeclaredTable;
use super::functions::Functions;
use super::scope::{NoTables, Scope};
use super::{place, types};
use crate::error::{Error, Result};

/// Resolves `def`; reports every column that is wrong.
pub(super) fn table(def: TableDef, functions: &Functions) -> Result<DeclaredTable> {
    let scope = Scope::new(&NoTables, functions);
    let file = def.place.name.clone();
    let mut errors = Vec::new();
    // Computed columns may use those of the record, not each other.
    let of_record: Vec<Field> = def
        .columns
        .iter()
        .filter_map(|c| c.data_type.clone().map(|t| Field::new(&c.name, t, !c.not_null && !def.primary_key.contains(&c.name))))
        .collect();
    let record = DFSchema::try_from(Schema::new(of_record))?;
    let mut fields = Vec::with_capacity(def.columns.len());
    let mut computed = BTreeMap::new();
    for (at, column) in def.columns.iter().enumerate() {
        let ColumnKind::Computed(expr) = &column.kind else {
            fields.extend(record.fields().iter().find(|f| f.name() == &column.name).map(|f| f.as_ref().clone()));
            continue;
        };
        let resolved = scope.expression(expr, &record).and_then(|expr| {
            let (_, field) = expr.to_field(&record)?;
            Ok((expr, field))
        });
        match resolved {
            Ok((expr, field)) => {
                fields.push(Field::new(&column.name, field.data_type().clone(), field.is_nullable()));
                computed.insert(at, expr);
            }
            Err(error) => {
                errors.push(place::of_planner(&file, error).at(column.place.clone()));
                // Stands in, so that the rest can be checked too.
                fields.push(Field::new(&column.name, DataType::Null, true));
            }
        }
    }
    let schema = Arc::new(Schema::new(fields));
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    let all = DFSchema::try_from(schema.as_ref().clone())?;
    let mut watermark = None;
    if let Some(declared) = &def.watermark {
        let at = &declared.place;
        let event_time = schema.field_with_name(&declared.column).map_err(|e| Error::from(e).at(at.clone()))?;
        let DataType::Timestamp(..) = event_time.data_type() else {
            return Err(Error::input(format!(
                "WATERMARK FOR {}: it is {}; event time is a TIMESTAMP or TIMESTAMP_LTZ (of an integer: TO_TIMESTAMP_LTZ({}, 3))",
                declared.column,
                types::name(event_time.data_type()),
                declared.column
            ))
            .at(at.clone()));
        };
        let expr = scope.expression(&declared.expr, &all).map_err(|e| place::of_planner(&file, e).at(at.clone()))?;
        let (given, wanted) = (expr.get_type(&all)?, event_time.data_type());
        let DataType::Timestamp(..) = given else {
            return Err(Error::input(format!(
                "WATERMARK FOR {} AS …: the expression is {}; a watermark is a TIMESTAMP or TIMESTAMP_LTZ",
                declared.column,
                types::name(&given)
            ))
            .at(at.clone()));
        };
        watermark = Some(if given == *wanted { expr } else { expr.cast_to(wanted, &all)? });
    }
    Ok(DeclaredTable { def: Arc::new(def), schema, computed, watermark })
}
