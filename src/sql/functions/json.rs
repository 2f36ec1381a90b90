//! Functions of JSON texts: `JSON_VALUE`, `JSON_QUERY`, `JSON_EXISTS` with paths such as `$.a.b[0]`, `lax $['a b']`, `$.a[*]`.

use std::fmt::Write as _;

use arrow::array::{ArrayRef, StringViewArray};
use datafusion::error::Result as DfResult;
use sonic_rs::{JsonType, JsonValueTrait as _, LazyValue, PointerNode};

use super::define::Kind::Text;
use super::define::{Args, Function, Returns, forms, value};
use super::to_json::{big_decimal, write_object, write_text};

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("json_value", forms![[Text, Text], [Text, Text, Text, Text]], Returns::Text, json_value),
        Function::new("json_query", forms![[Text, Text], [Text, Text, Text, Text, Text]], Returns::Text, json_query),
        Function::new("json_exists", forms![[Text, Text], [Text, Text, Text]], Returns::Bool, json_exists),
        Function::new("json_quote", forms![[Text]], Returns::Text, json_quote),
        Function::new("json_unquote", forms![[Text]], Returns::Text, json_unquote),
        Function::new("is_json", forms![[Text], [Text, Text]], Returns::Bool, is_json),
    ]
}

/// A path, and whether what it misses is empty (`lax`) or an error (`strict`, also when neither is said, as in Flink).
struct Path {
    /// The steps to one value.
    nodes: Vec<PointerNode>,
    /// Those from the first `*` on: they lead to many.
    spread: Vec<Step>,
    lax: bool,
}

enum Step {
    Node(PointerNode),
    /// `[*]`, `.*`: all that an array or an object holds.
    All,
}

/// What stands at a path.
enum Found<'t> {
    One(LazyValue<'t>),
    Many(Vec<LazyValue<'t>>),
}

impl Path {
    fn find<'t>(&self, text: &'t str) -> Option<Found<'t>> {
        let one = sonic_rs::get(text, &self.nodes).ok()?;
        if self.spread.is_empty() {
            return Some(Found::One(one));
        }
        if !one.is_object() && !one.is_array() {
            return None;
        }
        let mut values = vec![one];
        for step in &self.spread {
            let mut next = Vec::new();
            for value in values {
                step.of(value, &mut next);
            }
            values = next;
        }
        Some(Found::Many(values))
    }
}

impl Step {
    /// Adds what this step finds in `value`.
    fn of<'t>(&self, value: LazyValue<'t>, found: &mut Vec<LazyValue<'t>>) {
        if value.is_object() {
            for (key, held) in value.into_object_iter().into_iter().flatten().flatten() {
                match self {
                    Step::Node(PointerNode::Key(wanted)) if wanted.as_str() != key => {}
                    Step::Node(PointerNode::Index(_)) => {}
                    Step::Node(PointerNode::Key(_)) | Step::All => found.push(held),
                }
            }
        } else if value.is_array() {
            for (at, held) in value.into_array_iter().into_iter().flatten().flatten().enumerate() {
                match self {
                    Step::Node(PointerNode::Index(wanted)) if *wanted == at => found.push(held),
                    Step::All => found.push(held),
                    Step::Node(_) => {}
                }
            }
        }
    }
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
    fn get<'t>(&self, args: &Args, row: usize, text: &'t str) -> DfResult<Option<(Option<Found<'t>>, bool)>> {
        let find = |path: &Path| (path.find(text), path.lax);
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
    let wrong = |why: &str| format!("the path '{text}' {why}; paths look like $.a.b[0], $['a b'] or $.a[*]");
    let trimmed = text.trim();
    let lax = trimmed.starts_with("lax ");
    let trimmed = trimmed.strip_prefix("lax ").or_else(|| trimmed.strip_prefix("strict ")).unwrap_or(trimmed).trim();
    let mut rest = trimmed.strip_prefix('$').ok_or_else(|| wrong("does not begin with $"))?;
    let (mut nodes, mut spread) = (Vec::new(), Vec::new());
    let mut add = |step| match step {
        Step::Node(node) if spread.is_empty() => nodes.push(node),
        step => spread.push(step),
    };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (key, after) = after.split_at(end);
            match key {
                "" => return Err(wrong("has a step that is not supported")),
                "*" => add(Step::All),
                key => add(Step::Node(PointerNode::from(key))),
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (step, after) = after.split_once(']').ok_or_else(|| wrong("has a [ that is not closed"))?;
            let step = step.trim();
            let quoted = step.strip_prefix('\'').and_then(|s| s.strip_suffix('\'')).or_else(|| step.strip_prefix('"')?.strip_suffix('"'));
            add(match (quoted, step) {
                (Some(key), _) => Step::Node(PointerNode::from(key)),
                (None, "*") => Step::All,
                (None, step) => {
                    let index = step.parse::<usize>().map_err(|_| wrong("has a step that is not supported"))?;
                    Step::Node(PointerNode::from(index))
                }
            });
            rest = after;
        } else {
            return Err(wrong("has a step that is not supported"));
        }
    }
    Ok(Path { nodes, spread, lax })
}

/// `JSON_VALUE(json, path [, on empty, on error])`: a scalar as text. Anything else (null, an object, an array, nothing, no
/// JSON at all) is empty where the path is lax, otherwise an error; both are NULL unless said otherwise.
fn json_value(args: &Args) -> DfResult<ArrayRef> {
    let (texts, paths) = (args.text(0)?, Paths::of(args)?);
    let instead = if args.len() == 4 { Some((args.text(2)?, args.text(3)?)) } else { None };
    args.texts(|row| {
        let Some((found, lax)) = value(&texts, row).map(|text| paths.get(args, row, text)).transpose()?.flatten() else { return Ok(None) };
        let scalar = found.and_then(|found| match found {
            Found::One(v) => match v.get_type() {
                JsonType::String => v.as_str().map(str::to_owned),
                JsonType::Number => Some(number(v.as_raw_str())),
                JsonType::Boolean => Some(v.as_raw_str().to_owned()),
                _ => None,
            },
            Found::Many(_) => None,
        });
        Ok(scalar.or_else(|| {
            let (empty, error) = instead.as_ref()?;
            value(if lax { empty } else { error }, row).map(str::to_owned)
        }))
    })
}

/// `json_query(json, path [, wrapper, on empty, on error])`: an object or an array as JSON without blanks, its keys in
/// order. Anything else is empty where the path is lax, otherwise an error; a wrapper makes an array of what is no array
/// (CONDITIONAL), or of everything (UNCONDITIONAL).
fn json_query(args: &Args) -> DfResult<ArrayRef> {
    let (texts, paths) = (args.text(0)?, Paths::of(args)?);
    let wrapper = args.constant_text(2);
    args.texts(|row| {
        let Some(text) = value(&texts, row) else { return Ok(None) };
        let Some((found, lax)) = paths.get(args, row, text)? else { return Ok(None) };
        let json = found.and_then(|found| {
            let (json, is_array, is_scalar) = match found {
                Found::One(one) => {
                    if one.is_null() {
                        return None;
                    }
                    let (is_array, is_scalar) = (one.is_array(), !one.is_array() && !one.is_object());
                    let mut json = String::new();
                    write_json(one, 0, &mut json)?;
                    (json, is_array, is_scalar)
                }
                Found::Many(values) => {
                    let mut json = String::new();
                    write_array(values.into_iter().map(Ok::<_, sonic_rs::Error>), 0, &mut json)?;
                    (json, true, false)
                }
            };
            match wrapper {
                Some("UNCONDITIONAL") => Some(format!("[{json}]")),
                Some("CONDITIONAL") if !is_array => Some(format!("[{json}]")),
                _ => (!is_scalar).then_some(json),
            }
        });
        Ok(json.or_else(|| args.constant_text(if lax { 3 } else { 4 }).map(str::to_owned)))
    })
}

/// How deep JSON may nest, as in Flink.
const DEEPEST: usize = 1000;

/// Writes `json` without blanks, its keys in order, its numbers as Java's; `None` where it is no JSON.
fn write_json(json: LazyValue, depth: usize, out: &mut String) -> Option<()> {
    if depth > DEEPEST {
        return None;
    }
    match json.get_type() {
        JsonType::Object => {
            let mut entries = Vec::new();
            for entry in json.into_object_iter()? {
                let (key, held) = entry.ok()?;
                let mut text = String::new();
                write_json(held, depth + 1, &mut text)?;
                entries.push((key.to_string(), text));
            }
            write_object(entries, out);
        }
        JsonType::Array => write_array(json.into_array_iter()?, depth, out)?,
        JsonType::String => write_text(json.as_str()?, out),
        JsonType::Number => out.push_str(&number(json.as_raw_str())),
        _ => out.push_str(json.as_raw_str()),
    }
    Some(())
}

fn write_array<'t, E>(values: impl Iterator<Item = Result<LazyValue<'t>, E>>, depth: usize, out: &mut String) -> Option<()> {
    out.push('[');
    for (at, held) in values.enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_json(held.ok()?, depth + 1, out)?;
    }
    out.push(']');
    Some(())
}

/// A number's text: an integer as it is.
fn number(text: &str) -> String {
    if text.contains(['.', 'e', 'E']) { big_decimal(text) } else { text.to_owned() }
}

/// `json_exists(json, path [, on error])`: is there something else than null? What a path that is not lax misses is an
/// error, which is FALSE unless said otherwise.
fn json_exists(args: &Args) -> DfResult<ArrayRef> {
    let (texts, paths) = (args.text(0)?, Paths::of(args)?);
    let on_error = match args.constant_text(2) {
        Some("TRUE") => Some(true),
        Some("UNKNOWN") => None,
        _ => Some(false),
    };
    args.bools(|row| {
        let Some(text) = value(&texts, row) else { return Ok(None) };
        Ok(match paths.get(args, row, text)? {
            Some((Some(Found::One(one)), _)) => Some(!one.is_null()),
            Some((Some(Found::Many(_)), _)) => Some(true),
            Some((None, false)) => on_error,
            _ => Some(false),
        })
    })
}

/// `JSON_QUOTE(text)`: as a JSON text of ASCII characters only.
fn json_quote(args: &Args) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    args.texts(|row| {
        Ok(value(&texts, row).map(|text| {
            let mut quoted = String::with_capacity(text.len() + 2);
            quoted.push('"');
            for c in text.chars() {
                match c {
                    '"' | '\\' | '/' => quoted.extend(['\\', c]),
                    '\u{8}' => quoted.push_str("\\b"),
                    '\u{c}' => quoted.push_str("\\f"),
                    '\n' => quoted.push_str("\\n"),
                    '\r' => quoted.push_str("\\r"),
                    '\t' => quoted.push_str("\\t"),
                    c if c.is_ascii() => quoted.push(c),
                    c => {
                        for unit in c.encode_utf16(&mut [0; 2]) {
                            // Writing to a text cannot fail.
                            _ = write!(quoted, "\\u{unit:04x}");
                        }
                    }
                }
            }
            quoted.push('"');
            quoted
        }))
    })
}

/// `JSON_UNQUOTE(text)`: what a JSON text says; any other text as it is.
fn json_unquote(args: &Args) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    args.texts(|row| Ok(value(&texts, row).map(|text| unquoted(text).unwrap_or_else(|| text.to_owned()))))
}

fn unquoted(text: &str) -> Option<String> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    // A JSON text must stand at the begin; what follows it Flink does not look at.
    serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>().next()?.ok()?;
    let (mut units, mut chars) = (Vec::with_capacity(inside.len()), inside.chars());
    while let Some(c) = chars.next() {
        let said = match c {
            '\\' => match chars.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    units.push(u16::from_str_radix(chars.as_str().get(..4)?, 16).ok()?);
                    chars.nth(3);
                    continue;
                }
                c => c,
            },
            c => c,
        };
        units.extend_from_slice(said.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&units))
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
