//! The events that a rule looks at: rows of one or several streams under one schema.
//!
//! ```text
//!  $stream   $time   $key0 …   $id   $correlation   then what the rules read: column, or stream.column where there are several streams
//! ```
//! `$stream` is there only for several streams. Columns that no rule reads are left out, so that they are not decoded.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, Place, Result, did_you_mean};
use crate::rules::form::Text;

/// Name of the column that tells streams apart.
pub const STREAM: &str = "$stream";
/// Name of the event-time column.
pub const TIME: &str = "$time";
/// Name of the column with the events' ids.
pub const ID: &str = "$id";
/// Name of the column with what the events belong to.
pub const CORRELATION: &str = "$correlation";

/// A stream as a rule sees it.
#[derive(Debug, Clone)]
pub struct StreamColumns {
    /// What the rule calls it.
    pub alias: String,
    /// The table or view.
    pub table: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its event-time column.
    pub time: usize,
    /// Its key columns, in the rule's order.
    pub keys: Vec<usize>,
    /// The column that identifies an event, and the one that says what it belongs to (`METADATA FROM 'id'`,
    /// `'correlationid'`), where the table has them.
    pub id: Option<usize>,
    /// See `id`.
    pub correlation: Option<usize>,
}

/// The streams of a group of rules and the columns that are asked of them.
#[derive(Debug)]
pub struct Input {
    /// The streams.
    pub streams: Vec<StreamColumns>,
    /// Per key column: its name for people and its type.
    pub keys: Vec<(String, DataType)>,
    /// Per stream: which columns are there. All at first; in a second pass only those that were asked for.
    there: Vec<BTreeSet<usize>>,
    asked: RefCell<Vec<BTreeSet<usize>>>,
    schema: SchemaRef,
}

impl Input {
    /// With all columns of the streams.
    pub fn wide(streams: Vec<StreamColumns>, keys: Vec<(String, DataType)>) -> Input {
        let there = streams.iter().map(|stream| (0..stream.schema.fields().len()).collect()).collect();
        Input::with(streams, keys, there)
    }

    /// With only the columns that were asked for.
    pub fn narrow(&self) -> Input {
        Input::with(self.streams.clone(), self.keys.clone(), self.asked.borrow().clone())
    }

    fn with(streams: Vec<StreamColumns>, keys: Vec<(String, DataType)>, there: Vec<BTreeSet<usize>>) -> Input {
        let several = streams.len() > 1;
        let mut fields = Vec::new();
        if several {
            fields.push(Field::new(STREAM, DataType::Utf8View, true));
        }
        if let Some(first) = streams.first() {
            fields.push(Field::new(TIME, first.schema.field(first.time).data_type().clone(), true));
        }
        fields.extend(keys.iter().enumerate().map(|(number, (_, data_type))| Field::new(key_name(number), data_type.clone(), true)));
        fields.extend([ID, CORRELATION].map(|name| Field::new(name, DataType::Utf8View, true)));
        for (stream, columns) in streams.iter().zip(&there) {
            for at in columns {
                let field = stream.schema.field(*at);
                fields.push(Field::new(column_name(several, stream, field.name()), field.data_type().clone(), true));
            }
        }
        let asked = RefCell::new(vec![BTreeSet::new(); streams.len()]);
        Input { streams, keys, there, asked, schema: Arc::new(Schema::new(fields)) }
    }

    /// The schema of the events.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Are there several streams?
    pub fn several(&self) -> bool {
        self.streams.len() > 1
    }

    /// Position of the event time.
    pub fn time(&self) -> usize {
        usize::from(self.several())
    }

    /// Positions of the key columns.
    pub fn key_positions(&self) -> Vec<usize> {
        (0..self.keys.len()).map(|number| self.time() + 1 + number).collect()
    }

    /// Positions of what an alert tells of each event.
    pub fn told(&self) -> Vec<usize> {
        vec![self.time() + 1 + self.keys.len(), self.time()]
    }

    /// Per stream the columns that are there, in the order of the schema.
    pub fn columns(&self, stream: usize) -> impl Iterator<Item = usize> + '_ {
        self.there[stream].iter().copied()
    }

    /// The stream that `name` names, or the only one.
    pub fn stream(&self, name: Option<&Text>, what: &str, place: &Place) -> Result<usize> {
        match name {
            None if self.streams.len() == 1 => Ok(0),
            None => {
                let names: Vec<&str> = self.streams.iter().map(|stream| stream.alias.as_str()).collect();
                let text = format!("{what}: of which stream? Say 'of: …', one of {}", names.join(", "));
                Err(Error::input(text).at(place.clone()))
            }
            Some(name) => {
                let found = self.streams.iter().position(|stream| stream.alias == name.text);
                found.ok_or_else(|| {
                    let near = did_you_mean(&name.text, self.streams.iter().map(|stream| stream.alias.as_str()));
                    Error::input(format!("{what}: the rule has no stream '{}'{near}", name.text)).at(name.place.clone())
                })
            }
        }
    }

    /// The name, in the schema, of a column of a stream; it counts as asked for.
    pub fn column(&self, stream: usize, name: &str) -> Option<String> {
        let of = &self.streams[stream];
        let at = of.schema.index_of(name).ok()?;
        self.asked.borrow_mut()[stream].insert(at);
        self.there[stream].contains(&at).then(|| column_name(self.several(), of, name))
    }

    /// The name of the key column that people call `name`.
    pub fn key(&self, name: &str) -> Option<String> {
        self.keys.iter().position(|(known, _)| known == name).map(key_name)
    }

    /// Says that a stream has no such column, with the nearest one.
    pub fn no_column(&self, stream: usize, name: &str) -> Error {
        let of = &self.streams[stream];
        let near = did_you_mean(name, of.schema.fields().iter().map(|field| field.name().as_str()));
        Error::input(format!("no column '{name}' in {}{near}", of.table))
    }
}

/// Name of a key column in the schema.
pub fn key_name(number: usize) -> String {
    format!("$key{number}")
}

fn column_name(several: bool, stream: &StreamColumns, column: &str) -> String {
    if several { format!("{}.{column}", stream.alias) } else { column.to_owned() }
}
