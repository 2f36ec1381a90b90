//! The logical node behind MATCH_RECOGNIZE.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ExprSchema as _, TableReference};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::error::Place;
use crate::operator::pattern::binding::{End, Labels, row_fields};
use crate::operator::pattern::row_pattern::{Regex, RowSkip, RowsPerMatch};

/// Looks for matches of a pattern among the rows of each partition, in event-time order.
///
/// One row per match: the partition's columns, then [`RecognizeNode::measured`]. All rows: all columns of the input, then
/// those. The measures themselves are a projection over it.
#[derive(Debug, Clone)]
pub struct RecognizeNode {
    /// The rows.
    pub input: Arc<LogicalPlan>,
    /// PARTITION BY.
    pub partition_by: Vec<Column>,
    /// First of ORDER BY: the event-time column.
    pub time: Column,
    /// What else is in ORDER BY: it orders rows of one time.
    pub then_by: Vec<OrderBy>,
    /// The pattern, without its columns.
    pub pattern: Pattern,
    /// DEFINE, by label; none: always true.
    pub define: Vec<Option<Defined>>,
    /// What the measures read.
    pub measured: Vec<Bound>,
    /// Where it stands.
    pub place: Place,
    /// The output.
    pub schema: DFSchemaRef,
}

/// An element of ORDER BY.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderBy {
    /// The column.
    pub column: Column,
    /// Does the largest come first?
    pub descending: bool,
    /// Do NULLs come first?
    pub nulls_first: bool,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Names of the variables; labels are positions in here.
    pub variables: Vec<String>,
    /// PATTERN.
    pub regex: Regex,
    /// AFTER MATCH SKIP.
    pub skip: RowSkip,
    /// Is there an AFTER MATCH?
    pub skip_given: bool,
    /// ROWS PER MATCH.
    pub rows: RowsPerMatch,
    /// WITHIN, microseconds.
    pub within: Option<i64>,
}

/// The condition of a variable: over the input's columns (of the row that is tried), then `$0`, `$1`, … for what is bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Defined {
    /// What is bound.
    pub bound: Vec<Bound>,
    /// The condition, type-coerced.
    pub condition: Expr,
}

/// A value of a match; expressions are over the input, type-coerced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bound {
    /// A value of one row of it, or of a row at some distance from one.
    Navigate {
        /// Of which variables; none: of all.
        of: Labels,
        /// FIRST or LAST.
        end: End,
        /// The logical offset.
        skip: usize,
        /// The physical offset: PREV (negative) or NEXT.
        shift: i64,
        /// Of the rows up to the current one only.
        running: bool,
        /// The value; none: the name of the row's variable.
        value: Option<Expr>,
    },
    /// An aggregate over rows of it.
    Aggregate {
        /// Of which variables; none: of all.
        of: Labels,
        /// The call, over the input and what only the match knows of a row.
        call: Expr,
        /// Of the rows up to the current one only.
        running: bool,
    },
    /// MATCH_NUMBER().
    Number,
    /// The event time of its last row: MATCH_ROWTIME(), as in Flink without its time zone, and MATCH_ROWTIME(column).
    Time {
        /// With the time zone of the column?
        zoned: bool,
    },
}

impl Bound {
    /// The expression over the input, if there is one.
    pub fn over_input(&self) -> Option<&Expr> {
        match self {
            Bound::Navigate { value, .. } => value.as_ref(),
            Bound::Aggregate { call, .. } => Some(call),
            Bound::Number | Bound::Time { .. } => None,
        }
    }

    /// Its type over rows of `input` with event time `time`.
    pub fn data_type(&self, input: &DFSchema, time: &Column) -> Result<DataType> {
        match self {
            Bound::Navigate { value: Some(value), .. } => value.get_type(input),
            Bound::Aggregate { call, .. } => call.get_type(&with_row_fields(input)?),
            Bound::Navigate { value: None, .. } => Ok(DataType::Utf8View),
            Bound::Number => Ok(DataType::Int64),
            Bound::Time { zoned } => Ok(match input.field_from_column(time)?.data_type() {
                DataType::Timestamp(unit, _) if !zoned => DataType::Timestamp(*unit, None),
                other => other.clone(),
            }),
        }
    }
}

/// The columns of `input`, then those that only a match knows of a row.
pub(super) fn with_row_fields(input: &DFSchema) -> Result<DFSchema> {
    let mut fields: Vec<(Option<TableReference>, FieldRef)> = input.iter().map(|(of, field)| (of.cloned(), field.clone())).collect();
    fields.extend(row_fields().map(|field| (None, Arc::new(field))));
    DFSchema::new_with_metadata(fields, input.as_arrow().metadata().clone())
}

/// Name of what is bound as number `at`.
pub(super) fn bound_name(at: usize) -> String {
    format!("${at}")
}

/// The columns of `input`, then what is bound.
pub(super) fn with_bound(input: &DFSchema, columns: &[usize], bound: &[Bound], time: &Column) -> Result<DFSchema> {
    let mut fields: Vec<(Option<TableReference>, FieldRef)> = Vec::with_capacity(columns.len() + bound.len());
    for at in columns {
        let (qualifier, field) = input.qualified_field(*at);
        fields.push((qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(true))));
    }
    for (at, bound) in bound.iter().enumerate() {
        fields.push((None, Arc::new(Field::new(bound_name(at), bound.data_type(input, time)?, true))));
    }
    DFSchema::new_with_metadata(fields, input.as_arrow().metadata().clone())
}

impl RecognizeNode {
    /// The node with its schema worked out (the given one is not looked at).
    pub fn new(mut node: RecognizeNode) -> Result<Self> {
        let input = node.input.schema().clone();
        let columns = match node.pattern.rows {
            RowsPerMatch::One => node.partition_by.iter().map(|key| input.index_of_column(key)).collect::<Result<Vec<_>>>()?,
            RowsPerMatch::All { .. } => (0..input.fields().len()).collect(),
        };
        node.schema = Arc::new(with_bound(&input, &columns, &node.measured, &node.time)?);
        Ok(node)
    }

    /// Number of columns before what is measured.
    pub fn own_columns(&self) -> usize {
        self.schema.fields().len() - self.measured.len()
    }

    /// All that it reads of its input, whatever of its output is asked for.
    fn read(&self) -> impl Iterator<Item = &Column> {
        let bound = self.define.iter().flatten().flat_map(|defined| &defined.bound).chain(&self.measured);
        let exprs = bound.filter_map(Bound::over_input).chain(self.define.iter().flatten().map(|defined| &defined.condition));
        let columns = self.partition_by.iter().chain([&self.time]).chain(self.then_by.iter().map(|order| &order.column));
        columns.chain(exprs.flat_map(Expr::column_refs))
    }
}

impl PartialEq for RecognizeNode {
    fn eq(&self, other: &Self) -> bool {
        // The schema follows from the rest.
        self.input == other.input
            && self.partition_by == other.partition_by
            && self.time == other.time
            && self.then_by == other.then_by
            && self.pattern == other.pattern
            && self.define == other.define
            && self.measured == other.measured
    }
}

impl Eq for RecognizeNode {}

impl Hash for RecognizeNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.partition_by.hash(state);
        self.time.hash(state);
        self.define.hash(state);
        self.measured.hash(state);
    }
}

impl PartialOrd for RecognizeNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self == other).then_some(std::cmp::Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for RecognizeNode {
    fn name(&self) -> &str {
        "MatchRecognize"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// None that a rewrite may touch: conditions are over more than the input.
    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// A condition on a partition's columns may go below the pattern: it drops partitions as a whole.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let kept = |name: &str| self.partition_by.iter().any(|key| key.name == name);
        self.schema.fields().iter().map(|field| field.name().clone()).filter(|name| !kept(name)).collect()
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let input = self.input.schema();
        let mut needed = BTreeSet::new();
        for column in self.read() {
            if let Some(at) = input.maybe_index_of_column(column) {
                needed.insert(at);
            }
        }
        if let RowsPerMatch::All { .. } = self.pattern.rows {
            needed.extend(output_columns.iter().filter(|at| **at < self.own_columns()));
        }
        Some(vec![needed.into_iter().collect()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.partition_by.iter().map(|key| key.name.as_str()).collect();
        write!(f, "MatchRecognize: {} by [{}] on {}", self.pattern.variables.join(" "), keys.join(", "), self.time)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.into_iter().next().ok_or_else(|| DataFusionError::Internal("a pattern over nothing".to_owned()))?;
        RecognizeNode::new(RecognizeNode { input: Arc::new(input), ..self.clone() })
    }
}
