//! Functions that psql calls when it lists functions (`\df`), beside those of `pg_catalog`.

use std::sync::Arc;

use arrow::array::{Array as _, BooleanArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

/// All of them; each takes an object id.
pub(super) fn catalog_functions() -> Vec<ScalarUDF> {
    let told = ["pg_get_function_result", "pg_get_function_arguments"].map(|name| of_object(name, DataType::Utf8, nothing_told));
    [of_object("pg_function_is_visible", DataType::Boolean, is_visible)].into_iter().chain(told).collect()
}

fn of_object(name: &str, returns: DataType, write: fn(&[ColumnarValue]) -> DfResult<ColumnarValue>) -> ScalarUDF {
    create_udf(name, vec![DataType::Int32], returns, Volatility::Stable, Arc::new(write))
}

/// There is one schema, so that nothing hides anything.
fn is_visible(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    let objects = ColumnarValue::values_to_arrays(args)?;
    let visible: BooleanArray = (0..objects[0].len()).map(|at| objects[0].is_valid(at).then_some(true)).collect();
    Ok(ColumnarValue::Array(Arc::new(visible)))
}

/// The functions of `pg_proc` are PostgreSQL's own: of a function that is not there PostgreSQL tells NULL.
fn nothing_told(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    let objects = ColumnarValue::values_to_arrays(args)?;
    Ok(ColumnarValue::Array(Arc::new(StringArray::new_null(objects[0].len()))))
}
