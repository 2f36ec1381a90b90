//! Options as people write them (`'key'='value'`) to one serde struct: every value is text, the field says what it must
//! read as.
//!
//! An unknown option, a missing one and an unknown choice are told with the nearest match and with what is allowed. Options
//! that several structs share are a struct of their own: [`Given`] takes each struct's part out of what was given.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

use crate::error::did_you_mean;

/// Reads `options` into the options struct `T`.
pub fn parse<T: DeserializeOwned>(options: &BTreeMap<String, String>) -> Result<T, Fault> {
    T::deserialize(MapDeserializer::new(options.iter().map(|(key, value)| (key.as_str(), Text { key, value }))))
}

/// The names of the options of `T`, as serde knows them.
pub fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    /// Asks a struct for its fields: reading an unknown one is refused with the list of them.
    #[derive(Debug)]
    struct Names(&'static [&'static str]);
    impl fmt::Display for Names {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0.join(", "))
        }
    }
    impl std::error::Error for Names {}
    impl de::Error for Names {
        fn custom<M: fmt::Display>(_: M) -> Self {
            Names(&[])
        }
        fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
            Names(expected)
        }
    }
    match T::deserialize(MapDeserializer::<_, Names>::new(std::iter::once(("?", "")))) {
        Ok(_) => &[],
        Err(names) => names.0,
    }
}

/// Options that belong to several structs.
#[derive(Debug)]
pub struct Given {
    options: BTreeMap<String, String>,
    /// The names that are known so far.
    known: Vec<&'static str>,
    /// Names that others have taken out before: one that is misspelt has come here.
    taken_before: &'static [&'static str],
}

impl Given {
    /// All of them.
    pub fn new(options: BTreeMap<String, String>) -> Self {
        Given { options, known: Vec::new(), taken_before: &[] }
    }

    /// All but those of these names, which others have taken out.
    pub fn without(options: BTreeMap<String, String>, taken_before: &'static [&'static str]) -> Self {
        Given { taken_before, ..Given::new(options) }
    }

    /// Takes those that `T` knows.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        let names = names::<T>();
        self.known.extend(names);
        let mut own = BTreeMap::new();
        self.options.retain(|key, value| {
            let is_own = names.contains(&key.as_str());
            if is_own {
                own.insert(key.clone(), std::mem::take(value));
            }
            !is_own
        });
        parse(&own)
    }

    /// Takes all that are left; one that no struct knows is told with the nearest of all.
    pub fn rest<T: DeserializeOwned>(mut self) -> Result<T, Fault> {
        let names = names::<T>();
        self.known.extend(names);
        match self.options.keys().find(|key| !names.contains(&key.as_str())) {
            Some(unknown) => Err(Fault::unknown(unknown, &self.known, self.taken_before)),
            None => parse(&self.options),
        }
    }
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The option at fault; `None` when one is missing.
    pub key: Option<String>,
    /// What is wrong, in a sentence that names the option.
    pub message: String,
}

impl Fault {
    fn new(message: String) -> Self {
        Fault { key: None, message }
    }

    fn unknown(field: &str, expected: &[&'static str], others: &[&'static str]) -> Self {
        let hint = match did_you_mean(field, expected.iter().chain(others).copied()) {
            near if !near.is_empty() => near,
            _ if expected.is_empty() => "; it takes none".to_owned(),
            _ => format!("; it knows {}", expected.join(", ")),
        };
        Fault { key: Some(field.to_owned()), message: format!("unknown option '{field}'{hint}") }
    }

    /// Names the option whose value is at fault.
    fn of(self, key: &str) -> Self {
        Fault { key: Some(key.to_owned()), message: format!("option '{key}': {}", self.message) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::new(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Fault::unknown(field, expected, &[])
    }

    fn missing_field(field: &'static str) -> Self {
        Fault::new(format!("the option '{field}' is missing"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(format!("'{variant}' is none of {}{}", expected.join(", "), did_you_mean(variant, expected.iter().copied())))
    }
}

/// A value as written, with the option it belongs to.
#[derive(Clone, Copy)]
struct Text<'a> {
    key: &'a str,
    value: &'a str,
}

impl Text<'_> {
    fn read<T: std::str::FromStr>(self, what: &str) -> Result<T, Fault> {
        self.value.trim().parse().map_err(|_| Fault::new(format!("'{}' is not {what}", self.value)).of(self.key))
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Text<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Reads the text as what the field asks for.
macro_rules! read_as {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.read::<$type>($what)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Text<'_> {
    type Error = Fault;

    read_as! {
        deserialize_i8 visit_i8 i8, "a whole number";
        deserialize_i16 visit_i16 i16, "a whole number";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u8 u8, "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16, "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32, "a whole number from 0";
        deserialize_u64 visit_u64 u64, "a whole number from 0";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.value).map_err(|fault: Fault| fault.of(self.key))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value.trim().to_ascii_lowercase().as_str() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Fault::new(format!("'{}' is neither true nor false", self.value)).of(self.key)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(self.value.into_deserializer()).map_err(|fault: Fault| fault.of(self.key))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Options {
        path: String,
        #[serde(rename = "rows.per-second", default)]
        rate: Option<u64>,
        #[serde(default)]
        mode: Mode,
        #[serde(default, deserialize_with = "crate::time::deserialize_micros")]
        wait: i64,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Fast,
        Slow,
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Options, Fault> {
        parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn text_becomes_what_the_field_asks_for() {
        let all = read(&[("path", "x"), ("rows.per-second", "7"), ("mode", "slow"), ("wait", "2 s")]).unwrap();
        assert_eq!(all, Options { path: "x".into(), rate: Some(7), mode: Mode::Slow, wait: 2_000_000 });
    }

    #[test]
    fn options_of_several_structs_are_dealt_out_and_known_together() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Shared {
            #[serde(rename = "scan.mode", default)]
            mode: Mode,
        }
        let read = |pairs: &[(&str, &str)]| -> Result<(Shared, Options), Fault> {
            let mut given = Given::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
            Ok((given.take()?, given.rest()?))
        };
        let (shared, own) = read(&[("path", "x"), ("scan.mode", "slow"), ("mode", "fast")]).unwrap();
        assert_eq!((shared.mode, own.mode), (Mode::Slow, Mode::Fast));
        assert_eq!(
            read(&[("path", "x"), ("scan.mod", "slow")]).unwrap_err().message,
            "unknown option 'scan.mod'; did you mean 'scan.mode'?"
        );
        assert_eq!(read(&[("scan.mode", "slw"), ("path", "x")]).unwrap_err().key.as_deref(), Some("scan.mode"));
        assert_eq!(read(&[("pth", "x")]).unwrap_err().message, "unknown option 'pth'; did you mean 'path'?");
        let given = Given::without([("format.on-eror".to_owned(), "skip".to_owned())].into(), &["format.on-error"]);
        assert_eq!(given.rest::<Options>().unwrap_err().message, "unknown option 'format.on-eror'; did you mean 'format.on-error'?");
    }

    #[test]
    fn faults_name_the_option_and_the_nearest_match() {
        let told = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().message;
        assert_eq!(told(&[("pth", "x")]), "unknown option 'pth'; did you mean 'path'?");
        assert_eq!(told(&[]), "the option 'path' is missing");
        assert_eq!(told(&[("mode", "slw")]), "option 'mode': 'slw' is none of fast, slow; did you mean 'slow'?");
        assert_eq!(told(&[("rows.per-second", "many")]), "option 'rows.per-second': 'many' is not a whole number from 0");
        assert!(told(&[("path", "x"), ("wait", "soon")]).starts_with("option 'wait': 'soon' is not a duration"));
    }
}
