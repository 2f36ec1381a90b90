//! Functions of arrays and maps.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, Int32Array, ListArray, MapBuilder, StringViewBuilder, StructArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::{DataFusionError, Result as DfResult};

use super::define::Kind::{Any, Long, Text};
use super::define::{Args, Function, Returns, forms, value};
use crate::sql::types;

/// The function that makes an array of what UNNEST takes apart: of a map its entries.
pub(in crate::sql) const ELEMENTS: &str = "unnest_elements";
/// The same for `WITH ORDINALITY`: each element stands in a ROW with its number.
pub(in crate::sql) const NUMBERED_ELEMENTS: &str = "unnest_numbered";

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("cardinality", forms![[Any]], Returns::From(counted), cardinality),
        Function::new("element", forms![[Any]], Returns::From(of_elements), element),
        Function::new("array_slice", forms![[Any, Long], [Any, Long, Long]], Returns::From(sliced), array_slice),
        Function::new(ELEMENTS, forms![[Any]], Returns::From(|args| elements_of(args).map(list_of)), unnest_elements),
        Function::new(NUMBERED_ELEMENTS, forms![[Any]], Returns::From(|args| elements_of(args).map(numbered)), unnest_numbered),
        Function::new("str_to_map", forms![[Text], [Text, Text], [Text, Text, Text]], Returns::From(|_| Ok(text_map())), str_to_map),
    ]
}

fn counted(args: &[DataType]) -> DfResult<DataType> {
    match args {
        [DataType::List(_) | DataType::Map(..) | DataType::Null] => Ok(DataType::Int32),
        _ => Err(DataFusionError::Plan("CARDINALITY takes an ARRAY or a MAP".to_owned())),
    }
}

fn of_elements(args: &[DataType]) -> DfResult<DataType> {
    match args {
        [DataType::List(element)] => Ok(element.data_type().clone()),
        [DataType::Null] => Ok(DataType::Null),
        _ => Err(DataFusionError::Plan("ELEMENT takes an ARRAY".to_owned())),
    }
}

/// `CARDINALITY(array or map)`.
fn cardinality(args: &Args) -> DfResult<ArrayRef> {
    let array = args.array(0)?;
    let offsets = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().offsets(),
        DataType::Map(..) => array.as_map().offsets(),
        _ => return Ok(Arc::new(Int32Array::new_null(args.rows))),
    };
    let counts: Int32Array = (0..array.len()).map(|at| array.is_valid(at).then(|| offsets[at + 1] - offsets[at])).collect();
    Ok(Arc::new(counts))
}

/// `ELEMENT(array)`: its only element; NULL when empty; more than one is a fault of the row.
fn element(args: &Args) -> DfResult<ArrayRef> {
    let array = args.array(0)?;
    let Some(lists) = array.as_list_opt::<i32>() else { return Ok(array) };
    let mut indices = Vec::with_capacity(lists.len());
    for at in 0..lists.len() {
        let (begin, end) = (lists.offsets()[at], lists.offsets()[at + 1]);
        indices.push(match end - begin {
            _ if lists.is_null(at) => None,
            0 => None,
            1 => Some(begin as u64),
            n => return Err(args.fault(format!("the array has {n} elements, not one"))),
        });
    }
    Ok(arrow::compute::take(lists.values(), &UInt64Array::from(indices), None)?)
}

fn sliced(args: &[DataType]) -> DfResult<DataType> {
    match args {
        [array @ (DataType::List(_) | DataType::Null), ..] => Ok(array.clone()),
        _ => Err(DataFusionError::Plan("ARRAY_SLICE takes an ARRAY".to_owned())),
    }
}

/// `ARRAY_SLICE(array, from [, to])`: both counted from 1, from the end when negative, both in it.
fn array_slice(args: &Args) -> DfResult<ArrayRef> {
    let array = args.array(0)?;
    let Some(lists) = array.as_list_opt::<i32>() else { return Ok(array) };
    let from = args.long(1)?;
    let to = if args.len() == 3 { Some(args.long(2)?) } else { None };
    let (mut indices, mut offsets, mut valid) = (Vec::new(), vec![0_i32], Vec::with_capacity(args.rows));
    for row in 0..args.rows {
        let last = match &to {
            Some(to) => value(to, row),
            None => Some(-1),
        };
        let kept = match (lists.is_valid(row), value(&from, row), last) {
            (true, Some(from), Some(to)) => {
                let (begin, end) = (i64::from(lists.value_offsets()[row]), i64::from(lists.value_offsets()[row + 1]));
                // 0 is the first element, as in Flink.
                let place = |at: i64| if at < 0 { (end - begin).saturating_add(at) } else { (at - 1).max(0) };
                let (first, last) = (place(from).max(0), place(to).min(end - begin - 1));
                indices.extend((first..=last).map(|at| (begin + at) as u64));
                true
            }
            _ => false,
        };
        valid.push(kept);
        offsets.push(indices.len() as i32);
    }
    let DataType::List(element) = lists.data_type() else { return Ok(array) };
    let values = arrow::compute::take(lists.values(), &UInt64Array::from(indices), None)?;
    Ok(Arc::new(ListArray::try_new(element.clone(), OffsetBuffer::new(offsets.into()), values, Some(valid.into()))?))
}

/// The type of what UNNEST makes a row of.
fn elements_of(args: &[DataType]) -> DfResult<DataType> {
    match args {
        [DataType::List(element) | DataType::Map(element, _)] => Ok(element.data_type().clone()),
        [other] => Err(DataFusionError::Plan(format!("UNNEST takes an ARRAY or a MAP, not {}", types::name(other)))),
        _ => Err(DataFusionError::Plan("UNNEST takes one ARRAY or one MAP".to_owned())),
    }
}

fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

fn numbered(element: DataType) -> DataType {
    let fields = vec![Field::new("element", element, true), Field::new("ORDINALITY", DataType::Int32, true)];
    list_of(DataType::Struct(fields.into()))
}

/// An array, or the entries of a map as one. A ROW that is NULL is no element, as in Flink.
fn as_lists(args: &Args) -> DfResult<ListArray> {
    let array = args.array(0)?;
    let (values, offsets): (ArrayRef, _) = match array.data_type() {
        DataType::Map(..) => (Arc::new(array.as_map().entries().clone()), array.as_map().offsets()),
        _ => (array.as_list::<i32>().values().clone(), array.as_list::<i32>().offsets()),
    };
    let element = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let is_row = matches!(values.data_type(), DataType::Struct(_));
    if !is_row || values.null_count() == 0 {
        return Ok(ListArray::try_new(element, offsets.clone(), values, array.nulls().cloned())?);
    }
    let lengths = offsets.windows(2).map(|range| (range[0]..range[1]).filter(|at| values.is_valid(*at as usize)).count());
    let there: UInt64Array =
        offsets.windows(2).flat_map(|range| range[0]..range[1]).filter(|at| values.is_valid(*at as usize)).map(|at| at as u64).collect();
    let rows = arrow::compute::take(&values, &there, None)?;
    Ok(ListArray::try_new(element, OffsetBuffer::from_lengths(lengths), rows, array.nulls().cloned())?)
}

/// `unnest_elements(array or map)`.
fn unnest_elements(args: &Args) -> DfResult<ArrayRef> {
    Ok(Arc::new(as_lists(args)?))
}

/// `unnest_numbered(array or map)`: elements with their numbers, from 1.
fn unnest_numbered(args: &Args) -> DfResult<ArrayRef> {
    let lists = as_lists(args)?;
    let mut numbers = vec![0; lists.values().len()];
    for range in lists.value_offsets().windows(2) {
        for (number, at) in (1..).zip(range[0]..range[1]) {
            numbers[at as usize] = number;
        }
    }
    let DataType::List(element) = numbered(lists.value_type()) else {
        return Err(DataFusionError::Internal("numbered elements are a list".to_owned()));
    };
    let DataType::Struct(fields) = element.data_type() else {
        return Err(DataFusionError::Internal("a numbered element is a row".to_owned()));
    };
    let columns: Vec<ArrayRef> = vec![lists.values().clone(), Arc::new(Int32Array::from(numbers))];
    let rows = StructArray::try_new(fields.clone(), columns, None)?;
    Ok(Arc::new(ListArray::try_new(element.clone(), lists.offsets().clone(), Arc::new(rows), lists.nulls().cloned())?))
}

fn text_map() -> DataType {
    let entries = Fields::from(vec![Field::new("key", DataType::Utf8View, false), Field::new("value", DataType::Utf8View, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// `STR_TO_MAP(text [, separator of entries [, separator of key and value]])`: `,` and `=` when left out.
fn str_to_map(args: &Args) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    let separators = [1, 2].map(|at| if args.len() > at { args.text(at).map(Some) } else { Ok(None) });
    let [of_entries, of_pair] = separators;
    let (of_entries, of_pair) = (of_entries?, of_pair?);
    let names = arrow::array::MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringViewBuilder::new(), StringViewBuilder::new());
    for row in 0..args.rows {
        let entries = of_entries.as_ref().map_or(Some(","), |s| value(s, row));
        let pair = of_pair.as_ref().map_or(Some("="), |s| value(s, row));
        let (Some(text), Some(entries), Some(pair)) = (value(&texts, row), entries, pair) else {
            builder.append(false)?;
            continue;
        };
        // The last of equal keys stands.
        let mut seen: Vec<(&str, Option<&str>)> = Vec::new();
        for entry in text.split(entries).filter(|e| !e.is_empty()) {
            let (key, value) = match entry.split_once(pair) {
                Some((key, value)) => (key, Some(value)),
                None => (entry, None),
            };
            match seen.iter_mut().find(|(k, _)| *k == key) {
                Some(known) => known.1 = value,
                None => seen.push((key, value)),
            }
        }
        for (key, value) in seen {
            builder.keys().append_value(key);
            builder.values().append_option(value);
        }
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}
