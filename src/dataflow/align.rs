//! Event-time alignment: a reader that is ahead waits for the one that is furthest behind.
//!
//! Without it a join of two replayed inputs would hold whatever the faster one has read (decisions.md, Alignment).

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many of its own chunks' worth of event time a reader may be ahead when no drift is configured: enough for
/// readers on several threads to work side by side.
const CHUNKS_AHEAD: i64 = 2;

/// The readers that keep pace with each other.
#[derive(Debug, Clone, Default)]
pub struct Aligner {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    readers: Mutex<Vec<Reader>>,
    moved: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Reader {
    /// Largest event time read, microseconds.
    reached: i64,
    /// Does anybody wait for it? Not while it is idle and not after its end.
    active: bool,
    /// How far it may be ahead of the last.
    drift: i64,
    /// Does the drift follow the size of its chunks?
    adaptive: bool,
}

/// One reader's place in the alignment.
#[derive(Debug)]
pub struct Pace {
    aligner: Aligner,
    index: usize,
}

impl Aligner {
    /// Adds a reader. `max_drift_micros`: how far it may be ahead; `None` = follow the size of its chunks.
    pub fn join(&self, max_drift_micros: Option<i64>) -> Pace {
        let mut readers = self.inner.readers.lock();
        readers.push(Reader {
            reached: i64::MIN,
            active: true,
            drift: max_drift_micros.unwrap_or(0),
            adaptive: max_drift_micros.is_none(),
        });
        Pace { aligner: self.clone(), index: readers.len() - 1 }
    }
}

impl Pace {
    /// Notes that event time up to `reached` has been read.
    pub fn advance(&self, reached: i64) {
        let mut readers = self.aligner.inner.readers.lock();
        let reader = &mut readers[self.index];
        if reader.adaptive && reader.reached != i64::MIN {
            reader.drift = reader.drift.max(reached.saturating_sub(reader.reached).saturating_mul(CHUNKS_AHEAD));
        }
        reader.reached = reader.reached.max(reached);
        reader.active = true;
        drop(readers);
        self.aligner.inner.moved.notify_waiters();
    }

    /// Nobody needs to wait for this reader for now (or any more).
    pub fn rest(&self) {
        self.aligner.inner.readers.lock()[self.index].active = false;
        self.aligner.inner.moved.notify_waiters();
    }

    /// May this reader go on?
    pub fn may_read(&self) -> bool {
        let readers = self.aligner.inner.readers.lock();
        let me = readers[self.index];
        let last = readers.iter().enumerate().filter(|(i, r)| *i != self.index && r.active).map(|(_, r)| r.reached).min();
        last.is_none_or(|last| me.reached == i64::MIN || me.reached.saturating_sub(me.drift) <= last)
    }

    /// Waits until some reader has moved. Look at [`Pace::may_read`] again after it.
    pub async fn moved(&self) {
        let moved = self.aligner.inner.moved.notified();
        if self.may_read() {
            return;
        }
        moved.await;
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_ahead_waits_and_a_resting_one_is_not_waited_for() {
        let aligner = Aligner::default();
        let (a, b) = (aligner.join(Some(10)), aligner.join(Some(10)));
        assert!(a.may_read(), "the first chunk is free");
        a.advance(100);
        assert!(!a.may_read(), "b has not said where it is");
        b.advance(85);
        assert!(!a.may_read());
        assert!(b.may_read());
        b.advance(90);
        assert!(a.may_read());
        a.advance(200);
        b.rest();
        assert!(a.may_read());
    }
}
