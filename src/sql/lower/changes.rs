//! The account of changes: what the rows of a stream do to those before them, and who may have them.
//!
//! ```text
//!  users (debezium-json)   +I -U +U -D    filter, project, UNION ALL: pass them on          ─▶ print, tables by key
//!  users (upsert)          +U -D by key   a row that a filter refuses is gone for its key   ─▶ print, tables of that key
//!  windows, joins, OVER, ranks, sinks that only append: refused by name
//! ```
//! Flink puts a ChangelogNormalize behind every source of upserts: keyed state that finds out what each row was before.
//! Here nobody who may have changes needs to know that: by key, `-D` says as much. So a filter over upserts keeps no
//! state: instead of dropping a row it says that its key is gone, which is true whether it was there or not. Over changes
//! with before images a filter judges row by row, as Flink's does: a row that passed and no longer does leaves as `-U`.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::utils::collect_columns;

use super::stream::Stream;
use super::{Lowering, refuse};
use crate::change::{Changes, Kind};
use crate::connector::Sink;
use crate::error::Result;

/// A stream of changes.
#[derive(Debug, Clone)]
pub(super) struct Changed {
    /// Tells what a row does, over the node's columns.
    pub kind: Arc<dyn PhysicalExpr>,
    /// Which changes there are.
    pub changes: Changes,
    /// Of upserts: the node's columns that say which row is meant; `None` = not all of them are there any more.
    pub key: Option<Vec<usize>>,
    /// The tables whose changes these are, for messages.
    pub of: BTreeSet<String>,
}

impl Changed {
    /// Rows that are all new, among changes.
    pub fn inserts() -> Changed {
        let kind = Arc::new(Literal::new(ScalarValue::Int8(Some(Kind::Insert as i8))));
        Changed { kind, changes: Changes::Inserts, key: None, of: BTreeSet::new() }
    }

    /// The account of both together.
    pub fn with(self, other: Changed) -> Changed {
        let key = match (self.changes, other.changes) {
            (Changes::Upserts, Changes::Upserts) => self.key.filter(|key| other.key.as_ref() == Some(key)),
            (Changes::Upserts, _) => self.key,
            (_, _) => other.key,
        };
        let changes = match (self.changes, other.changes) {
            (Changes::Upserts, _) | (_, Changes::Upserts) => Changes::Upserts,
            (one, other) => one.max(other),
        };
        Changed { kind: self.kind, changes, key, of: self.of.into_iter().chain(other.of).collect() }
    }

    /// The tables and what they tell.
    pub fn describe(&self) -> String {
        let of: Vec<String> = self.of.iter().map(|table| format!("'{table}'")).collect();
        format!("{} of {}", self.changes.describe(), of.join(", "))
    }
}

impl Stream {
    /// Do rows of upserts flow here?
    pub fn upserts(&self) -> Option<&Changed> {
        self.changes.as_ref().filter(|changed| changed.changes == Changes::Upserts)
    }

    /// Splits what must still hold into what is judged by the key alone (a row is there or not, whatever else it says) and
    /// the rest.
    pub fn split_by_key(&self) -> (Vec<Arc<dyn PhysicalExpr>>, Vec<Arc<dyn PhysicalExpr>>) {
        let key = self.upserts().and_then(|changed| changed.key.as_ref());
        let by_key = |expr: &Arc<dyn PhysicalExpr>| {
            let read = collect_columns(expr);
            key.is_some_and(|key| !read.is_empty() && read.iter().all(|column| key.contains(&column.index())))
        };
        self.filter.iter().cloned().partition(by_key)
    }
}

impl Lowering<'_> {
    /// Refuses changes where only new rows have a meaning; `what` names the operator, `at` something of it that knows its place.
    pub(super) fn inserts_only<'e>(&self, stream: &Stream, what: &str, at: impl IntoIterator<Item = &'e Expr>) -> Result<()> {
        let Some(changed) = &stream.changes else { return Ok(()) };
        let fault = refuse::over_changes(what, &changed.describe());
        let place = at.into_iter().find_map(|expr| refuse::place_of(expr, &self.place));
        Err(match place {
            Some(place) => fault.at(place),
            None => fault,
        })
    }
}

/// Refuses changes that `sink`, the target `name`, cannot take. `stream` is settled: its columns are the sink's.
pub(super) fn check_sink(name: &str, sink: &dyn Sink, stream: &Stream) -> Result<()> {
    let Some(changed) = stream.changes.as_ref().filter(|changed| changed.changes != Changes::Inserts) else { return Ok(()) };
    match sink.takes() {
        Changes::All => Ok(()),
        Changes::Inserts => Err(refuse::changes_into(name, &sink.describe(), &changed.describe())),
        Changes::Upserts => {
            let names = |columns: &[usize]| -> Vec<String> {
                columns.iter().filter_map(|at| stream.columns.get(*at)).map(|column| column.field.name().clone()).collect()
            };
            let wanted: BTreeSet<usize> = sink.key_columns().unwrap_or_default().into_iter().collect();
            let (Changes::Upserts, key) = (changed.changes, &changed.key) else { return Ok(()) };
            match key {
                Some(key) if key.iter().copied().collect::<BTreeSet<_>>() == wanted => Ok(()),
                key => {
                    let wanted: Vec<usize> = wanted.into_iter().collect();
                    let key = key.as_ref().map(|key| names(key).join(", "));
                    Err(refuse::other_key(name, &names(&wanted).join(", "), &changed.describe(), key.as_deref()))
                }
            }
        }
    }
}
