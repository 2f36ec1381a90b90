//! `SIMILAR TO`: patterns between LIKE and regular expressions.

use arrow::array::ArrayRef;
use datafusion::error::Result as DfResult;
use regex::Regex;

use super::define::Kind::Text;
use super::define::{Args, Function, Returns, forms, value};

pub(super) fn functions() -> Vec<Function> {
    vec![Function::new("similar_to", forms![[Text, Text], [Text, Text, Text]], Returns::Bool, similar_to)]
}

/// `text SIMILAR TO pattern [ESCAPE escape]`: does the pattern fit the whole text? The last pattern's regular expression is
/// kept: mostly it is constant.
fn similar_to(args: &Args) -> DfResult<ArrayRef> {
    let (texts, patterns) = (args.text(0)?, args.text(1)?);
    let escapes = if args.len() == 3 { Some(args.text(2)?) } else { None };
    let mut last: Option<(&str, Option<char>, Regex)> = None;
    args.bools(|row| {
        let (Some(text), Some(pattern)) = (value(&texts, row), value(&patterns, row)) else { return Ok(None) };
        let escape = match &escapes {
            Some(escapes) => match value(escapes, row) {
                Some(escape) => escape.chars().next(),
                None => return Ok(None),
            },
            None => None,
        };
        if let Some((known, known_escape, regex)) = &last
            && (*known, *known_escape) == (pattern, escape)
        {
            return Ok(Some(regex.is_match(text)));
        }
        let fault = |what: &dyn std::fmt::Display| args.fault(format!("pattern '{pattern}': {what}"));
        let regex = Regex::new(&as_regex(pattern, escape).map_err(|what| fault(&what))?).map_err(|e| fault(&e))?;
        let similar = regex.is_match(text);
        last = Some((pattern, escape, regex));
        Ok(Some(similar))
    })
}

/// The regular expression of a pattern: `%` and `_` as in LIKE; alternatives, groups, repetitions and sets of characters are the
/// same in both. As in Flink a point stands for any character, too.
fn as_regex(pattern: &str, escape: Option<char>) -> Result<String, &'static str> {
    let mut regex = String::with_capacity(pattern.len() + 16);
    regex.push_str(r"\A(?:");
    let mut chars = pattern.chars();
    let mut in_set = false;
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            let escaped = chars.next().ok_or("it ends with the escape character")?;
            regex.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
            continue;
        }
        match c {
            '_' if !in_set => regex.push('.'),
            '%' if !in_set => regex.push_str("(?s:.*)"),
            '[' | ']' => {
                in_set = c == '[';
                regex.push(c);
            }
            '$' | '\\' => regex.extend(['\\', c]),
            other => regex.push(other),
        }
    }
    regex.push_str(r")\z");
    Ok(regex)
}
