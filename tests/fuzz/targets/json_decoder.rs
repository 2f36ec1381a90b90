//! Any bytes as JSON lines: no panic, every record accounted for, no JSON object refused for its shape, and the same
//! rows when each line comes alone.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::Bytes;
use eagre::format::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, DecoderRef, FormatConfig, Records};
use libfuzzer_sys::fuzz_target;

fn column(name: &str, data_type: DataType) -> DecodeColumn {
    DecodeColumn { field: Arc::new(Field::new(name, data_type, true)), from: ColumnOrigin::Payload(name.to_owned()) }
}

static DECODER: LazyLock<DecoderRef> = LazyLock::new(|| {
    let row = DataType::Struct(vec![Field::new("x", DataType::Utf8View, true), Field::new("y", DataType::Date32, true)].into());
    let list = DataType::List(Arc::new(Field::new("item", row.clone(), true)));
    let spec = DecodeSpec {
        first: vec![
            column("a", DataType::Int64),
            column("b", DataType::Utf8View),
            column("t", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ],
        rest: vec![column("c", DataType::Float64), column("d", DataType::Decimal128(10, 2)), column("e", row), column("f", list)],
        offsets: true,
        payload: vec![],
    };
    let decoder = FormatConfig::from_options("json", &mut BTreeMap::new()).and_then(|json| json.decoder(spec));
    decoder.expect("a valid spec")
});

fn decode(text: &[u8]) -> Decoded {
    let chunk = Chunk { records: Records::Lines(Bytes::copy_from_slice(text)), base_offset: 0, arrived_micros: 0 };
    DECODER.decode(&chunk, &mut |_| Ok(None)).expect("no fault of the whole chunk")
}

fn is_blank(line: &&[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

fuzz_target!(|text: &[u8]| {
    let decoded = decode(text);
    assert_eq!(decoded.records as usize, decoded.rows.num_rows() + decoded.rejected.len());
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).collect();
    assert_eq!(decoded.records as usize, lines.len());
    for rejected in &decoded.rejected {
        let of_shape = !rejected.error.starts_with("column");
        let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&rejected.record);
        assert!(!of_shape || object.is_err(), "{rejected:?}");
    }
    let alone: Vec<RecordBatch> = lines.iter().map(|line| decode(line).rows).collect();
    let together = arrow::compute::concat_batches(&decoded.rows.schema(), &alone).expect("one schema");
    assert_eq!(together, decoded.rows);
});
