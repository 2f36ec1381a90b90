//! UNION ALL: rows of all inputs, as they come. The runtime merges the watermarks.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::operator::{Distribution, Input, Operator, OperatorSpec, Output};
use crate::state::StateHandles;
use crate::time::Watermark;

/// Describes a union of `inputs` inputs of one schema.
#[derive(Debug)]
pub struct UnionSpec {
    /// Number of inputs.
    pub inputs: usize,
    /// Schema of the output; the inputs have the same types, perhaps under other names.
    pub schema: SchemaRef,
}

impl OperatorSpec for UnionSpec {
    fn name(&self) -> &'static str {
        "union all"
    }

    fn describe(&self) -> String {
        format!("{} inputs", self.inputs)
    }

    fn identity(&self) -> String {
        format!("union of {}", self.inputs)
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _: Input) -> Distribution {
        Distribution::Anywhere
    }

    fn stateful(&self) -> bool {
        false
    }

    fn open(&self, _: &mut StateHandles) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Union { schema: self.schema.clone() }))
    }
}

struct Union {
    schema: SchemaRef,
}

impl Operator for Union {
    fn on_batch(&mut self, _: Input, batch: RecordBatch, out: &mut Output) -> Result<()> {
        // Names (and nullability) of the inputs may differ: the output's hold.
        let rows = batch.num_rows();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        out.emit(RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &options)?);
        Ok(())
    }

    fn on_watermark(&mut self, mark: Watermark, _: &mut Output) -> Result<Watermark> {
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::testing::{check, schema};
    use arrow::datatypes::DataType;

    #[test]
    fn rows_of_all_inputs_leave_under_the_names_of_the_output() {
        let left = schema(&[("a", DataType::Int64)]);
        let right = schema(&[("b", DataType::Int64)]);
        let spec = UnionSpec { inputs: 2, schema: left.clone() };
        check(
            &spec,
            &[left, right],
            "
            < 1
            << 2
            < 1
            mark 0
            > 1
            > 1
            > 2
            ",
        );
    }
}
