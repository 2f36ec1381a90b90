//! Cursors: DECLARE runs a query at one cut, FETCH takes rows of it as they are asked for.
//!
//! ```text
//!  DECLARE c ─▶ running query ─▶ [`Cursors`] ─▶ FETCH 100 FROM c ─▶ rows, in the format of this FETCH
//!                    └─▶ portal `c`: a client may ask for its columns (Describe), or fetch by the protocol (Execute)
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result as DfResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast::{CloseCursor, Declare, DeclareType, FetchDirection, FetchPosition, Ident, Query, Statement};
use datafusion_postgres::pgwire::api::portal::Portal;
use datafusion_postgres::pgwire::api::stmt::StoredStatement;
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use futures::StreamExt;
use parking_lot::Mutex;

use super::Prepared;

/// The open cursors of a connection.
#[derive(Default)]
pub(super) struct Cursors(Mutex<HashMap<String, Cursor>>);

struct Cursor {
    /// No rows, of its columns.
    shape: LogicalPlan,
    schema: SchemaRef,
    left: Arc<tokio::sync::Mutex<Left>>,
    /// WITH HOLD: it outlives its transaction.
    holds: bool,
}

/// What has not been fetched.
struct Left {
    stream: SendableRecordBatchStream,
    rest: Option<RecordBatch>,
}

impl Left {
    /// The next rows, `most` at most; `None` at the end.
    async fn next(&mut self, most: usize) -> Option<DfResult<RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.stream.next().await? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            },
        };
        if batch.num_rows() > most {
            self.rest = Some(batch.slice(most, batch.num_rows() - most));
            return Some(Ok(batch.slice(0, most)));
        }
        Some(Ok(batch))
    }
}

impl Cursors {
    /// Opens a cursor over the rows of `plan`; the portal is what the protocol knows it by.
    pub(super) fn open(
        &self,
        declared: &Declared,
        plan: &LogicalPlan,
        stream: SendableRecordBatchStream,
    ) -> PgWireResult<Portal<Prepared>> {
        let name = &declared.name;
        let mut cursors = self.0.lock();
        if cursors.contains_key(name) {
            return Err(fault("42P03", format!("cursor \"{name}\" already exists")));
        }
        let shape = empty(plan);
        let schema = stream.schema();
        let left = Arc::new(tokio::sync::Mutex::new(Left { stream, rest: None }));
        cursors.insert(name.clone(), Cursor { shape: shape.clone(), schema, left, holds: declared.holds });
        let fetch = Statement::Fetch {
            name: Ident::with_quote('"', name),
            direction: FetchDirection::All,
            position: FetchPosition::From,
            into: None,
        };
        let prepared = (fetch.to_string(), Some((fetch, shape)));
        Ok(Portal::new_cursor(name.clone(), Arc::new(StoredStatement::new(name.clone(), prepared, Vec::new()))))
    }

    /// The columns of a cursor, as a plan without rows.
    pub(super) fn shape(&self, name: &Ident) -> PgWireResult<LogicalPlan> {
        let name = folded(name);
        self.0.lock().get(&name).map(|cursor| cursor.shape.clone()).ok_or_else(|| missing(&name))
    }

    /// The next rows of a cursor, taken as the stream is read.
    pub(super) fn fetch(&self, name: &Ident, direction: &FetchDirection) -> PgWireResult<SendableRecordBatchStream> {
        let most = rows_of(direction)?;
        let name = folded(name);
        let (left, schema) = match self.0.lock().get(&name) {
            Some(cursor) => (cursor.left.clone(), cursor.schema.clone()),
            None => return Err(missing(&name)),
        };
        let rows = futures::stream::unfold((left, most), |(left, most)| async move {
            if most == 0 {
                return None;
            }
            let batch = left.lock().await.next(most).await?;
            let taken = batch.as_ref().map_or(0, RecordBatch::num_rows);
            Some((batch, (left, most - taken)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// Closes cursors; says which.
    pub(super) fn close(&self, which: &CloseCursor) -> PgWireResult<Vec<String>> {
        let mut cursors = self.0.lock();
        match which {
            CloseCursor::All => Ok(cursors.drain().map(|(name, _)| name).collect()),
            CloseCursor::Specific { name } => {
                let name = folded(name);
                cursors.remove(&name).ok_or_else(|| missing(&name))?;
                Ok(vec![name])
            }
        }
    }

    /// Closes the cursors that end with their transaction; says which.
    pub(super) fn end_transaction(&self) -> Vec<String> {
        self.0.lock().extract_if(|_, cursor| !cursor.holds).map(|(name, _)| name).collect()
    }
}

/// What a DECLARE says.
pub(super) struct Declared {
    name: String,
    holds: bool,
    /// The query.
    pub(super) query: Box<Query>,
}

impl Declared {
    /// Reads a DECLARE.
    pub(super) fn of(declares: &[Declare]) -> PgWireResult<Declared> {
        let [Declare { names, declare_type: Some(DeclareType::Cursor), for_query: Some(query), scroll, binary, hold, .. }] = declares
        else {
            return Err(fault("42601", "DECLARE takes a cursor here: DECLARE name CURSOR FOR SELECT …".into()));
        };
        let Some(name) = names.first() else { return Err(fault("42601", "DECLARE … CURSOR: the cursor has no name".into())) };
        if *scroll == Some(true) {
            return Err(fault("0A000", "DECLARE … SCROLL CURSOR: cursors go forward only here".into()));
        }
        if *binary == Some(true) {
            return Err(fault("0A000", "DECLARE … BINARY CURSOR: ask for binary rows by the protocol instead".into()));
        }
        Ok(Declared { name: folded(name), holds: *hold == Some(true), query: query.clone() })
    }
}

/// A plan without rows, of the columns of another.
fn empty(like: &LogicalPlan) -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: like.schema().clone() })
}

/// A name without quotes is in lower case.
fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// How many rows a FETCH asks for.
fn rows_of(direction: &FetchDirection) -> PgWireResult<usize> {
    let forward_only = || fault("55000", format!("FETCH {direction}: cursors go forward only here"));
    match direction {
        FetchDirection::Next | FetchDirection::Forward { limit: None } => Ok(1),
        FetchDirection::All | FetchDirection::ForwardAll => Ok(usize::MAX),
        FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => {
            limit.to_string().parse().map_err(|_| forward_only())
        }
        _ => Err(forward_only()),
    }
}

fn missing(name: &str) -> PgWireError {
    fault("34000", format!("cursor \"{name}\" does not exist"))
}

fn fault(code: &str, text: String) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".into(), code.into(), text)))
}
