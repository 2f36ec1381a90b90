//! What travels on the socket: frames of a kind, a length (32 bits, big-endian) and that many bytes.
//!
//! | kind | direction | bytes |
//! |---|---|---|
//! | `Q` | to the engine | a [`Request`] as JSON |
//! | `C` | to the engine | nothing: ends the running request |
//! | `R` | from the engine | rows: a whole Arrow IPC stream (schema, then batches) |
//! | `E` | from the engine | [`StatementEnd`] as JSON: a statement is through |
//! | `J` | from the engine | the answer of a call as JSON |
//! | `X` | from the engine | [`Fault`] as JSON: the request has failed and is over |
//! | `D` | from the engine | nothing: the request is done |

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::{Error, Kind, Place, Result};

/// Longest frame.
const LONGEST: u32 = 256 << 20;

/// What is asked of the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Run the statements of a SQL text.
    Sql {
        /// The text.
        text: String,
        /// What the text is called in messages.
        name: String,
    },
    /// How the engine is.
    Status,
    /// Names of tables and columns, for completion.
    Names,
    /// Something that the engine does under this name (`topics.list`).
    Call {
        /// The name.
        name: String,
        /// Its arguments.
        arguments: serde_json::Value,
    },
}

/// A statement is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementEnd {
    /// Rows sent.
    pub rows: u64,
    /// Time taken, in microseconds.
    pub micros: u64,
    /// How many rows the running pipelines have dropped as late; a query over stored topics treats none as late.
    pub late: u64,
}

/// An error on its way over the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Fault {
    kind: String,
    message: String,
    place: Option<FaultPlace>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FaultPlace {
    name: String,
    line_col: Option<(u64, u64)>,
    offset: Option<(u32, i64)>,
}

const KINDS: [(&str, Kind); 8] = [
    ("input", Kind::Input),
    ("row", Kind::Row),
    ("failed", Kind::Failed),
    ("unreachable", Kind::Unreachable),
    ("fenced", Kind::Fenced),
    ("corrupt", Kind::Corrupt),
    ("interrupted", Kind::Interrupted),
    ("bug", Kind::Bug),
];

impl Fault {
    /// The error, with its causes in its text.
    pub(super) fn of(error: &Error) -> Fault {
        let kind = KINDS.iter().find(|(_, kind)| *kind == error.kind()).map_or("bug", |(name, _)| name);
        let mut message = error.to_string();
        let place = error.place().map(|place| {
            // The place travels by itself.
            if let Some(rest) = message.strip_prefix(&format!("{place}: ")) {
                message = rest.to_owned();
            }
            FaultPlace { name: place.name.clone(), line_col: place.line_col, offset: place.offset }
        });
        Fault { kind: kind.to_owned(), message, place }
    }

    /// The error as it was.
    pub(super) fn into_error(self) -> Error {
        let kind = KINDS.iter().find(|(name, _)| *name == self.kind).map_or(Kind::Failed, |(_, kind)| *kind);
        let error = Error::new(kind, self.message);
        match self.place {
            Some(place) => error.at(Place { name: place.name, line_col: place.line_col, offset: place.offset }),
            None => error,
        }
    }
}

/// A frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) bytes: Vec<u8>,
}

impl Frame {
    pub(super) fn new(kind: u8, bytes: Vec<u8>) -> Frame {
        Frame { kind, bytes }
    }

    pub(super) fn json(kind: u8, value: &impl Serialize) -> Result<Frame> {
        Ok(Frame { kind, bytes: serde_json::to_vec(value).map_err(|e| Error::bug("a frame that is no JSON").because(e))? })
    }

    pub(super) fn read_json<T: for<'a> Deserialize<'a>>(&self) -> Result<T> {
        serde_json::from_slice(&self.bytes)
            .map_err(|e| Error::failed("the other side of the socket says something unknown; are both of one version?").because(e))
    }

    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        let length = u32::try_from(self.bytes.len()).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| Error::failed(format!("an answer of {} bytes is too long for the socket", self.bytes.len())))?;
        to.write_u8(self.kind).await?;
        to.write_u32(length).await?;
        to.write_all(&self.bytes).await?;
        Ok(to.flush().await?)
    }

    /// The next frame; `None` when the other side has closed.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>> {
        let kind = match from.read_u8().await {
            Ok(kind) => kind,
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let length = from.read_u32().await?;
        if length > LONGEST {
            return Err(Error::failed(format!("a frame of {length} bytes on the socket; the longest is {LONGEST}")));
        }
        let mut bytes = vec![0; length as usize];
        from.read_exact(&mut bytes).await?;
        Ok(Some(Frame { kind, bytes }))
    }
}
