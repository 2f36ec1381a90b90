//! Envelopes as Debezium's MySQL connector writes them (the form of Flink's own fixtures), read as changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;

use crate::change;
use crate::format::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, FormatConfig, Framed, Records};

const CREATED: &str = r#"{"before":null,"after":{"id":101,"name":"scooter","weight":3.14},"source":{"version":"1.1.1.Final","connector":"mysql","name":"dbserver1","ts_ms":1589355606000,"snapshot":"true","db":"inventory","table":"products","server_id":0,"gtid":null},"op":"c","ts_ms":1589355606100,"transaction":null}"#;
const UPDATED: &str = r#"{"before":{"id":106,"name":"hammer","weight":1.0},"after":{"id":106,"name":"hammer","weight":0.5},"source":{"db":"inventory","table":"products","ts_ms":1589361987000},"op":"u","ts_ms":1589361987936,"transaction":null}"#;
const DELETED: &str = r#"{"before":{"id":111,"name":"scooter","weight":5.17},"after":null,"source":{"db":"inventory","table":"products","ts_ms":1589362344000},"op":"d","ts_ms":1589362344455,"transaction":null}"#;

fn column(name: &str, data_type: DataType) -> DecodeColumn {
    DecodeColumn { field: Arc::new(Field::new(name, data_type, true)), from: ColumnOrigin::Payload(name.to_owned()) }
}

fn metadata(key: &str, data_type: DataType) -> DecodeColumn {
    DecodeColumn { field: Arc::new(Field::new(key, data_type, true)), from: ColumnOrigin::Metadata(key.to_owned()) }
}

fn kind() -> DecodeColumn {
    DecodeColumn { field: change::field(), from: ColumnOrigin::Change }
}

fn config(options: &[(&str, &str)]) -> FormatConfig {
    let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("debezium-json.{k}"), (*v).to_owned())).collect();
    FormatConfig::from_options("debezium-json", &mut options).unwrap()
}

fn spec(first: Vec<DecodeColumn>, rest: Vec<DecodeColumn>) -> DecodeSpec {
    DecodeSpec { first, rest, offsets: true, payload: vec![] }
}

fn lines(text: &str) -> Chunk {
    Chunk { records: Records::Lines(Bytes::copy_from_slice(text.as_bytes())), base_offset: 0, arrived_micros: 0 }
}

fn show(rows: &RecordBatch) -> Vec<String> {
    let cell = |array: &Arc<dyn Array>, row| if array.is_null(row) { "∅".to_owned() } else { array_value_to_string(array, row).unwrap() };
    let line = |row| rows.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>().join(" | ");
    (0..rows.num_rows()).map(line).collect()
}

fn products() -> Vec<DecodeColumn> {
    vec![kind(), column("id", DataType::Int64), column("name", DataType::Utf8View), column("weight", DataType::Float64)]
}

const ROWS: [&str; 4] = ["0 | 101 | scooter | 3.14", "1 | 106 | hammer | 1.0", "2 | 106 | hammer | 0.5", "3 | 111 | scooter | 5.17"];

#[test]
fn an_update_is_two_rows_of_one_record() {
    let decoder = config(&[]).decoder(spec(vec![], products())).unwrap();
    let decoded = decoder.decode(&lines(&[CREATED, UPDATED, DELETED].join("\n")), &mut |_| Ok(None)).unwrap();
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    assert_eq!(show(&decoded.rows), ROWS);
    assert_eq!((decoded.offsets, decoded.records), (vec![0, 1, 1, 2], 3));
}

#[test]
fn with_its_schema_around_it_the_envelope_is_the_payload() {
    let wrap = |envelope: &str| format!(r#"{{"schema":{{"type":"struct","fields":[],"name":"x.Envelope"}},"payload":{envelope}}}"#);
    let text = [CREATED, UPDATED, DELETED].map(wrap).join("\n");
    let with = config(&[("schema-include", "true")]).decoder(spec(products(), vec![])).unwrap();
    assert_eq!(show(&with.decode(&lines(&text), &mut |_| Ok(None)).unwrap().rows), ROWS);

    let fault = |decoded: Decoded| decoded.rejected[0].error.clone();
    let without = config(&[]).decoder(spec(products(), vec![])).unwrap();
    assert_eq!(
        fault(without.decode(&lines(&text), &mut |_| Ok(None)).unwrap()),
        "an envelope with its schema around it: set 'debezium-json.schema-include'='true'"
    );
    assert_eq!(fault(with.decode(&lines(CREATED), &mut |_| Ok(None)).unwrap()), "no envelope of Debezium: 'payload' is missing");
}

#[test]
fn a_filter_sees_the_changes_one_by_one() {
    let mut columns = products();
    let weight = columns.pop().unwrap();
    let decoder = config(&[]).decoder(spec(vec![weight], columns)).unwrap();
    let decoded = decoder
        .decode(&lines(&[CREATED, UPDATED, DELETED].join("\n")), &mut |first| {
            let weights = first.column(0).as_any().downcast_ref::<Float64Array>().unwrap();
            Ok(Some(BooleanArray::from_iter(weights.iter().map(|weight| weight.map(|weight| weight >= 1.0)))))
        })
        .unwrap();
    assert_eq!(show(&decoded.rows), ["3.14 | 0 | 101 | scooter", "1.0 | 1 | 106 | hammer", "5.17 | 3 | 111 | scooter"]);
    assert_eq!(decoded.offsets, [0, 1, 2]);
}

#[test]
fn the_envelope_is_read_as_metadata_under_flinks_names() {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    let entries = Fields::from(vec![Field::new("key", DataType::Utf8View, false), Field::new("value", DataType::Utf8View, true)]);
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false);
    let columns = vec![
        metadata("ingestion-timestamp", time()),
        metadata("value.source.timestamp", time()),
        metadata("source.database", DataType::Utf8View),
        metadata("source.schema", DataType::Utf8View),
        metadata("source.table", DataType::Utf8View),
        column("id", DataType::Int64),
        metadata("source.properties", map),
    ];
    let decoded =
        config(&[]).decoder(spec(columns, vec![])).unwrap().decode(&lines(&[CREATED, UPDATED].join("\n")), &mut |_| Ok(None)).unwrap();
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    let properties = "{db: inventory, table: products, ts_ms: 1589361987000}";
    let updated = format!("2020-05-13T09:26:27.936Z | 2020-05-13T09:26:27Z | inventory | ∅ | products | 106 | {properties}");
    let shown = show(&decoded.rows);
    assert!(
        shown[0].starts_with("2020-05-13T07:40:06.100Z | 2020-05-13T07:40:06Z | inventory | ∅ | products | 101 | {version: 1.1.1.Final")
    );
    assert_eq!(shown[1..], [updated.clone(), updated]);

    let refused = |column| config(&[]).decoder(spec(vec![column], vec![])).unwrap_err().message().to_owned();
    assert_eq!(
        refused(metadata("source.tabel", DataType::Utf8View)),
        "column 'source.tabel': 'format'='debezium-json' has no metadata 'source.tabel'; did you mean 'source.table'?"
    );
    assert_eq!(
        refused(metadata("ingestion-timestamp", DataType::Int64)),
        "column 'ingestion-timestamp': this metadata is TIMESTAMP_LTZ(3), not BIGINT"
    );
}

#[test]
fn tombstones_are_nothing_and_what_is_no_change_is_refused_whole() {
    let records: [Option<&str>; 8] = [
        Some(DELETED),
        None,
        Some(r#"{"before":null,"after":{"id":1},"op":"u"}"#),
        Some(r#"{"before":null,"op":"d"}"#),
        Some(r#"{"after":{"id":1},"op":"t"}"#),
        Some(r#"{"id":1}"#),
        // The half of an update that would fit goes with the other.
        Some(r#"{"before":{"id":2},"after":{"id":"x"},"op":"u"}"#),
        Some(r#"{"after":[],"op":"c"}"#),
    ];
    let mut framed = Framed::default();
    let mut data = Vec::new();
    for (number, record) in records.iter().enumerate() {
        let start = data.len() as u32;
        data.extend_from_slice(record.unwrap_or_default().as_bytes());
        framed.values.push(record.map(|_| (start, data.len() as u32)));
        framed.offsets.push(10 + number as i64);
    }
    framed.data = data.into();
    let chunk = Chunk { records: Records::Framed(framed), base_offset: 10, arrived_micros: 0 };
    let decoder = config(&[]).decoder(spec(vec![kind(), column("id", DataType::Int64)], vec![])).unwrap();
    let decoded = decoder.decode(&chunk, &mut |_| Ok(None)).unwrap();
    assert_eq!((show(&decoded.rows), decoded.offsets, decoded.records), (vec!["3 | 111".to_owned()], vec![10], 8));
    let told: Vec<_> = decoded.rejected.iter().map(|rejected| (rejected.offset, rejected.error.as_str())).collect();
    let whole = "; the database must log whole rows (PostgreSQL: ALTER TABLE … REPLICA IDENTITY FULL)";
    assert_eq!(
        told,
        [
            (12, format!("'before' is missing in a change -U{whole}").as_str()),
            (13, format!("'before' is missing in a change -D{whole}").as_str()),
            (14, "no change of a row: op \"t\"; expected c, r, u or d"),
            (15, "no envelope of Debezium: 'op' is missing"),
            (16, "column 'id': \"x\" is no BIGINT"),
            (17, "'after' is no object in a change +I"),
        ]
    );
}

#[test]
fn it_is_not_written() {
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    assert_eq!(config(&[]).encoder(&schema).unwrap_err().message(), "'format'='debezium-json' is read, not written: choose 'json'");
}
