//! Fingerprints: what a node computes, whatever it is called and wherever it stands in the text. By its fingerprint an
//! operator finds its state again after a restart and after an edit of the query.

use std::collections::HashMap;

use crate::dataflow::graph::{Graph, NodeKind, ScanSpec};

/// The fingerprint of each node. Nodes that compute the same over the same inputs are told apart by their order.
pub fn fingerprints(graph: &Graph) -> Vec<String> {
    let mut known: Vec<String> = Vec::with_capacity(graph.nodes.len());
    let mut seen: HashMap<String, usize> = HashMap::new();
    for node in &graph.nodes {
        let own = match &node.kind {
            NodeKind::Source(source) => format!("source {} {}", source.source.identity(), event_time(&source.scan)),
            NodeKind::Operator(spec) => format!("operator {} {}", spec.name(), spec.identity()),
            NodeKind::Sink(sink) => format!("sink {}", sink.identity()),
        };
        let inputs: Vec<&str> = node.inputs.iter().map(|input| known[*input].as_str()).collect();
        // A sink is where it writes to: an edited query goes on appending to the same place.
        let text = if matches!(node.kind, NodeKind::Sink(_)) { own } else { format!("{own} < {}", inputs.join(" | ")) };
        let twin = seen.entry(text.clone()).or_insert(0);
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{text} #{twin}").as_bytes());
        *twin += 1;
        known.push(id.simple().to_string()[..16].to_owned());
    }
    known
}

/// Of a source only the place and its event time count: which columns are read may change without harm to its positions.
fn event_time(scan: &ScanSpec) -> String {
    scan.event_time.as_ref().map_or_else(String::new, ToString::to_string)
}
