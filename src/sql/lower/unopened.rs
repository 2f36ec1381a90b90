//! An operator that can be described but not run yet: stands in the graph until the operator itself is there.

use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::operator::{Distribution, Input, Operator, OperatorSpec};
use crate::state::StateHandles;

/// A spec whose operator does not run yet.
#[derive(Debug)]
pub(super) struct Unopened {
    name: &'static str,
    text: String,
    schema: SchemaRef,
}

impl Unopened {
    pub fn new(name: &'static str, spec: &dyn std::fmt::Debug, schema: &SchemaRef) -> Unopened {
        Unopened { name, text: format!("{spec:?}"), schema: schema.clone() }
    }
}

impl OperatorSpec for Unopened {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> String {
        "cannot run yet".to_owned()
    }

    fn identity(&self) -> String {
        self.text.clone()
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _: Input) -> Distribution {
        Distribution::Single
    }

    fn stateful(&self) -> bool {
        true
    }

    fn open(&self, _: &mut StateHandles) -> Result<Box<dyn Operator>> {
        Err(Error::input(format!("{} is not supported yet", self.name)))
    }
}
