//! Where a door listens, as people write it: `host:port`, or a port alone.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Visitor};

/// For `#[serde(deserialize_with = …)]`: text to `host:port`; a port alone is one of this machine only.
pub fn deserialize_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_any(Address)
}

/// Reads inside the visitor, so that a deserializer that knows the option's name can add it to the fault.
struct Address;

impl Visitor<'_> for Address {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address like '127.0.0.1:5433'")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        let port = |text: &str| text.parse::<u16>().is_ok();
        match text.rsplit_once(':') {
            None if port(text) => Ok(format!("127.0.0.1:{text}")),
            Some((host, number)) if !host.is_empty() && port(number) => Ok(text.to_owned()),
            _ => Err(E::custom(format!("'{text}' is not an address; expected host:port or a port, such as 127.0.0.1:5433"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_port_alone() {
        let read = |text| Address.visit_str::<de::value::Error>(text);
        for (given, wanted) in [("5500", "127.0.0.1:5500"), ("localhost:0", "localhost:0"), ("[::1]:5433", "[::1]:5433")] {
            assert_eq!(read(given).unwrap(), wanted);
        }
        for wrong in ["nonsense", ":1", "localhost:", "127.0.0.1:99999", ""] {
            assert!(read(wrong).unwrap_err().to_string().contains("expected host:port or a port"), "{wrong}");
        }
    }
}
