//! Rules: the pattern operator over the events of a group, then the holding back of repeated alerts.

use std::sync::Arc;

use super::stream::{Role, Stream};
use super::{Lowering, refuse};
use crate::error::Result;
use crate::operator::pattern::PatternSpec;
use crate::operator::suppress::SuppressSpec;
use crate::sql::pattern_node::PatternNode;

impl Lowering<'_> {
    /// The rows that the rules emit.
    pub(super) fn patterns(&mut self, node: &PatternNode) -> Result<Stream> {
        let stream = self.lower(&node.input, None)?;
        self.inserts_only(&stream, "a rule", &[])?;
        if !stream.columns[node.time].role.time {
            return Err(refuse::rule_without_time());
        }
        let stream = self.settle(stream, &[])?;
        let events: Vec<usize> = (0..stream.columns.len()).collect();
        let spec = PatternSpec {
            input: Arc::new(stream.schema.project(&events)?),
            group: Some(node.group.clone()),
            keys: node.keys.clone(),
            time: node.time,
            then_by: Vec::new(),
            seq: stream.seq,
            order: node.order,
            rules: node.rules.as_ref().clone(),
            schema: node.emitted.clone(),
        };
        let found = self.add(Arc::new(spec), vec![stream.node]);
        let spec = SuppressSpec::new(node.emitted.clone(), node.suppress_micros.as_ref().clone())?;
        let schema = spec.schema.clone();
        let node_id = self.add(Arc::new(spec), vec![found]);
        let mut alerts = Stream::of_node(node_id, schema, stream.unbounded);
        if let Some(time) = alerts.columns.iter_mut().find(|column| column.field.name() == "alert_time") {
            time.role = Role::TIME;
        }
        Ok(alerts)
    }
}
