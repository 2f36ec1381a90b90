//! Where checkpoints live: a local directory, written and synced by hand, or an object store by URL.
//!
//! `object_store`'s local store does not fsync, so a directory is written here: file, sync, rename, sync of the folder.
//! On S3 a manifest is one `PutMode::Create`: two engines can never both write the same one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::error::{Error, Result};

/// A place for named, immutable files.
#[derive(Debug, Clone)]
pub enum Store {
    /// A directory; made on first use.
    Local(PathBuf),
    /// A prefix in an object store.
    Object(Arc<dyn ObjectStore>, ObjectPath),
}

impl Store {
    /// A directory, or an URL such as `s3://bucket/prefix` (credentials and endpoint from the `AWS_…` environment).
    pub fn open(place: &str) -> Result<Store> {
        if let Some(path) = place.strip_prefix("file://") {
            return Ok(Store::Local(PathBuf::from(path)));
        }
        if !place.contains("://") {
            return Ok(Store::Local(PathBuf::from(place)));
        }
        #[cfg(feature = "s3")]
        if let Some(rest) = place.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let store = object_store::aws::AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .build()
                .map_err(|e| Error::input(format!("checkpoint.dir '{place}' cannot be used")).because(e))?;
            return Ok(Store::Object(Arc::new(store), ObjectPath::from(prefix)));
        }
        Err(Error::input(format!("checkpoint.dir '{place}': expected a directory, file://… or s3://bucket/prefix")))
    }

    /// A place that is gone with the process.
    pub fn memory() -> Store {
        Store::Object(Arc::new(object_store::memory::InMemory::new()), ObjectPath::default())
    }

    /// The place as people write it.
    pub fn describe(&self) -> String {
        match self {
            Store::Local(path) => path.display().to_string(),
            Store::Object(store, prefix) => format!("{store}/{prefix}"),
        }
    }

    /// Writes a file that must not exist yet; when this returns it is durable under its name, whole or not at all.
    pub async fn create(&self, name: &str, content: Bytes) -> Result<()> {
        match self {
            Store::Local(root) => {
                let (root, name) = (root.clone(), name.to_owned());
                let path = root.join(&name);
                blocking(move || create_local(&root, &name, &content)).await.map_err(|e| cannot("write", &path, e))
            }
            Store::Object(store, prefix) => {
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                let path = prefix.clone().join(name);
                store.put_opts(&path, content.into(), options).await.map_err(|e| object_error("write", name, e))?;
                Ok(())
            }
        }
    }

    /// The content of a file; `None` when there is no such file.
    pub async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        match self {
            Store::Local(root) => {
                let path = root.join(name);
                let shown = path.clone();
                match blocking(move || fs::read(&path)).await {
                    Ok(content) => Ok(Some(content.into())),
                    Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(cannot("read", &shown, e)),
                }
            }
            Store::Object(store, prefix) => match store.get(&prefix.clone().join(name)).await {
                Ok(found) => Ok(Some(found.bytes().await.map_err(|e| object_error("read", name, e))?)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(e) => Err(object_error("read", name, e)),
            },
        }
    }

    /// The names of all whole files, in name order.
    pub async fn list(&self) -> Result<Vec<String>> {
        let mut names = match self {
            Store::Local(root) => {
                let root = root.clone();
                let shown = root.clone();
                blocking(move || list_local(&root)).await.map_err(|e| cannot("list", &shown, e))?
            }
            Store::Object(store, prefix) => {
                let found: Vec<_> = store.list(Some(prefix)).try_collect().await.map_err(|e| object_error("list", prefix.as_ref(), e))?;
                found.iter().filter_map(|meta| meta.location.filename().map(str::to_owned)).collect()
            }
        };
        names.sort();
        Ok(names)
    }

    /// Removes a file; one that is gone already is fine.
    pub async fn remove(&self, name: &str) -> Result<()> {
        match self {
            Store::Local(root) => {
                let path = root.join(name);
                let shown = path.clone();
                match blocking(move || fs::remove_file(&path)).await {
                    Err(e) if e.kind() != ErrorKind::NotFound => Err(cannot("remove", &shown, e)),
                    _ => Ok(()),
                }
            }
            Store::Object(store, prefix) => match store.delete(&prefix.clone().join(name)).await {
                Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
                Err(e) => Err(object_error("remove", name, e)),
            },
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

fn create_local(root: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(root)?;
    let hidden = root.join(format!(".{name}.tmp"));
    let mut file = File::create(&hidden)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&hidden, root.join(name))?;
    File::open(root)?.sync_all()
}

fn list_local(root: &Path) -> std::io::Result<Vec<String>> {
    let entries = match fs::read_dir(root) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && !name.starts_with('.') {
            names.push(name);
        }
    }
    Ok(names)
}

fn cannot(what: &str, path: &Path, error: std::io::Error) -> Error {
    let full =
        if error.kind() == ErrorKind::StorageFull { " (the disk is full: free some space and start again, nothing is lost)" } else { "" };
    Error::failed(format!("cannot {what} {}{full}", path.display())).because(error)
}

/// Each layer of the client repeats what the one below says: the lowest is enough.
fn object_error(what: &str, name: &str, error: object_store::Error) -> Error {
    let mut root: &dyn std::error::Error = &error;
    while let Some(below) = root.source() {
        root = below;
    }
    Error::unreachable(format!("cannot {what} {name} in the checkpoint store")).because(root.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_stores_keep_what_they_were_given() {
        let dir = tempfile::tempdir().unwrap();
        let local = Store::Local(dir.path().join("a/b"));
        let prefixed = Store::Object(Arc::new(object_store::memory::InMemory::new()), ObjectPath::from("p"));
        for store in [local, prefixed, Store::memory()] {
            assert!(store.list().await.unwrap().is_empty());
            store.create("x", Bytes::from_static(b"1")).await.unwrap();
            store.create("w", Bytes::from_static(b"2")).await.unwrap();
            assert_eq!(store.list().await.unwrap(), ["w", "x"]);
            assert_eq!(store.read("x").await.unwrap().unwrap(), "1");
            store.remove("x").await.unwrap();
            store.remove("x").await.unwrap();
            assert_eq!(store.read("x").await.unwrap(), None);
        }
    }
}
