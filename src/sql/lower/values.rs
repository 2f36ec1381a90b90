//! VALUES, and a query without FROM: rows that are computed here and read like those of a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::concat;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, cast};

use super::Lowering;
use super::stream::{Stream, column};
use crate::connector::values::Values;
use crate::dataflow::graph::{NodeKind, OnError, ScanSpec, SourceNode};
use crate::error::Result;
use crate::format::{ColumnOrigin, DecodeColumn, DecodeSpec, FormatConfig};

impl Lowering<'_> {
    /// A source of the rows, typed as in `schema`. No columns: rows of nothing, as for `SELECT 1`.
    pub(super) fn values(&mut self, rows: &[Vec<Expr>], schema: &DFSchema) -> Result<Stream> {
        let nothing = DFSchema::empty();
        let sized = |rows| RecordBatchOptions::new().with_row_count(Some(rows));
        let one = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &sized(1))?;
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (at, field) in schema.fields().iter().enumerate() {
            let mut cells: Vec<ArrayRef> = Vec::new();
            for row in rows {
                let expr = self.physical(&cast(row[at].clone(), field.data_type().clone()), &nothing)?;
                cells.push(expr.evaluate(&one)?.into_array(1)?);
            }
            columns.push(concat(&cells.iter().map(AsRef::as_ref).collect::<Vec<_>>())?);
        }
        let fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
        let schema = Arc::new(Schema::new(fields.clone()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &sized(rows.len()))?;

        let decoded = |field: &FieldRef| DecodeColumn { field: field.clone(), from: ColumnOrigin::Payload(field.name().clone()) };
        let spec = DecodeSpec { first: Vec::new(), rest: fields.iter().map(decoded).collect(), offsets: false, payload: fields.clone() };
        let scan = ScanSpec {
            decoder: FormatConfig::Rows.decoder(spec)?,
            first: 0,
            event_time: None,
            filter: None,
            output: fields.iter().enumerate().map(|(at, field)| (column(at, field), field.clone())).collect(),
            seq: false,
            ordered: false,
            schema: schema.clone(),
        };
        let number = self.numbers.entry("values").or_default();
        *number += 1;
        let name = format!("values {number}");
        let source = SourceNode {
            source: Arc::new(Values::new(batch)),
            scan: Arc::new(scan),
            time: None,
            on_error: OnError::Fail,
            dead_letters: None,
        };
        let node = self.graph.add(name, NodeKind::Source(source), Vec::new());
        Ok(Stream::of_node(node, schema, false))
    }
}
