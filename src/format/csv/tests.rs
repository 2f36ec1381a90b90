//! Delimited lines, read and written.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringViewArray};
use arrow::datatypes::{Field, Int64Type, Schema};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::format::{Chunk, DecodeColumn, Decoded, FormatConfig, Framed, Records};

fn config(options: &[(&str, &str)]) -> FormatConfig {
    let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("csv.{k}"), (*v).to_owned())).collect();
    FormatConfig::from_options("csv", &mut options).unwrap()
}

fn column(name: &str, data_type: DataType) -> DecodeColumn {
    DecodeColumn { field: Arc::new(Field::new(name, data_type, true)), from: ColumnOrigin::Payload(name.to_owned()) }
}

/// Decodes lines of a table of a STRING, b BIGINT, c ARRAY<STRING>, reading b first.
fn decode(options: &[(&str, &str)], text: &str) -> Result<Decoded> {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true)));
    let spec = DecodeSpec {
        first: vec![column("b", DataType::Int64)],
        rest: vec![column("a", DataType::Utf8View), column("c", list)],
        offsets: true,
        payload: ["a", "b", "c"].map(|name| column(name, DataType::Utf8View).field).to_vec(),
    };
    let chunk = Chunk { records: Records::Lines(Bytes::copy_from_slice(text.as_bytes())), base_offset: 0, arrived_micros: 0 };
    config(options).decoder(spec)?.decode(&chunk, &mut |_| Ok(None))
}

fn show(decoded: &Decoded) -> Vec<String> {
    let cell = |array: &ArrayRef, row| {
        if array.is_null(row) { "∅".to_owned() } else { array_value_to_string(array, row).unwrap() }
    };
    let rows = &decoded.rows;
    (0..rows.num_rows()).map(|row| rows.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>().join(" | ")).collect()
}

#[test]
fn lines_become_rows_by_position() {
    let text = "x,1,p;q\r\n\"y, \"\"z\"\"\", 2 ,\n\n#,3,é\n";
    let decoded = decode(&[], text).unwrap();
    assert_eq!(show(&decoded), ["1 | x | [p, q]", "2 | y, \"z\" | []", "3 | # | [é]"]);
    assert_eq!((decoded.offsets, decoded.records), (vec![0, 1, 3], 3));
}

#[test]
fn options_change_the_marks() {
    let options = [
        ("field-delimiter", "\\t"),
        ("quote-character", "'"),
        ("escape-character", "\\"),
        ("null-literal", "\\N"),
        ("allow-comments", "true"),
        ("array-element-delimiter", "|"),
    ];
    let decoded = decode(&options, "# note\n'it\\'s'\t\\N\tp|q\na\\\tb\t2\t''\n").unwrap();
    assert_eq!(show(&decoded), ["∅ | it's | [p, q]", "2 | a\tb | []"]);
    let decoded = decode(&[("disable-quote-character", "true")], "\"x,1,\n").unwrap();
    assert_eq!(show(&decoded), ["1 | \"x | []"]);
}

#[test]
fn a_bad_line_is_refused_alone() {
    let decoded = decode(&[], "x,1,\nx,1\nx,1,2,3\n\"x,1,\n\"x\"y,1,\nx,,\nx,9,\n").unwrap();
    assert_eq!(decoded.offsets, [0, 6]);
    let errors: Vec<_> = decoded.rejected.iter().map(|rejected| rejected.error.as_str()).collect();
    assert_eq!(
        errors,
        [
            "the line has 2 fields, the table 3 columns",
            "the line has 4 fields, the table 3 columns",
            "a quoted field does not end on its line",
            "text after the closing quote",
            "column 'b': \"\" is no BIGINT ('csv.null-literal' = '' makes an empty field NULL)",
        ]
    );
    let ignoring = decode(&[("ignore-parse-errors", "true")], "x,y\n").unwrap();
    assert_eq!(show(&ignoring), ["∅ | x | ∅"]);
}

#[test]
fn a_record_may_end_as_a_line_does_and_keeps_the_blanks_of_its_last_field() {
    let spec = |delimiter: &str| {
        let columns = vec![column("a", DataType::Utf8View), column("b", DataType::Utf8View), column("c", DataType::Utf8View)];
        let payload = columns.iter().map(|column| column.field.clone()).collect();
        let spec = DecodeSpec { first: columns, rest: Vec::new(), offsets: true, payload };
        config(&[("field-delimiter", delimiter)]).decoder(spec).unwrap()
    };
    let read = |delimiter: &str, record: &str| {
        let framed = Framed {
            data: Bytes::copy_from_slice(record.as_bytes()),
            values: vec![Some((0, record.len() as u32))],
            offsets: vec![0],
            timestamps: vec![0],
            ..Default::default()
        };
        let chunk = Chunk { records: Records::Framed(framed), base_offset: 0, arrived_micros: 0 };
        let decoded = spec(delimiter).decode(&chunk, &mut |_| Ok(None)).unwrap();
        assert!(decoded.rejected.is_empty(), "{record:?}: {:?}", decoded.rejected);
        show(&decoded).remove(0)
    };
    assert_eq!(read(",", "x,y,z \n"), "x | y | z ");
    assert_eq!(read("\\t", "x\ty\t\r\n"), "x | y | ");
    assert_eq!(read("\\t", "x\t\t\n"), "x |  | ");
}

#[test]
fn a_header_is_checked_and_skipped() {
    let header = [("header", "true")];
    assert_eq!(show(&decode(&header, "\u{feff}a,b,c\nx,1,\n").unwrap()), ["1 | x | []"]);
    let error = decode(&header, "b,a,c\nx,1,\n").unwrap_err();
    assert_eq!(error.message(), "csv header: the file has the columns b, a, c, the table a, b, c; declare them in the order of the file");
}

#[test]
fn newlines_are_written_within_quotes() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8View, true)]));
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(StringViewArray::from(vec!["one\ntwo", "three"]))]).unwrap();
    let written = |options: &[(&str, &str)]| {
        let mut text = Vec::new();
        config(options).encoder(&schema).unwrap().encode(&rows, &mut text).map(|()| String::from_utf8(text).unwrap())
    };
    assert_eq!(written(&[]).unwrap(), "\"one\ntwo\"\nthree\n");
    let error = written(&[("disable-quote-character", "true")]).unwrap_err();
    assert!(error.message().starts_with("a text with the field delimiter or a newline"), "{error}");
}

#[test]
fn marks_must_be_single_and_differ() {
    let error = |options: &[(&str, &str)]| {
        let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("csv.{k}"), (*v).to_owned())).collect();
        FormatConfig::from_options("csv", &mut options).unwrap_err().message().to_owned()
    };
    assert_eq!(error(&[("field-delimiter", "ab")]), "'csv.field-delimiter' = 'ab': expected one ASCII character other than a newline");
    assert_eq!(error(&[("field-delimiter", "\"")]), "'csv.field-delimiter' must differ from the quote and escape characters");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        rows in prop::collection::vec((prop::option::of("[a-c\",;#'é\\\\ ]{0,5}"), prop::option::of(any::<i64>()), prop::collection::vec("[a-c\",' ]{1,3}", 0..3)), 1..8),
        escape: bool,
        header: bool,
    ) {
        let mut options = vec![("null-literal", "NULL"), ("header", if header { "true" } else { "false" })];
        if escape {
            options.push(("escape-character", "\\"));
        }
        let mut lists = arrow::array::ListBuilder::new(arrow::array::StringViewBuilder::new());
        for (_, _, list) in &rows {
            list.iter().for_each(|text| lists.values().append_value(text));
            lists.append(true);
        }
        let lists: ListArray = lists.finish();
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Utf8View, true),
            Field::new("b", DataType::Int64, true),
            Field::new("c", lists.data_type().clone(), true),
        ]));
        let a: StringViewArray = rows.iter().map(|row| row.0.clone()).collect();
        let b: Int64Array = rows.iter().map(|row| row.1).collect();
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(a.clone()), Arc::new(b.clone()), Arc::new(lists.clone())]).unwrap();
        let mut encoder = config(&options).encoder(&schema).unwrap();
        let mut text = encoder.file_header();
        encoder.encode(&batch, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let decoded = decode(&options, &text).unwrap();
        prop_assert!(decoded.rejected.is_empty(), "{text} {:?}", decoded.rejected);
        prop_assert_eq!(decoded.rows.column(0).as_primitive::<Int64Type>(), &b);
        prop_assert_eq!(decoded.rows.column(1).as_string_view().iter().collect::<Vec<_>>(), a.iter().collect::<Vec<_>>(), "{}", text);
        let show = |array: &dyn Array| (0..array.len()).map(|row| array_value_to_string(array, row).unwrap()).collect::<Vec<_>>();
        prop_assert_eq!(show(decoded.rows.column(2)), show(&lists), "{}", text);
    }

    #[test]
    fn any_text_is_rows_or_refused(text in "[ab1,\"\\\\;\n\r]{0,40}") {
        let decoded = decode(&[("escape-character", "\\")], &text).unwrap();
        prop_assert_eq!(decoded.records as usize, decoded.rows.num_rows() + decoded.rejected.len());
    }
}
