//! Files against the contract of connectors, and what is special to files.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;

use super::location::Location;
use super::options::Files;
use super::part::{ParquetPart, Unsynced, names_in};
use super::source::{FilesystemSource, MAX_OPEN_FILES};
use crate::connector::contract::{Shows, check_sink, check_source, columns, rows, rows_of, sink_of, source_of};
use crate::connector::environment::Environment;
use crate::connector::{Sink, Source as _};
use crate::state::StateHandles;

fn source(dir: &Path, path: &str, files: Files, format: &str) -> FilesystemSource {
    let location = Location::new(path, dir).unwrap();
    FilesystemSource::new(location, files, format.into(), format == "csv", Arc::new(Schema::new(columns()))).unwrap().with_chunk_bytes(7)
}

fn write_parquet(path: &Path, numbers: std::ops::Range<i64>) {
    let mut part = ParquetPart::create(path, Arc::new(Schema::new(columns()))).unwrap();
    part.write(&rows(numbers)).unwrap();
    part.finish(&Unsynced::default()).unwrap();
}

#[tokio::test]
async fn lines_of_plain_and_packed_files_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let text = "one\ntwo\n\nthree is long\nfour"; // An empty line counts, a torn last one, too.
    std::fs::write(dir.path().join("a.jsonl"), text).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    std::fs::write(dir.path().join("b.jsonl.gz"), packed.finish().unwrap()).unwrap();
    std::fs::write(dir.path().join("c.jsonl.zst"), zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    std::fs::write(dir.path().join("d.jsonl"), "").unwrap();
    let lines = vec!["one", "two", "", "three is long", "four"];

    let partitions = check_source(&source(dir.path(), ".", Files::Partitions, "json")).await;
    assert_eq!(partitions, [lines.clone(), lines.clone(), lines.clone(), vec![]]);
    let sequence = check_source(&source(dir.path(), ".", Files::Sequence, "json")).await;
    assert_eq!(sequence, [[lines.clone(), lines.clone(), lines].concat()]);
}

#[tokio::test]
async fn in_a_sequence_only_the_first_file_keeps_its_header() {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in [("a.csv", "name,n\na,1\n"), ("b.csv", "name,n\n"), ("c.csv", "name,n\nc,3\nd,4\n")] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let sequence = check_source(&source(dir.path(), ".", Files::Sequence, "csv")).await;
    assert_eq!(sequence, [["name,n", "a,1", "c,3", "d,4"]]);
}

#[tokio::test]
async fn in_a_sequence_only_the_first_file_keeps_what_editors_put_before_it() {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in [("a.jsonl", "\u{feff}one\ntwo\n"), ("b.jsonl", "\u{feff}"), ("c.jsonl", "\u{feff}three\n")] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let sequence = check_source(&source(dir.path(), ".", Files::Sequence, "json")).await;
    assert_eq!(sequence, [["\u{feff}one", "two", "three"]]);
}

#[tokio::test]
async fn parquet_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    write_parquet(&dir.path().join("a.parquet"), 0..20_000);
    write_parquet(&dir.path().join("b.parquet"), 20_000..20_003);
    let all = check_source(&source(dir.path(), "*.parquet", Files::Sequence, "parquet")).await;
    assert_eq!(all, [rows_of(&rows(0..20_003))]);
}

#[tokio::test]
async fn more_files_than_can_be_open_need_a_sequence() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..=MAX_OPEN_FILES {
        std::fs::write(dir.path().join(format!("{file:05}.jsonl")), "{}\n").unwrap();
    }
    let error = source(dir.path(), ".", Files::Partitions, "json").partitions().await.unwrap_err();
    assert!(error.to_string().contains("'source.files'='sequence'"), "{error}");
    assert_eq!(source(dir.path(), ".", Files::Sequence, "json").partitions().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_replaced_file_is_noticed_at_restart() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jsonl"), "one\ntwo\nthree\n").unwrap();
    let before = source(dir.path(), "a.jsonl", Files::Partitions, "json");
    let partition = &before.partitions().await.unwrap()[0];
    let mut reader = before.open(partition, None).await.unwrap();
    _ = reader.read().await.unwrap();
    std::fs::write(dir.path().join("a.jsonl"), "x").unwrap();
    let error = before.open(partition, Some(&reader.position())).await.err().unwrap();
    assert!(error.to_string().contains("it was replaced"), "{error}");
}

#[test]
fn sinks_keep_the_contract() {
    for (path, shows) in [("out", Shows::AtCommit), ("out.parquet", Shows::AtEnd)] {
        for format in ["parquet", "json"] {
            let dir = tempfile::tempdir().unwrap();
            let env = Environment::new(dir.path(), dir.path().join(".eagre"), "test");
            let options = [("connector", "filesystem"), ("path", path), ("format", format)];
            let shown = || shown(dir.path(), path, format);
            check_sink(&|| sink_of(&options, &env).unwrap(), &shown, shows);
            let left = names_in(&dir.path().join(if shows == Shows::AtEnd { "." } else { path })).unwrap();
            assert!(left.iter().all(|name| !name.starts_with('.')), "left behind: {left:?}");
        }
    }
}

#[test]
fn what_a_task_writes_behind_a_barrier_waits_for_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let env = Environment::new(dir.path(), dir.path().join(".eagre"), "test");
    let sink = || sink_of(&[("connector", "filesystem"), ("path", "out.jsonl"), ("format", "json")], &env).unwrap();
    let open = |sink: &dyn Sink, task| sink.open(task, &mut StateHandles::empty(task, 2)).unwrap();
    // More than is gathered before it is written.
    const MANY: i64 = 60_000;
    let first = sink();
    first.start(None).unwrap();
    let (mut a, mut b) = (open(first.as_ref(), 0), open(first.as_ref(), 1));
    a.write(&rows(0..10)).unwrap();
    let mut prepared = vec![a.prepare(1).unwrap().unwrap()];
    a.write(&rows(1_000_000..1_000_000 + MANY)).unwrap();
    b.write(&rows(10..MANY)).unwrap();
    prepared.push(b.prepare(1).unwrap().unwrap());
    b.write(&rows(2_000_000..2_000_000 + MANY)).unwrap();
    first.settle(1).unwrap();
    drop((a, b));

    // Killed, and gone on with: what came behind the barrier is not there any more.
    let second = sink();
    second.start(Some(&prepared)).unwrap();
    let (mut a, mut b) = (open(second.as_ref(), 0), open(second.as_ref(), 1));
    a.write(&rows(MANY..2 * MANY)).unwrap();
    a.prepare(2).unwrap();
    a.write(&rows(2 * MANY..3 * MANY)).unwrap();
    // It has come to its end before the other has come to the barrier.
    a.prepare(3).unwrap();
    drop(a);
    b.prepare(2).unwrap();
    let last = b.prepare(3).unwrap().unwrap();
    drop(b);

    // All tasks had ended before the checkpoint: they say nothing.
    for noted in [vec![last], vec![]] {
        let again = sink();
        again.start(Some(&noted)).unwrap();
        again.settle(4).unwrap();
        again.finish().unwrap();
        let text = std::fs::read_to_string(dir.path().join("out.jsonl")).unwrap();
        let number = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_i64().unwrap();
        let mut numbers: Vec<i64> = text.lines().map(number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..3 * MANY).collect::<Vec<_>>());
    }
}

/// The rows that a reader of the path sees.
fn shown(dir: &Path, path: &str, format: &str) -> Vec<String> {
    if Location::new(path, dir).unwrap().files().is_err() {
        return Vec::new();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let records = runtime.block_on(check_source(&source(dir, path, Files::Partitions, format))).concat();
    if format == "parquet" {
        return records;
    }
    let read = |line: &String| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{},{}", row["name"].as_str().unwrap(), row["n"])
    };
    records.iter().map(read).collect()
}

#[test]
fn what_a_sink_cannot_be_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let env = Environment::new(dir.path(), dir.path().join(".eagre"), "test");
    let told = |options: &[(&str, &str)]| sink_of(options, &env).err().unwrap().to_string();
    assert!(told(&[("connector", "filesystem"), ("path", "x"), ("format", "jsn")]).ends_with("did you mean 'json'?"));
    assert!(told(&[("connector", "filesystem"), ("path", "*.parquet"), ("format", "parquet")]).contains("not a glob"));
    assert!(told(&[("connector", "filesysten")]).ends_with("did you mean 'filesystem'?"));
    let one = sink_of(&[("connector", "filesystem"), ("path", "out.parquet"), ("format", "parquet")], &env).unwrap();
    assert!(one.check_unbounded().unwrap_err().to_string().contains("name a directory ('out')"));
    assert!(source_of(&[("connector", "filesystem"), ("path", "-"), ("format", "parquet")], &env).is_err());
}

#[tokio::test]
async fn a_task_far_behind_the_barrier_waits_for_those_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let sink =
        sink_of(&[("connector", "filesystem"), ("path", "out.jsonl"), ("format", "json")], &Environment::new(dir.path(), dir.path(), "p"))
            .unwrap();
    sink.start(None).unwrap();
    let mut writers: Vec<_> = (0..2).map(|task| sink.open(task, &mut StateHandles::empty(task, 2)).unwrap()).collect();
    let long = arrow::array::StringViewArray::from_iter_values((0..8).map(|_| "x".repeat(8 << 20)));
    let numbers = arrow::array::Int64Array::from_iter_values(0..8);
    let large = arrow::array::RecordBatch::try_new(Arc::new(Schema::new(columns())), vec![Arc::new(long), Arc::new(numbers)]).unwrap();
    writers[0].write(&large).unwrap();
    assert!(writers[0].room().is_none(), "nothing is held back before a barrier");
    writers[0].prepare(1).unwrap();
    writers[0].write(&large).unwrap();
    let room = writers[0].room().unwrap();
    assert!(writers[1].room().is_none(), "the others must come to the barrier");
    writers[1].prepare(1).unwrap();
    room.await.unwrap();
    assert!(writers[0].room().is_none());
}
