//! One process at a time holds a log: a locked file that tells others who.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// The lock; given back when dropped, and by the system when the process dies.
#[derive(Debug)]
pub(super) struct OwnerLock {
    _file: File,
}

impl OwnerLock {
    /// Takes the lock of the log in `dir`, which exists.
    pub(super) fn take(dir: &Path) -> Result<Self> {
        let path = dir.join("owner");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Error::unreachable(format!("cannot open {}", path.display())).because(e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                _ = file.read_to_string(&mut owner);
                let owner = owner.trim();
                let owner = if owner.is_empty() { "another process" } else { &format!("process {owner}") };
                return Err(Error::input(format!(
                    "the log in {} is held by {owner}: stop it first, or name another data directory with --data-dir",
                    dir.display()
                )));
            }
            Err(TryLockError::Error(e)) => return Err(Error::failed(format!("cannot lock {}", path.display())).because(e)),
        }
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(std::process::id().to_string().as_bytes())
        };
        write(&mut file).map_err(|e| Error::failed(format!("cannot write {}", path.display())).because(e))?;
        Ok(OwnerLock { _file: file })
    }
}
