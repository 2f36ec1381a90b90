//! What the JSON encoder writes, to the byte, and that the decoder reads it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use bytes::Bytes;
use proptest::prelude::*;

use super::encode::push_decimal;
use crate::format::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, FormatConfig, Records};

fn config(options: &[(&str, &str)]) -> FormatConfig {
    let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("json.{k}"), (*v).to_owned())).collect();
    FormatConfig::from_options("json", &mut options).unwrap()
}

fn encode(options: &[(&str, &str)], batch: &RecordBatch) -> Result<String, crate::error::Error> {
    let mut out = b"before".to_vec();
    let done = config(options).encoder(&batch.schema()).unwrap().encode(batch, &mut out);
    assert!(out.starts_with(b"before") && (done.is_ok() || out.len() == 6));
    done.map(|()| String::from_utf8(out.split_off(6)).unwrap())
}

fn one(array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("v", array, true)]).unwrap()
}

#[test]
fn values_are_written_as_flink_does() {
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("s", Arc::new(StringViewArray::from(vec!["a\"\\/é\n\u{1f}", ""])) as ArrayRef, true),
        ("i", Arc::new(Int32Array::from(vec![Some(-1), None])), true),
        ("d", Arc::new(Float64Array::from(vec![0.1, f64::NAN])), true),
        ("b", Arc::new(BooleanArray::from(vec![true, false])), true),
        ("t", Arc::new(TimestampMillisecondArray::from(vec![1_704_110_400_120, 0])), true),
        ("z", Arc::new(TimestampMicrosecondArray::from(vec![1, -1]).with_timezone("+00:00")), true),
        ("day", Arc::new(Date32Array::from(vec![0, 19_723])), true),
        ("at", Arc::new(Time32SecondArray::from(vec![1, 86_399])), true),
        ("n", Arc::new(Decimal128Array::from(vec![100, -5]).with_precision_and_scale(10, 2).unwrap()), true),
        ("raw", Arc::new(BinaryArray::from_vec(vec![b"\x00\x01\x02", b""])), true),
    ])
    .unwrap();
    let wanted = concat!(
        r#"{"s":"a\"\\/é\n\u001F","i":-1,"d":0.1,"b":true,"t":"2024-01-01 12:00:00.12","z":"1970-01-01 00:00:00.000001Z","#,
        r#""day":"1970-01-01","at":"00:00:01","n":1.00,"raw":"AAEC"}"#,
        "\n",
        r#"{"s":"","i":null,"d":"NaN","b":false,"t":"1970-01-01 00:00:00","z":"1969-12-31 23:59:59.999999Z","#,
        r#""day":"2024-01-01","at":"23:59:59","n":-0.05,"raw":""}"#,
        "\n",
    );
    assert_eq!(encode(&[], &batch).unwrap(), wanted);
    let times = batch.project(&[1, 4, 5]).unwrap();
    let options = [("timestamp-format.standard", "ISO-8601"), ("encode.ignore-null-fields", "true")];
    let wanted = concat!(
        r#"{"i":-1,"t":"2024-01-01T12:00:00.12","z":"1970-01-01T00:00:00.000001Z"}"#,
        "\n",
        r#"{"t":"1970-01-01T00:00:00","z":"1969-12-31T23:59:59.999999Z"}"#,
        "\n",
    );
    assert_eq!(encode(&options, &times).unwrap(), wanted);
}

#[test]
fn nested_values_are_written() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let row = StructArray::try_new(
        vec![Field::new("x", list.data_type().clone(), true)].into(),
        vec![Arc::new(list)],
        Some(vec![true, true, false].into()),
    )
    .unwrap();
    assert_eq!(encode(&[], &one(Arc::new(row))).unwrap(), "{\"v\":{\"x\":[1,null]}}\n{\"v\":{\"x\":null}}\n{\"v\":null}\n");

    let mut map = MapBuilder::new(None, StringViewBuilder::new(), Int32Builder::new());
    map.keys().append_value("a\"");
    map.values().append_value(1);
    map.append(true).unwrap();
    map.append(true).unwrap();
    assert_eq!(encode(&[], &one(Arc::new(map.finish()))).unwrap(), "{\"v\":{\"a\\\"\":1}}\n{\"v\":{}}\n");
}

#[test]
fn decimals_follow_java() {
    for (value, scale, wanted, plain) in [
        (0, 0, "0", "0"),
        (0, 2, "0.00", "0.00"),
        (0, 8, "0E-8", "0.00000000"),
        (1, 8, "1E-8", "0.00000001"),
        (123, 8, "0.00000123", "0.00000123"),
        (12, 8, "1.2E-7", "0.00000012"),
        (-12_345, 3, "-12.345", "-12.345"),
        (12, -2, "1.2E+3", "1200"),
        (1, -2, "1E+2", "100"),
    ] {
        for (plainly, wanted) in [(false, wanted), (true, plain)] {
            let mut out = Vec::new();
            push_decimal(&mut out, value, scale, plainly);
            assert_eq!(String::from_utf8(out).unwrap(), wanted, "{value} {scale}");
        }
    }
}

#[test]
fn a_type_without_a_json_form_is_refused_when_the_encoder_is_made() {
    let schema = Arc::new(Schema::new(vec![Field::new("d", DataType::Duration(TimeUnit::Second), true)]));
    let error = config(&[]).encoder(&schema).unwrap_err();
    assert!(error.message().starts_with("column 'd':"), "{error}");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        rows in prop::collection::vec(
            (prop::option::of("\\PC{0,20}"), any::<f64>(), any::<f32>(), any::<i64>(), any::<i128>(), prop::collection::vec(any::<u8>(), 0..9)),
            1..10,
        ),
        control in "[\u{0}-\u{20}\"\\\\a]{0,12}",
    ) {
        let decimal = |n: i128| n % 10i128.pow(38);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(rows.iter().map(|r| r.0.as_ref().map(|text| format!("{text}{control}"))).collect::<StringViewArray>()) as ArrayRef, true),
            ("b", Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>()), true),
            ("c", Arc::new(rows.iter().map(|r| r.2).collect::<Float32Array>()), true),
            ("d", Arc::new(rows.iter().map(|r| r.3).collect::<Int64Array>()), true),
            ("e", Arc::new(rows.iter().map(|r| Some(decimal(r.4))).collect::<Decimal128Array>().with_precision_and_scale(38, 12).unwrap()), true),
            ("f", Arc::new(rows.iter().map(|r| Some(r.5.as_slice())).collect::<BinaryArray>()), true),
        ])
        .unwrap();
        let text = encode(&[], &batch).unwrap();
        for line in text.lines() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{}", line);
        }
        let schema = batch.schema();
        let columns = schema.fields().iter().map(|field| DecodeColumn {
            field: field.clone(),
            from: ColumnOrigin::Payload(field.name().clone()),
        });
        let spec = DecodeSpec { first: columns.collect(), rest: vec![], offsets: false, payload: vec![] };
        let chunk = Chunk { records: Records::Lines(Bytes::from(text)), base_offset: 0, arrived_micros: 0 };
        let decoded = config(&[]).decoder(spec).unwrap().decode(&chunk, &mut |_| Ok(None)).unwrap();
        prop_assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        // Equal as Arrow compares, NaN by its bits: the sign of a NaN is not written.
        let bits = |batch: &RecordBatch| -> Vec<u64> {
            batch.column(1).as_primitive::<arrow::datatypes::Float64Type>().values().iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect()
        };
        prop_assert_eq!(bits(&decoded.rows), bits(&batch));
        for column in [0, 3, 4, 5] {
            prop_assert_eq!(decoded.rows.column(column), batch.column(column));
        }
    }
}
