//! What a join of two inputs emits: pairs, padded rows, or rows of one side; and the condition beyond equal keys.
//!
//! | join | pairs | left without match | right without match |
//! |---|---|---|---|
//! | INNER | yes | | |
//! | LEFT, RIGHT, FULL | yes | padded (LEFT, FULL) | padded (RIGHT, FULL) |
//! | SEMI, ANTI | | the row itself (ANTI; of the kept side) | |

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;

use crate::error::{Error, Result};
use crate::operator::Output;
use crate::operator::expressions::{Failures, holds};

/// Left is 0, right is 1.
pub(crate) type Side = usize;

/// The shape of a join's output.
#[derive(Debug)]
pub(crate) struct Joined {
    join_type: JoinType,
    schema: SchemaRef,
    /// Output columns: side, and position in `columns` of that side.
    output: Vec<(Side, usize)>,
    /// Per side: the input columns that are read by the output.
    columns: [Vec<usize>; 2],
    filter: Option<Filter>,
}

/// A condition over few columns of both sides.
#[derive(Debug)]
struct Filter {
    expr: Arc<dyn PhysicalExpr>,
    columns: [Vec<usize>; 2],
    schema: SchemaRef,
}

impl Joined {
    /// The output of a join of `left` and `right`; `projection` and `filter` as in the specs.
    ///
    /// # Errors
    /// A bug if the join type is none of the table above, or if `schema` does not have one field per output column.
    pub(crate) fn new(
        join_type: JoinType,
        left: &Schema,
        right: &Schema,
        projection: Option<&[usize]>,
        filter: Option<&Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    ) -> Result<Self> {
        let kept = match join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => None,
            JoinType::LeftSemi | JoinType::LeftAnti => Some(0),
            JoinType::RightSemi | JoinType::RightAnti => Some(1),
            other => return Err(Error::bug(format!("{other} joins are not planned as a join over event time"))),
        };
        let widths = [left.fields().len(), right.fields().len()];
        let all: Vec<(Side, usize)> = (0..2)
            .filter(|side| kept.is_none_or(|kept| kept == *side))
            .flat_map(|side| (0..widths[side]).map(move |column| (side, column)))
            .collect();
        let chosen = match projection {
            None => all,
            Some(positions) => positions
                .iter()
                .map(|at| all.get(*at).copied().ok_or_else(|| Error::bug(format!("a join has {} columns, none at {at}", all.len()))))
                .collect::<Result<_>>()?,
        };
        if chosen.len() != schema.fields().len() {
            return Err(Error::bug(format!("a join emits {} columns, its schema has {}", chosen.len(), schema.fields().len())));
        }
        let mut columns = [Vec::new(), Vec::new()];
        let output = chosen
            .into_iter()
            .map(|(side, column)| {
                let at = columns[side].iter().position(|c| *c == column).unwrap_or_else(|| {
                    columns[side].push(column);
                    columns[side].len() - 1
                });
                (side, at)
            })
            .collect();
        let filter = filter.map(|expr| Filter::new(expr, left, right)).transpose()?;
        Ok(Joined { join_type, schema, output, columns, filter })
    }

    /// Does it emit pairs (and not rows of one side only)?
    pub(crate) fn emits_pairs(&self) -> bool {
        self.kept().is_none()
    }

    /// The side whose rows alone are emitted (SEMI, ANTI).
    pub(crate) fn kept(&self) -> Option<Side> {
        match self.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => Some(0),
            JoinType::RightSemi | JoinType::RightAnti => Some(1),
            _ => None,
        }
    }

    /// Is a row of this side emitted, once, when it has found no match?
    pub(crate) fn emits_unmatched(&self, side: Side) -> bool {
        match self.join_type {
            JoinType::Full => true,
            JoinType::Left | JoinType::LeftAnti => side == 0,
            JoinType::Right | JoinType::RightAnti => side == 1,
            _ => false,
        }
    }

    /// Is a row of this side emitted, once, when it has found its first match?
    pub(crate) fn emits_matched(&self, side: Side) -> bool {
        self.kept() == Some(side) && !self.emits_unmatched(side)
    }

    /// Does it matter whether a row of this side has found a match?
    pub(crate) fn tracks(&self, side: Side) -> bool {
        self.emits_unmatched(side) || self.emits_matched(side)
    }

    /// Is there a condition beyond equal keys?
    pub(crate) fn has_filter(&self) -> bool {
        self.filter.is_some()
    }

    /// The columns of `side` that [`Joined::emit`] wants, in this order.
    pub(crate) fn columns(&self, side: Side) -> &[usize] {
        &self.columns[side]
    }

    /// The columns of `side` that [`Joined::passing`] wants, in this order.
    pub(crate) fn filter_columns(&self, side: Side) -> &[usize] {
        self.filter.as_ref().map(|filter| filter.columns[side].as_slice()).unwrap_or_default()
    }

    /// Which of `rows` candidate pairs meet the condition; `None` = there is no condition. A pair on which it fails is
    /// refused and meets it not.
    pub(crate) fn passing(&self, sides: [Vec<ArrayRef>; 2], rows: usize, out: &mut Output) -> Result<Option<BooleanArray>> {
        let Some(filter) = &self.filter else { return Ok(None) };
        let columns = sides.into_iter().flatten().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(filter.schema.clone(), columns, &options)?;
        let mut failures = Failures::default();
        let mask = holds(&filter.expr, &batch, &mut failures)?;
        out.refuse_failed(&batch, &failures)?;
        Ok(Some(mask))
    }

    /// A batch of `rows` output rows from the columns of each side; `None` pads with NULL.
    pub(crate) fn emit(&self, sides: [Option<Vec<ArrayRef>>; 2], rows: usize) -> Result<RecordBatch> {
        let columns = self
            .output
            .iter()
            .zip(self.schema.fields())
            .map(|((side, at), field)| match &sides[*side] {
                Some(columns) => columns[*at].clone(),
                None => new_null_array(field.data_type(), rows),
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// A batch of rows of one side, the other padded (or, for SEMI and ANTI, not there).
    pub(crate) fn emit_one_side(&self, side: Side, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let columns = Some(columns);
        self.emit(if side == 0 { [columns, None] } else { [None, columns] }, rows)
    }
}

impl Filter {
    fn new(expr: &Arc<dyn PhysicalExpr>, left: &Schema, right: &Schema) -> Result<Self> {
        let width = left.fields().len();
        let mut columns = [Vec::new(), Vec::new()];
        let mut read: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
        read.sort_unstable();
        read.dedup();
        let mut fields: Vec<Arc<Field>> = Vec::with_capacity(read.len());
        for at in &read {
            let (side, column, schema) = if *at < width { (0, *at, left) } else { (1, at - width, right) };
            let field = schema.fields().get(column);
            let field = field.ok_or_else(|| Error::bug(format!("a join condition reads column {at}, there is none")))?;
            fields.push(field.clone());
            columns[side].push(column);
        }
        let expr = Arc::clone(expr).transform_up(|node| {
            let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
            let at = read.binary_search(&column.index()).unwrap_or_default();
            Ok(Transformed::yes(Arc::new(Column::new(column.name(), at)) as Arc<dyn PhysicalExpr>))
        })?;
        Ok(Filter { expr: expr.data, columns, schema: Arc::new(Schema::new(fields)) })
    }
}

/// Rows `rows` of the columns at `columns`.
pub(crate) fn take_columns(batch: &RecordBatch, columns: &[usize], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|column| Ok(take(batch.column(*column), rows, None)?)).collect()
}
