//! A table to a source: which columns are decoded for every record, which only for those that pass the filter, event
//! time and watermark, and what leaves the scan.
//!
//! ```text
//!  CREATE TABLE events (type, customerId, ts, amount, rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND)
//!  SELECT customerId, amount, rt … WHERE type = 'OrderCreated'
//!    first   ts, type                   event time TO_TIMESTAMP_LTZ(ts, 3), filter type = 'OrderCreated'
//!    rest    customerId, amount         only of records that pass
//!    output  customerId, amount, rt
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, TableScan};

use super::changes::Changed;
use super::share::{self, Demand, declared, scan_filter, scanned_columns};
use super::stream::{Role, Stream, StreamColumn, column};
use super::time_columns::Linear;
use super::{Lowering, refuse};
use crate::change::{self, Changes};
use crate::connector::options;
use crate::connector::reading::{Advance, Emit, OnUndecodable, Scanning};
use crate::connector::table::TableRequest;
use crate::dataflow::graph::{NodeId, NodeKind, OnError, SEQ_COLUMN, ScanSpec, SourceNode, TimeSpec, WatermarkExpr};
use crate::error::{Error, Result, did_you_mean};
use crate::format::{ColumnOrigin, DecodeColumn, DecodeSpec, FormatConfig};
use crate::sql::catalog::{ColumnKind, TableDef};
use crate::sql::declared::DeclaredTable;

/// The source of a table, as its scans find it.
#[derive(Debug, Clone)]
pub(super) struct SourceStream {
    node: NodeId,
    schema: SchemaRef,
    /// Per column of the table that leaves the source: its place in `schema`.
    places: BTreeMap<usize, usize>,
    /// The event-time column of the table.
    time: Option<usize>,
    /// Every scan has this one filter, and the source applies it.
    filtered: bool,
    /// What the rows do; the key of upserts as columns of the table.
    changes: Option<(Changes, Vec<usize>)>,
    unbounded: bool,
}

/// `'dead-letter'`: not a topic, but the live table.
const DEAD_LETTER_TABLE: &str = "table";

impl Lowering<'_> {
    /// Adds the source that serves all scans of a table.
    pub(super) fn open_source(&mut self, demand: &Demand<'_>) -> Result<()> {
        let table = demand.table;
        let (request_options, scan_options) = split_options(&table.def).map_err(|fault| at_option(&table.def, fault))?;
        let columns = physical_columns(table);
        let request =
            TableRequest { table: &table.def.name, options: request_options, columns: &columns, primary_key: &table.def.primary_key };
        let dead_letters = scan_options.dead_letter.as_deref().filter(|name| *name != DEAD_LETTER_TABLE);
        let dead_letters = dead_letters.map(|name| self.letters_to(name, &table.def, request.clone())).transpose()?;
        let configured = self.outside.source(request).map_err(|fault| at_option(&table.def, fault))?;
        if scan_options.ordered && !configured.has_keys {
            return Err(at_option(&table.def, refuse::ordered_without_keys(&table.def.name)));
        }
        let changes = configured.changes();
        let upserts = changes == Changes::Upserts;
        let key = table.def.primary_key.iter().map(|name| Ok(table.schema.index_of(name)?)).collect::<Result<Vec<usize>>>()?;

        // A filter over upserts drops no row: where it is applied, the row's key is gone. And a record that was mended may be
        // one that no query asks for: it must be seen, or the records that wait for it would wait for ever.
        let (filter, same) = if upserts || scan_options.ordered { (None, !demand.filters()) } else { demand.filter() };
        let mut output = demand.columns.clone();
        if !same {
            output.extend(demand.filter_columns()?);
        }
        let filter = filter.map(|f| inline(f, table)).transpose()?;
        let watermark = table.watermark.as_ref().zip(table.def.watermark.as_ref());
        let time = watermark.map(|(_, def)| time_column(table, &def.column)).transpose()?;
        let outputs: Vec<(usize, Expr)> =
            output.iter().map(|at| Ok((*at, inline(column_expr(table, *at), table)?))).collect::<Result<_>>()?;
        let event_time = time.map(|at| inline(column_expr(table, at), table)).transpose()?;
        let watermark_expr = watermark.map(|(expr, _)| inline(expr.clone(), table)).transpose()?;

        let first = columns_of(filter.iter().chain(&event_time).chain(&watermark_expr), table)?;
        let rest: Vec<usize> = columns_of(outputs.iter().map(|(_, expr)| expr), table)?.difference(&first).copied().collect();
        // Of a deleted row only the key is known.
        let field_of = |at: usize| -> FieldRef {
            let field = &table.schema.fields()[at];
            if upserts && !key.contains(&at) { Arc::new(field.as_ref().clone().with_nullable(true)) } else { field.clone() }
        };
        let kind = (changes != Changes::Inserts).then(|| DecodeColumn { field: change::field(), from: ColumnOrigin::Change });
        let decoded = first.iter().map(|at| field_of(*at)).chain(kind.iter().map(|k| k.field.clone()));
        let decoded = decoded.chain(rest.iter().map(|at| field_of(*at))).collect::<Vec<_>>();
        let decoded = DFSchema::try_from(Schema::new(decoded))?;

        let spec = DecodeSpec {
            first: first.iter().map(|at| decode_column(table, *at)).chain(kind.clone()).collect(),
            rest: rest.iter().map(|at| decode_column(table, *at)).collect(),
            offsets: demand.seq || scan_options.ordered,
            payload: payload_columns(table),
        };
        let first_count = spec.first.len();
        let decoder = configured.decoder(spec)?;

        let mut places = BTreeMap::new();
        let mut output = Vec::new();
        for (at, expr) in &outputs {
            places.insert(*at, output.len());
            let expr = self.physical(expr, &decoded)?;
            output.push((expr, field_of(*at)));
        }
        if let Some(kind) = &kind {
            output.push((column(first.len(), &kind.field), kind.field.clone()));
        }
        let mut fields: Vec<FieldRef> = output.iter().map(|(_, field)| field.clone()).collect();
        if demand.seq {
            fields.push(Arc::new(Field::new(SEQ_COLUMN, DataType::Int64, false)));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let spec = ScanSpec {
            decoder,
            first: first_count,
            event_time: event_time.map(|e| self.physical(&e, &decoded)).transpose()?,
            filter: filter.map(|f| self.physical(&f, &decoded)).transpose()?,
            output,
            seq: demand.seq,
            ordered: scan_options.ordered,
            schema: schema.clone(),
        };
        let time_spec = self.time_spec(table, &scan_options, watermark_expr.as_ref(), &decoded)?;
        let on_error = on_error(&scan_options, &configured.format);
        let unbounded = !configured.source.bounded();
        let source = SourceNode { source: configured.source, scan: Arc::new(spec), time: time_spec, on_error, dead_letters };
        let node = self.graph.add(table.def.name.clone(), NodeKind::Source(source), Vec::new());
        let changes = kind.map(|_| (changes, if upserts { key } else { Vec::new() }));
        self.sources.insert(table.def.name.clone(), SourceStream { node, schema, places, time, filtered: same, changes, unbounded });
        Ok(())
    }

    /// Event time of a table that declares it; `watermark` over what its records hold.
    fn time_spec(
        &self,
        table: &DeclaredTable,
        scanning: &Scanning,
        watermark: Option<&Expr>,
        decoded: &DFSchema,
    ) -> Result<Option<TimeSpec>> {
        let (Some(watermark), Some(declared), Some(def)) = (watermark, &table.watermark, &table.def.watermark) else { return Ok(None) };
        Ok(Some(TimeSpec {
            watermark: match delay(declared, table, &def.column)? {
                Some(micros) => WatermarkExpr::Delay(micros),
                None => WatermarkExpr::Expr(self.physical(watermark, decoded)?),
            },
            idle_timeout_micros: scanning.idle_timeout_micros,
            advance_by_wall_clock: scanning.advance == Advance::WallClock,
            max_future_skew_micros: scanning.max_future_skew_micros,
            max_drift_micros: scanning.max_drift_micros,
            per_row: scanning.emit == Emit::OnEvent,
        }))
    }

    /// The sink of the dead letters that a table sends to `name`, under the name that the graph knows it by.
    fn letters_to(&mut self, name: &str, def: &TableDef, request: TableRequest<'_>) -> Result<String> {
        let at = |fault: Error| fault.at(def.options["dead-letter"].place.clone());
        let sink = self.outside.dead_letters(name, request).map_err(at)?;
        let known = sink.describe();
        self.graph.dead_letters.entry(known.clone()).or_insert(sink);
        Ok(known)
    }

    /// One scan of a table: its columns of the shared source, and its own filter if others have another.
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<Stream> {
        let table = declared(scan)?;
        let source =
            self.sources.get(&table.def.name).ok_or_else(|| Error::bug(format!("no source for table '{}'", table.def.name)))?.clone();
        if scan.fetch.is_some() {
            return Err(refuse::limit());
        }
        let place = |at: usize| {
            source.places.get(&at).copied().ok_or_else(|| Error::bug(format!("column {at} of '{}' is not read", table.def.name)))
        };
        let mut columns = Vec::new();
        for (at, field) in scanned_columns(scan).into_iter().zip(scan.projected_schema.fields()) {
            let place = place(at)?;
            let role = if source.time == Some(at) { Role::TIME } else { Role::VALUE };
            columns.push(StreamColumn { expr: column(place, source.schema.field(place)), field: field.clone(), role });
        }
        let mut filter = Vec::new();
        if !source.filtered
            && let Some(own) = scan_filter(scan)?
        {
            let schema = DFSchema::try_from(source.schema.as_ref().clone())?;
            // One by one: what the key of upserts alone decides is told from the rest.
            for condition in split_conjunction(&own) {
                filter.push(self.physical(condition, &schema)?);
            }
        }
        let seq = source.schema.fields().iter().position(|f| super::is_seq(f));
        let changes = source.changes.as_ref().and_then(|(changes, key)| {
            let kind = change::column_of(&source.schema)?;
            Some(Changed {
                kind: column(kind, source.schema.field(kind)),
                changes: *changes,
                key: key.iter().map(|at| source.places.get(at).copied()).collect(),
                of: [table.def.name.clone()].into(),
            })
        });
        Ok(Stream { node: source.node, schema: source.schema, filter, window: None, columns, seq, changes, unbounded: source.unbounded })
    }

    /// Does the plan read a table whose source could not be made?
    pub(super) fn misses_source(&self, plan: &datafusion::logical_expr::LogicalPlan) -> bool {
        share::tables_of(plan).iter().any(|table| !self.sources.contains_key(&table.def.name))
    }
}

fn is_computed(kind: &ColumnKind) -> bool {
    matches!(kind, ColumnKind::Computed(_))
}

fn column_expr(table: &DeclaredTable, at: usize) -> Expr {
    Expr::Column(Column::new_unqualified(table.schema.field(at).name()))
}

/// `expr` over the table's columns as one over those that records hold: computed columns replaced by what computes them.
fn inline(expr: Expr, table: &DeclaredTable) -> Result<Expr> {
    let result = expr.transform_down(|e| {
        Ok(match &e {
            Expr::Column(column) => {
                let at = table.schema.index_of(&column.name)?;
                match table.computed.get(&at) {
                    // Goes on inside what was put in: a computed column may be made of others.
                    Some(by) => Transformed::yes(by.clone()),
                    None => Transformed::no(e),
                }
            }
            _ => Transformed::no(e),
        })
    })?;
    if result.transformed
        && result.data.column_refs().iter().any(|c| table.schema.index_of(&c.name).is_ok_and(|at| table.computed.contains_key(&at)))
    {
        return inline(result.data, table);
    }
    Ok(result.data)
}

fn columns_of<'e>(exprs: impl Iterator<Item = &'e Expr>, table: &DeclaredTable) -> Result<BTreeSet<usize>> {
    exprs.flat_map(Expr::column_refs).map(|c| Ok(table.schema.index_of(&c.name)?)).collect()
}

/// What happens to records that cannot be decoded.
fn on_error(scanning: &Scanning, format: &FormatConfig) -> OnError {
    match scanning.on_error {
        Some(OnUndecodable::Fail) => OnError::Fail,
        Some(OnUndecodable::Skip) => OnError::Skip,
        None if format.skips_undecodable() => OnError::Skip,
        Some(OnUndecodable::DeadLetter) | None => OnError::DeadLetter,
    }
}

/// The columns that records hold, read or not.
fn payload_columns(table: &DeclaredTable) -> Vec<FieldRef> {
    let columns = table.schema.fields().iter().zip(&table.def.columns);
    columns.filter(|(_, column)| matches!(column.kind, ColumnKind::Physical)).map(|(field, _)| field.clone()).collect()
}

fn decode_column(table: &DeclaredTable, at: usize) -> DecodeColumn {
    let field = table.schema.fields()[at].clone();
    let from = match &table.def.columns[at].kind {
        ColumnKind::Metadata { key, .. } => ColumnOrigin::Metadata(key.clone()),
        _ => ColumnOrigin::Payload(field.name().clone()),
    };
    DecodeColumn { field, from }
}

/// The event-time column, which must be a timestamp.
fn time_column(table: &DeclaredTable, name: &str) -> Result<usize> {
    let place = || table.def.watermark.as_ref().map_or_else(|| table.def.place.clone(), |w| w.place.clone());
    let columns = || table.schema.fields().iter().map(|f| f.name().as_str());
    let at = table.schema.index_of(name).map_err(|_| {
        Error::input(format!("WATERMARK FOR: no column '{name}' in table '{}'{}", table.def.name, did_you_mean(name, columns())))
            .at(place())
    })?;
    match table.schema.field(at).data_type() {
        DataType::Timestamp(..) => Ok(at),
        other => Err(Error::input(format!(
            "WATERMARK FOR: column '{name}' is {other}; event time is a TIMESTAMP or TIMESTAMP_LTZ: compute one, as in \
             rt AS TO_TIMESTAMP_LTZ({name}, 3)"
        ))
        .at(place())),
    }
}

/// The delay behind the largest event time, if that is what the watermark says.
fn delay(expr: &Expr, table: &DeclaredTable, time: &str) -> Result<Option<i64>> {
    let schema = DFSchema::try_from(table.schema.as_ref().clone())?;
    let at = table.schema.index_of(time)?;
    Ok(Linear::of(expr, &schema).filter(|linear| linear.columns == [(at, 1)]).map(|linear| -linear.micros))
}

/// The columns that records hold, or that travel beside them.
pub fn physical_columns(table: &DeclaredTable) -> Vec<FieldRef> {
    table.schema.fields().iter().zip(&table.def.columns).filter(|(_, column)| !is_computed(&column.kind)).map(|(f, _)| f.clone()).collect()
}

/// The options of a table that are not the planner's: those of its connector and its formats.
pub fn connector_options(def: &TableDef) -> BTreeMap<String, String> {
    let theirs = def.options.iter().filter(|(key, _)| !Scanning::names().contains(&key.as_str()));
    theirs.map(|(key, option)| (key.clone(), option.value.clone())).collect()
}

/// The connector's options, and the planner's.
fn split_options(def: &TableDef) -> Result<(BTreeMap<String, String>, Scanning)> {
    let ours = def.options.iter().filter(|(key, _)| Scanning::names().contains(&key.as_str()));
    let ours = ours.map(|(key, option)| (key.clone(), option.value.clone())).collect();
    let theirs = connector_options(def);
    let scan = options::parse(theirs.get("connector").map_or("", String::as_str), &ours)?;
    Ok((theirs, scan))
}

/// A fault of a table's options, at the option that it names.
fn at_option(def: &TableDef, fault: Error) -> Error {
    let named = def.options.iter().find(|(key, _)| fault.message().contains(&format!("'{key}'")));
    match named {
        Some((_, option)) => fault.at(option.place.clone()),
        None => fault,
    }
}
