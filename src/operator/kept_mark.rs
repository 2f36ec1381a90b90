//! The watermark as an operator's state: what has fired before a restart must not fire again after it, and what was late
//! must stay late until the inputs have caught up.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use crate::error::Result;
use crate::operator::catch_up::StateTables;
use crate::state::{Block, BlockTable, StateHandles};
use crate::time::Watermark;

/// Name of the table that holds it.
pub const TABLE: &str = "watermark";

/// The watermark that a checkpoint with these tables holds; none: the operator is new.
pub fn of(state: &StateTables) -> Option<Watermark> {
    lowest(state.get(TABLE)?)
}

/// All instances stood at one watermark when a checkpoint passed; should they differ, the lowest holds.
fn lowest(blocks: &[Block]) -> Option<Watermark> {
    blocks.iter().filter_map(|block| arrow::compute::min(block.rows.column(0).as_primitive::<Int64Type>())).min().map(Watermark)
}

/// The watermark an operator has reached, kept over restarts.
#[derive(Debug)]
pub struct KeptMark {
    mark: Watermark,
    /// What the table holds.
    kept: Watermark,
    table: BlockTable,
}

impl KeptMark {
    /// Opens the table.
    pub fn open(state: &mut StateHandles) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![Field::new("watermark", DataType::Int64, false)]));
        let table = state.shared_table(TABLE, schema);
        let restored: Vec<Block> = table.blocks().into_iter().map(|(_, block)| block).collect();
        let mut mark = KeptMark { mark: lowest(&restored).unwrap_or(Watermark::MIN), kept: Watermark::MIN, table };
        if restored.len() > 1 {
            mark.keep()?;
        } else {
            mark.kept = mark.mark;
        }
        Ok(mark)
    }

    /// The watermark reached.
    pub fn get(&self) -> Watermark {
        self.mark
    }

    /// Moves on; a step back is ignored.
    ///
    /// The end of the input is reached, but not kept: whoever goes on after it expects more rows, which are not all late.
    pub fn advance(&mut self, mark: Watermark) {
        self.mark = self.mark.max(mark);
    }

    /// Puts the watermark into its table: to be called at every checkpoint.
    pub fn keep(&mut self) -> Result<()> {
        if self.mark != self.kept && self.mark != Watermark::MAX {
            let rows = RecordBatch::try_new(self.table.schema().clone(), vec![Arc::new(Int64Array::from(vec![self.mark.0]))])?;
            self.table.replace_all(Some(rows));
            self.kept = self.mark;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_end_of_the_input_is_not_kept() {
        let mut handles = StateHandles::empty(0, 1);
        let mut mark = KeptMark::open(&mut handles).unwrap();
        for micros in [3, i64::MAX] {
            mark.advance(Watermark(micros));
            mark.keep().unwrap();
        }
        assert_eq!(mark.get(), Watermark::MAX);
        let rows = &handles.tables().next().unwrap().1.blocks()[0].1.rows;
        assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(0), 3);
    }

    #[test]
    fn every_instance_goes_on_from_the_lowest_watermark_of_all() {
        let mut blocks = Vec::new();
        for micros in [7, 5] {
            let mut handles = StateHandles::empty(0, 2);
            let mut mark = KeptMark::open(&mut handles).unwrap();
            mark.advance(Watermark(micros));
            mark.advance(Watermark(micros - 1));
            mark.keep().unwrap();
            blocks.extend(handles.tables().flat_map(|(_, table)| table.blocks()).map(|(_, block)| block));
        }
        for task in 0..3 {
            let mut handles = StateHandles::restoring(task, 3, BTreeMap::from([("watermark".to_owned(), blocks.clone())]));
            let mark = KeptMark::open(&mut handles).unwrap();
            assert_eq!(mark.get(), Watermark(5));
            assert_eq!(handles.tables().next().unwrap().1.blocks().len(), 1);
        }
    }
}
