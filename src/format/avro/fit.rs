//! Makes what a writer wrote fit the types of the table: fields of rows by their names, whatever their order and number.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;

use crate::error::Result;

/// `array` as `wanted`; a field that the writer does not know is NULL. Notes in `unfit` the rows with a value that does
/// not fit; what is in them then is anything.
pub(super) fn fit(array: &ArrayRef, wanted: &DataType, unfit: &mut [bool]) -> Result<ArrayRef> {
    match (array.data_type(), wanted) {
        (own, wanted) if own == wanted => Ok(array.clone()),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let rows = array.as_struct();
            let mut columns = Vec::with_capacity(fields.len());
            for field in fields {
                let column = match rows.column_by_name(field.name()) {
                    Some(column) => fit(column, field.data_type(), unfit)?,
                    None => new_null_array(field.data_type(), rows.len()),
                };
                for row in (0..rows.len()).filter(|row| !field.is_nullable() && rows.is_valid(*row) && column.is_null(*row)) {
                    unfit[row] = true;
                }
                columns.push(column);
            }
            // A row without a value that it must have is none.
            let fits: BooleanArray = unfit.iter().map(|unfit| Some(!unfit)).collect();
            let nulls = NullBuffer::union(rows.nulls(), Some(&NullBuffer::new(fits.values().clone())));
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, rows.len())?))
        }
        (DataType::List(_), DataType::List(field)) => {
            let lists = array.as_list::<i32>();
            let items = within(lists.values(), field.data_type(), lists.offsets(), unfit)?;
            Ok(Arc::new(ListArray::try_new(field.clone(), lists.offsets().clone(), items, lists.nulls().cloned())?))
        }
        (DataType::Map(_, _), DataType::Map(field, sorted)) => {
            let maps = array.as_map();
            let DataType::Struct(parts) = field.data_type() else { return Ok(new_null_array(wanted, array.len())) };
            let keys = within(maps.keys(), parts[0].data_type(), maps.offsets(), unfit)?;
            let values = within(maps.values(), parts[1].data_type(), maps.offsets(), unfit)?;
            let entries = StructArray::try_new(parts.clone(), vec![keys, values], None)?;
            Ok(Arc::new(MapArray::try_new(field.clone(), maps.offsets().clone(), entries, maps.nulls().cloned(), *sorted)?))
        }
        _ => {
            let lenient = CastOptions { safe: true, ..CastOptions::default() };
            let made = cast_with_options(array, wanted, &lenient).unwrap_or_else(|_| new_null_array(wanted, array.len()));
            for (row, unfit) in unfit.iter_mut().enumerate() {
                *unfit |= array.is_valid(row) && made.is_null(row);
            }
            Ok(made)
        }
    }
}

/// The items of lists, each of which is a part of the row whose list holds it.
fn within(items: &ArrayRef, wanted: &DataType, offsets: &[i32], unfit: &mut [bool]) -> Result<ArrayRef> {
    let mut unfit_items = vec![false; items.len()];
    let made = fit(items, wanted, &mut unfit_items)?;
    for (row, ends) in offsets.windows(2).enumerate() {
        unfit[row] |= unfit_items[ends[0] as usize..ends[1] as usize].contains(&true);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array, StringViewArray};
    use arrow::datatypes::{Field, Fields, Int32Type};

    fn row(fields: Vec<(&str, ArrayRef)>) -> ArrayRef {
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) =
            fields.into_iter().map(|(name, column)| (Field::new(name, column.data_type().clone(), true), column)).unzip();
        Arc::new(StructArray::try_new(Fields::from(fields), columns, None).unwrap())
    }

    #[test]
    fn fields_of_rows_are_found_by_name_also_in_lists() {
        let b: ArrayRef = Arc::new(StringViewArray::from(vec!["x", "y"]));
        let written = row(vec![("b", b), ("n", Arc::new(Int64Array::from(vec![1, 1 << 40])))]);
        let wanted = DataType::Struct(Fields::from(vec![
            Field::new("n", DataType::Int32, true),
            Field::new("new", DataType::Utf8View, true),
            Field::new("b", DataType::Utf8View, true),
        ]));
        let mut unfit = vec![false; 2];
        let made = fit(&written, &wanted, &mut unfit).unwrap();
        assert_eq!((made.data_type(), &unfit), (&wanted, &vec![false, true]), "the second number is too large");
        let columns = made.as_struct();
        assert_eq!(columns.column(0).as_primitive::<Int32Type>().value(0), 1);
        assert!(columns.column(1).is_null(0));
        assert_eq!(columns.column(2).as_string_view().value(0), "x");

        let item = |data_type: &DataType| Arc::new(Field::new("item", data_type.clone(), true));
        let offsets = arrow::buffer::OffsetBuffer::new(vec![0, 1, 1, 2].into());
        let lists: ArrayRef = Arc::new(ListArray::try_new(item(written.data_type()), offsets, written, None).unwrap());
        let mut unfit = vec![false; 3];
        let made = fit(&lists, &DataType::List(item(&wanted)), &mut unfit).unwrap();
        assert_eq!((made.len(), unfit), (3, vec![false, false, true]));
    }

    #[test]
    fn a_field_that_must_be_there_and_is_not_refuses_its_row() {
        let written = row(vec![("n", Arc::new(Int32Array::from(vec![Some(1), None])))]);
        let wanted = DataType::Struct(Fields::from(vec![Field::new("n", DataType::Int32, false)]));
        let mut unfit = vec![false; 2];
        let made = fit(&written, &wanted, &mut unfit).unwrap();
        assert_eq!((unfit, made.is_valid(0), made.is_valid(1)), (vec![false, true], true, false));
    }
}
