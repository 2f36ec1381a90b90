//! The sink: which of the ways of writing a path asks for.

use std::path::Path;
use std::sync::Arc;

use super::directory::DirectorySink;
use super::location::Location;
use super::one_file::OneFileSink;
use super::one_parquet::OneParquetSink;
use super::part::PartFormat;
use super::stdout::StdoutSink;
use crate::connector::Sink;
use crate::error::{Error, Result};

/// The sink that writes to `location`.
pub fn sink(location: &Location, format: PartFormat) -> Result<Arc<dyn Sink>> {
    let Location::Local { written, path } = location else {
        if format.is_parquet() {
            return Err(Error::input("'path'='-' is written as lines; parquet needs a file or a directory"));
        }
        return Ok(Arc::new(StdoutSink::new(format)));
    };
    if written.contains(['*', '?', '[']) {
        return Err(Error::input(format!("'path'='{written}': a sink needs one file or one directory, not a glob")));
    }
    if let Some(packed @ ("gz" | "zst" | "zstd" | "bz2")) = path.extension().and_then(|e| e.to_str()) {
        return Err(Error::input(format!("'path'='{written}': .{packed} files are read, not written; leave the ending out")));
    }
    let is_directory = written.ends_with('/') || path.extension().is_none() || Path::is_dir(path);
    if is_directory {
        Ok(Arc::new(DirectorySink::new(written.clone(), path.clone(), format)))
    } else if format.is_parquet() {
        Ok(Arc::new(OneParquetSink::new(written.clone(), path.clone(), format)))
    } else {
        Ok(Arc::new(OneFileSink::new(written.clone(), path.clone(), format)))
    }
}
