//! Events as columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringViewBuilder, StructArray, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields};

use super::NAME;
use super::event::Event;
use super::options::Kind;
use crate::error::{Error, Result, did_you_mean};

/// Text that makes events as long as those of the Nexmark project.
const EXTRA: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// How long an auction stays open.
const OPEN_MICROS: i64 = 10_000_000;

/// A column of the table.
#[derive(Debug)]
pub enum Column {
    /// `event_type`.
    EventType(DataType),
    /// A field of one kind of event.
    Value(Value, DataType),
    /// All wanted fields of one kind, NULL for events of other kinds.
    Row(Kind, Fields, Vec<Column>),
}

/// A field of an event.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// A whole number.
    Number(fn(Event) -> i64),
    /// A text.
    Text(fn(Event) -> String),
    /// When it happened, and so many microseconds more.
    Time(i64),
}

const PERSON: [(&str, Value); 8] = [
    ("id", Value::Number(Event::person)),
    ("name", Value::Text(|e| format!("person {}", e.person()))),
    ("emailAddress", Value::Text(|e| format!("p{}@example.org", e.person()))),
    ("creditCard", Value::Text(|e| format!("{:016}", e.price() * 7919))),
    ("city", Value::Text(|e| format!("city {}", e.person() % 100))),
    ("state", Value::Text(|e| format!("S{}", e.person() % 50))),
    ("dateTime", Value::Time(0)),
    ("extra", Value::Text(|_| EXTRA.to_owned())),
];

const AUCTION: [(&str, Value); 10] = [
    ("id", Value::Number(Event::auction)),
    ("itemName", Value::Text(|e| format!("item {}", e.auction()))),
    ("description", Value::Text(|e| format!("d {}", e.auction()))),
    ("initialBid", Value::Number(|e| e.price() / 10)),
    ("reserve", Value::Number(Event::price)),
    ("dateTime", Value::Time(0)),
    ("expires", Value::Time(OPEN_MICROS)),
    ("seller", Value::Number(Event::hot_person)),
    ("category", Value::Number(|e| e.auction() % 5)),
    ("extra", Value::Text(|_| EXTRA.to_owned())),
];

const BID: [(&str, Value); 7] = [
    ("auction", Value::Number(Event::hot_auction)),
    ("bidder", Value::Number(Event::hot_person)),
    ("price", Value::Number(Event::price)),
    ("channel", Value::Text(|e| format!("channel-{}", e.price() % 10_000))),
    ("url", Value::Text(|e| format!("https://www.example.org/item/{}", e.hot_auction()))),
    ("dateTime", Value::Time(0)),
    ("extra", Value::Text(|_| EXTRA.to_owned())),
];

/// The columns of the table of all kinds.
const ALL: [&str; 4] = ["event_type", "person", "auction", "bid"];

fn fields_of(kind: Kind) -> &'static [(&'static str, Value)] {
    match kind {
        Kind::Person => &PERSON,
        Kind::Auction => &AUCTION,
        Kind::Bid => &BID,
    }
}

impl Column {
    /// The column of a table of events of `kind`, or of all.
    pub fn new(column: &Field, kind: Option<Kind>) -> Result<Self> {
        let name = column.name().as_str();
        let kind_of_row = match (kind, name) {
            (Some(kind), _) => return Self::value(column, kind),
            (None, "event_type") => return Ok(Column::EventType(column.data_type().clone())),
            (None, "person") => Kind::Person,
            (None, "auction") => Kind::Auction,
            (None, "bid") => Kind::Bid,
            (None, _) => {
                let near = did_you_mean(name, ALL);
                let known = ALL.join(", ");
                return Err(Error::input(format!(
                    "connector '{NAME}': without 'table' there are the columns {known}, and no '{name}'{near}"
                )));
            }
        };
        let DataType::Struct(fields) = column.data_type() else {
            return Err(Error::input(format!("connector '{NAME}': the column '{name}' is a ROW<…>, not {}", column.data_type())));
        };
        let columns = fields.iter().map(|field| Self::value(field, kind_of_row)).collect::<Result<_>>()?;
        Ok(Column::Row(kind_of_row, fields.clone(), columns))
    }

    fn value(column: &Field, kind: Kind) -> Result<Self> {
        let (name, data_type) = (column.name().as_str(), column.data_type());
        let names = || fields_of(kind).iter().map(|(name, _)| *name);
        let Some((_, value)) = fields_of(kind).iter().find(|(field, _)| *field == name) else {
            let near = match did_you_mean(name, names()) {
                near if near.is_empty() => format!("; it has {}", names().collect::<Vec<_>>().join(", ")),
                near => near,
            };
            return Err(Error::input(format!("connector '{NAME}': 'table'='{}' has no column '{name}'{near}", kind.name())));
        };
        if !can_cast_types(&value.natural_type(), data_type) {
            let natural = value.natural_type();
            return Err(Error::input(format!("connector '{NAME}': the column '{name}' is {natural} and cannot be {data_type}")));
        }
        Ok(Column::Value(*value, data_type.clone()))
    }

    /// The column for these events, which happen at these times (microseconds since 1970).
    pub fn make(&self, events: &[Event], times: &[i64]) -> Result<ArrayRef> {
        match self {
            Column::EventType(data_type) => {
                let types: ArrayRef = Arc::new(Int32Array::from_iter_values(events.iter().map(|event| event.kind() as i32)));
                cast(types, data_type)
            }
            Column::Value(value, data_type) => value.make(events, times, data_type),
            Column::Row(kind, fields, columns) => {
                let there: NullBuffer = events.iter().map(|event| event.kind() == *kind).collect();
                let columns = columns.iter().map(|column| column.make(events, times)).collect::<Result<Vec<_>>>()?;
                Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(there), events.len())?))
            }
        }
    }
}

impl Value {
    /// The type it is made in.
    fn natural_type(self) -> DataType {
        match self {
            Value::Number(_) => DataType::Int64,
            Value::Text(_) => DataType::Utf8View,
            Value::Time(_) => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
        }
    }

    fn make(self, events: &[Event], times: &[i64], data_type: &DataType) -> Result<ArrayRef> {
        let values: ArrayRef = match self {
            Value::Number(of) => Arc::new(Int64Array::from_iter_values(events.iter().map(|event| of(*event)))),
            Value::Text(of) => {
                let mut texts = StringViewBuilder::with_capacity(events.len());
                events.iter().for_each(|event| texts.append_value(of(*event)));
                Arc::new(texts.finish())
            }
            Value::Time(more) if *data_type == DataType::Int64 => {
                Arc::new(Int64Array::from_iter_values(times.iter().map(|time| (time + more).div_euclid(1_000))))
            }
            Value::Time(more) => {
                let zone = if let DataType::Timestamp(_, zone) = data_type { zone.clone() } else { None };
                Arc::new(TimestampMicrosecondArray::from_iter_values(times.iter().map(|time| time + more)).with_timezone_opt(zone))
            }
        };
        cast(values, data_type)
    }
}

fn cast(values: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if values.data_type() == data_type {
        return Ok(values);
    }
    Ok(cast_with_options(&values, data_type, &CastOptions { safe: false, ..CastOptions::default() })?)
}
