//! Reads parquet files, one after the other: the table's columns only, as the table's types.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::location::Found;
use super::walk::Walk;
use crate::connector::{Position, Read, Reader};
use crate::error::{Error, Place, Result, did_you_mean};
use crate::format::{Chunk, Records};
use crate::time::now_micros;

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// Reads the rows of some parquet files in order.
pub struct ParquetReader {
    walk: Walk,
    /// The table's columns.
    columns: SchemaRef,
    /// The file being read; `None` when all were read.
    batches: Option<ParquetRecordBatchReader>,
}

impl ParquetReader {
    /// Opens `files` at `position`, or at the start.
    pub fn open(files: Vec<Found>, position: Option<&Position>, columns: SchemaRef) -> Result<Self> {
        let mut reader = ParquetReader { walk: Walk::begin(files, position)?, columns, batches: None };
        reader.open_current()?;
        Ok(reader)
    }

    fn open_current(&mut self) -> Result<()> {
        let Some(found) = self.walk.current() else { return Ok(()) };
        let fault = |error| Error::failed("not readable as parquet").because(error).at(place(&found.path));
        let file = found.open()?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(fault)?;
        // Strings are asked for as views: the reader then makes them so, without a cast.
        let wanted = Arc::new(Schema::new(metadata.schema().fields().iter().map(|f| Arc::new(as_views(f))).collect::<Vec<_>>()));
        let metadata =
            ArrowReaderMetadata::try_new(metadata.metadata().clone(), ArrowReaderOptions::new().with_schema(wanted)).map_err(fault)?;
        let roots = self
            .columns
            .fields()
            .iter()
            .map(|column| root_of(column, metadata.schema()).map_err(|e| e.at(place(&found.path))))
            .collect::<Result<Vec<_>>>()?;
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let rows = usize::try_from(self.walk.at).unwrap_or(usize::MAX);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata).with_projection(mask).with_batch_size(BATCH_ROWS);
        self.batches = Some(builder.with_offset(rows).build().map_err(fault)?);
        Ok(())
    }

    /// The table's columns out of the file's, in the table's order.
    fn shape(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let checked = CastOptions { safe: false, ..CastOptions::default() };
        let columns = self.columns.fields().iter().map(|column| {
            let values = batch
                .column_by_name(column.name())
                .ok_or_else(|| Error::bug(format!("parquet: the column '{}' was projected and is missing", column.name())))?;
            if values.data_type() == column.data_type() {
                return Ok(values.clone());
            }
            cast_with_options(values, column.data_type(), &checked)
                .map_err(|e| Error::from(e).at(Place::thing(format!("column '{}'", column.name()))))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.columns.clone(), columns, &options)?)
    }
}

fn place(path: &Path) -> Place {
    Place::thing(path.display().to_string())
}

/// The field with plain strings as views.
fn as_views(field: &Field) -> Field {
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => field.clone().with_data_type(DataType::Utf8View),
        _ => field.clone(),
    }
}

/// Number of the file's column that the table calls `column`.
fn root_of(column: &Field, file: &Schema) -> Result<usize> {
    let (name, wanted) = (column.name(), column.data_type());
    let Some((root, found)) = file.fields().find(name) else {
        let names: Vec<&str> = file.fields().iter().map(|f| f.name().as_str()).collect();
        let near = match did_you_mean(name, names.iter().copied()) {
            near if near.is_empty() => format!("; there are {}", names.join(", ")),
            near => near,
        };
        return Err(Error::input(format!("the file has no column '{name}'{near}")));
    };
    if found.data_type() != wanted && !can_cast_types(found.data_type(), wanted) {
        return Err(Error::input(format!("the column '{name}' is {} in the file and cannot be read as {wanted}", found.data_type())));
    }
    Ok(root)
}

#[async_trait]
impl Reader for ParquetReader {
    async fn read(&mut self) -> Result<Read> {
        loop {
            let Some(batches) = &mut self.batches else { return Ok(Read::End) };
            if let Some(batch) = batches.next() {
                let batch = batch.map_err(|e| Error::from(e).at(place(self.walk.path())))?;
                let rows = self.shape(&batch)?;
                let base_offset = self.walk.record;
                self.walk.at += rows.num_rows() as u64;
                self.walk.record += rows.num_rows() as i64;
                return Ok(Read::Chunk(Chunk { records: Records::Rows(rows), base_offset, arrived_micros: now_micros() }));
            }
            self.batches = None;
            if self.walk.advance() {
                self.open_current()?;
            }
        }
    }

    fn position(&self) -> Position {
        self.walk.position()
    }
}
