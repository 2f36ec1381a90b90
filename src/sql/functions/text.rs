//! Functions of texts.

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use datafusion::error::Result as DfResult;

use super::define::Kind::{Any, Long, Text};
use super::define::{Args, Function, Returns, forms, value};

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("concat", forms![[; Text]], Returns::Text, concat),
        Function::new("concat_ws", forms![[Text; Text]], Returns::Text, concat_ws),
        Function::new("split_index", forms![[Text, Text, Long], [Text, Long, Long]], Returns::Text, split_index),
        Function::new("chr", forms![[Long]], Returns::Text, chr),
        Function::new("ascii", forms![[Text]], Returns::Int, ascii),
        Function::new("replace", forms![[Text, Text, Text]], Returns::Text, replace),
        overlay_function(),
        substring_function(),
        Function::new("left", forms![[Text, Long]], Returns::Text, left),
        Function::new("right", forms![[Text, Long]], Returns::Text, right),
        Function::new("lpad", forms![[Text, Long, Text]], Returns::Text, |args| pad(args, true)),
        Function::new("rpad", forms![[Text, Long, Text]], Returns::Text, |args| pad(args, false)),
        Function::new("locate", forms![[Text, Text], [Text, Text, Long]], Returns::Int, locate),
        Function::new("startswith", forms![[Text, Text]], Returns::Bool, |args| both(args, |text, part| text.starts_with(part))),
        Function::new("endswith", forms![[Text, Text]], Returns::Bool, |args| both(args, |text, part| text.ends_with(part))),
        Function::new("is_digit", forms![[Text]], Returns::Bool, |args| each_char(args, char::is_numeric)),
        Function::new("is_alpha", forms![[Text]], Returns::Bool, |args| each_char(args, char::is_alphabetic)),
        Function::new("is_decimal", forms![[Any]], Returns::Bool, is_decimal),
        Function::new("elt", forms![[Long; Text]], Returns::Text, elt),
    ]
}

/// `CONCAT(a, b, …)`: NULL as soon as one is.
fn concat(args: &Args) -> DfResult<ArrayRef> {
    let texts = (0..args.len()).map(|at| args.text(at)).collect::<DfResult<Vec<_>>>()?;
    let mut all = String::new();
    args.texts(|row| {
        all.clear();
        for text in &texts {
            let Some(text) = value(text, row) else { return Ok(None) };
            all.push_str(text);
        }
        Ok(Some(all.clone()))
    })
}

/// `CONCAT_WS(separator, a, b, …)`: NULLs are left out; a NULL separator gives NULL.
fn concat_ws(args: &Args) -> DfResult<ArrayRef> {
    let texts = (0..args.len()).map(|at| args.text(at)).collect::<DfResult<Vec<_>>>()?;
    args.texts(|row| {
        let Some(separator) = value(&texts[0], row) else { return Ok(None) };
        let present: Vec<&str> = texts[1..].iter().filter_map(|t| value(t, row)).collect();
        Ok(Some(present.join(separator)))
    })
}

/// `SPLIT_INDEX(text, separator, index)`: the index counts from 0; the separator may be a character's code.
fn split_index(args: &Args) -> DfResult<ArrayRef> {
    let (texts, indices) = (args.text(0)?, args.long(2)?);
    let pick = |text: &str, separator: &str, index: i64| -> Option<String> {
        let index = usize::try_from(index).ok()?;
        if text.is_empty() {
            return None;
        }
        if separator.is_empty() {
            return (index == 0).then(|| text.to_owned());
        }
        text.split(separator).nth(index).map(str::to_owned)
    };
    if args.is_text(1) {
        let separators = args.text(1)?;
        return args.texts(|row| match (value(&texts, row), value(&separators, row), value(&indices, row)) {
            (Some(text), Some(separator), Some(index)) => Ok(pick(text, separator, index)),
            _ => Ok(None),
        });
    }
    let codes = args.long(1)?;
    args.texts(|row| match (value(&texts, row), value(&codes, row), value(&indices, row)) {
        (Some(text), Some(code), Some(index)) => {
            let separator = u8::try_from(code).ok().filter(|c| *c > 0).map(char::from);
            Ok(separator.and_then(|c| pick(text, c.encode_utf8(&mut [0; 4]), index)))
        }
        _ => Ok(None),
    })
}

/// What stands between a text and its cast to an integer.
pub(super) fn whole_part_function() -> Function {
    let cut = |args: &Args| {
        let texts = args.text(0)?;
        args.texts(|row| Ok(value(&texts, row).map(whole_part)))
    };
    Function::new("whole_part", forms![[Text]], Returns::Text, cut)
}

/// A number's text without blanks around it and without its fraction; any other text as it is.
fn whole_part(text: &str) -> &str {
    let text = text.trim();
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) if is_digits(whole.trim_start_matches(['+', '-'])) && is_digits(fraction) => match whole {
            "" | "+" | "-" => "0",
            whole => whole,
        },
        _ => text,
    }
}

/// `CHR(code)`: the character of the code's last eight bits; none for a negative one.
fn chr(args: &Args) -> DfResult<ArrayRef> {
    let codes = args.long(0)?;
    args.texts(|row| Ok(value(&codes, row).map(|code| if code < 0 { String::new() } else { char::from(code as u8).to_string() })))
}

/// `ASCII(text)`: the first byte, with its sign as in Java; 0 of an empty text.
fn ascii(args: &Args) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    args.numbers::<Int32Type>(|row| Ok(value(&texts, row).map(|text| text.bytes().next().map_or(0, |byte| i32::from(byte as i8)))))
}

/// `REPLACE(text, part, by)`; an empty part stands before each character and at the end.
fn replace(args: &Args) -> DfResult<ArrayRef> {
    let (texts, parts, by) = (args.text(0)?, args.text(1)?, args.text(2)?);
    args.texts(|row| match (value(&texts, row), value(&parts, row), value(&by, row)) {
        (Some(text), Some(part), Some(by)) => Ok(Some(text.replace(part, by))),
        _ => Ok(None),
    })
}

/// The planner of expressions calls it, too.
pub(super) fn overlay_function() -> Function {
    Function::new("overlay", forms![[Text, Text, Long], [Text, Text, Long, Long]], Returns::Text, overlay)
}

/// `OVERLAY(text PLACING by FROM start [FOR length])`: the text as it is when the start is outside of it; without its end
/// when the length is not above 0.
fn overlay(args: &Args) -> DfResult<ArrayRef> {
    let (texts, by, starts) = (args.text(0)?, args.text(1)?, args.long(2)?);
    let lengths = if args.len() == 4 { Some(args.long(3)?) } else { None };
    args.texts(|row| {
        let (Some(text), Some(by), Some(start)) = (value(&texts, row), value(&by, row), value(&starts, row)) else { return Ok(None) };
        let length = match &lengths {
            Some(lengths) => match value(lengths, row) {
                Some(length) => usize::try_from(length).unwrap_or(0),
                None => return Ok(None),
            },
            None => by.chars().count(),
        };
        let before = match usize::try_from(start.saturating_sub(1)) {
            Ok(before) if before < text.chars().count() => before,
            _ => return Ok(Some(text.to_owned())),
        };
        let mut placed = characters(text, 0, before).to_owned() + by;
        if length > 0 {
            placed.push_str(characters(text, before.saturating_add(length), usize::MAX));
        }
        Ok(Some(placed))
    })
}

/// The planner of expressions calls it, too.
pub(super) fn substring_function() -> Function {
    Function::new("substring", forms![[Text, Long], [Text, Long, Long]], Returns::Text, substring).also(&["substr"])
}

/// `SUBSTRING(text, start [, length])`: counts from 1, from the end when negative.
fn substring(args: &Args) -> DfResult<ArrayRef> {
    let (texts, starts) = (args.text(0)?, args.long(1)?);
    let lengths = if args.len() == 3 { Some(args.long(2)?) } else { None };
    args.texts(|row| {
        let (Some(text), Some(start)) = (value(&texts, row), value(&starts, row)) else { return Ok(None) };
        let length = match &lengths {
            Some(lengths) => match value(lengths, row) {
                Some(length) if length >= 0 => usize::try_from(length).unwrap_or(usize::MAX),
                _ => return Ok(None),
            },
            None => usize::MAX,
        };
        let skip = match start {
            1.. => usize::try_from(start - 1).unwrap_or(usize::MAX),
            0 => 0,
            _ => match text.chars().count().checked_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX)) {
                Some(skip) => skip,
                None => return Ok(Some("")),
            },
        };
        Ok(Some(characters(text, skip, length)))
    })
}

/// `length` characters after the first `skip`.
fn characters(text: &str, skip: usize, length: usize) -> &str {
    let byte_of = |text: &str, nth: usize| text.char_indices().nth(nth).map_or(text.len(), |(at, _)| at);
    let rest = &text[byte_of(text, skip)..];
    &rest[..byte_of(rest, length)]
}

fn left(args: &Args) -> DfResult<ArrayRef> {
    let (texts, lengths) = (args.text(0)?, args.long(1)?);
    args.texts(|row| match (value(&texts, row), value(&lengths, row)) {
        (Some(text), Some(length)) => Ok(Some(characters(text, 0, usize::try_from(length).unwrap_or(0)))),
        _ => Ok(None),
    })
}

fn right(args: &Args) -> DfResult<ArrayRef> {
    let (texts, lengths) = (args.text(0)?, args.long(1)?);
    args.texts(|row| match (value(&texts, row), value(&lengths, row)) {
        (Some(text), Some(length)) => {
            let skip = text.chars().count().saturating_sub(usize::try_from(length).unwrap_or(0));
            Ok(Some(characters(text, skip, usize::MAX)))
        }
        _ => Ok(None),
    })
}

/// Longest text that padding makes.
const LONGEST_PADDED: i64 = 1 << 20;

/// `LPAD(text, length, filler)`, `RPAD(…)`: cut when longer; NULL for a negative length or an empty filler.
fn pad(args: &Args, on_the_left: bool) -> DfResult<ArrayRef> {
    let (texts, lengths, fillers) = (args.text(0)?, args.long(1)?, args.text(2)?);
    args.texts(|row| {
        let (Some(text), Some(length), Some(filler)) = (value(&texts, row), value(&lengths, row), value(&fillers, row)) else {
            return Ok(None);
        };
        if length < 0 || filler.is_empty() {
            return Ok(None);
        }
        if length > LONGEST_PADDED {
            return Err(args.fault(format!("a length of {length} is beyond {LONGEST_PADDED}")));
        }
        let length = length as usize;
        let missing = length.saturating_sub(text.chars().count());
        let fill: String = filler.chars().cycle().take(missing).collect();
        let text = characters(text, 0, length);
        Ok(Some(if on_the_left { fill + text } else { text.to_owned() + &fill }))
    })
}

/// `LOCATE(part, text [, from])`: where the part begins, from 1; 0 when nowhere.
fn locate(args: &Args) -> DfResult<ArrayRef> {
    let (parts, texts) = (args.text(0)?, args.text(1)?);
    let starts = if args.len() == 3 { Some(args.long(2)?) } else { None };
    args.numbers::<Int32Type>(|row| {
        let (Some(part), Some(text)) = (value(&parts, row), value(&texts, row)) else { return Ok(None) };
        let skip = match &starts {
            Some(starts) => match value(starts, row) {
                Some(start) => usize::try_from(start - 1).unwrap_or(0),
                None => return Ok(None),
            },
            None => 0,
        };
        let rest = characters(text, skip, usize::MAX);
        Ok(Some(rest.find(part).map_or(0, |at| (skip + rest[..at].chars().count() + 1) as i32)))
    })
}

fn both(args: &Args, test: fn(&str, &str) -> bool) -> DfResult<ArrayRef> {
    let (texts, parts) = (args.text(0)?, args.text(1)?);
    args.bools(|row| Ok(value(&texts, row).zip(value(&parts, row)).map(|(text, part)| test(text, part))))
}

/// Is there a character, and do all pass? NULL does not.
fn each_char(args: &Args, test: fn(char) -> bool) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    args.bools(|row| Ok(Some(value(&texts, row).is_some_and(|text| !text.is_empty() && text.chars().all(test)))))
}

fn is_decimal(args: &Args) -> DfResult<ArrayRef> {
    if !args.is_text(0) {
        let array = args.array(0)?;
        let is_number = array.data_type().is_numeric();
        return args.bools(|row| Ok(Some(is_number && array.is_valid(row))));
    }
    let texts = args.text(0)?;
    args.bools(|row| Ok(Some(value(&texts, row).is_some_and(|text| text.trim().parse::<f64>().is_ok_and(f64::is_finite)))))
}

/// `ELT(index, a, b, …)`: the index counts from 1.
fn elt(args: &Args) -> DfResult<ArrayRef> {
    let indices = args.long(0)?;
    let texts = (1..args.len()).map(|at| args.text(at)).collect::<DfResult<Vec<_>>>()?;
    args.texts(|row| {
        let chosen = value(&indices, row).and_then(|i| usize::try_from(i - 1).ok()).and_then(|i| texts.get(i));
        Ok(chosen.and_then(|text| value(text, row)))
    })
}
