//! What can be told without a broker; the rest is in `tests/kafka/`, on a real one.

use super::client::Properties;
use super::reader::Gap;
use super::*;
use crate::connector::contract::{request, sink_of, source_of};
use crate::error::Kind;
use crate::metrics::Counter;

fn environment() -> Environment {
    Environment::new("/nowhere", "/nowhere", "p")
}

const BASE: [(&str, &str); 3] = [("connector", "kafka"), ("topic", "t"), ("properties.bootstrap.servers", "localhost:1")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    BASE.iter().chain(more).copied().collect()
}

#[test]
fn a_source_is_described_and_its_formats_are_taken_apart() {
    let env = environment();
    let source = source_of(&with(&[("format", "json"), ("scan.startup.mode", "earliest-offset"), ("topic", "a;b")]), &env).unwrap();
    assert_eq!(source.describe(), "kafka a;b at localhost:1");
    assert!(!source.bounded());
    let columns = crate::connector::contract::columns();
    let options = with(&[
        ("value.format", "json"),
        ("value.json.ignore-parse-errors", "true"),
        ("key.format", "csv"),
        ("key.csv.field-delimiter", ";"),
        ("key.fields", "name"),
        ("scan.startup.mode", "latest-offset"),
    ]);
    let configured = crate::connector::registry::source(request(&options, &columns), &env).unwrap();
    assert!(configured.format.skips_undecodable());
    let key = configured.key.unwrap();
    assert_eq!((key.columns, key.upserts), (vec![("name".to_owned(), "name".to_owned())], false));
}

#[test]
fn what_does_not_fit_together_is_told() {
    let env = environment();
    let earliest = ("scan.startup.mode", "earliest-offset");
    let of_source = |more: &[(&str, &str)]| source_of(&with(more), &env).unwrap_err().message().to_owned();
    let of_sink = |more: &[(&str, &str)]| sink_of(&with(more), &env).unwrap_err().message().to_owned();
    for (told, wanted) in [
        (of_source(&[earliest]), "connector 'kafka': the option 'format' (or 'value.format') is missing"),
        (of_source(&[earliest, ("format", "json"), ("key.fields", "name")]), "connector 'kafka': 'key.fields' needs 'key.format'"),
        (
            of_source(&[earliest, ("format", "json"), ("key.fields", "nme"), ("key.format", "raw")]),
            "connector 'kafka': option 'key.fields': no column 'nme' in t; did you mean 'name'?",
        ),
        (
            of_source(&[earliest, ("format", "json"), ("key.fields", "name"), ("key.format", "raw"), ("key.fields-prefix", "n")]),
            "connector 'kafka': 'key.fields-prefix' needs 'value.fields-include' = 'EXCEPT_KEY': the value would have prefixed columns, too",
        ),
        (
            of_source(&[("format", "json"), ("scan.startup.mode", "specific-offsets")]),
            "connector 'kafka': 'scan.startup.mode'='specific-offsets' needs 'scan.startup.specific-offsets'",
        ),
        (
            of_source(&[earliest, ("format", "json"), ("properties.sasl.username", "x")]),
            "connector 'kafka': 'properties.sasl.username' has no effect with 'properties.security.protocol' = 'plaintext'; expected ssl, \
             sasl_plaintext or sasl_ssl",
        ),
        (
            of_sink(&[("format", "json"), ("topic", "a;b")]),
            "connector 'kafka': 'topic' = 'a;b': t is written, and a sink writes to one topic",
        ),
        (
            of_sink(&[("connector", "upsert-kafka"), ("value.format", "json"), ("key.format", "json")]),
            "connector 'kafka': 'upsert-kafka' needs PRIMARY KEY (…) NOT ENFORCED: it is the key of the records",
        ),
    ] {
        assert_eq!(told, wanted);
    }
}

#[test]
fn properties_are_the_librarys_and_a_java_login_is_understood() {
    let take = |pairs: &[(&str, &str)]| {
        let mut options = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Properties::take(&mut options)
    };
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";";
    let taken = take(&[
        ("properties.bootstrap.servers", "b:1"),
        ("properties.security.protocol", "SASL_SSL"),
        ("properties.sasl.jaas.config", jaas),
        ("properties.max.poll.records", "500"),
    ]);
    let taken = taken.unwrap();
    assert_eq!((taken.get("sasl.username"), taken.get("sasl.password"), taken.get("max.poll.records")), (Some("u"), Some("p"), None));
    let told = take(&[("properties.bootstrap.servers", "b:1"), ("properties.fetch.max.byte", "1"), ("properties.acks", "some")]);
    let told = told.unwrap_err().to_string();
    assert!(told.contains("unknown option 'properties.fetch.max.byte'; did you mean 'fetch.max.bytes'?"), "{told}");
    assert!(told.contains("'properties.acks' = 'some'"), "{told}");
}

#[test]
fn a_gap_fails_or_is_counted() {
    let gap = |fails| Gap { skipped: Counter::default(), fails, name: "t[0]".into() };
    assert_eq!(gap(true).pass(5, 5, 9).unwrap(), 5);
    assert_eq!(gap(true).pass(9, 5, 9).unwrap(), 9, "everything is read");
    let told = gap(true).pass(3, 5, 9).unwrap_err();
    assert!(
        told.kind() == Kind::Failed && told.message().contains("3 to 4 were removed") && told.message().contains("'earliest'"),
        "{told}"
    );
    assert!(gap(true).pass(10, 5, 9).unwrap_err().message().contains("made anew"));
    let counted = gap(false);
    assert_eq!((counted.pass(3, 5, 9).unwrap(), counted.skipped.get()), (5, 2));
}
