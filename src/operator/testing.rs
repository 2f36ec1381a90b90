//! Drives operators through readable texts, in several ways that must all give the same answer.
//!
//! ```text
//! < 3 a 1          a row of input 0 (`<<` input 1): one value per column, NULL, timestamps in seconds
//! mark 10          the watermark reaches 10 s (`mark end`: +inf)
//! > a 1 0 5        a row emitted since the last expectation, in any order
//! ! late 2         rows (row-window pairs) refused since then
//! ```
//! Ways: as it stands; one row a batch; checkpointed and restored between every two steps; the same with the state dealt
//! to another number of tasks each time. Values with blanks in them cannot be written.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{col, lit};

use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output, Refused, event_time};
use crate::state::{Block, Sharder, StateHandles};
use crate::time::{MICROS_PER_SECOND, Watermark};

/// What happens to an operator.
#[derive(Debug, Clone)]
pub enum Step {
    /// Rows come in.
    Rows(Input, RecordBatch),
    /// The watermark moves.
    Mark(Watermark),
    /// What must have come out since the last such step.
    Expect(Seen),
}

/// What came out: rows sorted, refused pairs by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub rows: Vec<String>,
    pub refused: BTreeMap<String, u64>,
}

/// How the steps are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Whole,
    ByRow,
    Restored,
    /// Restored, each time into the next number of tasks out of 1 to 3.
    Dealt,
}

/// All ways.
pub const WAYS: [Way; 4] = [Way::Whole, Way::ByRow, Way::Restored, Way::Dealt];

/// A nullable schema.
pub fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>()))
}

/// `input` followed by `window_start`, `window_end`, `window_time`.
pub fn windowed(input: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> = input.fields().iter().map(|f| f.as_ref().clone()).collect();
    for name in ["window_start", "window_end", "window_time"] {
        fields.push(Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), false));
    }
    Arc::new(Schema::new(fields))
}

/// An aggregate over columns of `input` by name; an argument that is no column is an integer literal.
pub fn aggregate(function: Arc<AggregateUDF>, arguments: &[&str], input: &SchemaRef) -> AggregateExprBuilder {
    let argument = |name: &&str| col(name, input).unwrap_or_else(|_| lit(name.parse::<i64>().expect("a column or an integer")));
    let name = format!("{}({})", function.name(), arguments.join(","));
    AggregateExprBuilder::new(function, arguments.iter().map(argument).collect()).schema(input.clone()).alias(name)
}

/// A batch from rows of blank-separated values.
pub fn batch(schema: &SchemaRef, rows: &[&str]) -> RecordBatch {
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| row.split_whitespace().collect()).collect();
    for (row, cells) in rows.iter().zip(&cells) {
        assert_eq!(cells.len(), schema.fields().len(), "'{row}' does not fit {schema:?}");
    }
    let column = |(index, field): (usize, &Arc<Field>)| -> ArrayRef {
        let texts = cells.iter().map(|row| (row[index] != "NULL").then_some(row[index]));
        if matches!(field.data_type(), DataType::Timestamp(_, _)) {
            let micros: Vec<i64> = texts.clone().map(|text| text.map_or(0, seconds)).collect();
            let nulls = arrow::compute::is_null(&StringArray::from_iter(texts)).unwrap();
            return arrow::compute::nullif(&event_time::timestamps(&micros, field.data_type()).unwrap(), &nulls).unwrap();
        }
        cast(&StringArray::from_iter(texts), field.data_type()).unwrap()
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().enumerate().map(column).collect()).unwrap()
}

/// Seconds as text (`-0.001`) to microseconds.
fn seconds(text: &str) -> i64 {
    (text.parse::<f64>().unwrap_or_else(|_| panic!("'{text}' is no number of seconds")) * MICROS_PER_SECOND as f64).round() as i64
}

/// The rows of a batch as blank-separated values, timestamps in seconds.
pub fn rows_of(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<Vec<String>> = batch
        .columns()
        .iter()
        .map(|column| {
            if matches!(column.data_type(), DataType::Timestamp(_, _)) {
                let micros = event_time::micros(column).unwrap();
                return micros.iter().map(|t| t.map_or("NULL".to_owned(), |t| (t as f64 / 1e6).to_string())).collect();
            }
            let formatter = ArrayFormatter::try_new(column, &options).unwrap();
            (0..column.len()).map(|row| formatter.value(row).to_string().replace(' ', "")).collect()
        })
        .collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|c| c[row].as_str()).collect::<Vec<_>>().join(" ")).collect()
}

/// Reads a text of steps; neighbouring rows of one input become one batch.
pub fn steps(inputs: &[SchemaRef], text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut rows: (Input, Vec<&str>) = (0, Vec::new());
    let flush = |rows: &mut (Input, Vec<&str>), steps: &mut Vec<Step>| {
        let lines = std::mem::take(&mut rows.1);
        if !lines.is_empty() {
            steps.push(Step::Rows(rows.0, batch(&inputs[rows.0], &lines)));
        }
    };
    let mut expected: Option<Seen> = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        if !matches!(head, ">" | "!" | "nothing") {
            steps.extend(expected.take().map(Step::Expect));
        }
        match head {
            "<" | "<<" => {
                let input = head.len() - 1;
                if rows.0 != input {
                    flush(&mut rows, &mut steps);
                    rows.0 = input;
                }
                rows.1.push(rest);
            }
            "mark" => {
                flush(&mut rows, &mut steps);
                steps.push(Step::Mark(if rest == "end" { Watermark::MAX } else { Watermark(seconds(rest)) }));
            }
            ">" => {
                flush(&mut rows, &mut steps);
                expected.get_or_insert_default().rows.push(rest.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            "!" => {
                flush(&mut rows, &mut steps);
                let (reason, pairs) = rest.split_once(' ').expect("! reason pairs");
                *expected.get_or_insert_default().refused.entry(reason.to_owned()).or_default() += pairs.parse::<u64>().expect("pairs");
            }
            "nothing" => {
                flush(&mut rows, &mut steps);
                expected.get_or_insert_default();
            }
            other => panic!("no step begins with '{other}': {line}"),
        }
    }
    flush(&mut rows, &mut steps);
    steps.extend(expected.map(Step::Expect));
    steps
}

/// Runs a text every way and compares what comes out with what it says.
pub fn check(spec: &dyn OperatorSpec, inputs: &[SchemaRef], text: &str) {
    let steps = steps(inputs, text);
    for way in WAYS {
        let (seen, rest) = run(spec, &steps, way);
        let expected: Vec<Seen> =
            steps.iter().filter_map(|s| if let Step::Expect(seen) = s { Some(sorted(seen.clone())) } else { None }).collect();
        assert_eq!(seen, expected, "{way:?}");
        assert_eq!(rest, Seen::default(), "{way:?}: unexpected rows at the end");
    }
}

/// Runs the steps every way; all must agree. Returns all that came out, sorted.
pub fn same_every_way(spec: &dyn OperatorSpec, steps: &[Step]) -> Seen {
    let mut all = WAYS.map(|way| (way, run(spec, steps, way).1)).into_iter();
    let (_, first) = all.next().expect("there are ways");
    for (way, seen) in all {
        assert_eq!(seen, first, "{way:?} against whole");
    }
    first
}

/// Runs the steps one way: what came out before each `Expect`, and what came out after the last one.
pub fn run(spec: &dyn OperatorSpec, steps: &[Step], way: Way) -> (Vec<Seen>, Seen) {
    let mut driver = Driver::new(spec, 1);
    let mut seen = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Rows(input, rows) if way == Way::Whole => driver.rows(*input, rows.clone()),
            Step::Rows(input, rows) => {
                for row in 0..rows.num_rows() {
                    driver.rows(*input, rows.slice(row, 1));
                }
            }
            Step::Mark(mark) => driver.mark(*mark),
            Step::Expect(_) => seen.push(driver.take()),
        }
        match way {
            Way::Restored => driver.restore(1),
            Way::Dealt => driver.restore(1 + (number + 1) % 3),
            Way::Whole | Way::ByRow => {}
        }
    }
    (seen, driver.take())
}

fn sorted(mut seen: Seen) -> Seen {
    seen.rows.sort();
    seen
}

/// One operator in some number of tasks.
struct Driver<'a> {
    spec: &'a dyn OperatorSpec,
    tasks: Vec<(Box<dyn Operator>, StateHandles)>,
    mark: Watermark,
    out: Output,
    seen: Seen,
}

impl<'a> Driver<'a> {
    fn new(spec: &'a dyn OperatorSpec, tasks: usize) -> Self {
        let open = |task| {
            let mut handles = StateHandles::empty(task, tasks);
            (spec.open(&mut handles).unwrap(), handles)
        };
        Driver { spec, tasks: (0..tasks).map(open).collect(), mark: Watermark::MIN, out: Output::default(), seen: Seen::default() }
    }

    fn rows(&mut self, input: Input, rows: RecordBatch) {
        let keys = match self.spec.distribution(input) {
            Distribution::ByKey(keys) => keys,
            Distribution::Anywhere | Distribution::Single => Vec::new(),
        };
        let keys: Vec<ArrayRef> = keys.iter().map(|key| rows.column(*key).clone()).collect();
        let parts: Vec<UInt32Array> = Sharder::new(self.tasks.len()).split(&keys, rows.num_rows()).unwrap();
        for ((operator, _), part) in self.tasks.iter_mut().zip(parts).filter(|(_, part)| !part.is_empty()) {
            let rows = arrow::compute::take_record_batch(&rows, &part).unwrap();
            operator.on_batch(input, rows, &mut self.out).unwrap();
            drain(&mut self.out, self.spec, &mut self.seen);
        }
    }

    fn mark(&mut self, mark: Watermark) {
        self.mark = mark;
        for (operator, _) in &mut self.tasks {
            let passed_on = operator.on_watermark(mark, &mut self.out).unwrap();
            assert!(passed_on <= mark && (mark != Watermark::MAX || passed_on == mark), "{passed_on} after {mark}");
            drain(&mut self.out, self.spec, &mut self.seen);
        }
    }

    /// A checkpoint, and everything built anew from it in `tasks` tasks.
    fn restore(&mut self, tasks: usize) {
        let tasks = if matches!(self.spec.distribution(0), Distribution::ByKey(_)) { tasks } else { 1 };
        let mut tables: BTreeMap<String, Vec<Block>> = BTreeMap::new();
        for (operator, handles) in &mut self.tasks {
            operator.on_checkpoint(&mut self.out).unwrap();
            drain(&mut self.out, self.spec, &mut self.seen);
            for (name, table) in handles.tables() {
                let blocks = table.blocks().into_iter().map(|(_, block)| block);
                tables.entry(name.to_owned()).or_default().extend(blocks);
            }
        }
        let open = |task| {
            let mut handles = StateHandles::restoring(task, tasks, tables.clone());
            (self.spec.open(&mut handles).unwrap(), handles)
        };
        self.tasks = (0..tasks).map(open).collect();
        // The runtime repeats the last watermark after a restore.
        if self.mark > Watermark::MIN {
            self.mark(self.mark);
        }
    }

    fn take(&mut self) -> Seen {
        sorted(std::mem::take(&mut self.seen))
    }
}

fn drain(out: &mut Output, spec: &dyn OperatorSpec, seen: &mut Seen) {
    for batch in out.take_batches() {
        assert_eq!(batch.schema_ref(), spec.schema(), "the schema promised");
        seen.rows.extend(rows_of(&batch));
    }
    for Refused { reason, pairs, rows, .. } in out.take_refused() {
        assert!(rows.num_rows() as u64 <= pairs, "{} rows for {pairs} pairs", rows.num_rows());
        *seen.refused.entry(reason.as_str().to_owned()).or_default() += pairs;
    }
}
