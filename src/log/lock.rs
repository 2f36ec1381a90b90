//! One process at a time holds a log: a locked file that tells others who.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};

/// A process that this one is just starting holds copies of all its files until it runs: a lock that was given back may
/// still be seen for a moment. So it is tried this often …
const TRIES: u32 = 20;
/// … with this much time between.
const BETWEEN: Duration = Duration::from_millis(10);

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
        let mut locked = file.try_lock();
        for _ in 1..TRIES {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(BETWEEN);
            locked = file.try_lock();
        }
        match locked {
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
