//! Which letters were sent: in the embedded log, beside the records.

use std::collections::HashSet;

use crate::cli::topics::log::Topics;
use crate::error::Result;
use crate::log::{MEMORY, Reading, Resend, Whole, WholePage};

/// The letters that were sent, as of now.
#[derive(Debug, Default)]
pub struct Memory {
    known: HashSet<String>,
    /// How many records the memory holds: grows with what is sent.
    records: i64,
}

impl Memory {
    /// Reads it; what is not there holds nothing.
    pub async fn read(topics: &Topics) -> Result<Memory> {
        let mut memory = Memory::default();
        each_page(topics, Reading { may_miss: true, ..Reading::all(MEMORY) }, |records| {
            memory.records += records.len() as i64;
            let ids = records.into_iter().filter_map(|record| record.value);
            memory.known.extend(ids.map(|id| String::from_utf8_lossy(&id.0).into_owned()));
            Ok(())
        })
        .await?;
        Ok(memory)
    }

    /// Was this letter sent?
    pub fn knows(&self, letter: &str) -> bool {
        self.known.contains(letter)
    }

    /// Appends records to topics of the log and remembers letters, all of it or nothing.
    pub async fn send(&mut self, topics: &Topics, records: Vec<(String, Whole)>, letters: Vec<String>) -> Result<()> {
        let resend = Resend { records, letters, remembered: self.records };
        self.records = topics.call("topics.resend", &resend).await?;
        self.known.extend(resend.letters);
        Ok(())
    }
}

/// Reads a topic of the log to its end.
pub async fn each_page(topics: &Topics, reading: Reading, mut take: impl FnMut(Vec<Whole>) -> Result<()>) -> Result<()> {
    let mut next = Some(reading);
    while let Some(reading) = next {
        let page: WholePage = topics.call("topics.read", &reading).await?;
        take(page.records)?;
        next = page.next;
    }
    Ok(())
}
