//! URIs by the grammar of RFC 3986, as far as a validator needs it.
//!
//! ```text
//!  scheme ":" [ "//" [ userinfo "@" ] host [ ":" port ] ] path [ "?" query ] [ "#" fragment ]
//! ```

/// Is this a URI with a scheme?
pub(super) fn is_absolute(text: &str) -> bool {
    scheme(text).is_some_and(is_rest)
}

/// Is this a URI, or one relative to another?
pub(super) fn is_reference(text: &str) -> bool {
    // A colon in the first segment makes what stands before it a scheme.
    let first = text.split(['/', '?', '#']).next().unwrap_or_default();
    if first.contains(':') { is_absolute(text) } else { is_rest(text) }
}

/// What stands after the scheme and its colon.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    let holds = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    holds.then_some(rest)
}

/// Authority, path, query and fragment.
fn is_rest(text: &str) -> bool {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (authority, path) = match text.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", text),
    };
    is_authority(authority) && consists_of(path, b":@/") && consists_of(query, b":@/?") && consists_of(fragment, b":@/?")
}

fn is_authority(text: &str) -> bool {
    let (user, host) = text.rsplit_once('@').unwrap_or(("", text));
    if !consists_of(user, b":") {
        return false;
    }
    let (host, port) = match host.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, port)) if is_address(address) => ("", port),
            _ => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    consists_of(host, b"") && port.bytes().all(|b| b.is_ascii_digit())
}

/// What stands in brackets: an IPv6 address or a later one.
fn is_address(text: &str) -> bool {
    match text.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.')) {
        Some((version, address)) => {
            !version.is_empty() && version.bytes().all(|b| b.is_ascii_hexdigit()) && !address.is_empty() && consists_of(address, b":")
        }
        None => text.parse::<std::net::Ipv6Addr>().is_ok(),
    }
}

/// Only unreserved characters, sub-delimiters, percent codes and those of `more`.
fn consists_of(text: &str, more: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let holds = match byte {
            b'%' => {
                let mut hex = || bytes.next().is_some_and(|b| b.is_ascii_hexdigit());
                hex() && hex()
            }
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) || more.contains(&byte),
        };
        if !holds {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_and_what_is_none() {
        for text in [
            "https://shop.example/orders?x=1#y",
            "urn:shop:orders",
            "tel:+1-816-555-1212",
            "http://-.~_!$&'()*+,;=:%40:80%2f@example.com",
            "http://[2001:db8::7]:80/x",
            "mailto:a@b.example",
            "x:",
        ] {
            assert!(is_absolute(text) && is_reference(text), "{text}");
        }
        for text in ["/orders", "#fragment", "1-555-123-4567", "//host/path", "", "a/b:c"] {
            assert!(!is_absolute(text) && is_reference(text), "{text}");
        }
        for text in
            ["a b", "https://x/%6G", "https://x/%", "http://a:8x/", "bar,baz:foo", "://x", "x:\\y", "x:<>", "x:é", "http://[::1", "a#b#c"]
        {
            assert!(!is_absolute(text) && !is_reference(text), "{text}");
        }
    }
}
