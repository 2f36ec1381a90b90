//! The change feed of a live table, as server-sent events.
//!
//! ```text
//!  event: snapshot   its rows as they are, where they are asked for, some at a time
//!  event: deleted    rows that a publish took away, as they were
//!  event: rows       rows that it added, or the new rows of keys that were there
//!  event: lost       so many publishes were missed: the listener was too slow
//! ```
//! The id of an event is the version of the table. Events are made as they are taken: a listener never has more of a table
//! waiting for it than one of them.

use arrow::array::RecordBatch;
use axum::response::sse::Event;
use futures::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::json;

use crate::error::Result;
use crate::server::json;
use crate::table::{Changes, Heard, LiveTable, Tables};

/// Rows in one event, at most.
const EVENT_ROWS: usize = 1_000;

/// How a feed begins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beginning {
    /// Send the rows of the table first.
    #[serde(default)]
    snapshot: bool,
}

/// The feed of `table`.
pub fn events(tables: &Tables, table: &LiveTable, beginning: &Beginning) -> Result<impl Stream<Item = Event> + Send + use<>> {
    // Listening begins before the snapshot is taken: what both hold is left out by its version.
    let changes = table.changes();
    let (mut seen, mut rows) = (0, Vec::new());
    if beginning.snapshot
        && let Some(now) = tables.snapshot().table(&table.spec().name)
    {
        (seen, rows) = (now.version, now.batches()?);
    }
    Ok(futures::stream::iter(of_rows("snapshot", seen, rows)).chain(later(changes, seen)))
}

/// The changes after version `seen`.
fn later(changes: Changes, seen: u64) -> impl Stream<Item = Event> + Send {
    let heard = futures::stream::unfold(changes, |mut changes| async move { Some((changes.next().await?, changes)) });
    heard.flat_map(move |heard| {
        let events: Box<dyn Iterator<Item = Event> + Send> = match heard {
            Heard::Change(change) if change.version > seen => {
                let deleted = of_rows("deleted", change.version, change.deleted.clone());
                Box::new(deleted.chain(of_rows("rows", change.version, change.rows.clone())))
            }
            Heard::Change(_) => Box::new(std::iter::empty()),
            Heard::Lost(publishes) => {
                let text = json!({ "publishes": publishes, "why": "this listener was too slow; ask for the snapshot again" });
                Box::new(std::iter::once(Event::default().event("lost").data(text.to_string())))
            }
        };
        futures::stream::iter(events)
    })
}

/// Rows as events of this kind.
fn of_rows(kind: &'static str, version: u64, batches: Vec<RecordBatch>) -> impl Iterator<Item = Event> + Send {
    batches.into_iter().flat_map(pieces).map(move |rows| match json::array(&[rows]) {
        Ok(text) => Event::default().event(kind).id(version.to_string()).data(text),
        Err(error) => Event::default().event("error").data(json!(error.to_string()).to_string()),
    })
}

/// A batch in pieces of [`EVENT_ROWS`].
fn pieces(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> + Send {
    let rows = batch.num_rows();
    (0..rows).step_by(EVENT_ROWS).map(move |from| batch.slice(from, EVENT_ROWS.min(rows - from)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn a_large_batch_is_several_events_made_one_by_one() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2_500));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        assert_eq!(pieces(batch.clone()).map(|piece| piece.num_rows()).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        assert_eq!(of_rows("rows", 1, vec![batch.clone(), batch.slice(0, 0)]).count(), 3);
    }
}
