//! From graph to tasks: which nodes share a task, and how rows get from task to task. Plain data, no threads.
//!
//! ```text
//!  stage 0: source + stateless nodes     one task per partition
//!      │ by key
//!  stage 1: keyed node + stateless ones  one task per key range (parallelism)
//! ```
//! A node that works anywhere runs in the task of its input: no channel between them. Where both sides are a single
//! task anyway, a keyed node does, too.

use crate::dataflow::graph::{Graph, NodeId, NodeKind};
use crate::operator::Distribution;

/// Index into [`Layout::stages`].
pub type StageId = usize;

/// How rows travel along an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Producer and consumer are in one task.
    Local,
    /// To the task that owns the hash of these columns.
    ByKey(Vec<usize>),
    /// To the only task.
    Single,
}

/// An edge between two instances of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Stage and node that send.
    pub from: (StageId, NodeId),
    /// Stage and node that receive.
    pub to: (StageId, NodeId),
    /// Which input of the receiver it feeds.
    pub input: usize,
    /// How.
    pub route: Route,
}

/// Nodes that run in the same tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its nodes in topological order; a source comes first.
    pub nodes: Vec<NodeId>,
    /// Number of tasks: the partitions of its source, the parallelism, or one.
    pub tasks: usize,
}

/// The whole layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Stages; a stage receives only from earlier ones.
    pub stages: Vec<Stage>,
    /// All edges.
    pub edges: Vec<Edge>,
}

impl Layout {
    /// Lays out `graph`; `partitions` gives the number of partitions of each source node, 0 for other nodes.
    pub fn of(graph: &Graph, partitions: &[usize], parallelism: usize) -> Layout {
        let mut stages: Vec<Stage> = Vec::new();
        let mut edges = Vec::new();
        // Per node: the stages it has instances in.
        let mut homes: Vec<Vec<StageId>> = Vec::with_capacity(graph.nodes.len());
        for (id, node) in graph.nodes.iter().enumerate() {
            let mut feeding: Vec<StageId> = node.inputs.iter().flat_map(|input| homes[*input].iter().copied()).collect();
            feeding.sort_unstable();
            feeding.dedup();
            let wanted: Vec<Distribution> = match &node.kind {
                NodeKind::Source(_) => Vec::new(),
                NodeKind::Operator(spec) => (0..node.inputs.len()).map(|input| spec.distribution(input)).collect(),
                NodeKind::Sink(sink) => vec![match (sink.key_columns(), sink.max_tasks()) {
                    (_, Some(1)) => Distribution::Single,
                    (Some(keys), _) => Distribution::ByKey(keys),
                    (None, _) => Distribution::Anywhere,
                }],
            };
            let own_tasks =
                if wanted.iter().any(|d| !matches!(d, Distribution::ByKey(keys) if !keys.is_empty())) { 1 } else { parallelism };
            let at_home = wanted.iter().all(|d| *d == Distribution::Anywhere);
            let home = if matches!(node.kind, NodeKind::Source(_)) {
                stages.push(Stage { nodes: vec![id], tasks: partitions[id] });
                vec![stages.len() - 1]
            } else if at_home || (feeding.len() == 1 && stages[feeding[0]].tasks == 1 && own_tasks == 1) {
                for stage in &feeding {
                    stages[*stage].nodes.push(id);
                }
                feeding
            } else {
                stages.push(Stage { nodes: vec![id], tasks: own_tasks });
                vec![stages.len() - 1]
            };
            for (input, producer) in node.inputs.iter().enumerate() {
                for from in &homes[*producer] {
                    for to in &home {
                        let route = match &wanted[input] {
                            _ if from == to => Route::Local,
                            // An instance in another stage is fed by the producer's instance there.
                            Distribution::Anywhere => continue,
                            Distribution::ByKey(keys) if !keys.is_empty() => Route::ByKey(keys.clone()),
                            Distribution::ByKey(_) | Distribution::Single => Route::Single,
                        };
                        edges.push(Edge { from: (*from, *producer), to: (*to, id), input, route });
                    }
                }
            }
            homes.push(home);
        }
        Layout { stages, edges }
    }

    /// Number of the instance of `node` that runs in task `task` of `stage`, among all its instances.
    pub fn instance(&self, stage: StageId, task: usize, node: NodeId) -> usize {
        self.stages[..stage].iter().filter(|s| s.nodes.contains(&node)).map(|s| s.tasks).sum::<usize>() + task
    }

    /// Number of instances of `node`.
    pub fn instances(&self, node: NodeId) -> usize {
        self.instance(self.stages.len(), 0, node)
    }
}
