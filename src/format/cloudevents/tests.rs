//! Events read and written: attributes, data, lifting, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use serde_json::Value;

use super::encode::with_attributes;
use crate::format::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, FormatConfig, Records};

fn column(name: &str, data_type: DataType, metadata: bool) -> DecodeColumn {
    let from = if metadata { ColumnOrigin::Metadata(name.to_owned()) } else { ColumnOrigin::Payload(name.to_owned()) };
    DecodeColumn { field: Arc::new(Field::new(name, data_type, true)), from }
}

fn config(options: &[(&str, &str)]) -> FormatConfig {
    let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("cloudevents.{k}"), (*v).to_owned())).collect();
    FormatConfig::from_options("cloudevents", &mut options).unwrap()
}

fn decode(options: &[(&str, &str)], columns: Vec<DecodeColumn>, text: &str) -> Decoded {
    let spec = DecodeSpec { first: columns, rest: vec![], offsets: true, payload: vec![] };
    let chunk = Chunk { records: Records::Lines(Bytes::copy_from_slice(text.as_bytes())), base_offset: 0, arrived_micros: 0 };
    config(options).decoder(spec).unwrap().decode(&chunk, &mut |_| Ok(None)).unwrap()
}

fn show(rows: &RecordBatch) -> Vec<String> {
    let cell = |array: &Arc<dyn Array>, row| if array.is_null(row) { "∅".to_owned() } else { array_value_to_string(array, row).unwrap() };
    (0..rows.num_rows()).map(|row| rows.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>().join(" | ")).collect()
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()))
}

#[test]
fn attributes_and_data_become_columns_and_metadata_is_lifted() {
    let columns = vec![
        column("type", DataType::Utf8View, true),
        column("time", time(), true),
        column("correlationid", DataType::Utf8View, true),
        column("dataversion", DataType::Utf8View, true),
        column("orderId", DataType::Utf8View, false),
        column("amount", DataType::Float64, false),
        // The same name, once in the envelope and once in the data.
        DecodeColumn { from: ColumnOrigin::Payload("type".to_owned()), ..column("kind", DataType::Utf8View, false) },
    ];
    let text = concat!(
        r#"{"specversion":"1.0","id":"1","type":"shop.order.OrderCreated","source":"urn:x","time":"2025-01-15T10:30:00+01:00","#,
        r#""data":{"orderId":"o-1","amount":9.5,"type":"express"},"metadata":{"correlationId":"c-1","version":"1.0.0"}}"#,
        "\n",
        r#"{"specversion":"1.0","id":"2","type":"shop.order.OrderCreated","source":"urn:x","time":"2025-01-15T10:30:00.5Z","#,
        r#""correlationid":"c-2","data":{"amount":1},"metadata":{"correlationId":"other"},"ext":7}"#,
    );
    let decoded = decode(&[], columns, text);
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    assert_eq!(
        show(&decoded.rows),
        [
            "shop.order.OrderCreated | 2025-01-15T09:30:00Z | c-1 | 1.0.0 | o-1 | 9.5 | express",
            "shop.order.OrderCreated | 2025-01-15T10:30:00.500Z | c-2 | ∅ | ∅ | 1.0 | ∅",
        ]
    );
}

/// The cases of the envelope through the decoder: its quick look must never change a verdict.
#[test]
fn the_decoder_refuses_what_the_envelope_refuses() {
    let cases: Vec<Value> =
        include_str!("../../../tests/cases/cloudevents.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |case: &Value| case["raw"].as_str().map_or_else(|| case["event"].to_string(), str::to_owned);
    // A good event before each, so that its type and source are remembered.
    let good = text(&cases[0]);
    for (validation, verdict) in [("standard", "contract"), ("cloudevents", "ce_1_0_2"), ("none", "")] {
        let all: Vec<String> = cases.iter().flat_map(|case| [good.clone(), text(case)]).collect();
        let decoded = decode(&[("validation", validation)], vec![column("id", DataType::Utf8View, true)], &all.join("\n"));
        for (index, case) in cases.iter().enumerate() {
            let offset = 2 * index as i64 + 1;
            let taken = decoded.offsets.contains(&offset);
            let wanted = match (case[verdict].as_str(), case["contract"].as_str()) {
                (Some("accept" | "accept_lifted" | "valid"), _) => true,
                // The metadata object is lifted before CloudEvents' own rules are asked.
                (_, Some("accept_lifted")) => true,
                // Without validation any object is taken whose id is a text that can be read.
                (None, _) => !matches!(case["id"].as_str(), Some("CE084" | "CE105" | "CE106")),
                _ => false,
            };
            assert!(wanted == taken || case["id"] == "CE084", "{validation} {case}");
        }
    }
}

#[test]
fn data_that_are_no_object_are_refused_where_they_are_read() {
    let event = |data: &str| format!(r#"{{"specversion":"1.0","id":"1","type":"t","source":"s",{data}}}"#);
    let text = [event(r#""data":"x""#), event(r#""data_base64":"AAEC""#), event(r#""data":null"#), event(r#""x":1"#)].join("\n");
    let options = [("validation", "cloudevents")];
    let read = decode(&options, vec![column("a", DataType::Int64, false)], &text);
    assert_eq!((read.offsets, read.rejected.len()), (vec![2, 3], 2));
    assert_eq!(read.rejected[0].error, "the data of the event are no JSON object");
    let unread = decode(&options, vec![column("id", DataType::Utf8View, true)], &text);
    assert_eq!(unread.offsets, [0, 1, 2, 3]);
}

#[test]
fn what_is_written_is_read_back_and_keeps_its_id() {
    let schema = with_attributes(vec![
        (Field::new("at", time(), true), Some("time")),
        (Field::new("cause", DataType::Utf8View, true), Some("causationid")),
        (Field::new("customer", DataType::Utf8View, true), None),
        (Field::new("total", DataType::Int64, true), None),
    ]);
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(TimestampMillisecondArray::from(vec![0, 1_500]).with_timezone("+00:00")),
            Arc::new(StringViewArray::from(vec![Some("o-1"), None])),
            Arc::new(StringViewArray::from(vec!["c\"1", "c2"])),
            Arc::new(Int64Array::from(vec![7, 8])),
        ],
    )
    .unwrap();
    for form in ["attributes", "object"] {
        let options = [("type", "shop.order.Totalled"), ("source", "urn:shop"), ("metadata", form)];
        let mut encoder = config(&options).encoder(&schema).unwrap();
        let (mut once, mut again) = (Vec::new(), Vec::new());
        encoder.encode(&batch, &mut once).unwrap();
        encoder.encode(&batch, &mut again).unwrap();
        assert_eq!(once, again);
        let text = String::from_utf8(once).unwrap();
        let metadata = "\"metadata\":{\"correlationId\":\"o-1\",\"causationId\":\"o-1\"}";
        assert_eq!(text.contains(metadata), form == "object", "{text}");
        let columns = vec![
            column("time", time(), true),
            column("causationid", DataType::Utf8View, true),
            column("customer", DataType::Utf8View, false),
            column("total", DataType::Int64, false),
        ];
        let decoded = decode(&[], columns, &text);
        assert_eq!(show(&decoded.rows), ["1970-01-01T00:00:00Z | o-1 | c\"1 | 7", "1970-01-01T00:00:01.500Z | ∅ | c2 | 8"]);
    }
}

#[test]
fn a_sink_that_lacks_an_attribute_is_refused_when_it_is_made() {
    let schema = with_attributes(vec![(Field::new("x", DataType::Int64, true), None)]);
    let message = |options: &[(&str, &str)]| config(options).encoder(&schema).unwrap_err().message().to_owned();
    assert_eq!(message(&[]), "an event needs its type: a column METADATA FROM 'type' or 'cloudevents.type'");
    let relative = message(&[("type", "a.B"), ("source", "/me")]);
    assert_eq!(relative, "'cloudevents.source' = '/me': expected an absolute URI, as in urn:shop:orders");
    let key = with_attributes(vec![(Field::new("k", DataType::Utf8View, true), Some("key"))]);
    let options = [("type", "a.B"), ("source", "urn:x")];
    let told = config(&options).encoder(&key).unwrap_err();
    assert_eq!(told.message(), "column 'k': METADATA FROM 'key' is no attribute of an event; declare it VIRTUAL to read it only");
    let json = FormatConfig::from_options("json", &mut BTreeMap::new()).unwrap().encoder(&key).unwrap_err();
    assert!(json.message().ends_with("cannot be written with format 'json'; declare it VIRTUAL to read it only"), "{json}");
}
