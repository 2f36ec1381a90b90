//! `filesystem`: files, globs, directories and the standard streams.
//!
//! ```text
//!  source   path = file | glob | directory | -        each file a partition, or all files one after the other
//!           location.rs ─▶ source.rs ─▶ line_reader.rs │ parquet_reader.rs │ stdin_reader.rs
//!  sink     a path with an extension   one_file.rs    hidden, renamed over the path at the end (parquet: one_parquet.rs)
//!           a path without one         directory.rs   a part file per task and epoch, renamed at commit
//!           -                          stdout.rs
//! ```
//! Always holds: a position names whole records handed over; no output file is visible before its epoch is committed,
//! and what is committed was synced before. Read `source.rs` and `sink.rs` first.

mod append_file;
mod directory;
mod line_reader;
mod lines;
mod location;
mod one_file;
mod one_parquet;
mod options;
mod parquet_reader;
mod part;
mod sink;
mod source;
mod stdin_reader;
mod stdout;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;

use self::location::Location;
use self::options::FilesystemOptions;
use super::environment::Environment;
use super::table::{ConfiguredSource, TableRequest};
use super::{Sink, options as read};
use crate::error::{Error, Result, did_you_mean};
use crate::format::FormatConfig;

/// Its name in `'connector'`.
pub const NAME: &str = "filesystem";

/// Formats that files may have; all but the last are lines.
const FORMATS: [&str; 5] = ["json", "csv", "cloudevents", "raw", PARQUET];

/// The columnar format, read and written by this connector itself.
const PARQUET: &str = "parquet";

/// The source of a table.
pub fn source(mut request: TableRequest<'_>, env: &Environment) -> Result<ConfiguredSource> {
    let (name, format) = take_format(request.table, &mut request.options)?;
    let options: FilesystemOptions = read::parse(NAME, &request.options)?;
    let location = Location::new(&options.path, &env.base_dir)?;
    let columns = Arc::new(Schema::new(request.columns.to_vec()));
    let headers = matches!(&format, FormatConfig::Csv(csv) if csv.header);
    let source = source::FilesystemSource::new(location, options.files, name, headers, columns)?;
    Ok(ConfiguredSource::new(Arc::new(source), format))
}

/// The sink of a table.
pub fn sink(mut request: TableRequest<'_>, env: &Environment) -> Result<Arc<dyn Sink>> {
    let (name, format) = take_format(request.table, &mut request.options)?;
    let options: FilesystemOptions = read::parse(NAME, &request.options)?;
    let location = Location::new(&options.path, &env.base_dir)?;
    let schema = Arc::new(Schema::new(request.columns.to_vec()));
    let format = part::PartFormat { name, format, schema };
    format.check()?;
    sink::sink(&location, format)
}

/// Takes the format and its options out of the table's options.
fn take_format(table: &str, options: &mut BTreeMap<String, String>) -> Result<(String, FormatConfig)> {
    let known = FORMATS.join(", ");
    let name = options
        .remove("format")
        .ok_or_else(|| Error::input(format!("connector '{NAME}': table '{table}' has no option 'format'; there are {known}")))?;
    if !FORMATS.contains(&name.as_str()) {
        let near = did_you_mean(&name, FORMATS);
        return Err(Error::input(format!("connector '{NAME}': unknown format '{name}', there are {known}{near}")));
    }
    let format = if name == PARQUET { FormatConfig::Rows } else { FormatConfig::from_options(&name, options)? };
    Ok((name, format))
}

/// An error of the operating system with what was being done to which file.
fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::failed(format!("no space left while {doing} '{path}': free some and start again, it goes on from the last checkpoint"))
        }
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::unreachable(format!("{doing} '{path}'")).because(error)
        }
        _ => Error::failed(format!("{doing} '{path}'")).because(error),
    }
}
