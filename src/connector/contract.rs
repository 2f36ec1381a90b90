//! What every connector must keep: called by the tests of each with a source or sink of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef};

use super::environment::Environment;
use super::registry::{sink, source};
use super::table::TableRequest;
use super::{Partition, Position, Prepared, Read, Sink, Source};
use crate::format::{Chunk, Records};
use crate::state::StateHandles;

/// A bounded source hands over the same records with the same offsets whether it is read in one go or stopped and
/// opened again at any of its positions; offsets follow one another. Returns the records of all partitions.
pub async fn check_source(source: &dyn Source) -> Vec<Vec<String>> {
    assert!(source.bounded(), "only a bounded source can be read to its end");
    let mut all = Vec::new();
    for partition in source.partitions().await.unwrap() {
        let (whole, positions) = read(source, &partition, None).await;
        for (index, (_, offset)) in whole.iter().enumerate() {
            assert_eq!(*offset, index as i64, "offsets of {} are not those of its records", partition.name);
        }
        for (read_before, position) in positions {
            // As a checkpoint would keep it.
            let kept: Position = serde_json::from_str(&serde_json::to_string(&position).unwrap()).unwrap();
            let (rest, _) = read(source, &partition, Some(&kept)).await;
            assert_eq!(rest, whole[read_before..], "{} resumed at {kept:?}", partition.name);
        }
        all.push(whole.into_iter().map(|(record, _)| record).collect());
    }
    all
}

/// All records from `position` on with their offsets, and after each chunk how many there were and where the reader stood.
async fn read(source: &dyn Source, partition: &Partition, position: Option<&Position>) -> (Vec<(String, i64)>, Vec<(usize, Position)>) {
    let mut reader = source.open(partition, position).await.unwrap();
    let mut records = Vec::new();
    let mut positions = vec![(0, reader.position())];
    loop {
        match reader.read().await.unwrap() {
            Read::Chunk(chunk) => {
                records.extend(records_of(&chunk));
                positions.push((records.len(), reader.position()));
            }
            Read::Idle | Read::Away | Read::Watermark(_) => {}
            Read::End => {
                assert!(matches!(reader.read().await.unwrap(), Read::End), "the end must last");
                positions.push((records.len(), reader.position()));
                return (records, positions);
            }
        }
    }
}

/// The records of a chunk as text, with their offsets.
fn records_of(chunk: &Chunk) -> Vec<(String, i64)> {
    let text: Vec<String> = match &chunk.records {
        Records::Lines(data) => String::from_utf8_lossy(data).lines().map(str::to_owned).collect(),
        Records::Rows(rows) => rows_of(rows),
        Records::Framed(framed) => {
            let value =
                |range: &Option<(u32, u32)>| range.map_or("(none)".into(), |(from, to)| framed.data[from as usize..to as usize].to_vec());
            let text = framed.values.iter().map(|range| String::from_utf8_lossy(&value(range)).into_owned());
            return text.zip(framed.offsets.iter().copied()).collect();
        }
    };
    text.into_iter().zip(chunk.base_offset..).collect()
}

/// Rows as text.
pub fn rows_of(rows: &RecordBatch) -> Vec<String> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let options = FormatOptions::new().with_null("NULL");
    let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    (0..rows.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(",")).collect()
}

/// Columns of the tables in these tests.
pub fn columns() -> Vec<FieldRef> {
    vec![Arc::new(Field::new("name", DataType::Utf8View, true)), Arc::new(Field::new("n", DataType::Int64, true))]
}

/// Rows `name=x<n>, n` for each of `numbers`.
pub fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
    let names = StringViewArray::from_iter_values(numbers.clone().map(|n| format!("x{n}")));
    let schema = Arc::new(arrow::datatypes::Schema::new(columns()));
    RecordBatch::try_new(schema, vec![Arc::new(names), Arc::new(Int64Array::from_iter_values(numbers))]).unwrap()
}

/// The source of a table of [`columns`] with these options.
pub fn source_of(options: &[(&str, &str)], env: &Environment) -> crate::error::Result<Arc<dyn Source>> {
    source(request(options, &columns()), env).map(|configured| configured.source)
}

/// The sink of a table of [`columns`] with these options.
pub fn sink_of(options: &[(&str, &str)], env: &Environment) -> crate::error::Result<Arc<dyn Sink>> {
    sink(request(options, &columns()), env)
}

/// A table with these options and columns.
pub fn request<'a>(options: &[(&str, &str)], columns: &'a [FieldRef]) -> TableRequest<'a> {
    let options: BTreeMap<_, _> = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    TableRequest { table: "t", options, columns, primary_key: &[] }
}

/// When a sink shows its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// At each commit; a run from the beginning replaces what is there.
    AtCommit,
    /// All rows at the end and none before; a run from the beginning replaces what is there.
    AtEnd,
    /// At each commit, behind what is there already.
    Appended,
}

/// A sink shows nothing before its commit (or its end), loses and doubles nothing over a crash at any moment.
///
/// `new` makes the sink as a new process would; `shown` tells the rows that the outside world sees, in any order.
pub fn check_sink(new: &dyn Fn() -> Arc<dyn Sink>, shown: &dyn Fn() -> Vec<String>, shows: Shows) {
    let expect_all = |numbers: &[std::ops::Range<i64>], when: &str| {
        let mut rows = shown();
        rows.sort();
        let mut wanted: Vec<String> = numbers.iter().flat_map(|numbers| rows_of(&self::rows(numbers.clone()))).collect();
        wanted.sort();
        assert_eq!(rows, wanted, "{when}");
    };
    let expect = |numbers: std::ops::Range<i64>, when: &str| expect_all(&[numbers], when);
    let before_end = |numbers: std::ops::Range<i64>| if shows == Shows::AtEnd { 0..0 } else { numbers };

    // A first process: an epoch that is committed, one that is only prepared, rows of a third.
    let mut first = Run::start(new(), None, 2);
    first.write(0, 0..3);
    first.write(1, 3..5);
    expect(0..0, "written, not prepared");
    let epoch_1 = first.prepare(1);
    expect(0..0, "prepared, not committed");
    first.sink.commit(1, &epoch_1).unwrap();
    expect(before_end(0..5), "committed");
    first.write(0, 5..8);
    let lost = first.prepare(2);
    assert!(!lost.is_empty());
    first.write(1, 8..9);
    drop(first);

    // It is killed; a second one goes on from epoch 1, with other tasks.
    let mut second = Run::start(new(), Some(&epoch_1), 1);
    second.sink.commit(1, &epoch_1).unwrap();
    expect(before_end(0..5), "restored");
    second.write(0, 5..9);
    let epoch_2 = second.prepare(2);
    drop(second);

    // Killed between the manifest and the commit: the third one commits again, more than once.
    let mut third = Run::start(new(), Some(&epoch_2), 3);
    expect(before_end(0..9), "the restart itself commits what the checkpoint names");
    third.sink.commit(2, &epoch_2).unwrap();
    third.sink.commit(2, &epoch_2).unwrap();
    expect(before_end(0..9), "committed again");
    third.write(2, 9..10);
    let epoch_3 = third.prepare(3);
    third.sink.commit(3, &epoch_3).unwrap();
    // One of its tasks has ended, and says nothing more.
    third.writers.pop();
    third.write(0, 10..11);
    let epoch_4 = third.prepare(4);
    third.sink.commit(4, &epoch_4).unwrap();
    drop(third);

    let mut fourth = Run::start(new(), Some(&epoch_4), 2);
    fourth.write(1, 11..12);
    let epoch_5 = fourth.prepare(5);
    fourth.sink.commit(5, &epoch_5).unwrap();
    fourth.sink.finish().unwrap();
    expect(0..12, "finished");
    drop(fourth);

    // Killed after the end, before the run was noted as finished.
    let mut fifth = Run::start(new(), Some(&epoch_5), 2);
    let epoch_6 = fifth.prepare(6);
    fifth.sink.commit(6, &epoch_6).unwrap();
    fifth.sink.finish().unwrap();
    expect(0..12, "finished twice");

    // A run from the beginning replaces all, or appends.
    let mut afresh = Run::start(new(), None, 1);
    afresh.write(0, 20..21);
    let epoch_1 = afresh.prepare(1);
    afresh.sink.commit(1, &epoch_1).unwrap();
    afresh.sink.finish().unwrap();
    match shows {
        Shows::AtCommit | Shows::AtEnd => expect(20..21, "afresh"),
        Shows::Appended => expect_all(&[0..12, 20..21], "afresh"),
    }
}

/// A sink with its writers.
struct Run {
    sink: Arc<dyn Sink>,
    writers: Vec<Box<dyn super::Writer>>,
}

impl Run {
    fn start(sink: Arc<dyn Sink>, restored: Option<&[Prepared]>, tasks: usize) -> Self {
        sink.start(restored).unwrap();
        let writers = (0..tasks).map(|task| sink.open(task, &mut StateHandles::empty(task, tasks)).unwrap()).collect();
        Run { sink, writers }
    }

    fn write(&mut self, task: usize, numbers: std::ops::Range<i64>) {
        self.writers[task].write(&rows(numbers)).unwrap();
    }

    fn prepare(&mut self, epoch: u64) -> Vec<Prepared> {
        let prepared: Vec<_> = self.writers.iter_mut().filter_map(|writer| writer.prepare(epoch).unwrap()).collect();
        self.sink.settle(epoch).unwrap();
        // As a manifest would keep it.
        prepared.into_iter().map(|p| serde_json::from_str(&serde_json::to_string(&p).unwrap()).unwrap()).collect()
    }
}
