//! UNION ALL: rows of all inputs, as they come. The runtime merges the watermarks.

use arrow::datatypes::SchemaRef;

/// Describes a union of `inputs` inputs of one schema.
#[derive(Debug)]
pub struct UnionSpec {
    /// Number of inputs.
    pub inputs: usize,
    /// Schema of every input and of the output.
    pub schema: SchemaRef,
}
