//! A project's shadow: its pipelines and rules once more over history, cut off from the world.
//!
//! ```text
//!  History (a partition each) ─▶ feed ─▶ real decoder, pipelines, rules ─▶ rows kept in memory
//! ```
//! Always holds: nothing is written outside; what is not given does not come; when it is through, event time has ended and
//! everything has been emitted.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::future::try_join_all;

use super::isolated::Isolated;
use super::{Builder, Engine};
use crate::connector::feed::Feed;
use crate::dataflow::graph::{Graph, NodeId, NodeKind, SourceNode};
use crate::dataflow::scan::scan;
use crate::dataflow::settings::Restore;
use crate::error::{Error, Place, Result};
use crate::format::{Chunk, Records};
use crate::metrics::Reason;
use crate::project::{Origin, Project};
use crate::sql::lower;

/// The records of one partition, from where history begins to where it ends now.
#[async_trait]
pub trait History: Send {
    /// The next records; `None` = that was all.
    async fn next(&mut self) -> Result<Option<Records>>;
}

/// Per table: the history of each partition.
pub type Histories = BTreeMap<String, Vec<Box<dyn History>>>;

/// See the file's head.
pub struct Shadow {
    engine: Engine,
    isolated: Isolated,
}

impl Shadow {
    /// The shadow of `project`, whose tables have so many partitions.
    pub fn new(project: &Project, partitions: &BTreeMap<String, u32>) -> Result<Shadow> {
        let mut project = project.clone();
        for (key, value) in [("cut.interval", "1 s"), ("checkpoint.interval", "1 d")] {
            project.settings.set(key, value, Origin::Flag, Place::thing("eagre replay"))?;
        }
        let (builder, isolated) = Builder::new(project).isolated();
        partitions.iter().for_each(|(table, count)| isolated.set_partitions(table, *count));
        Ok(Shadow { engine: builder.build()?, isolated })
    }

    /// Runs all of it. Returns since when event time is whole: no record before the first ones of the histories can be
    /// younger, unless it was late; `None` = no table has event time.
    pub async fn run(&self, histories: Histories) -> Result<Option<i64>> {
        let idle: Vec<String> = self.isolated.sources().into_iter().filter(|table| !histories.contains_key(table)).collect();
        for table in idle {
            self.engine.feed(&table)?.end();
        }
        let running = self.engine.start(Restore::None, false).await?;
        let mut ended = tokio::spawn(running.wait());
        let mut lanes = Vec::new();
        for (table, partitions) in histories {
            let (feed, node) = (self.engine.feed(&table)?, self.source(&table)?);
            lanes.extend((0..).zip(partitions).map(|(lane, history)| feed_lane(feed.clone(), node, lane, history)));
        }
        let whole_since = tokio::select! {
            fed = try_join_all(lanes) => fed?.into_iter().flatten().max(),
            over = &mut ended => {
                over.map_err(|e| Error::bug("the shadow was lost").because(e))??;
                return Err(Error::bug("the shadow ended before its input"));
            }
        };
        for table in self.isolated.sources() {
            self.engine.feed(&table)?.end();
        }
        ended.await.map_err(|e| Error::bug("the shadow was lost").because(e))??;
        Ok(whole_since)
    }

    fn source(&self, table: &str) -> Result<&SourceNode> {
        let sources = self.engine.graph().nodes.iter().filter(|node| node.name == table);
        let mut sources = sources.filter_map(|node| if let NodeKind::Source(source) = &node.kind { Some(source) } else { None });
        sources.next().ok_or_else(|| Error::bug(format!("the shadow does not read '{table}'")))
    }

    /// The rows that a table holds now: a live table, or one that pipelines write.
    pub fn rows(&self, table: &str) -> Result<Vec<RecordBatch>> {
        if let Some(rows) = self.isolated.rows(table)? {
            return Ok(vec![rows]);
        }
        let snapshot = self.engine.tables().snapshot();
        snapshot.table(table).map_or_else(|| Ok(Vec::new()), |table| table.batches())
    }

    /// Rows that reached no result, by what refused them and why.
    pub fn dropped(&self) -> Vec<(String, String, u64)> {
        self.engine.metrics().drops()
    }

    /// How many rows came late.
    pub fn late(&self) -> u64 {
        self.engine.metrics().dropped_for(Reason::Late)
    }
}

/// Feeds one partition; returns since when its event time is whole.
async fn feed_lane(feed: Feed, node: &SourceNode, lane: u32, mut history: Box<dyn History>) -> Result<Option<i64>> {
    let mut whole_since = None;
    while let Some(records) = history.next().await? {
        if whole_since.is_none() {
            whole_since = first_time(node, lane, &records)?;
        }
        feed.send_records(lane as usize, records).await?;
    }
    // A partition that has ended, or holds nothing, keeps nobody waiting.
    feed.watermark(lane as usize, i64::MAX).await?;
    Ok(whole_since)
}

/// Event time of the first row, and as much disorder as the watermark allows before it.
fn first_time(node: &SourceNode, lane: u32, records: &Records) -> Result<Option<i64>> {
    let chunk = Chunk { records: records.clone(), base_offset: 0, arrived_micros: 0 };
    let scanned = scan(&node.scan, node.time.as_ref(), lane, &chunk, i64::MAX / 2)?;
    let first = scanned.times.and_then(|times| {
        let place = times.places.as_ref().and_then(|places| places.first().copied()).unwrap_or(0);
        Some((*times.kept.first()?, *times.marks.get(place as usize)?))
    });
    Ok(first.filter(|(_, mark)| *mark > i64::MIN).map(|(time, mark)| time.saturating_add(time.saturating_sub(mark))))
}

/// What depends on some sources.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Downstream {
    /// The sinks behind them, by what they write: live tables and tables.
    pub results: Vec<String>,
    /// All sources that these are made of.
    pub sources: BTreeSet<String>,
}

/// What is made of the sources named `starts`.
pub fn downstream(graph: &Graph, starts: &BTreeSet<String>) -> Downstream {
    let is_source = |node: NodeId| matches!(graph.nodes[node].kind, NodeKind::Source(_));
    let mut reached: Vec<bool> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.nodes.iter().enumerate() {
        reached.push((is_source(id) && starts.contains(&node.name)) || node.inputs.iter().any(|input| reached[*input]));
    }
    let mut needed = vec![false; graph.nodes.len()];
    let mut found = Downstream::default();
    for (id, node) in graph.nodes.iter().enumerate().rev() {
        if reached[id] && matches!(node.kind, NodeKind::Sink(_)) {
            needed[id] = true;
            found.results.push(lower::written_table(&node.name).to_owned());
        }
        if needed[id] {
            node.inputs.iter().for_each(|input| needed[*input] = true);
            if is_source(id) {
                found.sources.insert(node.name.clone());
            }
        }
    }
    found.results.reverse();
    found
}
