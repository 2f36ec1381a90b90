//! Counters, gauges and latency histograms that every floor may write and the doors read.
//!
//! One registry per engine; names and labels follow Prometheus (`eagre_rows_in_total{node="events"}`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Why a row reached no result (semantics.md 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Not a record of its format, or a value does not fit its column.
    Undecodable,
    /// Violates the contract of its event type.
    Contract,
    /// Its event time is NULL.
    NullTime,
    /// Its event time is further ahead of the clock than allowed.
    Future,
    /// It came after its window (or frame, or interval) had closed.
    Late,
    /// State would have grown over its limit.
    StateLimit,
    /// An expression failed on it.
    Expression,
    /// An earlier record of its key was refused, and it waits for that one.
    Parked,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 8] = [
        Reason::Undecodable,
        Reason::Contract,
        Reason::NullTime,
        Reason::Future,
        Reason::Late,
        Reason::StateLimit,
        Reason::Expression,
        Reason::Parked,
    ];

    /// The word used in metrics and dead letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Undecodable => "undecodable",
            Reason::Contract => "contract",
            Reason::NullTime => "null_event_time",
            Reason::Future => "future",
            Reason::Late => "late",
            Reason::StateLimit => "state_limit",
            Reason::Expression => "expression",
            Reason::Parked => "parked",
        }
    }
}

const DROPPED: &str = "eagre_rows_dropped_total";

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Longest duration that is told apart: an hour.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// A distribution of durations in microseconds, three significant digits.
#[derive(Debug, Clone)]
pub struct Latency(Arc<Mutex<Histogram<u64>>>);

impl Default for Latency {
    fn default() -> Self {
        // With bounds: a histogram that grows by itself clamps to what it has grown to. This fails only for a precision
        // above 5 or a highest value below twice the lowest.
        #[expect(clippy::expect_used, reason = "constant arguments that cannot fail")]
        Latency(Arc::new(Mutex::new(Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("three digits are allowed"))))
    }
}

impl Latency {
    /// Records `count` durations of `micros`.
    pub fn record(&self, micros: u64, count: u64) {
        self.0.lock().saturating_record_n(micros, count);
    }

    /// The duration below which `quantile` (0 to 1) of all lie, in microseconds.
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.0.lock().value_at_quantile(quantile)
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.lock().len()
    }
}

/// Name plus rendered labels: the key of a series.
type Series = (String, String);

/// All series of one engine.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    counters: BTreeMap<Series, Counter>,
    gauges: BTreeMap<Series, Gauge>,
    latencies: BTreeMap<Series, Latency>,
}

fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    (name.to_owned(), labels.join(","))
}

impl Metrics {
    /// The counter of this name and these labels, made on first use. Hold on to it: the look-up takes a lock.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Counter {
        self.inner.lock().counters.entry(series(name, labels)).or_default().clone()
    }

    /// The gauge of this name and these labels, made on first use.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Gauge {
        self.inner.lock().gauges.entry(series(name, labels)).or_default().clone()
    }

    /// The latency distribution of this name and these labels, made on first use.
    pub fn latency(&self, name: &str, labels: &[(&str, &str)]) -> Latency {
        self.inner.lock().latencies.entry(series(name, labels)).or_default().clone()
    }

    /// Counts rows that reach no result: `eagre_rows_dropped_total{node,reason}`.
    pub fn dropped(&self, node: &str, reason: Reason) -> Counter {
        self.counter(DROPPED, &[("node", node), ("reason", reason.as_str())])
    }

    /// Rows that have reached no result, by what refused them and why; only where there are any.
    pub fn drops(&self) -> Vec<(String, String, u64)> {
        let inner = self.inner.lock();
        let drops = inner.counters.iter().filter(|((name, _), count)| name == DROPPED && count.get() > 0);
        drops.filter_map(|((_, labels), count)| Some((label(labels, "node")?, label(labels, "reason")?, count.get()))).collect()
    }

    /// How many rows have reached no result for this reason.
    pub fn dropped_for(&self, reason: Reason) -> u64 {
        self.drops().into_iter().filter(|(_, why, _)| why == reason.as_str()).map(|(_, _, count)| count).sum()
    }

    /// The sum of a counter over all its labels.
    pub fn total(&self, name: &str) -> u64 {
        self.inner.lock().counters.iter().filter(|((n, _), _)| n == name).map(|(_, counter)| counter.get()).sum()
    }

    /// Every counter and gauge as (name, labels, value), for `system.metrics` and the end-of-run summary.
    pub fn values(&self) -> Vec<(String, String, i64)> {
        let inner = self.inner.lock();
        let counters = inner.counters.iter().map(|((n, l), c)| (n.clone(), l.clone(), c.get() as i64));
        let gauges = inner.gauges.iter().map(|((n, l), g)| (n.clone(), l.clone(), g.get()));
        counters.chain(gauges).collect()
    }

    /// Every latency distribution as (name, labels, handle).
    pub fn latencies(&self) -> Vec<(String, String, Latency)> {
        self.inner.lock().latencies.iter().map(|((n, l), h)| (n.clone(), l.clone(), h.clone())).collect()
    }

    /// The Prometheus text exposition format, version 0.0.4.
    pub fn prometheus(&self) -> String {
        let inner = self.inner.lock();
        let mut text = String::new();
        let mut last = "";
        for ((name, labels), counter) in &inner.counters {
            header(&mut text, &mut last, name, "counter");
            line(&mut text, name, labels, "", counter.get());
        }
        for ((name, labels), gauge) in &inner.gauges {
            header(&mut text, &mut last, name, "gauge");
            line(&mut text, name, labels, "", gauge.get());
        }
        for ((name, labels), latency) in &inner.latencies {
            header(&mut text, &mut last, name, "summary");
            for quantile in ["0.5", "0.9", "0.99", "0.999"] {
                let value = latency.quantile(quantile.parse().unwrap_or(0.5)) as f64 / 1e6;
                line(&mut text, name, labels, &format!("quantile=\"{quantile}\""), value);
            }
            line(&mut text, &format!("{name}_count"), labels, "", latency.count());
        }
        text
    }
}

/// The value of a label in rendered labels (`node="a",reason="late"`).
pub fn label(labels: &str, name: &str) -> Option<String> {
    let mut rest = labels;
    while let Some((key, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (_, '\\') => value.push(chars.next()?.1),
                (at, '"') => break at,
                (_, c) => value.push(c),
            }
        };
        if key.trim_start_matches(',') == name {
            return Some(value);
        }
        rest = &after[end + 1..];
    }
    None
}

fn header<'a>(text: &mut String, last: &mut &'a str, name: &'a str, kind: &str) {
    if *last != name {
        // Writing into a String cannot fail.
        _ = writeln!(text, "# TYPE {name} {kind}");
        *last = name;
    }
}

fn line(text: &mut String, name: &str, labels: &str, more: &str, value: impl std::fmt::Display) {
    let comma = if labels.is_empty() || more.is_empty() { "" } else { "," };
    let braces = if labels.is_empty() && more.is_empty() { String::new() } else { format!("{{{labels}{comma}{more}}}") };
    _ = writeln!(text, "{name}{braces} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let latency = Latency::default();
        latency.record(20_000, 98);
        latency.record(5_000_000, 2);
        latency.record(u64::MAX, 1);
        assert!((19_900..20_100).contains(&latency.quantile(0.5)), "{}", latency.quantile(0.5));
        assert!((4_990_000..5_010_000).contains(&latency.quantile(0.99)), "{}", latency.quantile(0.99));
        assert!(latency.quantile(1.0) >= LONGEST_MICROS && latency.count() == 101);
    }

    #[test]
    fn series_appear_in_the_prometheus_text() {
        let metrics = Metrics::default();
        metrics.dropped("events", Reason::Late).add(2);
        metrics.gauge("eagre_watermark", &[]).set(7);
        metrics.latency("eagre_latency_seconds", &[("sink", "a\"b")]).record(1_000, 1);
        let text = metrics.prometheus();
        assert!(text.contains("eagre_rows_dropped_total{node=\"events\",reason=\"late\"} 2"), "{text}");
        assert!(text.contains("eagre_watermark 7"), "{text}");
        assert!(text.contains("sink=\"a\\\"b\",quantile=\"0.99\""), "{text}");
    }
}
