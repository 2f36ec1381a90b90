//! Alerts that repeat are held back: at most one a rule, key and period, and the next one says how many there were.
//!
//! ```text
//!  alert of rule, key at t ─┬─ t - last < period ─▶ counted, held back
//!                           └─ else ──────────────▶ id, alert, held_back        last = t
//! ```
//! Also gives every alert its id: the same one whenever it is raised again from the same events.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::event::derived_id;
use crate::operator::event_time::micros;
use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output};
use crate::state::{BlockTable, StateHandles};
use crate::time::{Length, Watermark};

/// The columns that are looked at, by name.
const LOOKED_AT: [&str; 4] = ["rule", "key", "alert_time", "causationid"];

/// Describes the holding back of alerts.
#[derive(Debug)]
pub struct SuppressSpec {
    /// Positions of `rule`, `key`, `alert_time`, `causationid` in the input.
    columns: [usize; 4],
    /// Per rule: its period, in microseconds. Other rules hold nothing back.
    periods: Vec<(String, i64)>,
    /// What is emitted: `id`, the input's columns, `held_back`.
    pub schema: SchemaRef,
}

/// What becomes of alerts of this schema: `id` in front, `held_back` behind.
pub fn output_schema(input: &Schema) -> Schema {
    let mut fields = vec![Arc::new(Field::new("id", DataType::Utf8View, true))];
    fields.extend(input.fields().iter().cloned());
    fields.push(Arc::new(Field::new("held_back", DataType::Int64, true)));
    Schema::new(fields)
}

impl SuppressSpec {
    /// For alerts of this schema.
    pub fn new(input: SchemaRef, periods: Vec<(String, i64)>) -> Result<Self> {
        let mut columns = [0; 4];
        for (column, name) in columns.iter_mut().zip(LOOKED_AT) {
            *column = input.index_of(name)?;
        }
        Ok(SuppressSpec { columns, periods, schema: Arc::new(output_schema(&input)) })
    }
}

impl OperatorSpec for SuppressSpec {
    fn name(&self) -> &'static str {
        "suppress"
    }

    fn describe(&self) -> String {
        let periods: Vec<String> = self.periods.iter().map(|(rule, micros)| format!("{rule} once in {}", Length(*micros))).collect();
        if periods.is_empty() { "nothing is held back".to_owned() } else { periods.join(", ") }
    }

    /// Without the periods: a rule that changes its own goes on from its last alert.
    fn identity(&self) -> String {
        "suppress by rule and key".to_owned()
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _input: Input) -> Distribution {
        Distribution::ByKey(self.columns[..2].to_vec())
    }

    fn stateful(&self) -> bool {
        true
    }

    fn open(&self, state: &mut StateHandles) -> Result<Box<dyn Operator>> {
        let table = state.table("last", last_schema(), vec![0, 1])?;
        let periods = self.periods.iter().cloned().collect();
        let mut suppress = Suppress {
            columns: self.columns,
            periods,
            schema: self.schema.clone(),
            last: HashMap::new(),
            due: BTreeSet::new(),
            changed: false,
            table,
        };
        for (_, block) in suppress.table.blocks() {
            suppress.restore(&block.rows);
        }
        suppress.changed = true;
        Ok(Box::new(suppress))
    }
}

/// Rule and key.
type Who = (String, String);

/// The last alert of a rule and key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Last {
    /// When it was, in microseconds.
    at: i64,
    /// The last event of all alerts so far, held back or not, and how many it has caused.
    cause: String,
    caused: u64,
    /// Held back since.
    held: i64,
}

fn last_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8View, false);
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![text("rule"), text("key"), number("at"), text("cause"), number("caused"), number("held_back")]))
}

struct Suppress {
    columns: [usize; 4],
    periods: HashMap<String, i64>,
    schema: SchemaRef,
    last: HashMap<Who, Last>,
    /// Who may be forgotten when the watermark is beyond.
    due: BTreeSet<(i64, Who)>,
    /// Since the last checkpoint.
    changed: bool,
    table: BlockTable,
}

impl Operator for Suppress {
    fn on_batch(&mut self, _input: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let [rule, key, time, cause] = self.columns;
        let text =
            |at: usize| batch.column(at).as_string_view_opt().ok_or_else(|| Error::bug(format!("column {at} of an alert is no text")));
        let (rules, keys, causes, times) = (text(rule)?, text(key)?, text(cause)?, micros(batch.column(time))?);
        let value = |array: &StringViewArray, row: usize| if array.is_null(row) { String::new() } else { array.value(row).to_owned() };
        let (mut rows, mut ids, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let who = (value(rules, row), value(keys, row));
            let at = if times.is_null(row) { i64::MIN } else { times.value(row) };
            let cause = format!("{at} {}", value(causes, row));
            let period = self.periods.get(&who.0).copied().unwrap_or(0);
            let known = self.last.get(&who).cloned();
            let caused = known.as_ref().filter(|last| last.cause == cause).map_or(0, |last| last.caused);
            let next = match known {
                // Without a period nothing is held back, not even what is older than the last.
                Some(last) if period > 0 && at.saturating_sub(last.at) < period => {
                    Last { cause, caused: caused + 1, held: last.held + 1, at: last.at }
                }
                known => {
                    let id = derived_id(&who.0, format!("{}\n{cause}", who.1).as_bytes(), caused);
                    rows.push(row as u32);
                    ids.push(id.to_string());
                    held.push(known.as_ref().map_or(0, |last| last.held));
                    Last { at, cause, caused: caused + 1, held: 0 }
                }
            };
            self.due.insert((at.saturating_add(period), who.clone()));
            self.last.insert(who, next);
            self.changed = true;
        }
        if rows.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from(rows);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(StringViewArray::from_iter_values(&ids))];
        for column in batch.columns() {
            columns.push(take(column, &indices, None)?);
        }
        columns.push(Arc::new(Int64Array::from(held)));
        out.emit(RecordBatch::try_new(self.schema.clone(), columns)?);
        Ok(())
    }

    /// Forgets whom nothing more can be held back of.
    fn on_watermark(&mut self, mark: Watermark, _out: &mut Output) -> Result<Watermark> {
        while let Some((due, _)) = self.due.first()
            && *due < mark.0
        {
            let Some((due, who)) = self.due.pop_first() else { break };
            let period = self.periods.get(&who.0).copied().unwrap_or(0);
            let over = self.last.get(&who).is_some_and(|last| last.held == 0 && last.at.saturating_add(period) <= due);
            if over {
                self.last.remove(&who);
                self.changed = true;
            }
        }
        Ok(mark)
    }

    fn on_checkpoint(&mut self, _out: &mut Output) -> Result<()> {
        if std::mem::take(&mut self.changed) {
            let rows = (!self.last.is_empty()).then(|| self.rows()).transpose()?;
            self.table.replace_all(rows);
        }
        Ok(())
    }
}

impl Suppress {
    fn rows(&self) -> Result<RecordBatch> {
        let text = |of: &dyn Fn(&Who, &Last) -> String| -> ArrayRef {
            Arc::new(StringViewArray::from_iter_values(self.last.iter().map(|(who, last)| of(who, last))))
        };
        let number = |of: &dyn Fn(&Last) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(self.last.values().map(of))) };
        let columns = vec![
            text(&|who, _| who.0.clone()),
            text(&|who, _| who.1.clone()),
            number(&|last| last.at),
            text(&|_, last| last.cause.clone()),
            number(&|last| last.caused as i64),
            number(&|last| last.held),
        ];
        Ok(RecordBatch::try_new(self.table.schema().clone(), columns)?)
    }

    fn restore(&mut self, rows: &RecordBatch) {
        let text = |column: usize, row: usize| rows.column(column).as_string_view().value(row).to_owned();
        let number = |column: usize, row: usize| rows.column(column).as_primitive::<Int64Type>().value(row);
        for row in 0..rows.num_rows() {
            let who = (text(0, row), text(1, row));
            let last = Last { at: number(2, row), cause: text(3, row), caused: number(4, row) as u64, held: number(5, row) };
            let period = self.periods.get(&who.0).copied().unwrap_or(0);
            self.due.insert((last.at.saturating_add(period), who.clone()));
            self.last.insert(who, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::testing::{check, schema};
    use arrow::datatypes::TimeUnit;

    fn spec() -> (SuppressSpec, SchemaRef) {
        let input = schema(&[
            ("rule", DataType::Utf8View),
            ("key", DataType::Utf8View),
            ("alert_time", DataType::Timestamp(TimeUnit::Millisecond, None)),
            ("causationid", DataType::Utf8View),
        ]);
        (SuppressSpec::new(input.clone(), vec![("slow".to_owned(), 60_000_000)]).unwrap(), input)
    }

    /// The id of the `n`th alert of a cause at a second.
    fn id(rule: &str, key: &str, second: i64, cause: &str, n: u64) -> String {
        derived_id(rule, format!("{key}\n{} {cause}", second * 1_000_000).as_bytes(), n).to_string()
    }

    #[test]
    fn one_alert_a_period_and_the_next_says_how_many_were_held_back() {
        let (spec, input) = spec();
        let [first, other, exactly, late] =
            [id("slow", "a", 10, "e1", 0), id("slow", "b", 11, "e2", 0), id("slow", "a", 70, "e5", 0), id("slow", "a", 400, "e6", 0)];
        let text = format!(
            "
            < slow a 10 e1
            > {first} slow a 10 e1 0
            < slow b 11 e2
            > {other} slow b 11 e2 0
            < slow a 20 e3
            < slow a 69 e4
            nothing
            mark 69
            < slow a 70 e5
            > {exactly} slow a 70 e5 2
            mark 300
            < slow a 400 e6
            > {late} slow a 400 e6 0
            mark end"
        );
        check(&spec, &[input], &text);
    }

    #[test]
    fn a_rule_without_a_period_holds_nothing_back_and_ids_differ() {
        let (spec, input) = spec();
        let [first, second] = [id("fast", "a", 10, "e1", 0), id("fast", "a", 10, "e1", 1)];
        let text = format!(
            "
            < fast a 10 e1
            < fast a 10 e1
            > {first} fast a 10 e1 0
            > {second} fast a 10 e1 0
            mark end"
        );
        check(&spec, &[input], &text);
    }

    #[test]
    fn a_rule_without_a_period_holds_nothing_back_in_order_of_arrival_either() {
        let (spec, input) = spec();
        let [later, earlier] = [id("fast", "a", 10, "e1", 0), id("fast", "a", 8, "e2", 0)];
        let text = format!(
            "
            < fast a 10 e1
            < fast a 8 e2
            > {later} fast a 10 e1 0
            > {earlier} fast a 8 e2 0
            mark end"
        );
        check(&spec, &[input], &text);
    }
}
