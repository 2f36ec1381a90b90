//! New partitions of sources that grow: looked for while the pipeline runs, told to the coordinator.
//!
//! They are taken up by starting again behind a checkpoint: each partition then has its task like any other, is read from
//! its first record, and holds merged time until it reports or idles.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connector::Partition;
use crate::dataflow::graph::{Graph, NodeKind};

/// Looks after every source of the graph that grows, for as long as the set lives. `known`: per node the partitions that
/// the pipeline began with.
pub fn watch(graph: &Graph, known: &[Vec<Partition>], found: &mpsc::Sender<String>) -> JoinSet<()> {
    let mut watching = JoinSet::new();
    for (node, known) in graph.nodes.iter().zip(known) {
        let NodeKind::Source(source) = &node.kind else { continue };
        let Some(interval) = source.source.discovery() else { continue };
        let known: BTreeSet<String> = known.iter().map(|partition| partition.name.clone()).collect();
        watching.spawn(look(node.name.clone(), source.source.clone(), interval, known, found.clone()));
    }
    watching
}

async fn look(
    table: String,
    source: std::sync::Arc<dyn crate::connector::Source>,
    interval: Duration,
    known: BTreeSet<String>,
    found: mpsc::Sender<String>,
) {
    loop {
        tokio::time::sleep(interval).await;
        match source.partitions().await {
            Ok(partitions) => {
                let new: Vec<String> = partitions.into_iter().map(|p| p.name).filter(|name| !known.contains(name)).collect();
                if !new.is_empty() {
                    // Nobody listens any more when the pipeline ends just now.
                    _ = found.send(format!("table {table} has new partitions: {}", new.join(", "))).await;
                    return;
                }
            }
            // Its readers tell what is wrong with a source; here it is only asked again.
            Err(error) => tracing::debug!("{table}: looking for new partitions: {error}"),
        }
    }
}
