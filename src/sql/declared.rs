//! A declared table as a scan of the logical plan sees it: all its columns by name, computed ones with their expression.
//!
//! The bridge between text and dataflow: `plan.rs` makes a `TableScan` over a [`DeclaredTable`], `lower/scan.rs` finds
//! it there again and makes a source of it. It describes; it reads nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableSource};

use crate::sql::catalog::TableDef;

/// A table with its expressions resolved.
#[derive(Debug)]
pub struct DeclaredTable {
    /// As declared.
    pub def: Arc<TableDef>,
    /// All columns in declared order; a computed column has the type of its expression.
    pub schema: SchemaRef,
    /// Per computed column (index in `schema`): its expression over unqualified columns of this table, type-coerced.
    pub computed: BTreeMap<usize, Expr>,
    /// The expression of WATERMARK (inclusive, as in Flink) over unqualified columns of this table, type-coerced.
    pub watermark: Option<Expr>,
}

impl TableSource for DeclaredTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The scan evaluates every filter exactly, before it decodes the columns that only the rest of the query reads.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }
}
