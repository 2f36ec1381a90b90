//! Which fields of a record are wanted, as a tree, and the walk that finds them.
//!
//! Producers write their fields in the same order again and again. So the walk learns: it remembers every piece of
//! text between two values (comma, key, colon, blanks) as one *gap*, and which gap came after which. In the next record
//! it compares a gap as one or two machine words instead of reading a key:
//!
//! ```text
//!  {"eventId":"1f…","type":"OrderCreated","ts":17000,"amount":9.5}
//!  └──gap 0──┘      └gap 1─┘              └gap 2┘     └gap 3───┘
//!   skip             slot 0                slot 1      skip
//! ```
//!
//! Whatever does not compare equal is read the long way (any order, blanks, escapes in keys) and then learned. What is
//! found never depends on what was learned.

use std::collections::HashMap;

use super::scan::{self, block, skip_blank};
use super::text::unescape;
use crate::format::span::{Cell, Span};

/// What to do with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Nobody reads it.
    Skip,
    /// Its span goes to this slot.
    Take(usize),
    /// An object whose fields are wanted: its span goes to `slot`, its fields to the slots of `node`.
    Enter { slot: usize, node: usize },
    /// Nobody reads it, but its span goes to this slot unless it is a plain scalar.
    Watch(usize),
}

/// The wanted fields of one object.
#[derive(Debug, Clone, Default)]
struct Node {
    fields: HashMap<Vec<u8>, Action>,
    /// Slots of this node and of all below it: begin to end.
    slots: std::ops::Range<usize>,
    others: Others,
}

/// What of the fields that are not wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Others {
    /// They are passed over.
    #[default]
    Skip,
    /// One whose name is not of `[a-z0-9]+`, or that is no plain scalar, goes to this slot.
    Watch(usize),
    /// Any of them goes to this slot.
    Note(usize),
}

/// The wanted fields of a record as a tree: built once per scan. Node 0 is the record.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    nodes: Vec<Node>,
}

/// A wanted field: its name, and its own wanted fields when it is entered.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its key.
    pub(crate) name: String,
    /// Where its span goes.
    pub(crate) slot: usize,
    /// Fields wanted of it; empty = it is taken whole.
    pub(crate) fields: Vec<Wanted>,
    /// What of its other fields, when it is entered.
    pub(crate) others: Others,
}

impl Layout {
    /// The tree of the wanted fields.
    pub(crate) fn new(wanted: &[Wanted], others: Others) -> Layout {
        let mut layout = Layout { nodes: Vec::new() };
        layout.add(wanted, others);
        layout
    }

    fn add(&mut self, wanted: &[Wanted], others: Others) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node::default());
        let mut fields = HashMap::new();
        for field in wanted {
            let action = match field.fields.as_slice() {
                [] => Action::Take(field.slot),
                below => Action::Enter { slot: field.slot, node: self.add(below, field.others) },
            };
            fields.insert(field.name.clone().into_bytes(), action);
        }
        let slots = range_of(wanted);
        if let Some(node) = self.nodes.get_mut(index) {
            *node = Node { fields, slots, others };
        }
        index
    }
}

/// The slots of these fields and of all below them; no other slot between them is written during a walk.
fn range_of(wanted: &[Wanted]) -> std::ops::Range<usize> {
    let below = |field: &Wanted| range_of(&field.fields);
    let start = wanted.iter().map(|field| field.slot.min(below(field).start)).min();
    let end = wanted.iter().map(|field| (field.slot + 1).max(below(field).end)).max();
    start.unwrap_or(usize::MAX)..end.unwrap_or(0)
}

/// A piece of text between two values, as seen before.
#[derive(Debug, Clone)]
struct Gap {
    /// Its first 32 bytes, zeros after it.
    head: [u128; 2],
    /// Ones where `head` counts.
    mask: [u128; 2],
    /// Bytes of it.
    len: usize,
    action: Action,
    /// What came after its value: last time, and the time before it was something else.
    next: [u32; 2],
}

/// Longest gap that is learned.
const MAX_GAP_BYTES: usize = 32;
/// Most gaps that are learned for one object; more means keys that are data, not names.
const MAX_GAPS: usize = 256;
/// No gap: the object ended.
const END: u32 = u32::MAX;

/// What was learned about the objects of one node.
#[derive(Debug, Clone)]
struct Learned {
    gaps: Vec<Gap>,
    by_text: HashMap<Vec<u8>, u32>,
    /// What follows the opening bracket, as [`Gap::next`].
    first: [u32; 2],
}

/// Walks over records, one after the other, and gets better at it.
#[derive(Debug, Clone)]
pub(crate) struct Walker {
    layout: Layout,
    learned: Vec<Learned>,
}

/// A value that has more blanks before it than the gap that was learned.
#[cold]
fn value_behind_blanks<const LINES: bool>(data: &[u8], at: usize) -> Result<Span, Fault> {
    scan::value::<LINES>(data, skip_blank::<LINES>(data, at)).ok_or(Fault::Syntax(at))
}

/// Why a record is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Does not begin with `{`.
    NoObject,
    /// Not what JSON wants at this position.
    Syntax(usize),
    /// More text after the object.
    Trailing(usize),
}

impl Fault {
    /// What is wrong with the record that begins at `start`.
    pub(crate) fn describe(self, data: &[u8], start: usize, end: usize) -> String {
        let at = match self {
            Fault::NoObject => return "the record is no JSON object".to_owned(),
            Fault::Syntax(at) | Fault::Trailing(at) => at,
        };
        if at >= end {
            return "the record ends inside of its JSON object".to_owned();
        }
        let near: String = String::from_utf8_lossy(&data[at..end.min(at + 24)]).into_owned();
        match self {
            Fault::Trailing(_) => format!("text after the JSON object, at byte {}: {near:?}", at - start),
            _ => format!("no JSON at byte {}: {near:?}", at - start),
        }
    }
}

impl Walker {
    /// A walker that has learned nothing.
    pub(crate) fn new(layout: &Layout) -> Walker {
        let none = Learned { gaps: Vec::new(), by_text: HashMap::new(), first: [END; 2] };
        Walker { layout: layout.clone(), learned: vec![none; layout.nodes.len()] }
    }

    /// Walks over the object that begins at `at` (its bracket) and fills `row`, whose cells must be
    /// [`Span::MISSING`]. Returns the position after its closing bracket.
    #[inline]
    pub(crate) fn object<const LINES: bool>(&mut self, data: &[u8], at: usize, row: &mut [Span]) -> Result<usize, Fault> {
        if data.get(at) != Some(&b'{') {
            return Err(Fault::NoObject);
        }
        self.fields::<LINES>(data, at + 1, 0, row)
    }

    /// Walks over the fields of an object of `node`; `at`: after its bracket.
    fn fields<const LINES: bool>(&mut self, data: &[u8], mut at: usize, node: usize, row: &mut [Span]) -> Result<usize, Fault> {
        // The gap before the last value, as far as it was learned.
        let mut before = END;
        let mut first = true;
        loop {
            let learned = &self.learned[node];
            let next = learned.gaps.get(before as usize).map_or(learned.first, |gap| gap.next);
            let action = match learned.compare(data, at, next[0]).or_else(|| learned.compare(data, at, next[1])) {
                Some((index, gap)) => {
                    at += gap.len;
                    before = index;
                    gap.action
                }
                None if data.get(at) == Some(&b'}') => return Ok(at + 1),
                None => {
                    let from = at;
                    let Some(action) = self.read_gap::<LINES>(data, &mut at, node, first)? else { return Ok(at) };
                    before = self.learn(&data[from..at], node, before, action);
                    action
                }
            };
            first = false;
            at = match action {
                Action::Enter { slot, node } => self.enter::<LINES>(data, at, slot, node, row)?,
                action => {
                    let span = match scan::value::<LINES>(data, at) {
                        Some(span) => span,
                        None => value_behind_blanks::<LINES>(data, at)?,
                    };
                    match action {
                        Action::Take(slot) => row[slot] = span,
                        Action::Watch(slot) if !is_plain_scalar(span, data) => row[slot] = span,
                        _ => {}
                    }
                    span.end()
                }
            };
        }
    }

    /// A field whose own fields are wanted.
    fn enter<const LINES: bool>(&mut self, data: &[u8], at: usize, slot: usize, node: usize, row: &mut [Span]) -> Result<usize, Fault> {
        if !row[slot].is_missing() {
            // The key came before; the last one wins with all that is below it.
            row[self.layout.nodes[node].slots.clone()].fill(Span::MISSING);
        }
        // A learned gap may end before the blanks do.
        let at = if data.get(at) == Some(&b'{') { at } else { skip_blank::<LINES>(data, at) };
        if data.get(at) == Some(&b'{') {
            let after = self.fields::<LINES>(data, at + 1, node, row)?;
            row[slot] = Span::token(at, after);
            return Ok(after);
        }
        let span = scan::value::<LINES>(data, at).ok_or(Fault::Syntax(at))?;
        row[slot] = span;
        Ok(span.end())
    }

    /// Reads what stands between two values the long way and moves `at` to the value; `None` at the end of the object.
    #[cold]
    fn read_gap<const LINES: bool>(&self, data: &[u8], at: &mut usize, node: usize, first: bool) -> Result<Option<Action>, Fault> {
        *at = skip_blank::<LINES>(data, *at);
        match data.get(*at) {
            Some(b'}') => {
                *at += 1;
                return Ok(None);
            }
            Some(b',') if !first => *at = skip_blank::<LINES>(data, *at + 1),
            _ if first => {}
            _ => return Err(Fault::Syntax(*at)),
        }
        if data.get(*at) != Some(&b'"') {
            return Err(Fault::Syntax(*at));
        }
        let key = scan::string_end::<LINES>(data, *at + 1).ok_or(Fault::Syntax(*at))?;
        let name = &data[*at + 1..key.after - 1];
        let Node { fields, others, .. } = &self.layout.nodes[node];
        let wanted =
            if key.escaped { unescape(name).and_then(|name| fields.get(name.as_slice()).copied()) } else { fields.get(name).copied() };
        let action = wanted.unwrap_or_else(|| match *others {
            Others::Skip => Action::Skip,
            Others::Watch(slot) if name.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) => Action::Watch(slot),
            Others::Watch(slot) | Others::Note(slot) => Action::Take(slot),
        });
        *at = skip_blank::<LINES>(data, key.after);
        if data.get(*at) != Some(&b':') {
            return Err(Fault::Syntax(*at));
        }
        *at = skip_blank::<LINES>(data, *at + 1);
        Ok(Some(action))
    }

    /// Remembers a gap that came after gap `before`; returns its index, or END where it is not worth remembering.
    #[cold]
    fn learn(&mut self, text: &[u8], node: usize, before: u32, action: Action) -> u32 {
        let learned = &mut self.learned[node];
        let index = match learned.by_text.get(text) {
            Some(&index) => index,
            None if text.len() > MAX_GAP_BYTES || learned.gaps.len() >= MAX_GAPS => return END,
            None => {
                let index = learned.gaps.len() as u32;
                learned.gaps.push(Gap::new(text, action));
                learned.by_text.insert(text.to_vec(), index);
                index
            }
        };
        let next = match learned.gaps.get_mut(before as usize) {
            Some(gap) => &mut gap.next,
            None => &mut learned.first,
        };
        *next = [index, next[0]];
        index
    }
}

/// Text without escapes, control characters or bytes above 127; a word; a whole number of up to nine digits.
fn is_plain_scalar(span: Span, data: &[u8]) -> bool {
    match span.cell(data) {
        Cell::Text(text) => text.is_plain(),
        Cell::Token(b"true" | b"false") | Cell::Null => true,
        Cell::Token([b'-', digits @ ..] | digits) => {
            matches!(digits.len(), 1..=9) && digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || digits[0] != b'0')
        }
        Cell::Nested(_) | Cell::Missing => false,
    }
}

impl Gap {
    fn new(text: &[u8], action: Action) -> Gap {
        let (mut head, mut mask) = ([0u8; 32], [0u8; 32]);
        head[..text.len()].copy_from_slice(text);
        mask[..text.len()].fill(0xff);
        let words = |bytes: [u8; 32]| {
            let (low, high) = bytes.split_at(16);
            [low, high].map(|half| half.iter().rev().fold(0u128, |word, &byte| (word << 8) | u128::from(byte)))
        };
        Gap { head: words(head), mask: words(mask), len: text.len(), action, next: [END; 2] }
    }
}

impl Learned {
    /// The gap of this index, if it is what stands at `at`.
    #[inline(always)]
    fn compare(&self, data: &[u8], at: usize, index: u32) -> Option<(u32, &Gap)> {
        let gap = self.gaps.get(index as usize)?;
        let equal = |half: usize| {
            block(data, at + 16 * half).is_some_and(|bytes| (u128::from_le_bytes(*bytes) ^ gap.head[half]) & gap.mask[half] == 0)
        };
        (equal(0) && (gap.len <= 16 || equal(1))).then_some((index, gap))
    }
}
