//! Records whose key tells columns, and records that are upserts: no value = the row of this key is gone.
//!
//! ```text
//!  key {"id":1}   value {"name":"a"}   ──▶  +U  1, a
//!  key {"id":1}   no value             ──▶  -D  1, ∅
//! ```
//! Key and value are decoded each by its own format and put together by the offset of their record.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int8Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{FilterBuilder, filter, take};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use bytes::Bytes;

use super::metadata::KEYS;
use super::span::Record;
use super::{
    Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, Decoder, DecoderRef, FormatConfig, Framed, Judge, Origins, Records, Rejected,
    settled,
};
use crate::change::{Changes, Kind};
use crate::error::{Error, Result};

/// What the keys of records tell.
#[derive(Debug, Clone)]
pub struct KeyRead {
    /// How they are written (`'key.format'`).
    pub format: FormatConfig,
    /// The columns of the table that are read from them, and the name of each in the key (without `'key.fields-prefix'`).
    /// The key's word stands, also where the value has the column, too.
    pub columns: Vec<(String, String)>,
    /// Each record is what its key is from then on: a record without a value deletes, one without a key is refused.
    pub upserts: bool,
}

/// Where a column of the result comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    Key(usize),
    Value(usize),
    Change,
}

/// Decodes keys and values.
#[derive(Debug)]
struct KeyedDecoder {
    /// Columns of the key, and what travels beside records.
    key: DecoderRef,
    /// All other columns.
    value: DecoderRef,
    upserts: bool,
    /// Per column of `schema`.
    from: Vec<From>,
    first_schema: SchemaRef,
    schema: SchemaRef,
    offsets: bool,
}

impl KeyRead {
    /// A decoder of the columns of `spec`, whose values are of `value`.
    pub fn decoder(&self, value: &FormatConfig, spec: &DecodeSpec) -> Result<DecoderRef> {
        if value.changes() != Changes::Inserts {
            return Err(Error::input(format!("columns of the key beside the changes of 'format'='{}' are not supported", value.name())));
        }
        let (mut of_key, mut of_value): (Vec<DecodeColumn>, Vec<DecodeColumn>) = (Vec::new(), Vec::new());
        let mut from = Vec::new();
        let in_key = |name: &str| self.columns.iter().find(|(column, _)| column == name).map(|(_, in_key)| in_key);
        for column in spec.first.iter().chain(&spec.rest) {
            let origin = match &column.from {
                ColumnOrigin::Change => {
                    from.push(From::Change);
                    continue;
                }
                ColumnOrigin::Payload(name) => in_key(name).map(|name| ColumnOrigin::Payload(name.clone())),
                // What travels beside records is read where all of them are seen.
                ColumnOrigin::Connector(_) => self.upserts.then(|| column.from.clone()),
                ColumnOrigin::Metadata(key) => (self.upserts && KEYS.contains(&key.as_str())).then(|| column.from.clone()),
            };
            match origin {
                Some(origin) => {
                    from.push(From::Key(of_key.len()));
                    of_key.push(DecodeColumn { from: origin, ..column.clone() });
                }
                None => {
                    from.push(From::Value(of_value.len()));
                    of_value.push(column.clone());
                }
            }
        }
        let field = |(column, from): (&DecodeColumn, &From)| -> FieldRef {
            // A deleted row has only its key.
            let null = self.upserts && matches!(from, From::Value(_));
            if null { Arc::new(column.field.as_ref().clone().with_nullable(true)) } else { column.field.clone() }
        };
        let fields: Vec<FieldRef> = spec.first.iter().chain(&spec.rest).zip(&from).map(field).collect();
        let in_value = spec.payload.iter().filter(|field| self.upserts || in_key(field.name()).is_none());
        let key_fields = self.columns.iter().filter_map(|(column, in_key)| {
            let field = spec.payload.iter().find(|field| field.name() == column)?;
            Some(Arc::new(field.as_ref().clone().with_name(in_key)) as FieldRef)
        });
        let part = |columns, payload| DecodeSpec { first: columns, rest: Vec::new(), offsets: true, payload };
        Ok(Arc::new(KeyedDecoder {
            key: self.format.decoder(part(of_key, key_fields.collect()))?,
            value: value.decoder(part(of_value, in_value.cloned().collect()))?,
            upserts: self.upserts,
            from,
            first_schema: Arc::new(Schema::new(fields[..spec.first.len()].to_vec())),
            schema: Arc::new(Schema::new(fields)),
            offsets: spec.offsets,
        }))
    }
}

/// The chunk with only the records for which `value` gives one.
fn chosen(chunk: &Chunk, framed: &Framed, data: Bytes, values: Vec<Option<(u32, u32)>>) -> Result<Chunk> {
    fn kept<T: Clone>(all: &[T], values: &[Option<(u32, u32)>]) -> Vec<T> {
        all.iter().zip(values).filter(|(_, value)| value.is_some()).map(|(one, _)| one.clone()).collect()
    }
    let mask: BooleanArray = values.iter().map(|value| Some(value.is_some())).collect();
    let beside = framed.beside.iter().map(|(name, column)| Ok((*name, filter(column, &mask)?))).collect::<Result<_>>()?;
    let framed = Framed {
        beside,
        data,
        offsets: kept(&framed.offsets, &values),
        timestamps: kept(&framed.timestamps, &values),
        keys: kept(&framed.keys, &values),
        headers: kept(&framed.headers, &values),
        values: values.into_iter().filter(Option::is_some).collect(),
    };
    Ok(Chunk { records: Records::Framed(framed), ..*chunk })
}

/// The records with their keys in the place of their values.
fn keys_as_values(chunk: &Chunk, framed: &Framed) -> Result<Chunk> {
    let mut data = Vec::new();
    let values = (0..framed.values.len()).map(|number| {
        let key = framed.keys.get(number).and_then(Option::as_deref)?;
        let start = data.len() as u32;
        data.extend_from_slice(key);
        Some((start, data.len() as u32))
    });
    let values = values.collect();
    chosen(chunk, framed, data.into(), values)
}

impl Decoder for KeyedDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&self, chunk: &Chunk, judge: &mut Judge<'_>) -> Result<Decoded> {
        let Records::Framed(framed) = &chunk.records else {
            return Err(Error::bug("keys were asked of records that have none"));
        };
        let all = &mut |_: &RecordBatch| Ok(None);
        let keys = self.key.decode(&keys_as_values(chunk, framed)?, all)?;
        let values = self.value.decode(&chosen(chunk, framed, framed.data.clone(), framed.values.clone())?, all)?;

        let mut rejected: Vec<Rejected> = values.rejected;
        let mut numbers = Vec::new();
        let (mut key_rows, mut value_rows, mut kinds, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut of_keys, mut of_values) = (keys.offsets.iter().zip(0u32..).peekable(), values.offsets.iter().zip(0u32..).peekable());
        let mut bad_keys = keys.rejected.into_iter().peekable();
        for (number, offset) in framed.offsets.iter().enumerate() {
            let key = of_keys.next_if(|(of_key, _)| *of_key == offset).map(|(_, row)| row);
            let value = of_values.next_if(|(of_value, _)| *of_value == offset).map(|(_, row)| row);
            let bad_key = bad_keys.next_if(|bad| bad.offset == *offset).map(|bad| format!("the key of the record: {}", bad.error));
            let range = framed.values.get(number).copied().flatten();
            let fault = match (key, range) {
                // What is wrong with its value has been told.
                _ if range.is_some() && value.is_none() => continue,
                (None, _) if bad_key.is_some() => bad_key,
                (None, _) if self.upserts => Some("the record has no key, which says what row it is of".to_owned()),
                (_, None) if !self.upserts => Some("the record has no value (a tombstone)".to_owned()),
                _ => None,
            };
            if let Some(error) = fault {
                let (start, end) = range.unwrap_or_default();
                rejected.push(Rejected { offset: *offset, record: framed.data.slice(start as usize..end as usize), error });
                continue;
            }
            numbers.push(number as u32);
            key_rows.push(key);
            value_rows.push(value);
            kinds.push(if value.is_some() { Kind::UpdateAfter } else { Kind::Delete } as i8);
            offsets.push(*offset);
        }
        rejected.sort_by_key(|rejected| rejected.offset);

        let rows = offsets.len();
        let (key_rows, value_rows) = (UInt32Array::from(key_rows), UInt32Array::from(value_rows));
        let column = |from: &From| -> Result<ArrayRef> {
            Ok(match from {
                From::Key(at) => take(keys.rows.column(*at), &key_rows, None)?,
                From::Value(at) => take(values.rows.column(*at), &value_rows, None)?,
                From::Change => Arc::new(Int8Array::from(kinds.clone())),
            })
        };
        let mut columns = self.from.iter().map(column).collect::<Result<Vec<_>>>()?;
        let first = self.first_schema.fields().len();
        let sized = |rows| RecordBatchOptions::new().with_row_count(Some(rows));
        let judged = RecordBatch::try_new_with_options(self.first_schema.clone(), columns[..first].to_vec(), &sized(rows))?;
        let mask = if rows == 0 { None } else { judge(&judged)? };
        let places: Vec<Record> = (0u32..)
            .zip(&framed.values)
            .map(|(number, value)| {
                let (start, end) = value.unwrap_or_default();
                Record { number, start, end }
            })
            .collect();
        let mut origins = Origins { data: framed.data.clone(), records: places, kept: numbers.clone(), judged: numbers };
        let mut kept = rows;
        if let Some(mask) = mask {
            let mask = settled(mask);
            let filter = FilterBuilder::new(&mask).optimize().build();
            columns = columns.iter().map(|column| filter.filter(column)).collect::<Result<_, _>>()?;
            offsets = mask.values().set_indices().map(|row| offsets[row]).collect();
            origins.kept = mask.values().set_indices().map(|row| origins.judged[row]).collect();
            kept = offsets.len();
        }
        if !self.offsets {
            offsets.clear();
        }
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &sized(kept))?;
        Ok(Decoded { rows, offsets, rejected, origins, records: framed.values.len() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::BooleanArray;
    use arrow::datatypes::{DataType, Field};
    use arrow::util::display::array_value_to_string;

    use super::*;
    use crate::change;

    fn json() -> FormatConfig {
        FormatConfig::from_options("json", &mut Default::default()).unwrap()
    }

    fn column(name: &str, data_type: DataType, nullable: bool) -> DecodeColumn {
        DecodeColumn { field: Arc::new(Field::new(name, data_type, nullable)), from: ColumnOrigin::Payload(name.to_owned()) }
    }

    fn chunk(records: &[(Option<&'static str>, Option<&str>)]) -> Chunk {
        let mut framed = Framed::default();
        let mut data = Vec::new();
        for (number, (key, value)) in records.iter().enumerate() {
            let start = data.len() as u32;
            data.extend_from_slice(value.unwrap_or_default().as_bytes());
            framed.values.push(value.map(|_| (start, data.len() as u32)));
            framed.keys.push(key.map(Bytes::from));
            framed.offsets.push(5 + 2 * number as i64);
            framed.timestamps.push(number as i64);
            framed.headers.push(Vec::new());
        }
        framed.data = data.into();
        Chunk { records: Records::Framed(framed), base_offset: 5, arrived_micros: 0 }
    }

    fn show(rows: &RecordBatch) -> Vec<String> {
        let cell = |array: &ArrayRef, row| if array.is_null(row) { "∅".to_owned() } else { array_value_to_string(array, row).unwrap() };
        (0..rows.num_rows()).map(|row| rows.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>().join(" | ")).collect()
    }

    fn spec() -> DecodeSpec {
        let offset =
            DecodeColumn { field: Arc::new(Field::new("o", DataType::Int64, true)), from: ColumnOrigin::Metadata("offset".into()) };
        DecodeSpec {
            first: vec![DecodeColumn { field: change::field(), from: ColumnOrigin::Change }, column("id", DataType::Int64, false)],
            rest: vec![column("name", DataType::Utf8View, false), offset],
            offsets: true,
            payload: vec![column("id", DataType::Int64, false).field, column("name", DataType::Utf8View, false).field],
        }
    }

    #[test]
    fn a_record_without_a_value_deletes_and_one_without_a_key_is_refused() {
        let read = KeyRead { format: json(), columns: vec![("id".to_owned(), "k".to_owned())], upserts: true };
        let decoder = read.decoder(&json(), &spec()).unwrap();
        let records = [
            (Some(r#"{"k":1}"#), Some(r#"{"id":9,"name":"a"}"#)),
            (Some(r#"{"k":1}"#), None),
            (None, Some(r#"{"name":"b"}"#)),
            (Some(r#"{"k":2}"#), Some(r#"{"name":3"#)),
            (Some(r#"{"k":"x"}"#), Some(r#"{"name":"c"}"#)),
            (Some(r#"{"k":3}"#), Some(r#"{"name":null}"#)),
            (Some(r#"{"k":4}"#), Some(r#"{"name":"d"}"#)),
        ];
        let decoded = decoder.decode(&chunk(&records), &mut |_| Ok(None)).unwrap();
        assert_eq!(show(&decoded.rows), ["2 | 1 | a | 5", "3 | 1 | ∅ | 7", "2 | 4 | d | 17"]);
        assert_eq!((decoded.offsets, decoded.records), (vec![5, 7, 17], 7));
        let told: Vec<_> = decoded.rejected.iter().map(|rejected| (rejected.offset, rejected.error.as_str())).collect();
        assert_eq!(
            told,
            [
                (9, "the record has no key, which says what row it is of"),
                (11, "the record ends inside of its JSON object"),
                (13, "the key of the record: column 'id': \"x\" is no BIGINT"),
                (15, "column 'name' is NULL, but declared NOT NULL"),
            ]
        );
        let kept =
            decoder.decode(&chunk(&records), &mut |first| Ok(Some(BooleanArray::from(vec![first.num_rows() == 3, false, true])))).unwrap();
        assert_eq!((show(&kept.rows), kept.offsets), (vec!["2 | 1 | a | 5".to_owned(), "2 | 4 | d | 17".to_owned()], vec![5, 17]));
    }

    #[test]
    fn without_upserts_a_key_only_adds_columns() {
        let mut spec = spec();
        spec.first = vec![column("id", DataType::Int64, true)];
        let read = KeyRead { format: json(), columns: vec![("id".to_owned(), "id".to_owned())], upserts: false };
        let decoder = read.decoder(&json(), &spec).unwrap();
        let records = [(Some(r#"{"id":1}"#), Some(r#"{"name":"a"}"#)), (None, Some(r#"{"name":"b"}"#)), (Some(r#"{"id":2}"#), None)];
        let decoded = decoder.decode(&chunk(&records), &mut |_| Ok(None)).unwrap();
        assert_eq!(show(&decoded.rows), ["1 | a | 5", "∅ | b | 7"]);
        assert_eq!(decoded.rejected[0].error, "the record has no value (a tombstone)");
    }
}
