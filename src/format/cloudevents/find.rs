//! Finds attributes and data in events, and judges the envelopes.
//!
//! The walk brings the attributes; what is plainly right is seen at a glance (types, sources and schemas that were
//! judged before are remembered). Only an envelope that is not goes through the full check, which also words the fault.

use std::collections::HashMap;

use ahash::AHashSet;
use arrow::datatypes::TimeUnit;
use serde_json::{Map, Value};

use super::{Validation, binary};
use crate::error::Result;
use crate::event::{self, ATTRIBUTES, LIFTED, Reading};
use crate::format::json::FindJson;
use crate::format::json::layout::{Layout, Others, Wanted};
use crate::format::late::{Find, Plans};
use crate::format::span::{Cell, Cells, Span};
use crate::format::{Chunk, ColumnOrigin, DecodeSpec, Records};
use crate::time::text::rfc3339;

/// Finds the cells of events.
#[derive(Debug)]
pub(super) struct FindEvents {
    json: FindJson,
    slots: Slots,
    validation: Validation,
    /// Data are read, so they must be an object.
    reads_data: bool,
    /// Cells that are copied where the second one has nothing: lifted fields, attributes read twice.
    copies: Vec<(usize, usize)>,
}

/// Places in [`ATTRIBUTES`] of those whose texts come again and again.
const TYPE: usize = 1;
const SOURCE: usize = 2;
const CONTENT_TYPE: usize = 6;
const SCHEMA: usize = 7;

/// Where the parts of the envelope stand.
#[derive(Debug, Clone, Default)]
struct Slots {
    attributes: HashMap<String, usize>,
    /// Those of [`ATTRIBUTES`], in that order.
    known: [usize; 8],
    /// Extension attributes that a column reads.
    extensions: Vec<usize>,
    data: usize,
    data_base64: usize,
    metadata: usize,
    /// Something that the quick look does not know.
    odd: usize,
    lifted: Vec<usize>,
    count: usize,
}

impl Slots {
    fn next(&mut self) -> usize {
        self.count += 1;
        self.count - 1
    }

    /// The slot of an attribute, made on first use.
    fn attribute(&mut self, name: &str) -> usize {
        if let Some(slot) = self.attributes.get(name) {
            return *slot;
        }
        let slot = self.next();
        self.attributes.insert(name.to_owned(), slot);
        slot
    }
}

impl FindEvents {
    /// Finds the planned columns and what is needed to judge the envelope.
    pub(super) fn new(spec: &DecodeSpec, plans: &Plans, validation: Validation) -> FindEvents {
        let mut slots = Slots { count: plans.slots, ..Slots::default() };
        slots.data = slots.next();
        slots.data_base64 = slots.next();
        slots.metadata = slots.next();
        slots.odd = slots.next();
        let mut copies = Vec::new();
        let mut data = Vec::new();
        for planned in plans.cells(spec) {
            match &planned.column.from {
                ColumnOrigin::Payload(name) => data.push(planned.plan.wanted(name)),
                ColumnOrigin::Metadata(key) => {
                    let from = if key == "data" { slots.data } else { slots.attribute(key) };
                    copies.push((from, planned.plan.slot));
                }
                ColumnOrigin::Change => {}
                ColumnOrigin::Connector(_) => {}
            }
        }
        let reads_data = !data.is_empty();
        slots.known = ATTRIBUTES.map(|name| slots.attribute(name));
        slots.extensions = slots.attributes.values().copied().filter(|slot| !slots.known.contains(slot)).collect();
        slots.lifted = LIFTED.iter().map(|_| slots.next()).collect();
        let leaf = |name: &str, slot| Wanted { name: name.to_owned(), slot, fields: Vec::new(), others: Others::Skip };
        let metadata: Vec<Wanted> = LIFTED.iter().zip(&slots.lifted).map(|((from, _), slot)| leaf(from, *slot)).collect();
        // Lifted first: what is lifted may be read by a column.
        let lifts = LIFTED.iter().zip(&slots.lifted);
        let lifts: Vec<_> = lifts.filter_map(|((_, to), slot)| Some((*slot, *slots.attributes.get(*to)?))).collect();
        copies.splice(0..0, lifts);

        let mut wanted: Vec<Wanted> = slots.attributes.iter().map(|(name, slot)| leaf(name, *slot)).collect();
        wanted.push(Wanted { name: "data".to_owned(), slot: slots.data, fields: data, others: Others::Skip });
        wanted.push(leaf("data_base64", slots.data_base64));
        wanted.push(Wanted { name: "metadata".to_owned(), slot: slots.metadata, fields: metadata, others: Others::Note(slots.odd) });
        let others = if validation == Validation::None { Others::Skip } else { Others::Watch(slots.odd) };
        let json = FindJson::new(Layout::new(&wanted, others), slots.count);
        FindEvents { json, slots, validation, reads_data, copies }
    }

    /// What is wrong with the event of this row.
    fn fault(&self, cells: &Cells, row: usize, seen: &mut Seen) -> Option<String> {
        let data = cells.span(row, self.slots.data).cell(&cells.data);
        let base64 = cells.span(row, self.slots.data_base64);
        if self.validation != Validation::None && !self.is_plainly_right(cells, row, seen) {
            let record = cells.rows.get(row)?;
            let text = &cells.data[record.start as usize..record.end as usize];
            let judged = match serde_json::from_slice::<Map<String, Value>>(text) {
                Err(error) => Err(error.to_string()),
                Ok(event) if self.validation == Validation::Standard => event::judge(&event).map(|_| ()),
                Ok(mut event) => {
                    event::lift_metadata(&mut event);
                    event::check(&event, Reading::CloudEvents)
                }
            };
            if let Err(fault) = judged {
                return Some(format!("no event: {fault}"));
            }
            seen.remember(self, cells, row);
        }
        let is_object = matches!(data, Cell::Nested([b'{', ..]) | Cell::Null | Cell::Missing) && base64.is_missing();
        (self.reads_data && !is_object).then(|| "the data of the event are no JSON object".to_owned())
    }

    /// Is the envelope right at a glance? False says only that a closer look is needed.
    fn is_plainly_right(&self, cells: &Cells, row: usize, seen: &Seen) -> bool {
        let standard = self.validation == Validation::Standard;
        let slots = &self.slots;
        let missing = |slot: usize| cells.span(row, slot).is_missing();
        let is_object = |slot: usize| matches!(cells.span(row, slot).cell(&cells.data), Cell::Nested([b'{', ..]));
        let [specversion, kind, source, id, subject, time, content_type, schema] = slots.known;
        let text = |slot: usize| plain_text(cells, row, slot);
        let was_right = |index: usize, slot: usize| text(slot).is_some_and(|text| seen.texts[index].contains(text));

        text(specversion) == Some(b"1.0")
            && text(id).is_some()
            && was_right(TYPE, kind)
            && was_right(SOURCE, source)
            && (missing(subject) || text(subject).is_some())
            && (missing(content_type) || was_right(CONTENT_TYPE, content_type))
            && (missing(schema) || was_right(SCHEMA, schema))
            && match text(time) {
                Some(time) => rfc3339(time, TimeUnit::Second).is_some(),
                None => !standard && missing(time),
            }
            && (!standard || is_object(slots.data))
            && missing(slots.data_base64)
            && missing(slots.odd)
            && (missing(slots.metadata) || is_object(slots.metadata))
            && slots.lifted.iter().chain(&slots.extensions).all(|slot| missing(*slot) || text(*slot).is_some())
    }
}

/// The text of a cell that is a plain text and not empty.
fn plain_text(cells: &Cells, row: usize, slot: usize) -> Option<&[u8]> {
    match cells.span(row, slot).cell(&cells.data) {
        Cell::Text(text) if text.is_plain() && !text.bytes.is_empty() => Some(text.bytes),
        _ => None,
    }
}

/// Types, sources, content types and schemas that were judged right, by attribute.
#[derive(Debug, Default)]
struct Seen {
    texts: [AHashSet<Vec<u8>>; 8],
}

impl Seen {
    /// Most texts remembered of one attribute: sources may be as many as events.
    const MOST: usize = 1024;

    /// Remembers the texts of an event that was judged right.
    fn remember(&mut self, find: &FindEvents, cells: &Cells, row: usize) {
        for index in [TYPE, SOURCE, CONTENT_TYPE, SCHEMA] {
            let seen = &mut self.texts[index];
            if let Some(text) = plain_text(cells, row, find.slots.known[index])
                && !seen.contains(text)
                && seen.len() < Self::MOST
            {
                seen.insert(text.to_vec());
            }
        }
    }
}

impl Find for FindEvents {
    fn find(&self, chunk: &Chunk) -> Result<Cells> {
        let enveloped = match &chunk.records {
            Records::Framed(framed) => binary::enveloped(framed)?,
            Records::Lines(_) | Records::Rows(_) => None,
        };
        let mut cells = match &enveloped {
            None => self.json.find(chunk)?,
            Some(enveloped) => self.json.find(&Chunk { records: Records::Framed(enveloped.framed.clone()), ..*chunk })?,
        };
        let mut seen = Seen::default();
        let mut faults = Vec::new();
        for row in 0..cells.rows.len() {
            faults.extend(self.fault(&cells, row, &mut seen).map(|fault| (row, fault)));
            for (from, to) in &self.copies {
                let (from, to) = (row * cells.slots + from, row * cells.slots + to);
                if cells.spans[to].is_missing() {
                    cells.spans[to] = cells.spans[from];
                }
            }
        }
        refuse(&mut cells, faults);
        if let Some(enveloped) = enveloped {
            enveloped.unwrap(&mut cells);
        }
        Ok(cells)
    }
}

/// Takes the faulty rows out of the cells.
fn refuse(cells: &mut Cells, faults: Vec<(usize, String)>) {
    if faults.is_empty() {
        return;
    }
    let slots = cells.slots;
    let mut faults = faults.into_iter().peekable();
    let mut rows = Vec::with_capacity(cells.rows.len());
    let mut spans: Vec<Span> = Vec::with_capacity(cells.spans.len());
    for (row, record) in cells.rows.iter().enumerate() {
        match faults.next_if(|(faulty, _)| *faulty == row) {
            Some((_, fault)) => cells.refused.push((*record, fault)),
            None => {
                rows.push(*record);
                spans.extend_from_slice(&cells.spans[row * slots..(row + 1) * slots]);
            }
        }
    }
    cells.rows = rows;
    cells.spans = spans;
}
