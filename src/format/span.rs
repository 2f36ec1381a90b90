//! Where values stand in a chunk: eight bytes a cell, so that finding values and reading them are two tight loops.
//!
//! ```text
//!  data   {"type":"OrderCreated","ts":17000,"amount":9.5}\n{"type": …
//!                 └─── span ────┘     └─┬─┘
//!  cells  row 0 │ slot 0 │ slot 1 │     a slot is a column, or a field of a ROW column
//!         row 1 │ slot 0 │ slot 1 │     Span::MISSING where a record lacks the field
//! ```

use bytes::Bytes;

/// Most bytes a chunk may have: the upper three bits of a position are marks.
pub(crate) const MAX_CHUNK_BYTES: usize = 1 << 29;

const BARE: u32 = 1 << 31;
const ESCAPED: u32 = 1 << 30;
const WIDE: u32 = 1 << 29;
const END: u32 = WIDE - 1;

/// A value of a record: a piece of the chunk and what was noticed while passing over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    /// End of the value and the three marks.
    end: u32,
}

impl Span {
    /// The record has no such field.
    pub(crate) const MISSING: Span = Span { start: u32::MAX, end: 0 };

    /// A JSON value that is no string: number, `true`, `null`, object, array.
    #[inline]
    pub(crate) fn token(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    /// A JSON string with its quotes. `escaped`: holds a backslash; `wide`: holds bytes above 127, not yet checked.
    #[inline]
    pub(crate) fn quoted(start: usize, end: usize, escaped: bool, wide: bool) -> Span {
        Span { start: start as u32, end: end as u32 | (u32::from(escaped) << 30) | (u32::from(wide) << 29) }
    }

    /// Text without quotes around it (csv, raw). `escaped`: holds doubled quotes.
    #[inline]
    pub(crate) fn bare(start: usize, end: usize, escaped: bool) -> Span {
        Span { start: start as u32, end: end as u32 | BARE | (u32::from(escaped) << 30) | WIDE }
    }

    /// No such field in the record.
    #[inline]
    pub(crate) fn is_missing(self) -> bool {
        self.start == u32::MAX
    }

    /// First byte.
    #[inline]
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    /// One past the last byte.
    #[inline]
    pub(crate) fn end(self) -> usize {
        (self.end & END) as usize
    }

    /// What the span holds.
    #[inline]
    pub(crate) fn cell(self, data: &[u8]) -> Cell<'_> {
        if self.is_missing() {
            return Cell::Missing;
        }
        let (start, end) = (self.start(), self.end());
        let bytes = data.get(start..end).unwrap_or_default();
        if self.end & BARE != 0 {
            return Cell::Text(Text { start, bytes, escaped: self.end & ESCAPED != 0, wide: true });
        }
        match bytes {
            [b'"', content @ .., b'"'] => {
                Cell::Text(Text { start: start + 1, bytes: content, escaped: self.end & ESCAPED != 0, wide: self.end & WIDE != 0 })
            }
            b"null" => Cell::Null,
            [b'{' | b'[', ..] => Cell::Nested(bytes),
            _ => Cell::Token(bytes),
        }
    }
}

/// A value as it stands in the record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    /// No such field.
    Missing,
    /// The word `null`.
    Null,
    /// A string.
    Text(Text<'a>),
    /// A number, `true`, `false`, or something that is no JSON at all.
    Token(&'a [u8]),
    /// An object or an array, from bracket to bracket.
    Nested(&'a [u8]),
}

/// The inside of a string.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    /// Where it begins in the chunk.
    pub(crate) start: usize,
    /// The bytes between the quotes.
    pub(crate) bytes: &'a [u8],
    /// Escapes must be resolved.
    pub(crate) escaped: bool,
    /// Bytes above 127 must be checked.
    pub(crate) wide: bool,
}

impl Text<'_> {
    /// No escapes, no control characters, nothing above 127.
    pub(crate) fn is_plain(&self) -> bool {
        // No early end: this way all bytes are looked at together.
        !self.escaped && self.bytes.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'))
    }
}

/// The record that a row came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// Number of the record in its chunk, empty lines counted.
    pub(crate) number: u32,
    /// Its bytes in the chunk.
    pub(crate) start: u32,
    /// One past its last byte.
    pub(crate) end: u32,
}

/// The well-delimited records of a chunk and their cells.
#[derive(Debug)]
pub(crate) struct Cells {
    /// All bytes of the chunk.
    pub(crate) data: Bytes,
    /// Per row: its record.
    pub(crate) rows: Vec<Record>,
    /// Row after row, `slots` spans each.
    pub(crate) spans: Vec<Span>,
    /// Cells a row.
    pub(crate) slots: usize,
    /// Records that are none of the format, with what is wrong.
    pub(crate) refused: Vec<(Record, String)>,
    /// Per row: the number of its [`crate::change::Kind`]; empty where the format knows inserts only.
    pub(crate) kinds: Vec<i8>,
    /// Records in the chunk, where they are not as many as rows and refused ones.
    pub(crate) records: Option<u64>,
}

impl Cells {
    /// No rows yet; `expected` rows are made room for.
    pub(crate) fn new(data: Bytes, slots: usize, expected: usize) -> Cells {
        let (rows, spans) = (Vec::with_capacity(expected), Vec::with_capacity(expected * slots));
        Cells { data, rows, spans, slots, refused: Vec::new(), kinds: Vec::new(), records: None }
    }

    /// The cell of a row.
    #[inline]
    pub(crate) fn span(&self, row: usize, slot: usize) -> Span {
        self.spans.get(row * self.slots + slot).copied().unwrap_or(Span::MISSING)
    }
}
