//! Where things end in JSON text: strings, bare words, nested values. Sixteen bytes at a step, no look at what is skipped.
//!
//! `LINES`: a newline ends the record, wherever it stands. Otherwise it is white space like any other.

use super::block::{nesting_mask, string_masks, token_mask};

/// Nesting deeper than this is refused.
pub(crate) const MAX_DEPTH: u32 = 128;

/// Where a string ends and what it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StringEnd {
    /// Position after the closing quote.
    pub(crate) after: usize,
    /// It holds a backslash.
    pub(crate) escaped: bool,
    /// It holds bytes above 127.
    pub(crate) wide: bool,
}

/// The sixteen bytes at `at`, if there are as many.
#[inline(always)]
pub(crate) fn block(data: &[u8], at: usize) -> Option<&[u8; 16]> {
    data.get(at..)?.first_chunk()
}

/// The last bytes of the data, filled up with quotes and newlines that end whatever is open.
#[inline(never)]
fn tail(data: &[u8], at: usize) -> [u8; 16] {
    let mut block = [b'\n'; 16];
    for (to, from) in block.iter_mut().zip(data.get(at..).unwrap_or_default()) {
        *to = *from;
    }
    block
}

/// Where the string ends whose first byte after the opening quote is at `at`; `None` when it does not.
#[inline(always)]
pub(crate) fn string_end<const LINES: bool>(data: &[u8], at: usize) -> Option<StringEnd> {
    if let Some(block) = block(data, at) {
        let (stop, high) = string_masks(block);
        if stop != 0 {
            let n = stop.trailing_zeros();
            if block[(n & 15) as usize] == b'"' {
                let wide = high & ((1 << n) - 1) != 0;
                return Some(StringEnd { after: at + n as usize + 1, escaped: false, wide });
            }
        }
    }
    long_string_end::<LINES>(data, at)
}

/// [`string_end`] for strings that are long, hold an escape, or stand at the very end.
fn long_string_end<const LINES: bool>(data: &[u8], mut at: usize) -> Option<StringEnd> {
    let (mut escaped, mut wide) = (false, false);
    while at < data.len() {
        let buffer;
        let block = match block(data, at) {
            Some(block) => block,
            None => {
                buffer = tail(data, at);
                &buffer
            }
        };
        let (stop, high) = string_masks(block);
        if stop == 0 {
            wide |= high != 0;
            at += 16;
            continue;
        }
        let n = stop.trailing_zeros();
        wide |= high & ((1 << n) - 1) != 0;
        at += n as usize;
        match data.get(at)? {
            b'"' => return Some(StringEnd { after: at + 1, escaped, wide }),
            b'\\' => {
                escaped = true;
                // An escaped newline is a newline all the same.
                if LINES && data.get(at + 1) == Some(&b'\n') {
                    return None;
                }
                at += 2;
            }
            _ if LINES => return None,
            _ => at += 1,
        }
    }
    None
}

/// Where the bare word ends that begins at `at`: at a comma, a closing bracket, white space or the end of the data.
#[inline(always)]
pub(crate) fn token_end(data: &[u8], mut at: usize) -> usize {
    loop {
        let buffer;
        let block = match block(data, at) {
            Some(block) => block,
            None => {
                buffer = tail(data, at);
                &buffer
            }
        };
        let stop = token_mask(block);
        if stop != 0 {
            return at + stop.trailing_zeros() as usize;
        }
        at += 16;
    }
}

/// Where the object or array ends that begins at `at`: one past its closing bracket. Brackets must match in kind; what
/// stands between them is not looked at.
pub(crate) fn nested_end<const LINES: bool>(data: &[u8], mut at: usize) -> Option<usize> {
    // One bit a level, innermost lowest: 1 = array.
    let (mut kinds, mut depth) = (0u128, 0u32);
    while at < data.len() {
        let buffer;
        let bytes = match block(data, at) {
            Some(block) => block,
            None => {
                buffer = tail(data, at);
                &buffer
            }
        };
        let mut stops = nesting_mask(bytes);
        let base = at;
        at += 16;
        while stops != 0 {
            let here = base + stops.trailing_zeros() as usize;
            stops &= stops - 1;
            match data.get(here)? {
                b'"' => {
                    let after = string_end::<LINES>(data, here + 1)?.after;
                    if after >= base + 16 {
                        at = after;
                        break;
                    }
                    // Drop the stops inside of the string.
                    stops &= u32::MAX << (after - base);
                }
                open @ (b'{' | b'[') => {
                    if depth == MAX_DEPTH {
                        return None;
                    }
                    kinds = (kinds << 1) | u128::from(*open == b'[');
                    depth += 1;
                }
                close @ (b'}' | b']') => {
                    if depth == 0 || (kinds & 1 == 1) != (*close == b']') {
                        return None;
                    }
                    kinds >>= 1;
                    depth -= 1;
                    if depth == 0 {
                        return Some(here + 1);
                    }
                }
                _ if LINES => return None,
                _ => {}
            }
        }
    }
    None
}

/// The first position at or after `at` that holds no white space.
#[inline]
pub(crate) fn skip_blank<const LINES: bool>(data: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = data.get(at) {
        if LINES && data[at] == b'\n' {
            break;
        }
        at += 1;
    }
    at
}

/// Where the value ends that begins at `at`, and its span; `None` when there is none or it does not end.
#[inline(always)]
pub(crate) fn value<const LINES: bool>(data: &[u8], at: usize) -> Option<crate::format::span::Span> {
    use crate::format::span::Span;
    match data.get(at)? {
        b'"' => {
            let end = string_end::<LINES>(data, at + 1)?;
            Some(Span::quoted(at, end.after, end.escaped, end.wide))
        }
        b'{' | b'[' => Some(Span::token(at, nested_end::<LINES>(data, at)?)),
        b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => Some(Span::token(at, token_end(data, at))),
        _ => None,
    }
}
