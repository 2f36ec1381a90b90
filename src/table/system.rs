//! The system tables: what the engine does, as SQL. Each is made when it is read, from figures that exist anyway.
//!
//! | table | a row |
//! |---|---|
//! | `system.operators` | a node of the dataflow: rows in and out, dropped rows, watermark |
//! | `system.partitions` | a partition of a source: records, bytes, watermark and its lag, records that wait to be read |
//! | `system.checkpoints` | a checkpoint in the store, or why it cannot be used |
//! | `system.metrics` | a counter or gauge |
//! | `system.latency` | a distribution of durations |

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::RwLock;

use crate::error::Result;
use crate::metrics::{Metrics, label};
use crate::state::Checkpoints;

/// A node of the dataflow as the runtime registers it.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// The name that its figures carry in the label `node`.
    pub node: String,
    /// `source`, the operator's name, or `sink`.
    pub kind: String,
    /// What it does, in one line.
    pub describe: String,
    /// Number of tasks it runs in.
    pub tasks: usize,
}

/// The schema `system`; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct SystemSchema {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    nodes: RwLock<Vec<NodeInfo>>,
    /// Pipeline -> its checkpoints.
    checkpoints: RwLock<BTreeMap<String, Checkpoints>>,
}

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Operators,
    Partitions,
    Checkpoints,
    Metrics,
    Latency,
}

const TABLES: [(&str, Which); 5] = [
    ("checkpoints", Which::Checkpoints),
    ("latency", Which::Latency),
    ("metrics", Which::Metrics),
    ("operators", Which::Operators),
    ("partitions", Which::Partitions),
];

impl SystemSchema {
    /// Shows `metrics`; nodes and checkpoints as they are registered.
    pub fn new(metrics: Metrics) -> Self {
        SystemSchema { shared: Arc::new(Shared { metrics, nodes: RwLock::default(), checkpoints: RwLock::default() }) }
    }

    /// Names the nodes of the running dataflow, in place of those named before.
    pub fn set_nodes(&self, nodes: Vec<NodeInfo>) {
        *self.shared.nodes.write() = nodes;
    }

    /// Shows the checkpoints of `pipeline`.
    pub fn add_checkpoints(&self, pipeline: impl Into<String>, checkpoints: Checkpoints) {
        self.shared.checkpoints.write().insert(pipeline.into(), checkpoints);
    }

    async fn rows(&self, which: Which) -> Result<RecordBatch> {
        let metrics = &self.shared.metrics;
        Ok(match which {
            Which::Operators => self.operators()?,
            Which::Partitions => partitions(metrics)?,
            Which::Checkpoints => self.checkpoints().await?,
            Which::Metrics => {
                let values = metrics.values();
                table(
                    which,
                    vec![text(values.iter().map(|v| &v.0)), text(values.iter().map(|v| &v.1)), numbers(values.iter().map(|v| Some(v.2)))],
                )?
            }
            Which::Latency => {
                let all = metrics.latencies();
                let quantile = |q: f64| numbers(all.iter().map(|(_, _, latency)| Some(latency.quantile(q) as i64)));
                let counts = numbers(all.iter().map(|(_, _, latency)| Some(latency.count() as i64)));
                let (names, labels) = (text(all.iter().map(|l| &l.0)), text(all.iter().map(|l| &l.1)));
                table(which, vec![names, labels, counts, quantile(0.5), quantile(0.9), quantile(0.99), quantile(0.999), quantile(1.0)])?
            }
        })
    }

    fn operators(&self) -> Result<RecordBatch> {
        let nodes = self.shared.nodes.read().clone();
        let values = self.shared.metrics.values();
        // Figures of all tasks of a node: sums for counts, the least for the watermark.
        let of = |name: &str, node: &str| {
            values
                .iter()
                .filter(move |(n, labels, _)| n == name && label(labels, "node").as_deref() == Some(node))
                .map(|v| v.2)
                .collect::<Vec<_>>()
        };
        let sum = |name: &str| numbers(nodes.iter().map(|node| Some(of(name, &node.node).iter().sum())));
        let marks = nodes.iter().map(|node| of("eagre_node_watermark_micros", &node.node).into_iter().min());
        let columns = vec![
            text(nodes.iter().map(|n| &n.node)),
            text(nodes.iter().map(|n| &n.kind)),
            text(nodes.iter().map(|n| &n.describe)),
            numbers(nodes.iter().map(|n| Some(n.tasks as i64))),
            sum("eagre_rows_in_total"),
            sum("eagre_rows_out_total"),
            sum("eagre_rows_dropped_total"),
            times(marks),
        ];
        table(Which::Operators, columns)
    }

    async fn checkpoints(&self) -> Result<RecordBatch> {
        let stores = self.shared.checkpoints.read().clone();
        let (mut pipelines, mut epochs, mut created, mut finished, mut rows, mut files, mut faults) =
            (vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
        for (pipeline, store) in &stores {
            for listed in store.list().await? {
                pipelines.push(pipeline.clone());
                epochs.push(Some(listed.epoch as i64));
                let (manifest, fault) = match listed.manifest {
                    Ok(manifest) => (Some(manifest), None),
                    Err(error) => (None, Some(error.to_string())),
                };
                created.push(manifest.as_ref().map(|m| m.created_micros));
                finished.push(manifest.as_ref().map(|m| m.finished));
                rows.push(manifest.as_ref().map(|m| m.state_rows() as i64));
                files.push(manifest.as_ref().map(|m| m.files().count() as i64));
                faults.push(fault);
            }
        }
        let columns: Vec<ArrayRef> = vec![
            text(pipelines.iter()),
            numbers(epochs),
            times(created),
            Arc::new(BooleanArray::from(finished)),
            numbers(rows),
            numbers(files),
            Arc::new(faults.into_iter().collect::<StringViewArray>()),
        ];
        table(Which::Checkpoints, columns)
    }
}

fn partitions(metrics: &Metrics) -> Result<RecordBatch> {
    let mut by_partition: BTreeMap<(String, String), [Option<i64>; 5]> = BTreeMap::new();
    for (name, labels, value) in metrics.values() {
        let slot = match name.as_str() {
            "eagre_source_records_total" => 0,
            "eagre_source_bytes_total" => 1,
            "eagre_watermark_micros" => 2,
            "eagre_watermark_lag_ms" => 3,
            "eagre_source_lag_records" => 4,
            _ => continue,
        };
        if let (Some(node), Some(partition)) = (label(&labels, "table"), label(&labels, "partition")) {
            by_partition.entry((node, partition)).or_default()[slot] = Some(value);
        }
    }
    let columns = vec![
        text(by_partition.keys().map(|k| &k.0)),
        text(by_partition.keys().map(|k| &k.1)),
        numbers(by_partition.values().map(|v| v[0])),
        numbers(by_partition.values().map(|v| v[1])),
        times(by_partition.values().map(|v| v[2])),
        numbers(by_partition.values().map(|v| v[3])),
        numbers(by_partition.values().map(|v| v[4])),
    ];
    table(Which::Partitions, columns)
}

fn text<'a>(values: impl Iterator<Item = &'a String>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(values))
}

fn numbers(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

/// Microseconds as TIMESTAMP_LTZ. NULL: a watermark of minus or plus infinity, or none at all (its gauge is at zero).
fn times(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    let finite = values.into_iter().map(|micros| micros.filter(|m| ![i64::MIN, 0, i64::MAX].contains(m)));
    Arc::new(finite.collect::<TimestampMicrosecondArray>().with_timezone("+00:00"))
}

fn table(which: Which, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(schema(which), columns)?)
}

fn schema(which: Which) -> SchemaRef {
    let (text, number) = (DataType::Utf8View, DataType::Int64);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let fields: Vec<(&str, &DataType)> = match which {
        Which::Operators => vec![
            ("node", &text),
            ("kind", &text),
            ("describe", &text),
            ("tasks", &number),
            ("rows_in", &number),
            ("rows_out", &number),
            ("rows_dropped", &number),
            ("watermark", &time),
        ],
        Which::Partitions => vec![
            ("source", &text),
            ("partition", &text),
            ("records", &number),
            ("bytes", &number),
            ("watermark", &time),
            ("watermark_lag_ms", &number),
            ("lag_records", &number),
        ],
        Which::Checkpoints => vec![
            ("pipeline", &text),
            ("epoch", &number),
            ("created", &time),
            ("finished", &DataType::Boolean),
            ("state_rows", &number),
            ("files", &number),
            ("fault", &text),
        ],
        Which::Metrics => vec![("name", &text), ("labels", &text), ("value", &number)],
        Which::Latency => vec![
            ("name", &text),
            ("labels", &text),
            ("count", &number),
            ("p50_us", &number),
            ("p90_us", &number),
            ("p99_us", &number),
            ("p999_us", &number),
            ("max_us", &number),
        ],
    };
    Arc::new(Schema::new(fields.into_iter().map(|(name, data_type)| Field::new(name, data_type.clone(), true)).collect::<Vec<_>>()))
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        TABLES.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> datafusion::error::Result<Option<Arc<dyn TableProvider>>> {
        let which = TABLES.iter().find(|(known, _)| *known == name).map(|(_, which)| *which);
        Ok(which.map(|which| Arc::new(SystemTable { system: self.clone(), which }) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.iter().any(|(known, _)| *known == name)
    }
}

/// One system table.
#[derive(Debug)]
struct SystemTable {
    system: SystemSchema,
    which: Which,
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        schema(self.which)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let rows = self.system.rows(self.which).await?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Reason;
    use arrow::util::pretty::pretty_format_batches;

    fn shown(which: Which, system: &SystemSchema) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        pretty_format_batches(&[runtime.block_on(system.rows(which)).unwrap()]).unwrap().to_string()
    }

    #[test]
    fn figures_of_a_node_become_its_row() {
        let metrics = Metrics::default();
        let system = SystemSchema::new(metrics.clone());
        let node = |node: &str| NodeInfo { node: node.into(), kind: "source".into(), describe: "log orders".into(), tasks: 2 };
        system.set_nodes(vec![node("or\"ders"), node("other")]);
        metrics.counter("eagre_rows_in_total", &[("node", "or\"ders")]).add(7);
        metrics.dropped("or\"ders", Reason::Late).add(2);
        metrics.dropped("or\"ders", Reason::Future).add(1);
        metrics.gauge("eagre_node_watermark_micros", &[("node", "or\"ders")]).set(1_000_000);
        metrics.gauge("eagre_watermark_lag_ms", &[("table", "other"), ("partition", "0")]).set(12);
        let text = shown(Which::Operators, &system);
        assert!(
            text.contains("| or\"ders | source | log orders | 2     | 7       | 0        | 3            | 1970-01-01T00:00:01Z |"),
            "{text}"
        );
        assert!(shown(Which::Partitions, &system).contains("| other  | 0         |         |       |           | 12 "), "{text}");
        for (_, which) in TABLES {
            _ = shown(which, &system);
        }
    }
}
