//! Places in SQL text: from sqlparser's and DataFusion's spans to `file:line:col`.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use crate::error::{Error, Kind, Place, did_you_mean};

/// Where `span` begins in `file`; the whole file when the parser knew no better.
pub fn of_span(file: &str, span: Span) -> Place {
    of_location(file, span.start)
}

/// A spot in `file`; line 0 means that the parser knew no better.
pub fn of_location(file: &str, at: Location) -> Place {
    if at.line == 0 { Place::thing(file) } else { Place::text(file, at.line, at.column) }
}

/// What the parser says, with its place moved from the text to where places belong. `end`: where the statement ends.
pub fn of_parser(file: &str, error: ParserError, end: &Place) -> Error {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => return Error::input("the statement is nested too deeply").at(end.clone()),
    };
    match text.rsplit_once(" at Line: ") {
        Some((text, location)) => {
            let mut numbers = location.split(", Column: ").filter_map(|n| n.trim().parse().ok());
            let place = match (numbers.next(), numbers.next()) {
                (Some(line), Some(col)) if line > 0 => Place::text(file, line, col),
                _ => end.clone(),
            };
            Error::input(sentence(text)).at(place)
        }
        None => Error::input(sentence(&text)).at(end.clone()),
    }
}

/// `Expected: x, found: y` in our words.
fn sentence(text: &str) -> String {
    match text.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: ")) {
        Some((wanted, "EOF")) => format!("expected {wanted}, but the statement ends here"),
        Some((wanted, found)) => format!("expected {wanted}, found {found}"),
        None => text.to_owned(),
    }
}

/// What DataFusion's planner says about a text of `file`, with its place where it knows one and the nearest match.
pub fn of_planner(file: &str, error: DataFusionError) -> Error {
    let span = error.diagnostic().and_then(|d| d.span);
    let error = match unknown_column(&error) {
        Some(text) => Error::input(text),
        None => Error::from(plain(error)),
    };
    let error = match error.kind() {
        // Nothing runs while a text is planned: whatever fails is the text's fault.
        Kind::Row | Kind::Failed => Error::input(error.message()),
        _ => error,
    };
    // A relation planner knows line and column, but not the file.
    let error = error.in_file(file);
    match span {
        Some(span) if span.start.line > 0 => error.at(Place::text(file, span.start.line, span.start.column)),
        _ => error,
    }
}

/// The error without the names of planning steps around it, and without DataFusion's frame around what a function of
/// ours says about its arguments.
fn plain(error: DataFusionError) -> DataFusionError {
    const BEFORE: &str = "user-defined coercion failed with: Error during planning: ";
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => plain(*inner),
        DataFusionError::Plan(text) if text.starts_with("Invalid function '") => DataFusionError::Plan(unknown_function(&text)),
        DataFusionError::Plan(text) | DataFusionError::Execution(text) => {
            let inner = text.split_once(BEFORE).map(|(_, inner)| inner.split(" No function matches").next().unwrap_or(inner));
            DataFusionError::Plan(inner.map_or_else(|| text.clone(), |t| t.trim_end_matches('.').to_owned()))
        }
        other => other,
    }
}

/// `Invalid function 'x'.\nDid you mean 'y'?` in our words.
fn unknown_function(text: &str) -> String {
    let mut quoted = text.split('\'').skip(1).step_by(2);
    let (name, near) = (quoted.next().unwrap_or_default(), quoted.next().unwrap_or_default());
    let upper = name.to_uppercase();
    match upper.trim_end_matches("_START").trim_end_matches("_END").trim_end_matches("_ROWTIME") {
        "TUMBLE" | "HOP" | "SESSION" => format!(
            "{upper}(…) among expressions is not supported; use the table function: FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end"
        ),
        _ => format!("no function '{name}'{}", did_you_mean(name, [near])),
    }
}

fn unknown_column(error: &DataFusionError) -> Option<String> {
    let mut error = error;
    loop {
        match error {
            DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => error = inner,
            DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let names: Vec<String> = valid_fields.iter().map(|c| c.name.clone()).collect();
                    let table = field.relation.as_ref().map(|r| format!(" in '{r}'")).unwrap_or_default();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    return Some(format!("no column '{}'{table}{}", field.name, near_or_all(&field.name, &names)));
                }
                SchemaError::AmbiguousReference { field } => {
                    return Some(format!("column '{}' could be of more than one table; name the table", field.name));
                }
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// The name nearest to `wanted`, or all that there are when none is near.
pub fn near_or_all(wanted: &str, names: &[&str]) -> String {
    let hint = did_you_mean(wanted, names.iter().copied());
    match (hint.is_empty(), names.is_empty()) {
        (true, false) => format!("; there are {}", names.join(", ")),
        _ => hint,
    }
}
