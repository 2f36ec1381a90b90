//! Opening the doors of an engine: PostgreSQL and HTTP on their ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::dataflow::graph::NodeKind;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::server::health::Health;
use crate::server::http::{self, HttpDoor};
use crate::server::listen::{Guard, TlsFiles, listen};
use crate::server::pgwire;
use crate::server::queries::{Queries, QueryLimits};
use crate::table::{NodeInfo, SystemSchema};

/// The open doors of an engine; dropping them closes them.
pub struct Doors {
    /// Reads the engine's tables.
    pub queries: Queries,
    /// How the engine is: whoever runs it reports here.
    pub health: Health,
    /// Addresses of PostgreSQL and HTTP, if they are served.
    ports: Option<(SocketAddr, SocketAddr)>,
    /// What serves them.
    _serving: JoinSet<()>,
}

impl Doors {
    /// Prepares queries over an engine's tables and, if `serve`, listens where the settings say.
    pub async fn open(engine: &Engine, serve: bool) -> Result<Doors> {
        let settings = engine.settings();
        let system = SystemSchema::new(engine.metrics().clone());
        system.add_checkpoints(engine.name(), engine.checkpoints().clone());
        system.set_nodes(nodes(engine));
        let limits = QueryLimits {
            memory_bytes: settings.query_memory.bytes() as usize,
            timeout: Duration::from_micros(settings.query_timeout_micros as u64),
            ..QueryLimits::default()
        };
        let queries = Queries::new(engine.tables().clone(), system, Arc::clone(engine.catalog()), &limits)?;
        let health = Health::new(engine.metrics().clone());
        let mut serving = JoinSet::new();
        let mut ports = None;
        if serve {
            let tls = settings.listen_tls_cert.clone().zip(settings.listen_tls_key.clone()).map(|(cert, key)| TlsFiles { cert, key });
            let guard = Guard::new(settings.listen_token.clone(), tls.as_ref())?;
            let pg = listen("--pg-listen", &settings.pg_listen.to_string(), &guard).await?;
            let web = listen("--http-listen", &settings.http_listen.to_string(), &guard).await?;
            let unknown = |e| Error::failed("a listener has no address").because(e);
            ports = Some((pg.local_addr().map_err(unknown)?, web.local_addr().map_err(unknown)?));
            serving.spawn(pgwire::serve(pg, queries.clone(), guard.clone()));
            let door = HttpDoor { queries: queries.clone(), metrics: engine.metrics().clone(), health: health.clone(), guard };
            serving.spawn(async move {
                if let Err(error) = http::serve(web, door).await {
                    tracing::error!("{error}");
                }
            });
        }
        Ok(Doors { queries, health, ports, _serving: serving })
    }

    /// Says where the doors are.
    pub fn tell(&self) {
        if let Some((pg, web)) = &self.ports {
            tracing::info!("tables: psql -h {} -p {} · http://{web}/tables · health: http://{web}/health", pg.ip(), pg.port());
        }
    }
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
