//! Records made of rows: keys, tombstones, what travels beside, and events in both modes read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryBuilder, Int8Array, Int64Array, MapBuilder, RecordBatch, StringViewArray, StringViewBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;

use super::*;
use crate::format::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, Framed, Records};

fn config(format: &str, options: &[(&str, &str)]) -> FormatConfig {
    let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("{format}.{k}"), (*v).to_owned())).collect();
    FormatConfig::from_options(format, &mut options).unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef, Option<&str>)>) -> RecordBatch {
    let fields = columns.iter().map(|(name, array, key)| {
        let field = Field::new(*name, array.data_type().clone(), *name != change::CHANGE_COLUMN);
        let metadata = key.map(|key| (METADATA_FROM.to_owned(), key.to_owned()));
        field.with_metadata(metadata.into_iter().collect())
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array, _)| array).collect()).unwrap()
}

fn people(rows: &[(i64, Kind)]) -> RecordBatch {
    batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id))), None),
        ("name", Arc::new(StringViewArray::from_iter_values(rows.iter().map(|(_, kind)| kind.sign()))), None),
        (change::CHANGE_COLUMN, Arc::new(Int8Array::from_iter_values(rows.iter().map(|(_, kind)| *kind as i8))), None),
    ])
}

fn show(records: &EncodedRecords) -> Vec<String> {
    let text = |bytes: Option<&[u8]>| bytes.map_or("∅".to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap());
    records.iter().map(|record| format!("{}: {} = {}", record.row, text(record.key), text(record.value))).collect()
}

#[test]
fn a_deleted_row_is_a_tombstone_and_an_update_is_one_record_unless_its_key_changes() {
    let key = KeySpec { columns: vec![0], names: None, form: KeyForm::Format(config("json", &[])) };
    let mut records = EncodedRecords::default();
    let mut told = |rows: &[(i64, Kind)]| {
        let rows = people(rows);
        let spec =
            RecordSpec { schema: rows.schema(), columns: vec![0, 1], key: Some(key.clone()), binding: Binding::Kafka, upserts: true };
        let mut encoder = config("json", &[]).record_encoder(&spec).unwrap();
        encoder.encode(&rows, &mut records).unwrap();
        show(&records)
    };
    assert_eq!(
        told(&[(0, Kind::Insert), (1, Kind::UpdateBefore), (1, Kind::UpdateAfter), (2, Kind::Delete)]),
        [r#"0: {"id":0} = {"id":0,"name":"+I"}"#, r#"2: {"id":1} = {"id":1,"name":"+U"}"#, r#"3: {"id":2} = ∅"#]
    );
    // Under its new key the row is told, under the old one it is gone; so it is when nothing follows.
    assert_eq!(
        told(&[(1, Kind::UpdateBefore), (2, Kind::UpdateAfter), (2, Kind::UpdateBefore)]),
        [r#"0: {"id":1} = ∅"#, r#"1: {"id":2} = {"id":2,"name":"+U"}"#, r#"2: {"id":2} = ∅"#]
    );
}

#[test]
fn key_timestamp_and_headers_are_written_beside_the_value() {
    let mut headers = MapBuilder::new(None, StringViewBuilder::new(), BinaryBuilder::new());
    headers.keys().append_value("h");
    headers.values().append_value(b"1");
    headers.append(true).unwrap();
    headers.append(false).unwrap();
    let rows = batch(vec![
        ("k_a", Arc::new(StringViewArray::from(vec![Some("x"), None])), None),
        ("v", Arc::new(Int64Array::from(vec![1, 2])), None),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![Some(5), None])), Some("timestamp")),
        ("headers", Arc::new(headers.finish()), Some("headers")),
    ]);
    let spec = |form| RecordSpec {
        schema: rows.schema(),
        columns: vec![1, 2, 3],
        key: Some(KeySpec { columns: vec![0], names: Some(vec!["a".to_owned()]), form }),
        binding: Binding::Kafka,
        upserts: false,
    };
    let mut records = EncodedRecords::default();
    let json = config("json", &[]);
    json.record_encoder(&spec(KeyForm::Text)).unwrap().encode(&rows, &mut records).unwrap();
    assert_eq!(show(&records), [r#"0: x = {"v":1}"#, r#"1: ∅ = {"v":2}"#]);
    let beside: Vec<_> = records.iter().map(|record| (record.timestamp_micros, record.headers)).collect();
    assert_eq!(beside, [(Some(5_000), &[("h".to_owned(), Bytes::from_static(b"1"))][..]), (None, &[][..])]);
    json.record_encoder(&spec(KeyForm::Format(json.clone()))).unwrap().encode(&rows, &mut records).unwrap();
    assert_eq!(show(&records), [r#"0: {"a":"x"} = {"v":1}"#, r#"1: {"a":null} = {"v":2}"#]);
}

#[test]
fn raw_values_may_hold_line_breaks_or_be_none() {
    let rows = batch(vec![("v", Arc::new(StringViewArray::from(vec![Some("a\nb"), None, Some("")])), None)]);
    let spec = RecordSpec { schema: rows.schema(), columns: vec![0], key: None, binding: Binding::Kafka, upserts: false };
    let mut records = EncodedRecords::default();
    config("raw", &[]).record_encoder(&spec).unwrap().encode(&rows, &mut records).unwrap();
    assert_eq!(show(&records), ["0: ∅ = a\nb", "1: ∅ = ∅", "2: ∅ = "]);
}

fn orders() -> RecordBatch {
    let times = TimestampMillisecondArray::from(vec![0, 1_500]).with_timezone("+00:00");
    batch(vec![
        ("at", Arc::new(times), Some("time")),
        ("cause", Arc::new(StringViewArray::from(vec![Some("ö-1"), None])), Some("causationid")),
        ("customer", Arc::new(StringViewArray::from(vec!["c\"1", "c2"])), None),
        ("total", Arc::new(Int64Array::from(vec![7, 8])), None),
    ])
}

/// Reads records as a log or broker hands them over.
fn decode(records: &EncodedRecords) -> Decoded {
    let mut framed = Framed::default();
    let mut data = Vec::new();
    for record in records.iter() {
        let start = data.len() as u32;
        data.extend_from_slice(record.value.unwrap());
        framed.values.push(Some((start, data.len() as u32)));
        framed.offsets.push(record.row as i64);
        framed.headers.push(record.headers.to_vec());
    }
    framed.data = data.into();
    decode_framed(framed)
}

fn decode_framed(framed: Framed) -> Decoded {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    let column = |name: &str, data_type, metadata: bool| DecodeColumn {
        field: Arc::new(Field::new(name, data_type, true)),
        from: if metadata { ColumnOrigin::Metadata(name.to_owned()) } else { ColumnOrigin::Payload(name.to_owned()) },
    };
    let columns = vec![
        column("type", DataType::Utf8View, true),
        column("time", time, true),
        column("causationid", DataType::Utf8View, true),
        column("customer", DataType::Utf8View, false),
        column("total", DataType::Int64, false),
    ];
    let spec = DecodeSpec { first: columns, rest: vec![], offsets: true, payload: vec![] };
    let chunk = Chunk { records: Records::Framed(framed), base_offset: 0, arrived_micros: 0 };
    config("cloudevents", &[]).decoder(spec).unwrap().decode(&chunk, &mut |_| Ok(None)).unwrap()
}

fn shown(rows: &RecordBatch) -> Vec<String> {
    let cell = |array: &ArrayRef, row| if array.is_null(row) { "∅".to_owned() } else { array_value_to_string(array, row).unwrap() };
    (0..rows.num_rows()).map(|row| rows.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>().join(" | ")).collect()
}

#[test]
fn events_of_both_modes_and_bindings_are_read_back() {
    let rows = orders();
    for (mode, binding, header) in [
        ("structured", Binding::Kafka, "content-type: application/cloudevents+json; charset=UTF-8"),
        ("binary", Binding::Kafka, "ce_causationid: ö-1"),
        ("binary", Binding::Amqp, "cloudEvents_causationid: ö-1"),
    ] {
        let spec = RecordSpec { schema: rows.schema(), columns: vec![0, 1, 2, 3], key: None, binding, upserts: false };
        let events = config("cloudevents", &[("type", "shop.order.Totalled"), ("source", "urn:shop"), ("mode", mode)]);
        let mut records = EncodedRecords::default();
        events.record_encoder(&spec).unwrap().encode(&rows, &mut records).unwrap();
        let first = records.iter().next().unwrap();
        let headers: Vec<String> =
            first.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect();
        assert!(headers.contains(&header.to_owned()), "{headers:?}");
        if mode == "binary" {
            assert_eq!(first.value.unwrap(), br#"{"customer":"c\"1","total":7}"#);
            assert!(headers.contains(&"content-type: application/json".to_owned()), "{headers:?}");
        }
        let decoded = decode(&records);
        assert_eq!(
            shown(&decoded.rows),
            ["shop.order.Totalled | 1970-01-01T00:00:00Z | ö-1 | c\"1 | 7", "shop.order.Totalled | 1970-01-01T00:00:01.500Z | ∅ | c2 | 8"],
            "{mode} {binding:?}"
        );
    }
}

#[test]
fn a_binary_event_is_judged_like_a_structured_one_and_refused_with_its_own_bytes() {
    let headers = |own: &[(&str, &str)]| -> Vec<(String, Bytes)> {
        let event =
            [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_type", "a.B"), ("ce_source", "urn:x"), ("ce_time", "2025-01-15T10:30:00Z")];
        event.iter().chain(own).map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes()))).collect()
    };
    let cases: [(Vec<(String, Bytes)>, &str, &str); 6] = [
        (headers(&[]), r#"{"total":1}"#, ""),
        // What breaks out of the data would be read as an attribute.
        (headers(&[]), r#"{"total":1},"type":"x.Y","z":{}"#, "no event: the data are no JSON: trailing characters at line 1 column 12"),
        (headers(&[("ce_source", "x y")]), "{}", "no event: attribute 'source' is \"x y\", expected an absolute URI"),
        (headers(&[("ce_data", "{}")]), "{}", "no event: the header 'ce_data': 'data' is no attribute"),
        (headers(&[("content-type", "text/plain")]), "hello", "no event: data is missing"),
        (vec![("other".to_owned(), Bytes::new())], "[1]", "the record is no JSON object"),
    ];
    let mut framed = Framed::default();
    let mut data = Vec::new();
    for (number, (headers, value, _)) in cases.iter().enumerate() {
        let start = data.len() as u32;
        data.extend_from_slice(value.as_bytes());
        framed.values.push(Some((start, data.len() as u32)));
        framed.offsets.push(number as i64);
        framed.headers.push(headers.clone());
    }
    framed.data = data.into();
    let decoded = decode_framed(framed);
    assert_eq!(decoded.offsets, [0]);
    assert_eq!(decoded.rows.column(4).as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(decoded.rejected.len(), cases.len() - 1);
    for (rejected, (_, value, fault)) in decoded.rejected.iter().zip(&cases[1..]) {
        assert_eq!(rejected.record, value.as_bytes(), "as it came");
        assert!(rejected.error.contains(fault), "{}", rejected.error);
    }
}

#[test]
fn what_cannot_be_written_is_refused_when_the_encoder_is_made() {
    let rows = orders();
    let spec = |columns| RecordSpec { schema: rows.schema(), columns, key: None, binding: Binding::Kafka, upserts: false };
    let message = |columns| config("json", &[]).record_encoder(&spec(columns)).unwrap_err().message().to_owned();
    assert_eq!(
        message(vec![0, 2]),
        "column 'at': METADATA FROM 'time' cannot be written with format 'json'; declare it VIRTUAL to read it only"
    );
    let keyed =
        batch(vec![("k", Arc::new(StringViewArray::from(vec!["x"])), Some("key")), ("v", Arc::new(Int64Array::from(vec![1])), None)]);
    let key = Some(KeySpec { columns: vec![1], names: None, form: KeyForm::Text });
    let twice = RecordSpec { schema: keyed.schema(), columns: vec![0, 1], key, binding: Binding::Kafka, upserts: false };
    let message = config("json", &[]).record_encoder(&twice).unwrap_err().message().to_owned();
    assert_eq!(message, "the key is made of 'key.fields' and of column 'k' METADATA FROM 'key': choose one");
}
