//! Functions of JSON texts: `JSON_VALUE`, `JSON_QUERY`, `JSON_EXISTS` with paths such as `$.a.b[0]`, `lax $['a b']`.

use arrow::array::{ArrayRef, StringViewArray};
use datafusion::error::Result as DfResult;
use sonic_rs::{JsonType, JsonValueTrait as _, LazyValue, PointerNode};

use super::define::Kind::Text;
use super::define::{Args, Function, Returns, forms, value};

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("json_value", forms![[Text, Text]], Returns::Text, json_value),
        Function::new("json_query", forms![[Text, Text]], Returns::Text, json_query),
        Function::new("json_exists", forms![[Text, Text]], Returns::Bool, json_exists),
        Function::new("is_json", forms![[Text]], Returns::Bool, is_json),
    ]
}

/// The paths of a call: read once when constant.
enum Paths {
    One(Vec<PointerNode>),
    ByRow(StringViewArray),
}

impl Paths {
    fn of(args: &Args) -> DfResult<Paths> {
        Ok(match args.constant_text(1) {
            Some(text) => Paths::One(path(text).map_err(|e| args.fault(e))?),
            None => Paths::ByRow(args.text(1)?),
        })
    }

    /// What stands at the path of a row; `None` when there is nothing or the text is no JSON.
    fn get<'t>(&self, args: &Args, row: usize, text: &'t str) -> DfResult<Option<LazyValue<'t>>> {
        Ok(match self {
            Paths::One(path) => sonic_rs::get(text, path).ok(),
            Paths::ByRow(paths) => match value(paths, row) {
                Some(text_of_path) => sonic_rs::get(text, &path(text_of_path).map_err(|e| args.fault(e))?).ok(),
                None => None,
            },
        })
    }
}

fn path(text: &str) -> Result<Vec<PointerNode>, String> {
    let wrong = |why: &str| format!("the path '{text}' {why}; paths look like $.a.b[0] or $['a b']");
    let trimmed = text.trim();
    let trimmed = trimmed.strip_prefix("lax ").or_else(|| trimmed.strip_prefix("strict ")).unwrap_or(trimmed).trim();
    let mut rest = trimmed.strip_prefix('$').ok_or_else(|| wrong("does not begin with $"))?;
    let mut nodes = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (key, after) = after.split_at(end);
            if key.is_empty() || key == "*" {
                return Err(wrong("has a step that is not supported"));
            }
            nodes.push(PointerNode::from(key));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (step, after) = after.split_once(']').ok_or_else(|| wrong("has a [ that is not closed"))?;
            let step = step.trim();
            let quoted = step.strip_prefix('\'').and_then(|s| s.strip_suffix('\'')).or_else(|| step.strip_prefix('"')?.strip_suffix('"'));
            nodes.push(match quoted {
                Some(key) => PointerNode::from(key),
                None => PointerNode::from(step.parse::<usize>().map_err(|_| wrong("has a step that is not supported"))?),
            });
            rest = after;
        } else {
            return Err(wrong("has a step that is not supported"));
        }
    }
    Ok(nodes)
}

/// `JSON_VALUE(json, path)`: a scalar as text; NULL for null, objects, arrays, nothing, and what is no JSON.
fn json_value(args: &Args) -> DfResult<ArrayRef> {
    let (texts, paths) = (args.text(0)?, Paths::of(args)?);
    args.texts(|row| {
        let Some(text) = value(&texts, row) else { return Ok(None) };
        let found = paths.get(args, row, text)?;
        Ok(found.and_then(|v| match v.get_type() {
            JsonType::String => v.as_str().map(str::to_owned),
            JsonType::Number | JsonType::Boolean => Some(v.as_raw_str().to_owned()),
            _ => None,
        }))
    })
}

/// `JSON_QUERY(json, path)`: an object or an array as JSON; NULL for anything else.
fn json_query(args: &Args) -> DfResult<ArrayRef> {
    let (texts, paths) = (args.text(0)?, Paths::of(args)?);
    args.texts(|row| {
        let Some(text) = value(&texts, row) else { return Ok(None) };
        let found = paths.get(args, row, text)?;
        Ok(found.filter(|v| v.is_object() || v.is_array()).map(|v| v.as_raw_str().to_owned()))
    })
}

/// `JSON_EXISTS(json, path)`.
fn json_exists(args: &Args) -> DfResult<ArrayRef> {
    let (texts, paths) = (args.text(0)?, Paths::of(args)?);
    args.bools(|row| match value(&texts, row) {
        Some(text) => Ok(Some(paths.get(args, row, text)?.is_some())),
        None => Ok(None),
    })
}

fn is_json(args: &Args) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    args.bools(|row| Ok(Some(value(&texts, row).is_some_and(|t| sonic_rs::from_str::<serde::de::IgnoredAny>(t).is_ok()))))
}
