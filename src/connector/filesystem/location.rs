//! A path as written to the files it stands for.

use std::path::{Path, PathBuf};

use super::failed;
use crate::error::{Error, Result, did_you_mean};

/// Where the files of a table are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Standard input or output.
    Standard,
    /// Files of the local file system.
    Local {
        /// As the user wrote it.
        written: String,
        /// The path or glob, from the root or from the process's directory.
        path: PathBuf,
    },
}

/// A file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path.
    pub path: PathBuf,
    /// Its path below the table's location: how the user knows it, and what positions are bound to.
    pub name: String,
}

impl Found {
    /// Opens the file for reading; faults name it.
    pub fn open(&self) -> Result<std::fs::File> {
        std::fs::File::open(&self.path).map_err(|e| failed("opening", &self.path, e))
    }
}

impl Location {
    /// Reads `'path'`; relative ones start at `base_dir`.
    pub fn new(written: &str, base_dir: &Path) -> Result<Self> {
        if written == "-" {
            return Ok(Location::Standard);
        }
        let plain = match written.split_once("://") {
            Some(("file", rest)) => rest,
            Some((scheme, _)) => {
                return Err(Error::input(format!("'path'='{written}': '{scheme}://' is not supported, only local files and file://")));
            }
            // Flink also writes file:/path.
            None => written.strip_prefix("file:").unwrap_or(written),
        };
        if plain.is_empty() {
            return Err(Error::input(format!("'path'='{written}' names no file")));
        }
        Ok(Location::Local { written: plain.to_owned(), path: base_dir.join(plain) })
    }

    /// As the user wrote it.
    pub fn written(&self) -> &str {
        match self {
            Location::Standard => "-",
            Location::Local { written, .. } => written,
        }
    }

    /// The files that are there now, by name. Standard input has none.
    pub fn files(&self) -> Result<Vec<Found>> {
        let Location::Local { path, .. } = self else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        if path.is_dir() {
            collect(path, path, &mut files)?;
            if files.is_empty() {
                return Err(Error::unreachable(format!("the directory '{}' holds no files", path.display())));
            }
        } else if path.exists() {
            files.push(Found { path: path.clone(), name: name_below(path, path.parent().unwrap_or(path)) });
        } else if is_glob(path) {
            collect_glob(path, &mut files)?;
        } else {
            return Err(missing(path));
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }
}

/// All visible files in and below `dir`.
fn collect(root: &Path, dir: &Path, files: &mut Vec<Found>) -> Result<()> {
    for entry in std::fs::read_dir(dir).map_err(|e| failed("listing", dir, e))? {
        let path = entry.map_err(|e| failed("listing", dir, e))?.path();
        if hidden(&path) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            let name = name_below(&path, root);
            files.push(Found { path, name });
        }
    }
    Ok(())
}

fn collect_glob(pattern: &Path, files: &mut Vec<Found>) -> Result<()> {
    let text = pattern.to_str().ok_or_else(|| Error::input(format!("the path '{}' is not UTF-8", pattern.display())))?;
    let paths = glob::glob(text).map_err(|e| Error::input(format!("'{text}' is not a glob")).because(e))?;
    // Names start where the pattern does.
    let root: PathBuf = pattern.components().take_while(|part| !is_glob(Path::new(part.as_os_str()))).collect();
    for path in paths {
        let path = path.map_err(|e| Error::unreachable(format!("listing '{text}'")).because(e))?;
        if !hidden(&path) && path.is_file() {
            let name = name_below(&path, &root);
            files.push(Found { path, name });
        }
    }
    if files.is_empty() {
        // A wrong folder before the pattern is the likelier slip.
        return Err(if root.exists() { Error::unreachable(format!("no file matches '{text}'")) } else { missing(&root) });
    }
    Ok(())
}

fn is_glob(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']))
}

fn name_below(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

/// Says what is missing: the first part of the path that does not exist, and the nearest name beside it.
fn missing(path: &Path) -> Error {
    let parts: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
    let first = parts.iter().rev().find(|p| !p.exists()).unwrap_or(&path);
    let beside = match first.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let names: Vec<String> = std::fs::read_dir(beside)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let wanted = first.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let near = did_you_mean(&wanted, names.iter().map(String::as_str));
    let what = if *first == path { "file or directory" } else { "directory" };
    let whole = if *first == path { String::new() } else { format!(" (of '{}')", path.display()) };
    Error::unreachable(format!("no {what} '{}'{whole}{near}", first.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, base: &Path) -> Result<Vec<String>> {
        Ok(Location::new(path, base)?.files()?.into_iter().map(|f| f.name).collect())
    }

    #[test]
    fn a_path_is_a_file_a_glob_or_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        for file in ["in/b.jsonl", "in/a.jsonl", "in/.hidden", "in/_SUCCESS", "in/deep/c.jsonl", "in/x.csv"] {
            std::fs::create_dir_all(base.join(file).parent().unwrap()).unwrap();
            std::fs::write(base.join(file), "").unwrap();
        }
        assert_eq!(names("in/a.jsonl", base).unwrap(), ["a.jsonl"]);
        assert_eq!(names("in/*.jsonl", base).unwrap(), ["a.jsonl", "b.jsonl"]);
        assert_eq!(names("in", base).unwrap(), ["a.jsonl", "b.jsonl", "deep/c.jsonl", "x.csv"]);
        assert_eq!(names(&format!("file://{}/in/x.csv", base.display()), Path::new("/elsewhere")).unwrap(), ["x.csv"]);
    }

    #[test]
    fn a_missing_file_is_named_with_the_nearest_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/events.jsonl"), "").unwrap();
        let told = |path: &str| names(path, dir.path()).unwrap_err();
        assert!(told("data/evnts.jsonl").to_string().ends_with("evnts.jsonl'; did you mean 'events.jsonl'?"));
        assert!(told("dat/events.jsonl").to_string().contains("no directory '"), "{}", told("dat/events.jsonl"));
        assert!(told("dat/*.jsonl").to_string().ends_with("did you mean 'data'?"));
        assert_eq!(told("data/x*").kind(), crate::error::Kind::Unreachable);
        assert!(Location::new("s3://bucket/x", dir.path()).is_err());
    }
}
