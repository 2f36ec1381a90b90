//! Checkpoints in a store: writing new blocks as Arrow IPC files, the manifest last; finding the newest whole one;
//! removing what no kept manifest needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::state::blocks::{Block, BlockId, BlockTable};
use crate::state::manifest::{BlockEntry, Manifest, OperatorEntry};
use crate::state::store::Store;

/// Manifests kept besides the newest.
const KEPT: usize = 2;

/// All checkpoints of one pipeline.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    store: Store,
}

/// A checkpoint as listed.
#[derive(Debug)]
pub struct Listed {
    /// Its epoch.
    pub epoch: u64,
    /// The manifest, or why it cannot be used.
    pub manifest: Result<Manifest>,
}

impl Checkpoints {
    /// The checkpoints in `store`.
    pub fn new(store: Store) -> Self {
        Checkpoints { store }
    }

    /// Where they are.
    pub fn describe(&self) -> String {
        self.store.describe()
    }

    /// All checkpoints, oldest first.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        let names = self.store.list().await?;
        for name in &names {
            if let Some(epoch) = Manifest::epoch_of(name) {
                let manifest = self.read(name).await.and_then(|manifest| {
                    let missing =
                        manifest.files().find(|file| names.binary_search_by(|n| n.as_str().cmp(file)).is_err()).map(str::to_owned);
                    match missing {
                        Some(missing) => Err(Error::corrupt(format!("checkpoint {name} is damaged: its file {missing} is missing"))),
                        None => Ok(manifest),
                    }
                });
                listed.push(Listed { epoch, manifest });
            }
        }
        Ok(listed)
    }

    /// The newest checkpoint that is whole. Broken newer ones are passed over with a warning; when there are only
    /// broken ones that is damage, not a fresh start.
    pub async fn newest(&self) -> Result<Option<Manifest>> {
        let mut broken = None;
        for listed in self.list().await?.into_iter().rev() {
            match listed.manifest {
                Ok(manifest) => return Ok(Some(manifest)),
                Err(error) => {
                    tracing::warn!("{error}; looking at the one before");
                    broken.get_or_insert(error);
                }
            }
        }
        broken.map_or(Ok(None), Err)
    }

    /// The checkpoint of this epoch.
    pub async fn of_epoch(&self, epoch: u64) -> Result<Manifest> {
        let mut known = Vec::new();
        for listed in self.list().await? {
            if listed.epoch == epoch {
                return listed.manifest;
            }
            known.push(listed.epoch.to_string());
        }
        let there = if known.is_empty() { "there is none yet".to_owned() } else { format!("there are: {}", known.join(", ")) };
        Err(Error::input(format!("no checkpoint {epoch} in {}; {there}", self.describe())))
    }

    async fn read(&self, name: &str) -> Result<Manifest> {
        let content = self.store.read(name).await?.ok_or_else(|| Error::corrupt(format!("checkpoint {name} is gone")))?;
        let text = std::str::from_utf8(&content).map_err(|e| Error::corrupt(format!("checkpoint {name} is damaged")).because(e))?;
        Manifest::from_text(name, text)
    }

    /// Loads the blocks of an operator: table name -> blocks.
    pub async fn load(&self, entry: &OperatorEntry) -> Result<BTreeMap<String, Vec<Block>>> {
        let mut files: HashMap<&str, Vec<RecordBatch>> = HashMap::new();
        let mut tables = BTreeMap::new();
        for table in &entry.tables {
            let mut blocks = Vec::with_capacity(table.blocks.len());
            for block in &table.blocks {
                if !files.contains_key(block.file.as_str()) {
                    files.insert(&block.file, self.read_blocks(&block.file).await?);
                }
                let rows = files[block.file.as_str()].get(block.index).filter(|rows| rows.num_rows() == block.rows).ok_or_else(|| {
                    Error::corrupt(format!("state file {} of {} does not hold what its manifest says", block.file, entry.name))
                })?;
                blocks.push(Block { slice: block.slice, rows: rows.clone(), file: Some(reference(&block.file, block.index)) });
            }
            tables.insert(table.name.clone(), blocks);
        }
        Ok(tables)
    }

    async fn read_blocks(&self, file: &str) -> Result<Vec<RecordBatch>> {
        let broken = |why: String| Error::corrupt(format!("state file {file} in {} is damaged: {why}", self.describe()));
        let content = self.store.read(file).await?.ok_or_else(|| broken("it is missing".into()))?;
        let (payload, sum) = content.split_at_checked(content.len().saturating_sub(4)).ok_or_else(|| broken("it is too short".into()))?;
        if crc32fast::hash(payload).to_le_bytes() != sum {
            return Err(broken("its checksum does not hold".into()));
        }
        let reader = FileReader::try_new(Cursor::new(payload), None).map_err(|e| broken(e.to_string()))?;
        reader.collect::<std::result::Result<_, _>>().map_err(|e| broken(e.to_string()))
    }

    /// Writes those blocks of a table that no file holds yet into one file, notes it in the table, and returns the
    /// entries of all blocks. `stem` must be unique within the store. Also returns the bytes written.
    pub async fn write_blocks(&self, stem: &str, table: &BlockTable, blocks: &[(BlockId, Block)]) -> Result<(Vec<BlockEntry>, u64)> {
        let fresh: Vec<&(BlockId, Block)> = blocks.iter().filter(|(_, block)| block.file.is_none()).collect();
        let file = format!("{stem}.arrow");
        let mut written = 0;
        if !fresh.is_empty() {
            let content = encode(table, &fresh)?;
            written = content.len() as u64;
            self.store.create(&file, content).await?;
        }
        let mut entries = Vec::with_capacity(blocks.len());
        let mut next = 0;
        for (id, block) in blocks {
            let (file, index) = match &block.file {
                Some(reference) => dereference(reference)?,
                None => {
                    table.mark_written(*id, reference(&file, next));
                    next += 1;
                    (file.clone(), next - 1)
                }
            };
            entries.push(BlockEntry { file, index, slice: block.slice, rows: block.rows.num_rows() });
        }
        Ok((entries, written))
    }

    /// Writes the manifest: with this the checkpoint exists.
    pub async fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        self.store.create(&Manifest::file_name(manifest.epoch), manifest.to_text()?.into()).await
    }

    /// Removes every checkpoint newer than `epoch` (all of them for `None`): a run that goes on from an older one, or
    /// starts afresh, must not be followed by a leftover.
    pub async fn forget_after(&self, epoch: Option<u64>) -> Result<()> {
        for name in self.store.list().await? {
            if Manifest::epoch_of(&name).is_some_and(|found| epoch.is_none_or(|keep| found > keep)) {
                self.store.remove(&name).await?;
            }
        }
        self.sweep(usize::MAX).await
    }

    /// Removes old manifests, then the files that no manifest needs.
    pub async fn tidy(&self) -> Result<()> {
        self.sweep(KEPT + 1).await
    }

    async fn sweep(&self, keep: usize) -> Result<()> {
        let listed = self.list().await?;
        let (old, kept) = listed.split_at(listed.len().saturating_sub(keep));
        let mut needed: BTreeSet<String> = BTreeSet::new();
        for checkpoint in kept {
            match &checkpoint.manifest {
                Ok(manifest) => needed.extend(manifest.files().map(str::to_owned)),
                // What a broken manifest needs is unknown: nothing is removed until it has gone by age.
                Err(_) => return Ok(()),
            }
        }
        for checkpoint in old {
            self.store.remove(&Manifest::file_name(checkpoint.epoch)).await?;
        }
        for name in self.store.list().await? {
            if name.ends_with(".arrow") && !needed.contains(&name) {
                self.store.remove(&name).await?;
            }
        }
        Ok(())
    }
}

fn encode(table: &BlockTable, blocks: &[&(BlockId, Block)]) -> Result<Bytes> {
    let options = IpcWriteOptions::default().try_with_compression(Some(arrow::ipc::CompressionType::LZ4_FRAME))?;
    let mut writer = FileWriter::try_new_with_options(Vec::new(), table.schema(), options)?;
    for (_, block) in blocks {
        writer.write(&block.rows)?;
    }
    let mut content = writer.into_inner()?;
    content.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
    Ok(content.into())
}

/// How a block remembers its place: `file#index`.
fn reference(file: &str, index: usize) -> String {
    format!("{file}#{index}")
}

fn dereference(reference: &str) -> Result<(String, usize)> {
    reference
        .rsplit_once('#')
        .and_then(|(file, index)| Some((file.to_owned(), index.parse().ok()?)))
        .ok_or_else(|| Error::bug(format!("'{reference}' names no block")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::manifest::{TableEntry, VERSION};
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn rows(values: &[i64]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
    }

    async fn checkpoint(checkpoints: &Checkpoints, epoch: u64, table: &BlockTable) -> (Manifest, u64) {
        let (blocks, written) = checkpoints.write_blocks(&format!("{epoch}-op"), table, &table.blocks()).await.unwrap();
        let operator = OperatorEntry { fingerprint: "f".into(), name: "op".into(), tables: vec![TableEntry { name: "t".into(), blocks }] };
        let manifest = Manifest {
            version: VERSION,
            pipeline: "p".into(),
            epoch,
            created_micros: 0,
            finished: false,
            parallelism: 1,
            sources: vec![],
            operators: vec![operator],
            sinks: vec![],
            transaction: None,
        };
        checkpoints.write_manifest(&manifest).await.unwrap();
        checkpoints.tidy().await.unwrap();
        (manifest, written)
    }

    #[tokio::test]
    async fn only_new_blocks_are_written_and_old_files_go_when_nobody_needs_them() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(Store::Local(dir.path().into()));
        let table = BlockTable::new(rows(&[]).schema(), vec![]);
        let first = table.push(0, rows(&[1, 2]));
        checkpoint(&checkpoints, 1, &table).await;
        table.push(10, rows(&[3]));
        let (second, _) = checkpoint(&checkpoints, 2, &table).await;
        assert_eq!(second.files().collect::<Vec<_>>(), ["1-op.arrow", "2-op.arrow"]);
        let (_, nothing) = checkpoint(&checkpoints, 3, &table).await;
        assert_eq!(nothing, 0, "no change, nothing written");
        table.remove(first);
        for epoch in 4..=7 {
            checkpoint(&checkpoints, epoch, &table).await;
        }
        let newest = checkpoints.newest().await.unwrap().unwrap();
        assert_eq!(newest.epoch, 7);
        let loaded = checkpoints.load(&newest.operators[0]).await.unwrap();
        assert_eq!(loaded["t"][0].rows, rows(&[3]));
        assert!(!dir.path().join("1-op.arrow").exists());
    }

    #[tokio::test]
    async fn damage_is_noticed_and_an_older_whole_checkpoint_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(Store::Local(dir.path().into()));
        let table = BlockTable::new(rows(&[]).schema(), vec![]);
        table.push(0, rows(&[1]));
        checkpoint(&checkpoints, 1, &table).await;
        table.push(0, rows(&[2]));
        checkpoint(&checkpoints, 2, &table).await;
        std::fs::remove_file(dir.path().join("2-op.arrow")).unwrap();
        let newest = checkpoints.newest().await.unwrap().unwrap();
        assert_eq!(newest.epoch, 1);
        let path = dir.path().join("1-op.arrow");
        let mut content = std::fs::read(&path).unwrap();
        content[40] ^= 1;
        std::fs::write(&path, content).unwrap();
        let error = checkpoints.load(&newest.operators[0]).await.unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Corrupt);
        std::fs::write(dir.path().join(Manifest::file_name(1)), "x").unwrap();
        assert_eq!(checkpoints.newest().await.unwrap_err().kind(), crate::error::Kind::Corrupt);
    }
}
