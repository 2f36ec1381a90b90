//! The connector as a pipeline uses it.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use super::writer::LogWriter;
use crate::connector::contract::{Shows, check_sink, check_source, sink_of, source_of};
use crate::connector::environment::Environment;
use crate::connector::{Partition, Position, Prepared, Read, Sink, Writer};
use crate::error::{Kind, Result};
use crate::format::{Binding, FormatConfig, KeyForm, KeySpec, RecordSpec, Records};
use crate::log::{Batch, Log, Record};
use crate::state::StateHandles;

fn environment(unbounded: bool) -> (tempfile::TempDir, Environment) {
    let dir = tempfile::tempdir().unwrap();
    let mut env = Environment::new(dir.path(), dir.path(), "p");
    env.run.unbounded = unbounded;
    (dir, env)
}

fn put(log: &Log, topic: &str, partition: u32, values: &[&str]) {
    let topic = log.topic(topic).or_else(|_| log.create_topic(topic, 2, None)).unwrap();
    let mut batch = Batch::default();
    for (n, value) in values.iter().enumerate() {
        batch.push(&topic, partition, &Record::new(value.as_bytes(), n as i64 * 1_000)).unwrap();
    }
    log.append(batch).unwrap();
}

/// All records of a partition, with their offsets.
fn stored(log: &Log, topic: &str, partition: u32) -> Vec<String> {
    let topic = log.topic(topic).unwrap();
    let records = log.read(&topic, partition, 0, 1 << 30).unwrap();
    (0..records.len()).map(|i| String::from_utf8(records.value(i).unwrap().to_vec()).unwrap()).collect()
}

fn rows(names: &[&str]) -> RecordBatch {
    let columns: Vec<FieldRef> =
        vec![Arc::new(Field::new("name", DataType::Utf8View, true)), Arc::new(Field::new("n", DataType::Int64, true))];
    let n = Int64Array::from_iter_values(names.iter().map(|name| name.len() as i64));
    RecordBatch::try_new(Arc::new(Schema::new(columns)), vec![Arc::new(StringViewArray::from(names.to_vec())), Arc::new(n)]).unwrap()
}

#[tokio::test]
async fn a_bounded_read_ends_where_the_topic_ended_when_it_began() {
    let (_dir, env) = environment(false);
    let log = env.log.open().unwrap();
    put(&log, "t", 0, &["a", "b"]);
    put(&log, "t", 0, &["c"]);
    put(&log, "t", 1, &["d"]);
    let source = source_of(&[("connector", "log")], &env).unwrap();
    assert_eq!(check_source(source.as_ref()).await, [vec!["a", "b", "c"], vec!["d"]]);

    let partition = Partition { index: 0, name: "t[0]".into() };
    let mut reader = source.open(&partition, None).await.unwrap();
    put(&log, "t", 0, &["too late"]);
    let mut seen = 0;
    while let Read::Chunk(chunk) = reader.read().await.unwrap() {
        let Records::Framed(framed) = chunk.records else { panic!() };
        seen += framed.offsets.len();
        reader = source.open(&partition, Some(&reader.position())).await.unwrap();
    }
    assert_eq!(seen, 3, "also when it is restored on the way");
}

#[tokio::test]
async fn a_pipeline_makes_its_topic_and_waits_for_records() {
    let (_dir, env) = environment(true);
    let source = source_of(&[("connector", "log"), ("topic", "orders"), ("partitions", "3")], &env).unwrap();
    let partitions = source.partitions().await.unwrap();
    assert_eq!(partitions.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["orders[0]", "orders[1]", "orders[2]"]);
    let mut reader = source.open(&partitions[1], None).await.unwrap();
    assert!(matches!(reader.read().await.unwrap(), Read::Idle));
    put(&env.log.open().unwrap(), "orders", 1, &["a"]);
    assert!(matches!(reader.read().await.unwrap(), Read::Chunk(_)));
    assert_eq!(reader.position(), Position(serde_json::json!({"offset": 1})));
    let ahead = source.open(&partitions[1], Some(&Position(serde_json::json!({"offset": 2})))).await;
    assert_eq!(ahead.err().map(|e| e.kind()), Some(Kind::Corrupt), "a log shorter than the checkpoint says");
}

#[tokio::test]
async fn reading_begins_where_the_options_say() {
    let (_dir, env) = environment(false);
    put(&env.log.open().unwrap(), "t", 0, &["a", "b", "c"]);
    let partition = Partition { index: 0, name: "t[0]".into() };
    let starts: [(&[(&str, &str)], i64); 4] = [
        (&[], 0),
        (&[("scan.startup.mode", "latest-offset")], 3),
        (&[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp-millis", "1")], 1),
        (&[("scan.startup.mode", "specific-offsets"), ("scan.startup.specific-offsets", "partition:0,offset:2;partition:1,offset:0")], 2),
    ];
    for (options, offset) in starts {
        let options: Vec<_> = [("connector", "log")].iter().chain(options).copied().collect();
        let reader = source_of(&options, &env).unwrap().open(&partition, None).await.unwrap();
        assert_eq!(reader.position().0["offset"], offset, "{options:?}");
    }
    let told = |options: &[(&str, &str)]| source_of(options, &env).unwrap_err().to_string();
    assert_eq!(
        told(&[("connector", "log"), ("scan.startup.mode", "timestamp")]),
        "connector 'log': 'scan.startup.mode'='timestamp' needs 'scan.startup.timestamp-millis'"
    );
    assert!(told(&[("connector", "log"), ("scan.startup.mode", "earliest")]).contains("did you mean 'earliest-offset'?"));
    assert!(told(&[("connector", "log"), ("format", "jsn")]).contains("did you mean 'json'?"));
}

#[tokio::test]
async fn a_bounded_reading_ends_where_the_options_say() {
    let (_dir, env) = environment(true);
    put(&env.log.open().unwrap(), "t", 0, &["a", "b", "c"]);
    let partition = Partition { index: 0, name: "t[0]".into() };
    let ends: [(&[(&str, &str)], usize); 4] = [
        (&[("scan.bounded.mode", "latest-offset")], 3),
        (&[("scan.bounded.mode", "specific-offsets"), ("scan.bounded.specific-offsets", "partition:0,offset:2")], 2),
        (&[("scan.bounded.mode", "specific-offsets"), ("scan.bounded.specific-offsets", "partition:0,offset:9")], 3),
        (&[("scan.bounded.mode", "timestamp"), ("scan.bounded.timestamp-millis", "1")], 1),
    ];
    for (options, count) in ends {
        let options: Vec<_> = [("connector", "log")].iter().chain(options).copied().collect();
        let source = source_of(&options, &env).unwrap();
        assert!(source.bounded());
        let mut reader = source.open(&partition, None).await.unwrap();
        let mut seen = 0;
        while let Read::Chunk(chunk) = reader.read().await.unwrap() {
            let Records::Framed(framed) = chunk.records else { panic!() };
            seen += framed.offsets.len();
        }
        assert_eq!(seen, count, "{options:?}");
    }
    let told = source_of(&[("connector", "log"), ("scan.bounded.mode", "timestamp")], &env).unwrap_err().to_string();
    assert_eq!(told, "connector 'log': 'scan.bounded.mode'='timestamp' needs 'scan.bounded.timestamp-millis'");
    let told = source_of(&[("connector", "log"), ("scan.bounded.mod", "timestamp")], &env).unwrap_err().to_string();
    assert_eq!(told, "connector 'log': unknown option 'scan.bounded.mod'; did you mean 'scan.bounded.mode'?");
}

#[test]
fn rows_go_to_the_partition_of_their_key_and_are_seen_when_committed() {
    let (_dir, env) = environment(true);
    let log = env.log.open().unwrap();
    let topic = log.create_topic("t", 2, None).unwrap();
    let raw = FormatConfig::from_options("raw", &mut Default::default()).unwrap();
    let writer = |key: Option<usize>| {
        let key = key.map(|column| KeySpec { columns: vec![column], names: None, form: KeyForm::Text });
        let spec = RecordSpec { schema: rows(&[]).schema(), columns: vec![0], key, binding: Binding::Kafka, upserts: false };
        LogWriter::new(log.clone(), topic.clone(), "p/t".into(), raw.record_encoder(&spec).unwrap())
    };
    let staged = |prepared: Option<Prepared>| prepared.unwrap().0["stage"].as_u64().unwrap();

    let mut keyed = writer(Some(0));
    keyed.write(&rows(&["k1", "k2", "k3", "k1"])).unwrap();
    let stage = staged(keyed.prepare(1).unwrap());
    assert_eq!(keyed.prepare(2).unwrap(), None, "nothing written, nothing prepared");
    assert_eq!((topic.end_offset(0).unwrap(), topic.end_offset(1).unwrap()), (0, 0));
    log.commit_stages("p/t", 1, &[stage]).unwrap();
    for partition in 0..2 {
        for value in stored(&log, "t", partition) {
            assert_eq!(topic.partition_of(value.as_bytes()), partition);
        }
    }
    assert_eq!(stored(&log, "t", 0).len() + stored(&log, "t", 1).len(), 4);

    // Without a key batches take turns; a record may hold a line break.
    let mut keyless = writer(None);
    keyless.write(&rows(&["x\ny", "z"])).unwrap();
    let stage = staged(keyless.prepare(2).unwrap());
    log.commit_stages("p/t", 2, &[stage]).unwrap();
    let all = [stored(&log, "t", 0), stored(&log, "t", 1)].concat();
    assert!(all.contains(&"x\ny".to_owned()) && all.contains(&"z".to_owned()), "{all:?}");
}

#[test]
fn the_sink_keeps_the_contract() {
    for key in [&[][..], &[("key.fields", "name")], &[("key.fields", "n;name")]] {
        let (_dir, env) = environment(true);
        let options: Vec<_> = [("connector", "log"), ("partitions", "2")].iter().chain(key).copied().collect();
        let log = env.log.open().unwrap();
        let shown = || {
            let lines = (0..2).flat_map(|p| log.topic("t").map_or(Vec::new(), |_| stored(&log, "t", p)));
            let row = |line: String| {
                let row: serde_json::Value = serde_json::from_str(&line).unwrap();
                format!("{},{}", row["name"].as_str().unwrap(), row["n"])
            };
            lines.map(row).collect()
        };
        check_sink(&|| sink_of(&options, &env).unwrap(), &shown, Shows::Appended);
    }
}

#[test]
fn an_unknown_key_column_is_told() {
    let (_dir, env) = environment(true);
    let told = sink_of(&[("connector", "log"), ("key.fields", "nme")], &env).unwrap_err().to_string();
    assert_eq!(told, "connector 'log': option 'key.fields': no column 'nme' in t; did you mean 'name'?");
}

/// The sink of dead letters, given rows of the contract: the name is the record, the number its offset.
#[derive(Debug)]
struct AsLetters(Arc<dyn Sink>);

impl Sink for AsLetters {
    fn describe(&self) -> String {
        self.0.describe()
    }
    fn identity(&self) -> String {
        self.0.identity()
    }
    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        self.0.start(restored)
    }
    fn open(&self, task: usize, state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Ok(Box::new(AsLettersWriter(self.0.open(task, state)?)))
    }
    fn commit(&self, epoch: u64, prepared: &[Prepared]) -> Result<()> {
        self.0.commit(epoch, prepared)
    }
}

struct AsLettersWriter(Box<dyn Writer>);

impl Writer for AsLettersWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let record = arrow::compute::cast(batch.column(0), &DataType::Binary)?;
        let letters = RecordBatch::try_from_iter([("offset", batch.column(1).clone()), ("record", record)])?;
        self.0.write(&letters)
    }
    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        self.0.prepare(epoch)
    }
}

#[test]
fn the_sink_of_dead_letters_keeps_the_contract() {
    let (_dir, env) = environment(true);
    let log = env.log.open().unwrap();
    let shown = || {
        let Ok(topic) = log.topic("refused") else { return Vec::new() };
        let records = log.read(&topic, 0, 0, 1 << 30).unwrap();
        let row = |i: usize| {
            let (name, offset) = &records.headers[i][0];
            assert_eq!(name, "dead-letter.offset");
            format!("{},{}", String::from_utf8_lossy(&records.value(i).unwrap()), String::from_utf8_lossy(offset))
        };
        (0..records.len()).map(row).collect()
    };
    check_sink(&|| Arc::new(AsLetters(super::dead_letters("refused", &env))), &shown, Shows::Appended);
}

#[tokio::test]
async fn upserts_are_written_by_key_and_read_back_as_changes() {
    use crate::change::{self, Changes};
    use crate::connector::registry::{sink, source};
    let (_dir, env) = environment(false);
    let columns: Vec<FieldRef> =
        vec![Arc::new(Field::new("name", DataType::Utf8View, true)), Arc::new(Field::new("n", DataType::Int64, false))];
    let key = ["n".to_owned()];
    let request = |options: &[(&str, &str)]| {
        let options: Vec<_> = [("connector", "upsert-log"), ("topic", "t"), ("partitions", "1")].iter().chain(options).copied().collect();
        let mut request = crate::connector::contract::request(&options, &columns);
        request.primary_key = &key;
        request
    };
    let upserts = sink(request(&[("value.json.encode.ignore-null-fields", "true")]), &env).unwrap();
    assert_eq!((upserts.takes(), upserts.key_columns()), (Changes::Upserts, Some(vec![1])));
    upserts.start(None).unwrap();
    let mut writer = upserts.open(0, &mut crate::state::StateHandles::empty(0, 1)).unwrap();
    let fields: Vec<FieldRef> = columns.iter().cloned().chain([change::field()]).collect();
    let changed = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![
            Arc::new(StringViewArray::from(vec![Some("a"), Some("b"), Some("c"), None])),
            Arc::new(Int64Array::from(vec![1, 2, 2, 1])),
            Arc::new(arrow::array::Int8Array::from(vec![0, 1, 2, 3])),
        ],
    )
    .unwrap();
    writer.write(&changed).unwrap();
    // Rows that are all new bring no changes with them.
    writer.write(&changed.project(&[0, 1]).unwrap().slice(3, 1)).unwrap();
    let prepared: Vec<Prepared> = writer.prepare(1).unwrap().into_iter().collect();
    upserts.commit(1, &prepared).unwrap();

    let configured = source(request(&[]), &env).unwrap();
    assert_eq!(configured.changes(), Changes::Upserts);
    let mut reader = configured.source.open(&Partition { index: 0, name: "t[0]".into() }, None).await.unwrap();
    let Read::Chunk(chunk) = reader.read().await.unwrap() else { panic!() };
    let Records::Framed(framed) = &chunk.records else { panic!() };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let keys: Vec<String> = framed.keys.iter().map(|key| text(key.as_ref().unwrap())).collect();
    assert_eq!(keys, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":1}"#, r#"{"n":1}"#]);
    let column = |field: &FieldRef, from| crate::format::DecodeColumn { field: field.clone(), from };
    use crate::format::ColumnOrigin::{Change, Payload};
    let spec = crate::format::DecodeSpec {
        first: vec![column(&change::field(), Change)],
        rest: columns.iter().map(|field| column(field, Payload(field.name().clone()))).collect(),
        offsets: false,
        payload: columns.clone(),
    };
    let decoded = configured.decoder(spec).unwrap().decode(&chunk, &mut |_| Ok(None)).unwrap();
    assert_eq!(crate::connector::contract::rows_of(&decoded.rows), ["2,a,1", "2,c,2", "3,NULL,1", "2,NULL,1"]);

    let told = sink(crate::connector::contract::request(&[("connector", "upsert-log")], &columns), &env).unwrap_err().to_string();
    assert_eq!(told, "connector 'upsert-log': table 't' needs a PRIMARY KEY (…) NOT ENFORCED: it is the key of the records");
}
