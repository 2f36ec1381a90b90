//! Records to columns, a run of records with one writer's schema at a time.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{FilterBuilder, concat, concat_batches, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow_avro::reader::{Decoder as ArrowDecoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use parking_lot::Mutex;
use serde_json::Value;

use super::fit::fit;
use super::registry::Registry;
use crate::error::{Error, Result, did_you_mean};
use crate::format::column::type_name;
use crate::format::late::no_changes;
use crate::format::metadata::MetadataPlan;
use crate::format::span::Record;
use crate::format::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, Decoder, Framed, Judge, Origins, Records, Rejected, settled};

/// What each record is given to Arrow's decoder with: one decoder knows one schema.
const PREFIX: [u8; 5] = [0; 5];
/// The number of the schema of records without framing.
const TABLE: u32 = 0;

/// Where the writers' schemas are.
#[derive(Debug)]
pub(super) enum Writers {
    /// All records have this one.
    Table(String),
    /// Records begin with the id of theirs.
    Registry(Registry),
}

fn fields_of(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("fields").and_then(Value::as_array)
}

fn name_of(field: &Value) -> Option<&str> {
    field.get("name").and_then(Value::as_str)
}

/// Decodes.
#[derive(Debug)]
pub(super) struct AvroDecoder {
    writers: Writers,
    /// The schema that writers' records are resolved to; `None` = each is read by its own.
    reader: Option<Value>,
    columns: Vec<DecodeColumn>,
    first_schema: SchemaRef,
    schema: SchemaRef,
    offsets: bool,
    /// By id: how the records of a writer are read, or why not.
    known: Mutex<HashMap<u32, Arc<std::result::Result<Writer, String>>>>,
}

/// How the records of one writer are read.
#[derive(Debug)]
struct Writer {
    store: SchemaStore,
    /// What they are resolved to.
    reader: Option<AvroSchema>,
    /// The fields that are read, by number in the reader's schema (the writer's where there is none).
    projection: Vec<usize>,
}

/// What became of some records: their columns and numbers, and what is wrong with the others.
struct Run {
    rows: RecordBatch,
    numbers: Vec<u32>,
    faults: Vec<(u32, String)>,
}

impl AvroDecoder {
    /// A decoder of the columns of `spec`.
    pub(super) fn new(spec: &DecodeSpec, writers: Writers, reader: Option<Value>) -> Result<AvroDecoder> {
        let columns: Vec<DecodeColumn> = spec.first.iter().chain(&spec.rest).cloned().collect();
        for column in &columns {
            match &column.from {
                ColumnOrigin::Metadata(key) => _ = MetadataPlan::new(&column.field, key)?,
                ColumnOrigin::Connector(_) => {}
                ColumnOrigin::Payload(name) => {
                    let Some(fields) = reader.as_ref().and_then(fields_of) else { continue };
                    if !fields.iter().any(|field| name_of(field) == Some(name)) {
                        let near = did_you_mean(name, fields.iter().filter_map(name_of));
                        return Err(Error::input(format!("column '{name}' is no field of 'avro-confluent.schema'{near}")));
                    }
                }
                ColumnOrigin::Change => return Err(no_changes(column)),
            }
        }
        let fields: Vec<_> = columns.iter().map(|column| column.field.clone()).collect();
        Ok(AvroDecoder {
            writers,
            reader,
            first_schema: Arc::new(Schema::new(fields[..spec.first.len()].to_vec())),
            schema: Arc::new(Schema::new(fields)),
            columns,
            offsets: spec.offsets,
            known: Mutex::default(),
        })
    }

    /// The id of a record's schema and its body, or what is wrong.
    fn frame<'r>(&self, record: &'r [u8]) -> std::result::Result<(u32, &'r [u8]), String> {
        match (&self.writers, record) {
            (Writers::Table(_), body) => Ok((TABLE, body)),
            (Writers::Registry(_), [0, a, b, c, d, body @ ..]) => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
            (Writers::Registry(_), [0, ..]) => Err("the record ends inside of the id of its schema".to_owned()),
            (Writers::Registry(_), _) => Err("the record does not begin with a zero byte and the id of its schema".to_owned()),
        }
    }

    /// How records of this id are read. `Err`: the registry does not answer.
    fn writer(&self, id: u32) -> Result<Arc<std::result::Result<Writer, String>>> {
        if let Some(writer) = self.known.lock().get(&id) {
            return Ok(writer.clone());
        }
        let text = match &self.writers {
            Writers::Table(text) => Some(text.clone()),
            Writers::Registry(registry) => registry.schema(id)?,
        };
        let writer = match (text, &self.writers) {
            (Some(text), _) => self.read_as(text).map_err(|fault| format!("the schema {id} of the record: {fault}")),
            (None, Writers::Registry(registry)) => {
                Err(format!("the schema {id} of the record is not in the registry {}", registry.place()))
            }
            (None, Writers::Table(_)) => Err("the record has no schema".to_owned()),
        };
        let writer = Arc::new(writer);
        self.known.lock().insert(id, writer.clone());
        Ok(writer)
    }

    /// How records with the schema `text` are read.
    fn read_as(&self, text: String) -> std::result::Result<Writer, String> {
        let schema: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let own = fields_of(&schema).ok_or("it is no record")?;
        // Records are told apart by their ids: what the whole record is called says nothing.
        let reader = self.reader.clone().map(|mut reader| {
            for part in ["name", "namespace"] {
                match (schema.get(part), reader.as_object_mut()) {
                    (Some(value), Some(reader)) => _ = reader.insert(part.to_owned(), value.clone()),
                    (None, Some(reader)) => _ = reader.remove(part),
                    (_, None) => {}
                }
            }
            reader
        });
        let fields = reader.as_ref().and_then(fields_of).unwrap_or(own);
        let is_read = |name: &str| self.columns.iter().any(|c| matches!(&c.from, ColumnOrigin::Payload(own) if own == name));
        let reads = |field: &Value| name_of(field).is_some_and(is_read);
        let mut projection: Vec<usize> = fields.iter().enumerate().filter(|(_, field)| reads(field)).map(|(at, _)| at).collect();
        if projection.is_empty() {
            // Rows are counted by some column.
            projection.push(0);
        }
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        store.set(Fingerprint::Id(0), AvroSchema::new(text)).map_err(|error| error.to_string())?;
        let reader = reader.map(|reader| AvroSchema::new(reader.to_string()));
        let writer = Writer { store, reader, projection };
        writer.open(1)?;
        Ok(writer)
    }

    /// The columns of a run, in the types of the table; rows that do not fit join the faults.
    fn fit_all(&self, chunk: &Chunk, run: &mut Run) -> Result<Vec<ArrayRef>> {
        let count = run.rows.num_rows();
        let records: Vec<Record> = run.numbers.iter().map(|number| Record { number: *number, start: 0, end: 0 }).collect();
        let rows: Vec<u32> = (0..count as u32).collect();
        let mut faulty: Vec<Option<String>> = vec![None; count];
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let (field, wanted) = (&column.field, column.field.data_type());
            let name = match &column.from {
                ColumnOrigin::Payload(name) => name,
                ColumnOrigin::Metadata(key) => {
                    columns.push(MetadataPlan::new(field, key)?.read(chunk, &records, &rows)?);
                    continue;
                }
                ColumnOrigin::Connector(key) => {
                    columns.push(MetadataPlan::connector(field, key).read(chunk, &records, &rows)?);
                    continue;
                }
                ColumnOrigin::Change => return Err(no_changes(column)),
            };
            let own = run.rows.column_by_name(name).cloned().unwrap_or_else(|| new_null_array(wanted, count));
            let mut unfit = vec![false; count];
            let array = fit(&own, wanted, &mut unfit)?;
            for (row, fault) in faulty.iter_mut().enumerate().filter(|(_, fault)| fault.is_none()) {
                if unfit[row] {
                    *fault =
                        Some(format!("column '{name}': {} of the writer is no {} here", type_name(own.data_type()), type_name(wanted)));
                } else if array.is_null(row) && !field.is_nullable() {
                    *fault = Some(format!("column '{name}' is NULL, but declared NOT NULL"));
                }
            }
            columns.push(array);
        }
        if faulty.iter().any(Option::is_some) {
            let good: BooleanArray = faulty.iter().map(|fault| Some(fault.is_none())).collect();
            let filter = FilterBuilder::new(&good).build();
            columns = columns.iter().map(|column| filter.filter(column)).collect::<std::result::Result<_, _>>()?;
            let mut numbers = Vec::new();
            for (number, fault) in run.numbers.drain(..).zip(faulty) {
                match fault {
                    None => numbers.push(number),
                    Some(fault) => run.faults.push((number, fault)),
                }
            }
            run.numbers = numbers;
        }
        Ok(columns)
    }
}

impl Writer {
    /// A decoder of `rows` records.
    fn open(&self, rows: usize) -> std::result::Result<ArrowDecoder, String> {
        // As views arrow-avro 59 loses which strings are NULL.
        let builder = ReaderBuilder::new().with_batch_size(rows).with_utf8_view(false).with_writer_schema_store(self.store.clone());
        let builder = match &self.reader {
            Some(reader) => builder.with_reader_schema(reader.clone()),
            None => builder,
        };
        builder.with_projection(self.projection.clone()).build_decoder().map_err(|error| error.to_string())
    }

    /// Decodes the records together.
    fn together(&self, records: &[(u32, &[u8])]) -> std::result::Result<RecordBatch, String> {
        let mut decoder = self.open(records.len())?;
        for (_, body) in records {
            let ends = |decoder: &mut ArrowDecoder, bytes: &[u8]| match decoder.decode(bytes) {
                Ok(taken) if taken == bytes.len() => Ok(()),
                Ok(taken) => Err(format!("no Avro record of its schema: {taken} of {} bytes are one", bytes.len())),
                Err(error) => Err(format!("no Avro record of its schema: {error}")),
            };
            ends(&mut decoder, &PREFIX)?;
            ends(&mut decoder, body)?;
        }
        match decoder.flush() {
            Ok(Some(rows)) if rows.num_rows() == records.len() => Ok(rows),
            Ok(_) => Err("no Avro record of its schema: it is shorter or longer than one".to_owned()),
            Err(error) => Err(format!("no Avro record of its schema: {error}")),
        }
    }

    /// Decodes the records, one by one when they do not all fit.
    fn decode(&self, records: &[(u32, &[u8])]) -> Result<Run> {
        if let Ok(rows) = self.together(records) {
            return Ok(Run { rows, numbers: records.iter().map(|(number, _)| *number).collect(), faults: Vec::new() });
        }
        let (mut batches, mut numbers, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            match self.together(std::slice::from_ref(record)) {
                Ok(row) => {
                    batches.push(row);
                    numbers.push(record.0);
                }
                Err(fault) => faults.push((record.0, fault)),
            }
        }
        let rows = match batches.first() {
            Some(first) => concat_batches(&first.schema(), &batches)?,
            None => RecordBatch::new_empty(Arc::new(Schema::empty())),
        };
        Ok(Run { rows, numbers, faults })
    }
}

fn bytes_of(framed: &Framed, number: usize) -> bytes::Bytes {
    let (start, end) = framed.values.get(number).copied().flatten().unwrap_or_default();
    framed.data.slice(start as usize..end as usize)
}

impl Decoder for AvroDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&self, chunk: &Chunk, judge: &mut Judge<'_>) -> Result<Decoded> {
        let Records::Framed(framed) = &chunk.records else {
            return Err(Error::input("Avro is binary: it is read from the records of a log or broker, not from lines of a file"));
        };
        let mut faults: Vec<(u32, String)> = Vec::new();
        let mut runs: Vec<(u32, Vec<(u32, &[u8])>)> = Vec::new();
        for (number, value) in framed.values.iter().enumerate() {
            let bytes = value.and_then(|(start, end)| framed.data.get(start as usize..end as usize));
            match bytes.ok_or("the record has no value (a tombstone)".to_owned()).and_then(|bytes| self.frame(bytes)) {
                Err(fault) => faults.push((number as u32, fault)),
                Ok((id, body)) => match runs.last_mut() {
                    Some((last, records)) if *last == id => records.push((number as u32, body)),
                    _ => runs.push((id, vec![(number as u32, body)])),
                },
            }
        }
        let mut parts: Vec<Vec<ArrayRef>> = Vec::new();
        let mut numbers: Vec<u32> = Vec::new();
        for (id, records) in runs {
            match self.writer(id)?.as_ref() {
                Err(fault) => faults.extend(records.iter().map(|(number, _)| (*number, fault.clone()))),
                Ok(writer) => {
                    let mut run = writer.decode(&records)?;
                    if !run.numbers.is_empty() {
                        parts.push(self.fit_all(chunk, &mut run)?);
                    }
                    numbers.extend(run.numbers);
                    faults.extend(run.faults);
                }
            }
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (at, field) in self.schema.fields().iter().enumerate() {
            let pieces: Vec<&dyn Array> = parts.iter().map(|part| part[at].as_ref()).collect();
            columns.push(if pieces.is_empty() { new_null_array(field.data_type(), 0) } else { concat(&pieces)? });
        }
        let sized = |rows| RecordBatchOptions::new().with_row_count(Some(rows));
        let first = self.first_schema.fields().len();
        let judged = RecordBatch::try_new_with_options(self.first_schema.clone(), columns[..first].to_vec(), &sized(numbers.len()))?;
        let mut rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &sized(numbers.len()))?;
        let records: Vec<Record> = (0u32..)
            .zip(&framed.values)
            .map(|(number, value)| {
                let (start, end) = value.unwrap_or_default();
                Record { number, start, end }
            })
            .collect();
        let judged_numbers = numbers.clone();
        if !numbers.is_empty()
            && let Some(mask) = judge(&judged)?
        {
            let mask = settled(mask);
            rows = filter_record_batch(&rows, &mask)?;
            numbers = mask.values().set_indices().map(|row| numbers[row]).collect();
        }
        let offset = |number: u32| framed.offsets.get(number as usize).copied().unwrap_or(chunk.base_offset);
        let offsets = if self.offsets { numbers.iter().map(|number| offset(*number)).collect() } else { Vec::new() };
        faults.sort_by_key(|(number, _)| *number);
        let rejected = faults.into_iter();
        let rejected =
            rejected.map(|(number, error)| Rejected { offset: offset(number), record: bytes_of(framed, number as usize), error });
        let origins = Origins { data: framed.data.clone(), records, judged: judged_numbers, kept: numbers };
        Ok(Decoded { rows, offsets, rejected: rejected.collect(), origins, records: framed.values.len() as u64 })
    }
}
