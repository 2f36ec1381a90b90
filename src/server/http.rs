//! The HTTP door.
//!
//! | path | answer |
//! |---|---|
//! | `/health` | JSON: ok, degraded or failed; pipelines; watermarks of the tables. Status 503 when failed |
//! | `/metrics` | Prometheus text |
//! | `/tables` | JSON: the live tables with their columns and rows |
//! | `/tables/{name}?where=&limit=&format=json\|csv` | the rows of a table; `where` is a condition in SQL |
//! | `/rules` | JSON: the rules with state, counts, last alert, and why a file was refused |
//! | `/rules/{name}` | the text of a rule; with `http.write`: `PUT` saves one that is fit to run, `DELETE` takes it away |
//! | `/tables/{name}/changes?snapshot=true` | server-sent events (`change_feed.rs`): `rows` that each publish adds or replaces by key, rows `deleted` |
//!
//! With a token, everything but `/health` asks for `Authorization: Bearer <token>`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use datafusion::common::TableReference;
use futures::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::error::{Error, Kind};
use crate::metrics::Metrics;
use crate::options;
use crate::server::change_feed;
use crate::server::health::Health;
use crate::server::json;
use crate::server::listen::Guard;
use crate::server::queries::{Queries, Stop};
use crate::server::rules::{Changed, RuleBoard};
use crate::server::tls_listener::TlsListener;
use crate::sql::types;
use crate::table::{LiveTable, TableSnapshot, at_one_cut};

/// Rows of a table that are sent unless `limit` says otherwise.
const LIMIT: usize = 1_000;

/// What the HTTP door shows.
#[derive(Clone)]
pub struct HttpDoor {
    /// Reads tables.
    pub queries: Queries,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// How the engine is.
    pub health: Health,
    /// Which rules run.
    pub rules: RuleBoard,
    /// Who may come in.
    pub guard: Guard,
}

/// Serves HTTP on `listener` until the task is dropped.
pub async fn serve(listener: TcpListener, door: HttpDoor) -> crate::error::Result<()> {
    let guard = door.guard.clone();
    let router = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/tables", get(tables))
        .route("/tables/{name}", get(table))
        .route("/tables/{name}/changes", get(changes))
        .route("/rules", get(rules))
        .route("/rules/{name}", get(rule).put(put_rule).delete(delete_rule))
        .fallback(|| async {
            Fault(Error::unreachable(
                "nothing here; there are /health, /metrics, /tables, /tables/{name}, /tables/{name}/changes, /rules, /rules/{name}",
            ))
        })
        .layer(from_fn_with_state(door.clone(), admit))
        .with_state(Arc::new(door));
    let served = match guard.tls() {
        Some(tls) => axum::serve(TlsListener::new(listener, tls.clone())?, router).await,
        None => axum::serve(listener, router).await,
    };
    served.map_err(|error| Error::failed("the HTTP door closed").because(error))
}

/// An error as an answer: status by kind, text as JSON.
struct Fault(Error);

impl<E: Into<Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault(error.into())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = match self.0.kind() {
            Kind::Input | Kind::Row => StatusCode::BAD_REQUEST,
            Kind::Unreachable => StatusCode::NOT_FOUND,
            Kind::Fenced => StatusCode::UNAUTHORIZED,
            Kind::Interrupted => StatusCode::REQUEST_TIMEOUT,
            Kind::Failed | Kind::Restart | Kind::Corrupt | Kind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, axum::Json(json!({ "error": self.0.to_string() }))).into_response()
    }
}

/// Lets requests in that carry the token. Without a token and TLS only this machine's own names are answered, so that no
/// web page can read tables through a name that it points at 127.0.0.1.
async fn admit(State(door): State<HttpDoor>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let open = !door.guard.wants_token() && door.guard.tls().is_none();
    if open && !of_this_machine(headers) {
        return Fault(Error::input("this door answers to localhost and 127.0.0.1 only; set a token to open it wider")).into_response();
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    if request.uri().path() != "/health" && !door.guard.admits(given) {
        return Fault(Error::new(Kind::Fenced, "this door asks for its token: Authorization: Bearer <token>")).into_response();
    }
    next.run(request).await
}

fn of_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn health(State(door): State<Arc<HttpDoor>>) -> Response {
    let report = door.health.report();
    let status = if report.status == "failed" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, axum::Json(report)).into_response()
}

async fn metrics(State(door): State<Arc<HttpDoor>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], door.metrics.prometheus()).into_response()
}

async fn rules(State(door): State<Arc<HttpDoor>>) -> Result<Response, Fault> {
    Ok(axum::Json(json!({ "rules": door.rules.list()? })).into_response())
}

async fn rule(State(door): State<Arc<HttpDoor>>, Path(name): Path<String>) -> Result<Response, Fault> {
    Ok(([(header::CONTENT_TYPE, "application/yaml")], door.rules.text(&name)?).into_response())
}

async fn put_rule(State(door): State<Arc<HttpDoor>>, Path(name): Path<String>, text: String) -> Response {
    changed(door.rules.put(&name, &text).await)
}

async fn delete_rule(State(door): State<Arc<HttpDoor>>, Path(name): Path<String>) -> Response {
    changed(door.rules.delete(&name).await)
}

/// What became of a change: each fault of a rule that is not fit to run, with its place.
fn changed(outcome: crate::error::Result<Changed>) -> Response {
    match outcome {
        Ok(changed) => {
            let status = if changed.taken { StatusCode::OK } else { StatusCode::ACCEPTED };
            (status, axum::Json(json!(changed))).into_response()
        }
        Err(error) => {
            let status = match error.kind() {
                Kind::Fenced => StatusCode::FORBIDDEN,
                Kind::Input => StatusCode::UNPROCESSABLE_ENTITY,
                _ => return Fault(error).into_response(),
            };
            let faults: Vec<String> = error.each().map(Error::line).collect();
            (status, axum::Json(json!({ "error": error.to_string(), "faults": faults }))).into_response()
        }
    }
}

async fn tables(State(door): State<Arc<HttpDoor>>) -> Response {
    let snapshot = door.queries.tables().snapshot();
    let tables: Vec<_> = snapshot.tables.values().map(|table| described(table)).collect();
    axum::Json(json!({ "cut": snapshot.epoch, "tables": tables })).into_response()
}

fn described(table: &TableSnapshot) -> serde_json::Value {
    let (spec, fields) = (&table.spec, table.schema().fields());
    json!({
        "name": spec.name,
        "rows": table.rows,
        "bytes": table.bytes,
        "version": table.version,
        "primary_key": spec.primary_key.iter().map(|c| fields[*c].name()).collect::<Vec<_>>(),
        "columns": fields.iter().map(|f| json!({ "name": f.name(), "type": types::name(f.data_type()) })).collect::<Vec<_>>(),
    })
}

/// What of a table is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Most rows.
    limit: Option<usize>,
    /// A condition in SQL.
    r#where: Option<String>,
    /// `json` (default) or `csv`.
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Csv,
}

async fn table(
    State(door): State<Arc<HttpDoor>>,
    Path(name): Path<String>,
    Query(given): Query<BTreeMap<String, String>>,
) -> Result<Response, Fault> {
    let wanted: Wanted = options::parse(&given).map_err(|fault| Error::input(fault.message))?;
    _ = known(&door, &name)?;
    let context = door.queries.session();
    let plan = at_one_cut(door.queries.tables(), async {
        let mut frame = context.table(TableReference::bare(name.as_str())).await?;
        if let Some(condition) = &wanted.r#where {
            let condition = context.parse_sql_expr(condition, frame.schema())?;
            frame = frame.filter(condition)?;
        }
        Ok::<_, Error>(frame.limit(0, Some(wanted.limit.unwrap_or(LIMIT)))?.into_unoptimized_plan())
    });
    let rows = door.queries.run(&context, plan.await?, None, Stop::after(door.queries.timeout())).await?;
    Ok(match wanted.format {
        Format::Json => ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(as_json(rows))).into_response(),
        Format::Csv => ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], Body::from_stream(as_csv(rows))).into_response(),
    })
}

fn known(door: &HttpDoor, name: &str) -> Result<Arc<LiveTable>, Error> {
    door.queries.tables().get(name).map_err(|error| Error::unreachable(error.message()))
}

type Rows = datafusion::execution::SendableRecordBatchStream;

/// `[` rows, separated by commas, `]`.
fn as_json(rows: Rows) -> impl Stream<Item = Result<Vec<u8>, Error>> + Send {
    let mut first = true;
    let body = rows.map(move |batch| {
        let mut text = Vec::new();
        for line in json::lines(&batch?)?.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            text.extend_from_slice(if std::mem::take(&mut first) { b"\n" } else { b",\n" });
            text.extend_from_slice(line);
        }
        Ok(text)
    });
    let piece = |text: &'static [u8]| futures::stream::once(async move { Ok(text.to_vec()) });
    piece(b"[").chain(body).chain(piece(b"\n]\n"))
}

fn as_csv(rows: Rows) -> impl Stream<Item = Result<Vec<u8>, Error>> + Send {
    let head = json::csv(&arrow::array::RecordBatch::new_empty(rows.schema()), true);
    futures::stream::once(async move { head }).chain(rows.map(|batch| json::csv(&batch?, false)))
}

async fn changes(
    State(door): State<Arc<HttpDoor>>,
    Path(name): Path<String>,
    Query(given): Query<BTreeMap<String, String>>,
) -> Result<Response, Fault> {
    let beginning = options::parse(&given).map_err(|fault| Error::input(fault.message))?;
    let events = change_feed::events(door.queries.tables(), known(&door, &name)?.as_ref(), &beginning)?;
    Ok(Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default()).into_response())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::connector::trouble::Troubles;
    use crate::project::Project;
    use crate::server::health::PipelineState;
    use crate::server::listen::listen;
    use crate::server::queries::QueryLimits;
    use crate::server::testing::{orders, write_orders};
    use crate::table::{SystemSchema, TableWriter, Tables};

    struct Open {
        port: u16,
        tables: Tables,
        writer: TableWriter,
        door: HttpDoor,
        troubles: Troubles,
    }

    async fn open(token: Option<&str>) -> Open {
        let (tables, writer) = orders();
        let metrics = Metrics::default();
        metrics.counter("eagre_rows_in_total", &[("node", "orders")]).add(3);
        let queries = Queries::new(tables.clone(), SystemSchema::new(metrics.clone()), Arc::default(), &QueryLimits::default()).unwrap();
        let guard = Guard::new(token.map(str::to_owned), None).unwrap();
        let listener = listen("--http-listen", "127.0.0.1:0", &guard).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let troubles = Troubles::default();
        let rules = RuleBoard::of(Project::of_texts("shop", ".", Vec::new()), Vec::new(), queries.tables().clone(), false);
        let door = HttpDoor { queries, health: Health::new(metrics.clone(), troubles.clone()), rules, metrics, guard };
        tokio::spawn(serve(listener, door.clone()));
        Open { port, tables, writer, door, troubles }
    }

    async fn request(port: u16, path: &str, headers: &str) -> TcpStream {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.0\r\n{headers}\r\n").as_bytes()).await.unwrap();
        socket
    }

    /// Status line and body.
    async fn got(port: u16, path: &str, headers: &str) -> (String, String) {
        let mut text = String::new();
        request(port, path, headers).await.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().split_once(' ').unwrap().1.to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn tables_are_read_with_conditions_limits_and_formats() {
        let open = open(None).await;
        for (path, want) in [
            ("/tables/orders?where=id%20%3D%20%27o2%27", r#"[{"id":"o2","amount":20,"placed":"1970-01-01T00:00:02"}]"#),
            ("/tables/orders?where=amount%20%3E%2020&limit=5", r#"[{"id":"o3","amount":30,"placed":"1970-01-01T00:00:03"}]"#),
            ("/tables/orders?limit=0", "[]"),
        ] {
            let (status, body) = got(open.port, path, "").await;
            assert_eq!((status.as_str(), body.replace('\n', "").as_str()), ("200 OK", want), "{path}");
        }
        let (_, body) = got(open.port, "/tables/orders?format=csv&limit=1", "").await;
        assert_eq!(body, "id,amount,placed\no1,10,1970-01-01T00:00:01\n");
        let (_, body) = got(open.port, "/tables", "").await;
        assert!(body.contains(r#""name":"orders""#) && body.contains(r#""primary_key":["id"]"#), "{body}");
        for (path, status, text) in [
            ("/tables/order", "404 Not Found", "did you mean 'orders'?"),
            ("/tables/orders?where=amout%20%3E%201", "400 Bad Request", "amout"),
            ("/tables/orders?where=1%3B%20DROP%20TABLE%20orders", "400 Bad Request", "error"),
            ("/tables/orders?wher=1", "400 Bad Request", "did you mean 'where'?"),
            ("/nothing", "404 Not Found", "/tables/{name}/changes"),
        ] {
            let (got_status, body) = got(open.port, path, "").await;
            assert!(got_status == status && body.contains(text), "{path}: {got_status} {body}");
        }
    }

    #[tokio::test]
    async fn health_and_metrics_are_told() {
        let open = open(None).await;
        open.door.health.set("shop", PipelineState::Running);
        open.door.metrics.gauge("eagre_table_watermark_micros", &[("table", "a")]).set(5_000_000);
        open.door.metrics.gauge("eagre_table_watermark_micros", &[("table", "b")]);
        let (status, body) = got(open.port, "/health", "").await;
        assert_eq!(status, "200 OK");
        assert_eq!(body, r#"{"status":"ok","pipelines":{"shop":{"state":"running"}},"watermarks":{"a":"1970-01-01T00:00:05Z","b":null}}"#);
        open.troubles.report("broker k1:9092", "cannot be reached");
        let (status, body) = got(open.port, "/health", "").await;
        assert!(status == "200 OK" && body.contains("degraded") && body.contains("broker k1:9092"), "{status} {body}");
        open.troubles.mended("broker k1:9092");
        open.door.health.set("shop", PipelineState::Failed("disk full".into()));
        let (status, body) = got(open.port, "/health", "").await;
        assert!(status == "503 Service Unavailable" && body.contains("disk full"), "{status} {body}");
        let (_, body) = got(open.port, "/metrics", "").await;
        assert!(body.contains("eagre_rows_in_total{node=\"orders\"} 3"), "{body}");
    }

    #[tokio::test]
    async fn changes_arrive_as_events_after_the_snapshot() {
        let mut open = open(None).await;
        let mut socket = request(open.port, "/tables/orders/changes?snapshot=true", "").await;
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("event: snapshot") || !text.ends_with("\n\n") {
            let read = socket.read(&mut buffer).await.unwrap();
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        assert!(text.contains("text/event-stream") && text.contains(r#"{"id":"o3","amount":30"#), "{text}");
        write_orders(&mut open.writer, &[("o9", 9, 9)]);
        open.writer.cut(2).unwrap();
        open.tables.publish(2);
        while !text.contains("event: rows") || !text.ends_with("\n\n") {
            let read = socket.read(&mut buffer).await.unwrap();
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        let event = text.split("event: rows").nth(1).unwrap();
        assert!(event.contains(r#"data: [{"id":"o9","amount":9,"placed":"1970-01-01T00:00:09"}]"#) && event.contains("id: 2"), "{text}");
    }

    #[tokio::test]
    async fn a_token_is_asked_for_and_strange_names_are_turned_away() {
        let with_token = open(Some("secret")).await;
        assert_eq!(got(with_token.port, "/tables", "").await.0, "401 Unauthorized");
        assert_eq!(got(with_token.port, "/tables", "Authorization: Bearer guess\r\n").await.0, "401 Unauthorized");
        assert_eq!(got(with_token.port, "/tables", "Authorization: Bearer secret\r\n").await.0, "200 OK");
        assert_eq!(got(with_token.port, "/health", "").await.0, "200 OK");
        let without = open(None).await;
        assert_eq!(got(without.port, "/tables", "Host: evil.example\r\n").await.0, "400 Bad Request");
        for host in ["localhost:8433", "127.0.0.1:8433", "[::1]:8433"] {
            assert_eq!(got(without.port, "/tables", &format!("Host: {host}\r\n")).await.0, "200 OK");
        }
    }
}
