//! What the state table holds for frames that only grow: per key the state of each such column, written again when it
//! has changed; of several rows of one key the last one counts.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};

use crate::error::Result;
use crate::operator::frame::column::Column;
use crate::operator::keys::KeyIndex;
use crate::state::BlockTable;

/// Rows beyond one per key that the table may hold before it is written anew.
const SLACK_ROWS: usize = 8192;

/// Keys whose state the table does not hold yet.
pub(super) struct Running {
    table: BlockTable,
    /// Rows in the table.
    rows: usize,
    changed: Vec<u32>,
    /// By slot: is it among `changed`?
    is_changed: Vec<bool>,
}

/// Schema of the table: keys, then the state of each column.
pub(super) fn running_schema(keys: &[FieldRef], columns: &[Vec<FieldRef>]) -> SchemaRef {
    let states = columns.iter().enumerate().flat_map(|(at, fields)| {
        fields
            .iter()
            .enumerate()
            .map(move |(number, field)| Arc::new(Field::new(format!("$state{at}_{number}"), field.data_type().clone(), true)))
    });
    Arc::new(Schema::new(keys.iter().cloned().chain(states).collect::<Vec<_>>()))
}

impl Running {
    /// Restores the states of `columns` from the table.
    pub(super) fn open(table: BlockTable, keys: usize, columns: &mut [&mut Box<dyn Column>], index: &mut KeyIndex) -> Result<Self> {
        let mut rows = 0;
        let mut slots = Vec::new();
        for (_, block) in table.blocks() {
            rows += block.rows.num_rows();
            let (key_columns, mut states) = block.rows.columns().split_at(keys);
            index.intern(key_columns, block.rows.num_rows(), &mut slots)?;
            for column in columns.iter_mut() {
                let (own, rest) = states.split_at(column.state_fields()?.len());
                column.restore(&slots, own)?;
                states = rest;
            }
        }
        Ok(Running { table, rows, changed: Vec::new(), is_changed: Vec::new() })
    }

    /// Notes that the state of these keys changes.
    pub(super) fn touch(&mut self, slots: &[u32], slot_count: usize) {
        self.is_changed.resize(slot_count.max(self.is_changed.len()), false);
        for slot in slots {
            if !std::mem::replace(&mut self.is_changed[*slot as usize], true) {
                self.changed.push(*slot);
            }
        }
    }

    /// Puts what has changed into the table.
    pub(super) fn checkpoint(&mut self, columns: &mut [&mut Box<dyn Column>], index: &KeyIndex) -> Result<()> {
        let mut slots = std::mem::take(&mut self.changed);
        if slots.is_empty() {
            return Ok(());
        }
        self.is_changed.fill(false);
        let anew = self.rows + slots.len() > 2 * index.len() + SLACK_ROWS;
        if anew {
            slots = (0..index.len() as u32).collect();
            self.rows = 0;
        }
        let mut arrays = index.keys(&slots)?;
        for column in columns {
            arrays.extend(column.state(&slots)?);
        }
        let rows = RecordBatch::try_new(self.table.schema().clone(), arrays)?;
        self.rows += rows.num_rows();
        if anew {
            self.table.replace_all(Some(rows));
        } else {
            self.table.push(0, rows);
        }
        Ok(())
    }
}
