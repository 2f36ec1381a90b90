//! The conditions of all rules over one stream that read the event only: each once, for a whole batch at a time.
//!
//! ```text
//!  type = 'a' and amount > 9 ┐        type ─▶ hash of the value ─▶ the conditions that ask for it ─▶ their rows
//!  type = 'b'                ├─▶                                                                    └▶ amount > 9
//!  amount > 9                ┘        amount > 9 ─▶ bitmap
//! ```
//! A thousand conditions with different constants are one look-up a row, not a thousand comparisons.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ahash::RandomState;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{conjunction, split_conjunction, utils::collect_columns};

use crate::error::Result;
use crate::operator::expressions::{Failures, evaluate};
use crate::operator::identity::expr_identity;
use crate::operator::pattern::bind::boolean;
use crate::operator::pattern::binding::{Condition, Expr};
use crate::operator::pattern::row_set::{Few, RowSet};

/// So many equalities on one column are found by hash; fewer are compared.
const HASHED_FROM: usize = 4;

/// Number of a condition.
pub(super) type ConditionId = usize;

/// The conditions.
#[derive(Debug)]
pub(super) struct Conditions {
    input: SchemaRef,
    exprs: Vec<Expr>,
    known: HashMap<String, ConditionId>,
    /// How each is found; made when the first batch comes.
    plan: Option<Plan>,
}

#[derive(Debug)]
struct Plan {
    hashed: Vec<Hashed>,
    /// Evaluated over the whole batch.
    plain: Vec<ConditionId>,
}

/// Equalities of one column with constants.
#[derive(Debug)]
struct Hashed {
    column: usize,
    constants: Constants,
    /// Per constant: the conditions that ask for it, and what else they ask.
    asked: Vec<Vec<(ConditionId, Option<Rest>)>>,
}

/// Constants to their numbers.
#[derive(Debug)]
enum Constants {
    Text(HashMap<Box<str>, u32, RandomState>),
    /// Any other type, by its row encoding.
    Encoded(RowConverter, HashMap<Box<[u8]>, u32, RandomState>),
}

impl Constants {
    fn of(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Utf8View => Constants::Text(HashMap::default()),
            other => Constants::Encoded(RowConverter::new(vec![SortField::new(other.clone())])?, HashMap::default()),
        })
    }

    /// The number of a constant; one that is new gets `next`.
    fn add(&mut self, constant: &ScalarValue, next: u32) -> Result<u32> {
        let column = constant.to_array()?;
        Ok(match self {
            Constants::Text(numbers) => *numbers.entry(column.as_string_view().value(0).into()).or_insert(next),
            Constants::Encoded(converter, numbers) => {
                *numbers.entry(converter.convert_columns(&[column])?.row(0).as_ref().into()).or_insert(next)
            }
        })
    }

    /// Calls `each` with every row that has one of the constants, and its number.
    fn rows(&self, column: &ArrayRef, mut each: impl FnMut(u32, u32)) -> Result<()> {
        match self {
            Constants::Text(numbers) => {
                let texts = column.as_string_view();
                let whole = texts.null_count() == 0;
                for row in (0..texts.len()).filter(|row| whole || texts.is_valid(*row)) {
                    if let Some(number) = numbers.get(texts.value(row)) {
                        each(row as u32, *number);
                    }
                }
            }
            Constants::Encoded(converter, numbers) => {
                for (row, value) in converter.convert_columns(std::slice::from_ref(column))?.iter().enumerate() {
                    if let Some(number) = numbers.get(value.as_ref()) {
                        each(row as u32, *number);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a condition asks beside the equality.
#[derive(Debug)]
struct Rest {
    expr: Expr,
    /// If others ask the same: its number among the plain ones.
    shared: Option<ConditionId>,
}

impl Conditions {
    /// No conditions yet, over rows of `input`.
    pub(super) fn new(input: SchemaRef) -> Self {
        Conditions { input, exprs: Vec::new(), known: HashMap::new(), plan: None }
    }

    /// The number of a condition: the same for the same expression.
    pub(super) fn add(&mut self, expr: &Expr) -> ConditionId {
        let next = self.exprs.len();
        let id = *self.known.entry(expr_identity(expr)).or_insert(next);
        if id == next {
            self.exprs.push(expr.clone());
        }
        self.plan = None;
        id
    }

    /// The rows that each condition holds for; for none of those on which one fails.
    pub(super) fn evaluate(&mut self, batch: &RecordBatch, failures: &mut Failures) -> Result<Vec<RowSet>> {
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => Plan::new(&self.exprs, &self.known, &self.input)?,
        };
        let mut sets = vec![RowSet::Few(Few::default()); self.exprs.len()];
        for id in &plan.plain {
            let values = boolean(evaluate(&self.exprs[*id], batch, failures)?)?;
            sets[*id] = if values.true_count() == values.len() { RowSet::All } else { RowSet::Bits(values.values().clone()) };
        }
        for hashed in &plan.hashed {
            hashed.evaluate(batch, &mut sets, failures)?;
        }
        self.plan = Some(plan);
        Ok(sets)
    }
}

impl Plan {
    fn new(exprs: &[Expr], known: &HashMap<String, ConditionId>, input: &SchemaRef) -> Result<Self> {
        // Column -> its equalities: condition, constant, what else is asked.
        let mut equalities: BTreeMap<usize, Vec<(ConditionId, ScalarValue, Vec<Expr>)>> = BTreeMap::new();
        let mut plain = Vec::new();
        for (id, expr) in exprs.iter().enumerate() {
            match equality(expr, input) {
                Some((column, constant, rest)) => equalities.entry(column).or_default().push((id, constant, rest)),
                None => plain.push(id),
            }
        }
        let mut hashed = Vec::new();
        for (column, all) in equalities {
            if all.len() < HASHED_FROM {
                plain.extend(all.into_iter().map(|(id, ..)| id));
                continue;
            }
            let mut one = Hashed { column, constants: Constants::of(input.field(column).data_type())?, asked: Vec::new() };
            for (id, constant, rest) in all {
                let next = one.asked.len();
                let group = one.constants.add(&constant, next as u32)? as usize;
                if group == next {
                    one.asked.push(Vec::new());
                }
                let rest = (!rest.is_empty()).then(|| {
                    let expr = conjunction(rest);
                    Rest { shared: known.get(&expr_identity(&expr)).copied(), expr }
                });
                one.asked[group].push((id, rest));
            }
            hashed.push(one);
        }
        plain.sort_unstable();
        for rest in hashed.iter_mut().flat_map(|hashed| &mut hashed.asked).flatten().filter_map(|(_, rest)| rest.as_mut()) {
            rest.shared = rest.shared.filter(|id| plain.contains(id));
        }
        Ok(Plan { hashed, plain })
    }
}

impl Hashed {
    fn evaluate(&self, batch: &RecordBatch, sets: &mut [RowSet], failures: &mut Failures) -> Result<()> {
        // The rows of all constants lie in one list, those of one constant together.
        let (mut found, mut ends) = (Vec::with_capacity(batch.num_rows()), vec![0; self.asked.len() + 1]);
        self.constants.rows(batch.column(self.column), |row, constant| {
            found.push((row, constant));
            ends[constant as usize + 1] += 1;
        })?;
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        let mut all = vec![0; found.len()];
        let mut next = ends.clone();
        for (row, constant) in found {
            let place = &mut next[constant as usize];
            all[*place] = row;
            *place += 1;
        }
        let all: Arc<[u32]> = all.into();
        for (asked, ends) in self.asked.iter().zip(ends.windows(2)).filter(|(_, ends)| ends[0] < ends[1]) {
            let rows = Few::part(&all, ends[0]..ends[1]);
            for (id, rest) in asked {
                sets[*id] = RowSet::Few(match rest {
                    None => rows.clone(),
                    Some(Rest { shared: Some(shared), .. }) => {
                        Few::all(rows.get().iter().copied().filter(|row| sets[*shared].contains(*row)).collect())
                    }
                    Some(Rest { expr, .. }) => Few::all(holding(expr, batch, rows.get(), failures)?),
                });
            }
        }
        Ok(())
    }
}

/// Those of `rows` that `expr` holds for.
fn holding(expr: &Expr, batch: &RecordBatch, rows: &[u32], failures: &mut Failures) -> Result<Vec<u32>> {
    let numbers = UInt32Array::from(rows.to_vec());
    let needed: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
    let columns = batch.columns().iter().enumerate().map(|(at, column)| {
        Ok(if needed.contains(&at) {
            arrow::compute::take(column, &numbers, None)?
        } else {
            arrow::array::new_null_array(column.data_type(), rows.len())
        })
    });
    let fields: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let mut own = Failures::default();
    let values = boolean(evaluate(expr, &RecordBatch::try_new(schema, columns.collect::<Result<_>>()?)?, &mut own)?)?;
    failures.absorb(own, rows);
    Ok(rows.iter().zip(values.values()).filter_map(|(row, holds)| holds.then_some(*row)).collect())
}

/// `column = constant and rest`, if `expr` is of that form.
fn equality(expr: &Expr, input: &SchemaRef) -> Option<(usize, ScalarValue, Vec<Expr>)> {
    let parts = split_conjunction(expr);
    let found = parts.iter().enumerate().find_map(|(at, part)| {
        let binary = part.downcast_ref::<BinaryExpr>().filter(|binary| *binary.op() == Operator::Eq)?;
        let sides = |column: &Expr, literal: &Expr| {
            let column = column.downcast_ref::<Column>()?.index();
            let constant = literal.downcast_ref::<Literal>()?.value();
            let same = constant.data_type() == *input.field(column).data_type() && !constant.is_null();
            // Floats are compared, not hashed: -0 equals 0.
            (same && !constant.data_type().is_floating()).then(|| (at, column, constant.clone()))
        };
        sides(binary.left(), binary.right()).or_else(|| sides(binary.right(), binary.left()))
    });
    let (at, column, constant) = found?;
    let rest = parts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, part)| (*part).clone()).collect();
    Some((column, constant, rest))
}

/// A condition cut in two: what it asks of the event alone, and what it asks of the events taken before.
pub(super) fn split(condition: &Condition, input: &SchemaRef) -> (Option<Expr>, Option<Condition>) {
    let parts = split_conjunction(&condition.expr);
    let of_event = |part: &&Expr| collect_columns(part).iter().all(|column| column.index() < input.fields().len());
    let (event, taken): (Vec<&Expr>, Vec<&Expr>) = parts.into_iter().partition(of_event);
    let all = |parts: Vec<&Expr>| (!parts.is_empty()).then(|| conjunction(parts.into_iter().cloned()));
    (all(event), all(taken).map(|expr| Condition { bindings: condition.bindings.clone(), expr }))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_expr::expressions::{binary, col, lit};

    use super::*;

    #[test]
    fn hashed_and_plain_conditions_hold_for_the_same_rows() {
        let schema: SchemaRef =
            Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8View, true), Field::new("n", DataType::Int64, true)]));
        let texts = ["a", "b", "c", "d", "e", "nobody asks for this one"];
        let batch = RecordBatch::try_new(
            schema.clone(),
            vec![
                Arc::new(StringViewArray::from_iter((0..500).map(|row| (row % 7 > 0).then(|| texts[row * 31 % 6])))),
                Arc::new(Int64Array::from_iter((0..500).map(|row| (row % 11 > 0).then_some(row * 17 % 100)))),
            ],
        )
        .unwrap();
        let equals = |text: &str| {
            let text = lit(ScalarValue::Utf8View(Some(text.to_owned())));
            binary(col("t", &schema).unwrap(), Operator::Eq, text, &schema).unwrap()
        };
        let above = |n: i64| binary(col("n", &schema).unwrap(), Operator::Gt, lit(n), &schema).unwrap();
        let and = |a: Expr, b: Expr| binary(a, Operator::And, b, &schema).unwrap();
        let mut exprs: Vec<Expr> = vec![above(50)];
        for text in &texts[..5] {
            exprs.extend([equals(text), and(equals(text), above(50)), and(above(20), equals(text))]);
        }
        let mut conditions = Conditions::new(schema.clone());
        for (at, expr) in exprs.iter().enumerate() {
            assert_eq!(conditions.add(expr), at);
            assert_eq!(conditions.add(expr), at, "the same expression once");
        }
        let sets = conditions.evaluate(&batch, &mut Failures::default()).unwrap();
        assert_eq!(conditions.plan.as_ref().unwrap().plain, [0], "all equalities are hashed");
        for (expr, set) in exprs.iter().zip(&sets) {
            let mut found = Vec::new();
            set.for_each(500, |row| found.push(row));
            let expected: Vec<u32> = crate::operator::pattern::bind::truth(expr, &batch).unwrap().values().set_indices_u32().collect();
            assert_eq!(found, expected, "{expr}");
            assert!(!expected.is_empty());
        }
    }
}
