//! Reads a stream: from any offset, as often as one likes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use lapin::types::AMQPValue;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::asked::Asked;
use super::away::{Kept, Open};
use super::connection::Broker;
use super::consume::{Consuming, OFFSET, PATIENCE, end_for_sure, offset_of};
use super::options::OnGap;
use super::records::Gathered;
use crate::connector::trouble::Troubles;
use crate::connector::{Position, Read, Reader};
use crate::error::{Error, Kind, Result};

/// How often the stream is asked where it ends.
const ASK_END: Duration = Duration::from_secs(5);

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamPosition {
    /// Offset of the next message; `None` = none has come yet, and reading begins where the options say.
    pub offset: Option<i64>,
}

/// Where to attach to a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Attach {
    /// At the first message still there.
    First,
    /// Behind the last.
    Next,
    /// At the chunk that holds this time, seconds since 1970.
    Time(u64),
    /// At this offset.
    Offset(i64),
}

impl Attach {
    fn argument(&self) -> AMQPValue {
        match self {
            Attach::First => AMQPValue::LongString("first".into()),
            Attach::Next => AMQPValue::LongString("next".into()),
            Attach::Time(seconds) => AMQPValue::Timestamp(*seconds),
            Attach::Offset(offset) => AMQPValue::LongLongInt(*offset),
        }
    }
}

/// Reads one stream.
pub struct StreamReader {
    broker: Arc<Broker>,
    stream: String,
    consuming: Kept<Consuming>,
    open: Open<Consuming>,
    /// Where to attach when it is opened again.
    attach: Arc<Mutex<Attach>>,
    /// The next message must be this one: not known before the first.
    next: Option<i64>,
    on_gap: OnGap,
    /// Where the stream ends.
    end: Asked,
}

impl StreamReader {
    /// Attaches to `stream`.
    pub async fn start(
        broker: Arc<Broker>,
        connection: lapin::Connection,
        stream: &str,
        prefetch: u16,
        attach: Attach,
        (on_gap, troubles): (OnGap, Troubles),
    ) -> Result<Self> {
        let connection = Arc::new(connection);
        // A checkpoint may come before the first message: what is published while nobody runs is behind that place, too.
        let attach = match attach {
            Attach::Next => Attach::Offset(end_for_sure(&broker, &connection, stream).await?),
            other => other,
        };
        let next = if let Attach::Offset(offset) = attach { Some(offset) } else { None };
        let argument = attach.argument();
        let consuming = Consuming::start(&broker, connection, stream, prefetch, vec![(OFFSET, argument)]).await?;
        let attach = Arc::new(Mutex::new(attach));
        let open: Open<Consuming> = {
            let (broker, stream, attach) = (broker.clone(), stream.to_owned(), attach.clone());
            Arc::new(move || {
                let (broker, stream, attach) = (broker.clone(), stream.clone(), attach.lock().argument());
                async move {
                    let connection = broker.connect().await?;
                    Consuming::start(&broker, connection, &stream, prefetch, vec![(OFFSET, attach)]).await
                }
                .boxed()
            })
        };
        let consuming = Kept::new(broker.clone(), troubles, consuming);
        Ok(StreamReader { broker, stream: stream.to_owned(), consuming, open, attach, next, on_gap, end: Asked::new(ASK_END) })
    }

    /// A message of this offset comes: is it to be handed over?
    fn judge(&self, offset: i64) -> Result<bool> {
        let Some(next) = self.next else { return Ok(true) };
        if offset > next {
            let gone = format!(
                "stream '{}': retention has removed the messages {next} to {}, which are still to be read; the first there is {offset}",
                self.stream,
                offset - 1
            );
            match self.on_gap {
                OnGap::Earliest => tracing::warn!("{gone}: {} messages are lost", offset - next),
                OnGap::Fail => {
                    return Err(Error::new(Kind::Failed, format!("{gone}. 'scan.on-gap'='earliest' goes on without them")));
                }
            }
        }
        // A stream hands out whole chunks: those before the wanted offset come along.
        Ok(offset >= next)
    }
}

#[async_trait]
impl Reader for StreamReader {
    async fn read(&mut self) -> Result<Read> {
        let Some(consuming) = self.consuming.get() else {
            self.consuming.reopen(&self.open, Instant::now() + PATIENCE).await?;
            return Ok(Read::Away);
        };
        let taken = consuming.take(&self.broker).await;
        let deliveries = match taken {
            Ok(deliveries) => deliveries,
            Err(error) => {
                self.consuming.broke(error)?;
                return Ok(Read::Away);
            }
        };
        let Some(last) = deliveries.last().map(|delivery| delivery.delivery_tag) else { return Ok(Read::Idle) };
        let mut gathered = Gathered::default();
        let mut base = None;
        for delivery in &deliveries {
            let Some(offset) = offset_of(delivery) else {
                return Err(Error::input(format!("'{}' is no stream: its messages have no offsets; read it as a 'queue'", self.stream)));
            };
            if self.judge(offset)? {
                gathered.push(delivery, offset);
                base.get_or_insert(offset);
                self.next = Some(offset + 1);
            }
        }
        if let Some(next) = self.next {
            *self.attach.lock() = Attach::Offset(next);
        }
        if let Some(consuming) = self.consuming.get()
            && let Err(error) = consuming.credit(&self.broker, last).await
        {
            self.consuming.broke(error)?;
        }
        Ok(base.map_or(Read::Idle, |base| Read::Chunk(gathered.into_chunk(base))))
    }

    fn lag(&mut self) -> Option<u64> {
        let (consuming, broker) = (&mut self.consuming, &self.broker);
        let end = self.end.look(|| consuming.get().map(|consuming| consuming.end(broker)))?;
        Some(end.saturating_sub(u64::try_from(self.next?).unwrap_or(0)))
    }

    fn position(&self) -> Position {
        Position(serde_json::json!(StreamPosition { offset: self.next }))
    }
}
