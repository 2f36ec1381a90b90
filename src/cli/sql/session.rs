//! Where statements run: in the engine that owns the data directory, or here when none runs.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::show::Show;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::project::Project;
use crate::server::connection::Connection;
use crate::server::doors::queries_of;
use crate::server::queries::Stop;
use crate::server::socket::{Answer, Client, Request, StatementEnd};

/// A query that runs here has no time limit but its user's patience.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// See the file's head.
pub enum Session {
    /// Through the socket.
    Engine(Box<Client>),
    /// In this process, over the newest checkpoint.
    Here(Box<Connection>),
}

impl Session {
    /// Attaches to the running engine, or opens what the last one left.
    pub async fn open(project: Project, data_dir: &Path) -> Result<Session> {
        if let Some(client) = Client::connect(data_dir).await? {
            return Ok(Session::Engine(Box::new(client)));
        }
        let engine = Engine::load(project)?;
        match engine.tables().show(engine.checkpoints()).await? {
            Some(manifest) => tracing::info!("no engine runs here: tables as of checkpoint {}", manifest.epoch),
            None => tracing::info!("no engine runs here, and there is no checkpoint yet: tables are empty"),
        }
        Ok(Session::Here(Box::new(Connection::new(queries_of(&engine)?))))
    }

    /// Runs all statements of a text, one after the other, up to the first that fails. Ctrl-C ends the one that runs.
    pub async fn run(&mut self, text: &str, name: &str, show: &mut Show) -> Result<()> {
        match self {
            Session::Engine(client) => {
                client.ask(&Request::Sql { text: text.to_owned(), name: name.to_owned() }).await?;
                let canceller = client.canceller();
                let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
                let mut cancelled = false;
                loop {
                    let answer = tokio::select! {
                        answer = client.next() => answer?,
                        _ = &mut interrupt, if !cancelled => {
                            cancelled = true;
                            canceller.cancel().await?;
                            continue;
                        }
                    };
                    match answer {
                        Some(Answer::Schema(schema)) => show.begin(schema)?,
                        Some(Answer::Rows(batch)) => show.rows(batch)?,
                        Some(Answer::StatementEnd(end)) => show.end(end)?,
                        Some(Answer::Value(_)) => return Err(Error::bug("the engine answered SQL with a value")),
                        None => return Ok(()),
                    }
                }
            }
            Session::Here(connection) => {
                for statement in connection.parse(text, name)? {
                    let interrupted = async {
                        _ = tokio::signal::ctrl_c().await;
                        Err(Error::new(Kind::Interrupted, "the query was cancelled"))
                    };
                    let answered = async {
                        let started = Instant::now();
                        let mut stream = connection.run(&statement, Stop::after(NO_LIMIT)).await?;
                        let mut end = StatementEnd { rows: 0, micros: 0, late: 0 };
                        show.begin(stream.schema())?;
                        while let Some(batch) = stream.next().await.transpose()? {
                            end.rows += batch.num_rows() as u64;
                            show.rows(batch)?;
                        }
                        end.micros = started.elapsed().as_micros() as u64;
                        show.end(end)
                    };
                    tokio::select! {
                        done = answered => done?,
                        done = interrupted => done?,
                    }
                }
                Ok(())
            }
        }
    }

    /// The rows of one query.
    pub async fn rows(&mut self, sql: &str, name: &str) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        match self {
            Session::Engine(client) => {
                client.ask(&Request::Sql { text: sql.to_owned(), name: name.to_owned() }).await?;
                while let Some(answer) = client.next().await? {
                    if let Answer::Rows(batch) = answer {
                        batches.push(batch);
                    }
                }
            }
            Session::Here(connection) => {
                for statement in connection.parse(sql, name)? {
                    let mut stream = connection.run(&statement, Stop::after(NO_LIMIT)).await?;
                    while let Some(batch) = stream.next().await.transpose()? {
                        batches.push(batch);
                    }
                }
            }
        }
        Ok(batches)
    }

    /// Names of tables and columns, for completion.
    pub async fn names(&mut self) -> Result<Vec<String>> {
        match self {
            Session::Engine(client) => {
                let names = client.value(&Request::Names).await?;
                serde_json::from_value(names).map_err(|e| Error::failed("the engine's names cannot be read").because(e))
            }
            Session::Here(connection) => connection.names_to_complete().await,
        }
    }
}
