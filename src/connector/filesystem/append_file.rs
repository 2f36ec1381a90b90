//! A file that only grows. It is synced every few megabytes on a thread beside, so that the sync of a checkpoint, which has
//! to wait for the disk, finds little left to do.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::failed;
use crate::error::Result;

/// Bytes written between two syncs.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

/// A file that only grows.
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: File,
    length: u64,
    /// Written since the last sync began.
    unsynced: u64,
    syncing: Syncing,
}

impl AppendFile {
    /// Opens the file, cut to `length`.
    pub fn open(path: &Path, length: u64) -> Result<Self> {
        let fault = |error| failed("writing", path, error);
        let mut file = File::options().create(true).truncate(false).write(true).open(path).map_err(fault)?;
        file.set_len(length).map_err(fault)?;
        file.seek(SeekFrom::End(0)).map_err(fault)?;
        Ok(AppendFile { path: path.to_owned(), file, length, unsynced: 0, syncing: Syncing::default() })
    }

    /// Its length, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Writes `bytes` behind what is there.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let count = bytes.len() as u64;
        let written = self.file.write_all(bytes).and_then(|()| self.wrote(count));
        written.map_err(|e| failed("writing", &self.path, e))
    }

    fn wrote(&mut self, count: u64) -> io::Result<()> {
        self.length += count;
        self.unsynced += count;
        if self.unsynced < SYNC_EVERY_BYTES || self.syncing.is_under_way() {
            return Ok(());
        }
        self.syncing.wait()?;
        self.unsynced = 0;
        self.syncing = Syncing::begin(self.file.try_clone()?)?;
        Ok(())
    }

    /// What makes the bytes so far durable; more may be written meanwhile.
    pub fn hand_over(&mut self) -> Result<ToSync> {
        let file = self.file.try_clone().map_err(|e| failed("syncing", &self.path, e))?;
        Ok(ToSync { path: self.path.clone(), file, before: std::mem::take(&mut self.syncing) })
    }
}

/// A file whose bytes are written and not durable yet.
#[derive(Debug)]
pub struct ToSync {
    path: PathBuf,
    file: File,
    /// What was begun before.
    before: Syncing,
}

impl ToSync {
    /// A file that was written as a whole.
    pub fn new(path: PathBuf, file: File) -> Self {
        ToSync { path, file, before: Syncing::default() }
    }

    /// Waits for the disk.
    pub fn sync(mut self) -> Result<()> {
        self.before.wait().and_then(|()| self.file.sync_all()).map_err(|e| failed("syncing", &self.path, e))
    }
}

/// A sync on a thread of its own. Its fault must be asked for: the file tells it only once.
#[derive(Debug, Default)]
struct Syncing(Option<JoinHandle<io::Result<()>>>);

impl Syncing {
    fn begin(file: File) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name("eagre-sync".to_owned());
        thread.spawn(move || file.sync_data()).map(|sync| Syncing(Some(sync)))
    }

    fn is_under_way(&self) -> bool {
        self.0.as_ref().is_some_and(|sync| !sync.is_finished())
    }

    fn wait(&mut self) -> io::Result<()> {
        let Some(sync) = self.0.take() else { return Ok(()) };
        sync.join().unwrap_or_else(|_| Err(io::Error::other("the thread that synced the file ended badly")))
    }
}
