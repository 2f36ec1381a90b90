//! Aggregates OVER a frame of event time.
//!
//! Columns that share PARTITION BY and ORDER BY are computed by one operator; others by one after the other.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, Sort, WindowFunction};
use datafusion::logical_expr::{Expr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;

use super::share::{self, depends_on_order};
use super::stream::{Role, Stream, StreamColumn, column, plain_column};
use super::time_columns::interval_micros;
use super::window::Named;
use super::{Lowering, refuse};
use crate::error::{Error, Result};
use crate::operator::frame::{Frame, WhichRow};
use crate::operator::over::{OverColumn, OverFunction, OverSpec};

/// A function of a window node without its alias.
pub(super) fn function_of(expr: &Expr) -> Result<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => function_of(&alias.expr),
        Expr::WindowFunction(function) => Ok(function),
        other => Err(Error::bug(format!("'{other}' is no window function"))),
    }
}

impl Lowering<'_> {
    /// OVER columns behind the columns of the input.
    pub(super) fn over(&mut self, window: &Window) -> Result<Stream> {
        let schema = window.input.schema();
        let mut stream = self.lower(&window.input, None)?;
        self.inserts_only(&stream, "OVER", &window.window_expr)?;
        if let Some(first) = window.window_expr.first()
            && share::event_times(&window.input).is_empty()
        {
            return Err(self.locate(refuse::over_without_time(), first));
        }
        let functions = window.window_expr.iter().map(function_of).collect::<Result<Vec<_>>>()?;
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (at, function) in functions.iter().enumerate() {
            let same = |other: &WindowFunction| {
                (&other.params.partition_by, &other.params.order_by) == (&function.params.partition_by, &function.params.order_by)
            };
            match groups.iter_mut().find(|group| group.first().is_some_and(|first| same(functions[*first]))) {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        let input_columns = stream.columns.len();
        let mut computed: Vec<(usize, StreamColumn)> = Vec::new();
        for group in groups {
            let members: Vec<&Expr> = group.iter().map(|at| &window.window_expr[*at]).collect();
            let fields: Vec<FieldRef> = group.iter().map(|at| window.schema.fields()[input_columns + at].clone()).collect();
            stream = self.over_group(stream, schema, &members, &fields, &mut computed, &group)?;
        }
        computed.sort_by_key(|(at, _)| *at);
        stream.columns.extend(computed.into_iter().map(|(_, column)| column));
        Ok(stream)
    }

    /// One operator for functions with one PARTITION BY and ORDER BY. The columns computed so far move along.
    fn over_group(
        &mut self,
        mut stream: Stream,
        schema: &DFSchema,
        members: &[&Expr],
        fields: &[FieldRef],
        computed: &mut Vec<(usize, StreamColumn)>,
        numbers: &[usize],
    ) -> Result<Stream> {
        let function = function_of(members[0])?;
        let time = self.over_time(&function.params.order_by, &stream, schema).map_err(|fault| self.locate(fault, members[0]))?;
        let own = stream.columns.len();
        stream.columns.extend(computed.iter().map(|(_, c)| c.clone()));

        let mut keys = Vec::new();
        let mut extras: Vec<Named> = Vec::new();
        for expr in &function.params.partition_by {
            let expr = self.physical(expr, schema)?;
            keys.push(match plain_column(&expr) {
                Some(at) => at,
                None => {
                    let field = Arc::new(Field::new(format!("$key{}", extras.len()), expr.data_type(schema.as_arrow())?, true));
                    extras.push((stream.over_physical(expr)?, field));
                    stream.columns.len() + extras.len() - 1
                }
            });
        }
        let ordered = members.iter().any(|e| depends_on_order(e));
        let input = self.settle(stream, &extras)?;

        let mut columns = Vec::new();
        let mut output: Vec<FieldRef> = input.schema.fields().iter().cloned().collect();
        for (expr, field) in members.iter().zip(fields) {
            let (over, data_type) =
                self.over_column(function_of(expr)?, schema, &input, field).map_err(|fault| self.locate(fault, expr))?;
            output.push(Arc::new(Field::new(field.name(), data_type, true)));
            columns.push(over);
        }
        let result: SchemaRef = Arc::new(Schema::new(output));
        let base = input.schema.fields().len();
        let spec =
            OverSpec { input: input.schema.clone(), keys, time, seq: input.seq.filter(|_| ordered), columns, schema: result.clone() };
        let node = self.add(Arc::new(spec), vec![input.node]);
        let mut columns = input.columns;
        for ((_, moved), now) in computed.iter_mut().zip(columns.drain(own..)) {
            *moved = now;
        }
        for (n, (number, field)) in numbers.iter().zip(fields).enumerate() {
            computed.push((*number, StreamColumn { expr: column(base + n, field), field: field.clone(), role: Role::VALUE }));
        }
        Ok(Stream { node, schema: result, columns, ..input })
    }

    /// The column that orders the rows: the time attribute, ascending.
    fn over_time(&self, order_by: &[Sort], stream: &Stream, schema: &DFSchema) -> Result<usize> {
        let words = || order_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let [sort] = order_by else {
            return Err(refuse::over_not_by_time(&if order_by.is_empty() { "nothing".to_owned() } else { words() }));
        };
        let at = match &sort.expr {
            Expr::Column(column) => schema.maybe_index_of_column(column),
            _ => None,
        };
        at.filter(|at| sort.asc && stream.columns[*at].role.time).ok_or_else(|| refuse::over_not_by_time(&words()))
    }

    fn over_column(
        &self,
        function: &WindowFunction,
        schema: &DFSchema,
        input: &Stream,
        field: &FieldRef,
    ) -> Result<(OverColumn, DataType)> {
        let params = &function.params;
        let aggregate = match &function.fun {
            WindowFunctionDefinition::WindowUDF(udf) => {
                if params.filter.is_some() || params.distinct {
                    return Err(refuse::over_modifier(&udf.name().to_uppercase()));
                }
                let function = self.ranking(udf.name(), function, schema, field)?;
                // FIRST_VALUE and its kin look at their frame, the others at all rows before.
                let frame = if let OverFunction::Nth { .. } = function { frame_of(&params.window_frame)? } else { Frame::RowsUnbounded };
                return Ok((OverColumn { function, frame, filter: None }, field.data_type().clone()));
            }
            WindowFunctionDefinition::AggregateUDF(udf) => udf,
        };
        let filter = params.filter.as_ref().map(|filter| self.physical(filter, schema)).transpose()?;
        let call =
            AggregateFunction::new_udf(aggregate.clone(), params.args.clone(), params.distinct, None, Vec::new(), params.null_treatment);
        let call = Expr::AggregateFunction(call);
        let built = LoweredAggregateBuilder::new(&call, schema, &input.schema, &self.props, &self.context)
            .with_name(field.name().clone())
            .build()?;
        let data_type = built.aggregate.field().data_type().clone();
        let frame = frame_of(&params.window_frame)?;
        Ok((OverColumn { function: OverFunction::Aggregate(built.aggregate), frame, filter }, data_type))
    }

    /// A function that is no aggregate.
    fn ranking(&self, name: &str, function: &WindowFunction, schema: &DFSchema, field: &FieldRef) -> Result<OverFunction> {
        let params = &function.params;
        let value = || params.args.first().ok_or_else(|| refuse::over_function(name)).and_then(|arg| self.physical(arg, schema));
        let ignore_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let count = |at: usize, what: &str| match params.args.get(at) {
            Some(Expr::Literal(number, _)) => match number.cast_to(&DataType::UInt64) {
                Ok(ScalarValue::UInt64(Some(number))) => Ok(number),
                _ => Err(refuse::over_constant(name, what)),
            },
            _ => Err(refuse::over_constant(name, what)),
        };
        Ok(match name {
            "row_number" => OverFunction::RowNumber,
            "rank" => OverFunction::Rank { dense: false },
            "dense_rank" => OverFunction::Rank { dense: true },
            "first_value" => OverFunction::Nth { value: value()?, which: WhichRow::FromFirst(1), ignore_nulls },
            "last_value" => OverFunction::Nth { value: value()?, which: WhichRow::Last, ignore_nulls },
            "nth_value" => OverFunction::Nth { value: value()?, which: WhichRow::FromFirst(count(1, "row")?), ignore_nulls },
            "lag" if ignore_nulls => return Err(refuse::over_modifier("LAG")),
            "lag" => {
                let default = match params.args.get(2) {
                    None => ScalarValue::try_from(field.data_type())?,
                    Some(Expr::Literal(value, _)) => value.cast_to(field.data_type())?,
                    Some(_) => return Err(refuse::over_constant(name, "default")),
                };
                OverFunction::Lag { value: value()?, offset: if params.args.len() > 1 { count(1, "offset")? } else { 1 }, default }
            }
            "lead" => return Err(refuse::over_lead()),
            other => return Err(refuse::over_function(other)),
        })
    }
}

fn frame_of(frame: &WindowFrame) -> Result<Frame> {
    let refused = || refuse::over_frame(&format!("{} BETWEEN {} AND {}", frame.units, bound(&frame.start_bound), bound(&frame.end_bound)));
    if frame.end_bound != WindowFrameBound::CurrentRow {
        return Err(refused());
    }
    match (frame.units, &frame.start_bound) {
        (WindowFrameUnits::Range, WindowFrameBound::CurrentRow) => Ok(Frame::Range(0)),
        (WindowFrameUnits::Rows, WindowFrameBound::CurrentRow) => Ok(Frame::Rows(0)),
        (WindowFrameUnits::Range, WindowFrameBound::Preceding(reach)) if reach.is_null() => Ok(Frame::RangeUnbounded),
        (WindowFrameUnits::Rows, WindowFrameBound::Preceding(reach)) if reach.is_null() => Ok(Frame::RowsUnbounded),
        (WindowFrameUnits::Range, WindowFrameBound::Preceding(reach)) => {
            interval_micros(reach).filter(|reach| *reach >= 0).map(Frame::Range).ok_or_else(refused)
        }
        (WindowFrameUnits::Rows, WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows)))) => Ok(Frame::Rows(*rows)),
        _ => Err(refused()),
    }
}

/// A bound in SQL's words.
fn bound(bound: &WindowFrameBound) -> String {
    let reach = |value: &ScalarValue| match interval_micros(value) {
        _ if value.is_null() => "UNBOUNDED".to_owned(),
        Some(micros) => format!("INTERVAL '{}' SECOND", micros as f64 / 1e6),
        None => value.to_string(),
    };
    match bound {
        WindowFrameBound::Preceding(value) => format!("{} PRECEDING", reach(value)),
        WindowFrameBound::CurrentRow => "CURRENT ROW".to_owned(),
        WindowFrameBound::Following(value) => format!("{} FOLLOWING", reach(value)),
    }
}
