//! Throughput of decoding and encoding: `cargo bench --bench decode`.
//!
//! Lines of about 208 bytes and ten fields, as the workloads of the README's figures have them. `filtered` is what a
//! query with a condition costs: time and type of every record, the rest for the fifth of them that pass; `all` reads
//! six fields of every record.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eagre::format::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, DecoderRef, FormatConfig, Records};

const RECORDS: u64 = 8_192;
const TYPES: [&str; 5] = ["OrderCreated", "PaymentProcessed", "ProductViewed", "CartUpdated", "ProfileUpdated"];
const FIELDS: [&str; 10] = ["eventId", "type", "customerId", "orderId", "ts", "amount", "currency", "region", "channel", "schemaVersion"];

/// The fields of one event: pure functions of its number.
fn event(number: u64) -> [String; 10] {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let cents = mixed % 50_000;
    [
        format!("{mixed:016x}"),
        TYPES[(mixed % 5) as usize].to_owned(),
        format!("C{:06}", mixed % 10_000),
        format!("O{:09}", mixed % 1_000_000_000),
        (1_700_000_040_000 + number * 10).to_string(),
        format!("{}.{:02}", cents / 100, cents % 100),
        "EUR".to_owned(),
        ["eu-west", "us-east", "ap-south"][(mixed % 3) as usize].to_owned(),
        ["web", "android"][(mixed % 2) as usize].to_owned(),
        "1".to_owned(),
    ]
}

fn json_lines() -> String {
    let mut text = String::new();
    for number in 0..RECORDS {
        for (index, (name, value)) in FIELDS.iter().zip(event(number)).enumerate() {
            let quote = if matches!(*name, "ts" | "amount" | "schemaVersion") { "" } else { "\"" };
            write!(text, "{}\"{name}\":{quote}{value}{quote}", if index == 0 { '{' } else { ',' }).unwrap();
        }
        text.push_str("}\n");
    }
    text
}

fn cloud_events() -> String {
    (0..RECORDS)
        .map(|number| {
            let [id, kind, customer, order, _, amount, ..] = event(number);
            format!(
                r#"{{"specversion":"1.0","id":"{id}","type":"shop.order.{kind}","source":"https://shop.example/orders","time":"2025-01-15T10:30:00Z","data":{{"customerId":"{customer}","orderId":"{order}","amount":{amount}}},"metadata":{{"correlationId":"{order}","version":"1.0.0"}}}}"#
            ) + "\n"
        })
        .collect()
}

fn column(name: &str) -> DecodeColumn {
    let data_type = match name {
        "ts" => DataType::Int64,
        "amount" => DataType::Float64,
        _ => DataType::Utf8View,
    };
    DecodeColumn { field: Arc::new(Field::new(name, data_type, true)), from: ColumnOrigin::Payload(name.to_owned()) }
}

fn decoder(format: &str, first: &[&str], rest: &[&str]) -> DecoderRef {
    let columns = |names: &[&str]| names.iter().map(|name| column(name)).collect();
    let payload = FIELDS.map(|name| column(name).field).to_vec();
    let spec = DecodeSpec { first: columns(first), rest: columns(rest), offsets: false, payload };
    FormatConfig::from_options(format, &mut BTreeMap::new()).unwrap().decoder(spec).unwrap()
}

fn chunk(text: &str) -> Chunk {
    Chunk { records: Records::Lines(Bytes::copy_from_slice(text.as_bytes())), base_offset: 0, arrived_micros: 0 }
}

fn benches(criterion: &mut Criterion) {
    let json = json_lines();
    let csv: String = (0..RECORDS).map(|number| event(number).join(",") + "\n").collect();
    let events = cloud_events();
    let six = ["eventId", "type", "customerId", "orderId", "ts", "amount"];
    let is_order = |column: &dyn arrow::array::Array| -> BooleanArray {
        column.as_string_view().iter().map(|kind| Some(kind == Some("OrderCreated"))).collect()
    };

    for (name, text, decoder, filtered) in [
        ("json/filtered", &json, decoder("json", &["ts", "type"], &["customerId", "amount"]), true),
        ("json/all", &json, decoder("json", &six, &[]), false),
        ("csv/filtered", &csv, decoder("csv", &["ts", "type"], &["customerId", "amount"]), true),
        ("csv/all", &csv, decoder("csv", &six, &[]), false),
        ("cloudevents/all", &events, decoder("cloudevents", &["customerId", "orderId", "amount"], &[]), false),
    ] {
        let chunk = chunk(text);
        for (unit, throughput) in [("bytes", Throughput::Bytes(text.len() as u64)), ("records", Throughput::Elements(RECORDS))] {
            let mut group = criterion.benchmark_group(format!("decode/{name}"));
            group.throughput(throughput);
            group.bench_function(unit, |bencher| {
                bencher.iter(|| {
                    let mut judge = |rows: &arrow::array::RecordBatch| Ok(filtered.then(|| is_order(rows.column(1))));
                    black_box(decoder.decode(&chunk, &mut judge).unwrap())
                });
            });
        }
    }

    let rows = decoder("json", &six, &[]).decode(&chunk(&json), &mut |_| Ok(None)).unwrap().rows;
    for format in ["json", "csv"] {
        let mut encoder = FormatConfig::from_options(format, &mut BTreeMap::new()).unwrap().encoder(&rows.schema()).unwrap();
        let mut out = Vec::new();
        let mut group = criterion.benchmark_group(format!("encode/{format}"));
        group.throughput(Throughput::Elements(RECORDS));
        group.bench_function("records", |bencher| {
            bencher.iter(|| {
                out.clear();
                encoder.encode(&rows, &mut out).unwrap();
                black_box(out.len())
            });
        });
    }
}

criterion_group!(decode, benches);
criterion_main!(decode);
