//! Filter and project over upserts: what a row is now may fail where what it was passed. Without knowing what it was, it
//! is enough to say that its key is gone.
//!
//! ```text
//!  +U 1, 5     holds 5 > 3  ──▶  +U 1, 5
//!  +U 1, 2     fails 2 > 3  ──▶  -D 1, ∅      so it is for whoever has the row by its key
//!  -D 1, ∅     not asked    ──▶  -D 1, ∅
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int8Array, RecordBatch, RecordBatchOptions, UInt32Builder};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{Int8Type, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use super::ProjectSpec;
use crate::change::Kind;
use crate::error::Result;
use crate::operator::expressions::{Failures, evaluate, holds};
use crate::operator::identity::expr_identity;
use crate::operator::{Input, Operator, Output};
use crate::time::Watermark;

/// What makes a projection one over upserts.
#[derive(Debug, Clone)]
pub struct Upserts {
    /// The input column of changes.
    pub from: usize,
    /// The output column of changes.
    pub kind: usize,
    /// The output columns that are known of a deleted row: those of its key.
    pub known: Vec<usize>,
    /// Over the input: rows for which this is not true are gone.
    pub holds: Option<Arc<dyn PhysicalExpr>>,
}

impl Upserts {
    /// For the fingerprint.
    pub(super) fn identity(&self) -> String {
        let holds = self.holds.as_ref().map(expr_identity).unwrap_or_default();
        format!(" gone unless [{holds}] known {:?}", self.known)
    }
}

/// Works on upserts.
pub(super) struct ProjectUpserts {
    filter: Option<Arc<dyn PhysicalExpr>>,
    columns: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    upserts: Upserts,
}

impl ProjectUpserts {
    /// The operator of `spec`.
    pub(super) fn new(spec: &ProjectSpec, upserts: Upserts) -> ProjectUpserts {
        let columns = spec.columns.iter().map(|(expr, _)| expr.clone()).collect();
        ProjectUpserts { filter: spec.filter.clone(), columns, schema: spec.schema.clone(), upserts }
    }
}

impl Operator for ProjectUpserts {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let rows = match &self.filter {
            None => batch,
            Some(filter) => {
                let mut failures = Failures::default();
                let pass = holds(filter, &batch, &mut failures)?;
                out.refuse_failed(&batch, &failures)?;
                filter_record_batch(&batch, &pass)?
            }
        };
        let count = rows.num_rows();
        if count == 0 {
            return Ok(());
        }
        let kinds = rows.column(self.upserts.from).as_primitive::<Int8Type>();
        let mut stays = kinds.values().iter().map(|kind| Ok(Kind::of(*kind)?.adds())).collect::<Result<Vec<bool>>>()?;
        if let Some(condition) = &self.upserts.holds {
            // Only asked of rows that are there: of the others nothing is known.
            let there = filter_record_batch(&rows, &BooleanArray::from(stays.clone()))?;
            let mut failures = Failures::default();
            let verdicts = holds(condition, &there, &mut failures)?;
            out.refuse_failed(&there, &failures)?;
            let mut verdicts = verdicts.iter();
            stays.iter_mut().filter(|stays| **stays).for_each(|stays| *stays = verdicts.next().flatten().unwrap_or(false));
        }
        let columns = loop {
            // Per row: its place among those that stay.
            let mut places = UInt32Builder::with_capacity(count);
            let mut next = 0;
            for stays in &stays {
                places.append_option(stays.then_some(next));
                next += u32::from(*stays);
            }
            let places = places.finish();
            let living =
                if places.null_count() == 0 { rows.clone() } else { filter_record_batch(&rows, &BooleanArray::from(stays.clone()))? };
            let mut failures = Failures::default();
            let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
            for (at, expr) in self.columns.iter().enumerate() {
                columns.push(if at == self.upserts.kind {
                    let kind = |(row, stays): (usize, &bool)| if *stays { kinds.value(row) } else { Kind::Delete as i8 };
                    Arc::new(stays.iter().enumerate().map(kind).collect::<Int8Array>())
                } else if self.upserts.known.contains(&at) {
                    expr.evaluate(&rows)?.into_array(count)?
                } else {
                    let values = evaluate(expr, &living, &mut failures)?;
                    if places.null_count() == 0 { values } else { take(&values, &places, None)? }
                });
            }
            if failures.is_empty() {
                break columns;
            }
            // What the row is now cannot be said: it is refused, and what it was is gone.
            out.refuse_failed(&living, &failures)?;
            let failed: Vec<u32> = failures.iter().map(|(row, _)| row).collect();
            for (place, stays) in (0..).zip(stays.iter_mut().filter(|stays| **stays)) {
                *stays = !failed.contains(&place);
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        out.emit(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        Ok(())
    }

    fn on_watermark(&mut self, mark: Watermark, _: &mut Output) -> Result<Watermark> {
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_expr::expressions::{BinaryExpr, col, lit};

    use super::*;
    use crate::change;
    use crate::operator::testing::check;

    #[test]
    fn a_row_that_fails_is_gone_for_its_key() {
        let column = |name: &str, nullable| Arc::new(Field::new(name, DataType::Int64, nullable));
        let input = Arc::new(Schema::new(vec![column("id", false), column("v", true), change::field()]));
        let (id, v, kind) = (col("id", &input).unwrap(), col("v", &input).unwrap(), col(change::CHANGE_COLUMN, &input).unwrap());
        // Would fail on a row that does not hold: it must not be computed there.
        let quotient: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(lit(12_i64), Op::Divide, v.clone()));
        let columns = vec![(quotient, column("q", true)), (id.clone(), column("id", false)), (kind, change::field())];
        let spec = ProjectSpec {
            filter: Some(Arc::new(BinaryExpr::new(id, Op::Lt, lit(9_i64)))),
            schema: Arc::new(Schema::new(columns.iter().map(|(_, field)| field.clone()).collect::<Vec<_>>())),
            columns,
            upserts: Some(Upserts { from: 2, kind: 2, known: vec![1], holds: Some(Arc::new(BinaryExpr::new(v, Op::NotEq, lit(0_i64)))) }),
        };
        check(
            &spec,
            &[input],
            "
            < 1 4 2
            < 2 0 2
            < 1 NULL 3
            < 3 NULL 2
            < 9 1 2
            mark 5
            > 3 1 2
            > NULL 2 3
            > NULL 1 3
            > NULL 3 3
            ",
        );
    }
}
