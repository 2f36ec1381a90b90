//! What is refused, each with its name, the reason and what to write instead. One function per refusal: the texts are tested.

use datafusion::common::Spans;
use datafusion::logical_expr::Expr;

use crate::error::{Error, Place};

/// A join between sides of which one has no event time, by which it could be bounded.
pub(super) fn join_without_time(kind: &str, side: &str) -> Error {
    Error::input(format!(
        "a regular {kind} join is not supported yet, and it cannot be bounded in time: its {side} side has no event time; {}",
        time_hint(&[])
    ))
}

/// An unwindowed, unbounded-in-time join.
pub(super) fn regular_join(kind: &str) -> Error {
    Error::input(format!(
        "a regular {kind} join is not supported yet: it would keep all rows of both sides for ever; bound it in time \
         (b.ts BETWEEN a.ts - INTERVAL '5' MINUTE AND a.ts + INTERVAL '5' MINUTE) or join windows on window_start and window_end"
    ))
}

/// An interval join with one bound missing.
pub(super) fn half_open_interval(missing: &str) -> Error {
    Error::input(format!(
        "the interval join has no {missing} bound on the time between its sides; give both, as in \
         b.ts BETWEEN a.ts - INTERVAL '5' MINUTE AND a.ts + INTERVAL '5' MINUTE (months and years have no fixed length)"
    ))
}

/// A window join on only one edge.
pub(super) fn half_window_join(missing: &str) -> Error {
    Error::input(format!("a window join needs equality of both window_start and window_end; that of {missing} is missing"))
}

/// NOT IN over a nullable column.
pub(super) fn not_in() -> Error {
    Error::input("NOT IN over a stream is not supported: one NULL would have to undo all rows; write NOT EXISTS")
}

/// A comparison of NULLs as equal.
pub(super) fn null_equal_join() -> Error {
    Error::input("a join whose NULL keys are equal (IS NOT DISTINCT FROM, INTERSECT, EXCEPT) is not supported over a stream")
}

/// GROUP BY without a window.
pub(super) fn unwindowed_group_by() -> Error {
    Error::input(
        "GROUP BY (or DISTINCT) without a window is not supported yet: its results would change with every row; group by window_start and \
         window_end of TABLE(TUMBLE(…)), or use an OVER aggregate",
    )
}

/// GROUP BY only one edge of a window.
pub(super) fn half_window_group_by(missing: &str) -> Error {
    Error::input(format!("a window aggregation groups by both window_start and window_end; {missing} is missing in GROUP BY"))
}

/// A window over a column that is no time attribute. `times`: the tables read and their event-time columns.
pub(super) fn window_over_value(function: &str, column: &str, times: &[(String, String)]) -> Error {
    let hint = time_hint(times);
    Error::input(format!("{function} needs an event-time column; '{column}' is not one, or no longer, having been computed on: {hint}"))
}

fn time_hint(times: &[(String, String)]) -> String {
    match times {
        [] => "declare one with WATERMARK FOR … AS … in CREATE TABLE".to_owned(),
        times => {
            let declared: Vec<String> = times.iter().map(|(table, column)| format!("'{column}' of {table}")).collect();
            format!("pass on {} unchanged", declared.join(" or "))
        }
    }
}

/// Ordered parking of records without keys.
pub(super) fn ordered_without_keys(table: &str) -> Error {
    Error::input(format!(
        "table '{table}': 'dead-letter.ordered' needs records with keys to order them by; those of 'log', 'upsert-log', 'kafka' and \
         'upsert-kafka' have some"
    ))
}

/// MATCH_RECOGNIZE ordered by a column that is no time attribute.
pub(super) fn match_without_time(column: &str, times: &[(String, String)]) -> Error {
    let hint = time_hint(times);
    Error::input(format!(
        "ORDER BY of MATCH_RECOGNIZE begins with the event-time column; '{column}' is not one, or no longer, having been computed on: {hint}"
    ))
}

/// OVER where no column is event time.
pub(super) fn over_without_time() -> Error {
    Error::input(format!("OVER must be ordered by the event-time column, and its input has none: {}", time_hint(&[])))
}

/// OVER ordered by something else than event time.
pub(super) fn over_not_by_time(order: &str) -> Error {
    Error::input(format!(
        "OVER must be ordered by the event-time column, ascending, not by {order}; a Top-N needs window_start and window_end \
         in PARTITION BY and a filter on ROW_NUMBER() above it"
    ))
}

/// A function that OVER does not know.
pub(super) fn over_function(function: &str) -> Error {
    Error::input(format!(
        "{}() OVER is not supported over a stream; there are the aggregates, FIRST_VALUE, LAST_VALUE, NTH_VALUE, LAG, ROW_NUMBER, RANK \
         and DENSE_RANK",
        function.to_uppercase()
    ))
}

/// A look at rows that are yet to come.
pub(super) fn over_lead() -> Error {
    Error::input("LEAD() OVER is not supported over a stream: it looks ahead of the current row; look back from the later row with LAG()")
}

/// A clause that belongs to aggregates.
pub(super) fn over_modifier(function: &str) -> Error {
    Error::input(format!("DISTINCT, FILTER and (of LAG) IGNORE NULLS are not supported in {function}() OVER"))
}

/// An argument that must be the same for all rows.
pub(super) fn over_constant(function: &str, argument: &str) -> Error {
    Error::input(format!("the {argument} of {}() OVER must be a constant, and no negative number", function.to_uppercase()))
}

/// A frame that OVER does not know.
pub(super) fn over_frame(frame: &str) -> Error {
    Error::input(format!(
        "the frame {frame} is not supported over a stream: it must end at CURRENT ROW and begin UNBOUNDED PRECEDING, n PRECEDING \
         (ROWS) or a fixed interval PRECEDING (RANGE)"
    ))
}

/// A rank filter without an upper bound.
pub(super) fn rank_without_end() -> Error {
    Error::input("a window Top-N needs an upper bound on ROW_NUMBER(), as in WHERE rownum <= 10")
}

/// ORDER BY at the end of a stream.
pub(super) fn order_by() -> Error {
    Error::input(
        "ORDER BY over a stream is not supported: it never ends; order the query over the result (eagre sql), or use ROW_NUMBER() per window",
    )
}

/// LIMIT on a stream.
pub(super) fn limit() -> Error {
    Error::input(
        "LIMIT over a stream is not supported: which rows come first is chance; use ROW_NUMBER() per window, or limit the query over the result",
    )
}

/// Changes where only new rows have a meaning.
pub(super) fn over_changes(what: &str, changes: &str) -> Error {
    Error::input(format!(
        "{what} over {changes} is not supported yet: it takes inserts only; keep the table as a live one \
         (CREATE MATERIALIZED VIEW … (PRIMARY KEY (…) NOT ENFORCED) AS SELECT …) and query that"
    ))
}

/// Changes into a sink that only appends.
pub(super) fn changes_into(table: &str, sink: &str, changes: &str) -> Error {
    Error::input(format!(
        "'{table}' ({sink}) takes inserts only, but the query gives {changes}: write them to a table by key (a live table with \
         PRIMARY KEY, 'connector'='upsert-log') or to 'print'"
    ))
}

/// Upserts of one key into a table of another.
pub(super) fn other_key(table: &str, wanted: &str, changes: &str, key: Option<&str>) -> Error {
    let own = match key {
        Some(key) => format!("their key is ({key})"),
        None => "not all columns of their key are in the query".to_owned(),
    };
    Error::input(format!(
        "'{table}' has PRIMARY KEY ({wanted}), but the query gives {changes}, and {own}: what a deleted row was under another key is \
         not known; declare the same key"
    ))
}

/// A plan node that a stream has no meaning for.
pub(super) fn node(name: &str) -> Error {
    Error::input(format!("{name} is not supported over a stream"))
}

/// A table that cannot be read as a stream.
pub(super) fn not_a_stream(table: &str) -> Error {
    Error::input(format!("'{table}' cannot be read as a stream of rows"))
}

/// A condition that no row can meet.
pub(super) fn never_true() -> Error {
    Error::input("no row can pass: the condition is never true")
}

/// A subquery used as a value.
pub(super) fn subquery() -> Error {
    Error::input("a subquery as a value is not supported over a stream; join its windows instead")
}

/// Where an expression stands in `statement`'s file, if its columns know.
pub(super) fn place_of(expr: &Expr, statement: &Place) -> Option<Place> {
    let columns = expr.column_refs();
    let first = columns.into_iter().filter_map(|c| spans_start(&c.spans)).min()?;
    Some(Place::text(statement.name.clone(), first.0, first.1))
}

fn spans_start(spans: &Spans) -> Option<(u64, u64)> {
    let span = spans.first()?;
    (span.start.line > 0).then_some((span.start.line, span.start.column))
}

pub(super) fn rule_without_time() -> Error {
    Error::input("the streams of a rule need event time: declare WATERMARK FOR … on the table, and hand its column on in views")
}
