//! Late materialisation: the columns that event time and the filter read are made for every row, the others only for
//! the rows that are kept.
//!
//! ```text
//!  chunk ── find ──▶ cells ──▶ first columns ──▶ judge ──▶ kept rows ──▶ rest columns ──▶ batch
//!                      │             │                                        │
//!                      └─────────────┴── records that do not fit ─────────────┴──▶ rejected
//! ```
//! Formats differ in how they find cells ([`Find`]); all else is here.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int8Array, RecordBatch, RecordBatchOptions};
use arrow::compute::FilterBuilder;
use arrow::datatypes::{Schema, SchemaRef};

use super::column::{ColumnPlan, Faults, Reading};
use super::metadata::MetadataPlan;
use super::span::{Cells, MAX_CHUNK_BYTES, Record};
use super::{Chunk, ColumnOrigin, DecodeColumn, DecodeSpec, Decoded, Decoder, Judge, Origins, Records, Rejected, settled};
use crate::error::{Error, Result};

/// Finds the records of a chunk and the cells in them: what makes a format.
pub(crate) trait Find: Send + Sync + std::fmt::Debug {
    /// Finds. The slots of the cells are those of the column plans that the format was built with.
    fn find(&self, chunk: &Chunk) -> Result<Cells>;
}

/// Where a column comes from.
#[derive(Debug)]
enum Plan {
    /// From cells of the record.
    Cell(ColumnPlan, Arc<Reading>),
    /// From what travels beside the record.
    Beside(MetadataPlan),
    /// What the row does.
    Change,
}

/// A decoder of a text format.
#[derive(Debug)]
pub(crate) struct LateDecoder<F> {
    find: F,
    first: Vec<Plan>,
    rest: Vec<Plan>,
    first_schema: SchemaRef,
    schema: SchemaRef,
    offsets: bool,
}

/// Where a format says a column comes from.
pub(crate) enum Origin {
    /// Cells of the record, read in this way; the format keeps the plan's slots.
    Cell(Arc<Reading>),
    /// What travels beside the record, under this key.
    Beside(String),
}

/// A column and the slots it was given.
pub(crate) struct Planned<'a> {
    /// The column asked for.
    pub(crate) column: &'a DecodeColumn,
    /// Its plan: slot and type.
    pub(crate) plan: &'a ColumnPlan,
}

/// The columns of a decoder, planned.
pub(crate) struct Plans {
    first: Vec<Plan>,
    rest: Vec<Plan>,
    /// Cells a row.
    pub(crate) slots: usize,
}

impl Plans {
    /// Plans the columns of `spec`; `origin` says where one comes from, or why it cannot.
    pub(crate) fn new(spec: &DecodeSpec, origin: impl Fn(&DecodeColumn) -> Result<Origin>) -> Result<Plans> {
        let mut slots = 0;
        let mut plan = |column: &DecodeColumn| -> Result<Plan> {
            if column.from == ColumnOrigin::Change {
                return Ok(Plan::Change);
            }
            if let ColumnOrigin::Connector(key) = column.from {
                return Ok(Plan::Beside(MetadataPlan::connector(&column.field, key)));
            }
            Ok(match origin(column)? {
                Origin::Cell(reading) => Plan::Cell(ColumnPlan::new(&column.field, &mut slots)?, reading),
                Origin::Beside(key) => Plan::Beside(MetadataPlan::new(&column.field, &key)?),
            })
        };
        let first = spec.first.iter().map(&mut plan).collect::<Result<_>>()?;
        let rest = spec.rest.iter().map(&mut plan).collect::<Result<_>>()?;
        Ok(Plans { first, rest, slots })
    }

    /// The columns that are cells, with their plans.
    pub(crate) fn cells<'a>(&'a self, spec: &'a DecodeSpec) -> impl Iterator<Item = Planned<'a>> {
        spec.first.iter().chain(&spec.rest).zip(self.first.iter().chain(&self.rest)).filter_map(|(column, plan)| match plan {
            Plan::Cell(plan, _) => Some(Planned { column, plan }),
            Plan::Beside(_) | Plan::Change => None,
        })
    }
}

impl<F: Find> LateDecoder<F> {
    /// A decoder of planned columns whose cells `find` finds.
    pub(crate) fn new(spec: &DecodeSpec, plans: Plans, find: F) -> LateDecoder<F> {
        let fields = |columns: &[DecodeColumn]| columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>();
        let first = fields(&spec.first);
        let all: Vec<_> = first.iter().cloned().chain(fields(&spec.rest)).collect();
        LateDecoder {
            find,
            first: plans.first,
            rest: plans.rest,
            first_schema: Arc::new(Schema::new(first)),
            schema: Arc::new(Schema::new(all)),
            offsets: spec.offsets,
        }
    }
}

/// The offset of a record.
pub(crate) fn offset(chunk: &Chunk, record: &Record) -> i64 {
    match &chunk.records {
        Records::Framed(framed) => framed.offsets.get(record.number as usize).copied().unwrap_or(chunk.base_offset),
        Records::Lines(_) | Records::Rows(_) => chunk.base_offset + i64::from(record.number),
    }
}

/// Makes columns for `rows`; rows that do not fit leave it and join the refused.
fn read(plans: &[Plan], chunk: &Chunk, cells: &Cells, rows: &mut Vec<u32>, refused: &mut Vec<(Record, String)>) -> Result<Vec<ArrayRef>> {
    loop {
        let mut faults = Faults::default();
        let mut arrays = Vec::with_capacity(plans.len());
        for plan in plans {
            arrays.push(match plan {
                Plan::Cell(plan, reading) => plan.read(cells, rows, reading, &mut faults)?,
                Plan::Beside(plan) => plan.read(chunk, &cells.rows, rows)?,
                Plan::Change => Arc::new(kinds(cells, rows)?),
            });
        }
        if faults.found.is_empty() {
            return Ok(arrays);
        }
        // Rare: the faulty records go, with all of their rows and the first fault of each, and the columns are made
        // again without them.
        faults.found.sort_by_key(|(row, _)| *row);
        let mut faulty = BTreeSet::new();
        for (index, message) in faults.found {
            let record = cells.rows[rows[index] as usize];
            if faulty.insert(record.number) {
                refused.push((record, message));
            }
        }
        rows.retain(|row| !faulty.contains(&cells.rows[*row as usize].number));
    }
}

/// What the rows do.
fn kinds(cells: &Cells, rows: &[u32]) -> Result<Int8Array> {
    if cells.kinds.len() != cells.rows.len() {
        return Err(Error::bug("changes were asked of a format that knows inserts only"));
    }
    Ok(rows.iter().map(|row| cells.kinds[*row as usize]).collect())
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

impl<F: Find> Decoder for LateDecoder<F> {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&self, chunk: &Chunk, judge: &mut Judge<'_>) -> Result<Decoded> {
        let bytes = match &chunk.records {
            Records::Lines(data) => data.len(),
            Records::Framed(framed) => framed.data.len(),
            Records::Rows(_) => return Err(Error::bug("a text format was given columns")),
        };
        if bytes >= MAX_CHUNK_BYTES {
            return Err(Error::failed(format!("a chunk of {bytes} bytes is beyond the most of {MAX_CHUNK_BYTES}")));
        }
        let mut cells = self.find.find(chunk)?;
        let mut refused = std::mem::take(&mut cells.refused);
        let records = cells.records.unwrap_or((cells.rows.len() + refused.len()) as u64);

        let mut rows: Vec<u32> = (0..cells.rows.len() as u32).collect();
        let mut columns = read(&self.first, chunk, &cells, &mut rows, &mut refused)?;
        let mut judged_rows = Vec::new();
        if !rows.is_empty() {
            let first = batch(&self.first_schema, columns, rows.len())?;
            let keep = judge(&first)?;
            columns = first.columns().to_vec();
            let judged = rows.len();
            let all = rows.clone();
            let mut mask = keep.map(settled);
            if let Some(mask) = &mask {
                if mask.len() != judged {
                    return Err(Error::bug(format!("{} verdicts for {judged} rows", mask.len())));
                }
                rows = mask.values().set_indices().map(|index| rows[index]).collect();
            }
            let kept = rows.clone();
            judged_rows = all;
            let rest = read(&self.rest, chunk, &cells, &mut rows, &mut refused)?;
            if rows.len() < kept.len() {
                mask = Some(without_refused(mask.as_ref(), judged, &kept, &rows));
            }
            if let Some(mask) = mask.filter(|mask| mask.true_count() < judged) {
                let filter = FilterBuilder::new(&mask).optimize().build();
                for column in &mut columns {
                    *column = filter.filter(column)?;
                }
            }
            columns.extend(rest);
        } else {
            columns = self.schema.fields().iter().map(|field| arrow::array::new_empty_array(field.data_type())).collect();
        }

        let offsets = if self.offsets { rows.iter().map(|row| offset(chunk, &cells.rows[*row as usize])).collect() } else { Vec::new() };
        refused.sort_by_key(|(record, _)| record.number);
        let rejected = refused
            .into_iter()
            .map(|(record, error)| Rejected {
                offset: offset(chunk, &record),
                record: cells.data.slice(record.start as usize..record.end as usize),
                error,
            })
            .collect();
        let decoded = batch(&self.schema, columns, rows.len())?;
        let origins = Origins { data: cells.data, records: cells.rows, judged: judged_rows, kept: rows };
        Ok(Decoded { rows: decoded, offsets, rejected, origins, records })
    }
}

/// The verdicts with the rows taken out that were kept and then refused.
fn without_refused(mask: Option<&BooleanArray>, judged: usize, kept: &[u32], left: &[u32]) -> BooleanArray {
    let mut left = left.iter().peekable();
    let mut survives = kept.iter().map(|row| left.next_if_eq(&row).is_some());
    (0..judged).map(|index| Some(mask.is_none_or(|mask| mask.value(index)) && survives.next().unwrap_or(false))).collect()
}

/// Says which origin a column has in a format whose payload has fields, and no metadata of its own.
pub(crate) fn payload_or_beside(column: &DecodeColumn, reading: &Arc<Reading>) -> Result<Origin> {
    Ok(match &column.from {
        ColumnOrigin::Payload(_) => Origin::Cell(reading.clone()),
        ColumnOrigin::Metadata(key) => Origin::Beside(key.clone()),
        ColumnOrigin::Change => return Err(no_changes(column)),
        ColumnOrigin::Connector(key) => Origin::Beside((*key).to_owned()),
    })
}

/// A column of changes asked of a format that has none.
pub(crate) fn no_changes(column: &DecodeColumn) -> Error {
    Error::bug(format!("column '{}': changes were asked of a format that knows inserts only", column.field.name()))
}
