//! MATCH_RECOGNIZE: the pattern operator over the rows of each partition.

use std::sync::Arc;

use datafusion::logical_expr::Expr;

use super::stream::{Role, Stream};
use super::{Lowering, refuse, share};
use crate::error::Result;
use crate::sql::recognize::node::Bound;
use crate::sql::recognize::{RecognizeNode, compile};

impl Lowering<'_> {
    /// The rows that measures are computed from.
    pub(super) fn recognize(&mut self, node: &RecognizeNode) -> Result<Stream> {
        let time = Expr::Column(node.time.clone());
        let stream = self.lower(&node.input, None)?;
        self.inserts_only(&stream, "MATCH_RECOGNIZE", [&time])?;
        if !stream.columns[node.input.schema().index_of_column(&node.time)?].role.time {
            let fault = refuse::match_without_time(&node.time.name, &share::event_times(&node.input));
            return Err(fault.at(node.place.clone()));
        }
        let stream = self.settle(stream, &[])?;
        let columns: Vec<usize> = (0..stream.columns.len()).collect();
        let spec = compile::spec(node, Arc::new(stream.schema.project(&columns)?), stream.seq)?;
        if stream.unbounded {
            self.graph.advice.extend(advice(node));
        }
        let schema = spec.schema.clone();
        let found = self.add(Arc::new(spec), vec![stream.node]);
        let mut matches = Stream::of_node(found, schema, stream.unbounded);
        let own = node.own_columns();
        for (at, bound) in node.measured.iter().enumerate() {
            if let Bound::Time { .. } = bound {
                matches.columns[own + at].role = Role::TIME;
            }
        }
        Ok(matches)
    }
}

/// What is probably not meant.
fn advice(node: &RecognizeNode) -> Vec<String> {
    let at = &node.place;
    let mut advice = Vec::new();
    if !node.pattern.skip_given {
        advice.push(format!(
            "{at}: MATCH_RECOGNIZE without AFTER MATCH SKIP looks for the next match from the row after the first of the last one (TO NEXT \
             ROW), so that matches overlap; say which is meant (PAST LAST ROW: they do not)"
        ));
    }
    if node.pattern.within.is_none() {
        advice.push(format!(
            "{at}: MATCH_RECOGNIZE without WITHIN keeps the rows of a match that has begun until it is complete, for ever perhaps; bound it: \
             PATTERN (…) WITHIN INTERVAL '1' HOUR"
        ));
    }
    advice
}
