//! Filter and project: keeps the rows that pass, computes the columns asked for. Stateless.
//!
//! ```text
//!  a b c d ──filter over all──▶ rows that pass, of the columns still needed (a c) ──▶ a + c AS x, a AS y
//! ```
//! Over upserts a row that does not pass is not dropped: its key may have passed before, and is gone now. See `upserts.rs`.

mod upserts;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{FilterBuilder, filter_record_batch};
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;

use crate::error::Result;
use crate::operator::expressions::{Failures, evaluate, holds};
use crate::operator::identity::expr_identity;
use crate::operator::spoken;
use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::Watermark;

pub use self::upserts::Upserts;

/// Describes a filter followed by a projection, over one input.
#[derive(Debug)]
pub struct ProjectSpec {
    /// Rows for which this is not true are dropped (meant to be: not counted).
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Output columns over the input.
    pub columns: Vec<(Arc<dyn PhysicalExpr>, FieldRef)>,
    /// The rows are upserts.
    pub upserts: Option<Upserts>,
    /// Schema of the output: the fields of `columns`.
    pub schema: SchemaRef,
}

impl OperatorSpec for ProjectSpec {
    fn name(&self) -> &'static str {
        if self.filter.is_some() { "filter" } else { "project" }
    }

    fn describe(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(expr, field)| match expr.downcast_ref::<Column>() {
                Some(column) if column.name() == field.name() => column.name().to_owned(),
                _ => format!("{} AS {}", spoken::expression(expr), field.name()),
            })
            .collect();
        let filter = self.filter.as_ref().map(|filter| format!(" WHERE {}", spoken::expression(filter))).unwrap_or_default();
        let upserts = self.upserts.as_ref().and_then(|upserts| upserts.holds.as_ref());
        let upserts = upserts.map(|holds| format!(", gone unless {}", spoken::expression(holds))).unwrap_or_default();
        format!("{}{filter}{upserts}", columns.join(", "))
    }

    fn identity(&self) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|(expr, field)| format!("{}: {}", expr_identity(expr), field.data_type())).collect();
        let filter = self.filter.as_ref().map(expr_identity).unwrap_or_default();
        let upserts = self.upserts.as_ref().map(Upserts::identity).unwrap_or_default();
        format!("project [{}] where [{filter}]{upserts}", columns.join(", "))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _: Input) -> Distribution {
        Distribution::Anywhere
    }

    fn stateful(&self) -> bool {
        false
    }

    fn open(&self, _: &mut StateHandles) -> Result<Box<dyn Operator>> {
        if let Some(upserts) = &self.upserts {
            return Ok(Box::new(upserts::ProjectUpserts::new(self, upserts.clone())));
        }
        let mut needed: Vec<usize> = self.columns.iter().flat_map(|(expr, _)| collect_columns(expr)).map(|column| column.index()).collect();
        needed.sort_unstable();
        needed.dedup();
        let columns = self.columns.iter().map(|(expr, _)| over_needed(expr, &needed)).collect::<Result<_>>()?;
        Ok(Box::new(Project { filter: self.filter.clone(), needed, columns, schema: self.schema.clone() }))
    }
}

/// The same expression over a batch that holds only the `needed` columns.
fn over_needed(expr: &Arc<dyn PhysicalExpr>, needed: &[usize]) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = Arc::clone(expr).transform_up(|node| {
        let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        let index = needed.partition_point(|n| *n < column.index());
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), index)) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(moved.data)
}

struct Project {
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Input columns that `columns` read, ascending: only these are filtered.
    needed: Vec<usize>,
    /// Over the needed columns.
    columns: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Operator for Project {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        let mut failures = Failures::default();
        let pass = self.filter.as_ref().map(|filter| holds(filter, &batch, &mut failures)).transpose()?;
        out.refuse_failed(&batch, &failures)?;
        let rows = match &pass {
            None => Some(batch.project(&self.needed)?),
            Some(pass) => filtered(&batch, pass, &self.needed)?,
        };
        let Some(rows) = rows else { return Ok(()) };
        let mut failures = Failures::default();
        let columns = self.columns.iter().map(|expr| evaluate(expr, &rows, &mut failures)).collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        if failures.is_empty() {
            out.emit(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
            return Ok(());
        }
        let passed = pass.map_or(Ok(batch.clone()), |pass| filter_record_batch(&batch, &pass))?;
        if let Some(others) = out.refuse_failed(&passed, &failures)? {
            let columns = columns.iter().map(|column| arrow::compute::filter(column, &others)).collect::<Result<Vec<_>, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(others.true_count()));
            out.emit(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        }
        Ok(())
    }

    fn on_watermark(&mut self, mark: Watermark, _: &mut Output) -> Result<Watermark> {
        Ok(mark)
    }
}

/// The rows of `batch` that pass, cut to the `needed` columns; `None` when none passes.
fn filtered(batch: &RecordBatch, pass: &BooleanArray, needed: &[usize]) -> Result<Option<RecordBatch>> {
    let passing = pass.true_count();
    if passing == 0 {
        return Ok(None);
    }
    let batch = batch.project(needed)?;
    if passing == batch.num_rows() {
        return Ok(Some(batch));
    }
    let mut builder = FilterBuilder::new(pass);
    if needed.len() > 1 {
        builder = builder.optimize();
    }
    let predicate = builder.build();
    let columns = batch.columns().iter().map(|column| predicate.filter(column)).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(passing));
    Ok(Some(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::testing::{check, schema};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_expr::expressions::{BinaryExpr, col, lit};

    #[test]
    fn rows_that_pass_are_projected_and_the_watermark_goes_through() {
        let input = schema(&[("name", DataType::Utf8View), ("unused", DataType::Utf8View), ("n", DataType::Int64)]);
        let n = col("n", &input).unwrap();
        let twice: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(n.clone(), Op::Plus, n.clone()));
        let columns = vec![
            (twice, Arc::new(Field::new("twice", DataType::Int64, true))),
            (col("name", &input).unwrap(), Arc::new(Field::new("name", DataType::Utf8View, true))),
        ];
        let filter: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(n, Op::Gt, lit(1_i64)));
        let spec = ProjectSpec {
            filter: Some(filter),
            upserts: None,
            schema: schema(&[("twice", DataType::Int64), ("name", DataType::Utf8View)]),
            columns,
        };
        check(
            &spec,
            &[input],
            "
            < a u 1
            < b u 2
            < c u NULL
            < d u 3
            mark 5
            > 4 b
            > 6 d
            < e u 0
            ",
        );
        assert_eq!(spec.describe(), "n + n AS twice, name WHERE n > 1");
        assert_eq!(spec.identity(), "project [@2 + @2: Int64, @0: Utf8View] where [@2 > 1]");
    }

    #[test]
    fn a_projection_to_no_columns_still_has_rows() {
        let input = schema(&[("n", DataType::Int64)]);
        let spec = ProjectSpec { filter: None, columns: Vec::new(), upserts: None, schema: Arc::new(Schema::empty()) };
        let mut operator = spec.open(&mut StateHandles::empty(0, 1)).unwrap();
        let mut out = Output::default();
        let rows = crate::operator::testing::batch(&input, &["1", "2"]);
        operator.on_batch(0, rows, &mut out).unwrap();
        assert_eq!(out.take_batches()[0].num_rows(), 2);
    }
}
