//! The engine's side of the socket.

use std::sync::Arc;
use std::time::Instant;

use arrow::ipc::writer::StreamWriter;
use futures::StreamExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::io::BufWriter;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::frame::{Fault, Frame, Request, StatementEnd};
use crate::error::{Error, Result};
use crate::server::connection::Connection;
use crate::server::health::Health;
use crate::server::queries::{Queries, Stop};

/// What the engine does on a [`Request::Call`], by name.
pub type Calls = Arc<dyn Fn(String, serde_json::Value) -> BoxFuture<'static, Result<serde_json::Value>> + Send + Sync>;

/// Requests that a client may send ahead.
const AHEAD: usize = 8;

/// Answers the command line until the task is dropped.
pub async fn serve(listener: UnixListener, queries: Queries, health: Health, calls: Calls) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let client = Served {
                    connection: Connection::new(queries.clone()),
                    queries: queries.clone(),
                    health: health.clone(),
                    calls: calls.clone(),
                };
                tokio::spawn(async move {
                    if let Err(error) = client.serve(socket).await {
                        tracing::debug!("socket: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("socket: cannot accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// One client.
struct Served {
    connection: Connection,
    queries: Queries,
    health: Health,
    calls: Calls,
}

impl Served {
    async fn serve(mut self, socket: UnixStream) -> Result<()> {
        let (mut reader, writer) = socket.into_split();
        let mut writer = BufWriter::new(writer);
        // Requests are read while one is answered, so that a cancel, or the client's end, is heard at once.
        let (requests, mut asked) = mpsc::channel(AHEAD);
        let (cancel, cancelled) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok(Some(frame)) = Frame::read(&mut reader).await {
                if frame.kind == b'C' {
                    cancel.send_modify(|times| *times += 1);
                } else if requests.send(frame).await.is_err() {
                    break;
                }
            }
            cancel.send_modify(|times| *times += 1);
        });
        while let Some(frame) = asked.recv().await {
            let last = match self.answer(&frame, &cancelled, &mut writer).await {
                Ok(()) => Frame::new(b'D', Vec::new()),
                Err(error) => Frame::json(b'X', &Fault::of(&error))?,
            };
            last.write(&mut writer).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, frame: &Frame, cancelled: &watch::Receiver<u64>, to: &mut BufWriter<OwnedWriteHalf>) -> Result<()> {
        match frame.read_json::<Request>()? {
            Request::Sql { text, name } => {
                for statement in self.connection.parse(&text, &name)? {
                    let started = Instant::now();
                    let stop = Stop::after(self.queries.timeout()).or_on(cancelled.clone());
                    let mut stream = self.connection.run(&statement, stop).await?;
                    let mut sent = StatementEnd { rows: 0, micros: 0, late: self.health.late_rows() };
                    // The schema goes first, so that a result without rows has columns.
                    let mut writer = StreamWriter::try_new(Vec::new(), &stream.schema())?;
                    loop {
                        writer.flush()?;
                        Frame::new(b'R', std::mem::take(writer.get_mut())).write(to).await?;
                        let Some(batch) = stream.next().await.transpose()? else { break };
                        sent.rows += batch.num_rows() as u64;
                        writer.write(&batch)?;
                    }
                    writer.finish()?;
                    Frame::new(b'R', std::mem::take(writer.get_mut())).write(to).await?;
                    sent.micros = started.elapsed().as_micros() as u64;
                    Frame::json(b'E', &sent)?.write(to).await?;
                }
                Ok(())
            }
            Request::Status => {
                let report = json!({ "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"), "health": self.health.report() });
                Frame::json(b'J', &report)?.write(to).await
            }
            Request::Names => Frame::json(b'J', &self.connection.names_to_complete().await?)?.write(to).await,
            Request::Call { name, arguments } => {
                let mut cancelled = cancelled.clone();
                cancelled.mark_unchanged();
                let answer = tokio::select! {
                    answer = (self.calls)(name, arguments) => answer?,
                    _ = cancelled.changed() => return Err(Error::new(crate::error::Kind::Interrupted, "cancelled")),
                };
                Frame::json(b'J', &answer)?.write(to).await
            }
        }
    }
}
