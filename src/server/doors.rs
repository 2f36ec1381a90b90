//! Opening the doors of an engine: its socket, and PostgreSQL and HTTP on their ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::JoinSet;

use crate::dataflow::graph::NodeKind;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::project::Settings;
use crate::server::health::Health;
use crate::server::http::{self, HttpDoor};
use crate::server::listen::{Guard, TlsFiles, listen};
use crate::server::pgwire;
use crate::server::queries::{Queries, QueryLimits};
use crate::server::rules::RuleBoard;
use crate::server::socket::{self, Calls, Claim};
use crate::table::{NodeInfo, SystemSchema};

/// The open doors of an engine; dropping them closes them.
pub struct Doors {
    /// How the engine is: whoever runs it reports here.
    pub health: Health,
    /// Which rules run.
    rules: RuleBoard,
    /// The engine's insides as tables.
    system: SystemSchema,
    /// Addresses of PostgreSQL and HTTP, if they are served.
    ports: Option<(SocketAddr, SocketAddr)>,
    /// They speak TLS.
    tls: bool,
    /// The data directory is ours while they are open.
    _claim: Claim,
    /// What is to serve them.
    waiting: Vec<BoxFuture<'static, ()>>,
    /// What serves them.
    serving: JoinSet<()>,
}

impl Doors {
    /// Takes the data directory, opens its socket for the command line and, if `serve`, listens where the settings say.
    /// Who connects waits until [`Doors::serve`].
    pub async fn open(engine: &Engine, serve: bool) -> Result<Doors> {
        let settings = engine.settings();
        let (claim, socket) = Claim::take(&engine.environment().data_dir)?;
        let system = system_of(engine);
        let queries = queries_over(engine, system.clone())?;
        let rules = RuleBoard::new(engine);
        let health = Health::new(engine.metrics().clone(), engine.environment().troubles.clone());
        let mut waiting: Vec<BoxFuture<'static, ()>> = Vec::new();
        let (mut ports, mut tls) = (None, false);
        if serve {
            let guard = Guard::new(settings.listen_token.clone(), tls_files(settings)?.as_ref())?;
            tls = guard.tls().is_some();
            let pg = listen("--pg-listen", &settings.pg_listen, &guard).await?;
            let web = listen("--http-listen", &settings.http_listen, &guard).await?;
            let unknown = |e| Error::failed("a listener has no address").because(e);
            ports = Some((pg.local_addr().map_err(unknown)?, web.local_addr().map_err(unknown)?));
            waiting.push(Box::pin(pgwire::serve(pg, queries.clone(), guard.clone())));
            let door = HttpDoor {
                queries: queries.clone(),
                metrics: engine.metrics().clone(),
                health: health.clone(),
                rules: rules.clone(),
                guard,
            };
            waiting.push(Box::pin(async move {
                if let Err(error) = http::serve(web, door).await {
                    tracing::error!("{error}");
                }
            }));
        }
        waiting.push(Box::pin(socket::serve(socket, queries, health.clone(), calls(engine))));
        Ok(Doors { health, rules, system, ports, tls, _claim: claim, waiting, serving: JoinSet::new() })
    }

    /// Another engine has taken the place of the one that the doors were opened for: the same project with other rules.
    pub fn takes(&self, engine: &Engine) {
        self.system.set_nodes(nodes(engine));
        self.rules.runs(engine);
    }

    /// Other rules were saved and are not fit to run.
    pub fn refused(&self, faults: &Error) {
        self.rules.refused(faults);
    }

    /// Lets everybody in, now that the tables show what they held before, and says where the doors are.
    pub fn serve(&mut self) {
        for door in self.waiting.drain(..) {
            self.serving.spawn(door);
        }
        if let Some((pg, web)) = &self.ports {
            let web = format!("{}://{web}", if self.tls { "https" } else { "http" });
            tracing::info!("tables: psql -h {} -p {} · {web}/tables · health: {web}/health", pg.ip(), pg.port());
        }
    }
}

/// Queries over an engine's live and system tables and its views.
pub fn queries_of(engine: &Engine) -> Result<Queries> {
    queries_over(engine, system_of(engine))
}

/// The engine's insides as tables.
fn system_of(engine: &Engine) -> SystemSchema {
    let system = SystemSchema::new(engine.metrics().clone());
    system.add_checkpoints(engine.name(), engine.checkpoints().clone());
    system.set_nodes(nodes(engine));
    system
}

fn queries_over(engine: &Engine, system: SystemSchema) -> Result<Queries> {
    let settings = engine.settings();
    let limits = QueryLimits {
        memory_bytes: settings.query_memory.bytes() as usize,
        timeout: Duration::from_micros(settings.query_timeout_micros as u64),
        ..QueryLimits::default()
    };
    let queries = Queries::new(engine.tables().clone(), system, Arc::clone(engine.catalog()), &limits)?;
    queries.with_command_line(Arc::new(engine.stored()))
}

/// Half a TLS identity is a fault, not a door without encryption.
fn tls_files(settings: &Settings) -> Result<Option<TlsFiles>> {
    match (&settings.listen_tls_cert, &settings.listen_tls_key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert: cert.clone(), key: key.clone() })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::input("listen.tls.cert is set, listen.tls.key is not: TLS needs both")),
        (None, Some(_)) => Err(Error::input("listen.tls.key is set, listen.tls.cert is not: TLS needs both")),
    }
}

/// What other commands ask of a running engine: it holds the log, so it looks into topics and writes to them.
fn calls(engine: &Engine) -> Calls {
    let log = engine.environment().log.clone();
    Arc::new(move |name, arguments| {
        let log = log.clone();
        Box::pin(async move {
            let may_miss = arguments.get("may_miss").is_some_and(|may_miss| *may_miss == true);
            if !log.dir().is_dir() && !may_miss && !matches!(name.as_str(), "topics.put" | "topics.declare" | "topics.resend") {
                return Err(Error::unreachable("this engine has no log yet: nothing has been written to a topic"));
            }
            match log.open()?.call(&name, arguments).await {
                Some(answer) => answer,
                None => Err(Error::input(format!("the engine has no call '{name}'; are engine and command of one version?"))),
            }
        })
    })
}

/// The graph's nodes for `system.operators`.
fn nodes(engine: &Engine) -> Vec<NodeInfo> {
    let parallelism = engine.settings().parallelism;
    let info = |kind: &str, describe: String| (kind.to_owned(), describe);
    engine
        .graph()
        .nodes
        .iter()
        .map(|node| {
            let (kind, describe) = match &node.kind {
                NodeKind::Source(source) => info("source", source.source.describe()),
                NodeKind::Operator(spec) => info("operator", spec.describe()),
                NodeKind::Sink(sink) => info("sink", sink.describe()),
            };
            NodeInfo { node: node.name.clone(), kind, describe, tasks: parallelism }
        })
        .collect()
}
