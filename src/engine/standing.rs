//! Changes to the rows that hold after all of them.
//!
//! With a key the later row of a key stands in place of the earlier one; without one a row that is taken back takes away an
//! equal row. Rows come out in the order in which they came in.

use std::collections::HashMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, RowConverter, SortField};

use crate::change::{self, Kind};
use crate::error::Result;

/// Gathers changes.
pub struct Standing {
    /// Columns of the rows, those of the changes behind them.
    schema: SchemaRef,
    /// Columns that tell rows apart.
    compared: Vec<usize>,
    /// A later row replaces an earlier one.
    by_key: bool,
    converter: RowConverter,
    batches: Vec<RecordBatch>,
    /// Per key: the batch and the row of what stands.
    spots: HashMap<OwnedRow, Vec<(usize, usize)>>,
}

impl Standing {
    /// Nothing stands yet; rows are of `schema`, their key is of these columns.
    pub fn new(schema: SchemaRef, key: Option<Vec<usize>>) -> Result<Self> {
        let by_key = key.is_some();
        let compared = key.unwrap_or_else(|| (0..schema.fields().len()).collect());
        let fields = compared.iter().map(|at| SortField::new(schema.field(*at).data_type().clone())).collect();
        Ok(Standing { schema, compared, by_key, converter: RowConverter::new(fields)?, batches: Vec::new(), spots: HashMap::new() })
    }

    /// Takes changes: the columns of the rows, and what each of them does, inserts unless it says so.
    pub fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let kinds = change::of(batch)?;
        let compared: Vec<ArrayRef> = self.compared.iter().map(|at| batch.column(*at).clone()).collect();
        let keys = self.converter.convert_columns(&compared)?;
        for row in 0..batch.num_rows() {
            let adds = kinds.map_or(Ok(Kind::Insert), |kinds| Kind::of(kinds.value(row)))?.adds();
            let spots = self.spots.entry(keys.row(row).owned()).or_default();
            match (self.by_key, adds) {
                (true, _) => spots.clear(),
                (false, false) => _ = spots.pop(),
                (false, true) => {}
            }
            if adds {
                spots.push((self.batches.len(), row));
            }
        }
        let columns = batch.columns()[..self.schema.fields().len()].to_vec();
        self.batches.push(RecordBatch::try_new(self.schema.clone(), columns)?);
        Ok(())
    }

    /// The rows that hold.
    pub fn rows(self) -> Result<RecordBatch> {
        if self.batches.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema));
        }
        let mut spots: Vec<(usize, usize)> = self.spots.into_values().flatten().collect();
        spots.sort_unstable();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        Ok(interleave_record_batch(&batches, &spots)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray as _, Int8Array, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    /// The values that stand after changes of (kind, key, value).
    fn standing(key: Option<Vec<usize>>, changes: &[(Kind, i64, i64)]) -> Vec<i64> {
        let field = |name| Field::new(name, DataType::Int64, true);
        let rows = Arc::new(Schema::new(vec![field("k"), field("v")]));
        let all = Arc::new(Schema::new(vec![Arc::new(field("k")), Arc::new(field("v")), change::field()]));
        let mut standing = Standing::new(rows, key).unwrap();
        for part in changes.chunks(2) {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter_values(part.iter().map(|change| change.1))),
                Arc::new(Int64Array::from_iter_values(part.iter().map(|change| change.2))),
                Arc::new(Int8Array::from_iter_values(part.iter().map(|change| change.0 as i8))),
            ];
            standing.take(&RecordBatch::try_new(all.clone(), columns).unwrap()).unwrap();
        }
        standing.rows().unwrap().column(1).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn what_was_replaced_or_deleted_does_not_stand() {
        use Kind::{Delete, Insert, UpdateAfter, UpdateBefore};
        let key = Some(vec![0]);
        assert_eq!(
            standing(key.clone(), &[(Insert, 1, 10), (Insert, 2, 20), (UpdateAfter, 1, 11), (Delete, 2, 0), (Insert, 3, 30)]),
            [11, 30]
        );
        assert_eq!(standing(key, &[(Insert, 1, 10), (UpdateBefore, 1, 10), (UpdateAfter, 1, 12)]), [12]);
        assert_eq!(standing(None, &[(Insert, 1, 10), (Insert, 1, 10), (Delete, 1, 10), (Delete, 1, 99)]), [10]);
        assert_eq!(standing(None, &[]), [0_i64; 0]);
    }
}
