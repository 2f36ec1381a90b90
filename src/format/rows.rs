//! Records that are columns already: picked by name and cast.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, FilterBuilder, cast_with_options, prep_null_mask_filter};
use arrow::datatypes::{Schema, SchemaRef};

use super::metadata::MetadataPlan;
use super::span::Record;
use super::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, Decoder, Judge, Records};
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
        let mask = mask.map(|mask| prep_null_mask_filter(&mask)).filter(|mask| mask.true_count() < rows);
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
            records: rows as u64,
        })
    }
}
