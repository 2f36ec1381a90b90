//! Media types as RFC 2046 writes them: `type/subtype; name=value; name="quoted value"`.

/// Is this a media type?
pub(super) fn is_media_type(text: &str) -> bool {
    let (essence, mut parameters) = match text.find(';') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let Some((kind, subtype)) = essence.trim_end().split_once('/') else { return false };
    if !is_token(kind) || !is_token(subtype) {
        return false;
    }
    while let Some(rest) = parameters.strip_prefix(';') {
        let Some(rest) = parameter(rest.trim_start()) else { return false };
        parameters = rest.trim_start();
    }
    parameters.is_empty()
}

/// What stands after one parameter.
fn parameter(text: &str) -> Option<&str> {
    let (name, rest) = text.split_once('=')?;
    if !is_token(name) {
        return None;
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut chars = quoted.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => return Some(&quoted[at + 1..]),
                '\\' => _ = chars.next()?,
                _ => {}
            }
        }
        return None;
    }
    let end = rest.find([';', ' ', '\t']).unwrap_or(rest.len());
    is_token(&rest[..end]).then(|| &rest[end..])
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_and_what_is_none() {
        for text in ["application/json", "Application/JSON; Charset=utf-8", "a/b;c=\"d \\\" ;\" ; e=f", "application/vnd.x+json"] {
            assert!(is_media_type(text), "{text}");
        }
        for text in ["xyz", "", "a/", "/b", "a/b;", "a/b;c", "a/b;c=", "a/b;c=\"d", "a b/c", "a/b;c=d e"] {
            assert!(!is_media_type(text), "{text}");
        }
    }
}
