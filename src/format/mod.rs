//! Formats: bytes to Arrow and back.
//!
//! Comes in: a [`Chunk`] of raw records. Goes out: a [`Decoded`] batch of just the columns asked for, plus the records
//! that were refused. Always holds: a malformed record never poisons its batch, it leaves as a [`Rejected`] with its
//! offset; rows keep the order of their records.
//!
//! ```text
//!  bytes ── json/find · csv · raw · cloudevents ──▶ cells (where values stand) ── column/ ──▶ Arrow
//!           └──────────────── late: first columns, judge, rest columns ────────────────┘
//! ```
//! The other way, [`Encoder`] writes lines (files, terminals); for logs and brokers a [`RecordEncoder`] makes records of
//! rows, with key, headers, timestamp and tombstones: see `records.rs`.
//!
//! Read `json/mod.rs` first, then `late.rs`.

mod avro;
mod beside;
mod cloudevents;
mod column;
mod config;
mod csv;
mod debezium;
mod json;
mod keyed;
mod late;
mod metadata;
mod number;
mod raw;
mod records;
mod rows;
mod span;

pub use crate::time::text::TimestampFormat;
pub use avro::{AvroConfluentOptions, AvroOptions, Credentials};
pub use beside::{Beside, headers_of_text, headers_text};
pub use cloudevents::{CloudEventsOptions, MetadataForm, Mode, Validation, is_attribute};
pub use config::{FormatConfig, has_envelope};
pub use csv::CsvOptions;
pub use debezium::DebeziumJsonOptions;
pub use json::{JsonOptions, MapNullKey};
pub use keyed::KeyRead;
pub use raw::RawOptions;
pub use records::{Binding, CONTENT_TYPE, EncodedRecord, EncodedRecords, KeyForm, KeySpec, RecordEncoder, RecordSpec};

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use crate::error::Result;

/// What some editors put at the head of a file.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Raw records of one partition, as a connector read them: never one record at a time.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Where the records are.
    pub records: Records,
    /// Offset of the first record (file: number of the record in its file, from 0; log: offset in its partition).
    pub base_offset: i64,
    /// When the bytes reached this process, microseconds since 1970, for latency figures. 0 = unknown.
    pub arrived_micros: i64,
}

/// The records of a chunk.
#[derive(Debug, Clone)]
pub enum Records {
    /// Whole lines, each ended by `\n` (the last may lack it). Empty lines are no records but count as offsets.
    Lines(Bytes),
    /// Length-framed records of a log or broker.
    Framed(Framed),
    /// Columns already (parquet, generators): in the schema that the format was asked for (all physical columns of the
    /// table, by name; a decoder picks by name).
    Rows(RecordBatch),
}

/// Records of a log or a broker: payloads in one buffer, with what travels beside them.
#[derive(Debug, Clone, Default)]
pub struct Framed {
    /// All payloads, one after the other.
    pub data: Bytes,
    /// Per record: start and end of its payload in `data`; `None` = a record without a value (tombstone).
    pub values: Vec<Option<(u32, u32)>>,
    /// Per record: its offset in the partition (may have gaps).
    pub offsets: Vec<i64>,
    /// Per record: its timestamp in microseconds since 1970, `i64::MIN` = absent.
    pub timestamps: Vec<i64>,
    /// Per record: its key.
    pub keys: Vec<Option<Bytes>>,
    /// Per record: its headers. What a broker keeps as a property of its own (AMQP's content type) is among them, as
    /// [`CONTENT_TYPE`].
    pub headers: Vec<Vec<(String, Bytes)>>,
    /// What only the connector knows (`routing_key`): columns of one entry a record, under their metadata keys.
    pub beside: Vec<(&'static str, ArrayRef)>,
}

impl Framed {
    /// Keeps the records below offset `end`.
    pub fn keep_before(&mut self, end: i64) {
        let kept = self.offsets.partition_point(|offset| *offset < end);
        self.values.truncate(kept);
        self.offsets.truncate(kept);
        self.timestamps.truncate(kept);
        self.keys.truncate(kept);
        self.headers.truncate(kept);
        self.beside.iter_mut().for_each(|(_, column)| *column = column.slice(0, kept));
    }
}

/// A record that could not be decoded.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its bytes as they came.
    pub record: Bytes,
    /// What is wrong, naming the column, the value and what was expected.
    pub error: String,
}

/// What became of a chunk.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The decoder's columns (`first` then `rest`) of the rows that decoded well and passed the filter.
    pub rows: RecordBatch,
    /// Per row of `rows`: the offset of its record (only when the decoder was asked for offsets; else empty).
    pub offsets: Vec<i64>,
    /// Records refused, in order.
    pub rejected: Vec<Rejected>,
    /// Where the records of rows lie, for rows that are refused later on.
    pub origins: Origins,
    /// How many records the chunk held, refused ones included, empty lines not.
    pub records: u64,
}

/// Where the records of a chunk's rows lie.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// Holds the records.
    data: Bytes,
    /// Place and number of each record.
    records: Vec<span::Record>,
    /// Per row that was judged: its record.
    judged: Vec<u32>,
    /// Per row that was kept: its record.
    kept: Vec<u32>,
}

impl Origins {
    /// Offset and bytes of the record of row `row` of those that were judged; `None`: records are columns.
    pub fn of_judged(&self, chunk: &Chunk, row: usize) -> Option<(i64, Bytes)> {
        self.of(chunk, *self.judged.get(row)?)
    }

    /// Offset and bytes of the record of row `row` of [`Decoded::rows`]; `None`: records are columns.
    pub fn of_kept(&self, chunk: &Chunk, row: usize) -> Option<(i64, Bytes)> {
        self.of(chunk, *self.kept.get(row)?)
    }

    /// Per row of [`Decoded::rows`]: its place among the rows that were judged.
    pub fn kept_places(&self) -> Vec<u32> {
        let mut kept = self.kept.iter().peekable();
        let judged = (0..).zip(&self.judged);
        judged.filter_map(|(place, record)| kept.next_if_eq(&record).map(|_| place)).collect()
    }

    fn of(&self, chunk: &Chunk, record: u32) -> Option<(i64, Bytes)> {
        let record = self.records.get(record as usize)?;
        Some((late::offset(chunk, record), self.data.slice(record.start as usize..record.end as usize)))
    }
}

/// Judges the rows by their first columns: gets every well-formed row of the chunk (schema: the decoder's `first`
/// columns), returns which rows to keep (`None` = all). Called at most once a chunk, never for a chunk without rows.
/// This is where event time and the pushed-down filter are evaluated before the other columns are decoded.
pub type Judge<'a> = dyn FnMut(&RecordBatch) -> Result<Option<BooleanArray>> + 'a;

/// A verdict without NULLs: they keep no row.
fn settled(verdict: BooleanArray) -> BooleanArray {
    if verdict.null_count() > 0 { prep_null_mask_filter(&verdict) } else { verdict }
}

/// Turns chunks into rows: built once per scan from the columns that the queries need, shared by all decoding tasks.
pub trait Decoder: Send + Sync + std::fmt::Debug {
    /// Columns of [`Decoded::rows`]: those decoded for every row (`first`), then those decoded only for kept rows.
    fn schema(&self) -> &SchemaRef;

    /// Decodes a chunk. An `Err` is a fault of the whole chunk (or of the judge), never of a record.
    fn decode(&self, chunk: &Chunk, judge: &mut Judge<'_>) -> Result<Decoded>;
}

/// Turns rows into bytes for a sink.
pub trait Encoder: Send + std::fmt::Debug {
    /// Appends all rows of `batch`, each ended as the format ends its records (json and csv: `\n`).
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;

    /// What a file of this format begins with (csv: the header line, if wanted).
    fn file_header(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// What a decoder is to produce.
#[derive(Debug, Clone)]
pub struct DecodeSpec {
    /// Columns decoded for every row, because event time or the filter reads them. Metadata columns included.
    pub first: Vec<DecodeColumn>,
    /// Columns decoded only for the rows that the judge keeps.
    pub rest: Vec<DecodeColumn>,
    /// Fill [`Decoded::offsets`].
    pub offsets: bool,
    /// All payload columns of the table in declared order, read or not: csv finds its fields by position, Avro by type.
    pub payload: Vec<arrow::datatypes::FieldRef>,
}

/// A column to decode.
#[derive(Debug, Clone)]
pub struct DecodeColumn {
    /// Name and Arrow type it gets (STRING is `Utf8View`).
    pub field: arrow::datatypes::FieldRef,
    /// Where its value comes from.
    pub from: ColumnOrigin,
}

/// Where the value of a physical column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnOrigin {
    /// The field of this name in the record's payload.
    Payload(String),
    /// What the connector or the envelope knows under this key (`METADATA FROM 'key'`): `offset`, `partition`,
    /// `timestamp`, `key`, `headers`; with `cloudevents` also `type`, `id`, `source`, `subject`, `time`, ….
    Metadata(String),
    /// What the row does: the number of its [`crate::change::Kind`], for formats and connectors that give changes.
    Change,
    /// What only this connector knows under this key: a column of [`Framed::beside`].
    Connector(&'static str),
}

/// Key of an Arrow field's metadata that marks a sink's column as `METADATA FROM 'key'` and holds that key: an encoder
/// of envelopes (`cloudevents`) writes it beside the data.
pub const METADATA_FROM: &str = "eagre.metadata.from";

/// Key of an Arrow field's metadata that marks a sink's column as the event time of its rows: the time of an event that
/// brings none, where a format has an envelope.
pub const EVENT_TIME: &str = "eagre.event-time";

/// A shared decoder.
pub type DecoderRef = Arc<dyn Decoder>;
