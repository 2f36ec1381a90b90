//! Messages of other tools read, a registry over HTTP, and what is written read back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use arrow::util::display::array_value_to_string;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::format::{
    Binding, Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, EncodedRecords, FormatConfig, Framed, RecordSpec, Records,
};

/// The writers' schemas of the recorded messages.
const ORDER_1: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"int"},{"name":"customer","type":["null","string"],"default":null},{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["NEW","OLD"]}},{"name":"tags","type":{"type":"array","items":"string"}}]}"#;
const ORDER_2: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"},{"name":"customer","type":["null","string"],"default":null},{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"tags","type":{"type":"array","items":"string"}},{"name":"note","type":["string","null"]}]}"#;

/// Recorded from the AvroSerializer of Python's confluent-kafka 2.16.1 (fastavro 1.13.1), where the registry gave the
/// schemas above the ids 100001 and 100002: {1, anna, 12.50, NEW, [a, b]}, {2, null, -0.01, OLD, []},
/// {5000000000, bea, 7.00, [c], n}, all at 2024-01-31T12:00:00.123Z.
const MESSAGES: [&str; 3] = [
    "00000186a1020208616e6e610404e2f6a99ff6ab6300040261026200",
    "00000186a1040002fff6a99ff6ab630200",
    "00000186a280c8afa02502066265610402bcf6a99ff6ab630202630000026e",
];

/// Recorded from fastavro 1.13.1's schemaless_writer: {id: 7, name: "x"} as two nullable fields.
const PLAIN: &str = "020e020278";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn chunk(records: &[Option<Vec<u8>>]) -> Chunk {
    let mut framed = Framed::default();
    let mut data = Vec::new();
    for (number, record) in records.iter().enumerate() {
        let start = data.len() as u32;
        data.extend_from_slice(record.as_deref().unwrap_or_default());
        framed.values.push(record.as_ref().map(|_| (start, data.len() as u32)));
        framed.offsets.push(100 + number as i64);
    }
    framed.data = data.into();
    Chunk { records: Records::Framed(framed), base_offset: 100, arrived_micros: 0 }
}

#[derive(Default)]
struct Asked {
    schemas: Vec<u32>,
    registered: Vec<(String, String)>,
}

/// A registry that speaks Confluent's paths; returns its address and what it was asked.
fn registry(user_info: Option<&'static str>) -> (String, Arc<Mutex<Asked>>) {
    let asked: Arc<Mutex<Asked>> = Arc::default();
    let state = asked.clone();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let allowed = move |headers: &HeaderMap| {
            use base64::Engine as _;
            let wanted = user_info.map(|user| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user)));
            wanted.is_none_or(|wanted| headers.get("authorization").is_some_and(|given| given == wanted.as_str()))
        };
        let unauthorized = || (StatusCode::UNAUTHORIZED, Json(json!({ "error_code": 40101, "message": "Unauthorized" })));
        let by_id = move |State(asked): State<Arc<Mutex<Asked>>>, Path(id): Path<u32>, headers: HeaderMap| async move {
            if !allowed(&headers) {
                return unauthorized();
            }
            asked.lock().unwrap().schemas.push(id);
            match id {
                100_001 => (StatusCode::OK, Json(json!({ "schema": ORDER_1 }))),
                100_002 => (StatusCode::OK, Json(json!({ "schema": ORDER_2 }))),
                _ => (StatusCode::NOT_FOUND, Json(json!({ "error_code": 40403, "message": "Schema not found" }))),
            }
        };
        let register = move |State(asked): State<Arc<Mutex<Asked>>>, Path(subject): Path<String>, headers: HeaderMap, body: String| async move {
            if !allowed(&headers) {
                return unauthorized();
            }
            let body: Value = serde_json::from_str(&body).unwrap();
            asked.lock().unwrap().registered.push((subject, body["schema"].as_str().unwrap().to_owned()));
            (StatusCode::OK, Json(json!({ "id": 7 })))
        };
        let routes = Router::new().route("/schemas/ids/{id}", get(by_id)).route("/subjects/{subject}/versions", post(register));
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, routes.with_state(state)).await.unwrap();
        });
    });
    (format!("http://{}", told.recv().unwrap()), asked)
}

fn config(format: &str, options: &[(&str, &str)]) -> crate::error::Result<FormatConfig> {
    let mut options: BTreeMap<String, String> = options.iter().map(|(k, v)| (format!("{format}.{k}"), (*v).to_owned())).collect();
    FormatConfig::from_options(format, &mut options)
}

fn spec(columns: &[(&str, DataType, bool)]) -> DecodeSpec {
    let fields: Vec<FieldRef> =
        columns.iter().map(|(name, data_type, nullable)| Arc::new(Field::new(*name, data_type.clone(), *nullable)) as FieldRef).collect();
    let column = |field: &FieldRef| DecodeColumn { field: field.clone(), from: ColumnOrigin::Payload(field.name().clone()) };
    DecodeSpec {
        first: fields[..1].iter().map(column).collect(),
        rest: fields[1..].iter().map(column).collect(),
        offsets: true,
        payload: fields,
    }
}

fn show(rows: &RecordBatch) -> Vec<String> {
    let cell = |array: &ArrayRef, row| if array.is_null(row) { "∅".to_owned() } else { array_value_to_string(array, row).unwrap() };
    (0..rows.num_rows()).map(|row| rows.columns().iter().map(|array| cell(array, row)).collect::<Vec<_>>().join(" | ")).collect()
}

fn faults(decoded: &Decoded) -> Vec<(i64, &str)> {
    decoded.rejected.iter().map(|rejected| (rejected.offset, rejected.error.as_str())).collect()
}

fn order_columns() -> DecodeSpec {
    spec(&[
        ("id", DataType::Int64, false),
        ("customer", DataType::Utf8View, true),
        ("amount", DataType::Decimal128(12, 3), true),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ("kind", DataType::Utf8View, true),
        ("note", DataType::Utf8View, true),
    ])
}

#[test]
fn messages_of_two_schemas_are_read_into_one_table() {
    let (url, asked) = registry(None);
    let decoder = config("avro-confluent", &[("url", &url)]).unwrap().decoder(order_columns()).unwrap();
    let records: Vec<_> = MESSAGES.iter().map(|hex| Some(bytes(hex))).collect();
    let wanted = [
        "1 | anna | 12.500 | 2024-01-31T12:00:00.123 | NEW | ∅",
        "2 | ∅ | -0.010 | 2024-01-31T12:00:00.123 | OLD | ∅",
        "5000000000 | bea | 7.000 | 2024-01-31T12:00:00.123 | ∅ | n",
    ];
    for _ in 0..2 {
        let decoded = decoder.decode(&chunk(&records), &mut |_| Ok(None)).unwrap();
        assert_eq!((faults(&decoded), show(&decoded.rows)), (vec![], wanted.map(str::to_owned).to_vec()));
        assert_eq!((decoded.offsets, decoded.records), (vec![100, 101, 102], 3));
    }
    assert_eq!(asked.lock().unwrap().schemas, [100_001, 100_002], "each once");

    let kept =
        decoder.decode(&chunk(&records), &mut |first| Ok(Some(BooleanArray::from(vec![false, first.num_columns() == 1, true])))).unwrap();
    assert_eq!((show(&kept.rows), kept.offsets), (vec![wanted[1].to_owned(), wanted[2].to_owned()], vec![101, 102]));
}

#[test]
fn a_faulty_record_harms_no_other() {
    let (url, _) = registry(None);
    let decoder = config("avro-confluent", &[("url", &url)]).unwrap().decoder(order_columns()).unwrap();
    let good = bytes(MESSAGES[0]);
    let torn = good[..good.len() - 9].to_vec();
    let long = [good.clone(), vec![0]].concat();
    let records = [
        Some(good.clone()),
        Some(torn),
        None,
        Some(b"{}".to_vec()),
        Some(vec![0, 0, 0, 0, 9, 2]),
        Some(long),
        Some(vec![0, 1]),
        Some(good),
    ];
    let decoded = decoder.decode(&chunk(&records), &mut |_| Ok(None)).unwrap();
    assert_eq!(decoded.offsets, [100, 107]);
    let told = faults(&decoded);
    assert_eq!(told.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [101, 102, 103, 104, 105, 106]);
    assert!(told[0].1.starts_with("no Avro record of its schema"), "{told:?}");
    assert_eq!(told[1].1, "the record has no value (a tombstone)");
    assert_eq!(told[2].1, "the record does not begin with a zero byte and the id of its schema");
    assert_eq!(told[3].1, format!("the schema 9 of the record is not in the registry {url}"));
    assert!(told[4].1.starts_with("no Avro record of its schema"), "{told:?}");
    assert_eq!(told[5].1, "the record ends inside of the id of its schema");
}

#[test]
fn a_column_that_does_not_fit_refuses_its_rows() {
    let (url, _) = registry(None);
    let decoder = |columns: &[(&str, DataType, bool)]| config("avro-confluent", &[("url", &url)]).unwrap().decoder(spec(columns)).unwrap();
    let records: Vec<_> = MESSAGES.iter().map(|hex| Some(bytes(hex))).collect();
    let narrow = decoder(&[("id", DataType::Int32, true), ("customer", DataType::Utf8View, false)]);
    let decoded = narrow.decode(&chunk(&records), &mut |_| Ok(None)).unwrap();
    assert_eq!(show(&decoded.rows), ["1 | anna"]);
    assert_eq!(
        faults(&decoded),
        [(101, "column 'customer' is NULL, but declared NOT NULL"), (102, "column 'id': BIGINT of the writer is no INT here")]
    );
}

#[test]
fn a_readers_schema_gives_defaults_aliases_and_promotions() {
    let (url, _) = registry(None);
    let reader = r#"{"type":"record","name":"Seen","fields":[{"name":"id","type":"double"},{"name":"client","aliases":["customer"],"type":["null","string"],"default":null},{"name":"channel","type":"string","default":"web"},{"name":"note","type":["string","null"],"default":"none"}]}"#;
    let columns = [
        ("id", DataType::Float64, false),
        ("channel", DataType::Utf8View, false),
        ("client", DataType::Utf8View, true),
        ("note", DataType::Utf8View, true),
    ];
    let decoder = config("avro-confluent", &[("url", &url), ("schema", reader)]).unwrap().decoder(spec(&columns)).unwrap();
    let records: Vec<_> = MESSAGES.iter().map(|hex| Some(bytes(hex))).collect();
    let decoded = decoder.decode(&chunk(&records), &mut |_| Ok(None)).unwrap();
    assert_eq!(
        (faults(&decoded), show(&decoded.rows)),
        (vec![], vec!["1.0 | web | anna | none".to_owned(), "2.0 | web | ∅ | none".into(), "5000000000.0 | web | bea | n".into()])
    );
    // One that a writer's records cannot be resolved to refuses them, and says which field.
    let strict = r#"{"type":"record","name":"Seen","fields":[{"name":"id","type":"long"},{"name":"must","type":"string"}]}"#;
    let decoder = config("avro-confluent", &[("url", &url), ("schema", strict)]).unwrap();
    let decoder = decoder.decoder(spec(&[("id", DataType::Int64, false), ("must", DataType::Utf8View, false)])).unwrap();
    let decoded = decoder.decode(&chunk(&records[..1]), &mut |_| Ok(None)).unwrap();
    assert!(decoded.rows.num_rows() == 0 && decoded.rejected[0].error.contains("must"), "{:?}", faults(&decoded));

    let told =
        config("avro-confluent", &[("url", &url), ("schema", reader)]).unwrap().decoder(spec(&[("chanel", DataType::Utf8View, true)]));
    assert_eq!(told.unwrap_err().message(), "column 'chanel' is no field of 'avro-confluent.schema'; did you mean 'channel'?");
    let told = config("avro-confluent", &[("url", &url), ("schema", "\"string\"")]).unwrap_err();
    assert!(told.message().contains("'avro-confluent.schema' is no record"), "{told}");
}

/// Files of an authority and of a certificate that it has signed for 127.0.0.1.
fn certificates(dir: &std::path::Path) {
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=authority' -keyout ca.key -out ca.pem &&
        openssl req -newkey rsa:2048 -nodes -subj '/CN=localhost' -keyout node.key -out node.csr &&
        printf 'subjectAltName=IP:127.0.0.1\\n' > ext &&
        openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out node.crt &&
        cat node.crt node.key > own.pem";
    let done = std::process::Command::new("sh").current_dir(dir).args(["-c", script]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A registry over TLS that asks for a certificate and knows one schema; returns its address.
fn secure_registry(dir: &std::path::Path) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let asks = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(dir.join("node.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(dir.join("node.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(asks).with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") && stream.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {}
                let body = json!({ "schema": ORDER_1 }).to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                _ = stream.write_all((head + &body).as_bytes()).await;
                _ = stream.shutdown().await;
            }
        });
    });
    format!("https://{}", told.recv().unwrap())
}

#[test]
fn a_registry_over_https_is_trusted_by_its_authority_and_shown_our_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let url = secure_registry(dir.path());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (ca, own, key) = (file("ca.pem"), file("own.pem"), file("node.key"));
    let read = |options: &[(&str, &str)]| {
        let options: Vec<_> = [("url", url.as_str())].iter().chain(options).copied().collect();
        let decoder = config("avro-confluent", &options)?.decoder(order_columns())?;
        decoder.decode(&chunk(&[Some(bytes(MESSAGES[0]))]), &mut |_| Ok(None)).map(|decoded| show(&decoded.rows))
    };
    let trusts = ("ssl.truststore.location", ca.as_str());
    let rows = read(&[trusts, ("ssl.keystore.location", &own)]).unwrap();
    assert_eq!(rows, ["1 | anna | 12.500 | 2024-01-31T12:00:00.123 | NEW | ∅"]);
    let told = read(&[]).unwrap_err();
    assert!(told.kind() == crate::error::Kind::Input && told.message().contains("'avro-confluent.ssl.truststore.location'"), "{told}");
    assert!(read(&[trusts]).is_err(), "it asks for our certificate");
    let told = read(&[("ssl.truststore.location", "nowhere.pem")]).unwrap_err().to_string();
    assert!(told.contains("'avro-confluent.ssl.truststore.location': reading 'nowhere.pem'"), "{told}");
    let told = read(&[trusts, ("ssl.keystore.location", &key)]).unwrap_err().to_string();
    assert!(told.contains("'avro-confluent.ssl.keystore.location': the file does not hold what it should"), "{told}");
    std::fs::write(dir.path().join("store.jks"), [0xfe, 0xed, 0xfe, 0xed]).unwrap();
    let told = read(&[("ssl.truststore.location", &file("store.jks"))]).unwrap_err().to_string();
    assert!(told.contains("is no PEM file") && told.contains("keytool"), "{told}");
}

#[test]
fn without_framing_the_schema_is_that_of_the_table() {
    let decoder = config("avro", &[]).unwrap().decoder(spec(&[("id", DataType::Int64, true), ("name", DataType::Utf8View, true)])).unwrap();
    let decoded = decoder.decode(&chunk(&[Some(bytes(PLAIN)), Some(vec![9])]), &mut |_| Ok(None)).unwrap();
    assert_eq!((show(&decoded.rows), decoded.offsets), (vec!["7 | x".to_owned()], vec![100]));
    assert_eq!(decoded.rejected[0].offset, 101);
}

#[test]
fn what_is_written_is_registered_once_and_read_back() {
    let (url, asked) = registry(Some("me:secret"));
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8View, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())), true),
    ];
    let rows = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![
            Arc::new(Int64Array::from(vec![7, -1])),
            Arc::new(StringViewArray::from(vec![Some("x"), None])),
            Arc::new(TimestampMillisecondArray::from(vec![None, Some(1_500)]).with_timezone("+00:00")),
        ],
    )
    .unwrap();
    let written = |format: FormatConfig| {
        let spec = RecordSpec { schema: rows.schema(), columns: vec![0, 1, 2], key: None, binding: Binding::Kafka, upserts: false };
        let mut encoder = format.record_encoder(&spec).unwrap();
        let mut records = EncodedRecords::default();
        encoder.encode(&rows, &mut records).unwrap();
        encoder.encode(&rows, &mut records).unwrap();
        records.iter().map(|record| Some(record.value.unwrap().to_vec())).collect::<Vec<_>>()
    };
    let plain = written(config("avro", &[]).unwrap());
    let options = [
        ("url", url.as_str()),
        ("subject", "my topic-value"),
        ("basic-auth.credentials-source", "USER_INFO"),
        ("basic-auth.user-info", "me:secret"),
    ];
    let framed = written(config("avro-confluent", &options).unwrap());
    for (plain, framed) in plain.iter().zip(&framed) {
        assert_eq!(framed.as_ref().unwrap()[..5], [0, 0, 0, 0, 7]);
        assert_eq!(framed.as_ref().unwrap()[5..], plain.as_ref().unwrap()[..]);
    }
    let asked = asked.lock().unwrap();
    let [(subject, schema)] = asked.registered.as_slice() else { panic!("{:?}", asked.registered) };
    assert_eq!(subject, "my topic-value");
    let schema: Value = serde_json::from_str(schema).unwrap();
    assert_eq!((schema["name"].as_str(), schema["namespace"].as_str()), (Some("record"), Some("org.apache.flink.avro.generated")));
    assert_eq!(schema["fields"][1]["type"], json!(["null", "string"]));

    let columns =
        rows.schema().fields().iter().map(|f| (f.name().as_str().to_owned(), f.data_type().clone(), f.is_nullable())).collect::<Vec<_>>();
    let columns: Vec<(&str, DataType, bool)> = columns.iter().map(|(n, t, null)| (n.as_str(), t.clone(), *null)).collect();
    let decoded = config("avro", &[]).unwrap().decoder(spec(&columns)).unwrap().decode(&chunk(&plain), &mut |_| Ok(None)).unwrap();
    assert_eq!(show(&decoded.rows), ["7 | x | ∅", "-1 | ∅ | 1970-01-01T00:00:01.500Z"]);
}

#[test]
fn a_registry_that_refuses_or_is_away_is_told() {
    let (url, _) = registry(Some("me:secret"));
    let record = chunk(&[Some(bytes(MESSAGES[0]))]);
    let fault = |url: &str| {
        let decoder = config("avro-confluent", &[("url", url)]).unwrap().decoder(order_columns()).unwrap();
        decoder.decode(&record, &mut |_| Ok(None)).unwrap_err().message().to_owned()
    };
    assert_eq!(fault(&url), format!("the schema registry {url} refuses schema 100001: 401 Unauthorized"));
    assert!(fault("http://127.0.0.1:1").starts_with("the schema registry http://127.0.0.1:1 does not answer, tried 3 times"));

    let refused = |options: &[(&str, &str)]| config("avro-confluent", options).unwrap_err().message().to_owned();
    assert_eq!(refused(&[]), "'format'='avro-confluent' needs 'avro-confluent.url', the schema registry");
    assert!(refused(&[("url", "ftp://x")]).contains("expected http://host:port or https://host:port"));
    let lines = Chunk { records: Records::Lines(bytes::Bytes::from_static(b"x")), base_offset: 0, arrived_micros: 0 };
    let decoder = config("avro", &[]).unwrap().decoder(order_columns()).unwrap();
    assert!(decoder.decode(&lines, &mut |_| Ok(None)).unwrap_err().message().starts_with("Avro is binary"));
}
