//! `feed`: rows handed over by the program that embeds the engine. A source only; nothing outside the process.
//!
//! ```text
//!  program ─ Feed::send ─▶ [chunk][chunk] (at most BACKLOG unread) ─▶ reader of the partition
//! ```
//! A position is a number of chunks. Chunks that were read are gone unless the feed keeps them, so only a keeping feed
//! can be restored from a checkpoint to the row; a fresh process begins with empty feeds either way.

pub mod lanes;
mod options;
mod source;

use std::sync::Arc;

use super::environment::Environment;
use super::table::{ConfiguredSource, TableRequest};
use crate::error::Result;
use crate::format::FormatConfig;

pub use lanes::Feed;
pub use source::FeedSource;

/// The connector's name in `WITH`.
pub const NAME: &str = "feed";

/// The source of a table with a feed in its place: what is fed is read as the records of the table would be.
pub fn in_place_of(source: ConfiguredSource, table: &str, partitions: u32, env: &Environment) -> ConfiguredSource {
    ConfiguredSource { source: Arc::new(FeedSource::new(table, env.feeds.of(table), partitions)), ..source }
}

/// The source that a table declares.
pub fn source(mut request: TableRequest<'_>, env: &Environment) -> Result<ConfiguredSource> {
    let format = match request.options.remove("format") {
        Some(name) => FormatConfig::from_options(&name, &mut request.options)?,
        None => FormatConfig::Rows,
    };
    let options: options::Options = super::options::parse(NAME, &request.options)?;
    let feed = env.feeds.of(request.table);
    Ok(ConfiguredSource::new(Arc::new(FeedSource::new(request.table, feed, options.partitions)), format))
}
