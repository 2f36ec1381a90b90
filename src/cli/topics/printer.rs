//! Lines of JSON to stdout: those that a condition keeps, up to a limit.

use std::io::Write;

use async_trait::async_trait;

use super::filter::Filter;
use super::unwritable;
use crate::connector::look::Show;
use crate::error::Result;

/// Prints lines.
pub struct Printer<'a> {
    filter: Option<Filter>,
    /// Lines yet to be printed.
    left: Option<u64>,
    out: &'a mut (dyn Write + Send),
}

impl<'a> Printer<'a> {
    /// Prints what `filter` keeps, `limit` lines of it at most.
    pub fn new(filter: Option<Filter>, limit: Option<u64>, out: &'a mut (dyn Write + Send)) -> Self {
        Printer { filter, left: limit, out }
    }

    /// Warns of a name in the condition that no record has had: most likely a slip.
    pub fn warn_of_names(&self) {
        if let Some(warning) = self.filter.as_ref().and_then(Filter::never_met) {
            tracing::warn!("{warning}");
        }
    }
}

#[async_trait]
impl Show for Printer<'_> {
    async fn show(&mut self, mut lines: String) -> Result<bool> {
        if let Some(filter) = &mut self.filter {
            lines = filter.keep(&lines).await?;
        }
        if let Some(left) = &mut self.left {
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            lines.truncate(lines.match_indices('\n').take(most).last().map_or(0, |(at, _)| at + 1));
            *left -= lines.lines().count() as u64;
        }
        match self.out.write_all(lines.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(self.left != Some(0)),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(unwritable(error)),
        }
    }
}
