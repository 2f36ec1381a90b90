//! Expressions over batches, with the rows on which they fail found one by one.
//!
//! ```text
//!  evaluate the batch ─ ok ──▶ column
//!                     └ fails ─▶ its halves ─▶ theirs ─▶ … ─▶ the rows that fail: NULL in the column, named in `Failures`
//! ```
//! A row fails alone or not at all: a guarded expression (`b <> 0 AND a / b > 1`) may fail on a batch without failing on
//! any of its rows. Nothing of this costs anything while nothing fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Kind, Result};
use crate::metrics::Reason;
use crate::operator::{Output, Refused};

/// `'pipeline.on-expression-error'`: what happens to a row whose expression fails (a CAST, a division by zero, an overflow).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExpressionError {
    /// The pipeline stops.
    #[default]
    Fail,
    /// The row goes to the dead letters, the others go on.
    DeadLetter,
}

impl OnExpressionError {
    /// What the message of a failed row says besides.
    pub const HINT: &str = "TRY_CAST gives NULL instead, SET 'pipeline.on-expression-error' = 'dead-letter' goes on without such rows";
}

/// The rows of a batch on which an expression failed, with the first fault of each.
#[derive(Debug, Default)]
pub struct Failures {
    each: BTreeMap<u32, String>,
}

impl Failures {
    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Row and fault of each, in the order of rows.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.each.iter().map(|(row, error)| (*row, error.as_str()))
    }

    /// Forgets those that are of no interest.
    pub fn retain(&mut self, wanted: impl Fn(u32) -> bool) {
        self.each.retain(|row, _| wanted(*row));
    }

    /// Which of `rows` rows did not fail.
    pub fn others(&self, rows: usize) -> BooleanArray {
        let mut others = vec![true; rows];
        self.each.keys().for_each(|row| others[*row as usize] = false);
        others.into()
    }

    /// Adds those of some rows of the batch; `rows` are their numbers in it.
    pub fn absorb(&mut self, of_some: Failures, rows: &[u32]) {
        for (row, error) in of_some.each {
            self.each.entry(rows[row as usize]).or_insert(error);
        }
    }

    fn add(&mut self, row: usize, error: &Error) {
        self.each.entry(row as u32).or_insert_with(|| error.message().to_owned());
    }
}

/// The value of `expr` for every row of `batch`; NULL where it fails, which `failures` tells.
pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, failures: &mut Failures) -> Result<ArrayRef> {
    match value(expr, batch) {
        Err(error) if is_of_row(&error) => {
            let mut parts = Vec::new();
            if batch.num_rows() > 0 {
                by_halves(expr, batch, 0..batch.num_rows(), &mut parts, failures)?;
            }
            let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
            match parts.is_empty() {
                true => Ok(new_null_array(&expr.data_type(&batch.schema())?, 0)),
                false => Ok(arrow::compute::concat(&parts)?),
            }
        }
        done => done,
    }
}

/// Does `expr` hold, per row? NULL counts as false, and so does a row on which it fails.
pub fn holds(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, failures: &mut Failures) -> Result<BooleanArray> {
    let values = evaluate(expr, batch, failures)?;
    let verdict =
        values.as_boolean_opt().ok_or_else(|| Error::bug(format!("the condition {expr} is {}, not BOOLEAN", values.data_type())))?;
    Ok(if verdict.null_count() > 0 { arrow::compute::prep_null_mask_filter(verdict) } else { verdict.clone() })
}

fn value(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    Ok(expr.evaluate(batch)?.into_array(batch.num_rows())?)
}

/// Can the row be to blame? An expression reads nothing but its row, so all that is no broken promise of ours is.
fn is_of_row(error: &Error) -> bool {
    matches!(error.kind(), Kind::Row | Kind::Failed)
}

#[cold]
fn by_halves(
    expr: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    rows: std::ops::Range<usize>,
    parts: &mut Vec<ArrayRef>,
    failures: &mut Failures,
) -> Result<()> {
    let part = batch.slice(rows.start, rows.len());
    match value(expr, &part) {
        Ok(values) => parts.push(values),
        Err(error) if is_of_row(&error) && rows.len() == 1 => {
            failures.add(rows.start, &error);
            parts.push(new_null_array(&expr.data_type(&batch.schema())?, 1));
        }
        Err(error) if is_of_row(&error) => {
            let middle = rows.start + rows.len() / 2;
            by_halves(expr, batch, rows.start..middle, parts, failures)?;
            by_halves(expr, batch, middle..rows.end, parts, failures)?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

impl Output {
    /// Deals with the rows of `batch` on which an expression failed, as the settings say: refuses them, or fails.
    /// Returns which rows to go on with; `None` = all.
    pub fn refuse_failed(&mut self, batch: &RecordBatch, failures: &Failures) -> Result<Option<BooleanArray>> {
        let Some((_, first)) = failures.iter().next() else { return Ok(None) };
        if self.on_expression_error == OnExpressionError::Fail {
            return Err(Error::new(Kind::Row, format!("{first}; {}", OnExpressionError::HINT)));
        }
        let mut by_error: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (row, error) in failures.iter() {
            by_error.entry(error).or_default().push(row);
        }
        for (error, rows) in by_error {
            let rows = arrow::compute::take_record_batch(batch, &UInt32Array::from(rows))?;
            self.refuse(Refused { reason: Reason::Expression, pairs: rows.num_rows() as u64, rows, error: error.to_owned() });
        }
        Ok(Some(failures.others(batch.num_rows())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Int64Type};
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_expr::expressions::{BinaryExpr, cast, col, lit};

    fn texts(texts: &[&str]) -> RecordBatch {
        RecordBatch::try_from_iter([("t", Arc::new(StringViewArray::from(texts.to_vec())) as ArrayRef)]).unwrap()
    }

    #[test]
    fn the_rows_that_fail_are_found_and_the_others_have_their_values() {
        let batch = texts(&["1", "x", "3", "", "5", "6", "7"]);
        let number = cast(col("t", &batch.schema()).unwrap(), &batch.schema(), DataType::Int64).unwrap();
        let mut failures = Failures::default();
        let values = evaluate(&number, &batch, &mut failures).unwrap();
        let expected = Int64Array::from(vec![Some(1), None, Some(3), None, Some(5), Some(6), Some(7)]);
        assert_eq!(values.as_primitive::<Int64Type>(), &expected);
        assert_eq!(failures.iter().map(|(row, _)| row).collect::<Vec<_>>(), [1, 3]);
        assert!(failures.iter().next().unwrap().1.contains("'x'"), "{failures:?}");

        let mut out = Output::default();
        let told = out.refuse_failed(&batch, &failures).unwrap_err().to_string();
        assert!(told.contains("'x'") && told.ends_with(OnExpressionError::HINT), "{told}");
        let mut out = Output::tolerant(OnExpressionError::DeadLetter);
        let others = out.refuse_failed(&batch, &failures).unwrap().unwrap();
        assert_eq!(others.true_count(), 5);
        let refused = out.take_refused();
        assert_eq!(refused.iter().map(|r| (r.reason, r.pairs)).collect::<Vec<_>>(), [(Reason::Expression, 1); 2]);
    }

    #[test]
    fn a_guarded_expression_fails_on_no_row() {
        let columns: [(&str, ArrayRef); 2] =
            [("a", Arc::new(Int64Array::from(vec![4, 4, 4]))), ("b", Arc::new(Int64Array::from(vec![2, 0, 1])))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let column = |name| col(name, &batch.schema()).unwrap();
        let binary = |left, op, right| Arc::new(BinaryExpr::new(left, op, right)) as Arc<dyn PhysicalExpr>;
        let quotient = binary(column("a"), Op::Divide, column("b"));
        let guarded = binary(binary(column("b"), Op::NotEq, lit(0_i64)), Op::And, binary(quotient.clone(), Op::Gt, lit(3_i64)));
        let mut failures = Failures::default();
        assert_eq!(holds(&guarded, &batch, &mut failures).unwrap(), BooleanArray::from(vec![false, false, true]));
        assert!(failures.is_empty());
        evaluate(&quotient, &batch, &mut failures).unwrap();
        assert_eq!(failures.others(3), BooleanArray::from(vec![true, false, true]));
    }
}
