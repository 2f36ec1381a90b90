//! Digests, base 64, URLs.

use arrow::array::{Array as _, ArrayRef, AsArray};
use datafusion::error::{DataFusionError, Result as DfResult};
use sha2::Digest as _;

use super::define::Kind::{Bytes, Long, Text};
use super::define::{Args, Function, Returns, forms, value};
use super::number::hex_of;

pub(super) fn functions() -> Vec<Function> {
    vec![
        Function::new("sha224", forms![[Bytes]], Returns::Text, |args| digest(args, sha224)),
        Function::new("sha256", forms![[Bytes]], Returns::Text, |args| digest(args, sha256)),
        Function::new("sha384", forms![[Bytes]], Returns::Text, |args| digest(args, sha384)),
        Function::new("sha512", forms![[Bytes]], Returns::Text, |args| digest(args, sha512)),
        Function::new("sha2", forms![[Bytes, Long]], Returns::Text, sha2),
        Function::new("to_base64", forms![[Bytes]], Returns::Text, to_base64),
        Function::new("from_base64", forms![[Text]], Returns::Text, from_base64),
        Function::new("url_encode", forms![[Text]], Returns::Text, url_encode),
        Function::new("url_decode", forms![[Text]], Returns::Text, url_decode),
        Function::new("parse_url", forms![[Text, Text], [Text, Text, Text]], Returns::Text, parse_url),
    ]
}

fn sha224(bytes: &[u8]) -> String {
    hex_of(&sha2::Sha224::digest(bytes), false)
}

fn sha256(bytes: &[u8]) -> String {
    hex_of(&sha2::Sha256::digest(bytes), false)
}

fn sha384(bytes: &[u8]) -> String {
    hex_of(&sha2::Sha384::digest(bytes), false)
}

fn sha512(bytes: &[u8]) -> String {
    hex_of(&sha2::Sha512::digest(bytes), false)
}

fn bytes(args: &Args) -> DfResult<arrow::array::BinaryArray> {
    let array = args.array(0)?;
    array
        .as_binary_opt::<i32>()
        .cloned()
        .ok_or_else(|| DataFusionError::Internal(format!("{} takes bytes, not {}", args.name, array.data_type())))
}

fn digest(args: &Args, of: fn(&[u8]) -> String) -> DfResult<ArrayRef> {
    let bytes = bytes(args)?;
    args.texts(|row| Ok(value(&bytes, row).map(of)))
}

/// `SHA2(text, bits)`.
fn sha2(args: &Args) -> DfResult<ArrayRef> {
    let (bytes, bits) = (bytes(args)?, args.long(1)?);
    args.texts(|row| {
        let (Some(bytes), Some(bits)) = (value(&bytes, row), value(&bits, row)) else { return Ok(None) };
        match bits {
            224 => Ok(Some(sha224(bytes))),
            256 => Ok(Some(sha256(bytes))),
            384 => Ok(Some(sha384(bytes))),
            512 => Ok(Some(sha512(bytes))),
            other => Err(args.fault(format!("{other} bits; there are 224, 256, 384, 512"))),
        }
    })
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(args: &Args) -> DfResult<ArrayRef> {
    let bytes = bytes(args)?;
    args.texts(|row| {
        let encoded = value(&bytes, row).map(|bytes| {
            let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
            for group in bytes.chunks(3) {
                let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
                for at in 0..4 {
                    let letter = BASE64[(bits >> (18 - 6 * at) & 63) as usize];
                    text.push(if at <= group.len() { char::from(letter) } else { '=' });
                }
            }
            text
        });
        Ok(encoded)
    })
}

/// NULL where the text is no base 64 of UTF-8.
fn from_base64(args: &Args) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    args.texts(|row| Ok(value(&texts, row).and_then(decode_base64).and_then(|bytes| String::from_utf8(bytes).ok())))
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let letters = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for group in letters.chunks(4) {
        let mut bits = 0_u32;
        for letter in group {
            bits = bits << 6 | BASE64.iter().position(|b| b == letter)? as u32;
        }
        let whole = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..=whole]);
    }
    Some(bytes)
}

/// As a form's field: a blank is `+`.
fn url_encode(args: &Args) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    args.texts(|row| {
        let encoded = value(&texts, row).map(|text| {
            let mut out = String::with_capacity(text.len());
            for byte in text.bytes() {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => out.push(char::from(byte)),
                    b' ' => out.push('+'),
                    byte => {
                        out.push('%');
                        out.push_str(&hex_of(&[byte], true));
                    }
                }
            }
            out
        });
        Ok(encoded)
    })
}

/// NULL where the text is not encoded so.
fn url_decode(args: &Args) -> DfResult<ArrayRef> {
    let texts = args.text(0)?;
    args.texts(|row| Ok(value(&texts, row).and_then(decode_url)))
}

fn decode_url(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                rest = &after[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// `PARSE_URL(url, part [, key])`: HOST PATH QUERY REF PROTOCOL AUTHORITY FILE USERINFO; the key is one of the query's.
fn parse_url(args: &Args) -> DfResult<ArrayRef> {
    let (urls, parts) = (args.text(0)?, args.text(1)?);
    let keys = if args.len() == 3 { Some(args.text(2)?) } else { None };
    args.texts(|row| {
        let (Some(url), Some(part)) = (value(&urls, row), value(&parts, row)) else { return Ok(None) };
        let key = match &keys {
            Some(keys) => match value(keys, row) {
                Some(key) => Some(key),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(part_of_url(url, part, key))
    })
}

fn part_of_url<'u>(url: &'u str, part: &str, key: Option<&str>) -> Option<&'u str> {
    let (protocol, rest) = url.split_once("://")?;
    let (rest, reference) = match rest.split_once('#') {
        Some((rest, reference)) => (rest, Some(reference)),
        None => (rest, None),
    };
    let (authority, file) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = match file.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (file, None),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if let Some(key) = key {
        let pairs = query.filter(|_| part == "QUERY")?.split('&');
        return pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value);
    }
    match part {
        "PROTOCOL" => Some(protocol),
        "AUTHORITY" => Some(authority),
        "HOST" => Some(host.rsplit_once(':').map_or(host, |(host, _)| host)),
        "USERINFO" => user,
        "FILE" => Some(file),
        "PATH" => Some(path),
        "QUERY" => query,
        "REF" => reference,
        _ => None,
    }
}
