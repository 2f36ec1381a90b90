//! Which checkpoint a start goes on from, where a transaction outside decides.
//!
//! ```text
//!  manifests   7 ─ 9T ─ 12 ─ 15T      T = holds a transaction
//!  marker      9                      the newest epoch committed outside
//!  go on from        12               9T is committed, 12 needs nothing, 15T was never committed: its rows are written again
//! ```

use crate::error::{Error, Result};
use crate::state::Manifest;
use crate::state::checkpoint::Listed;

/// What a transaction group says at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Its id.
    pub id: String,
    /// The newest epoch that it has committed.
    pub epoch: Option<u64>,
}

/// The newest whole checkpoint whose own and earlier transactions are committed. `listed`: oldest first.
pub fn newest(listed: Vec<Listed>, marker: Option<&Marker>) -> Result<Option<Manifest>> {
    let (mut found, mut broken) = (None, None);
    for one in listed {
        match one.manifest {
            Err(error) => {
                tracing::warn!("{error}; looking at the one before");
                broken = Some(error);
            }
            Ok(manifest) => {
                if !is_confirmed(&manifest, marker)? {
                    tracing::warn!("checkpoint {} was not committed outside; looking at the one before", manifest.epoch);
                    return found_or(found, broken);
                }
                (found, broken) = (Some(manifest), None);
            }
        }
    }
    found_or(found, broken)
}

/// Only broken checkpoints are damage, not a fresh start.
fn found_or(found: Option<Manifest>, broken: Option<Error>) -> Result<Option<Manifest>> {
    match (found, broken) {
        (None, Some(error)) => Err(error),
        (found, _) => Ok(found),
    }
}

/// Is the checkpoint's transaction, if it holds one, committed?
pub fn is_confirmed(manifest: &Manifest, marker: Option<&Marker>) -> Result<bool> {
    let Some(transaction) = &manifest.transaction else { return Ok(true) };
    let (epoch, id) = (manifest.epoch, &transaction.id);
    let Some(marker) = marker.filter(|marker| marker.id == *id) else {
        let now = marker.map_or("no sink of the query takes part in one".to_owned(), |marker| format!("the query has '{}'", marker.id));
        return Err(Error::input(format!(
            "checkpoint {epoch} holds a transaction '{id}', and {now}: whether it was committed is not known. Run with --restore \
             {epoch} if it was, or with --restore none to start afresh"
        )));
    };
    if let Some(after) = transaction.after
        && marker.epoch.is_none_or(|committed| committed < after)
    {
        let found = marker.epoch.map_or("none".to_owned(), |epoch| format!("epoch {epoch}"));
        return Err(Error::corrupt(format!(
            "checkpoint {epoch} was made after the transaction of epoch {after} was committed, but the newest marker of '{id}' is \
             {found}: the marker's topic was deleted or belongs to another cluster. Run with --restore {epoch} to go on nevertheless"
        )));
    }
    Ok(marker.epoch.is_some_and(|committed| committed >= epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::state::manifest::{TransactionEntry, VERSION};

    fn listed(epoch: u64, transaction: Option<Option<u64>>) -> Listed {
        let manifest = Manifest {
            version: VERSION,
            pipeline: "p".into(),
            epoch,
            created_micros: 0,
            finished: false,
            parallelism: 1,
            sources: vec![],
            operators: vec![],
            sinks: vec![],
            transaction: transaction.map(|after| TransactionEntry { id: "eagre-p".into(), after }),
        };
        Listed { epoch, manifest: Ok(manifest) }
    }

    fn chosen(listed: Vec<Listed>, epoch: Option<u64>) -> Option<u64> {
        let marker = Marker { id: "eagre-p".into(), epoch };
        newest(listed, Some(&marker)).unwrap().map(|manifest| manifest.epoch)
    }

    #[test]
    fn the_marker_decides_over_transactions_and_nothing_else() {
        let all = || vec![listed(7, None), listed(9, Some(None)), listed(12, None), listed(15, Some(Some(9)))];
        assert_eq!(chosen(all(), Some(15)), Some(15));
        assert_eq!(chosen(all(), Some(9)), Some(12), "15 was never committed");
        assert_eq!(chosen(vec![listed(7, None), listed(9, Some(None)), listed(12, None)], None), Some(7), "nothing behind 9, either");
        assert_eq!(chosen(vec![listed(9, Some(None))], None), None, "the first transaction of all was never committed");
        assert_eq!(chosen(vec![], Some(4)), None);
    }

    #[test]
    fn a_lost_marker_and_another_id_are_told() {
        let marker = |id: &str, epoch| Marker { id: id.into(), epoch };
        let lost = newest(vec![listed(15, Some(Some(9)))], Some(&marker("eagre-p", None))).unwrap_err();
        assert_eq!(lost.kind(), Kind::Corrupt);
        assert!(lost.message().contains("--restore 15"), "{lost}");
        let other = newest(vec![listed(15, Some(None))], Some(&marker("other-p", Some(20)))).unwrap_err();
        assert_eq!(other.kind(), Kind::Input);
        assert!(newest(vec![listed(15, Some(None))], None).unwrap_err().message().contains("no sink of the query"), "nobody knows");
    }

    #[test]
    fn a_broken_checkpoint_is_passed_over_unless_it_is_all_there_is() {
        let broken = || Listed { epoch: 9, manifest: Err(Error::corrupt("broken")) };
        assert_eq!(chosen(vec![listed(7, None), broken()], None), Some(7));
        assert_eq!(newest(vec![broken()], None).unwrap_err().kind(), Kind::Corrupt);
    }
}
