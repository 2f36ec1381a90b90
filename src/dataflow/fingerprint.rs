//! Fingerprints: what a node computes, whatever it is called and wherever it stands in the text. By its fingerprint an
//! operator finds its state again after a restart and after an edit of the query.
//!
//! ```text
//!  source: id, kind, amount                       another query joins in: source: id, kind, amount, ts
//!    filter: @2 AS amount WHERE @1 = 'x'      ─▶    filter: @2 AS amount WHERE @1 = 'x'
//!      aggregation: sum(@0)                           aggregation: sum(@0)       the same fingerprint
//! ```
//! A column counts by what it means, not by its place: filters and projections are seen through down to the columns of
//! the source or to the results of a stateful operator. A filter that a source applies for all its readers together
//! (`a OR b`) is left out where a reader's own (`a`) says more.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};

use crate::dataflow::graph::{Graph, Node, NodeKind, SourceNode};
use crate::operator::project::ProjectSpec;

type Expr = Arc<dyn PhysicalExpr>;

/// The fingerprint of each node. Nodes that compute the same over the same inputs are told apart by their order.
pub fn fingerprints(graph: &Graph) -> Vec<String> {
    let mut known: Vec<String> = Vec::with_capacity(graph.nodes.len());
    let mut rows: Vec<Rows> = Vec::with_capacity(graph.nodes.len());
    let mut seen: HashMap<String, usize> = HashMap::new();
    for node in &graph.nodes {
        let inputs: Vec<&Rows> = node.inputs.iter().map(|input| &rows[*input]).collect();
        let (text, see_through) = match &node.kind {
            // Of a source only the place and its event time count: what is read of it may change without harm to its positions.
            NodeKind::Source(source) => {
                let rows = Rows::of_source(source);
                (format!("source {} {}", source.source.identity(), event_time(source)), Some(rows))
            }
            // A sink is where it writes to: an edited query goes on appending to the same place.
            NodeKind::Sink(sink) => (format!("sink {}", sink.identity()), None),
            NodeKind::Operator(spec) => match (<dyn Any>::downcast_ref::<ProjectSpec>(spec.as_ref()), &inputs[..]) {
                (Some(project), [input]) => {
                    let rows = input.projected(project);
                    (format!("project {}", rows.text()), Some(rows))
                }
                _ if !spec.bound_to_inputs() => (format!("operator {} {}", spec.name(), spec.identity()), None),
                _ => {
                    let inputs: Vec<String> = inputs.iter().map(|input| input.text()).collect();
                    (format!("operator {} {} < {}", spec.name(), spec.identity(), inputs.join(" | ")), None)
                }
            },
        };
        let twin = seen.entry(text.clone()).or_insert(0);
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{text} #{twin}").as_bytes());
        *twin += 1;
        let id = id.simple().to_string()[..16].to_owned();
        rows.push(see_through.unwrap_or_else(|| Rows::of_operator(node, &id)));
        known.push(id);
    }
    known
}

/// What the rows of a node are.
struct Rows {
    /// Where they come from.
    base: String,
    /// What holds for all of them, over base columns.
    conditions: Vec<Expr>,
    /// What the columns are, over base columns.
    columns: Vec<Expr>,
}

impl Rows {
    fn of_source(source: &SourceNode) -> Rows {
        let scan = &source.scan;
        let decoded: Vec<Expr> = scan.decoder.schema().fields().iter().map(|f| base(&format!("{}: {}", f.name(), f.data_type()))).collect();
        let mut columns: Vec<Expr> = scan.output.iter().map(|(expr, _)| over(expr, &decoded)).collect();
        if scan.seq {
            columns.push(base("order of rows"));
        }
        let conditions = scan.filter.iter().flat_map(|filter| parts(&over(filter, &decoded), Operator::And)).collect();
        Rows { base: format!("source {} {}", source.source.identity(), event_time(source)), conditions, columns }
    }

    fn of_operator(node: &Node, id: &str) -> Rows {
        let columns = node.schema().map_or(0, |schema| schema.fields().len());
        Rows { base: id.to_owned(), conditions: Vec::new(), columns: (0..columns).map(|at| base(&format!("{id}.{at}"))).collect() }
    }

    fn projected(&self, project: &ProjectSpec) -> Rows {
        let own: Vec<Expr> = project.filter.iter().flat_map(|filter| parts(&over(filter, &self.columns), Operator::And)).collect();
        let mut conditions: Vec<Expr> = self.conditions.iter().filter(|known| !follows(known, &own)).cloned().collect();
        conditions.extend(own);
        let columns = project.columns.iter().map(|(expr, _)| over(expr, &self.columns)).collect();
        Rows { base: self.base.clone(), conditions, columns }
    }

    fn text(&self) -> String {
        let conditions: BTreeSet<String> = self.conditions.iter().map(ToString::to_string).collect();
        let columns: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        let conditions: Vec<String> = conditions.into_iter().collect();
        format!("{} where [{}] gives [{}]", self.base, conditions.join("; "), columns.join("; "))
    }
}

/// What event time and watermark are made of.
fn event_time(source: &SourceNode) -> String {
    let decoded: Vec<Expr> = source.scan.decoder.schema().fields().iter().map(|f| base(f.name())).collect();
    source.scan.event_time.as_ref().map_or_else(String::new, |expr| over(expr, &decoded).to_string())
}

/// A column of a source, or of the results of an operator: known by its name alone.
fn base(name: &str) -> Expr {
    Arc::new(Column::new(name, 0))
}

/// `expr` with each column replaced by what it means.
fn over(expr: &Expr, meanings: &[Expr]) -> Expr {
    let replaced = Arc::clone(expr).transform_down(|node| {
        Ok(match node.downcast_ref::<Column>().and_then(|column| meanings.get(column.index())) {
            Some(meaning) => Transformed::new(meaning.clone(), true, TreeNodeRecursion::Jump),
            None => Transformed::no(node),
        })
    });
    // Nothing above fails; an expression that cannot be rebuilt counts as it stands.
    replaced.map_or_else(|_| Arc::clone(expr), |replaced| replaced.data)
}

/// The parts of a chain of ANDs or ORs.
fn parts(expr: &Expr, operator: Operator) -> Vec<Expr> {
    match expr.downcast_ref::<BinaryExpr>() {
        Some(binary) if *binary.op() == operator => [binary.left(), binary.right()].iter().flat_map(|side| parts(side, operator)).collect(),
        _ => vec![Arc::clone(expr)],
    }
}

/// Does `known`, a choice of conditions, follow from the conditions of one reader?
fn follows(known: &Expr, own: &[Expr]) -> bool {
    let texts = |exprs: &[Expr]| exprs.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    let choices = parts(known, Operator::Or);
    if choices.len() < 2 {
        return false;
    }
    let all = texts(&choices);
    let own_texts = texts(own);
    own.iter().any(|own| texts(&parts(own, Operator::Or)).is_subset(&all))
        || choices.iter().any(|choice| texts(&parts(choice, Operator::And)).is_subset(&own_texts))
}
