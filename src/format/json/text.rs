//! The insides of JSON strings: escapes resolved, and the strict check of values that are handed on as text.

/// Resolves the escapes of a string's inside; `None` when one is malformed (a lone surrogate included).
pub(crate) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (plain, used) = match rest.get(at + 1)? {
            b'"' => (b'"', 2),
            b'\\' => (b'\\', 2),
            b'/' => (b'/', 2),
            b'b' => (8, 2),
            b'f' => (12, 2),
            b'n' => (b'\n', 2),
            b'r' => (b'\r', 2),
            b't' => (b'\t', 2),
            b'u' => {
                let (char, used) = code_point(&rest[at..])?;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[at + used..];
                continue;
            }
            _ => return None,
        };
        out.push(plain);
        rest = &rest[at + used..];
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// The character that `\uXXXX` or a pair of them stands for, and how many bytes it took.
fn code_point(text: &[u8]) -> Option<(char, usize)> {
    let first = unit(text)?;
    if (0xd800..0xdc00).contains(&first) {
        let second = unit(text.get(6..)?)?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        return Some((char::from_u32(0x10000 + ((first - 0xd800) << 10) + low)?, 12));
    }
    Some((char::from_u32(first)?, 6))
}

/// The number of a `\uXXXX`.
fn unit(text: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = text else { return None };
    digits.first_chunk::<4>()?.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// A JSON value as text without blanks between its tokens; `None` when it is no JSON.
pub(crate) fn compact(value: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    // Checks every token; numbers and strings stay as written.
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut out = Vec::with_capacity(value.len());
    let (mut inside, mut escaped) = (false, false);
    for &byte in value {
        if inside {
            (inside, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
        } else if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            continue;
        } else {
            inside = byte == b'"';
        }
        out.push(byte);
    }
    Some(out)
}
