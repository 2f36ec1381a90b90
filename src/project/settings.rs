//! Settings of a project: one struct, and the layers that it is read from.
//!
//! ```text
//!  flag  >  --set key=value  >  SET 'key' = 'value'  >  eagre.yaml  >  default
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::address::deserialize_address;
use super::flink_keys::{Meaning, meaning, nearest};
use super::size::{Size, deserialize_size};
use crate::connector::address::TopicAddress;
use crate::dataflow::state_limit::OnStateLimit;
use crate::error::{Error, Place, Result};
use crate::operator::expressions::OnExpressionError;

/// Everything that can be set: in `eagre.yaml`, by `SET`, by `--set key=value`, some by flags of their own. Durations
/// are written as `10 s`, `5 min`, `100ms`; sizes as `64 mb`, `2 gb`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the project, and of its pipeline: state belongs to it. Default: the folder's name, or the file's.
    pub name: Option<String>,
    /// Worker threads of the dataflow, decoding included; also the number of tasks by key. Default: the cores.
    #[serde(default = "cores")]
    pub parallelism: usize,
    /// The data directory; relative paths start at the project folder. Default: `.eagre`.
    #[serde(rename = "data-dir", default = "data_dir")]
    pub data_dir: PathBuf,
    /// Time between checkpoints. Default: `10 s`.
    #[serde(rename = "checkpoint.interval", default = "ten_seconds", deserialize_with = "crate::time::deserialize_micros")]
    pub checkpoint_interval_micros: i64,
    /// Where checkpoints are kept: a directory, or `s3://bucket/prefix`. Default: in the data directory.
    #[serde(rename = "checkpoint.dir")]
    pub checkpoint_dir: Option<String>,
    /// Time between two states of the live tables that queries see. Default: `20 ms`.
    #[serde(rename = "cut.interval", default = "twenty_millis", deserialize_with = "crate::time::deserialize_micros")]
    pub cut_interval_micros: i64,
    /// How long a live reader of the log gathers rows that trickle in: the first is handed on at once, those right behind it
    /// together, at most this much later. `0 s`: every append by itself. Default: `5 ms`.
    #[serde(rename = "batch.linger", default = "five_millis", deserialize_with = "crate::time::deserialize_micros")]
    pub batch_linger_micros: i64,
    /// Most memory for state; at 90 % sources slow down, at 100 % the pipeline stops. Default: `60 %` of the memory.
    #[serde(rename = "state.max-bytes", default = "sixty_percent", deserialize_with = "deserialize_size")]
    pub state_max: Size,
    /// What happens when state reaches `state.max-bytes`: `stop` (default), or `dead-letter`: rows that would make it
    /// grow are refused until enough of it has gone.
    #[serde(rename = "state.on-limit", default)]
    pub on_state_limit: OnStateLimit,
    /// What happens to a row whose expression fails (a CAST, a division by zero, an overflow): `fail` (default) stops the
    /// pipeline, `dead-letter` refuses the row.
    #[serde(rename = "pipeline.on-expression-error", default)]
    pub on_expression_error: OnExpressionError,
    /// Where PostgreSQL clients connect: `host:port`, or a port alone. Default: `127.0.0.1:5433`. Port 0 takes any free one.
    #[serde(rename = "pg.listen", default = "pg_listen", deserialize_with = "deserialize_address")]
    pub pg_listen: String,
    /// Where HTTP clients connect: `host:port`, or a port alone. Default: `127.0.0.1:8433`. Port 0 takes any free one.
    #[serde(rename = "http.listen", default = "http_listen", deserialize_with = "deserialize_address")]
    pub http_listen: String,
    /// Clients must show this token (as the password of PostgreSQL, as the bearer token of HTTP). Needed, or TLS is,
    /// to listen on an address that other machines reach.
    #[serde(rename = "listen.token")]
    pub listen_token: Option<String>,
    /// Certificate chain (PEM) of the listeners.
    #[serde(rename = "listen.tls.cert")]
    pub listen_tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the listeners.
    #[serde(rename = "listen.tls.key")]
    pub listen_tls_key: Option<PathBuf>,
    /// Memory of all queries of the doors together. Default: `1 gb`.
    #[serde(rename = "query.memory", default = "one_gib", deserialize_with = "deserialize_size")]
    pub query_memory: Size,
    /// Longest time of a query of the doors. Default: `60 s`.
    #[serde(rename = "query.timeout", default = "sixty_seconds", deserialize_with = "crate::time::deserialize_micros")]
    pub query_timeout_micros: i64,
    /// How long the tables of alerts keep them, in event time. Default: `30 d`.
    #[serde(rename = "alerts.retention", default = "thirty_days", deserialize_with = "crate::time::deserialize_micros")]
    pub alerts_retention_micros: i64,
    /// The topic that takes the alerts of rules whose `emit` names none, as CloudEvents: `raised` of the log, or `shop:raised`
    /// of the Kafka broker that is called `shop` under `brokers`. Not set: none does.
    #[serde(rename = "alerts.topic")]
    pub alerts_topic: Option<String>,
    /// May rules be changed through HTTP (`PUT` and `DELETE` of `/rules/NAME`)? Default: `false`.
    #[serde(rename = "http.write", default)]
    pub http_write: bool,
    /// Only `UTC` for now.
    #[serde(rename = "table.local-time-zone", default = "utc")]
    pub time_zone: TimeZone,
}

/// A time zone that is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum TimeZone {
    /// Universal time.
    #[serde(rename = "UTC", alias = "Etc/UTC", alias = "GMT", alias = "Z")]
    Utc,
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn data_dir() -> PathBuf {
    PathBuf::from(".eagre")
}

fn ten_seconds() -> i64 {
    10_000_000
}

fn twenty_millis() -> i64 {
    20_000
}

fn five_millis() -> i64 {
    5_000
}

fn sixty_percent() -> Size {
    Size::Percent(60)
}

fn pg_listen() -> String {
    "127.0.0.1:5433".to_owned()
}

fn http_listen() -> String {
    "127.0.0.1:8433".to_owned()
}

fn one_gib() -> Size {
    Size::Bytes(1 << 30)
}

fn sixty_seconds() -> i64 {
    60_000_000
}

fn thirty_days() -> i64 {
    30 * 24 * 3_600 * 1_000_000
}

fn utc() -> TimeZone {
    TimeZone::Utc
}

/// Who set something: the later one in this order wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `eagre.yaml`.
    File,
    /// `SET` in a SQL text.
    Sql,
    /// `--set`.
    Set,
    /// A flag of its own.
    Flag,
}

/// What the keys of named brokers begin with: `brokers.shop.connector: kafka`.
const BROKERS: &str = "brokers.";

/// Named brokers: name -> the options that tables of `'broker' = 'name'` have unless they say otherwise.
pub type Brokers = BTreeMap<String, BTreeMap<String, String>>;

/// What was set, by whom and where.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    set: BTreeMap<String, (Origin, String, Place)>,
    /// Flink's settings that have no effect here, as they were met.
    without_effect: Vec<String>,
}

impl Layers {
    /// Sets `key`, unless a stronger origin has. Within one origin the last one wins. Flink's names are known.
    pub fn set(&mut self, key: &str, value: &str, origin: Origin, place: Place) -> Result<()> {
        let key = match meaning(key).map_err(|error| error.at(place.clone()))? {
            None => key,
            Some(Meaning::Ours(ours)) => ours,
            Some(Meaning::NoEffect) => {
                if !self.without_effect.iter().any(|known| known == key) {
                    self.without_effect.push(key.to_owned());
                }
                return Ok(());
            }
        };
        let weaker = self.set.get(key).is_none_or(|(set_by, ..)| *set_by <= origin);
        if weaker {
            self.set.insert(key.to_owned(), (origin, value.to_owned(), place));
        }
        Ok(())
    }

    /// Takes back what `SET` said of `key` (`RESET`), or of everything.
    pub fn reset(&mut self, key: Option<&str>) {
        self.set.retain(|name, (origin, ..)| *origin != Origin::Sql || key.is_some_and(|key| key != name));
    }

    /// Flink's settings that were set and have no effect here: to be named once.
    pub fn without_effect(&self) -> &[String] {
        &self.without_effect
    }

    /// The named brokers. What their options mean is known by their connectors.
    pub fn brokers(&self) -> Result<Brokers> {
        let mut brokers = Brokers::new();
        let mut faults = Vec::new();
        for (key, (_, value, place)) in &self.set {
            let Some(rest) = key.strip_prefix(BROKERS) else { continue };
            match rest.split_once('.').filter(|(name, option)| !name.is_empty() && !option.is_empty()) {
                Some((name, option)) => _ = brokers.entry(name.to_owned()).or_default().insert(option.to_owned(), value.clone()),
                None => faults.push(
                    Error::input(format!("'{key}': a broker has options, as in brokers: {{ shop: {{ connector: kafka, … }} }}"))
                        .at(place.clone()),
                ),
            }
        }
        for (name, options) in &brokers {
            if !options.contains_key("connector") {
                let place = self.set.iter().find(|(key, _)| key.starts_with(&format!("{BROKERS}{name}.")));
                let fault = Error::input(format!("broker '{name}': 'connector' is missing; it says what the broker is (kafka, rabbitmq)"));
                faults.push(place.map_or_else(|| Error::bug("a broker without options"), |(_, (.., place))| fault.at(place.clone())));
            }
        }
        Error::all(faults).map_or(Ok(brokers), Err)
    }

    /// The settings. Reports all faults, not only the first, each at its place.
    pub fn resolve(&self) -> Result<Settings> {
        let own = self.set.iter().filter(|(key, _)| !key.starts_with(BROKERS));
        let mut values: BTreeMap<String, String> = own.map(|(key, (_, value, _))| (key.clone(), value.clone())).collect();
        let mut faults = Vec::new();
        if let Err(fault) = self.brokers() {
            faults.push(fault);
        }
        loop {
            let fault = match crate::options::parse::<Settings>(&values) {
                Ok(settings) if faults.is_empty() => return settings.checked(|key| self.place(key)),
                Ok(_) => break,
                Err(fault) => fault,
            };
            // Without the faulty one the next is found.
            let Some(key) = fault.key.filter(|key| values.remove(key).is_some()) else {
                faults.push(Error::input(fault.message));
                break;
            };
            let message = if keys().contains(&key.as_str()) {
                fault.message.replacen("option", "setting", 1)
            } else {
                match nearest(&key, keys()) {
                    near if near.is_empty() => format!("unknown setting '{key}'; there are {}", keys().join(", ")),
                    near => format!("unknown setting '{key}'{near}"),
                }
            };
            let fault = Error::input(message);
            faults.push(match self.place(&key) {
                Some(place) => fault.at(place),
                None => fault,
            });
        }
        Err(Error::all(faults).unwrap_or_else(|| Error::bug("settings: a fault without an error")))
    }

    fn place(&self, key: &str) -> Option<Place> {
        self.set.get(key).map(|(.., place)| place.clone())
    }
}

impl Settings {
    /// Refuses values that read well and make no sense.
    fn checked(self, place: impl Fn(&str) -> Option<Place>) -> Result<Self> {
        let zero = [
            ("parallelism", self.parallelism == 0),
            ("checkpoint.interval", self.checkpoint_interval_micros == 0),
            ("cut.interval", self.cut_interval_micros == 0),
        ];
        let mut faults: Vec<Error> = Vec::new();
        for key in zero.iter().filter(|(_, zero)| *zero).map(|(key, _)| *key) {
            let fault = Error::input(format!("setting '{key}' is 0; it must be above zero"));
            faults.push(match place(key) {
                Some(place) => fault.at(place),
                None => fault,
            });
        }
        if let Some(Err(fault)) = self.alerts_topic.as_deref().map(TopicAddress::parse) {
            let fault = Error::input(format!("setting 'alerts.topic': {}", fault.message()));
            faults.push(match place("alerts.topic") {
                Some(place) => fault.at(place),
                None => fault,
            });
        }
        if self.listen_tls_cert.is_some() != self.listen_tls_key.is_some() {
            faults.push(Error::input("'listen.tls.cert' and 'listen.tls.key' go together; one of them is missing"));
        }
        Error::all(faults).map_or(Ok(self), Err)
    }
}

/// Names of all settings.
fn keys() -> &'static [&'static str] {
    crate::options::names::<Settings>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(entries: &[(&str, &str, Origin)]) -> Layers {
        let mut layers = Layers::default();
        for (line, (key, value, origin)) in (1..).zip(entries) {
            layers.set(key, value, *origin, Place::text("eagre.yaml", line, 1)).unwrap();
        }
        layers
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let settings = Layers::default().resolve().unwrap();
        assert_eq!((settings.checkpoint_interval_micros, settings.cut_interval_micros), (10_000_000, 20_000));
        assert_eq!(settings.pg_listen, "127.0.0.1:5433");
        assert_eq!(settings.state_max, Size::Percent(60));
    }

    #[test]
    fn the_stronger_origin_wins_and_flinks_names_are_known() {
        let layers = layers(&[
            ("parallelism", "9", Origin::Set),
            ("parallelism.default", "2", Origin::Sql),
            ("checkpoint.interval", "1 s", Origin::File),
            ("execution.checkpointing.interval", "2 s", Origin::Sql),
            ("pipeline.object-reuse", "true", Origin::Sql),
            ("state.max-bytes", "1 gb", Origin::File),
        ]);
        let settings = layers.resolve().unwrap();
        assert_eq!((settings.parallelism, settings.checkpoint_interval_micros, settings.state_max), (9, 2_000_000, Size::Bytes(1 << 30)));
        assert_eq!(layers.without_effect(), ["pipeline.object-reuse"]);
    }

    #[test]
    fn all_faults_are_told_at_their_places() {
        let layers = layers(&[
            ("paralelism", "2", Origin::File),
            ("checkpoint.interval", "soon", Origin::File),
            ("table.local-time-zone", "Europe/Berlin", Origin::Sql),
        ]);
        let told = layers.resolve().unwrap_err().to_string();
        assert!(told.contains("eagre.yaml:1:1: unknown setting 'paralelism'; did you mean 'parallelism'?"), "{told}");
        assert!(told.contains("eagre.yaml:2:1: setting 'checkpoint.interval': 'soon' is not a duration"), "{told}");
        assert!(told.contains("eagre.yaml:3:1: setting 'table.local-time-zone': 'Europe/Berlin' is none of "), "{told}");
    }

    #[test]
    fn brokers_have_names_and_options() {
        let named = layers(&[
            ("brokers.shop.connector", "kafka", Origin::File),
            ("brokers.shop.properties.bootstrap.servers", "box:9092", Origin::File),
            ("brokers.shop.properties.bootstrap.servers", "other:9092", Origin::Set),
        ]);
        named.resolve().unwrap();
        assert_eq!(named.brokers().unwrap()["shop"]["properties.bootstrap.servers"], "other:9092");
        let told = layers(&[("brokers.shop", "box:9092", Origin::File)]).resolve().unwrap_err().to_string();
        assert!(told.starts_with("eagre.yaml:1:1: 'brokers.shop': a broker has options"), "{told}");
        let told = layers(&[("brokers.shop.uri", "amqp://box", Origin::File)]).resolve().unwrap_err().to_string();
        assert!(told.starts_with("eagre.yaml:1:1: broker 'shop': 'connector' is missing"), "{told}");
    }

    #[test]
    fn nothing_is_zero_that_must_not_be() {
        let told = layers(&[("parallelism", "0", Origin::File)]).resolve().unwrap_err().to_string();
        assert_eq!(told, "eagre.yaml:1:1: setting 'parallelism' is 0; it must be above zero");
    }
}
