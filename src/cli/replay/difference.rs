//! Rows of the live project against rows of its shadow.
//!
//! ```text
//!  per_minute: 1 row differs
//!    live    customer: ann  total: 5
//!    shadow  customer: ann  total: 6
//!                           ^^^^^^^^
//! ```

use std::collections::HashMap;

use arrow::datatypes::SchemaRef;

use crate::fixture::Cell;

/// More rows of one kind than this are only counted.
const SHOWN: usize = 10;
/// Without a key, what a row has become is looked for among so many rows of the shadow, the first in order.
const LOOKED_AT: usize = 1_000;

/// Rows of one table that differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// How many, in a sentence.
    pub summary: String,
    /// The rows, line by line.
    pub lines: Vec<String>,
}

/// Compares what the live project and its shadow hold, in the columns `schema`; equal rows may stand several times. Rows
/// that differ are shown side by side where the columns `key` agree, or else most columns do. `early`: which rows of the
/// shadow may well be missing live.
pub fn compare(schema: &SchemaRef, key: &[usize], live: &[Vec<Cell>], shadow: &[Vec<Cell>], early: &[bool]) -> Option<Difference> {
    let (mut only_live, mut only_shadow) = unpaired(live, shadow);
    if only_live.is_empty() && only_shadow.is_empty() {
        return None;
    }
    only_live.sort_by_cached_key(|row| said(schema, &live[*row]));
    only_shadow.sort_by_cached_key(|row| said(schema, &shadow[*row]));
    let mut lines = Vec::new();
    let mut differing = 0;
    only_live.retain(|row| {
        let Some(at) = nearest(key, &live[*row], &only_shadow, shadow) else { return true };
        let other = only_shadow.remove(at);
        differing += 1;
        if differing <= SHOWN {
            lines.extend(side_by_side(schema, &live[*row], &shadow[other]));
        }
        false
    });
    only_shadow.retain(|row| !early.get(*row).copied().unwrap_or(false));
    if differing + only_live.len() + only_shadow.len() == 0 {
        return None;
    }
    if differing > SHOWN {
        lines.push(format!("… and {} more that differ", differing - SHOWN));
    }
    for (name, rows, of) in [("live", &only_live, live), ("shadow", &only_shadow, shadow)] {
        lines.extend(rows.iter().take(SHOWN).map(|row| format!("{name:6}  {}", said(schema, &of[*row]))));
        if rows.len() > SHOWN {
            lines.push(format!("… and {} more {}", rows.len() - SHOWN, if name == "live" { "only live" } else { "only in the shadow" }));
        }
    }
    let counted = |count: usize, one: &str, many: &str| (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many }));
    let parts = [
        counted(differing, "row differs", "rows differ"),
        counted(only_live.len(), "row is only live", "rows are only live"),
        counted(only_shadow.len(), "row is only in the shadow", "rows are only in the shadow"),
    ];
    Some(Difference { summary: parts.into_iter().flatten().collect::<Vec<_>>().join(", "), lines })
}

/// The rows of either side that have no equal one on the other.
fn unpaired(live: &[Vec<Cell>], shadow: &[Vec<Cell>]) -> (Vec<usize>, Vec<usize>) {
    // Doubles may be equal without being written alike: they are left to the look at the rows of one text.
    let columns = live.iter().chain(shadow).map(Vec::len).max().unwrap_or(0);
    let of_doubles = |at: usize| live.iter().chain(shadow).any(|row| matches!(row[at], Cell::Float(_)));
    let of_doubles: Vec<bool> = (0..columns).map(of_doubles).collect();
    let text = |row: &[Cell]| -> String {
        let cells = row.iter().zip(&of_doubles);
        cells.map(|(cell, doubles)| if *doubles { "#".to_owned() } else { format!("{cell:?}") }).collect::<Vec<_>>().join("\u{1f}")
    };
    let mut waiting: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, row) in shadow.iter().enumerate().rev() {
        waiting.entry(text(row)).or_default().push(at);
    }
    let mut only_live = Vec::new();
    for (at, row) in live.iter().enumerate() {
        let alike = waiting.get_mut(&text(row));
        let found = alike.and_then(|alike| {
            // From the end: both sides mostly come in one order.
            let place = alike.iter().rposition(|other| row.iter().zip(&shadow[*other]).all(|(a, b)| a.same(b)))?;
            Some(alike.remove(place))
        });
        if found.is_none() {
            only_live.push(at);
        }
    }
    (only_live, waiting.into_values().flatten().collect())
}

/// The place among `candidates` of the row that `row` has become: of the same key, or else with more than half of its
/// columns.
fn nearest(key: &[usize], row: &[Cell], candidates: &[usize], rows: &[Vec<Cell>]) -> Option<usize> {
    let agrees = |candidate: &usize, column: usize| row[column].same(&rows[*candidate][column]);
    if !key.is_empty() {
        return candidates.iter().position(|candidate| key.iter().all(|column| agrees(candidate, *column)));
    }
    let agreement = |candidate: &usize| (0..row.len()).filter(|column| agrees(candidate, *column)).count();
    let best =
        candidates.iter().enumerate().take(LOOKED_AT).max_by_key(|(at, candidate)| (agreement(candidate), std::cmp::Reverse(*at)))?;
    (agreement(best.1) * 2 > row.len()).then_some(best.0)
}

/// Both rows with their columns under each other, and a mark under those that differ.
fn side_by_side(schema: &SchemaRef, live: &[Cell], shadow: &[Cell]) -> [String; 3] {
    let (mut above, mut below, mut marks) = ("live    ".to_owned(), "shadow  ".to_owned(), " ".repeat(8));
    for (field, (a, b)) in schema.fields().iter().zip(live.iter().zip(shadow)) {
        let [said_a, said_b] = [a, b].map(|cell| format!("{}: {}", field.name(), cell.shown()));
        let width = said_a.chars().count().max(said_b.chars().count());
        above.push_str(&format!("{said_a:width$}  "));
        below.push_str(&format!("{said_b:width$}  "));
        marks.push_str(&format!("{}  ", if a.same(b) { " " } else { "^" }.repeat(width)));
    }
    [above, below, marks].map(|line| line.trim_end().to_owned())
}

fn said(schema: &SchemaRef, row: &[Cell]) -> String {
    let cells = schema.fields().iter().zip(row).filter(|(_, cell)| **cell != Cell::Null);
    cells.map(|(field, cell)| format!("{}: {}", field.name(), cell.shown())).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    fn rows(rows: &[(&str, f64)]) -> Vec<Vec<Cell>> {
        rows.iter().map(|(k, n)| vec![Cell::Text((*k).into()), Cell::Float(*n)]).collect()
    }

    fn told(key: &[usize], live: &[(&str, f64)], shadow: &[(&str, f64)]) -> Option<Difference> {
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8View, true), Field::new("n", DataType::Float64, true)]));
        compare(&schema, key, &rows(live), &rows(shadow), &[])
    }

    #[test]
    fn equal_rows_in_any_order_are_no_difference_and_each_counts_once() {
        let numbers = |numbers: &[&str]| numbers.iter().map(|n| vec![Cell::Number((*n).to_owned())]).collect::<Vec<_>>();
        let doubles = vec![vec![Cell::Float(2.0)], vec![Cell::Float(1.0)]];
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        assert_eq!(compare(&schema, &[], &numbers(&["1", "2"]), &numbers(&["2", "1"]), &[]), None);
        assert_eq!(compare(&schema, &[], &numbers(&["1", "2"]), &doubles, &[]), None, "a number is the double of its value");
        assert_eq!(told(&[], &[("a", 0.1 + 0.2), ("b", 2.0)], &[("b", 2.0), ("a", 0.3)]), None);
        let difference = told(&[], &[("a", 1.0), ("a", 1.0)], &[("a", 1.0)]).unwrap();
        assert_eq!(
            (difference.summary.as_str(), difference.lines.as_slice()),
            ("1 row is only live", &["live    k: a  n: 1".to_owned()][..])
        );
    }

    #[test]
    fn a_row_that_may_come_later_is_no_difference_while_it_is_not_there() {
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8View, true), Field::new("n", DataType::Float64, true)]));
        let told = |live: &[(&str, f64)]| compare(&schema, &[0], &rows(live), &rows(&[("a", 1.0), ("b", 2.0)]), &[false, true]);
        assert_eq!((told(&[("a", 1.0)]), told(&[("a", 1.0), ("b", 2.0)])), (None, None));
        assert_eq!(told(&[("b", 2.0)]).unwrap().summary, "1 row is only in the shadow");
        assert_eq!(told(&[("a", 1.0), ("b", 3.0)]).unwrap().summary, "1 row differs");
    }

    #[test]
    fn a_row_that_has_changed_is_shown_beside_what_it_was() {
        let difference = told(&[0], &[("ann", 5.0), ("bob", 1.0), ("cem", 9.0)], &[("ann", 6.0), ("bob", 1.0), ("dan", 9.0)]).unwrap();
        assert_eq!(difference.summary, "1 row differs, 1 row is only live, 1 row is only in the shadow");
        assert_eq!(
            difference.lines,
            ["live    k: ann  n: 5", "shadow  k: ann  n: 6", "                ^^^^", "live    k: cem  n: 9", "shadow  k: dan  n: 9"]
        );
    }
}
