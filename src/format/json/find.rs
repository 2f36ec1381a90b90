//! Finds the records of a chunk and the wanted values in them, in one pass over the bytes.

use bytes::Bytes;
use memchr::memchr;
use parking_lot::Mutex;

use super::layout::{Fault, Layout, Walker};
use super::scan::skip_blank;
use crate::error::{Error, Result};
use crate::format::late::Find;
use crate::format::span::{Cells, Record, Span};
use crate::format::{BYTE_ORDER_MARK, Chunk, Framed, Records};

/// How far the walk may look beyond the end of a framed record: enough for its wide loads, too little for a torn record
/// to run through all that follow.
const LOOK_AHEAD_BYTES: usize = 64;

/// Finds values in JSON records.
#[derive(Debug)]
pub(crate) struct FindJson {
    layout: Layout,
    slots: usize,
    /// Walkers at rest, with what they have learned; decoding tasks take one each.
    walkers: Mutex<Vec<Walker>>,
}

impl FindJson {
    /// Finds what `layout` wants, whose slots are below `slots`.
    pub(crate) fn new(layout: Layout, slots: usize) -> FindJson {
        FindJson { layout, slots, walkers: Mutex::default() }
    }

    /// Records that end at a newline. The walk itself finds the newline: the text is passed over once.
    ///
    /// `begins`: the chunk may begin with a byte order mark, being the first of a file.
    fn lines(&self, data: &Bytes, begins: bool, walker: &mut Walker) -> Cells {
        let text = data.as_ref();
        // Room for records of 128 bytes; smaller ones make it grow.
        let mut cells = Cells::new(data.clone(), self.slots, text.len() / 128 + 1);
        let (mut at, mut number) = (if begins && text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }, 0);
        while at < text.len() {
            let start = skip_blank::<true>(text, at);
            if matches!(text.get(start), None | Some(b'\n')) {
                // An empty line is no record, but counts as an offset.
                at = start + 1;
                number += 1;
                continue;
            }
            let from = cells.spans.len();
            cells.spans.resize(from + self.slots, Span::MISSING);
            let walked = walker.object::<true>(text, start, &mut cells.spans[from..]).and_then(|end| Ok((end, line_end(text, end)?)));
            match walked {
                Ok((end, next)) => {
                    cells.rows.push(Record { number, start: start as u32, end: end as u32 });
                    at = next;
                }
                Err(fault) => {
                    cells.spans.truncate(from);
                    let end = memchr(b'\n', &text[at..]).map_or(text.len(), |length| at + length);
                    let end_of_text = start + text[start..end].trim_ascii_end().len();
                    let record = Record { number, start: at as u32, end: end as u32 };
                    cells.refused.push((record, fault.describe(text, start, end_of_text)));
                    at = end + 1;
                }
            }
            number += 1;
        }
        cells
    }

    /// Records whose ends are known. A walk that runs over the end of its record (it is torn) ends elsewhere.
    fn framed(&self, framed: &Framed, walker: &mut Walker) -> Result<Cells> {
        let text = framed.data.as_ref();
        let mut cells = Cells::new(framed.data.clone(), self.slots, framed.values.len());
        for (number, value) in framed.values.iter().enumerate() {
            let number = number as u32;
            let Some((start, end)) = *value else {
                cells.refused.push((Record { number, start: 0, end: 0 }, "the record has no value (a tombstone)".to_owned()));
                continue;
            };
            let record = Record { number, start, end };
            let (start, end) = (start as usize, end as usize);
            if start > end || end > text.len() {
                return Err(Error::bug(format!("record {number} is said to lie at {start} to {end} of {} bytes", text.len())));
            }
            let text = &text[..text.len().min(end + LOOK_AHEAD_BYTES)];
            let from = cells.spans.len();
            cells.spans.resize(from + self.slots, Span::MISSING);
            let object = skip_blank::<false>(text, start);
            let walked = walker.object::<false>(text, object, &mut cells.spans[from..]).and_then(|after| {
                let rest = text.get(after..end).ok_or(Fault::Syntax(end))?;
                match rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
                    None => Ok(()),
                    Some(blank) => Err(Fault::Trailing(after + blank)),
                }
            });
            match walked {
                Ok(()) => cells.rows.push(record),
                Err(fault) => {
                    cells.spans.truncate(from);
                    cells.refused.push((record, fault.describe(text, start, end)));
                }
            }
        }
        Ok(cells)
    }
}

/// The position after the line that holds nothing but blanks from `at` on.
#[inline(always)]
fn line_end(text: &[u8], at: usize) -> Result<usize, Fault> {
    if text.get(at) == Some(&b'\n') {
        return Ok(at + 1);
    }
    let at = skip_blank::<true>(text, at);
    match text.get(at) {
        None => Ok(at),
        Some(b'\n') => Ok(at + 1),
        Some(_) => Err(Fault::Trailing(at)),
    }
}

impl Find for FindJson {
    fn find(&self, chunk: &Chunk) -> Result<Cells> {
        let mut walker = self.walkers.lock().pop().unwrap_or_else(|| Walker::new(&self.layout));
        let cells = match &chunk.records {
            Records::Lines(data) => Ok(self.lines(data, chunk.base_offset == 0, &mut walker)),
            Records::Framed(framed) => self.framed(framed, &mut walker),
            Records::Rows(_) => Err(Error::bug("the json format was given columns")),
        };
        self.walkers.lock().push(walker);
        cells
    }
}
