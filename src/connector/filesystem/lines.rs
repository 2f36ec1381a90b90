//! Bytes to chunks of whole lines: read straight into the buffer that is handed over; only the torn last line is copied.

use std::io::{self, Read};

use bytes::Bytes;

/// Bytes of a chunk: large enough that the work per chunk does not show, small enough that it stays, with the columns made of
/// it, in a core's own cache.
pub const CHUNK_BYTES: usize = 512 << 10;

/// Longest line that is read; a longer one is no file of lines.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// Cuts a stream of bytes at newlines.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    /// Beginning of a line whose end has not been read yet.
    carry: Vec<u8>,
    chunk_bytes: usize,
    /// Nothing more comes from `input`.
    ended: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of `input`, in chunks of about `chunk_bytes`.
    pub fn new(input: R, chunk_bytes: usize) -> Self {
        Lines { input, carry: Vec::new(), chunk_bytes, ended: false }
    }

    /// The next whole lines, filled up to the size of a chunk; `None` at the end. The very last line may lack its `\n`.
    pub fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        self.next_lines(|input, buffer, bytes| {
            let read = input.by_ref().take(bytes as u64).read_to_end(buffer)?;
            Ok(read < bytes)
        })
    }

    /// The next whole lines as soon as there are any (pipes and terminals); `None` at the end.
    pub fn next_available(&mut self) -> io::Result<Option<Bytes>> {
        self.next_lines(|input, buffer, bytes| {
            let old = buffer.len();
            buffer.resize(old + bytes, 0);
            let read = loop {
                match input.read(&mut buffer[old..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other?,
                }
            };
            buffer.truncate(old + read);
            Ok(read == 0)
        })
    }

    /// Calls `fill` (appends up to so many bytes, returns whether the input has ended) until there is a whole line.
    fn next_lines(&mut self, mut fill: impl FnMut(&mut R, &mut Vec<u8>, usize) -> io::Result<bool>) -> io::Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        // One byte more than is read: a buffer that is full to the brim would be probed for more.
        let mut buffer = Vec::with_capacity(self.carry.len() + self.chunk_bytes + 1);
        buffer.append(&mut self.carry);
        loop {
            let searched = buffer.len();
            self.ended = fill(&mut self.input, &mut buffer, self.chunk_bytes)?;
            if self.ended {
                return Ok((!buffer.is_empty()).then(|| Bytes::from(buffer)));
            }
            if let Some(newline) = memchr::memrchr(b'\n', &buffer[searched..]) {
                self.carry.extend_from_slice(&buffer[searched + newline + 1..]);
                buffer.truncate(searched + newline + 1);
                return Ok(Some(Bytes::from(buffer)));
            }
            if buffer.len() > MAX_LINE_BYTES {
                let text = format!("a line is longer than {} MiB", MAX_LINE_BYTES >> 20);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
    }
}

/// How many lines `chunk` holds, a last one without `\n` included.
pub fn count_lines(chunk: &[u8]) -> i64 {
    let whole = memchr::memchr_iter(b'\n', chunk).count();
    (whole + usize::from(chunk.last().is_some_and(|last| *last != b'\n'))) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn chunks_are_whole_lines_and_lose_nothing(lines in proptest::collection::vec("[a-c]{0,12}", 0..40), size in 1_usize..40, torn: bool, eager: bool) {
            let mut text = lines.join("\n");
            if !torn && !text.is_empty() {
                text.push('\n');
            }
            let mut input = Lines::new(text.as_bytes(), size);
            let mut chunks = Vec::new();
            while let Some(chunk) = if eager { input.next_available().unwrap() } else { input.next_chunk().unwrap() } {
                chunks.push(chunk);
            }
            for chunk in chunks.iter().rev().skip(1) {
                assert!(chunk.ends_with(b"\n"));
            }
            assert_eq!(chunks.iter().map(|c| count_lines(c)).sum::<i64>(), text.lines().count() as i64);
            assert_eq!(chunks.concat(), text.as_bytes());
        }
    }
}
