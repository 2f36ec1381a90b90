//! Binary mode: the attributes travel as headers, the record is the data alone.
//!
//! ```text
//!  ce_type: shop.order.OrderCreated   ce_id: o-1   content-type: application/json     {"orderId":"o-1"}
//!                         │ read as                                                          │
//!  {"specversion":"1.0","type":"shop.order.OrderCreated","id":"o-1", … ,"data":{"orderId":"o-1"}}
//! ```
//! Headers are called `ce_…` on Kafka, `cloudEvents_…` or `cloudEvents:…` on AMQP. A record whose content type begins
//! with `application/cloudevents` is structured whatever its headers say; one without a `specversion` among its headers
//! is, too. So that both modes are judged alike, a binary event is put into its envelope before it is read.

use base64::Engine as _;
use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::error::{Error, Result};
use crate::format::json::encode::push_string;
use crate::format::records::CONTENT_TYPE;
use crate::format::span::{Cells, MAX_CHUNK_BYTES, Record};
use crate::format::{Binding, Framed};

/// What the names of attributes begin with as headers.
const PREFIXES: [&str; 3] = ["ce_", "cloudEvents_", "cloudEvents:"];
/// What the content type of a structured event begins with.
const STRUCTURED: &str = "application/cloudevents";
/// The content type of a structured event in JSON.
pub(super) const STRUCTURED_JSON: &str = "application/cloudevents+json; charset=UTF-8";

/// What the names of attributes begin with when they are written.
pub(super) fn prefix(binding: Binding) -> &'static str {
    match binding {
        Binding::Kafka => "ce_",
        // Of the two that the binding allows the one that it recommends.
        Binding::Amqp => "cloudEvents_",
    }
}

/// Binary events in envelopes.
#[derive(Debug)]
pub(super) struct Enveloped {
    /// All records of the chunk, all structured now.
    pub(super) framed: Framed,
    /// Per record that was binary: where its own value lies in the new data.
    own: Vec<Option<(u32, u32)>>,
    /// Records that are no events already, with what is wrong.
    faults: Vec<(u32, String)>,
}

/// Puts the binary events of a chunk into envelopes; `None` = there are none.
pub(super) fn enveloped(framed: &Framed) -> Result<Option<Enveloped>> {
    if !framed.headers.iter().any(|headers| is_binary(headers)) {
        return Ok(None);
    }
    let mut data = Vec::with_capacity(framed.data.len() * 2);
    let mut values = Vec::with_capacity(framed.values.len());
    let mut own = vec![None; framed.values.len()];
    let mut faults = Vec::new();
    for (number, value) in framed.values.iter().enumerate() {
        let bytes = value.map(|(start, end)| framed.data.get(start as usize..end as usize).unwrap_or_default());
        let headers = framed.headers.get(number).map_or(&[][..], Vec::as_slice);
        let start = data.len();
        if !is_binary(headers) {
            data.extend_from_slice(bytes.unwrap_or_default());
            values.push(bytes.map(|_| (start as u32, data.len() as u32)));
            continue;
        }
        match push_envelope(headers, bytes, &mut data) {
            Ok((end, own_start)) => {
                own[number] = Some((own_start as u32, (own_start + bytes.map_or(0, <[u8]>::len)) as u32));
                values.push(Some((start as u32, end as u32)));
            }
            Err(fault) => {
                data.truncate(start);
                data.extend_from_slice(bytes.unwrap_or_default());
                own[number] = Some((start as u32, data.len() as u32));
                values.push(None);
                faults.push((number as u32, fault));
            }
        }
    }
    if data.len() >= MAX_CHUNK_BYTES {
        let size = data.len();
        return Err(Error::failed(format!("a chunk of {size} bytes in envelopes is beyond the most of {MAX_CHUNK_BYTES}")));
    }
    let framed = Framed { data: Bytes::from(data), values, ..framed.clone() };
    Ok(Some(Enveloped { framed, own, faults }))
}

impl Enveloped {
    /// Makes the records those that came: without the envelopes that were put around them.
    pub(super) fn unwrap(self, cells: &mut Cells) {
        let own = |record: &mut Record| {
            if let Some((start, end)) = self.own.get(record.number as usize).copied().flatten() {
                (record.start, record.end) = (start, end);
            }
        };
        cells.rows.iter_mut().for_each(own);
        for (record, message) in &mut cells.refused {
            own(record);
            if let Some((_, fault)) = self.faults.iter().find(|(number, _)| *number == record.number) {
                *message = format!("no event: {fault}");
            }
        }
    }
}

/// The attribute that a header stands for.
fn attribute(name: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))
}

/// Is a header of this name an attribute of an event?
pub fn is_attribute(header: &str) -> bool {
    attribute(header).is_some()
}

fn content_type(headers: &[(String, Bytes)]) -> Option<&[u8]> {
    let found = headers.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE));
    found.map(|(_, value)| value.as_ref())
}

fn is_binary(headers: &[(String, Bytes)]) -> bool {
    let structured = content_type(headers).and_then(|kind| kind.get(..STRUCTURED.len()));
    !structured.is_some_and(|kind| kind.eq_ignore_ascii_case(STRUCTURED.as_bytes()))
        && headers.iter().any(|(name, _)| attribute(name) == Some("specversion"))
}

/// Is it JSON, by its content type?
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

/// Appends the event in its envelope; returns where the envelope ends and where the record's own value begins.
fn push_envelope(headers: &[(String, Bytes)], value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(usize, usize), String> {
    let text = |name: &str, value: &'_ Bytes| -> Result<String, String> {
        String::from_utf8(value.to_vec()).map_err(|_| format!("the header '{name}' is not UTF-8"))
    };
    let mut first = true;
    let mut member = |out: &mut Vec<u8>, name: &str, value: &str| {
        out.push(if std::mem::take(&mut first) { b'{' } else { b',' });
        push_string(out, name.as_bytes());
        out.push(b':');
        push_string(out, value.as_bytes());
    };
    for (name, value) in headers {
        match attribute(name) {
            // `data` names no attribute, and would be taken for the record's own.
            Some(reserved @ ("data" | "data_base64")) => return Err(format!("the header '{name}': '{reserved}' is no attribute")),
            Some(attribute) => member(out, attribute, &text(name, value)?),
            None => {}
        }
    }
    let kind = match headers.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE)) {
        None => None,
        Some((name, value)) => Some(text(name, value)?),
    };
    if let Some(kind) = &kind {
        member(out, "datacontenttype", kind);
    }
    let Some(value) = value else {
        out.push(b'}');
        return Ok((out.len(), out.len()));
    };
    if kind.as_deref().is_none_or(is_json) {
        // Ill-formed data must not reach into the envelope.
        serde_json::from_slice::<IgnoredAny>(value).map_err(|error| format!("the data are no JSON: {error}"))?;
        out.extend_from_slice(b",\"data\":");
        let from = out.len();
        out.extend_from_slice(value);
        out.push(b'}');
        return Ok((out.len(), from));
    }
    out.extend_from_slice(b",\"data_base64\":\"");
    out.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(value).as_bytes());
    out.extend_from_slice(b"\"}");
    let end = out.len();
    // Behind the envelope, for whoever refuses it.
    out.extend_from_slice(value);
    Ok((end, end))
}
