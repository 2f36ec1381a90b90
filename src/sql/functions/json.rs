//! Functions of JSON texts: `JSON_VALUE`, `JSON_QUERY`, `JSON_EXISTS` with paths such as `$.a.b[0]`, `lax $['a b']`.

use arrow::array::{ArrayRef, StringViewArray};
use datafusion::error::Result as DfResult;
use sonic_rs::{JsonType, JsonValueTrait as _, LazyValue, PointerNode};

use super::define::Kind::Text;
use super::define::{Args, Function, Returns, forms, value};

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("json_value", forms![[Text, Text], [Text, Text, Text, Text]], Returns::Text, json_value),
        Function::new("json_query", forms![[Text, Text]], Returns::Text, json_query),
        Function::new("json_exists", forms![[Text, Text]], Returns::Bool, json_exists),
        Function::new("is_json", forms![[Text], [Text, Text]], Returns::Bool, is_json),
    ]
}

/// A path, and whether what it misses is empty (`lax`) or an error (`strict`, also when neither is said, as in Flink).
struct Path {
    nodes: Vec<PointerNode>,
    lax: bool,
}

/// The paths of a call: read once when constant.
enum Paths {
    One(Path),
    ByRow(StringViewArray),
}

impl Paths {
    fn of(args: &Args) -> DfResult<Paths> {
        Ok(match args.constant_text(1) {
            Some(text) => Paths::One(path(text).map_err(|e| args.fault(e))?),
            None => Paths::ByRow(args.text(1)?),
        })
    }

    /// What stands at the path of a row, if anything, and whether the path is lax; `None` for a path that is NULL.
    fn get<'t>(&self, args: &Args, row: usize, text: &'t str) -> DfResult<Option<(Option<LazyValue<'t>>, bool)>> {
        let find = |path: &Path| (sonic_rs::get(text, &path.nodes).ok(), path.lax);
        Ok(match self {
            Paths::One(path) => Some(find(path)),
            Paths::ByRow(paths) => match value(paths, row) {
                Some(text_of_path) => Some(find(&path(text_of_path).map_err(|e| args.fault(e))?)),
                None => None,
            },
        })
    }
}

fn is_json_text(text: &str) -> bool {
    sonic_rs::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn path(text: &str) -> Result<Path, String> {
    let wrong = |why: &str| format!("the path '{text}' {why}; paths look like $.a.b[0] or $['a b']");
    let trimmed = text.trim();
    let lax = trimmed.starts_with("lax ");
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
    Ok(Path { nodes, lax })
}

/// `JSON_VALUE(json, path [, on empty, on error])`: a scalar as text. Anything else (null, an object, an array, nothing, no
/// JSON at all) is empty where the path is lax, otherwise an error; both are NULL unless said otherwise.
fn json_value(args: &Args) -> DfResult<ArrayRef> {
    let (texts, paths) = (args.text(0)?, Paths::of(args)?);
    let instead = if args.len() == 4 { Some((args.text(2)?, args.text(3)?)) } else { None };
    args.texts(|row| {
        let Some((found, lax)) = value(&texts, row).map(|text| paths.get(args, row, text)).transpose()?.flatten() else { return Ok(None) };
        let scalar = found.and_then(|v| match v.get_type() {
            JsonType::String => v.as_str().map(str::to_owned),
            JsonType::Number | JsonType::Boolean => Some(v.as_raw_str().to_owned()),
            _ => None,
        });
        Ok(scalar.or_else(|| {
            let (empty, error) = instead.as_ref()?;
            value(if lax { empty } else { error }, row).map(str::to_owned)
        }))
    })
}

/// `JSON_QUERY(json, path)`: an object or an array as JSON without blanks; NULL for anything else.
fn json_query(args: &Args) -> DfResult<ArrayRef> {
    let (texts, paths) = (args.text(0)?, Paths::of(args)?);
    args.texts(|row| {
        let Some(text) = value(&texts, row) else { return Ok(None) };
        Ok(match paths.get(args, row, text)? {
            Some((Some(v), _)) if v.is_object() || v.is_array() => {
                sonic_rs::from_str::<sonic_rs::Value>(v.as_raw_str()).ok().map(|v| v.to_string())
            }
            _ => None,
        })
    })
}

/// `JSON_EXISTS(json, path)`.
fn json_exists(args: &Args) -> DfResult<ArrayRef> {
    let (texts, paths) = (args.text(0)?, Paths::of(args)?);
    args.bools(|row| match value(&texts, row) {
        Some(text) => Ok(Some(matches!(paths.get(args, row, text)?, Some((Some(_), _))))),
        None => Ok(None),
    })
}

/// `is_json(text [, kind])`, which is what `text IS JSON [kind]` becomes; a NULL is none.
fn is_json(args: &Args) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    let kind = if args.len() == 2 { args.constant_text(1).unwrap_or("VALUE") } else { "VALUE" };
    args.bools(|row| {
        Ok(Some(value(&texts, row).is_some_and(|text| {
            let first = text.trim_start().chars().next();
            let of_kind = match kind {
                "ARRAY" => first == Some('['),
                "OBJECT" => first == Some('{'),
                "SCALAR" => !matches!(first, Some('[' | '{')),
                _ => true,
            };
            of_kind && is_json_text(text)
        })))
    })
}
