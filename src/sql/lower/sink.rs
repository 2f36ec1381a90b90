//! Where results go: tables of connectors and live tables; several pipelines into one target are united.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::logical_expr::LogicalPlan;

use super::Lowering;
use super::changes::{Changed, check_sink};
use super::outside::LiveTable;
use super::scan::connector_options;
use super::stream::Stream;
use crate::change;
use crate::connector::registry::TABLE;
use crate::connector::table::TableRequest;
use crate::connector::{Sink, print};
use crate::dataflow::graph::NodeKind;
use crate::error::{Error, Place, Result, did_you_mean};
use crate::format::{self, EVENT_TIME, METADATA_FROM};
use crate::operator::union::UnionSpec;
use crate::sql::catalog::{ColumnKind, TableDef};
use crate::sql::declared::DeclaredTable;
use crate::sql::plan::PlannedInsert;
use crate::sql::statement::MaterializedViewDef;
use crate::time::parse_duration;

/// A query and where its rows go.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Where the rows go.
    pub target: Target,
    /// The query, analysed and optimised as `plan.rs` does it.
    pub plan: LogicalPlan,
    /// Where the statement stands.
    pub place: Place,
}

/// Where rows go.
#[derive(Debug, Clone)]
pub enum Target {
    /// `INSERT INTO table …`; the plan gives the table's columns under their names, in their order and types.
    Table(Arc<DeclaredTable>),
    /// `CREATE MATERIALIZED VIEW …`: a live table with the columns of the query.
    View {
        /// Its name.
        name: String,
        /// PRIMARY KEY; empty = rows are appended.
        primary_key: Vec<String>,
        /// `'retention'`, in microseconds of event time.
        retention_micros: Option<i64>,
    },
    /// A query for a person: its rows go to standard output.
    Printed {
        /// What it is called.
        name: String,
    },
}

impl Target {
    fn name(&self) -> &str {
        match self {
            Target::Table(table) => &table.def.name,
            Target::View { name, .. } | Target::Printed { name } => name,
        }
    }
}

impl Target {
    /// Is the column of this name in the primary key?
    fn has_key(&self, column: &str) -> bool {
        let key = match self {
            Target::Table(table) => &table.def.primary_key,
            Target::View { primary_key, .. } => primary_key,
            Target::Printed { .. } => return false,
        };
        key.iter().any(|name| name == column)
    }
}

impl Pipeline {
    /// An INSERT as planned; `place`: where it stands.
    pub fn insert(planned: PlannedInsert, place: Place) -> Pipeline {
        Pipeline { target: Target::Table(planned.table), plan: planned.rows, place }
    }

    /// A materialized view with the plan of its query.
    pub fn view(view: &MaterializedViewDef, plan: LogicalPlan) -> Result<Pipeline> {
        let mut retention_micros = None;
        for (key, option) in &view.options {
            match key.as_str() {
                "retention" => retention_micros = Some(parse_duration(&option.value).map_err(|fault| fault.at(option.place.clone()))?),
                other => return Err(unknown_option(&view.name.value, other).at(option.place.clone())),
            }
        }
        let primary_key = view.primary_key.iter().map(|key| key.value.clone()).collect();
        let target = Target::View { name: view.name.value.clone(), primary_key, retention_micros };
        Ok(Pipeline { target, plan, place: view.name.place.clone() })
    }
}

/// What the node that writes a table is called behind the table's name, where the same graph reads it.
const WRITTEN: &str = " (written)";

/// The node that writes a table which is read in the same graph.
pub fn written(table: &str) -> String {
    format!("{table}{WRITTEN}")
}

/// The table that a node of this name writes.
pub fn written_table(node: &str) -> &str {
    node.strip_suffix(WRITTEN).unwrap_or(node)
}

fn unknown_option(table: &str, option: &str) -> Error {
    Error::input(format!("live table '{table}': unknown option '{option}'{}; it knows retention", did_you_mean(option, ["retention"])))
}

impl Lowering<'_> {
    /// Adds a sink per target; pipelines into one target are united before it.
    pub(super) fn add_sinks(&mut self, ready: Vec<(&Pipeline, Stream)>) -> Result<()> {
        let mut by_target: BTreeMap<&str, Vec<(&Pipeline, Stream)>> = BTreeMap::new();
        for (pipeline, stream) in ready {
            by_target.entry(pipeline.target.name()).or_default().push((pipeline, stream));
        }
        let mut faults = Vec::new();
        for pipelines in by_target.into_values() {
            let Some(place) = pipelines.first().map(|(p, _)| p.place.clone()) else { continue };
            if let Err(fault) = self.add_sink(pipelines) {
                faults.push(fault.at(place));
            }
        }
        Error::all(faults).map_or(Ok(()), Err)
    }

    fn add_sink(&mut self, pipelines: Vec<(&Pipeline, Stream)>) -> Result<()> {
        let Some((first, stream)) = pipelines.first() else { return Ok(()) };
        let target = &first.target;
        let time = stream.columns.iter().position(|c| c.role.time);
        // Rows that upserts delete have no values but their key's.
        let upserts = pipelines.iter().any(|(_, stream)| stream.upserts().is_some());
        let fields: Vec<FieldRef> = stream
            .columns
            .iter()
            .map(|c| if upserts && !target.has_key(c.field.name()) { nullable(&c.field) } else { c.field.clone() })
            .collect();
        let unbounded = pipelines.iter().any(|(_, stream)| stream.unbounded);
        let sink = self.sink_of(target, &fields, time)?;
        if unbounded {
            sink.check_unbounded()?;
        }
        // Several pipelines agree on a schema that allows NULL everywhere.
        let several = pipelines.len() > 1;
        let mut fields: Vec<FieldRef> = fields.into_iter().map(|f| if several { nullable(&f) } else { f }).collect();
        let changes = pipelines.iter().any(|(_, stream)| stream.changes.is_some());
        let mut nodes = Vec::new();
        for (_, stream) in pipelines.iter() {
            let mut stream = self.attach_window(stream.clone(), &[])?.0;
            stream.seq = None;
            if changes {
                stream.changes.get_or_insert_with(Changed::inserts);
            }
            let stream = self.named(stream, &fields)?;
            check_sink(target.name(), sink.as_ref(), &stream)?;
            nodes.push(stream.node);
        }
        let mut node = nodes[0];
        if several {
            fields.extend(changes.then(change::field));
            let schema = Arc::new(Schema::new(fields));
            node = self.add(Arc::new(UnionSpec { inputs: nodes.len(), schema }), nodes);
        }
        // A table may be read and written in one graph.
        let read = self.sources.contains_key(target.name());
        let name = if read { written(target.name()) } else { target.name().to_owned() };
        self.graph.add(name, NodeKind::Sink(sink), vec![node]);
        Ok(())
    }

    /// The stream with exactly these columns.
    fn named(&mut self, stream: Stream, fields: &[FieldRef]) -> Result<Stream> {
        let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name() && a.data_type() == b.data_type();
        let hidden = usize::from(stream.changes.is_some());
        let named = stream.schema.fields().len() == fields.len() + hidden && stream.schema.fields().iter().zip(fields).all(same);
        if named { self.settle(stream, &[]) } else { self.project(stream, fields, &[]) }
    }

    fn sink_of(&self, target: &Target, fields: &[FieldRef], time: Option<usize>) -> Result<Arc<dyn Sink>> {
        let live = |name: &str, primary_key: &[String], retention_micros| {
            for key in primary_key {
                if !fields.iter().any(|f| f.name() == key) {
                    let near = did_you_mean(key, fields.iter().map(|f| f.name().as_str()));
                    return Err(Error::input(format!("PRIMARY KEY of '{name}': no column '{key}'{near}")));
                }
            }
            let schema = Arc::new(Schema::new(fields.to_vec()));
            self.outside.live_table(&LiveTable { name: name.to_owned(), schema, primary_key: primary_key.to_vec(), retention_micros, time })
        };
        let table = match target {
            Target::View { name, primary_key, retention_micros } => return live(name, primary_key, *retention_micros),
            Target::Printed { name } => {
                let options = [("connector".to_owned(), print::NAME.to_owned())].into();
                return self.outside.sink(TableRequest { table: name, options, columns: fields, primary_key: &[] });
            }
            Target::Table(table) => &table.def,
        };
        if table.options.get("connector").is_some_and(|c| c.value == TABLE) {
            let mut retention = None;
            for (key, option) in &table.options {
                match key.as_str() {
                    "connector" => {}
                    "retention" => retention = Some(parse_duration(&option.value).map_err(|fault| fault.at(option.place.clone()))?),
                    other => return Err(unknown_option(&table.name, other).at(option.place.clone())),
                }
            }
            return live(&table.name, &table.primary_key, retention);
        }
        let options = connector_options(table);
        let columns = described(table, fields, time);
        let request = TableRequest { table: &table.name, options, columns: &columns, primary_key: &table.primary_key };
        self.outside.sink(request).map_err(|fault| fault.at(table.place.clone()))
    }
}

/// The columns with what an encoder of envelopes must know of them: which are `METADATA`, which is the event time.
fn described(table: &TableDef, fields: &[FieldRef], time: Option<usize>) -> Vec<FieldRef> {
    let envelope = table.options.get("format").is_some_and(|format| format::has_envelope(&format.value));
    let columns = fields.iter().enumerate().map(|(at, field)| {
        let mut marks = field.metadata().clone();
        let declared = table.columns.iter().find(|column| column.name == *field.name()).map(|column| &column.kind);
        if let Some(ColumnKind::Metadata { key, .. }) = declared {
            marks.insert(METADATA_FROM.to_owned(), key.clone());
        }
        if envelope && time == Some(at) {
            marks.insert(EVENT_TIME.to_owned(), String::new());
        }
        if marks.len() == field.metadata().len() { field.clone() } else { Arc::new(Field::clone(field).with_metadata(marks)) }
    });
    columns.collect()
}

fn nullable(field: &FieldRef) -> FieldRef {
    Arc::new(Field::clone(field).with_nullable(true))
}
