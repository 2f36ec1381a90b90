//! The logical node behind rules: patterns over rows, already compiled over the columns of its input.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::operator::pattern::spec::{Order, Rule};

/// Looks for patterns in its input; its rows are those that the rules emit.
#[derive(Debug, Clone)]
pub struct PatternNode {
    /// The events: exactly the columns that the rules are compiled over, in that order.
    pub input: Arc<LogicalPlan>,
    /// What the state belongs to: the streams, the key and the order. Not the rules, which come and go.
    pub group: String,
    /// Key columns of the input.
    pub keys: Vec<usize>,
    /// Event-time column of the input.
    pub time: usize,
    /// In which order events are looked at.
    pub order: Order,
    /// The rules.
    pub rules: Arc<Vec<Rule>>,
    /// Least time between two alerts of a rule and key, in microseconds; per rule, where it says so.
    pub suppress_micros: Arc<Vec<(String, i64)>>,
    /// What the rules emit.
    pub emitted: SchemaRef,
    /// The emitted rows' columns, then what suppression adds.
    pub schema: DFSchemaRef,
}

impl PatternNode {
    /// Builds the node and its schema.
    #[allow(clippy::too_many_arguments, reason = "a plain node: every part is named where it is built")]
    pub fn new(
        input: Arc<LogicalPlan>,
        group: String,
        keys: Vec<usize>,
        time: usize,
        order: Order,
        rules: Vec<Rule>,
        suppress_micros: Vec<(String, i64)>,
        emitted: SchemaRef,
    ) -> Result<Self> {
        let output: Schema = crate::operator::suppress::output_schema(&emitted);
        let schema = Arc::new(DFSchema::try_from(output)?);
        let (rules, suppress_micros) = (Arc::new(rules), Arc::new(suppress_micros));
        Ok(PatternNode { input, group, keys, time, order, rules, suppress_micros, emitted, schema })
    }

    /// Everything but input and schema, as text.
    fn identity(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(|rule| format!("{rule:?}")).collect();
        format!("{} {:?} {} {:?} {:?} {}", self.group, self.keys, self.time, self.order, self.suppress_micros, rules.join("; "))
    }
}

impl PartialEq for PatternNode {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input && self.identity() == other.identity()
    }
}

impl Eq for PatternNode {}

impl Hash for PatternNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.group.hash(state);
    }
}

impl PartialOrd for PatternNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self == other).then_some(std::cmp::Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for PatternNode {
    fn name(&self) -> &str {
        "Patterns"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// A condition on alerts says nothing about single events.
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The rules read all columns of the input: it has no others.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        write!(f, "Patterns: {}", names.join(", "))
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.into_iter().next().ok_or_else(|| DataFusionError::Internal("patterns over nothing".to_owned()))?;
        Ok(PatternNode { input: Arc::new(input), ..self.clone() })
    }
}
