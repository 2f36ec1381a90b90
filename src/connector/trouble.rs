//! What is not as it should be although work goes on: a broker that is away and asked again and again.
//!
//! Connectors report here; `/health` says `degraded` and shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The troubles of an engine. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    /// Thing (`broker kafka-1:9092`) -> what about it.
    known: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Troubles {
    /// Something is wrong with `thing`, but work goes on.
    pub fn report(&self, thing: impl Into<String>, what: impl Into<String>) {
        let (thing, what) = (thing.into(), what.into());
        let mut known = self.known.lock();
        if known.get(&thing) != Some(&what) {
            tracing::warn!("{thing}: {what}");
            known.insert(thing, what);
        }
    }

    /// `thing` is as it should be again.
    pub fn mended(&self, thing: &str) {
        if self.known.lock().remove(thing).is_some() {
            tracing::info!("{thing}: mended");
        }
    }

    /// All of them, by thing.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.known.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_known_until_it_is_mended() {
        let troubles = Troubles::default();
        let reporter = troubles.clone();
        reporter.report("broker a", "refused");
        reporter.report("broker a", "timed out");
        assert_eq!(troubles.all(), [("broker a".to_owned(), "timed out".to_owned())].into());
        reporter.mended("broker a");
        assert!(troubles.all().is_empty());
    }
}
