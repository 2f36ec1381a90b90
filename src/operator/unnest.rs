//! UNNEST: one row per element of a list column (Flink's CROSS JOIN UNNEST). Stateless.

use arrow::datatypes::SchemaRef;

/// Describes an unnest over one input. The output has the input's columns with each unnested list column replaced by
/// its elements; several list columns are unnested side by side, shorter ones padded with NULL (DataFusion's meaning).
#[derive(Debug)]
pub struct UnnestSpec {
    /// Input columns (lists) to unnest.
    pub lists: Vec<usize>,
    /// Input columns (structs) to spread into one output column per field.
    pub structs: Vec<usize>,
    /// Keep a row whose lists are all NULL or empty, with NULL elements (LEFT JOIN UNNEST).
    pub preserve_nulls: bool,
    /// Schema of the output.
    pub schema: SchemaRef,
}
