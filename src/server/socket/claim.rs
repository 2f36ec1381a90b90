//! Owning a data directory: one engine at a time, found by the others through its socket.
//!
//! The lock goes with the process, however it ends; a socket file left behind is then of no meaning and is replaced.

use std::fs::{File, Permissions, TryLockError};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::error::{Error, Result};

/// Name of the socket in the data directory.
pub const SOCKET: &str = "eagre.sock";
const LOCK: &str = "eagre.lock";
/// Longest path that a socket address takes on every system.
const LONGEST_PATH: usize = 100;

/// The right to a data directory, for as long as it lives.
#[derive(Debug)]
pub struct Claim {
    /// Holds the lock.
    _lock: File,
    socket: PathBuf,
}

impl Claim {
    /// Takes the directory (made if missing) and opens its socket.
    ///
    /// # Errors
    /// [`crate::error::Kind::Input`]: another engine has it; names its process.
    pub fn take(directory: &Path) -> Result<(Claim, UnixListener)> {
        let fault =
            |what: &str, e: std::io::Error| Error::unreachable(format!("data directory {}: {what}", directory.display())).because(e);
        std::fs::create_dir_all(directory).map_err(|e| fault("cannot be made", e))?;
        let path = directory.join(LOCK);
        let mut lock =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(|e| fault("cannot be locked", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = std::fs::read_to_string(&path).unwrap_or_default();
                let owner = owner.trim();
                let process = if owner.is_empty() { "another process".to_owned() } else { format!("process {owner}") };
                return Err(Error::input(format!(
                    "data directory {} belongs to {process}, which is running; stop that one, or take another directory with --data-dir",
                    directory.display()
                )));
            }
            Err(TryLockError::Error(e)) => return Err(fault("cannot be locked", e)),
        }
        lock.set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(|e| fault("cannot be written to", e))?;

        // Made under another name and renamed when nobody else can connect any more: there is no moment of open rights.
        let socket = directory.join(SOCKET);
        let making = directory.join(format!("{SOCKET}.new"));
        _ = std::fs::remove_file(&making);
        let (address, _open) = address(&making)?;
        let listener = UnixListener::bind(&address).map_err(|e| fault("no socket can be made in it", e))?;
        std::fs::set_permissions(&making, Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&making, &socket))
            .map_err(|e| fault("no socket can be made in it", e))?;
        Ok((Claim { _lock: lock, socket }, listener))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.socket);
    }
}

/// A path by which a socket can be addressed: long ones go through the open folder.
pub(super) fn address(socket: &Path) -> Result<(PathBuf, Option<File>)> {
    let long = socket.as_os_str().len() > LONGEST_PATH;
    match (long, socket.parent(), socket.file_name()) {
        (true, Some(folder), Some(name)) if cfg!(target_os = "linux") => {
            let folder = File::open(folder)?;
            Ok((PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name), Some(folder)))
        }
        _ => Ok((socket.to_owned(), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_has_one_owner_and_a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("a".repeat(120));
        for data in [dir.path().join("data"), long] {
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join(SOCKET), "left behind").unwrap();
            let (claim, listener) = Claim::take(&data).unwrap();
            let mode = std::fs::metadata(data.join(SOCKET)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let error = Claim::take(&data).unwrap_err();
            assert_eq!(error.kind().exit_code(), 2);
            let text = error.to_string();
            assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("--data-dir"), "{text}");
            drop((claim, listener));
            assert!(!data.join(SOCKET).exists());
            Claim::take(&data).unwrap();
        }
    }
}
