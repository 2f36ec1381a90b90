//! Records that are columns already: picked by name and cast.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, FilterBuilder, cast_with_options};
use arrow::datatypes::{Schema, SchemaRef};

use super::late::no_changes;
use super::metadata::MetadataPlan;
use super::span::Record;
use super::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, Decoder, Judge, Origins, Records, settled};
use crate::error::{Error, Result, did_you_mean};

/// Picks columns of a batch.
#[derive(Debug)]
pub(crate) struct PickColumns {
    first: Vec<DecodeColumn>,
    rest: Vec<DecodeColumn>,
    first_schema: SchemaRef,
    schema: SchemaRef,
    offsets: bool,
}

impl PickColumns {
    /// A picker of the columns of `spec`.
    pub(crate) fn new(spec: &DecodeSpec) -> Result<PickColumns> {
        let fields = |columns: &[DecodeColumn]| columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>();
        for column in spec.first.iter().chain(&spec.rest) {
            if let ColumnOrigin::Metadata(key) = &column.from {
                MetadataPlan::new(&column.field, key)?;
            }
        }
        let first = fields(&spec.first);
        let all: Vec<_> = first.iter().cloned().chain(fields(&spec.rest)).collect();
        Ok(PickColumns {
            first: spec.first.clone(),
            rest: spec.rest.clone(),
            first_schema: Arc::new(Schema::new(first)),
            schema: Arc::new(Schema::new(all)),
            offsets: spec.offsets,
        })
    }
}

/// The columns of `kept` rows of the batch.
fn pick(columns: &[DecodeColumn], chunk: &Chunk, batch: &RecordBatch, kept: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
    let filter = kept.map(|mask| FilterBuilder::new(mask).optimize().build());
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    columns
        .iter()
        .map(|column| {
            let wanted = column.field.data_type();
            let array = match &column.from {
                ColumnOrigin::Payload(name) => batch.column_by_name(name).cloned().ok_or_else(|| {
                    let schema = batch.schema();
                    let names = schema.fields().iter().map(|field| field.name().as_str());
                    Error::input(format!("no column '{name}' in the input{}", did_you_mean(name, names)))
                })?,
                ColumnOrigin::Metadata(key) => {
                    let number = |number| Record { number, start: 0, end: 0 };
                    let records: Vec<Record> = (0..batch.num_rows() as u32).map(number).collect();
                    let rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
                    MetadataPlan::new(&column.field, key)?.read(chunk, &records, &rows)?
                }
                ColumnOrigin::Change => return Err(no_changes(column)),
                ColumnOrigin::Connector(key) => return Err(Error::bug(format!("columns have nothing beside them, no '{key}'"))),
            };
            let array = match &filter {
                Some(filter) => filter.filter(&array)?,
                None => array,
            };
            if array.data_type() == wanted {
                return Ok(array);
            }
            cast_with_options(&array, wanted, &strict).map_err(|error| {
                let name = column.field.name();
                Error::input(format!("column '{name}' is {} in the input: {error}", super::column::type_name(array.data_type())))
            })
        })
        .collect()
}

impl Decoder for PickColumns {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&self, chunk: &Chunk, judge: &mut Judge<'_>) -> Result<Decoded> {
        let Records::Rows(batch) = &chunk.records else {
            return Err(Error::bug("a format of columns was given bytes"));
        };
        let rows = batch.num_rows();
        let sized = |rows| RecordBatchOptions::new().with_row_count(Some(rows));
        let first = pick(&self.first, chunk, batch, None)?;
        let first = RecordBatch::try_new_with_options(self.first_schema.clone(), first, &sized(rows))?;
        let mask = if rows == 0 { None } else { judge(&first)? };
        let mask = mask.map(settled).filter(|mask| mask.true_count() < rows);
        let kept = mask.as_ref().map_or(rows, BooleanArray::true_count);
        let mut columns = match &mask {
            Some(mask) => arrow::compute::filter_record_batch(&first, mask)?.columns().to_vec(),
            None => first.columns().to_vec(),
        };
        columns.extend(pick(&self.rest, chunk, batch, mask.as_ref())?);
        let offset = |row: usize| chunk.base_offset + row as i64;
        let offsets = match (&mask, self.offsets) {
            (_, false) => Vec::new(),
            (None, true) => (0..rows).map(offset).collect(),
            (Some(mask), true) => mask.values().set_indices().map(offset).collect(),
        };
        Ok(Decoded {
            rows: RecordBatch::try_new_with_options(self.schema.clone(), columns, &sized(kept))?,
            offsets,
            rejected: Vec::new(),
            origins: Origins::default(),
            records: rows as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type};

    use super::*;

    fn column(name: &str, data_type: DataType, from: ColumnOrigin) -> DecodeColumn {
        DecodeColumn { field: Arc::new(Field::new(name, data_type, true)), from }
    }

    #[test]
    fn columns_are_picked_by_name_cast_and_filtered() {
        let batch = RecordBatch::try_from_iter([
            ("x", Arc::new(StringArray::from(vec!["a", "b", "c"])) as ArrayRef),
            ("n", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ])
        .unwrap();
        let payload = |name: &str| ColumnOrigin::Payload(name.to_owned());
        let spec = |rest| DecodeSpec { first: vec![column("n", DataType::Int64, payload("n"))], rest, offsets: true, payload: vec![] };
        let rest = vec![
            column("text", DataType::Utf8View, payload("x")),
            column("at", DataType::Int64, ColumnOrigin::Metadata("offset".to_owned())),
        ];
        let chunk = Chunk { records: Records::Rows(batch), base_offset: 10, arrived_micros: 0 };
        let decoded = PickColumns::new(&spec(rest))
            .unwrap()
            .decode(&chunk, &mut |first| {
                assert_eq!(first.column(0).as_primitive::<Int64Type>(), &Int64Array::from(vec![1, 2, 3]));
                Ok(Some(BooleanArray::from(vec![Some(true), None, Some(true)])))
            })
            .unwrap();
        assert_eq!(decoded.rows.column(1).as_string_view().iter().flatten().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(decoded.rows.column(2).as_primitive::<Int64Type>(), &Int64Array::from(vec![10, 12]));
        assert_eq!((decoded.offsets, decoded.records), (vec![10, 12], 3));

        // A verdict without NULLs, as most are.
        let plain = |_: &RecordBatch| Ok(Some(BooleanArray::from(vec![false, true, false])));
        assert_eq!(PickColumns::new(&spec(Vec::new())).unwrap().decode(&chunk, &mut { plain }).unwrap().offsets, [11]);

        let missing = PickColumns::new(&spec(vec![column("y", DataType::Int64, payload("nn"))])).unwrap();
        let error = missing.decode(&chunk, &mut |_| Ok(None)).unwrap_err();
        assert_eq!(error.message(), "no column 'nn' in the input; did you mean 'n'?");
    }
}
