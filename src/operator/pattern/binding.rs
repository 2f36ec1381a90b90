//! Bindings: what conditions and emitted rows read of the events taken before, as columns behind those of the event.
//!
//! ```text
//!  row of bindings:   customer  amount  ts │ $0: sum(amount) of step a   $1: last ts of step b
//!                     the tried event      │ one column a binding
//! ```

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::error::Result;
use crate::operator::identity::{aggregate_identity, expr_identity};

/// An expression that never sees SQL.
pub type Expr = Arc<dyn PhysicalExpr>;

/// The row of a match: one expression per column of the operator's schema, over a row of bindings (see [`Condition`]).
/// Its "tried event" is the last event of the match.
#[derive(Debug, Clone)]
pub struct Emission {
    /// What is bound behind the event's columns.
    pub bindings: Vec<Binding>,
    /// The columns.
    pub columns: Vec<Expr>,
}

/// A boolean expression over the tried event and the events taken before it.
///
/// `expr` is over a row of bindings: the input's columns (of the tried event), then one column per binding.
#[derive(Debug, Clone)]
pub struct Condition {
    /// What is bound behind the event's columns; none: the condition reads the event only and is evaluated once a batch.
    pub bindings: Vec<Binding>,
    /// The expression; NULL is false.
    pub expr: Expr,
}

/// Something about taken events, by label: the positive steps of a sequence in order, groups flattened; label 0 for the
/// rows of a window.
#[derive(Debug, Clone)]
pub enum Binding {
    /// A value of one taken event; NULL where there is none.
    Row {
        /// Of which labels; none: of all.
        of: Labels,
        /// Counted from which end.
        end: End,
        /// How many from there.
        skip: usize,
        /// The value, over the input.
        value: Expr,
    },
    /// An aggregate over taken events, its arguments over the input.
    Aggregate {
        /// Of which labels; none: of all.
        of: Labels,
        /// The function.
        function: Arc<AggregateFunctionExpr>,
    },
    /// When the match is emitted: the time of its last event, or when an absence or a timeout was certain. In the type of
    /// the time column.
    EmitTime,
    /// The taken events: a list of structs of `step` (its name) and these input columns.
    Matched(Vec<usize>),
    /// MATCH_RECOGNIZE: a value of one row of the match, or of a row at some distance from it.
    Navigate(Navigation),
    /// MATCH_RECOGNIZE: an aggregate over rows of the match, its arguments over [`rows_schema`].
    AggregateRows {
        /// Of which labels; none: of all.
        of: Labels,
        /// The function.
        function: Arc<AggregateFunctionExpr>,
        /// Only rows up to the current one.
        running: bool,
    },
    /// MATCH_RECOGNIZE: MATCH_NUMBER().
    MatchNumber,
}

/// FIRST, LAST, PREV, NEXT and CLASSIFIER of MATCH_RECOGNIZE.
#[derive(Debug, Clone)]
pub struct Navigation {
    /// Of which labels; none: of all.
    pub of: Labels,
    /// FIRST or LAST (a plain column, PREV and NEXT are LAST).
    pub end: End,
    /// The logical offset of FIRST and LAST: how many rows of those labels from that end.
    pub skip: usize,
    /// The physical offset of PREV (negative) and NEXT, applied after the logical one; it may lead out of the match.
    pub shift: i64,
    /// LAST looks at rows up to the current one only. FIRST counts from the first row of the match either way.
    pub running: bool,
    /// The value, over the input; none: the name of the row's variable (CLASSIFIER).
    pub value: Option<Expr>,
}

/// Some labels; none: all of them.
pub type Labels = Option<Vec<usize>>;

/// An end of the taken events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The first.
    First,
    /// The last.
    Last,
}

impl Condition {
    /// A condition that reads only the event.
    pub fn of_event(expr: Expr) -> Self {
        Condition { bindings: Vec::new(), expr }
    }
}

impl Emission {
    /// What it says of a match, without names.
    pub(crate) fn identity(&self) -> String {
        let bindings: Vec<String> = self.bindings.iter().map(Binding::identity).collect();
        let columns: Vec<String> = self.columns.iter().map(expr_identity).collect();
        format!("{} with ({})", columns.join(", "), bindings.join(", "))
    }
}

impl Condition {
    /// What it computes, without names.
    pub(crate) fn identity(&self) -> String {
        let bindings: Vec<String> = self.bindings.iter().map(Binding::identity).collect();
        format!("{} with ({})", expr_identity(&self.expr), bindings.join(", "))
    }
}

impl Binding {
    /// Type of the bound column.
    pub fn data_type(&self, input: &Schema, time: usize) -> Result<DataType> {
        Ok(match self {
            Binding::Row { value, .. } => value.data_type(input)?,
            Binding::Aggregate { function, .. } => function.field().data_type().clone(),
            Binding::EmitTime => input.field(time).data_type().clone(),
            Binding::Matched(columns) => {
                DataType::List(Arc::new(Field::new_list_field(DataType::Struct(matched_fields(input, columns)), true)))
            }
            Binding::Navigate(Navigation { value: Some(value), .. }) => value.data_type(input)?,
            Binding::Navigate(Navigation { value: None, .. }) => DataType::Utf8View,
            Binding::AggregateRows { function, .. } => function.field().data_type().clone(),
            Binding::MatchNumber => DataType::Int64,
        })
    }

    fn identity(&self) -> String {
        match self {
            Binding::Row { of, end, skip, value } => format!("{of:?} {end:?} {skip} {}", expr_identity(value)),
            Binding::Aggregate { of, function } => format!("{of:?} {}", aggregate_identity(function, None)),
            Binding::EmitTime => "emit time".to_owned(),
            Binding::Matched(columns) => format!("matched {columns:?}"),
            Binding::Navigate(Navigation { of, end, skip, shift, running, value }) => {
                format!("{of:?} {end:?} {skip} {shift} {running} {:?}", value.as_ref().map(expr_identity))
            }
            Binding::AggregateRows { of, function, running } => format!("{of:?} {} {running}", aggregate_identity(function, None)),
            Binding::MatchNumber => "match number".to_owned(),
        }
    }
}

/// The fields of an element of [`Binding::Matched`]; a `$` that marks a hidden column is left out of its name.
pub fn matched_fields(input: &Schema, columns: &[usize]) -> Fields {
    let step = Field::new("step", DataType::Utf8View, false);
    let plain = |field: &Field| field.clone().with_name(field.name().trim_start_matches('$')).with_nullable(true);
    let others = columns.iter().map(|column| plain(input.field(*column)));
    std::iter::once(step).chain(others).collect()
}

/// Column of [`rows_schema`]: CLASSIFIER of the row.
pub const ROW_VARIABLE: &str = "$variable";
/// Column of [`rows_schema`]: MATCH_NUMBER of the row's match.
pub const ROW_NUMBER: &str = "$number";

/// What only a match knows of a row: the fields behind those of the input in [`rows_schema`].
pub fn row_fields() -> [Field; 2] {
    [Field::new(ROW_VARIABLE, DataType::Utf8View, true), Field::new(ROW_NUMBER, DataType::Int64, true)]
}

/// Schema of the rows of a match as aggregates read them: the input's columns, then [`row_fields`]; all nullable.
pub fn rows_schema(input: &Schema) -> SchemaRef {
    let columns = input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(columns.chain(row_fields()).collect::<Vec<_>>()))
}

/// Schema of a row of bindings: the input's columns, then `$0`, `$1`, … for the bindings; all nullable.
pub fn bindings_schema(input: &Schema, time: usize, bindings: &[Binding]) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    for (number, binding) in bindings.iter().enumerate() {
        fields.push(Field::new(format!("${number}"), binding.data_type(input, time)?, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}
