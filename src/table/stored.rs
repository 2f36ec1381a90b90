//! The tables of a pipeline that is not running: as its newest checkpoint has them.

use crate::error::Result;
use crate::state::{Checkpoints, Manifest, StateHandles};
use crate::table::registry::{ROWS, Tables};

impl Tables {
    /// Fills the tables with the rows of the newest whole checkpoint and shows them; `None` when there is none. Tables
    /// that the checkpoint does not have, or has with other columns, stay empty.
    pub async fn show(&self, checkpoints: &Checkpoints) -> Result<Option<Manifest>> {
        let Some(manifest) = checkpoints.newest().await? else { return Ok(None) };
        for entry in &manifest.operators {
            // Other operators have tables of state, too, but no live table of their name.
            let Ok(table) = self.get(&entry.name) else { continue };
            let blocks = checkpoints.load(entry).await?;
            let same = |rows: &arrow::array::RecordBatch| rows.schema().fields() == table.spec().schema.fields();
            if blocks.get(ROWS).is_none_or(|blocks| !blocks.iter().all(|block| same(&block.rows))) {
                tracing::warn!("table {}: its rows in checkpoint {} have other columns and are not shown", entry.name, manifest.epoch);
                continue;
            }
            table.writer(0, &mut StateHandles::restoring(0, 1, blocks))?;
        }
        self.publish(manifest.epoch);
        Ok(Some(manifest))
    }
}
