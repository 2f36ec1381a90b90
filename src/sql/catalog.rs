//! What CREATE TABLE and CREATE VIEW declared: plain data, resolved by the planner.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast;

use crate::error::Place;

/// A table as declared.
#[derive(Debug, Clone)]
pub struct TableDef {
    /// Its name, case-sensitive.
    pub name: String,
    /// Columns in declared order.
    pub columns: Vec<ColumnDef>,
    /// `WATERMARK FOR column AS expr`.
    pub watermark: Option<WatermarkDef>,
    /// `PRIMARY KEY (…) NOT ENFORCED`; empty = none.
    pub primary_key: Vec<String>,
    /// `WITH (…)`, as written, with the place of each key.
    pub options: BTreeMap<String, TableOption>,
    /// Where the statement stands.
    pub place: Place,
}

/// An option of a table.
#[derive(Debug, Clone)]
pub struct TableOption {
    /// Its value.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// A column as declared.
#[derive(Debug, Clone)]
pub struct ColumnDef {
    /// Its name.
    pub name: String,
    /// Its Arrow type: `STRING` is `Utf8View`, `TIMESTAMP(p)` is `Timestamp(Millisecond)` for p <= 3 and
    /// `Timestamp(Microsecond)` above, `TIMESTAMP_LTZ(p)` the same with zone `+00:00`, `DECIMAL(p, s)` is `Decimal128`,
    /// `ROW<…>` `Struct`, `ARRAY<…>` `List`, `MAP<…>` `Map`, `BYTES` `Binary`. `None` for computed columns: follows from the expression.
    pub data_type: Option<DataType>,
    /// NOT NULL was declared.
    pub not_null: bool,
    /// Where its value comes from.
    pub kind: ColumnKind,
    /// Where it stands.
    pub place: Place,
}

/// Where the value of a column comes from.
#[derive(Debug, Clone)]
pub enum ColumnKind {
    /// From the record.
    Physical,
    /// `METADATA [FROM 'key'] [VIRTUAL]`.
    Metadata {
        /// The key; the column's name where FROM is missing.
        key: String,
        /// Read only: not written by sinks.
        is_virtual: bool,
    },
    /// `name AS expr`.
    Computed(Box<ast::Expr>),
}

/// A declared watermark.
#[derive(Debug, Clone)]
pub struct WatermarkDef {
    /// The event-time column.
    pub column: String,
    /// The watermark expression (inclusive, as in Flink).
    pub expr: ast::Expr,
    /// Where it stands.
    pub place: Place,
}
