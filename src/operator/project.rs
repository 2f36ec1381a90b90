//! Filter and project: keeps the rows that pass, computes the columns asked for. Stateless.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

/// Describes a filter followed by a projection, over one input.
#[derive(Debug)]
pub struct ProjectSpec {
    /// Rows for which this is not true are dropped (meant to be: not counted).
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Output columns over the input.
    pub columns: Vec<(Arc<dyn PhysicalExpr>, FieldRef)>,
    /// Schema of the output: the fields of `columns`.
    pub schema: SchemaRef,
}
