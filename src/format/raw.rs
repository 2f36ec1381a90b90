//! The whole record is one value: no syntax, one column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use memchr::memchr_iter;
use serde::{Deserialize, Serialize};

use super::column::{Reading, Syntax, TimestampForm, type_name};
use super::late::{Find, LateDecoder, Plans, payload_or_beside};
use super::span::{Cells, Record, Span};
use super::{Chunk, ColumnOrigin, DecodeSpec, DecoderRef, Encoder, Records};
use crate::error::{Error, Kind, Result};
use crate::time::text::TimestampFormat;

/// Options of `'format'='raw'`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawOptions {
    /// The character set of text: only `UTF-8` is known.
    pub charset: String,
}

impl Default for RawOptions {
    fn default() -> Self {
        RawOptions { charset: "UTF-8".to_owned() }
    }
}

impl RawOptions {
    /// Refuses character sets that are not known.
    pub(crate) fn check(&self) -> Result<()> {
        if self.charset.eq_ignore_ascii_case("UTF-8") {
            return Ok(());
        }
        Err(Error::input(format!("'raw.charset' = '{}': only UTF-8 is known", self.charset)))
    }

    /// A decoder of the one column that is the record.
    pub(crate) fn decoder(&self, spec: &DecodeSpec) -> Result<DecoderRef> {
        let reading = Arc::new(Reading {
            fail_on_missing: false,
            faults_are_null: false,
            timestamps: TimestampForm::Flink(TimestampFormat::Sql),
            syntax: Syntax::Raw,
        });
        let payload = |column: &&super::DecodeColumn| matches!(column.from, ColumnOrigin::Payload(_));
        let columns: Vec<_> = spec.first.iter().chain(&spec.rest).filter(payload).collect();
        if let [_, second, ..] = columns.as_slice() {
            return Err(Error::input(format!(
                "'format'='raw' has one column, the record itself; '{}' is a second one",
                second.field.name()
            )));
        }
        if let Some(column) = columns.iter().find(|column| !is_value(column.field.data_type())) {
            return Err(Error::input(format!(
                "column '{}': 'format'='raw' gives STRING or BYTES, not {}",
                column.field.name(),
                type_name(column.field.data_type())
            )));
        }
        let plans = Plans::new(spec, |column| payload_or_beside(column, &reading))?;
        let slots = plans.slots;
        Ok(Arc::new(LateDecoder::new(spec, plans, FindRaw { slots })))
    }

    /// An encoder of the one column.
    pub(crate) fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        self.check_written(schema)?;
        Ok(Box::new(RawEncoder))
    }

    /// Refuses what cannot be written.
    pub(crate) fn check_written(&self, schema: &SchemaRef) -> Result<()> {
        match schema.fields().as_ref() {
            [field] if is_value(field.data_type()) => Ok(()),
            fields => Err(Error::input(format!(
                "'format'='raw' writes one column of STRING or BYTES; the sink has {}",
                fields.iter().map(|f| format!("'{}' {}", f.name(), type_name(f.data_type()))).collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

fn is_value(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::Utf8 | DataType::Binary | DataType::BinaryView)
}

/// Finds whole records.
#[derive(Debug)]
struct FindRaw {
    /// One, or none when only metadata is read.
    slots: usize,
}

impl Find for FindRaw {
    fn find(&self, chunk: &Chunk) -> Result<Cells> {
        match &chunk.records {
            Records::Lines(data) => {
                let mut cells = Cells::new(data.clone(), self.slots, 0);
                each_line(data, |number, start, end| {
                    let end = if data[start..end].ends_with(b"\r") { end - 1 } else { end };
                    if end > start {
                        cells.rows.push(Record { number, start: start as u32, end: end as u32 });
                        cells.spans.extend((0..self.slots).map(|_| Span::bare(start, end, false)));
                    }
                });
                Ok(cells)
            }
            Records::Framed(framed) => {
                let mut cells = Cells::new(framed.data.clone(), self.slots, framed.values.len());
                for (number, value) in framed.values.iter().enumerate() {
                    let (start, end) = value.unwrap_or_default();
                    cells.rows.push(Record { number: number as u32, start, end });
                    let span = if value.is_some() { Span::bare(start as usize, end as usize, false) } else { Span::MISSING };
                    cells.spans.extend((0..self.slots).map(|_| span));
                }
                Ok(cells)
            }
            Records::Rows(_) => Err(Error::bug("the raw format was given columns")),
        }
    }
}

/// Calls with number, start and end of every line, without its newline.
pub(crate) fn each_line(data: &[u8], mut found: impl FnMut(u32, usize, usize)) {
    let (mut start, mut number) = (0, 0);
    for end in memchr_iter(b'\n', data) {
        found(number, start, end);
        start = end + 1;
        number += 1;
    }
    if start < data.len() {
        found(number, start, data.len());
    }
}

/// Writes the one column, a line a row.
#[derive(Debug)]
struct RawEncoder;

impl Encoder for RawEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let [column] = batch.columns() else { return Err(Error::bug("raw has one column")) };
        let values: ArrayRef = cast(column, &DataType::Binary)?;
        let values = values.as_binary::<i32>();
        for row in 0..values.len() {
            if values.is_valid(row) && memchr::memchr(b'\n', values.value(row)).is_some() {
                return Err(Error::new(Kind::Row, "a raw value with a newline cannot be written as one line"));
            }
        }
        for row in 0..values.len() {
            if values.is_valid(row) {
                out.extend_from_slice(values.value(row));
            }
            out.push(b'\n');
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::StringViewArray;
    use arrow::datatypes::{Field, Schema};
    use bytes::Bytes;

    use super::*;
    use crate::format::{DecodeColumn, FormatConfig, Framed};

    fn config() -> FormatConfig {
        FormatConfig::from_options("raw", &mut BTreeMap::new()).unwrap()
    }

    fn column(name: &str, data_type: DataType) -> DecodeColumn {
        DecodeColumn { field: Arc::new(Field::new(name, data_type, true)), from: ColumnOrigin::Payload(name.to_owned()) }
    }

    fn spec(columns: Vec<DecodeColumn>) -> DecodeSpec {
        DecodeSpec { first: columns, rest: vec![], offsets: true, payload: vec![] }
    }

    #[test]
    fn a_record_is_its_value_as_it_stands() {
        let chunk = |records| Chunk { records, base_offset: 0, arrived_micros: 0 };
        let text = config().decoder(spec(vec![column("line", DataType::Utf8View)])).unwrap();
        let lines = chunk(Records::Lines(Bytes::from_static(b"\"a\\n\"\r\n\n\xff\nlonger than twelve bytes")));
        let decoded = text.decode(&lines, &mut |_| Ok(None)).unwrap();
        let values: Vec<_> = decoded.rows.column(0).as_string_view().iter().flatten().collect();
        assert_eq!(values, ["\"a\\n\"", "longer than twelve bytes"]);
        assert_eq!((decoded.offsets, decoded.rejected[0].offset), (vec![0, 3], 2));

        let bytes = config().decoder(spec(vec![column("value", DataType::Binary)])).unwrap();
        let framed = Framed {
            data: Bytes::from_static(b"\xff\n"),
            values: vec![Some((0, 2)), None, Some((2, 2))],
            offsets: vec![7, 8, 9],
            ..Framed::default()
        };
        let decoded = bytes.decode(&chunk(Records::Framed(framed)), &mut |_| Ok(None)).unwrap();
        let values: Vec<_> = decoded.rows.column(0).as_binary::<i32>().iter().collect();
        assert_eq!(values, [Some(&b"\xff\n"[..]), None, Some(&b""[..])]);
    }

    #[test]
    fn two_columns_and_other_types_are_refused() {
        let message = |columns| config().decoder(spec(columns)).unwrap_err().message().to_owned();
        let two = vec![column("a", DataType::Utf8View), column("b", DataType::Utf8View)];
        assert_eq!(message(two), "'format'='raw' has one column, the record itself; 'b' is a second one");
        assert_eq!(message(vec![column("a", DataType::Int64)]), "column 'a': 'format'='raw' gives STRING or BYTES, not BIGINT");
    }

    #[test]
    fn a_value_is_written_as_a_line() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8View, true)]));
        let mut encoder = config().encoder(&schema).unwrap();
        let batch = |texts: Vec<Option<&str>>| RecordBatch::try_new(schema.clone(), vec![Arc::new(StringViewArray::from(texts))]).unwrap();
        let mut out = Vec::new();
        encoder.encode(&batch(vec![Some("x"), None, Some("{}")]), &mut out).unwrap();
        assert_eq!(out, b"x\n\n{}\n");
        assert!(encoder.encode(&batch(vec![Some("a\nb")]), &mut out).is_err());
        assert_eq!(out, b"x\n\n{}\n");
    }
}
