//! What faults of the storage engine mean to the caller.

use std::io::ErrorKind;
use std::path::Path;

use crate::error::Error;

/// Turns an error of the storage engine into ours; `doing` completes "cannot …".
pub(super) fn storage(dir: &Path, doing: &str, error: fjall::Error) -> Error {
    use fjall::Error as F;
    match error {
        F::Io(cause) | F::Storage(fjall::LsmError::Io(cause)) => io(dir, doing, cause),
        F::Poisoned => Error::failed(format!(
            "cannot {doing}: the log in {} takes no more writes since one failed; nothing acknowledged is lost: mend the \
             cause (a full disk?) and start again",
            dir.display()
        )),
        F::Locked => Error::input(format!("the log in {} is held by another process: stop it first", dir.display())),
        F::InvalidVersion(found) => Error::corrupt(format!(
            "cannot {doing}: the log in {} has format version {found:?}, which this program does not know",
            dir.display()
        )),
        cause => damaged(dir, doing).because(cause),
    }
}

fn io(dir: &Path, doing: &str, cause: std::io::Error) -> Error {
    match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Error::failed(format!(
            "cannot {doing}: no space left for the log in {}; nothing acknowledged is lost: make room (or set 'retention' on \
             its topics) and start again",
            dir.display()
        ))
        .because(cause),
        // A file of the engine is gone or shorter than the engine knows.
        ErrorKind::NotFound | ErrorKind::UnexpectedEof => damaged(dir, doing).because(cause),
        ErrorKind::PermissionDenied => {
            Error::unreachable(format!("cannot {doing}: no access to the log in {}", dir.display())).because(cause)
        }
        _ => Error::failed(format!("cannot {doing} in {}", dir.display())).because(cause),
    }
}

fn damaged(dir: &Path, doing: &str) -> Error {
    Error::corrupt(format!("cannot {doing}: the log in {} is damaged; restore it from a copy", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn each_fault_tells_what_to_do() {
        let kind = |error: fjall::Error| storage(Path::new("d"), "append", error).kind();
        assert_eq!(kind(fjall::Error::Io(ErrorKind::StorageFull.into())), Kind::Failed);
        assert_eq!(kind(fjall::Error::Poisoned), Kind::Failed);
        assert_eq!(kind(fjall::Error::Io(ErrorKind::NotFound.into())), Kind::Corrupt);
        assert_eq!(kind(fjall::Error::Storage(fjall::LsmError::Unrecoverable)), Kind::Corrupt);
        assert_eq!(kind(fjall::Error::Locked), Kind::Input);
    }
}
