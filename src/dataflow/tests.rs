//! The runtime with made-up parts: a counting source, a summing operator, a collecting sink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::physical_expr::expressions::{cast, col};
use parking_lot::Mutex;

use super::coordinator::Ended;
use super::graph::*;
use super::live::LiveSink;
use super::pipeline::Pipeline;
use super::settings::{Restore, Settings, Stopper};
use super::state_limit::OnStateLimit;
use crate::connector::*;
use crate::error::{Error, Result};
use crate::format::{Chunk, Decoded, Decoder, Judge, Origins, Records};
use crate::metrics::Metrics;
use crate::operator::expressions::OnExpressionError;
use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output};
use crate::state::{BlockTable, Checkpoints, StateHandles, Store};
use crate::table::{TableSpec, Tables};
use crate::time::Watermark;

const ROWS: i64 = 2_000;
const CHUNK: i64 = 50;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

/// Partition p of 2 gives p, p+2, p+4, …; fails or dawdles on demand.
#[derive(Debug)]
struct Numbers {
    partitions: u32,
    nap: Duration,
}

#[async_trait]
impl Source for Numbers {
    fn describe(&self) -> String {
        "numbers".into()
    }
    fn identity(&self) -> String {
        "numbers".into()
    }
    fn bounded(&self) -> bool {
        true
    }
    async fn partitions(&self) -> Result<Vec<Partition>> {
        Ok((0..self.partitions).map(|index| Partition { index, name: index.to_string() }).collect())
    }
    async fn open(&self, partition: &Partition, position: Option<&Position>) -> Result<Box<dyn Reader>> {
        let next = position.and_then(|p| p.0.as_i64()).unwrap_or(i64::from(partition.index));
        Ok(Box::new(Counting { next, step: i64::from(self.partitions), nap: self.nap }))
    }
}

struct Counting {
    next: i64,
    step: i64,
    nap: Duration,
}

#[async_trait]
impl Reader for Counting {
    async fn read(&mut self) -> Result<Read> {
        tokio::time::sleep(self.nap).await;
        let numbers: Vec<i64> = (0..CHUNK).map(|i| self.next + i * self.step).filter(|n| *n < ROWS).collect();
        if numbers.is_empty() {
            return Ok(Read::End);
        }
        self.next += CHUNK * self.step;
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(numbers))])?;
        Ok(Read::Chunk(Chunk { records: Records::Rows(rows), base_offset: 0, arrived_micros: 0 }))
    }
    fn position(&self) -> Position {
        Position(self.next.into())
    }
}

#[derive(Debug)]
struct AsIs(SchemaRef);

impl Decoder for AsIs {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }
    fn decode(&self, chunk: &Chunk, judge: &mut Judge<'_>) -> Result<Decoded> {
        let Records::Rows(rows) = &chunk.records else { return Err(Error::bug("rows wanted")) };
        let records = rows.num_rows() as u64;
        let rows = match judge(rows)? {
            Some(mask) => arrow::compute::filter_record_batch(rows, &mask)?,
            None => rows.clone(),
        };
        Ok(Decoded { rows, offsets: vec![], rejected: vec![], origins: Origins::default(), records })
    }
}

/// Sums numbers by their remainder of 10; emits at the end of time.
#[derive(Debug)]
struct Sums(SchemaRef);

struct Summing {
    sums: BTreeMap<i64, i64>,
    table: BlockTable,
}

impl OperatorSpec for Sums {
    fn name(&self) -> &'static str {
        "sums"
    }
    fn describe(&self) -> String {
        "sums".into()
    }
    fn identity(&self) -> String {
        "sums".into()
    }
    fn schema(&self) -> &SchemaRef {
        &self.0
    }
    fn distribution(&self, _: Input) -> Distribution {
        Distribution::ByKey(vec![1])
    }
    fn stateful(&self) -> bool {
        true
    }
    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        let table = state.table("sums", self.0.clone(), vec![1])?;
        let mut sums = BTreeMap::new();
        for (_, block) in table.blocks() {
            add(&mut sums, &block.rows);
        }
        Ok(Box::new(Summing { sums, table }))
    }
}

fn add(sums: &mut BTreeMap<i64, i64>, rows: &RecordBatch) {
    let (n, key) = (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_primitive::<Int64Type>());
    (0..rows.num_rows()).for_each(|i| *sums.entry(key.value(i)).or_default() += n.value(i));
}

impl Summing {
    fn rows(&self) -> RecordBatch {
        let columns: (Vec<i64>, Vec<i64>) = self.sums.iter().map(|(k, v)| (*v, *k)).unzip();
        RecordBatch::try_new(
            self.table.schema().clone(),
            vec![Arc::new(Int64Array::from(columns.0)), Arc::new(Int64Array::from(columns.1))],
        )
        .unwrap()
    }
}

impl Operator for Summing {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, _: &mut Output) -> Result<()> {
        add(&mut self.sums, &batch);
        Ok(())
    }
    fn on_watermark(&mut self, mark: Watermark, out: &mut Output) -> Result<Watermark> {
        if mark == Watermark::MAX {
            out.emit(self.rows());
            self.sums.clear();
        }
        Ok(mark)
    }
    fn on_checkpoint(&mut self, _: &mut Output) -> Result<()> {
        self.table.replace_all(Some(self.rows()));
        Ok(())
    }
}

/// Rows become visible at commit, as everywhere: by task and epoch, which no two commits share.
#[derive(Debug, Default, Clone)]
struct Collect(Arc<Mutex<BTreeMap<(usize, u64), Vec<i64>>>>);

struct Collecting {
    task: usize,
    rows: Vec<i64>,
}

impl Collect {
    fn show(&self, prepared: &[Prepared]) {
        for Prepared(value) in prepared {
            let (task, epoch, rows): (usize, u64, Vec<i64>) = serde_json::from_value(value.clone()).unwrap();
            self.0.lock().insert((task, epoch), rows);
        }
    }
}

impl Sink for Collect {
    fn describe(&self) -> String {
        "collect".into()
    }
    fn identity(&self) -> String {
        "collect".into()
    }
    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        match restored {
            Some(prepared) => self.show(prepared),
            None => self.0.lock().clear(),
        }
        Ok(())
    }
    fn open(&self, task: usize, _: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Collecting { task, rows: vec![] }))
    }
    fn commit(&self, _: u64, prepared: &[Prepared]) -> Result<()> {
        self.show(prepared);
        Ok(())
    }
}

impl Writer for Collecting {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows.extend(batch.column(0).as_primitive::<Int64Type>().values());
        Ok(())
    }
    fn prepare(&mut self, epoch: u64) -> Result<Option<Prepared>> {
        let rows = std::mem::take(&mut self.rows);
        Ok(Some(Prepared(serde_json::to_value((self.task, epoch, rows)).unwrap())))
    }
}

fn graph(partitions: u32, nap: Duration, sums: &Collect, numbers: &Collect) -> Graph {
    let input = schema();
    let time = cast(col("n", &input).unwrap(), &input, DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
    let key = datafusion::physical_expr::expressions::binary(
        col("n", &input).unwrap(),
        datafusion::logical_expr::Operator::Modulo,
        datafusion::physical_expr::expressions::lit(10i64),
        &input,
    )
    .unwrap();
    let output = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false), Field::new("key", DataType::Int64, false)]));
    let scan = ScanSpec {
        decoder: Arc::new(AsIs(input.clone())),
        first: 1,
        event_time: Some(time),
        filter: None,
        output: vec![(col("n", &input).unwrap(), output.fields()[0].clone()), (key, output.fields()[1].clone())],
        seq: false,
        ordered: false,
        schema: output.clone(),
    };
    let time = TimeSpec {
        watermark: WatermarkExpr::Delay(0),
        idle_timeout_micros: None,
        advance_by_wall_clock: false,
        max_future_skew_micros: None,
        max_drift_micros: None,
        per_row: true,
    };
    let mut graph = Graph::default();
    let source = SourceNode {
        source: Arc::new(Numbers { partitions, nap }),
        scan: Arc::new(scan),
        time: Some(time),
        on_error: OnError::Fail,
        dead_letters: None,
    };
    let source = graph.add("numbers", NodeKind::Source(source), vec![]);
    let operator = graph.add("sums", NodeKind::Operator(Arc::new(Sums(output))), vec![source]);
    graph.add("out", NodeKind::Sink(Arc::new(sums.clone())), vec![operator]);
    graph.add("raw", NodeKind::Sink(Arc::new(RawCollect(numbers.clone()))), vec![source]);
    graph
}

/// A second sink of the same kind, told apart by its identity.
#[derive(Debug)]
struct RawCollect(Collect);

impl Sink for RawCollect {
    fn describe(&self) -> String {
        "raw".into()
    }
    fn identity(&self) -> String {
        "raw".into()
    }
    fn start(&self, restored: Option<&[Prepared]>) -> Result<()> {
        self.0.start(restored)
    }
    fn open(&self, task: usize, state: &mut StateHandles) -> Result<Box<dyn Writer>> {
        self.0.open(task, state)
    }
    fn commit(&self, epoch: u64, prepared: &[Prepared]) -> Result<()> {
        self.0.commit(epoch, prepared)
    }
}

fn settings(dir: &std::path::Path, parallelism: usize) -> Settings {
    Settings {
        pipeline: "p".into(),
        parallelism,
        checkpoint_interval: Duration::from_millis(20),
        checkpoints: Checkpoints::new(Store::Local(dir.into())),
        restore: Restore::Auto,
        allow_state_loss: false,
        cuts: Some((Duration::from_millis(3), Arc::new(|_| Ok(())))),
        dead_letters: None,
        linger: Duration::ZERO,
        on_expression_error: OnExpressionError::Fail,
        on_state_limit: OnStateLimit::Stop,
        state_max_bytes: None,
        metrics: Metrics::default(),
        stop: Stopper::default(),
    }
}

fn all(sink: &Collect) -> Vec<i64> {
    let mut all: Vec<i64> = sink.0.lock().values().flatten().copied().collect();
    all.sort_unstable();
    all
}

fn expected_sums() -> Vec<i64> {
    let mut sums: Vec<i64> = (0..10).map(|key| (0..ROWS).filter(|n| n % 10 == key).sum()).collect();
    sums.sort_unstable();
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_run_gives_every_row_once_at_any_parallelism() {
    for (partitions, parallelism) in [(1, 1), (1, 3), (2, 1), (2, 2), (3, 4)] {
        let dir = tempfile::tempdir().unwrap();
        let (sums, numbers) = (Collect::default(), Collect::default());
        let pipeline =
            Pipeline::start(graph(partitions, Duration::ZERO, &sums, &numbers), settings(dir.path(), parallelism)).await.unwrap();
        assert_eq!(pipeline.wait().await.unwrap(), Ended::Finished);
        assert_eq!(all(&numbers), (0..ROWS).collect::<Vec<_>>(), "{partitions} partitions, parallelism {parallelism}");
        assert_eq!(all(&sums), expected_sums(), "{partitions} partitions, parallelism {parallelism}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_restored_at_another_parallelism_it_goes_on_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let (sums, numbers) = (Collect::default(), Collect::default());
    let mut stops = 0;
    loop {
        let settings = settings(dir.path(), 1 + stops % 3);
        let pipeline = Pipeline::start(graph(2, Duration::from_millis(4), &sums, &numbers), settings).await.unwrap();
        if stops < 7 {
            tokio::time::sleep(Duration::from_millis(37)).await;
            pipeline.stopper().stop();
        }
        match pipeline.wait().await.unwrap() {
            Ended::Finished => break,
            Ended::Stopped => stops += 1,
        }
    }
    assert!(stops > 0, "it was never stopped");
    assert_eq!(all(&numbers), (0..ROWS).collect::<Vec<_>>(), "stopped {stops} times");
    assert_eq!(all(&sums), expected_sums(), "stopped {stops} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_at_any_moment_it_goes_on_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let (sums, numbers) = (Collect::default(), Collect::default());
    // Checkpoints all the time: most drops meet one that is being written or committed.
    let settings = |parallelism| Settings { checkpoint_interval: Duration::from_millis(2), ..settings(dir.path(), parallelism) };
    for drops in 0..40 {
        let pipeline = Pipeline::start(graph(2, Duration::from_millis(4), &sums, &numbers), settings(1 + drops % 3)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5 + drops as u64 % 7)).await;
        drop(pipeline);
        let left = (Checkpoints::new(Store::Local(dir.path().into())).list().await.unwrap().len(), numbers.0.lock().clone());
        tokio::time::sleep(Duration::from_millis(3)).await;
        let later = (Checkpoints::new(Store::Local(dir.path().into())).list().await.unwrap().len(), numbers.0.lock().clone());
        assert_eq!(left, later, "something was written after drop {drops}");
    }
    let pipeline = Pipeline::start(graph(2, Duration::ZERO, &sums, &numbers), settings(2)).await.unwrap();
    assert!(pipeline.start.contains("going on from checkpoint"), "{}", pipeline.start);
    assert_eq!(pipeline.wait().await.unwrap(), Ended::Finished);
    assert_eq!(all(&numbers), (0..ROWS).collect::<Vec<_>>());
    assert_eq!(all(&sums), expected_sums());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_query_does_not_lose_state_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let (sums, numbers) = (Collect::default(), Collect::default());
    let pipeline = Pipeline::start(graph(1, Duration::from_millis(5), &sums, &numbers), settings(dir.path(), 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    pipeline.stopper().stop();
    assert_eq!(pipeline.wait().await.unwrap(), Ended::Stopped);
    let mut changed = graph(1, Duration::ZERO, &sums, &numbers);
    changed.nodes.retain(|node| node.name != "sums" && node.name != "out");
    changed.nodes[1].inputs = vec![0];
    let error = Pipeline::start(changed.clone(), settings(dir.path(), 1)).await.err().unwrap();
    assert!(error.to_string().contains("state of sums"), "{error}");
    let allowed = Settings { allow_state_loss: true, ..settings(dir.path(), 1) };
    Pipeline::start(changed, allowed).await.unwrap().wait().await.unwrap();
    assert_eq!(all(&numbers), (0..ROWS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_table_does_not_take_up_rows_of_other_columns() {
    let dir = tempfile::tempdir().unwrap();
    let (sums, numbers) = (Collect::default(), Collect::default());
    let with_table = |columns: &[(&str, DataType)]| {
        let fields: Vec<Field> = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), false)).collect();
        let table = LiveSink::create(&Tables::default(), TableSpec::append("seen", Arc::new(Schema::new(fields)))).unwrap();
        let mut graph = graph(1, Duration::from_millis(5), &sums, &numbers);
        graph.add("seen", NodeKind::Sink(Arc::new(table)), vec![0]);
        graph
    };
    let pipeline = Pipeline::start(with_table(&[("n", DataType::Int64), ("key", DataType::Int64)]), settings(dir.path(), 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    pipeline.stopper().stop();
    assert_eq!(pipeline.wait().await.unwrap(), Ended::Stopped);
    for columns in [[("n", DataType::Int64), ("key", DataType::Utf8)], [("key", DataType::Int64), ("n", DataType::Int64)]] {
        let error = Pipeline::start(with_table(&columns), settings(dir.path(), 1)).await.err().unwrap();
        assert!(error.to_string().contains("holds state of seen that no operator"), "{error}");
    }
}
