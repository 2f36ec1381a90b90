//! Drives a pattern operator: events in any cuts, with checkpoints and restores between them, as one task or several.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use datafusion::physical_expr::expressions::{Column, lit};
use eagre::error::Result;
use eagre::operator::pattern::PatternSpec;
use eagre::operator::pattern::binding::{Binding, Emission, Expr, bindings_schema};
use eagre::operator::{Distribution, Operator, OperatorSpec, Output};
use eagre::state::{Block, Sharder, StateHandles};
use eagre::time::Watermark;

/// Something that was emitted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Emitted {
    pub rule: String,
    /// `match` or `timeout`.
    pub what: String,
    /// Of the first matched event.
    pub key: Option<i64>,
    /// (step, number of the event), in order.
    pub events: Vec<(String, i64)>,
    /// Emit time, milliseconds.
    pub time: i64,
}

/// Columns that every test's input has: `$index` (Int64) and `$time`.
pub const INDEX: &str = "$index";
pub const TIME: &str = "$time";
pub const KEY: &str = "$key";

/// The schema of what is emitted.
pub fn emitted_schema(input: &Schema) -> SchemaRef {
    let index = input.index_of(INDEX).unwrap();
    let key = input.index_of(KEY).unwrap();
    let time = input.index_of(TIME).unwrap();
    let matched = Binding::Matched(vec![index, key]).data_type(input, time).unwrap();
    Arc::new(Schema::new(vec![
        Field::new("rule", DataType::Utf8, true),
        Field::new("what", DataType::Utf8, true),
        Field::new("matched", matched, true),
        Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]))
}

/// Emits rule, kind, the matched events and the time.
pub fn emission(input: &Schema, rule: &str, what: &str) -> Emission {
    let index = input.index_of(INDEX).unwrap();
    let key = input.index_of(KEY).unwrap();
    let time = input.index_of(TIME).unwrap();
    let bindings = vec![Binding::Matched(vec![index, key]), Binding::EmitTime];
    let schema = bindings_schema(input, time, &bindings).unwrap();
    let at = |number: usize| Arc::new(Column::new(schema.field(number).name(), number)) as Expr;
    let first = input.fields().len();
    Emission { bindings, columns: vec![lit(rule), lit(what), at(first), at(first + 1)] }
}

/// What happens to the operator.
#[derive(Debug, Clone)]
pub enum Step {
    Rows(RecordBatch),
    Mark(i64),
    /// A checkpoint, restored into this many tasks.
    Restore(usize),
}

/// Runs the steps and returns what came out, sorted.
pub fn run(spec: &PatternSpec, steps: &[Step]) -> Result<Vec<Emitted>> {
    let mut found = Vec::new();
    run_batches(spec, steps)?.iter().for_each(|batch| read(batch, &mut found));
    found.sort();
    Ok(found)
}

/// Runs the steps; late rows are an error of the test.
pub fn run_batches(spec: &PatternSpec, steps: &[Step]) -> Result<Vec<RecordBatch>> {
    let mut tasks = vec![open(spec, 0, 1, BTreeMap::new())?];
    let mut mark = Watermark::MIN;
    let mut found = Vec::new();
    let mut out = Output::default();
    let checkpoints = steps.iter().any(|step| matches!(step, Step::Restore(_)));
    let keys = match spec.distribution(0) {
        Distribution::ByKey(keys) => keys,
        Distribution::Anywhere | Distribution::Single => Vec::new(),
    };
    for step in steps {
        match step {
            Step::Rows(rows) => {
                let columns: Vec<ArrayRef> = keys.iter().map(|key| rows.column(*key).clone()).collect();
                let parts = Sharder::new(tasks.len()).split(&columns, rows.num_rows())?;
                for ((operator, _), part) in tasks.iter_mut().zip(parts).filter(|(_, part)| !part.is_empty()) {
                    operator.on_batch(0, arrow::compute::take_record_batch(rows, &part)?, &mut out)?;
                    if checkpoints {
                        // Nobody goes back to it: the next one writes what has changed since.
                        operator.on_checkpoint(&mut out)?;
                    }
                }
            }
            Step::Mark(micros) => {
                mark = Watermark(*micros);
                for (operator, _) in &mut tasks {
                    operator.on_watermark(mark, &mut out)?;
                }
            }
            Step::Restore(count) => {
                let count = if keys.is_empty() { 1 } else { *count };
                let mut tables: BTreeMap<String, Vec<Block>> = BTreeMap::new();
                for (operator, handles) in &mut tasks {
                    operator.on_checkpoint(&mut out)?;
                    for (name, table) in handles.tables() {
                        tables.entry(name.to_owned()).or_default().extend(table.blocks().into_iter().map(|(_, block)| block));
                    }
                }
                tasks = (0..count).map(|task| open(spec, task, count, tables.clone())).collect::<Result<_>>()?;
                if mark > Watermark::MIN {
                    for (operator, _) in &mut tasks {
                        operator.on_watermark(mark, &mut out)?;
                    }
                }
            }
        }
        found.extend(out.take_batches());
        assert!(out.take_refused().is_empty(), "no row of a test is late");
    }
    Ok(found)
}

fn open(spec: &PatternSpec, task: usize, tasks: usize, tables: BTreeMap<String, Vec<Block>>) -> Result<(Box<dyn Operator>, StateHandles)> {
    let mut handles = StateHandles::restoring(task, tasks, tables);
    let operator = spec.open(&mut handles)?;
    Ok((operator, handles))
}

fn read(batch: &RecordBatch, found: &mut Vec<Emitted>) {
    let (rules, whats) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
    let times = batch.column(3).as_primitive::<TimestampMillisecondType>();
    for row in 0..batch.num_rows() {
        let matched = batch.column(2).as_list::<i32>().value(row);
        let matched = matched.as_struct();
        let steps = matched.column(0).as_string_view();
        let index = matched.column(1).as_primitive::<Int64Type>();
        let keys = matched.column(2).as_primitive::<Int64Type>();
        let events: Vec<(String, i64)> = (0..matched.len()).map(|at| (steps.value(at).to_owned(), index.value(at))).collect();
        let key = (!matched.is_empty()).then(|| keys.value(0));
        assert!((0..matched.len()).all(|at| Some(keys.value(at)) == key), "a match has events of one key");
        let (rule, what) = (rules.value(row).to_owned(), whats.value(row).to_owned());
        found.push(Emitted { rule, what, key, events, time: times.value(row) });
    }
}
