//! The manifest of a checkpoint: what it consists of, written last, checksummed.
//!
//! Text: one line of JSON, then one line `crc32 <hex>` over it. A manifest whose checksum does not hold does not exist
//! for a restore; the list shows it as broken.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Version of the stored form; another one is refused.
pub const VERSION: u32 = 1;

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the stored form.
    pub version: u32,
    /// The pipeline it belongs to.
    pub pipeline: String,
    /// Number of its cut.
    pub epoch: u64,
    /// When it was written, microseconds since 1970.
    pub created_micros: i64,
    /// All bounded inputs had ended: a next run starts afresh unless told otherwise.
    pub finished: bool,
    /// Tasks a keyed stage had.
    pub parallelism: usize,
    /// Where each partition stood.
    pub sources: Vec<SourceEntry>,
    /// State of each operator.
    pub operators: Vec<OperatorEntry>,
    /// What each sink had prepared.
    pub sinks: Vec<SinkEntry>,
    /// The transaction outside that holds the epoch's rows; the outside knows whether it was committed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transaction: Option<TransactionEntry>,
}

/// A transaction outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionEntry {
    /// Under which id the outside knows the pipeline.
    pub id: String,
    /// The newest epoch that was committed when this checkpoint was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<u64>,
}

/// Positions of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceEntry {
    /// Fingerprint of the source.
    pub fingerprint: String,
    /// Its table's name, for people.
    pub name: String,
    /// Per partition, in the runtime's words.
    pub partitions: Vec<serde_json::Value>,
}

/// State of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorEntry {
    /// Fingerprint of the operator.
    pub fingerprint: String,
    /// Its name, for people.
    pub name: String,
    /// Its state tables.
    pub tables: Vec<TableEntry>,
}

/// A state table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEntry {
    /// Its name within the operator.
    pub name: String,
    /// Its live blocks.
    pub blocks: Vec<BlockEntry>,
}

/// A block of a state table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockEntry {
    /// The file, an Arrow IPC file.
    pub file: String,
    /// Which record batch of the file.
    pub index: usize,
    /// Time slice, microseconds.
    pub slice: i64,
    /// Rows in it.
    pub rows: usize,
}

/// What a sink had prepared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkEntry {
    /// Fingerprint of the sink.
    pub fingerprint: String,
    /// Its table's name, for people.
    pub name: String,
    /// Per writer, in the connector's words.
    pub prepared: Vec<serde_json::Value>,
}

impl Manifest {
    /// Name of the manifest's file; sorts by epoch.
    pub fn file_name(epoch: u64) -> String {
        format!("manifest-{epoch:020}.json")
    }

    /// The epoch of a manifest's file name.
    pub fn epoch_of(name: &str) -> Option<u64> {
        name.strip_prefix("manifest-")?.strip_suffix(".json")?.parse().ok()
    }

    /// The stored form.
    pub fn to_text(&self) -> Result<String> {
        let json = serde_json::to_string(self).map_err(|e| Error::bug("a manifest does not serialise").because(e))?;
        let sum = crc32fast::hash(json.as_bytes());
        Ok(format!("{json}\ncrc32 {sum:08x}\n"))
    }

    /// Reads the stored form; `name` is for the message.
    pub fn from_text(name: &str, text: &str) -> Result<Manifest> {
        let broken = |why: &str| Error::corrupt(format!("checkpoint {name} is damaged: {why}"));
        let (json, sum) = text.split_once('\n').ok_or_else(|| broken("its checksum line is missing"))?;
        let sum = sum.trim().strip_prefix("crc32 ").ok_or_else(|| broken("its checksum line is missing"))?;
        if format!("{:08x}", crc32fast::hash(json.as_bytes())) != sum {
            return Err(broken("its checksum does not hold"));
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let version: Version = serde_json::from_str(json).map_err(|e| broken("it is not a manifest").because(e))?;
        if version.version != VERSION {
            return Err(Error::corrupt(format!("checkpoint {name} has version {}, this program reads version {VERSION}", version.version)));
        }
        serde_json::from_str(json).map_err(|e| broken("it is not a manifest").because(e))
    }

    /// All files that the manifest needs.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.operators.iter().flat_map(|o| &o.tables).flat_map(|t| &t.blocks).map(|b| b.file.as_str())
    }

    /// Rows of state in it.
    pub fn state_rows(&self) -> usize {
        self.operators.iter().flat_map(|o| &o.tables).flat_map(|t| &t.blocks).map(|b| b.rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            version: VERSION,
            pipeline: "p".into(),
            epoch: 7,
            created_micros: 1,
            finished: false,
            parallelism: 2,
            sources: vec![],
            operators: vec![],
            sinks: vec![],
            transaction: None,
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let text = manifest().to_text().unwrap();
        assert_eq!(Manifest::from_text("m", &text).unwrap(), manifest());
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(broken) = String::from_utf8(bytes) else { continue };
            assert!(Manifest::from_text("m", &broken).is_err(), "byte {at}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        let text = Manifest { version: 9, ..manifest() }.to_text().unwrap();
        assert!(Manifest::from_text("m", &text).unwrap_err().to_string().contains("version 9"));
    }
}
