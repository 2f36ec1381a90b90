//! Alerts to a topic: each one a CloudEvent, with the key of its rule as the key of the record.
//!
//! ```text
//!  alert ─▶ { specversion, id, source, type, subject, time, rule, causationid, correlationid, data } ─▶ topic of the log, of Kafka
//! ```
//! `id` is that of the alert, the same whenever it is raised again from the same events; `causationid` is the event that
//! completed it. The topic is a sink as any other: its records become visible with the checkpoint that covers them, once;
//! in Kafka with the transaction that all Kafka sinks of the project share.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMillisecondType};
use datafusion::common::{Column, ScalarValue};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast as to,
    lit,
};

use crate::connector::address::TopicAddress;
use crate::connector::log;
use crate::error::{Error, Place, Result};
use crate::sql::catalog::{ColumnDef, ColumnKind, TableDef, TableOption};
use crate::sql::declared::DeclaredTable;
use crate::sql::types::UTC;
use crate::time::text::{TimestampFormat, push_timestamp};

/// The columns of an alert that its event is made of, in the order in which the function takes them.
const READ: [&str; 9] = ["id", "type", "alert_time", "data", "subject", "rule", "causationid", "correlationid", "key"];

/// The topic as a table: an event, its key, its time.
pub fn table(address: &TopicAddress, place: &Place) -> DeclaredTable {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into()));
    let metadata = |key: &str| ColumnKind::Metadata { key: key.to_owned(), is_virtual: false };
    let columns = [
        ("event", DataType::Utf8View, ColumnKind::Physical),
        ("key", DataType::Utf8View, metadata("key")),
        ("time", time, metadata("timestamp")),
    ];
    let schema = Schema::new(columns.iter().map(|(name, data_type, _)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>());
    let columns = columns.map(|(name, data_type, kind)| ColumnDef {
        name: name.to_owned(),
        data_type: Some(data_type),
        not_null: false,
        kind,
        place: place.clone(),
    });
    let option = |value: &str| TableOption { value: value.to_owned(), place: place.clone() };
    let mut options = vec![("topic", address.topic.as_str()), ("format", "raw")];
    match &address.broker {
        None => options.push(("connector", log::NAME)),
        Some(broker) => options.extend([("broker", broker.as_str()), ("sink.delivery-guarantee", "exactly-once")]),
    }
    let def = TableDef {
        name: name(address),
        columns: columns.to_vec(),
        watermark: None,
        primary_key: Vec::new(),
        options: options.into_iter().map(|(key, value)| (key.to_owned(), option(value))).collect(),
        place: place.clone(),
    };
    DeclaredTable { def: Arc::new(def), schema: Arc::new(schema), computed: BTreeMap::new(), watermark: None }
}

/// What the names of these sinks begin with.
const PREFIX: &str = "alerts to ";

/// What the sink is called.
pub fn name(address: &TopicAddress) -> String {
    format!("{PREFIX}{address}")
}

/// Is it the name of such a sink?
pub fn is_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The alerts of some rules as rows of [`table`]. `source`: who raises them, as events say it.
pub fn events(alerts: LogicalPlan, rules: &[&str], source: &str) -> Result<LogicalPlan> {
    let columns = alerts.schema().columns();
    let column = |name: &str| -> Result<Expr> {
        let found = columns.iter().find(|column| column.name == name);
        found.map(|column| Expr::Column(column.clone())).ok_or_else(|| Error::bug(format!("an alert without '{name}'")))
    };
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into()));
    let read = READ.iter().map(|name| Ok(if *name == "alert_time" { to(column(name)?, time.clone()) } else { column(name)? }));
    let event = ScalarUDF::from(AlertEvent { source: source.to_owned(), signature: Signature::variadic_any(Volatility::Immutable) });
    let event = event.call(read.collect::<Result<Vec<_>>>()?).alias("event");
    let names = rules.iter().map(|name| lit(ScalarValue::Utf8View(Some((*name).to_owned())))).collect();
    let of_rules = Expr::Column(Column::new_unqualified("rule")).in_list(names, false);
    let rows = LogicalPlanBuilder::from(alerts).filter(of_rules)?;
    Ok(rows.project([event, column("key")?.alias("key"), to(column("alert_time")?, time).alias("time")])?.build()?)
}

/// Writes an alert as an event.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AlertEvent {
    source: String,
    signature: Signature,
}

impl ScalarUDFImpl for AlertEvent {
    fn name(&self) -> &str {
        "alert_event"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let columns: Vec<ArrayRef> = args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<DfResult<_>>()?;
        let made = self.events(&columns, args.number_rows);
        made.map(ColumnarValue::Array).map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

impl AlertEvent {
    fn events(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [id, kind, time, data, rest @ ..] = columns else { return Err(Error::bug("an alert of too few columns")) };
        let text = |column: &ArrayRef| -> Result<StringViewArray> { Ok(cast(column, &DataType::Utf8View)?.as_string_view().clone()) };
        let (id, kind, data) = (text(id)?, text(kind)?, text(data)?);
        let rest = rest.iter().map(text).collect::<Result<Vec<_>>>()?;
        let time = time.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(|| Error::bug("an alert's time is no timestamp"))?;
        let mut events = StringViewBuilder::with_capacity(rows);
        for row in 0..rows {
            let mut when = Vec::new();
            push_timestamp(&mut when, time.value(row), TimeUnit::Millisecond, TimestampFormat::Iso8601, true);
            let mut fields = vec![
                ("specversion", quoted("1.0")),
                ("id", quoted(id.value(row))),
                ("source", quoted(&self.source)),
                ("type", quoted(kind.value(row))),
                ("time", quoted(&String::from_utf8_lossy(&when))),
                ("datacontenttype", quoted("application/json")),
            ];
            // The attributes that an alert may lack; its key is the record's.
            for (name, column) in READ[4..8].iter().zip(&rest) {
                if column.is_valid(row) {
                    fields.push((name, quoted(column.value(row))));
                }
            }
            // An object of JSON already.
            fields.push(("data", data.value(row).to_owned()));
            let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            events.append_value(format!("{{{}}}", fields.join(",")));
        }
        Ok(Arc::new(events.finish()))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::TimestampMillisecondArray;

    use crate::event::{Reading, check};

    #[test]
    fn an_alert_is_a_valid_event() {
        let text = |text: Option<&str>| -> ArrayRef { Arc::new(StringViewArray::from(vec![text])) };
        let time: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1_704_067_200_250_i64]).with_timezone("+00:00"));
        let columns = [
            text(Some("5b0d7c3e")),
            text(Some("shop.fraud.FraudAlertRaised")),
            time,
            text(Some("{\"payments\":6}")),
            text(Some("a \"b\"")),
            text(Some("velocity")),
            text(Some("p-6")),
            text(None),
            text(Some("{}")),
        ];
        let maker = AlertEvent { source: "urn:eagre:shop".into(), signature: Signature::variadic_any(Volatility::Immutable) };
        let made = maker.events(&columns, 1).unwrap();
        let event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(made.as_string_view().value(0)).unwrap();
        check(&event, Reading::Standard).unwrap();
        assert_eq!((event["time"].as_str(), event["subject"].as_str()), (Some("2024-01-01T00:00:00.25Z"), Some("a \"b\"")));
        assert_eq!((event["causationid"].as_str(), event.get("correlationid")), (Some("p-6"), None));
        assert_eq!(event["data"]["payments"], 6);
    }
}
