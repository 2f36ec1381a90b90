//! Window Top-N and deduplication: ROW_NUMBER() per window with a filter on it above.
//!
//! ```text
//!  SELECT … FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY price DESC) AS rn FROM …)
//!  WHERE rn <= 3 AND price > 10          ─▶ Top-N 1 to 3 per window and k, then price > 10
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, Window, WindowFunctionDefinition};
use datafusion::physical_expr::PhysicalSortExpr;

use super::over::function_of;
use super::stream::{Edge, Role, Stream, StreamColumn, column, never_read, plain_column};
use super::window::Named;
use super::{Lowering, columns_read, refuse};
use crate::error::Result;
use crate::operator::top_n::TopNSpec;

/// Ranks from the first to the last, both kept. `last` = `None`: to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ranks {
    first: u64,
    last: Option<u64>,
}

impl Lowering<'_> {
    /// A Top-N, if the window node numbers the rows of windows and the conditions above say which numbers to keep.
    pub(super) fn top_n(&mut self, window: &Window, conditions: &[&Expr], needed: Option<&BTreeSet<usize>>) -> Result<Option<Stream>> {
        let [expr] = &window.window_expr[..] else { return Ok(None) };
        let function = function_of(expr)?;
        let numbered = matches!(&function.fun, WindowFunctionDefinition::WindowUDF(udf) if udf.name() == "row_number");
        if !numbered {
            return Ok(None);
        }
        let schema = window.input.schema();
        let stream = self.lower(&window.input, None)?;
        self.inserts_only(&stream, "ROW_NUMBER() OVER", &window.window_expr)?;
        let partition = function.params.partition_by.iter().map(|e| self.physical(e, schema)).collect::<Result<Vec<_>>>()?;
        let edges: Vec<_> = partition.iter().map(|e| plain_column(e).and_then(|at| stream.columns[at].role.window)).collect();
        let of = |id, edge| edges.iter().position(|e| *e == Some((id, edge))).and_then(|at| plain_column(&partition[at]));
        let ids = edges.iter().flatten().map(|(id, _)| *id);
        let whole = ids.into_iter().find_map(|id| Some((id, of(id, Edge::Start)?, of(id, Edge::End)?)));
        // Without a window this may still be an OVER column: first rows by event time.
        let Some((id, start, end)) = whole else { return Ok(None) };

        let number = stream.columns.len();
        let mut ranks = Ranks { first: 1, last: None };
        let mut rest = Vec::new();
        for condition in conditions {
            match ranks_of(condition, &window.schema, number) {
                Some(more) => ranks = ranks.and(more),
                None => rest.push(*condition),
            }
        }
        let Some(last) = ranks.last else { return Err(self.locate(refuse::rank_without_end(), expr)) };

        let stream = self.attach_window(stream, &[])?.0;
        let mut keys = Vec::new();
        let mut extras: Vec<Named> = Vec::new();
        for (expr, edge) in partition.into_iter().zip(&edges) {
            if edge.is_some_and(|(of, _)| of == id) {
                continue;
            }
            keys.push(match plain_column(&expr) {
                Some(at) => at,
                None => {
                    let field = Arc::new(Field::new(format!("$key{}", extras.len()), expr.data_type(schema.as_arrow())?, true));
                    extras.push((stream.over_physical(expr)?, field));
                    number + extras.len() - 1
                }
            });
        }
        let input = self.settle(stream, &extras)?;
        let mut order = Vec::new();
        for sort in &function.params.order_by {
            let options = SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
            order.push(PhysicalSortExpr::new(self.physical(&sort.expr, schema)?, options));
        }
        let rank_field = window.schema.fields()[number].clone();
        let mut fields: Vec<FieldRef> = input.schema.fields().iter().cloned().collect();
        let rank_at = fields.len();
        let rank =
            needed.is_none_or(|needed| needed.contains(&number)) || columns_read(rest.iter().copied(), &window.schema)?.contains(&number);
        if rank {
            fields.push(rank_field.clone());
        }
        let result: SchemaRef = Arc::new(Schema::new(fields));
        let spec = TopNSpec {
            input: input.schema.clone(),
            keys,
            window: (start, end),
            order,
            first: ranks.first,
            last,
            rank,
            seq: input.seq,
            schema: result.clone(),
        };
        let node = self.add(Arc::new(spec), vec![input.node]);
        let mut columns: Vec<StreamColumn> = input.columns.into_iter().map(|c| StreamColumn { role: c.role.after_window(), ..c }).collect();
        let expr = if rank { column(rank_at, &rank_field) } else { never_read(&rank_field)? };
        columns.push(StreamColumn { expr, field: rank_field, role: Role::VALUE });
        let stream = Stream {
            node,
            schema: result,
            columns,
            filter: Vec::new(),
            window: None,
            seq: input.seq,
            changes: None,
            unbounded: input.unbounded,
        };
        Ok(Some(self.keep_where(stream, &rest, &window.schema)?))
    }
}

impl Ranks {
    fn and(self, other: Ranks) -> Ranks {
        let last = match (self.last, other.last) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Ranks { first: self.first.max(other.first), last }
    }
}

/// The ranks that a condition on column `number` leaves; `None` when it speaks of anything else.
fn ranks_of(condition: &Expr, schema: &datafusion::common::DFSchema, number: usize) -> Option<Ranks> {
    let is_number = |expr: &Expr| -> bool {
        let mut inner = expr;
        while let Expr::Cast(cast) = inner {
            inner = &cast.expr;
        }
        matches!(inner, Expr::Column(_)) && columns_read([inner], schema).is_ok_and(|read| read == BTreeSet::from([number]))
    };
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, bound) = if is_number(left) { (*op, whole(right)?) } else { (op.swap()?, whole(left).filter(|_| is_number(right))?) };
            let at = |n: i128| u64::try_from(n.max(0)).ok();
            match op {
                Operator::LtEq => Some(Ranks { first: 1, last: Some(at(bound)?) }),
                Operator::Lt => Some(Ranks { first: 1, last: Some(at(bound - 1)?) }),
                Operator::Eq => Some(Ranks { first: at(bound)?, last: Some(at(bound)?) }),
                Operator::GtEq => Some(Ranks { first: at(bound)?.max(1), last: None }),
                Operator::Gt => Some(Ranks { first: at(bound + 1)?.max(1), last: None }),
                _ => None,
            }
        }
        Expr::Between(between) if !between.negated && is_number(&between.expr) => {
            let (low, high) = (whole(&between.low)?, whole(&between.high)?);
            Some(Ranks { first: u64::try_from(low.max(1)).ok()?, last: Some(u64::try_from(high.max(0)).ok()?) })
        }
        _ => None,
    }
}

/// The value of a whole-number literal.
fn whole(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Literal(value, _) if value.data_type().is_integer() => match value.cast_to(&arrow::datatypes::DataType::Int64).ok()? {
            ScalarValue::Int64(n) => n.map(i128::from),
            _ => None,
        },
        Expr::Cast(cast) => whole(&cast.expr),
        _ => None,
    }
}
