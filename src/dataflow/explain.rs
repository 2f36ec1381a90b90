//! The graph as an indented text for `eagre explain`: sinks first, what feeds them below.
//!
//! ```text
//! sink out: print
//!   project 1: k, count AS n
//!     window aggregation 2: …                     by key k · keeps state
//!       source events: filesystem /data/e.jsonl   (a node with several consumers is told once)
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::dataflow::graph::{Graph, Node, NodeId, NodeKind, OnError, SourceNode, TimeSpec, WatermarkExpr};
use crate::operator::{Distribution, OperatorSpec};
use crate::time::Length;

/// The whole graph; `now` says of nodes by name how they are while they run.
pub fn explain(graph: &Graph, now: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let mut told = vec![false; graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate() {
        if matches!(node.kind, NodeKind::Sink(_)) {
            tell(graph, now, id, 0, &mut told, &mut text);
        }
    }
    text
}

fn tell(graph: &Graph, now: &BTreeMap<String, String>, id: NodeId, depth: usize, told: &mut [bool], text: &mut String) {
    let node = &graph.nodes[id];
    let indent = "  ".repeat(depth);
    if std::mem::replace(&mut told[id], true) {
        _ = writeln!(text, "{indent}{} (above)", title(node));
        return;
    }
    match &node.kind {
        NodeKind::Sink(sink) => _ = writeln!(text, "{indent}{}: {}", title(node), sink.describe()),
        NodeKind::Source(source) => {
            _ = writeln!(text, "{indent}{}: {}", title(node), source.source.describe());
            for line in source_lines(source) {
                _ = writeln!(text, "{indent}  {line}");
            }
        }
        NodeKind::Operator(spec) => {
            _ = writeln!(text, "{indent}{}: {}{}", title(node), spec.describe(), meeting(graph, node, spec.as_ref()));
        }
    }
    if let Some(now) = now.get(&node.name) {
        _ = writeln!(text, "{indent}  now: {now}");
    }
    for input in &node.inputs {
        tell(graph, now, *input, depth + 1, told, text);
    }
}

fn title(node: &Node) -> String {
    match node.kind {
        NodeKind::Source(_) => format!("source {}", node.name),
        NodeKind::Operator(_) => node.name.clone(),
        NodeKind::Sink(_) => format!("sink {}", node.name),
    }
}

/// How rows meet in the operator, and whether it keeps state.
fn meeting(graph: &Graph, node: &Node, spec: &dyn OperatorSpec) -> String {
    let mut words = Vec::new();
    for (input, producer) in node.inputs.iter().enumerate() {
        match spec.distribution(input) {
            Distribution::Anywhere => {}
            Distribution::Single => words.push("in one task".to_owned()),
            Distribution::ByKey(columns) => {
                let schema = graph.nodes[*producer].schema();
                let name =
                    |at: &usize| schema.as_ref().and_then(|s| s.fields().get(*at)).map_or_else(|| format!("@{at}"), |f| f.name().clone());
                words.push(format!("by key {}", columns.iter().map(name).collect::<Vec<_>>().join(", ")));
            }
        }
    }
    words.dedup();
    if spec.stateful() {
        words.push("keeps state".to_owned());
    }
    if words.is_empty() { String::new() } else { format!(" · {}", words.join(" · ")) }
}

fn source_lines(source: &SourceNode) -> Vec<String> {
    let scan = &source.scan;
    let columns = scan.decoder.schema();
    let names = |range: std::ops::Range<usize>| columns.fields()[range].iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
    let mut decodes = format!("decodes {}", names(0..scan.first));
    if scan.first == 0 {
        decodes = format!("decodes {}", names(0..columns.fields().len()));
    } else if scan.first < columns.fields().len() {
        let passed = if scan.filter.is_some() { " of rows that pass" } else { "" };
        decodes = format!("{decodes}, then {}{passed}", names(scan.first..columns.fields().len()));
    }
    let mut lines = Vec::new();
    if !columns.fields().is_empty() {
        lines.push(decodes);
    }
    if let Some(filter) = &scan.filter {
        lines.push(format!("where {filter}"));
    }
    let computed = |(expr, field): &(std::sync::Arc<dyn datafusion::physical_expr::PhysicalExpr>, arrow::datatypes::FieldRef)| {
        let expr = expr.to_string();
        // A plain column prints as name@number.
        if expr.rsplit_once('@').is_some_and(|(name, at)| name == field.name() && at.parse::<usize>().is_ok()) {
            field.name().clone()
        } else {
            format!("{expr} AS {}", field.name())
        }
    };
    let mut given: Vec<String> = scan.output.iter().map(computed).collect();
    if scan.seq {
        given.push("order of rows".to_owned());
    }
    if !given.is_empty() {
        lines.push(format!("gives {}", given.join(", ")));
    }
    if let (Some(event_time), Some(time)) = (&scan.event_time, &source.time) {
        lines.push(format!("event time {event_time}, {}", time_words(time)));
    }
    lines.push(
        match source.on_error {
            OnError::Fail => "a record that cannot be decoded stops the pipeline",
            OnError::Skip => "records that cannot be decoded are skipped",
            OnError::DeadLetter => "records that cannot be decoded go to the dead letters",
        }
        .to_owned(),
    );
    lines
}

fn time_words(time: &TimeSpec) -> String {
    let mut words = match &time.watermark {
        WatermarkExpr::Delay(micros) => format!("watermark {} behind the largest", Length(*micros)),
        WatermarkExpr::Expr(expr) => format!("watermark {expr}"),
    };
    let mut say = |what: &str, micros: Option<i64>| {
        if let Some(micros) = micros {
            _ = write!(words, ", {what} {}", Length(micros));
        }
    };
    say("idle after", time.idle_timeout_micros);
    say("refuses rows ahead of the clock by more than", time.max_future_skew_micros);
    say("drifts apart by at most", time.max_drift_micros);
    if time.advance_by_wall_clock {
        words.push_str(", goes on with the clock");
    }
    if !time.per_row {
        words.push_str(", lateness judged by batch");
    }
    words
}
