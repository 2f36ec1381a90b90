//! Casts of ROWs, and of what holds them: fields are taken by their position, whatever they are called.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, ListArray, MapArray, StringViewArray, StructArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::to_text::{reads_otherwise, texts};
use crate::sql::types;

/// `CAST(x AS to)`; `safe`: TRY_CAST, in which a field that does not fit is NULL.
pub(in crate::sql) fn by_position(to: DataType, safe: bool) -> ScalarUDF {
    ScalarUDF::from(ByPosition { to, safe, signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ByPosition {
    to: DataType,
    safe: bool,
    signature: Signature,
}

impl ScalarUDFImpl for ByPosition {
    fn name(&self) -> &str {
        "by_position"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        match args {
            [given] if !fits(given, &self.to) => {
                Err(DataFusionError::Plan(format!("{} cannot be cast to {}", types::name(given), types::name(&self.to))))
            }
            _ => Ok(self.to.clone()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match args.args.first() {
            Some(ColumnarValue::Array(values)) => Ok(ColumnarValue::Array(converted(values, &self.to, self.safe)?)),
            Some(ColumnarValue::Scalar(value)) => {
                let one = converted(&value.to_array()?, &self.to, self.safe)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&one, 0)?))
            }
            None => Err(DataFusionError::Internal("a cast without a value".to_owned())),
        }
    }
}

fn fits(given: &DataType, to: &DataType) -> bool {
    match (given, to) {
        (DataType::Struct(given), DataType::Struct(to)) => {
            given.len() == to.len() && given.iter().zip(to).all(|(given, to)| fits(given.data_type(), to.data_type()))
        }
        (DataType::List(given), DataType::List(to)) | (DataType::Map(given, _), DataType::Map(to, _)) => {
            fits(given.data_type(), to.data_type())
        }
        _ => arrow::compute::can_cast_types(given, to),
    }
}

fn converted(values: &ArrayRef, to: &DataType, safe: bool) -> DfResult<ArrayRef> {
    if values.data_type() == to {
        return Ok(values.clone());
    }
    Ok(match (values.data_type(), to) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let columns = values.as_struct().columns().iter().zip(fields).map(|(column, field)| converted(column, field.data_type(), safe));
            Arc::new(StructArray::try_new(fields.clone(), columns.collect::<DfResult<_>>()?, values.nulls().cloned())?)
        }
        (DataType::List(_), DataType::List(element)) => {
            let lists = values.as_list::<i32>();
            let elements = converted(lists.values(), element.data_type(), safe)?;
            Arc::new(ListArray::try_new(element.clone(), lists.offsets().clone(), elements, lists.nulls().cloned())?)
        }
        (DataType::Map(..), DataType::Map(entry, sorted)) => {
            let maps = values.as_map();
            let held: ArrayRef = Arc::new(maps.entries().clone());
            let entries = converted(&held, entry.data_type(), safe)?;
            Arc::new(MapArray::try_new(entry.clone(), maps.offsets().clone(), entries.as_struct().clone(), maps.nulls().cloned(), *sorted)?)
        }
        (given, DataType::Utf8View) if reads_otherwise(given) => Arc::new(texts(values)?.into_iter().collect::<StringViewArray>()),
        _ => {
            let options = arrow::compute::CastOptions { safe, ..Default::default() };
            arrow::compute::cast_with_options(values, to, &options)?
        }
    })
}
