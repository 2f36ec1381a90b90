//! Arithmetic on time columns, recognised: `a.ts - INTERVAL '5' MINUTE` is "column a.ts, less 300 s".

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::time::MICROS_PER_MILLI;

/// A sum of columns (each added or taken away) and a fixed length of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Linear {
    /// Column numbers and their sign, by number.
    pub columns: Vec<(usize, i64)>,
    /// Microseconds added.
    pub micros: i64,
}

/// What a comparison says of the difference of two time columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    /// The column that is taken away.
    pub from: usize,
    /// The other one.
    pub to: usize,
    /// `to - from >= lower`, microseconds.
    pub lower: Option<i64>,
    /// `to - from <= upper`, microseconds.
    pub upper: Option<i64>,
}

impl Linear {
    /// Reads `expr` over `schema`; `None` when it is anything else.
    pub fn of(expr: &Expr, schema: &DFSchema) -> Option<Linear> {
        match expr {
            Expr::Alias(alias) => Linear::of(&alias.expr, schema),
            Expr::Column(column) => Some(Linear { columns: vec![(schema.maybe_index_of_column(column)?, 1)], micros: 0 }),
            Expr::Literal(value, _) => Some(Linear { columns: Vec::new(), micros: interval_micros(value)? }),
            Expr::Negative(inner) => Linear::of(inner, schema)?.times(-1),
            Expr::Cast(cast) => keeps_instants(&cast.expr, cast.field.data_type(), schema).then(|| Linear::of(&cast.expr, schema))?,
            Expr::TryCast(cast) => keeps_instants(&cast.expr, cast.field.data_type(), schema).then(|| Linear::of(&cast.expr, schema))?,
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => Linear::of(left, schema)?.plus(&Linear::of(right, schema)?),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
                Linear::of(left, schema)?.plus(&Linear::of(right, schema)?.times(-1)?)
            }
            _ => None,
        }
    }

    fn times(mut self, factor: i64) -> Option<Linear> {
        self.columns.iter_mut().for_each(|(_, sign)| *sign *= factor);
        self.micros = self.micros.checked_mul(factor)?;
        Some(self)
    }

    fn plus(mut self, other: &Linear) -> Option<Linear> {
        for (column, sign) in &other.columns {
            match self.columns.iter_mut().find(|(c, _)| c == column) {
                Some((_, sum)) => *sum += sign,
                None => self.columns.push((*column, *sign)),
            }
        }
        self.columns.retain(|(_, sign)| *sign != 0);
        self.columns.sort_unstable();
        self.micros = self.micros.checked_add(other.micros)?;
        Some(self)
    }
}

/// What `condition` says of the difference of two time columns: `from` has the smaller number.
///
/// Times are whole microseconds, so a strict bound is the next microsecond.
pub(super) fn bound_of(condition: &Expr, schema: &DFSchema) -> Option<Bound> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => compare(left, *op, right, schema),
        Expr::Between(between) if !between.negated => {
            let low = compare(&between.expr, Operator::GtEq, &between.low, schema)?;
            let high = compare(&between.expr, Operator::LtEq, &between.high, schema)?;
            low.and(high)
        }
        _ => None,
    }
}

impl Bound {
    /// Both together; `None` when they speak of different columns.
    pub fn and(self, other: Bound) -> Option<Bound> {
        ((self.from, self.to) == (other.from, other.to)).then(|| Bound {
            lower: self.lower.max(other.lower),
            upper: match (self.upper, other.upper) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            ..self
        })
    }
}

fn compare(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Option<Bound> {
    let difference = Linear::of(left, schema)?.plus(&Linear::of(right, schema)?.times(-1)?)?;
    // difference = ±(to - from) + micros, compared with zero.
    let [(from, minus), (to, plus)] = difference.columns[..] else { return None };
    let (op, edge) = match (minus, plus) {
        (-1, 1) => (op, difference.micros.checked_neg()?),
        (1, -1) => (op.swap()?, difference.micros),
        _ => return None,
    };
    let (lower, upper) = match op {
        Operator::GtEq => (Some(edge), None),
        Operator::Gt => (Some(edge.checked_add(1)?), None),
        Operator::LtEq => (None, Some(edge)),
        Operator::Lt => (None, Some(edge.checked_sub(1)?)),
        Operator::Eq => (Some(edge), Some(edge)),
        _ => return None,
    };
    Some(Bound { from, to, lower, upper })
}

/// Does a cast to `to` leave every instant what it is (only finer, or with another zone)?
fn keeps_instants(expr: &Expr, to: &DataType, schema: &DFSchema) -> bool {
    use datafusion::logical_expr::ExprSchemable as _;
    match (expr.get_type(schema), to) {
        (Ok(DataType::Timestamp(from, _)), DataType::Timestamp(to, _)) => fineness(*to) >= fineness(from),
        (Ok(DataType::Interval(_) | DataType::Duration(_)), DataType::Interval(_) | DataType::Duration(_)) => true,
        _ => false,
    }
}

fn fineness(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

/// A literal length of time in microseconds; `None` for what has no fixed length (months, years) or is no length.
pub(super) fn interval_micros(value: &ScalarValue) -> Option<i64> {
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 => {
            i64::from(v.days).checked_mul(MICROS_PER_DAY)?.checked_add(v.nanoseconds / 1_000)
        }
        ScalarValue::IntervalDayTime(Some(v)) => {
            i64::from(v.days).checked_mul(MICROS_PER_DAY)?.checked_add(i64::from(v.milliseconds) * MICROS_PER_MILLI)
        }
        ScalarValue::DurationSecond(Some(v)) => v.checked_mul(1_000_000),
        ScalarValue::DurationMillisecond(Some(v)) => v.checked_mul(MICROS_PER_MILLI),
        ScalarValue::DurationMicrosecond(Some(v)) => Some(*v),
        ScalarValue::DurationNanosecond(Some(v)) => Some(v / 1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{cast, col, lit};

    fn schema() -> DFSchema {
        let ms = DataType::Timestamp(TimeUnit::Millisecond, None);
        let us = DataType::Timestamp(TimeUnit::Microsecond, None);
        DFSchema::try_from(Schema::new(vec![Field::new("a", ms.clone(), true), Field::new("b", us, true), Field::new("c", ms, true)]))
            .unwrap()
    }

    fn minutes(n: i32) -> Expr {
        lit(ScalarValue::new_interval_dt(0, n * 60_000))
    }

    const MINUTE: i64 = 60_000_000;

    fn bounds(condition: &Expr) -> Option<(usize, usize, Option<i64>, Option<i64>)> {
        bound_of(condition, &schema()).map(|b| (b.from, b.to, b.lower, b.upper))
    }

    #[test]
    fn bounds_are_found_on_either_side_and_in_either_order() {
        let cases = [
            (col("b").gt_eq(col("a") - minutes(5)), Some((0, 1, Some(-5 * MINUTE), None))),
            (col("a").gt_eq(col("b") - minutes(5)), Some((0, 1, None, Some(5 * MINUTE)))),
            ((col("a") + minutes(5)).gt_eq(col("b")), Some((0, 1, None, Some(5 * MINUTE)))),
            (col("b").lt(col("a") + minutes(1)), Some((0, 1, None, Some(MINUTE - 1)))),
            (col("b").gt(col("a")), Some((0, 1, Some(1), None))),
            (col("b").eq(col("a")), Some((0, 1, Some(0), Some(0)))),
            ((col("b") - col("a")).lt_eq(minutes(2)), Some((0, 1, None, Some(2 * MINUTE)))),
            (col("b").between(col("a") - minutes(1), col("a") + minutes(2)), Some((0, 1, Some(-MINUTE), Some(2 * MINUTE)))),
            (col("b").between(col("a") - minutes(1), col("c")), None),
            (col("b").gt(minutes(3)), None),
            (col("b").not_eq(col("a")), None),
        ];
        for (condition, expected) in cases {
            assert_eq!(bounds(&condition), expected, "{condition}");
        }
    }

    #[test]
    fn a_cast_to_a_finer_unit_is_seen_through_and_one_to_a_coarser_is_not() {
        let finer = cast(col("a"), DataType::Timestamp(TimeUnit::Microsecond, None));
        let coarser = cast(col("b"), DataType::Timestamp(TimeUnit::Millisecond, None));
        assert_eq!(bounds(&col("b").gt_eq(finer)), Some((0, 1, Some(0), None)));
        assert_eq!(bounds(&coarser.gt_eq(col("a"))), None);
    }

    #[test]
    fn months_have_no_fixed_length() {
        assert_eq!(interval_micros(&ScalarValue::new_interval_mdn(1, 0, 0)), None);
        assert_eq!(interval_micros(&ScalarValue::new_interval_mdn(0, 1, 1_000)), Some(86_400_000_001));
    }
}
