//! ROW, ARRAY and MAP columns.
//!
//! ```text
//!  ROW    its fields are cells of the same row: the walk over the record has found them already
//!  ARRAY  [1, 2] [] null [3]   → offsets 0 2 2 2 3, and the elements as rows of a table of their own: 1 2 3
//!  MAP    {"a": 1} {"b": 2}    → the same with keys beside the values
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::array::{ArrayRef, ListArray, MapArray, NullBufferBuilder, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field};

use super::{Column, ColumnPlan, Elements, Faults, Syntax};
use crate::error::{Error, Result};
use crate::format::json::layout::Walker;
use crate::format::json::scan::{self, skip_blank};
use crate::format::span::{Cell, Cells, Span, Text};

/// A ROW column: NULL where its cell is no object.
pub(super) fn read_row(column: &Column<'_>, fields: &[ColumnPlan], cells: &Cells, rows: &[u32], faults: &mut Faults) -> Result<ArrayRef> {
    let DataType::Struct(types) = column.plan.field.data_type() else { return Err(not_planned(column)) };
    let mut nulls = NullBufferBuilder::new(rows.len());
    for (row, span) in column.spans.iter().enumerate() {
        match span.cell(column.data) {
            Cell::Nested([b'{', ..]) => nulls.append_non_null(),
            cell => {
                column.absent(row, cell, faults);
                nulls.append_null();
            }
        }
    }
    let nulls = nulls.finish();
    let mut below = Faults::default();
    let arrays: Vec<ArrayRef> = fields.iter().map(|plan| plan.read(cells, rows, column.reading, &mut below)).collect::<Result<_>>()?;
    // A row without the object has none of its fields; that is no fault of theirs.
    below.found.retain(|(row, _)| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row)));
    if !below.found.is_empty() {
        faults.found.append(&mut below.found);
        return Ok(placeholder(column));
    }
    Ok(Arc::new(StructArray::try_new_with_length(types.clone(), arrays, nulls, rows.len())?))
}

/// Elements gathered from all rows of a column.
struct Gathered {
    /// Per row and one more: where its elements begin.
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    elements: Vec<Span>,
}

impl Gathered {
    fn new(column: &Column<'_>) -> Gathered {
        let rows = column.spans.len();
        Gathered { offsets: vec![0], nulls: NullBufferBuilder::new(rows), elements: Vec::new() }
    }

    /// Ends a row. A chunk is below 2^29 bytes and so are its elements.
    fn end_row(&mut self, valid: bool) {
        self.offsets.push(self.elements.len() as i32);
        self.nulls.append(valid);
    }

    /// Reads the elements as rows of their own. Their faults become faults of the rows they stand in.
    fn read(&self, column: &Column<'_>, plan: &Elements, faults: &mut Faults) -> Result<ArrayRef> {
        let mut cells = Cells::new(column.data.clone(), plan.slots, self.elements.len());
        let mut walker = Walker::new(&plan.layout);
        let mut below = Faults::default();
        for (index, element) in self.elements.iter().enumerate() {
            let from = cells.spans.len();
            cells.spans.resize(from + plan.slots, Span::MISSING);
            let row = &mut cells.spans[from..];
            if plan.slots > 1
                && matches!(element.cell(column.data), Cell::Nested([b'{', ..]))
                && walker.object::<false>(column.data, element.start(), row) != Ok(element.end())
            {
                below.add(index, format!("column '{}': malformed JSON", column.plan.path));
            }
            row[plan.plan.slot] = *element;
        }
        let rows: Vec<u32> = (0..self.elements.len() as u32).collect();
        let array = plan.plan.read(&cells, &rows, column.reading, &mut below)?;
        for (element, message) in below.found {
            let row = self.offsets.partition_point(|offset| *offset as usize <= element) - 1;
            faults.add(row, message);
        }
        Ok(array)
    }
}

/// An ARRAY column.
pub(super) fn read_list(column: &Column<'_>, plan: &Elements, faults: &mut Faults) -> Result<ArrayRef> {
    let DataType::List(field) = column.plan.field.data_type() else { return Err(not_planned(column)) };
    let mut gathered = Gathered::new(column);
    for (row, span) in column.spans.iter().enumerate() {
        let cell = span.cell(column.data);
        let before = gathered.elements.len();
        let found = match (&cell, column.reading.syntax) {
            (Cell::Nested([b'[', ..]), _) => json_elements(column.data, span.start() + 1, &mut gathered.elements),
            (Cell::Text(text), Syntax::Delimited { list, .. }) => {
                delimited_elements(text, list, &mut gathered.elements);
                Some(())
            }
            _ => None,
        };
        if found.is_none() {
            gathered.elements.truncate(before);
            column.absent(row, cell, faults);
        }
        gathered.end_row(found.is_some());
    }
    let known = faults.found.len();
    let elements = gathered.read(column, plan, faults)?;
    if faults.found.len() > known {
        return Ok(placeholder(column));
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(gathered.offsets));
    Ok(Arc::new(ListArray::try_new(field.clone(), offsets, elements, gathered.nulls.finish())?))
}

/// The elements of the JSON array whose first byte after the bracket is at `at`.
fn json_elements(data: &[u8], at: usize, elements: &mut Vec<Span>) -> Option<()> {
    let mut at = skip_blank::<false>(data, at);
    if data.get(at) == Some(&b']') {
        return Some(());
    }
    loop {
        let element = scan::value::<false>(data, at)?;
        elements.push(element);
        at = skip_blank::<false>(data, element.end());
        match data.get(at)? {
            b',' => at = skip_blank::<false>(data, at + 1),
            b']' => return Some(()),
            _ => return None,
        }
    }
}

/// The pieces of a delimited text; an empty text is an empty list.
fn delimited_elements(text: &Text<'_>, delimiter: u8, elements: &mut Vec<Span>) {
    if text.bytes.is_empty() {
        return;
    }
    let mut from = 0;
    for at in memchr::memchr_iter(delimiter, text.bytes).chain([text.bytes.len()]) {
        elements.push(Span::bare(text.start + from, text.start + at, text.escaped));
        from = at + 1;
    }
}

/// A MAP column: a JSON object whose keys are data. A key given twice has its last value.
pub(super) fn read_map(column: &Column<'_>, plan: &Elements, faults: &mut Faults) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = column.plan.field.data_type() else { return Err(not_planned(column)) };
    let DataType::Struct(entry_fields) = entries.data_type() else { return Err(not_planned(column)) };
    let mut gathered = Gathered::new(column);
    let mut keys = Vec::new();
    for (row, span) in column.spans.iter().enumerate() {
        let cell = span.cell(column.data);
        let before = keys.len();
        let found = match cell {
            Cell::Nested([b'{', ..]) => json_entries(column.data, span.start() + 1, &mut keys, &mut gathered.elements),
            _ => None,
        };
        if found.is_none() {
            keys.truncate(before);
            gathered.elements.truncate(before);
            column.absent(row, cell, faults);
        }
        gathered.end_row(found.is_some());
    }
    let known = faults.found.len();
    let values = gathered.read(column, plan, faults)?;
    let key_field = Arc::new(Field::clone(&entry_fields[0]).with_nullable(false));
    let key_plan = Elements { layout: plan.layout.clone(), slots: 1, plan: ColumnPlan::new(&key_field, &mut 0)? };
    let key_rows = Gathered { offsets: gathered.offsets.clone(), nulls: NullBufferBuilder::new(0), elements: keys };
    let keys = key_rows.read(column, &key_plan, faults)?;
    if faults.found.len() > known {
        return Ok(placeholder(column));
    }
    let pairs = StructArray::try_new(entry_fields.clone(), vec![keys, values], None)?;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(gathered.offsets));
    Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, gathered.nulls.finish(), *sorted)?))
}

/// Keys and values of the JSON object whose first byte after the bracket is at `at`.
fn json_entries(data: &[u8], at: usize, keys: &mut Vec<Span>, values: &mut Vec<Span>) -> Option<()> {
    let mut seen: HashMap<&[u8], usize> = HashMap::new();
    let mut at = skip_blank::<false>(data, at);
    if data.get(at) == Some(&b'}') {
        return Some(());
    }
    loop {
        if data.get(at) != Some(&b'"') {
            return None;
        }
        let key = scan::value::<false>(data, at)?;
        at = skip_blank::<false>(data, key.end());
        if data.get(at) != Some(&b':') {
            return None;
        }
        at = skip_blank::<false>(data, at + 1);
        let value = scan::value::<false>(data, at)?;
        match seen.get(&data[key.start()..key.end()]) {
            Some(&earlier) => values[earlier] = value,
            None => {
                seen.insert(&data[key.start()..key.end()], values.len());
                keys.push(key);
                values.push(value);
            }
        }
        at = skip_blank::<false>(data, value.end());
        match data.get(at)? {
            b',' => at = skip_blank::<false>(data, at + 1),
            b'}' => return Some(()),
            _ => return None,
        }
    }
}

/// Stands for a column that has faults and will be read again without them.
fn placeholder(column: &Column<'_>) -> ArrayRef {
    new_null_array(column.plan.field.data_type(), column.spans.len())
}

fn not_planned(column: &Column<'_>) -> Error {
    Error::bug(format!("column '{}' was planned as another type", column.plan.path))
}
