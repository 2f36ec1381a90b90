//! UNNEST of lists, and the spreading of structs.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::logical_expr::{Expr, Unnest};

use super::stream::{Role, Stream, StreamColumn, column};
use super::{Lowering, refuse};
use crate::error::Result;
use crate::operator::unnest::UnnestSpec;

impl Lowering<'_> {
    /// One row per element. Columns beside the list keep their meaning for event time.
    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<Stream> {
        let input = self.lower(&unnest.input, None)?;
        self.inserts_only(&input, "UNNEST", &unnest.exec_columns.iter().cloned().map(Expr::Column).collect::<Vec<_>>())?;
        let input = self.settle(input, &[])?;
        if let Some((at, list)) = unnest.list_type_columns.iter().find(|(_, list)| list.depth > 1) {
            return Err(refuse::node(&format!(
                "UNNEST of lists in lists (column '{}', {} deep)",
                unnest.input.schema().field(*at).name(),
                list.depth
            )));
        }
        let lists: Vec<usize> = unnest.list_type_columns.iter().map(|(at, _)| *at).collect();
        let mut fields: Vec<FieldRef> = unnest.schema.fields().iter().cloned().collect();
        if let Some(seq) = input.seq {
            fields.push(input.schema.fields()[seq].clone());
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let spec = UnnestSpec {
            lists: lists.clone(),
            structs: unnest.struct_type_columns.clone(),
            preserve_nulls: unnest.options.preserve_nulls(),
            schema: schema.clone(),
        };
        let node = self.add(Arc::new(spec), vec![input.node]);
        let mut stream = Stream::of_node(node, schema.clone(), input.unbounded);
        stream.columns = unnest
            .dependency_indices
            .iter()
            .enumerate()
            .map(|(at, from)| {
                let role = if lists.contains(from) { Role::VALUE } else { input.columns[*from].role };
                StreamColumn { expr: column(at, schema.field(at)), field: schema.fields()[at].clone(), role }
            })
            .collect();
        Ok(stream)
    }
}
