//! UNION ALL.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::logical_expr::Union;

use super::Lowering;
use super::changes::Changed;
use super::stream::{Role, Stream};
use crate::error::{Error, Result};
use crate::operator::union::UnionSpec;

impl Lowering<'_> {
    /// The rows of all inputs under one schema. A column is a time attribute, or an edge of a window, if it is one in all inputs.
    pub(super) fn union(&mut self, union: &Union) -> Result<Stream> {
        let mut inputs = Vec::new();
        for input in &union.inputs {
            let stream = self.lower(input, None)?;
            inputs.push(self.attach_window(stream, &[])?.0);
        }
        let fields: Vec<FieldRef> =
            union.schema.fields().iter().map(|f| Arc::new(Field::new(f.name(), f.data_type().clone(), true))).collect();
        let seq = inputs.iter().all(|stream| stream.seq.is_some());
        let changes = inputs.iter().any(|stream| stream.changes.is_some());
        let mut nodes = Vec::new();
        let mut result: Option<Stream> = None;
        for mut stream in inputs {
            if !seq {
                stream.seq = None;
            }
            if changes {
                stream.changes.get_or_insert_with(Changed::inserts);
            }
            let stream = self.project(stream, &fields, &[])?;
            nodes.push(stream.node);
            match &mut result {
                None => result = Some(stream),
                Some(all) => {
                    all.unbounded |= stream.unbounded;
                    all.changes = all.changes.take().zip(stream.changes.clone()).map(|(all, own)| all.with(own));
                    for (of_all, own) in all.columns.iter_mut().zip(&stream.columns) {
                        let edges = (of_all.role.window.map(|w| w.1), own.role.window.map(|w| w.1));
                        of_all.role =
                            Role { time: of_all.role.time && own.role.time, window: of_all.role.window.filter(|_| edges.0 == edges.1) };
                    }
                }
            }
        }
        let mut result = result.ok_or_else(|| Error::bug("a union of nothing"))?;
        if nodes.len() > 1 {
            let schema = Arc::new(Schema::new(result.schema.fields().clone()));
            result.node = self.add(Arc::new(UnionSpec { inputs: nodes.len(), schema }), nodes);
        }
        for (column, field) in result.columns.iter_mut().zip(union.schema.fields()) {
            column.field = field.clone();
        }
        Ok(result)
    }
}
