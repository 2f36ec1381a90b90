//! `state.max-bytes`: what all operators hold together, and what happens when it comes near the limit or reaches it.
//!
//! ```text
//!  0 %             90 %                         100 %
//!  ├─ full speed ──┼─ sources pause, a warning ─┼─ stop behind a checkpoint, exit code 1
//!                                               └─ with state.on-limit = dead-letter: rows are refused, and counted
//! ```
//! Every task measures its nodes at barriers: their state tables, and what lives outside them. A pause is bounded: event
//! time must go on, or nothing would ever close. The table `dead_letters` has a cap of its own and is not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Error;
use crate::metrics::{Gauge, Metrics};

/// Sources pause from this share of the limit on, in hundredths.
const SLOW_PERCENT: u64 = 90;
/// The warning may come again once state has fallen below this.
const CALM_PERCENT: u64 = 80;
/// Longest pause of a source before each chunk: at the limit.
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// Least time between two measurements of a task, but for checkpoints.
const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// `'state.on-limit'`: what happens when state reaches `state.max-bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStateLimit {
    /// The pipeline stops behind a last checkpoint.
    #[default]
    Stop,
    /// Rows that would make state grow are refused (reason `state_limit`) until enough of it has gone.
    DeadLetter,
}

/// The state of a pipeline and its limit; clones share it.
#[derive(Debug, Clone)]
pub struct StateLimit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max_bytes: Option<u64>,
    on_limit: OnStateLimit,
    held: AtomicU64,
    /// What each node holds, over all tasks.
    nodes: Mutex<Vec<Arc<Held>>>,
    warned: AtomicBool,
    metrics: Metrics,
    total: Gauge,
}

#[derive(Debug)]
struct Held {
    node: String,
    bytes: AtomicU64,
    gauge: Gauge,
}

/// What one task's instance of a node holds.
#[derive(Debug)]
pub struct Share {
    limit: StateLimit,
    of: Arc<Held>,
    /// As last measured.
    bytes: u64,
}

/// When a task measures.
#[derive(Debug, Default)]
pub struct Measuring {
    last: Option<Instant>,
}

impl Measuring {
    /// Is it time to measure? At checkpoints always.
    pub fn is_due(&mut self, checkpoint: bool) -> bool {
        let due = checkpoint || self.last.is_none_or(|last| last.elapsed() >= MEASURE_EVERY);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}

impl StateLimit {
    /// A limit; `max_bytes`: `None` = there is none.
    pub fn new(max_bytes: Option<u64>, on_limit: OnStateLimit, metrics: &Metrics) -> Self {
        let total = metrics.gauge("eagre_state_bytes", &[]);
        let (held, nodes, warned) = (AtomicU64::new(0), Mutex::default(), AtomicBool::new(false));
        StateLimit { inner: Arc::new(Inner { max_bytes, on_limit, held, nodes, warned, metrics: metrics.clone(), total }) }
    }

    /// The share of an instance of `node`.
    pub fn share(&self, node: &str) -> Share {
        let mut nodes = self.inner.nodes.lock();
        let known = nodes.iter().find(|held| held.node == node).cloned();
        let of = known.unwrap_or_else(|| {
            let gauge = self.inner.metrics.gauge("eagre_node_state_bytes", &[("node", node)]);
            let held = Arc::new(Held { node: node.to_owned(), bytes: AtomicU64::new(0), gauge });
            nodes.push(held.clone());
            held
        });
        Share { limit: self.clone(), of, bytes: 0 }
    }

    /// Where its figures go.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// State of all nodes, in bytes.
    pub fn held(&self) -> u64 {
        self.inner.held.load(Ordering::Relaxed)
    }

    /// How long a source is to wait before it reads on; `None` = not at all.
    pub fn pause(&self) -> Option<Duration> {
        let max = self.inner.max_bytes?;
        let (held, slow) = (self.held(), percent(max, SLOW_PERCENT));
        if held < slow {
            return None;
        }
        let over = (held - slow) as f64 / (max - slow).max(1) as f64;
        Some(MAX_PAUSE.mul_f64(over.clamp(0.05, 1.0)))
    }

    /// Are rows that would make state grow to be refused?
    pub fn refuses(&self) -> bool {
        self.inner.on_limit == OnStateLimit::DeadLetter && self.inner.max_bytes.is_some_and(|max| self.held() >= max)
    }

    /// Warns, once each time state comes near its limit. The reason to stop, if it has reached it.
    pub fn watch(&self) -> Option<Error> {
        let max = self.inner.max_bytes?;
        let held = self.held();
        if held < percent(max, CALM_PERCENT) {
            self.inner.warned.store(false, Ordering::Relaxed);
        }
        if held < percent(max, SLOW_PERCENT) {
            return None;
        }
        let (node, most) = self.most();
        if !self.inner.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "state is {held} bytes, over {SLOW_PERCENT} % of state.max-bytes ({max}): sources slow down; {node} holds most, {most} bytes"
            );
        }
        (held >= max && self.inner.on_limit == OnStateLimit::Stop).then(|| {
            Error::failed(format!(
                "state is {held} bytes, all that state.max-bytes allows ({max}); {node} holds most, {most} bytes. Stopped behind a last checkpoint, \
                 nothing is lost: raise the limit or narrow the windows and start again (state.on-limit = dead-letter goes on without rows instead)"
            ))
        })
    }

    /// The node that holds most, and how much.
    fn most(&self) -> (String, u64) {
        let nodes = self.inner.nodes.lock();
        let bytes = |held: &Arc<Held>| held.bytes.load(Ordering::Relaxed);
        nodes.iter().max_by_key(|held| bytes(held)).map_or_else(|| ("nobody".to_owned(), 0), |held| (held.node.clone(), bytes(held)))
    }
}

fn percent(of: u64, percent: u64) -> u64 {
    (u128::from(of) * u128::from(percent) / 100) as u64
}

impl Share {
    /// Notes what the instance holds now.
    pub fn set(&mut self, bytes: usize) {
        let (before, now) = (std::mem::replace(&mut self.bytes, bytes as u64), bytes as u64);
        for total in [&self.of.bytes, &self.limit.inner.held] {
            if now >= before {
                total.fetch_add(now - before, Ordering::Relaxed);
            } else {
                total.fetch_sub(before - now, Ordering::Relaxed);
            }
        }
        self.of.gauge.set(self.of.bytes.load(Ordering::Relaxed) as i64);
        self.limit.inner.total.set(self.limit.held() as i64);
    }

    /// Are rows that would make state grow to be refused?
    pub fn refuses(&self) -> bool {
        self.limit.refuses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_the_limit_sources_pause_and_at_it_the_largest_is_named() {
        let metrics = Metrics::default();
        let limit = StateLimit::new(Some(1_000), OnStateLimit::Stop, &metrics);
        let (mut join, mut other, mut over) = (limit.share("join"), limit.share("join"), limit.share("over"));
        join.set(400);
        other.set(300);
        over.set(100);
        assert!(limit.pause().is_none() && limit.watch().is_none());
        over.set(250);
        let near = limit.pause().unwrap();
        assert!(limit.watch().is_none());
        over.set(400);
        assert!(near < limit.pause().unwrap() && limit.pause().unwrap() <= MAX_PAUSE);
        let told = limit.watch().unwrap().to_string();
        assert!(told.contains("state is 1100 bytes") && told.contains("join holds most, 700 bytes"), "{told}");
        other.set(0);
        assert!(limit.pause().is_none() && limit.watch().is_none());
        assert_eq!(metrics.gauge("eagre_node_state_bytes", &[("node", "join")]).get(), 400);
        assert_eq!(metrics.gauge("eagre_state_bytes", &[]).get(), 800);
    }

    #[test]
    fn rows_are_refused_only_where_that_was_asked_for() {
        let full = |on_limit| {
            let limit = StateLimit::new(Some(10), on_limit, &Metrics::default());
            limit.share("join").set(10);
            limit
        };
        assert!(!full(OnStateLimit::Stop).refuses());
        let dropping = full(OnStateLimit::DeadLetter);
        assert!(dropping.refuses() && dropping.watch().is_none());
    }
}
