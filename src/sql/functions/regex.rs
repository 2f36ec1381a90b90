//! Regular expressions: `REGEXP` and its kin.
//!
//! The plain engine, which takes time by the length of the text, runs what it can. What it has not (look-around, references back)
//! is left to one that tries again and again, as Java's does; a text on which that takes too many steps is a fault of the row.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringViewBuilder};
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::error::Result as DfResult;

use super::define::Kind::{Long, Text};
use super::define::{Args, Function, Returns, forms, value};

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("regexp", forms![[Text, Text]], Returns::Bool, regexp),
        Function::new("regexp_extract", forms![[Text, Text], [Text, Text, Long]], Returns::Text, regexp_extract),
        Function::new("regexp_substr", forms![[Text, Text]], Returns::Text, regexp_extract),
        Function::new(
            "regexp_extract_all",
            forms![[Text, Text], [Text, Text, Long]],
            Returns::From(|_| Ok(DataType::List(Arc::new(element())))),
            regexp_extract_all,
        ),
        Function::new("regexp_replace", forms![[Text, Text, Text]], Returns::Text, regexp_replace),
        Function::new("regexp_count", forms![[Text, Text]], Returns::Int, regexp_count),
        Function::new("regexp_instr", forms![[Text, Text]], Returns::Int, regexp_instr),
    ]
}

/// Elements of `REGEXP_EXTRACT_ALL`.
fn element() -> Field {
    Field::new_list_field(DataType::Utf8View, true)
}

enum Regex {
    Plain(regex::Regex),
    Looking(fancy_regex::Regex),
}

impl Regex {
    /// `None` where the pattern is none.
    fn new(pattern: &str) -> Option<Regex> {
        // What stands for blanks in Java stands for hexadecimal digits there.
        let is_other = |pattern: &str| pattern.contains("\\h") || pattern.contains("\\H");
        match regex::Regex::new(pattern) {
            Ok(regex) => Some(Regex::Plain(regex)),
            Err(_) if is_other(pattern) => None,
            Err(_) => fancy_regex::Regex::new(pattern).ok().map(Regex::Looking),
        }
    }

    /// Groups of the pattern, the whole not counted.
    fn groups(&self) -> usize {
        match self {
            Regex::Plain(regex) => regex.captures_len() - 1,
            Regex::Looking(regex) => regex.captures_len() - 1,
        }
    }

    /// Calls `found` with the place of each fit and what `group` holds of it, until it says that this is enough.
    fn each<'t>(&self, text: &'t str, group: usize, mut found: impl FnMut(Range<usize>, Option<&'t str>) -> bool) -> Result<(), String> {
        match self {
            Regex::Plain(regex) if group == 0 => {
                for fit in regex.find_iter(text) {
                    if !found(fit.range(), Some(fit.as_str())) {
                        break;
                    }
                }
            }
            Regex::Plain(regex) => {
                for fit in regex.captures_iter(text) {
                    if let Some(whole) = fit.get(0)
                        && !found(whole.range(), fit.get(group).map(|m| m.as_str()))
                    {
                        break;
                    }
                }
            }
            Regex::Looking(regex) => {
                for fit in regex.captures_iter(text) {
                    let fit = fit.map_err(|e| e.to_string())?;
                    if let Some(whole) = fit.get(0)
                        && !found(whole.range(), fit.get(group).map(|m| m.as_str()))
                    {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Texts and patterns of a call, the last regular expression kept: they are mostly constant.
struct Calls {
    texts: arrow::array::StringViewArray,
    patterns: arrow::array::StringViewArray,
    last: Option<(String, Option<Regex>)>,
}

impl Calls {
    fn of(args: &Args) -> DfResult<Calls> {
        Ok(Calls { texts: args.text(0)?, patterns: args.text(1)?, last: None })
    }

    /// The text and the regular expression of a row, which is `None` where the pattern is none; `None` for a NULL.
    fn get(&mut self, row: usize) -> Option<(&str, Option<&Regex>)> {
        let (text, pattern) = (value(&self.texts, row)?, value(&self.patterns, row)?);
        if self.last.as_ref().is_none_or(|(known, _)| known != pattern) {
            self.last = Some((pattern.to_owned(), Regex::new(pattern)));
        }
        Some((text, self.last.as_ref().and_then(|(_, regex)| regex.as_ref())))
    }
}

/// `REGEXP(text, pattern)`: does the pattern fit some part of the text? One that is none, or empty, fits nothing.
fn regexp(args: &Args) -> DfResult<ArrayRef> {
    let mut calls = Calls::of(args)?;
    let patterns = args.text(1)?;
    args.bools(|row| {
        let Some((text, regex)) = calls.get(row) else { return Ok(None) };
        let Some(regex) = regex.filter(|_| value(&patterns, row) != Some("")) else { return Ok(Some(false)) };
        let fits = match regex {
            Regex::Plain(regex) => regex.is_match(text),
            Regex::Looking(regex) => regex.is_match(text).map_err(|e| args.fault(e))?,
        };
        Ok(Some(fits))
    })
}

/// The group that a call asks for: `otherwise` when it says none; `None` for NULL and what is below 0.
fn group(groups: Option<&arrow::array::Int64Array>, row: usize, otherwise: usize) -> Option<usize> {
    match groups {
        Some(groups) => value(groups, row).and_then(|group| usize::try_from(group).ok()),
        None => Some(otherwise),
    }
}

/// `REGEXP_EXTRACT(text, pattern [, group])`: what the group of the first fit holds; group 0 is the whole. NULL where the
/// pattern is none, as in Flink.
fn regexp_extract(args: &Args) -> DfResult<ArrayRef> {
    let mut calls = Calls::of(args)?;
    let groups = if args.len() == 3 { Some(args.long(2)?) } else { None };
    args.texts(|row| {
        let (Some((text, Some(regex))), Some(group)) = (calls.get(row), group(groups.as_ref(), row, 0)) else { return Ok(None) };
        let mut first = None;
        let keep = |_, held: Option<&str>| {
            first = held.map(str::to_owned);
            false
        };
        regex.each(text, group, keep).map_err(|e| args.fault(e))?;
        Ok(first)
    })
}

/// `REGEXP_EXTRACT_ALL(text, pattern [, group])`: what the group holds in each fit; group 1 when left out.
fn regexp_extract_all(args: &Args) -> DfResult<ArrayRef> {
    let mut calls = Calls::of(args)?;
    let groups = if args.len() == 3 { Some(args.long(2)?) } else { None };
    let mut lists = ListBuilder::new(StringViewBuilder::new()).with_field(element());
    for row in 0..args.rows {
        let asked = group(groups.as_ref(), row, 1);
        match (calls.get(row), asked) {
            (Some((text, Some(regex))), Some(group)) if group <= regex.groups() => {
                let add = |_, held: Option<&str>| {
                    lists.values().append_option(held);
                    true
                };
                regex.each(text, group, add).map_err(|e| args.fault(e))?;
                lists.append(true);
            }
            _ => lists.append(false),
        }
    }
    Ok(Arc::new(lists.finish()))
}

/// `REGEXP_REPLACE(text, pattern, replacement)`: every fit, by the replacement as it stands. NULL where the pattern is none.
fn regexp_replace(args: &Args) -> DfResult<ArrayRef> {
    let (mut calls, replacements) = (Calls::of(args)?, args.text(2)?);
    args.texts(|row| {
        let (Some((text, Some(regex))), Some(replacement)) = (calls.get(row), value(&replacements, row)) else { return Ok(None) };
        let (mut replaced, mut behind) = (String::with_capacity(text.len()), 0);
        let replace = |fit: Range<usize>, _: Option<&str>| {
            replaced.push_str(&text[behind..fit.start]);
            replaced.push_str(replacement);
            behind = fit.end;
            true
        };
        regex.each(text, 0, replace).map_err(|e| args.fault(e))?;
        replaced.push_str(&text[behind..]);
        Ok(Some(replaced))
    })
}

/// `REGEXP_COUNT(text, pattern)`: how often it fits.
fn regexp_count(args: &Args) -> DfResult<ArrayRef> {
    let mut calls = Calls::of(args)?;
    args.numbers::<Int32Type>(|row| {
        let Some((text, Some(regex))) = calls.get(row) else { return Ok(None) };
        let mut count = 0;
        let add = |_, _: Option<&str>| {
            count += 1;
            true
        };
        regex.each(text, 0, add).map_err(|e| args.fault(e))?;
        Ok(Some(count))
    })
}

/// `REGEXP_INSTR(text, pattern)`: where the first fit begins, from 1; 0 when nowhere.
fn regexp_instr(args: &Args) -> DfResult<ArrayRef> {
    let mut calls = Calls::of(args)?;
    args.numbers::<Int32Type>(|row| {
        let Some((text, Some(regex))) = calls.get(row) else { return Ok(None) };
        let mut place = 0;
        let keep = |fit: Range<usize>, _: Option<&str>| {
            place = text[..fit.start].chars().count() as i32 + 1;
            false
        };
        regex.each(text, 0, keep).map_err(|e| args.fault(e))?;
        Ok(Some(place))
    })
}
