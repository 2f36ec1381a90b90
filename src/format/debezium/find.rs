//! Finds the rows in envelopes: one of an insert or a delete, two of an update.
//!
//! ```text
//!  cells of a record   columns in "after" │ columns in "before" │ parts of the envelope │ op, before, after, payload
//!  cells of a row      columns (of one of them), parts                                   as the column plans want them
//! ```

use super::{PARTS, Part, part};
use crate::change::Kind;
use crate::error::Result;
use crate::format::json::FindJson;
use crate::format::json::layout::{Layout, Others, Wanted};
use crate::format::late::{Find, Plans};
use crate::format::span::{Cell, Cells, Span};
use crate::format::{Chunk, ColumnOrigin, DecodeSpec, Records};

/// Finds changes.
#[derive(Debug)]
pub(super) struct FindChanges {
    json: FindJson,
    /// Cells a row, as the column plans want them.
    slots: usize,
    /// Where the parts of the envelope stand, in the order of [`PARTS`].
    parts: [usize; 6],
    /// The columns that are parts: which, and their cell in a row.
    columns: Vec<(Part, usize)>,
    op: usize,
    before: usize,
    after: usize,
    payload: usize,
    schema_include: bool,
}

/// A wanted field `by` slots further on.
fn shifted(mut wanted: Wanted, by: usize) -> Wanted {
    wanted.slot += by;
    wanted.fields = wanted.fields.into_iter().map(|field| shifted(field, by)).collect();
    wanted
}

impl FindChanges {
    /// Finds the planned columns in envelopes; `schema_include`: the envelope is the field `payload`.
    pub(super) fn new(spec: &DecodeSpec, plans: &Plans, schema_include: bool) -> Result<FindChanges> {
        let slots = plans.slots;
        let mut next = 2 * slots;
        let mut own = || {
            next += 1;
            next - 1
        };
        let parts = PARTS.map(|_| own());
        let (op, before, after, payload) = (own(), own(), own(), own());
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for planned in plans.cells(spec) {
            match &planned.column.from {
                ColumnOrigin::Payload(name) => fields.push(planned.plan.wanted(name)),
                ColumnOrigin::Metadata(key) => columns.push((part(&planned.column.field, key)?, planned.plan.slot)),
                ColumnOrigin::Change | ColumnOrigin::Connector(_) => {}
            }
        }
        let leaf = |name: &str, slot| Wanted { name: name.to_owned(), slot, fields: Vec::new(), others: Others::Skip };
        let row = |name: &str, slot, fields: Vec<Wanted>| Wanted { fields, ..leaf(name, slot) };
        let [ingestion, timestamp, database, schema, table, source] = parts;
        let of_source = vec![leaf("ts_ms", timestamp), leaf("db", database), leaf("schema", schema), leaf("table", table)];
        let mut wanted = vec![
            leaf("op", op),
            row("before", before, fields.iter().cloned().map(|field| shifted(field, slots)).collect()),
            row("after", after, fields),
        ];
        if !columns.is_empty() {
            wanted.push(leaf("ts_ms", ingestion));
            wanted.push(row("source", source, of_source));
        }
        if schema_include {
            wanted = vec![row("payload", payload, wanted)];
        } else {
            // Only to say what is wrong when it is there.
            wanted.push(leaf("payload", payload));
        }
        let json = FindJson::new(Layout::new(&wanted, Others::Skip), next);
        Ok(FindChanges { json, slots, parts, columns, op, before, after, payload, schema_include })
    }

    /// What the record does, as kinds with the place of their columns, or what is wrong with it.
    fn changes(&self, cells: &Cells, row: usize) -> std::result::Result<&'static [(Kind, bool)], String> {
        let cell = |slot| cells.span(row, slot).cell(&cells.data);
        let is_row = |slot| matches!(cell(slot), Cell::Nested([b'{', ..]));
        let absent = |slot| matches!(cell(slot), Cell::Missing | Cell::Null);
        let changes: &[(Kind, bool)] = match cell(self.op) {
            Cell::Text(text) => match text.bytes {
                b"c" | b"r" => &[(Kind::Insert, false)],
                b"u" => &[(Kind::UpdateBefore, true), (Kind::UpdateAfter, false)],
                b"d" => &[(Kind::Delete, true)],
                other => {
                    let other = String::from_utf8_lossy(other);
                    return Err(format!("no change of a row: op \"{other}\"; expected c, r, u or d"));
                }
            },
            _ if self.schema_include && absent(self.payload) => return Err("no envelope of Debezium: 'payload' is missing".to_owned()),
            _ if !self.schema_include && !absent(self.payload) => {
                return Err("an envelope with its schema around it: set 'debezium-json.schema-include'='true'".to_owned());
            }
            _ => return Err("no envelope of Debezium: 'op' is missing".to_owned()),
        };
        for (kind, before) in changes {
            let (slot, name) = if *before { (self.before, "before") } else { (self.after, "after") };
            if is_row(slot) {
                continue;
            }
            let hint = match (kind, absent(slot)) {
                (Kind::UpdateBefore | Kind::Delete, true) => {
                    "; the database must log whole rows (PostgreSQL: ALTER TABLE … REPLICA IDENTITY FULL)"
                }
                _ => "",
            };
            let what = if absent(slot) { "is missing" } else { "is no object" };
            return Err(format!("'{name}' {what} in a change {}{hint}", kind.sign()));
        }
        Ok(changes)
    }

    /// Appends the cells of a row of the record `row`.
    fn push_row(&self, found: &Cells, row: usize, before: bool, out: &mut Vec<Span>) {
        let from = row * found.slots + if before { self.slots } else { 0 };
        let start = out.len();
        out.extend_from_slice(&found.spans[from..from + self.slots]);
        for (part, slot) in &self.columns {
            let at = PARTS.iter().position(|(_, known)| known == part).unwrap_or_default();
            out[start + slot] = found.span(row, self.parts[at]);
        }
    }
}

impl Find for FindChanges {
    fn find(&self, chunk: &Chunk) -> Result<Cells> {
        let mut found = self.json.find(chunk)?;
        let records = (found.rows.len() + found.refused.len()) as u64;
        if let Records::Framed(framed) = &chunk.records {
            // A tombstone follows a delete only for the broker's sake.
            found.refused.retain(|(record, _)| framed.values.get(record.number as usize).is_some_and(Option::is_some));
        }
        let mut cells = Cells::new(found.data.clone(), self.slots, found.rows.len());
        for row in 0..found.rows.len() {
            let record = found.rows[row];
            match self.changes(&found, row) {
                Err(fault) => cells.refused.push((record, fault)),
                Ok(changes) => {
                    for (kind, before) in changes {
                        self.push_row(&found, row, *before, &mut cells.spans);
                        cells.rows.push(record);
                        cells.kinds.push(*kind as i8);
                    }
                }
            }
        }
        cells.refused.append(&mut found.refused);
        cells.records = Some(records);
        Ok(cells)
    }
}
