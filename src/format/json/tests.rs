//! What the JSON decoder reads and refuses, and that none of it depends on what it learned, on order or on cuts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use proptest::prelude::*;

use crate::format::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, DecoderRef, FormatConfig, Framed, Records};

fn column(name: &str, data_type: DataType) -> DecodeColumn {
    DecodeColumn { field: Arc::new(Field::new(name, data_type, true)), from: ColumnOrigin::Payload(name.to_owned()) }
}

fn spec(first: Vec<DecodeColumn>, rest: Vec<DecodeColumn>) -> DecodeSpec {
    DecodeSpec { first, rest, offsets: true, payload: Vec::new() }
}

fn decoder(options: &[(&str, &str)], spec: DecodeSpec) -> DecoderRef {
    let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("json.{k}"), (*v).to_owned())).collect();
    FormatConfig::from_options("json", &mut options).unwrap().decoder(spec).unwrap()
}

fn lines(text: impl AsRef<[u8]>) -> Chunk {
    Chunk { records: Records::Lines(Bytes::copy_from_slice(text.as_ref())), base_offset: 100, arrived_micros: 0 }
}

fn framed(records: &[&[u8]]) -> Chunk {
    let mut framed = Framed::default();
    let mut data = Vec::new();
    for (number, record) in records.iter().enumerate() {
        let start = data.len() as u32;
        data.extend_from_slice(record);
        framed.values.push(Some((start, data.len() as u32)));
        framed.offsets.push(100 + number as i64);
        framed.timestamps.push(number as i64);
        framed.keys.push(None);
        framed.headers.push(Vec::new());
    }
    framed.data = data.into();
    Chunk { records: Records::Framed(framed), base_offset: 100, arrived_micros: 0 }
}

fn decode(decoder: &DecoderRef, chunk: &Chunk) -> Decoded {
    decoder.decode(chunk, &mut |_| Ok(None)).unwrap()
}

/// Rows as text, one a line, `∅` for NULL.
fn show(rows: &RecordBatch) -> Vec<String> {
    (0..rows.num_rows())
        .map(|row| {
            let cell = |array: &Arc<dyn Array>| {
                if array.is_null(row) { "∅".to_owned() } else { array_value_to_string(array, row).unwrap() }
            };
            rows.columns().iter().map(cell).collect::<Vec<_>>().join(" | ")
        })
        .collect()
}

/// What one value of a type becomes: its text, or the reason it is refused for.
fn read_value(data_type: DataType, options: &[(&str, &str)], value: &str) -> Result<String, String> {
    let decoded = decode(&decoder(options, spec(vec![column("v", data_type)], vec![])), &lines(format!("{{\"v\":{value}}}")));
    match decoded.rejected.first() {
        Some(rejected) => Err(rejected.error.clone()),
        None => Ok(show(&decoded.rows).remove(0)),
    }
}

#[test]
fn fields_come_in_any_order_and_shape() {
    let decoder = decoder(&[], spec(vec![column("ts", DataType::Int64)], vec![column("type", DataType::Utf8View)]));
    let text = concat!(
        "{\"type\":\"A\",\"ts\":1}\n",
        "{\"ts\":2,\"type\":\"a longer text than fits in a view\"}\r\n",
        "\n",
        " { \"x\" : {\"ts\":[9,{}]} , \"t\\u0073\" : 3 , \"type\" : null } \n",
        "{}\n",
        "{\"ts\":4,\"ts\":5,\"type\":\"caf\\u00e9 \\ud83d\\ude00\"}\n",
        "{\"ts\":6,\"type\":\"café\"}",
    );
    let decoded = decode(&decoder, &lines(text));
    let wanted = ["1 | A", "2 | a longer text than fits in a view", "3 | ∅", "∅ | ∅", "5 | café 😀", "6 | café"];
    assert_eq!(show(&decoded.rows), wanted);
    assert_eq!(decoded.offsets, [100, 101, 103, 104, 105, 106]);
    assert_eq!(decoded.records, 6);
    assert!(decoded.rejected.is_empty());
}

#[test]
fn a_record_that_is_not_one_object_is_refused_and_its_neighbours_are_not() {
    let bad = [
        "[1]",
        "1",
        "nonsense",
        "{\"a\":1} x",
        "{\"a\":1}{\"a\":2}",
        "{\"a\":1",
        "{\"a\":\"x",
        "{\"a\":\"x\\",
        "{\"a\":{\"b\":[1}}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "{\"a\":1]",
        "{,}",
        "{\"x\":\"",
        "}",
    ];
    for bad in bad {
        let wanted = spec(vec![column("a", DataType::Int64)], vec![]);
        let text = format!("{{\"a\":7}}\n{bad}\n{{\"a\":8}}\n");
        let decoded = decode(&decoder(&[], wanted.clone()), &lines(&text));
        assert_eq!((show(&decoded.rows), decoded.offsets), (vec!["7".to_owned(), "8".to_owned()], vec![100, 102]), "{bad}");
        assert_eq!(decoded.rejected.len(), 1, "{bad}");
        assert_eq!((&decoded.rejected[0].record[..], decoded.rejected[0].offset), (bad.as_bytes(), 101));
        let decoded = decode(&decoder(&[], wanted), &framed(&[b"{\"a\":7}", bad.as_bytes(), b"\n{\"a\":8} \n"]));
        assert_eq!(decoded.offsets, [100, 102], "{bad}");
        assert_eq!(&decoded.rejected[0].record[..], bad.as_bytes());
    }
}

#[test]
fn more_blanks_than_were_learned_are_still_blanks() {
    let columns = || vec![column("a", DataType::Int64), column("b", DataType::Utf8View)];
    let text = "{\"a\": 1, \"b\": \"x\"}\n{\"a\":  2,  \"b\":\t \"y\"}\n{\"a\":3,\"b\":\"z\"}\n{ \"a\" : 4 , \"b\" : \"u\" }\n";
    let decoded = decode(&decoder(&[], spec(columns(), vec![])), &lines(text));
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    assert_eq!(show(&decoded.rows), ["1 | x", "2 | y", "3 | z", "4 | u"]);
    let row = DataType::Struct(vec![Field::new("n", DataType::Int64, true)].into());
    let text = "{\"r\": {\"n\": 1}}\n{\"r\":   {\"n\":  2}}\n";
    let decoded = decode(&decoder(&[], spec(vec![column("r", row)], vec![])), &lines(text));
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    assert_eq!(show(&decoded.rows), ["{n: 1}", "{n: 2}"]);
}

#[test]
fn a_byte_order_mark_is_skipped_at_the_head_of_a_file_only() {
    let decoder = decoder(&[], spec(vec![column("a", DataType::Int64)], vec![]));
    let text = "\u{feff}{\"a\":1}\n{\"a\":2}";
    let offsets = |base_offset| decode(&decoder, &Chunk { base_offset, ..lines(text) }).offsets;
    assert_eq!((offsets(0), offsets(100)), (vec![0, 1], vec![101]));
}

#[test]
fn a_tombstone_is_refused_and_what_stands_beside_records_can_be_read() {
    let beside = |name: &str, data_type| DecodeColumn {
        field: Arc::new(Field::new(name, data_type, true)),
        from: ColumnOrigin::Metadata(name.to_owned()),
    };
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    let columns = vec![beside("offset", DataType::Int64), beside("timestamp", timestamp), beside("key", DataType::Utf8View)];
    let mut chunk = framed(&[b"{}", b"", b"{}"]);
    if let Records::Framed(framed) = &mut chunk.records {
        framed.values[1] = None;
        framed.timestamps = vec![5_000, 0, i64::MIN];
        framed.keys[0] = Some(Bytes::from_static(b"k"));
    }
    let decoded = decode(&decoder(&[], spec(columns, vec![])), &chunk);
    assert_eq!(show(&decoded.rows), ["100 | 1970-01-01T00:00:00.005Z | k", "102 | ∅ | ∅"]);
    assert_eq!(decoded.rejected[0].error, "the record has no value (a tombstone)");
}

#[test]
fn values_are_coerced_as_flink_does() {
    use DataType::*;
    let micros = Timestamp(TimeUnit::Microsecond, None);
    let zoned = Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    for (data_type, value, wanted) in [
        (Int64, "\" 12 \"", "12"),
        (Int64, "1.9", "1"),
        (Int64, "-1.9e1", "-19"),
        (Int32, "2147483647", "2147483647"),
        (Int8, "\"-128\"", "-128"),
        (Float64, "1", "1.0"),
        (Float64, "\"NaN\"", "NaN"),
        (Float64, "\"1e3\"", "1000.0"),
        (Float32, "0.1", "0.1"),
        (Boolean, "true", "true"),
        (Boolean, "\" FALSE\"", "false"),
        (Utf8View, "12.50", "12.50"),
        (Utf8View, "true", "true"),
        (Utf8View, "{ \"a\" : [ 1, \" x \\\" \" ] }", "{\"a\":[1,\" x \\\" \"]}"),
        (Utf8View, "\"\"", ""),
        (Decimal128(10, 2), "1.005", "1.01"),
        (Decimal128(10, 2), "\"1e2\"", "100.00"),
        (Date32, "\"2024-02-29\"", "2024-02-29"),
        (Time32(TimeUnit::Second), "\"12:30:01\"", "12:30:01"),
        (micros.clone(), "\"2024-01-01 12:00:00.123456789\"", "2024-01-01T12:00:00.123456"),
        (zoned.clone(), "\"2024-01-01 12:00:00.5Z\"", "2024-01-01T12:00:00.500Z"),
        (Binary, "\"AAEC\"", "000102"),
        (micros.clone(), "null", "∅"),
    ] {
        assert_eq!(read_value(data_type.clone(), &[], value), Ok(wanted.to_owned()), "{data_type} {value}");
    }
    let iso = [("timestamp-format.standard", "ISO-8601")];
    assert_eq!(read_value(zoned, &iso, "\"2024-01-01T12:00:00Z\"").as_deref(), Ok("2024-01-01T12:00:00Z"));
}

#[test]
fn a_value_that_does_not_fit_is_named() {
    use DataType::*;
    for (data_type, value, wanted) in [
        (Int64, "\"abc\"", "column 'v': \"abc\" is no BIGINT"),
        (Int64, "9223372036854775808", "column 'v': 9223372036854775808 is no BIGINT"),
        (Int64, "1e30", "column 'v': 1e30 is no BIGINT"),
        (Int64, "007", "column 'v': 007 is no BIGINT"),
        (Int64, "true", "column 'v': true is no BIGINT"),
        (Int64, "[1]", "column 'v': [1] is no BIGINT"),
        (Int16, "1.5", "column 'v': 1.5 is no SMALLINT"),
        (Int8, "128", "column 'v': 128 is no TINYINT"),
        (Float64, "1.", "column 'v': 1. is no DOUBLE"),
        (Boolean, "1", "column 'v': 1 is no BOOLEAN"),
        (Utf8View, "nope", "column 'v': nope is no STRING"),
        (Utf8View, "\"\\ud800\"", "column 'v': \"\\\\ud800\" is no STRING"),
        (Decimal128(3, 2), "10", "column 'v': 10 is no DECIMAL(3, 2)"),
        (Date32, "\"2023-02-29\"", "column 'v': \"2023-02-29\" is no DATE"),
        (Binary, "\"*\"", "column 'v': \"*\" is no BYTES"),
        (
            Timestamp(TimeUnit::Millisecond, None),
            "\"2024-01-01T00:00:00\"",
            "column 'v': \"2024-01-01T00:00:00\" is no TIMESTAMP(3) (expected the form '2024-01-31 12:00:00.123')",
        ),
    ] {
        assert_eq!(read_value(data_type, &[], value), Err(wanted.to_owned()));
    }
    let ignoring = [("ignore-parse-errors", "true")];
    assert_eq!(read_value(Int64, &ignoring, "\"abc\"").as_deref(), Ok("∅"));
    let strict = decoder(&[("fail-on-missing-field", "true")], spec(vec![column("v", Int64)], vec![]));
    let decoded = decode(&strict, &lines("{\"v\":null}\n{}\n"));
    assert_eq!((decoded.rows.num_rows(), decoded.rejected[0].error.as_str()), (1, "field 'v' is missing"));
}

#[test]
fn text_that_is_no_utf_8_is_refused_where_it_is_read() {
    let text = b"{\"a\":\"\xff\",\"b\":1}\n{\"a\":\"x\",\"b\":2}\n";
    let read = decode(&decoder(&[], spec(vec![column("a", DataType::Utf8View)], vec![])), &lines(text));
    assert_eq!((show(&read.rows), read.rejected[0].error.as_str()), (vec!["x".to_owned()], "column 'a': \"\u{fffd}\" is not valid UTF-8"));
    let unread = decode(&decoder(&[], spec(vec![column("b", DataType::Int64)], vec![])), &lines(text));
    assert_eq!(unread.rows.num_rows(), 2);
}

#[test]
fn nested_columns_are_read() {
    let item = Field::new(
        "item",
        DataType::Struct(vec![Field::new("sku", DataType::Utf8View, true), Field::new("n", DataType::Int32, true)].into()),
        true,
    );
    let entries = Field::new(
        "entries",
        DataType::Struct(vec![Field::new("key", DataType::Utf8View, false), Field::new("value", DataType::Float64, true)].into()),
        false,
    );
    let columns = vec![
        column("at", DataType::Struct(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Int64, false)].into())),
        column("items", DataType::List(Arc::new(item))),
        column("tags", DataType::Map(Arc::new(entries), false)),
    ];
    let text = concat!(
        "{\"at\":{\"y\":2,\"x\":1},\"items\":[{\"sku\":\"a\",\"n\":1}, {\"n\":\"2\"} ,null],\"tags\":{\"k\":1,\"k\":2.5,\"l\":null}}\n",
        "{\"at\":null,\"items\":[],\"tags\":{}}\n",
        "{\"at\":{\"x\":1}}\n",
        "{\"at\":3}\n",
        "{\"items\":[{\"n\":\"x\"}]}\n",
        "{\"items\":[1,]}\n",
        "{\"tags\":{\"a\":\"b\"}}\n",
        "{\"at\":{\"x\":5,\"y\":6},\"at\":{\"y\":7}}\n",
    );
    let decoded = decode(&decoder(&[], spec(columns, vec![])), &lines(text));
    assert_eq!(
        show(&decoded.rows),
        ["{x: 1, y: 2} | [{sku: a, n: 1}, {sku: , n: 2}, ] | {k: 2.5, l: }", "∅ | [] | {}", "{x: , y: 7} | ∅ | ∅",]
    );
    let errors: Vec<_> = decoded.rejected.iter().map(|rejected| rejected.error.as_str()).collect();
    assert_eq!(
        errors,
        [
            "column 'at.y' is NULL, but declared NOT NULL",
            "column 'at': 3 is no ROW",
            "column 'items[].n': \"x\" is no INT",
            "column 'items': [1,] is no ARRAY",
            "column 'tags[]': \"b\" is no DOUBLE",
        ]
    );
}

#[test]
fn only_kept_rows_are_decoded_further() {
    let wanted = spec(vec![column("a", DataType::Int64)], vec![column("b", DataType::Int64)]);
    let text = "{\"a\":1,\"b\":10}\n{\"a\":2,\"b\":\"bad\"}\n{\"a\":3,\"b\":\"bad\"}\n{\"a\":4,\"b\":40}\n";
    let mut seen = 0;
    let decoded = decoder(&[], wanted)
        .decode(&lines(text), &mut |first| {
            seen += first.num_rows();
            Ok(Some(BooleanArray::from(vec![Some(true), None, Some(true), Some(true)])))
        })
        .unwrap();
    assert_eq!(seen, 4);
    assert_eq!(show(&decoded.rows), ["1 | 10", "4 | 40"]);
    assert_eq!((decoded.offsets, decoded.rejected.len()), (vec![100, 103], 1));
    assert_eq!(decoded.rejected[0].offset, 102);
}

/// Any JSON value, some depth.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6f64).prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        "[\"\\\\\n\t{}\\[\\]:, a]{0,24}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-e\"\\\\é]{0,3}", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A record as a list of fields (keys may come twice) with blanks and escapes as wild as JSON allows.
#[derive(Debug, Clone)]
struct Wild {
    fields: Vec<(String, serde_json::Value)>,
    style: u8,
}

impl Wild {
    fn text(&self) -> String {
        let blank = ["", " ", "\t ", " \r"][self.style as usize % 4];
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(key, value)| {
                let key = if self.style & 4 != 0 {
                    format!("\"{}\"", key.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>())
                } else {
                    serde_json::to_string(key).unwrap()
                };
                let value = serde_json::to_string(value).unwrap();
                // Escape the slash, or what is not ASCII, where the style says so.
                let value = if self.style & 8 != 0 { value.replace('é', "\\u00E9").replace('/', "\\/") } else { value };
                format!("{blank}{key}{blank}:{blank}{value}{blank}")
            })
            .collect();
        format!("{blank}{{{}{blank}}}{blank}", fields.join(","))
    }

    /// What the columns hold by a plain reading.
    fn wanted(&self) -> (serde_json::Value, serde_json::Value) {
        let last =
            |name: &str| self.fields.iter().rev().find(|(key, _)| key == name).map_or(serde_json::Value::Null, |(_, value)| value.clone());
        (last("a"), last("type"))
    }
}

fn wild() -> impl Strategy<Value = Wild> {
    let key = prop_oneof![4 => Just("a".to_owned()), 4 => Just("type".to_owned()), 5 => "[a-zé\"]{0,6}", 1 => "[a-z]{30,40}"];
    (prop::collection::vec((key, any_json()), 0..6), any::<u8>()).prop_map(|(fields, style)| Wild { fields, style })
}

/// A cell as JSON, read from a STRING column.
fn as_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn wild_records_read_as_by_a_plain_parser(records in prop::collection::vec(wild(), 1..12), cut in 0usize..12) {
        let decoder = decoder(&[], spec(vec![column("a", DataType::Utf8View)], vec![column("type", DataType::Utf8View)]));
        let texts: Vec<String> = records.iter().map(Wild::text).collect();
        let wanted: Vec<(Option<String>, Option<String>)> = records
            .iter()
            .map(|record| {
                let (a, b) = record.wanted();
                (as_text(&a), as_text(&b))
            })
            .collect();
        let read = |chunk: &Chunk| {
            let decoded = decode(&decoder, chunk);
            assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
            let column = |index: usize| -> Vec<Option<String>> {
                use arrow::array::AsArray;
                decoded.rows.column(index).as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
            };
            column(0).into_iter().zip(column(1)).collect::<Vec<_>>()
        };
        // Compare nested values by meaning: escapes in them stay as written.
        let same = |left: &Option<String>, right: &Option<String>| left == right || match (left, right) {
            (Some(left), Some(right)) => {
                let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
                parse(left).is_some() && parse(left) == parse(right)
            }
            _ => false,
        };
        let check = |got: Vec<(Option<String>, Option<String>)>, wanted: &[(Option<String>, Option<String>)]| {
            got.len() == wanted.len() && got.iter().zip(wanted).all(|(g, w)| same(&g.0, &w.0) && same(&g.1, &w.1))
        };
        prop_assert!(check(read(&lines(texts.join("\n"))), &wanted));
        // Cut anywhere, and with what was learned so far.
        let (head, tail) = texts.split_at(cut.min(texts.len()));
        prop_assert!(check(read(&lines(head.join("\n"))), &wanted[..head.len()]));
        prop_assert!(check(read(&lines(tail.join("\n"))), &wanted[head.len()..]));
        let records: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        prop_assert!(check(read(&framed(&records)), &wanted));
    }

    #[test]
    fn late_materialisation_changes_nothing(records in prop::collection::vec(wild(), 1..12), keep in prop::collection::vec(any::<bool>(), 12)) {
        let text = records.iter().map(Wild::text).collect::<Vec<_>>().join("\n");
        let columns = || (column("a", DataType::Int64), column("type", DataType::Utf8View));
        let (a, b) = columns();
        let late = decoder(&[], spec(vec![a], vec![b]));
        let (a, b) = columns();
        let early = decoder(&[], spec(vec![a, b], vec![]));
        // Keep by offset, which both see alike.
        let kept = |decoded: &Decoded| -> Vec<(i64, String)> {
            decoded.offsets.iter().copied().zip(show(&decoded.rows)).filter(|(offset, _)| keep[(offset - 100) as usize % 12]).collect()
        };
        let whole = decode(&early, &lines(&text));
        let all = kept(&whole);
        let offsets_of_first = decode(&decoder(&[], spec(vec![columns().0], vec![])), &lines(&text)).offsets;
        let late = late.decode(&lines(&text), &mut |first| {
            assert_eq!(first.num_rows(), offsets_of_first.len());
            Ok(Some(offsets_of_first.iter().map(|offset| Some(keep[(offset - 100) as usize % 12])).collect()))
        }).unwrap();
        prop_assert_eq!(late.offsets.iter().copied().zip(show(&late.rows)).collect::<Vec<_>>(), all);
    }

    #[test]
    fn torn_and_corrupt_bytes_never_panic_and_are_all_accounted_for(
        records in prop::collection::vec(wild(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
    ) {
        let mut text = records.iter().map(Wild::text).collect::<Vec<_>>().join("\n").into_bytes();
        for (at, byte) in damage {
            let at = at.index(text.len());
            text[at] = byte;
        }
        text.truncate(length.index(text.len()) + 1);
        let columns = vec![
            column("a", DataType::Struct(vec![Field::new("b", DataType::Utf8View, true)].into())),
            column("type", DataType::List(Arc::new(Field::new("item", DataType::Decimal128(10, 2), true)))),
        ];
        let wanted = spec(columns, vec![column("b", DataType::Float64)]);
        let decoded = decode(&decoder(&[], wanted.clone()), &lines(&text));
        prop_assert_eq!(decoded.records as usize, decoded.rows.num_rows() + decoded.rejected.len());
        let lines_given = text.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'))).count();
        prop_assert_eq!(decoded.records as usize, lines_given);
        // Each line alone gives what it gives among the others; a whole object by a plain parser is never refused
        // for its shape.
        for rejected in &decoded.rejected {
            if !rejected.error.starts_with("column") {
                prop_assert!(serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&rejected.record).is_err(), "{:?}", rejected);
            }
        }
        let cut: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'))).collect();
        let as_frames = decode(&decoder(&[], wanted), &framed(&cut));
        prop_assert_eq!(show(&as_frames.rows), show(&decoded.rows));
    }
}
