//! TUMBLE, HOP, CUMULATE and SESSION: windows stay pending until it is known whether they are aggregated away at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;

use super::stream::{Edge, PendingWindow, Role, Stream, StreamColumn, WINDOW_COLUMNS, column, plain_column, window_fields};
use super::{Lowering, all_of, refuse, renumber, share};
use crate::error::Result;
use crate::operator::project::ProjectSpec;
use crate::operator::session::SessionAssignSpec;
use crate::operator::window_assign::WindowAssignSpec;
use crate::sql::window_node::WindowNode;
use crate::time::WindowKind;

/// An expression with the name and type of what it gives.
pub(super) type Named = (Arc<dyn PhysicalExpr>, FieldRef);

impl Lowering<'_> {
    /// The rows of a windowing function: its windows are left pending.
    pub(super) fn window(&mut self, window: &WindowNode) -> Result<Stream> {
        let schema = window.input.schema();
        let mut stream = self.lower(&window.input, None)?;
        self.inserts_only(&stream, function_name(window.kind), [&datafusion::logical_expr::Expr::Column(window.time.clone())])?;
        let position = |column: &Column| Ok::<_, crate::error::Error>(schema.index_of_column(column)?);
        let time = position(&window.time)?;
        if !stream.columns[time].role.time {
            let times = share::event_times(&window.input);
            let fault = refuse::window_over_value(function_name(window.kind), &window.time.name, &times);
            return Err(self.locate(fault, &datafusion::logical_expr::Expr::Column(window.time.clone())));
        }
        let kind = window.kind.check()?;
        let keys = window.partition_by.iter().map(position).collect::<Result<Vec<_>>>()?;
        // One window at a time: those below, if any, are written out. So are a time and keys that are still to be computed.
        let computed = |at: &usize| plain_column(&stream.columns[*at].expr).is_none();
        if stream.window.is_some() || computed(&time) || keys.iter().any(computed) {
            stream = self.settle(stream, &[])?;
        }
        let real = |at: usize| plain_column(&stream.columns[at].expr).unwrap_or(at);
        let (time_at, partition_by) = (real(time), keys.iter().map(|k| real(*k)).collect());
        let base = stream.schema.fields().len();
        let id = self.new_window();
        let fields = window_fields(stream.columns[time].field.data_type());
        for (n, (field, edge)) in fields.into_iter().zip([Edge::Start, Edge::End, Edge::Time]).enumerate() {
            stream.columns.push(StreamColumn { expr: column(base + n, &field), field, role: Role::of_window(id, edge) });
        }
        stream.window = Some(PendingWindow { id, time: time_at, kind, partition_by, filter: Vec::new() });
        Ok(stream)
    }

    /// Writes pending windows out as columns of the rows; `extras` (over the physical columns) move along.
    pub(super) fn attach_window(&mut self, mut stream: Stream, extras: &[Named]) -> Result<(Stream, Vec<Named>)> {
        let mut extras = extras.to_vec();
        let Some(window) = stream.window.take() else { return Ok((stream, extras)) };
        let base = stream.schema.fields().len();

        // Rows are narrowed before each leaves once per window.
        let mut used: BTreeSet<usize> = window.partition_by.iter().copied().chain([window.time]).chain(stream.seq).collect();
        let readers = stream.columns.iter().map(|c| &c.expr).chain(&window.filter).chain(extras.iter().map(|(e, _)| e));
        used.extend(readers.flat_map(collect_columns).map(|c| c.index()).filter(|at| *at < base));
        let narrow: SchemaRef = Arc::new(Schema::new(used.iter().map(|at| stream.schema.fields()[*at].clone()).collect::<Vec<_>>()));
        let filter = std::mem::take(&mut stream.filter);
        if !filter.is_empty() || used.len() < base {
            let columns = used.iter().map(|at| (column(*at, stream.schema.field(*at)), stream.schema.fields()[*at].clone())).collect();
            let spec = ProjectSpec { filter: all_of(&filter), columns, upserts: None, schema: narrow.clone() };
            stream.node = self.add(Arc::new(spec), vec![stream.node]);
        }
        let place = |at: usize| if at < base { used.range(..at).count() } else { used.len() + at - base };

        let mut fields: Vec<FieldRef> = narrow.fields().iter().cloned().collect();
        fields.extend(window_fields(stream.schema.field(window.time).data_type()));
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let (time, seq) = (place(window.time), stream.seq.map(place));
        let spec: Arc<dyn crate::operator::OperatorSpec> = match window.kind {
            WindowKind::Session { gap } => {
                let keys = window.partition_by.iter().map(|at| place(*at)).collect();
                Arc::new(SessionAssignSpec { time, gap_micros: gap, keys, seq, schema: schema.clone() })
            }
            kind => Arc::new(WindowAssignSpec { time, kind, schema: schema.clone() }),
        };
        let waits = matches!(window.kind, WindowKind::Session { .. });
        stream.node = self.add(spec, vec![stream.node]);
        for c in &mut stream.columns {
            c.expr = renumber(c.expr.clone(), &schema, place)?;
            if waits {
                c.role = c.role.after_window();
            }
        }
        for (expr, _) in &mut extras {
            *expr = renumber(expr.clone(), &schema, place)?;
        }
        stream.filter = window.filter.into_iter().map(|f| renumber(f, &schema, place)).collect::<Result<_>>()?;
        stream.seq = seq;
        stream.schema = schema;
        debug_assert_eq!(stream.schema.fields().len(), used.len() + WINDOW_COLUMNS);
        Ok((stream, extras))
    }
}

/// The function as the user wrote it.
fn function_name(kind: WindowKind) -> &'static str {
    match kind {
        WindowKind::Tumble { .. } => "TUMBLE",
        WindowKind::Hop { .. } => "HOP",
        WindowKind::Cumulate { .. } => "CUMULATE",
        WindowKind::Session { .. } => "SESSION",
    }
}
