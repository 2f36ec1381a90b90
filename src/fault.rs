//! Fault points: places where tests have the process killed, to show that nothing is lost or doubled there.
//!
//! `EAGRE_FAULT=point` kills the process (as `kill -9` does) when it first comes to that point, `EAGRE_FAULT=point:3` the
//! third time. Nobody else sets it; without it a point costs one look at a variable that was read at the start.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Between which steps the process may be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Earlier instances are fenced; the marker has not been read.
    Fenced,
    /// Rows are in the transaction, the marker is not.
    Flushed,
    /// The marker is in the transaction; there is no manifest.
    Prepared,
    /// The manifest is durable, the transaction is open.
    Manifest,
    /// The transaction is committed; the other sinks are not.
    Committed,
    /// Everything is committed; old checkpoints are not removed, sources are not told.
    Confirmed,
    /// Dead letters were sent to a broker, and are not remembered as sent.
    Resent,
    /// They are remembered; others have still to be sent.
    Remembered,
}

impl Point {
    /// Those of a commit, in the order in which a run comes to them.
    pub const ALL: [Point; 6] = [Point::Fenced, Point::Flushed, Point::Prepared, Point::Manifest, Point::Committed, Point::Confirmed];

    /// Its name in `EAGRE_FAULT`.
    pub fn name(self) -> &'static str {
        match self {
            Point::Fenced => "fenced",
            Point::Flushed => "flushed",
            Point::Prepared => "prepared",
            Point::Manifest => "manifest",
            Point::Committed => "committed",
            Point::Confirmed => "confirmed",
            Point::Resent => "resent",
            Point::Remembered => "remembered",
        }
    }
}

/// The run comes to `point`.
pub fn reach(point: Point) {
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("EAGRE_FAULT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), times.parse().unwrap_or(1)))
    });
    let Some((name, times)) = wanted else { return };
    if name == point.name() && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *times {
        // By the tool, so that nothing of this process has a say in it.
        let killed = std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
        tracing::error!("fault point {name}: still alive after {killed:?}");
        std::process::abort();
    }
}
