//! STRING columns: views into the chunk, no copy, where the text stands there as it is.

use arrow::array::{NullBufferBuilder, StringViewArray};
use arrow::buffer::{Buffer, ScalarBuffer};

use super::{Column, Faults};
use crate::format::json;
use crate::format::span::Cell;

/// Longest text that stands in the view itself.
const INLINE: usize = 12;

/// Reads a STRING column. Scalars that are no strings come as they are written, objects and arrays as compact JSON.
pub(super) fn read(column: &Column<'_>, faults: &mut Faults) -> StringViewArray {
    let mut views = Views { views: Vec::with_capacity(column.spans.len()), in_chunk: false, aside: Vec::new() };
    let mut nulls = NullBufferBuilder::new(column.spans.len());
    for (row, span) in column.spans.iter().enumerate() {
        let cell = span.cell(column.data);
        if views.push(column, &cell) {
            nulls.append_non_null();
        } else {
            column.absent(row, cell, faults);
            views.views.push(0);
            nulls.append_null();
        }
    }
    views.finish(column, nulls)
}

struct Views {
    views: Vec<u128>,
    /// Some view points into the chunk, which is buffer 0 then.
    in_chunk: bool,
    /// Texts that do not stand in the chunk as they are: buffer 1.
    aside: Vec<u8>,
}

/// A view as Arrow lays it out: length, then the text itself or its first four bytes, buffer and offset.
#[inline(always)]
fn view(text: &[u8], buffer: u32, offset: usize) -> u128 {
    let length = text.len() as u128;
    if text.len() <= INLINE {
        let mut bytes = [0; 16];
        for (to, from) in bytes[4..].iter_mut().zip(text) {
            *to = *from;
        }
        return u128::from_le_bytes(bytes) | length;
    }
    let prefix = text.first_chunk::<4>().map_or(0, |head| u32::from_le_bytes(*head));
    length | u128::from(prefix) << 32 | u128::from(buffer) << 64 | (offset as u128) << 96
}

impl Views {
    /// Adds the text of a cell; false when it has none.
    #[inline(always)]
    fn push(&mut self, column: &Column<'_>, cell: &Cell<'_>) -> bool {
        let (start, bytes) = match cell {
            Cell::Text(text) if text.escaped || text.wide => {
                let Some(unescaped) = column.unescaped(text) else { return false };
                if std::str::from_utf8(&unescaped).is_err() {
                    return false;
                }
                if text.escaped {
                    self.push_aside(&unescaped);
                    return true;
                }
                (text.start, text.bytes)
            }
            Cell::Text(text) => (text.start, text.bytes),
            Cell::Token(token) | Cell::Nested(token) => {
                // A number, a word or a nested value: checked, as nobody else did.
                let Some(compact) = json::text::compact(token) else { return false };
                self.push_aside(&compact);
                return true;
            }
            Cell::Missing | Cell::Null => return false,
        };
        // The chunk is below 2^29 bytes, so every offset fits.
        self.in_chunk |= bytes.len() > INLINE;
        self.views.push(short_view(column.data, start, bytes.len()).unwrap_or_else(|| view(bytes, 0, start)));
        true
    }

    fn push_aside(&mut self, text: &[u8]) {
        self.views.push(view(text, 1, self.aside.len()));
        if text.len() > INLINE {
            self.aside.extend_from_slice(text);
        }
    }

    fn finish(self, column: &Column<'_>, mut nulls: NullBufferBuilder) -> StringViewArray {
        let chunk = if self.in_chunk { Buffer::from(column.data.clone()) } else { Buffer::from(&[]) };
        let buffers = match (self.in_chunk, self.aside.is_empty()) {
            (false, true) => Vec::new(),
            (_, true) => vec![chunk],
            (_, false) => vec![chunk, Buffer::from_vec(self.aside)],
        };
        #[expect(unsafe_code, reason = "checking every view again costs as much as making it")]
        // SAFETY: a view is made of text that is ASCII by the scan's mask or passed `from_utf8`, points to where that
        // text stands in buffer 0 or 1, and has its length and prefix; a NULL has the empty view.
        unsafe {
            StringViewArray::new_unchecked(ScalarBuffer::from(self.views), buffers, nulls.finish())
        }
    }
}

/// The view of a text of up to twelve bytes, made from one load of the sixteen bytes around it.
#[inline(always)]
fn short_view(data: &[u8], start: usize, length: usize) -> Option<u128> {
    if length > INLINE {
        return None;
    }
    let block = data.get(start..)?.first_chunk::<16>()?;
    let kept = u128::from_le_bytes(*block) & ((1u128 << (8 * length)) - 1);
    Some(kept << 32 | length as u128)
}
