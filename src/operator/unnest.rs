//! UNNEST: one row per element of a list column (Flink's CROSS JOIN UNNEST). Stateless.
//!
//! ```text
//!  k  tags          k  tags
//!  a  [x, y]   ──▶  a  x
//!  b  []            a  y
//!                   b  NULL      only with `preserve_nulls`
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};

use crate::error::{Error, Result};
use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::Watermark;

/// Describes an unnest over one input. The output has the input's columns with each unnested list column replaced by
/// its elements; several list columns are unnested side by side, shorter ones padded with NULL (DataFusion's meaning).
/// A column that is in `lists` and in `structs` (a list of rows) is unnested first and spread then.
#[derive(Debug)]
pub struct UnnestSpec {
    /// Input columns (lists) to unnest.
    pub lists: Vec<usize>,
    /// Input columns (structs) to spread into one output column per field.
    pub structs: Vec<usize>,
    /// Keep a row whose lists are all NULL or empty, with NULL elements (LEFT JOIN UNNEST).
    pub preserve_nulls: bool,
    /// Schema of the output.
    pub schema: SchemaRef,
}

impl OperatorSpec for UnnestSpec {
    fn name(&self) -> &'static str {
        "unnest"
    }

    fn describe(&self) -> String {
        let left = if self.preserve_nulls { ", rows without elements kept" } else { "" };
        format!("lists {:?}, structs {:?}{left}", self.lists, self.structs)
    }

    fn identity(&self) -> String {
        format!("unnest lists {:?} structs {:?} preserve {}", self.lists, self.structs, self.preserve_nulls)
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _: Input) -> Distribution {
        Distribution::Anywhere
    }

    fn stateful(&self) -> bool {
        false
    }

    fn open(&self, _: &mut StateHandles) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Unnest {
            lists: self.lists.clone(),
            structs: self.structs.clone(),
            preserve_nulls: self.preserve_nulls,
            schema: self.schema.clone(),
        }))
    }
}

struct Unnest {
    lists: Vec<usize>,
    structs: Vec<usize>,
    preserve_nulls: bool,
    schema: SchemaRef,
}

impl Operator for Unnest {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let mut columns = batch.columns().to_vec();
        if !self.lists.is_empty() {
            let lists = self.lists.iter().map(|c| Elements::of(batch.column(*c))).collect::<Result<Vec<_>>>()?;
            let least = usize::from(self.preserve_nulls);
            let lengths: Vec<usize> =
                (0..batch.num_rows()).map(|row| lists.iter().map(|list| list.length(row)).max().unwrap_or(0).max(least)).collect();
            let repeat: UInt32Array =
                lengths.iter().enumerate().flat_map(|(row, length)| std::iter::repeat_n(row as u32, *length)).collect::<Vec<_>>().into();
            for (index, column) in columns.iter_mut().enumerate() {
                *column = match self.lists.iter().position(|c| *c == index) {
                    Some(list) => lists[list].spread(&lengths)?,
                    None => take(column, &repeat, None)?,
                };
            }
        }
        let mut spread: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (index, column) in columns.into_iter().enumerate() {
            if self.structs.contains(&index) {
                spread.extend(struct_fields(&column)?);
            } else {
                spread.push(column);
            }
        }
        out.emit(RecordBatch::try_new(self.schema.clone(), spread)?);
        Ok(())
    }

    fn on_watermark(&mut self, mark: Watermark, _: &mut Output) -> Result<Watermark> {
        Ok(mark)
    }
}

/// A list column as its elements and where those of each row lie.
struct Elements {
    values: ArrayRef,
    /// Per row: first element, number of elements (0 for a NULL list).
    spans: Vec<(usize, usize)>,
}

impl Elements {
    fn of(column: &ArrayRef) -> Result<Self> {
        let present = |row: usize| column.is_valid(row);
        let rows = 0..column.len();
        let (values, spans): (ArrayRef, Vec<(usize, usize)>) = match column.data_type() {
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                let offsets = list.value_offsets();
                (list.values().clone(), rows.map(|r| (offsets[r] as usize, (offsets[r + 1] - offsets[r]) as usize)).collect())
            }
            DataType::LargeList(_) => {
                let list = column.as_list::<i64>();
                let offsets = list.value_offsets();
                (list.values().clone(), rows.map(|r| (offsets[r] as usize, (offsets[r + 1] - offsets[r]) as usize)).collect())
            }
            DataType::FixedSizeList(_, size) => {
                let list = column.as_fixed_size_list();
                (list.values().clone(), rows.map(|r| (list.value_offset(r) as usize, *size as usize)).collect())
            }
            DataType::Map(_, _) => {
                let map = column.as_map();
                let offsets = map.value_offsets();
                let entries: ArrayRef = Arc::new(map.entries().clone());
                (entries, rows.map(|r| (offsets[r] as usize, (offsets[r + 1] - offsets[r]) as usize)).collect())
            }
            other => return Err(Error::input(format!("UNNEST needs an ARRAY or a MAP, not {other}"))),
        };
        let spans = spans.into_iter().enumerate().map(|(row, span)| if present(row) { span } else { (0, 0) }).collect();
        Ok(Elements { values, spans })
    }

    fn length(&self, row: usize) -> usize {
        self.spans[row].1
    }

    /// The elements of every row, padded with NULL to the row's length in `lengths`.
    fn spread(&self, lengths: &[usize]) -> Result<ArrayRef> {
        let mut indices: Vec<Option<i64>> = Vec::with_capacity(lengths.iter().sum());
        for ((start, own), length) in self.spans.iter().zip(lengths) {
            indices.extend((*start..start + own).map(|i| Some(i as i64)));
            indices.extend(std::iter::repeat_n(None, length - own));
        }
        Ok(take(&self.values, &Int64Array::from(indices) as &arrow::array::PrimitiveArray<Int64Type>, None)?)
    }
}

/// The fields of a struct column; where the struct is NULL they are NULL, too.
fn struct_fields(column: &ArrayRef) -> Result<Vec<ArrayRef>> {
    let DataType::Struct(fields) = column.data_type() else {
        return Err(Error::input(format!("only a ROW can be spread into its fields, not {}", column.data_type())));
    };
    let rows = column.as_struct();
    let Some(nulls) = rows.nulls().filter(|nulls| nulls.null_count() > 0) else { return Ok(rows.columns().to_vec()) };
    let present = arrow::array::BooleanArray::new(nulls.inner().clone(), None);
    let each = |(column, field): (&ArrayRef, &Arc<Field>)| {
        let null = new_null_array(field.data_type(), 1);
        Ok(arrow::compute::kernels::zip::zip(&present, column, &arrow::array::Scalar::new(null))?)
    };
    rows.columns().iter().zip(fields.iter()).map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::testing::{rows_of, schema};
    use arrow::array::{Int32Array, ListArray, StringViewArray, StructArray};
    use arrow::datatypes::{Int32Type, Schema};

    fn run(spec: &UnnestSpec, batch: RecordBatch) -> Vec<String> {
        let mut out = Output::default();
        spec.open(&mut StateHandles::empty(0, 1)).unwrap().on_batch(0, batch, &mut out).unwrap();
        out.take_batches().iter().flat_map(rows_of).collect()
    }

    fn input() -> RecordBatch {
        let keys: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b", "c", "d"]));
        let list = |rows: Vec<Option<Vec<Option<i32>>>>| Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows)) as ArrayRef;
        let l = list(vec![Some(vec![Some(1), Some(2)]), Some(vec![]), None, Some(vec![Some(3)])]);
        let m = list(vec![Some(vec![Some(7)]), None, Some(vec![]), Some(vec![Some(8), None])]);
        RecordBatch::try_from_iter([("k", keys), ("l", l), ("m", m)]).unwrap().slice(0, 4)
    }

    #[test]
    fn lists_are_unnested_side_by_side_and_empty_ones_vanish() {
        let schema = schema(&[("k", DataType::Utf8View), ("l", DataType::Int32), ("m", DataType::Int32)]);
        let spec = UnnestSpec { lists: vec![1, 2], structs: vec![], preserve_nulls: false, schema };
        assert_eq!(run(&spec, input()), ["a 1 7", "a 2 NULL", "d 3 8", "d NULL NULL"]);
        assert_eq!(run(&spec, input().slice(3, 1)), ["d 3 8", "d NULL NULL"]);
    }

    #[test]
    fn a_left_join_keeps_rows_without_elements() {
        let schema = schema(&[("k", DataType::Utf8View), ("l", DataType::Int32), ("m", DataType::Int32)]);
        let spec = UnnestSpec { lists: vec![1, 2], structs: vec![], preserve_nulls: true, schema };
        assert_eq!(run(&spec, input()), ["a 1 7", "a 2 NULL", "b NULL NULL", "c NULL NULL", "d 3 8", "d NULL NULL"]);
    }

    #[test]
    fn a_list_of_rows_becomes_one_column_per_field() {
        let x: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
        let fields = vec![Arc::new(Field::new("x", DataType::Int32, true))];
        let rows = StructArray::new(fields.clone().into(), vec![x], Some(vec![true, false, true].into()));
        let item = Arc::new(Field::new("item", DataType::Struct(fields.into()), true));
        let list = ListArray::new(item, arrow::buffer::OffsetBuffer::from_lengths([2, 1]), Arc::new(rows), None);
        let batch = RecordBatch::try_from_iter([("l", Arc::new(list) as ArrayRef)]).unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int32, true)]));
        let spec = UnnestSpec { lists: vec![0], structs: vec![0], preserve_nulls: false, schema };
        assert_eq!(run(&spec, batch), ["1", "NULL", "3"]);
    }
}
