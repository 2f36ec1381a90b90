//! Functions of arrays and maps.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, Int32Array, MapBuilder, StringViewBuilder, UInt64Array};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::{DataFusionError, Result as DfResult};

use super::define::Kind::{Any, Text};
use super::define::{Args, Function, Returns, forms, value};

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("cardinality", forms![[Any]], Returns::From(counted), cardinality),
        Function::new("element", forms![[Any]], Returns::From(of_elements), element),
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
