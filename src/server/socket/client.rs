//! The command line's side of the socket.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;

use super::claim::{SOCKET, address};
use super::frame::{Fault, Frame, Request, StatementEnd};
use crate::error::{Error, Result};

/// Talks to the engine that owns a data directory.
pub struct Client {
    reader: BufReader<OwnedReadHalf>,
    /// Shared with those who cancel.
    writer: Arc<Mutex<OwnedWriteHalf>>,
    /// Decodes the rows of the running statement.
    decoder: StreamDecoder,
    /// Has the schema of the running statement been told?
    schema_told: bool,
    /// Rows that came in one frame with the schema.
    waiting: Option<RecordBatch>,
}

/// Part of an answer.
#[derive(Debug)]
pub enum Answer {
    /// A statement's rows begin.
    Schema(SchemaRef),
    /// Some of its rows.
    Rows(RecordBatch),
    /// The statement is through.
    StatementEnd(StatementEnd),
    /// The answer to a call.
    Value(serde_json::Value),
}

impl Client {
    /// Connects to the engine that owns `directory`; `None` when none runs.
    pub async fn connect(directory: &Path) -> Result<Option<Client>> {
        let Ok((address, _open)) = address(&directory.join(SOCKET)) else { return Ok(None) };
        match UnixStream::connect(&address).await {
            Ok(socket) => {
                let (reader, writer) = socket.into_split();
                Ok(Some(Client {
                    reader: BufReader::new(reader),
                    writer: Arc::new(Mutex::new(writer)),
                    decoder: StreamDecoder::new(),
                    schema_told: false,
                    waiting: None,
                }))
            }
            // No socket, or one that a killed engine left behind.
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => Ok(None),
            Err(e) => Err(Error::unreachable(format!("the engine of {} cannot be reached", directory.display())).because(e)),
        }
    }

    /// Asks. The answer is to be read by [`Client::next`] to its end before something else is asked.
    pub async fn ask(&mut self, request: &Request) -> Result<()> {
        Frame::json(b'Q', request)?.write(&mut *self.writer.lock().await).await
    }

    /// The next part of the answer; `None` at its end.
    ///
    /// # Errors
    /// The engine's error; the connection is then ready for the next question. [`crate::error::Kind::Unreachable`]: it is gone.
    pub async fn next(&mut self) -> Result<Option<Answer>> {
        if let Some(batch) = self.waiting.take() {
            return Ok(Some(Answer::Rows(batch)));
        }
        loop {
            let gone = || Error::unreachable("the engine has closed the connection");
            let frame = Frame::read(&mut self.reader).await?.ok_or_else(gone)?;
            match frame.kind {
                b'R' => {
                    let mut bytes = Buffer::from_vec(frame.bytes);
                    let batch = self.decoder.decode(&mut bytes)?;
                    if !bytes.is_empty() {
                        return Err(Error::bug("a frame of rows holds more than one batch"));
                    }
                    // The decoder reads the schema no earlier than the bytes that follow it.
                    if let Some(schema) = self.decoder.schema().filter(|_| !self.schema_told) {
                        self.schema_told = true;
                        self.waiting = batch;
                        return Ok(Some(Answer::Schema(schema)));
                    }
                    if let Some(batch) = batch {
                        return Ok(Some(Answer::Rows(batch)));
                    }
                }
                b'E' => {
                    self.between_statements();
                    return Ok(Some(Answer::StatementEnd(frame.read_json()?)));
                }
                b'J' => return Ok(Some(Answer::Value(frame.read_json()?))),
                b'D' => return Ok(None),
                b'X' => {
                    self.between_statements();
                    return Err(frame.read_json::<Fault>()?.into_error());
                }
                other => return Err(Error::failed(format!("the engine sent a frame of unknown kind {other}; are both of one version?"))),
            }
        }
    }

    /// Asks, and waits for the one value that is the answer.
    pub async fn value(&mut self, request: &Request) -> Result<serde_json::Value> {
        self.ask(request).await?;
        let mut value = None;
        while let Some(answer) = self.next().await? {
            if let Answer::Value(answer) = answer {
                value = Some(answer);
            }
        }
        value.ok_or_else(|| Error::bug("the engine answered without a value"))
    }

    /// Ends the running request from elsewhere (on Ctrl-C).
    pub fn canceller(&self) -> Canceller {
        Canceller { writer: self.writer.clone() }
    }

    fn between_statements(&mut self) {
        self.decoder = StreamDecoder::new();
        self.schema_told = false;
    }
}

/// Ends the running request of a [`Client`].
#[derive(Debug, Clone)]
pub struct Canceller {
    writer: Arc<Mutex<OwnedWriteHalf>>,
}

impl Canceller {
    /// Asks the engine to end it; the client then reads the error of a cancelled request.
    pub async fn cancel(&self) -> Result<()> {
        Frame::new(b'C', Vec::new()).write(&mut *self.writer.lock().await).await
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;
    use std::time::Duration;

    use super::*;
    use crate::connector::trouble::Troubles;
    use crate::error::Kind;
    use crate::metrics::Metrics;
    use crate::server::health::Health;
    use crate::server::queries::{Queries, QueryLimits};
    use crate::server::socket::{Claim, serve};
    use crate::server::testing::orders;
    use crate::table::SystemSchema;

    async fn engine(dir: &Path) -> Claim {
        let (claim, listener) = Claim::take(dir).unwrap();
        let (tables, _) = orders();
        let metrics = Metrics::default();
        let queries = Queries::new(tables, SystemSchema::new(metrics.clone()), Arc::default(), &QueryLimits::default()).unwrap();
        let calls: crate::server::socket::Calls = Arc::new(|name, arguments| {
            Box::pin(async move {
                match name.as_str() {
                    "echo" => Ok(arguments),
                    _ => Err(Error::input(format!("no call '{name}'"))),
                }
            })
        });
        tokio::spawn(serve(listener, queries, Health::new(metrics, Troubles::default()), calls));
        claim
    }

    async fn sql(client: &mut Client, text: &str) -> Result<Vec<Answer>> {
        client.ask(&Request::Sql { text: text.into(), name: "input".into() }).await?;
        let mut answers = Vec::new();
        while let Some(answer) = client.next().await? {
            answers.push(answer);
        }
        Ok(answers)
    }

    #[tokio::test]
    async fn statements_calls_and_faults_travel() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Client::connect(dir.path()).await.unwrap().is_none());
        let claim = engine(dir.path()).await;
        let mut client = Client::connect(dir.path()).await.unwrap().unwrap();
        let answers =
            sql(&mut client, "CREATE VIEW fifty AS SELECT 50 AS n; SELECT SUM(n) FROM fifty; SELECT id FROM orders WHERE id = 'none'")
                .await
                .unwrap();
        let sums: Vec<i32> = answers
            .iter()
            .filter_map(|a| if let Answer::Rows(batch) = a { Some(batch.column(0).as_primitive::<Int32Type>().value(0)) } else { None })
            .collect();
        assert_eq!(sums, [50]);
        assert_eq!(answers.iter().filter(|a| matches!(a, Answer::Schema(_))).count(), 3, "{answers:?}");
        assert!(matches!(answers.last(), Some(Answer::StatementEnd(StatementEnd { rows: 0, .. }))));

        let error = sql(&mut client, "SELECT *\nFROM orderz").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().starts_with("input:2:6: ") && error.to_string().contains("did you mean 'orders'?"), "{error}");
        assert!(sql(&mut client, "INSERT INTO orders SELECT * FROM orders").await.unwrap_err().to_string().contains("read-only"));

        let call = |name: &str| Request::Call { name: name.into(), arguments: serde_json::json!([1, "x"]) };
        assert_eq!(client.value(&call("echo")).await.unwrap(), serde_json::json!([1, "x"]));
        assert!(client.value(&call("nothing")).await.unwrap_err().to_string().contains("no call 'nothing'"));
        let status = client.value(&Request::Status).await.unwrap();
        assert_eq!(status["pid"], std::process::id());
        let names = client.value(&Request::Names).await.unwrap();
        assert!(names.to_string().contains("placed") && names.to_string().contains("system.metrics"), "{names}");
        drop(claim);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_running_request_can_be_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let _claim = engine(dir.path()).await;
        let mut client = Client::connect(dir.path()).await.unwrap().unwrap();
        let cancel = client.canceller();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            cancel.cancel().await.unwrap();
        });
        // 3^20 rows, all of them dropped.
        let others: String = (1..20).map(|i| format!(", orders o{i}")).collect();
        let endless = format!("SELECT COUNT(*) FROM orders o0{others} WHERE o0.amount + o19.amount < 0");
        let error = sql(&mut client, &endless).await.unwrap_err();
        assert!(error.kind() == Kind::Interrupted && error.to_string().contains("cancelled"), "{error}");
        assert_eq!(sql(&mut client, "SELECT 1 AS one").await.unwrap().len(), 3);
    }
}
