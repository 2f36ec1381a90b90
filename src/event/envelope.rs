//! The envelope of an event and what makes it valid.
//!
//! Two readings. CloudEvents 1.0.2 is liberal in the type and the payload and strict in attribute names and values. The
//! standard asks for a dotted type with a capital at the end, an absolute source, a time and an object as data, and has
//! a `metadata` object that CloudEvents has no type for. Our door takes what is valid under both, after lifting that
//! object to extension attributes.

use serde_json::{Map, Value};

use super::{ATTRIBUTES, LIFTED, media_type, uri};
use crate::time::text::rfc3339;

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// CloudEvents 1.0.2, JSON event format.
    CloudEvents,
    /// The stricter standard.
    Standard,
}

/// An event that our door takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Valid as it is.
    Accepted,
    /// Valid once its `metadata` object is lifted to extension attributes.
    Lifted,
}

/// Is the event valid under both readings? `Err` says what is wrong.
pub fn judge(event: &Map<String, Value>) -> Result<Validity, String> {
    check(event, Reading::Standard)?;
    let mut event = event.clone();
    let lifted = lift_metadata(&mut event);
    check(&event, Reading::CloudEvents)?;
    Ok(if lifted { Validity::Lifted } else { Validity::Accepted })
}

/// Turns the standard's `metadata` object into extension attributes; an attribute that is there already stays. False when
/// there is no such object, or one with anything but texts under the known names.
pub fn lift_metadata(event: &mut Map<String, Value>) -> bool {
    let Some(Value::Object(metadata)) = event.get("metadata") else { return false };
    let known = |name: &str| LIFTED.iter().any(|(from, _)| *from == name);
    if !metadata.iter().all(|(name, value)| known(name) && value.is_string()) {
        return false;
    }
    let Some(Value::Object(mut metadata)) = event.remove("metadata") else { return false };
    for (from, to) in LIFTED {
        if let Some(value) = metadata.remove(from) {
            event.entry(to).or_insert(value);
        }
    }
    true
}

/// Is the event valid under one reading? `Err` names the attribute, its value and what was expected.
pub fn check(event: &Map<String, Value>, reading: Reading) -> Result<(), String> {
    match reading {
        Reading::CloudEvents => check_cloudevents(event),
        Reading::Standard => check_standard(event),
    }
}

/// `shop.order.OrderCreated`: lower-case segments, then a name that begins with a capital.
pub fn is_type_of_standard(text: &str) -> bool {
    let Some((domain, name)) = text.rsplit_once('.') else { return false };
    let segment = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    domain.split('.').all(segment)
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// May an event of the standard have this source? It is an absolute URI.
pub fn is_source_of_standard(source: &str) -> bool {
    uri::is_absolute(source)
}

/// The text of an attribute that must be there.
fn text<'a>(event: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match event.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("attribute '{name}' is {other}, expected a text")),
        None => Err(format!("attribute '{name}' is missing")),
    }
}

fn expect(name: &str, value: &str, holds: bool, expected: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("attribute '{name}' is {value:?}, expected {expected}")) }
}

fn is_time(text: &str) -> bool {
    rfc3339(text.as_bytes(), arrow::datatypes::TimeUnit::Second).is_some()
}

fn check_standard(event: &Map<String, Value>) -> Result<(), String> {
    let specversion = text(event, "specversion")?;
    expect("specversion", specversion, specversion == "1.0", "\"1.0\"")?;
    let kind = text(event, "type")?;
    expect("type", kind, is_type_of_standard(kind), "lower-case segments and a capitalised name, as in shop.order.OrderCreated")?;
    let source = text(event, "source")?;
    expect("source", source, is_source_of_standard(source), "an absolute URI")?;
    text(event, "id")?;
    let time = text(event, "time")?;
    expect("time", time, is_time(time), "an RFC 3339 timestamp")?;
    match event.get("data") {
        Some(Value::Object(_)) => {}
        Some(other) => return Err(format!("data is {}, expected an object", abridged(other))),
        None => return Err("data is missing".to_owned()),
    }
    for name in ["subject", "datacontenttype"] {
        if event.contains_key(name) {
            text(event, name)?;
        }
    }
    match event.get("metadata") {
        None => Ok(()),
        Some(Value::Object(metadata)) => {
            match LIFTED.iter().find(|(name, _)| metadata.get(*name).is_some_and(|value| !value.is_string())) {
                Some((name, _)) => Err(format!("metadata.{name} is {}, expected a text", metadata[*name])),
                None => Ok(()),
            }
        }
        Some(other) => Err(format!("metadata is {}, expected an object", abridged(other))),
    }
}

fn check_cloudevents(event: &Map<String, Value>) -> Result<(), String> {
    let specversion = text(event, "specversion")?;
    expect("specversion", specversion, specversion == "1.0", "\"1.0\"")?;
    for name in ["type", "source", "id"] {
        let value = text(event, name)?;
        expect(name, value, !value.is_empty(), "a text that is not empty")?;
    }
    for (name, value) in event {
        match (name.as_str(), value) {
            ("data", _) => {}
            ("data_base64", Value::String(_)) if event.contains_key("data") => {
                return Err("data and data_base64 exclude each other".to_owned());
            }
            ("data_base64", Value::String(text)) => expect(name, text, is_base64(text), "base64")?,
            // An attribute that is null is not set.
            (_, Value::Null) if name != "data_base64" => check_name(name)?,
            (name, Value::String(text)) => {
                check_name(name)?;
                expect(name, text, text.chars().all(is_permitted), "a text without control characters")?;
                check_attribute(name, text)?;
            }
            (name, value) if ATTRIBUTES.contains(&name) => {
                return Err(format!("attribute '{name}' is {}, expected a text", abridged(value)));
            }
            (name, Value::Bool(_)) => check_name(name)?,
            (name, Value::Number(number)) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => {
                check_name(name)?;
            }
            (name, value) => {
                check_name(name)?;
                let expected = "a text, a truth value or a whole number of 32 bits";
                return Err(format!("attribute '{name}' is {}, expected {expected}", abridged(value)));
            }
        }
    }
    Ok(())
}

/// Checks the form of an attribute whose form is laid down.
fn check_attribute(name: &str, text: &str) -> Result<(), String> {
    match name {
        "source" => expect(name, text, uri::is_reference(text), "a URI reference"),
        "subject" => expect(name, text, !text.is_empty(), "a text that is not empty"),
        "time" => expect(name, text, is_time(text), "an RFC 3339 timestamp"),
        "datacontenttype" => expect(name, text, media_type::is_media_type(text), "a media type"),
        "dataschema" => expect(name, text, uri::is_absolute(text), "an absolute URI"),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let holds = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if holds { Ok(()) } else { Err(format!("attribute name '{name}': expected lower-case letters and digits only")) }
}

/// May the character stand in a CloudEvents string? No control characters, no noncharacters.
fn is_permitted(char: char) -> bool {
    !char.is_control() && !matches!(u32::from(char), 0xfdd0..=0xfdef) && u32::from(char) & 0xfffe != 0xfffe
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

/// A value for a message, cut when it is long.
fn abridged(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    if text.chars().count() > MOST { text.chars().take(MOST).chain(['…']).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gathered from the specification, its conformance suite and JSON Schema's test suite: an event or a raw text, with
    /// the verdict of both readings and of our door.
    const CASES: &str = include_str!("../../tests/cases/cloudevents.jsonl");

    #[test]
    fn every_case_gets_its_verdicts() {
        let mut count = 0;
        for line in CASES.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let text = case["raw"].as_str().map_or_else(|| case["event"].to_string(), str::to_owned);
            let parsed = serde_json::from_str::<Map<String, Value>>(&text);
            let verdict = |reading| match &parsed {
                Ok(event) if check(event, reading).is_ok() => "valid",
                _ => "invalid",
            };
            let door = match parsed.as_ref().map(judge) {
                Ok(Ok(Validity::Accepted)) => "accept",
                Ok(Ok(Validity::Lifted)) => "accept_lifted",
                _ => "reject",
            };
            let id = case["id"].as_str().unwrap();
            assert_eq!(verdict(Reading::CloudEvents), case["ce_1_0_2"], "{id}");
            assert_eq!(door, case["contract"], "{id}");
            // A lone surrogate passes a JSON Schema, but is no text: our parser refuses it before any reading.
            if id != "CE108" {
                assert_eq!(verdict(Reading::Standard), case["standard"], "{id}");
            }
            count += 1;
        }
        assert!(count >= 73, "{count} cases");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let event = |patch: &str| -> Map<String, Value> {
            let mut event: Map<String, Value> = serde_json::from_str(
                r#"{"specversion":"1.0","type":"a.B","source":"urn:x","id":"1","time":"2025-01-15T10:30:00Z","data":{}}"#,
            )
            .unwrap();
            event.append(&mut serde_json::from_str(patch).unwrap());
            event
        };
        for (patch, wanted) in [
            (r#"{"source":"x y"}"#, "attribute 'source' is \"x y\", expected an absolute URI"),
            (r#"{"time":7}"#, "attribute 'time' is 7, expected a text"),
            (r#"{"data":null}"#, "data is null, expected an object"),
            (r#"{"myExt":"x"}"#, "attribute name 'myExt': expected lower-case letters and digits only"),
            (r#"{"metadata":{"version":1}}"#, "metadata.version is 1, expected a text"),
        ] {
            assert_eq!(judge(&event(patch)), Err(wanted.to_owned()));
        }
    }

    #[test]
    fn lifting_keeps_what_is_there() {
        let mut event: Map<String, Value> =
            serde_json::from_str(r#"{"metadata":{"correlationId":"a","version":"1"},"correlationid":"b"}"#).unwrap();
        assert!(lift_metadata(&mut event));
        assert_eq!(Value::Object(event).to_string(), r#"{"correlationid":"b","dataversion":"1"}"#);
    }
}
