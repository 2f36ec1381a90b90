//! What an alert is: the row that the pattern operator emits, and what becomes of it on its way to tables and topics.
//!
//! | column | what |
//! |---|---|
//! | `rule` | the rule's name |
//! | `alert_time` | event time of the last event, or when an absence or a timeout was certain |
//! | `type`, `subject`, `data` | as the rule's `emit` says; `data` is a JSON object |
//! | `key` | the key's columns as a JSON object |
//! | `events` | step, id and time of the events that matched |
//! | `causationid` | id of the completing event |
//! | `correlationid` | handed on from it; without one, the id of the first event |

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::{CaseExpr, CastExpr, Column, is_null, lit};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::error::{Error, Result};
use crate::format::FormatConfig;
use crate::operator::pattern::binding::{Binding, Emission, End, matched_fields};
use crate::rules::form::{EmitText, RuleText, Text};
use crate::rules::input::{CORRELATION, ID, Input, key_name};
use crate::rules::syntax::Names;

/// Columns of the emitted row, in order.
pub const COLUMNS: [&str; 9] = ["rule", "alert_time", "type", "subject", "key", "data", "events", "causationid", "correlationid"];

/// The row's schema for events of `input`.
pub fn schema(input: &Input) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    let time = input.schema().field(input.time()).data_type().clone();
    let matched = DataType::List(Arc::new(Field::new_list_field(DataType::Struct(matched_fields(input.schema(), &input.told())), true)));
    let fields = COLUMNS.map(|name| match name {
        "alert_time" => Field::new(name, time.clone(), true),
        "events" => Field::new(name, matched.clone(), true),
        other => text(other),
    });
    Arc::new(Schema::new(fields.to_vec()))
}

/// Whose alert, and what it says.
pub struct Said<'a> {
    /// The rule.
    pub rule: &'a RuleText,
    /// The rule's `emit`, or that of its `on_timeout`.
    pub emit: &'a EmitText,
}

/// The row of a match of `said.rule`.
pub fn emission(said: &Said<'_>, names: &Names<'_>) -> Result<Emission> {
    let mut bindings = Vec::new();
    let mut faults = Vec::new();
    let mut bind = |text: &Text, bindings: &mut Vec<Binding>| match names.bind(text, bindings) {
        Ok(syntax) => Some((text.clone(), syntax)),
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    let subject = said.emit.subject.as_ref().and_then(|text| bind(text, &mut bindings));
    let data: Vec<_> = said.emit.data.iter().filter_map(|(name, text)| Some((name.text.clone(), bind(text, &mut bindings)?))).collect();
    let event_type = &said.emit.event_type;
    if !crate::event::is_type_of_standard(&event_type.text) {
        let text = format!("'{}' is no event type; expected one such as shop.fraud.FraudAlertRaised", event_type.text);
        faults.push(Error::input(text).at(event_type.place.clone()));
    }
    if let Some(fault) = Error::all(faults) {
        return Err(fault);
    }

    let input = names.input;
    let own = |name: &str| -> Result<Arc<dyn PhysicalExpr>> { Ok(Arc::new(Column::new(name, input.schema().index_of(name)?))) };
    let base = input.schema().fields().len();
    let bound = |bindings: &mut Vec<Binding>, binding: Binding| -> Arc<dyn PhysicalExpr> {
        bindings.push(binding);
        let number = bindings.len() - 1;
        Arc::new(Column::new(&format!("${number}"), base + number))
    };
    let emit_time = bound(&mut bindings, Binding::EmitTime);
    let matched = bound(&mut bindings, Binding::Matched(input.told()));
    let end = |end| -> Result<Binding> { Ok(Binding::Row { of: None, end, skip: 0, value: own(ID)? }) };
    let (first, last) = (end(End::First)?, end(End::Last)?);
    let (first, cause) = (bound(&mut bindings, first), bound(&mut bindings, last));
    let carried = Binding::Row { of: None, end: End::Last, skip: 0, value: own(CORRELATION)? };
    let carried = bound(&mut bindings, carried);
    let correlation = Arc::new(CaseExpr::try_new(None, vec![(is_null(carried.clone())?, first)], Some(carried))?);

    let schema = names.bound_schema(&bindings)?;
    let key: Vec<(String, Arc<dyn PhysicalExpr>)> = (0..input.keys.len())
        .map(|number| {
            // A timeout has no tried event: the key is that of any of its events.
            let value = own(&key_name(number))?;
            let binding = Binding::Row { of: None, end: End::Last, skip: 0, value };
            Ok((input.keys[number].0.clone(), binding))
        })
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .map(|(name, binding)| (name, bound(&mut bindings, binding)))
        .collect();
    let schema = if key.is_empty() { schema } else { names.bound_schema(&bindings)? };
    let physical = |(text, syntax): &(Text, _)| -> Result<Arc<dyn PhysicalExpr>> {
        names
            .physical(syntax, &bindings)
            .map_err(|error| Error::new(error.kind(), format!("'{}': {}", text.text, error.message())).at(text.place.clone()))
    };
    let mut made = Vec::new();
    let mut faults = Vec::new();
    for (name, text) in &data {
        match physical(text) {
            Ok(expr) => made.push((name.clone(), expr)),
            Err(fault) => faults.push(fault),
        }
    }
    let subject = match subject.as_ref().map(physical) {
        Some(Ok(expr)) => as_text(expr, &schema)?,
        Some(Err(fault)) => {
            faults.push(fault);
            no_text()
        }
        None => no_text(),
    };
    if let Some(fault) = Error::all(faults) {
        return Err(fault);
    }
    let text = |text: &str| lit(ScalarValue::Utf8View(Some(text.to_owned())));
    let columns = vec![
        text(&said.rule.name.text),
        emit_time,
        text(&event_type.text),
        subject,
        json_object(key, &schema)?,
        json_object(made, &schema)?,
        matched,
        cause,
        correlation,
    ];
    Ok(Emission { bindings, columns })
}

fn no_text() -> Arc<dyn PhysicalExpr> {
    lit(ScalarValue::Utf8View(None))
}

fn as_text(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(match expr.data_type(schema)? {
        DataType::Utf8View => expr,
        _ => Arc::new(CastExpr::new(expr, DataType::Utf8View, None)),
    })
}

/// The values under their names as a JSON object.
fn json_object(values: Vec<(String, Arc<dyn PhysicalExpr>)>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    if values.is_empty() {
        return Ok(lit(ScalarValue::Utf8View(Some("{}".to_owned()))));
    }
    let (names, values): (Vec<String>, Vec<_>) = values.into_iter().unzip();
    let fields = names.iter().zip(&values).map(|(name, value)| Ok(Field::new(name, value.data_type(schema)?, true)));
    let object = JsonObject {
        fields: Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)),
        signature: Signature::variadic_any(Volatility::Immutable),
    };
    let field = Arc::new(Field::new("json_object", DataType::Utf8View, true));
    let function = Arc::new(ScalarUDF::from(object));
    Ok(Arc::new(ScalarFunctionExpr::new("json_object", function, values, field, Arc::new(ConfigOptions::new()))))
}

/// Writes its arguments as the fields of a JSON object, as the JSON format writes them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonObject {
    fields: SchemaRef,
    signature: Signature,
}

impl ScalarUDFImpl for JsonObject {
    fn name(&self) -> &str {
        "json_object"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let columns: Vec<ArrayRef> = args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<DfResult<_>>()?;
        let rows = RecordBatch::try_new(self.fields.clone(), columns)?;
        let write = || -> Result<ArrayRef> {
            let mut encoder = FormatConfig::from_options("json", &mut BTreeMap::new())?.encoder(&self.fields)?;
            let mut text = Vec::new();
            encoder.encode(&rows, &mut text)?;
            let mut lines = StringViewBuilder::with_capacity(rows.num_rows());
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                let line = std::str::from_utf8(line).map_err(|e| Error::bug("JSON that is no UTF-8").because(e))?;
                lines.append_value(line.trim_end_matches('\n'));
            }
            Ok(Arc::new(lines.finish()))
        };
        write().map(ColumnarValue::Array).map_err(|error| DataFusionError::External(Box::new(error)))
    }
}
