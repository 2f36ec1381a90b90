//! The cases of MATCH_RECOGNIZE as SQL texts: run as pipelines at once, in random cuts, with a stop and a restore at another
//! parallelism between any two rows; and as a bounded query.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::datasource::MemTable;
use eagre::sql::bounded;
use eagre::sql::catalog::Catalog;
use eagre::sql::functions::Functions;
use serde_json::{Map, Value, json};

use super::driver::KEY;
use super::random::Random;
use super::translate::{Case, Events};
use crate::cases::{self, Step};

/// The pattern's place in a case of any dialect.
fn body(case: &Case) -> &Value {
    let pattern = &case.body["pattern"];
    if pattern["regex"].is_array() { pattern } else { &pattern["expr"] }
}

/// Is it a case of row matching?
pub fn is_rows(case: &Case) -> bool {
    body(case).get("regex").is_some()
}

fn regex(value: &Value) -> Result<String, String> {
    let Value::Array(parts) = value else {
        return value.as_str().map(str::to_owned).ok_or_else(|| format!("uses {value} in a pattern"));
    };
    let all = |between: &str| Ok::<_, String>(parts[1..].iter().map(regex).collect::<Result<Vec<_>, _>>()?.join(between));
    Ok(match parts[0].as_str() {
        Some("seq") => format!("({})", all(" ")?),
        Some("alt") => format!("({})", all(" | ")?),
        Some("permute") => format!("PERMUTE({})", all(", ")?),
        Some("exclude") => format!("{{- {} -}}", all(" ")?),
        Some("empty") => "()".to_owned(),
        Some("rep") => {
            let quantifier = match (parts[2].as_u64().unwrap_or(0), parts[3].as_u64()) {
                (0, None) => "*".to_owned(),
                (1, None) => "+".to_owned(),
                (0, Some(1)) => "?".to_owned(),
                (from, None) => format!("{{{from},}}"),
                (0, Some(to)) => format!("{{,{to}}}"),
                (from, Some(to)) if from == to => format!("{{{from}}}"),
                (from, Some(to)) => format!("{{{from},{to}}}"),
            };
            let reluctant = if parts.get(4).and_then(Value::as_str) == Some("reluctant") { "?" } else { "" };
            format!("({}){quantifier}{reluctant}", regex(&parts[1])?)
        }
        other => return Err(format!("uses {other:?} in a pattern")),
    })
}

fn condition(value: &Value) -> Result<String, String> {
    let Value::Array(parts) = value else {
        return Ok(match value {
            Value::String(text) => match text.strip_prefix('$') {
                Some(field) => format!("`{field}`"),
                None => format!("'{text}'"),
            },
            other => other.to_string(),
        });
    };
    let op = parts[0].as_str().ok_or("a condition without an operation")?;
    let args = &parts[1..];
    let infix = |op: &str| Ok::<_, String>(format!("({})", args.iter().map(condition).collect::<Result<Vec<_>, _>>()?.join(op)));
    let field = |value: &Value| value.as_str().map(|name| name.trim_start_matches('$').to_owned()).ok_or("a field that is no name");
    let number = |at: usize| args.get(at).map_or(Some(0), Value::as_i64).ok_or("an offset that is no number");
    let of = |variable: &Value| match variable.as_str() {
        Some("*") | None => String::new(),
        Some(name) => format!("{name}."),
    };
    Ok(match (op, args) {
        ("==", _) => infix(" = ")?,
        ("!=", _) => infix(" <> ")?,
        ("<" | "<=" | ">" | ">=" | "+" | "-" | "*" | "and" | "or", _) => infix(&format!(" {} ", op.to_uppercase()))?,
        ("not", [inner]) => format!("(NOT {})", condition(inner)?),
        ("prev", [count, value]) => format!("PREV(`{}`, {count})", field(value)?),
        ("first" | "last", [variable, value, ..]) => {
            let logical = format!("{}({}`{}`, {})", op.to_uppercase(), of(variable), field(value)?, number(2)?);
            match number(3)? {
                0 => logical,
                shift if shift < 0 => format!("PREV({logical}, {})", -shift),
                shift => format!("NEXT({logical}, {shift})"),
            }
        }
        ("sum" | "avg" | "count" | "min" | "max", [variable, value]) => format!("{op}({}`{}`)", of(variable), field(value)?),
        ("count", [variable]) => format!("COUNT({}*)", of(variable)),
        _ => return Err(format!("uses {op} in a condition")),
    })
}

struct Text {
    /// Columns of the table but the time.
    columns: Vec<(String, &'static str)>,
    /// Everything behind the table's name.
    clause: String,
    measures: Vec<String>,
}

fn text(case: &Case, events: &Events) -> Result<Text, String> {
    let pattern = body(case);
    let columns = events.schema.fields().iter().filter(|field| !field.name().starts_with('$')).map(|field| {
        let data_type = match field.data_type() {
            arrow::datatypes::DataType::Float64 => "DOUBLE",
            arrow::datatypes::DataType::Boolean => "BOOLEAN",
            _ => "STRING",
        };
        (field.name().clone(), data_type)
    });
    let columns = columns.chain([("idx".to_owned(), "BIGINT"), ("k".to_owned(), "BIGINT")]).collect();
    let rows = match pattern["rows"].as_str() {
        Some("one") => "ONE ROW PER MATCH",
        None | Some("all") => "ALL ROWS PER MATCH SHOW EMPTY MATCHES",
        Some("all_omit_empty") => "ALL ROWS PER MATCH OMIT EMPTY MATCHES",
        Some("all_with_unmatched") => "ALL ROWS PER MATCH WITH UNMATCHED ROWS",
        other => return Err(format!("rows {other:?}")),
    };
    let to = pattern["skip"]["step"].as_str().unwrap_or_default();
    let skip = match pattern["skip"]["mode"].as_str() {
        Some("past_last") | None => "PAST LAST ROW".to_owned(),
        Some("to_next") => "TO NEXT ROW".to_owned(),
        Some("to_first") => format!("TO FIRST {to}"),
        Some("to_last") => format!("TO LAST {to}"),
        other => return Err(format!("skip {other:?}")),
    };
    let measures: Vec<String> = case.body["measures"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let mut measured = vec!["MATCH_NUMBER() AS n".to_owned(), "CLASSIFIER() AS label".to_owned()];
    measured.extend(measures.iter().enumerate().map(|(at, measure)| format!("{measure} AS m{at}")));
    if rows.starts_with("ONE") {
        measured.push("LAST(idx) AS idx".to_owned());
    }
    let objects = |name: &str| pattern[name].as_object().into_iter().flatten();
    let define =
        objects("define").map(|(name, value)| Ok(format!("{name} AS {}", condition(value)?))).collect::<Result<Vec<_>, String>>()?;
    let members =
        |list: &Value| list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(", ");
    let subsets: Vec<String> = objects("subset").map(|(name, list)| format!("{name} = ({})", members(list))).collect();
    let partition = pattern["partition_by"].as_str().unwrap_or("k");
    let clause = format!(
        "MATCH_RECOGNIZE (PARTITION BY `{partition}` ORDER BY `at` MEASURES {} {rows} AFTER MATCH SKIP {skip} PATTERN ({}) {} {} {})",
        measured.join(", "),
        regex(&pattern["regex"])?,
        pattern["within"].as_i64().map_or(String::new(), |ms| format!("WITHIN INTERVAL '{}.{:03}' SECOND", ms / 1000, ms % 1000)),
        if subsets.is_empty() { String::new() } else { format!("SUBSET {}", subsets.join(", ")) },
        if define.is_empty() { String::new() } else { format!("DEFINE {}", define.join(", ")) },
    );
    Ok(Text { columns, clause, measures })
}

/// What is asked of the rows that come out.
fn select(text: &Text, case: &Case) -> String {
    let mut wanted = vec!["idx".to_owned(), "n".to_owned(), "label".to_owned()];
    wanted.push(if body(case)["partition_by"].is_string() { "0 AS k".to_owned() } else { "k".to_owned() });
    wanted.extend((0..text.measures.len()).map(|at| format!("m{at}")));
    format!("SELECT {} FROM t {}", wanted.join(", "), text.clause)
}

/// The case as a text with rows to feed.
fn sql_case(case: &Case, text: &Text, events: &Events) -> cases::Case {
    let declared: Vec<String> = text.columns.iter().map(|(name, data_type)| format!("`{name}` {data_type}")).collect();
    let mut latest = i64::MIN;
    let disorder = events.times.iter().map(|time| {
        latest = latest.max(*time);
        latest - time
    });
    // A watermark tells of its own millisecond, too.
    let delay = disorder.max().unwrap_or(0) + 1;
    let sql = format!(
        "CREATE TABLE t ({}, `at` TIMESTAMP(3), WATERMARK FOR `at` AS `at` - INTERVAL '{}.{:03}' SECOND) WITH ('connector' = 'feed', \
         'format' = 'json');\nCREATE MATERIALIZED VIEW out AS {};",
        declared.join(", "),
        delay / 1000,
        delay % 1000,
        select(text, case)
    );
    let mut steps: Vec<(Step, Vec<String>)> =
        rows(case, events).into_iter().map(|row| (Step::Row("t".to_owned(), row), Vec::new())).collect();
    steps.push((Step::End, Vec::new()));
    cases::Case { path: PathBuf::from(&case.id), sql, disorder_micros: None, steps, dropped: BTreeMap::new() }
}

fn rows(case: &Case, events: &Events) -> Vec<String> {
    let copies = if events.key.is_some() { 1..=1 } else { 1..=2 };
    let mut rows = Vec::new();
    for (index, event) in case.body["events"].as_array().unwrap().iter().enumerate() {
        for key in copies.clone() {
            let mut row: Map<String, Value> = event.as_object().unwrap().clone();
            let at = chrono::DateTime::from_timestamp_millis(event["ts"].as_i64().unwrap()).unwrap();
            row.insert("at".to_owned(), at.format("%Y-%m-%d %H:%M:%S%.3f").to_string().into());
            row.insert("idx".to_owned(), index.into());
            row.insert("k".to_owned(), key.into());
            rows.push(Value::Object(row).to_string());
        }
    }
    rows
}

/// The row with measures' numbers as doubles: a case does not say of what type they are.
fn untyped(row: &str, text: &Text) -> String {
    fn doubles(value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(doubles),
            other => *other = other.as_f64().map_or_else(|| other.take(), Value::from),
        }
    }
    let mut row: Value = serde_json::from_str(row).unwrap();
    for measure in 0..text.measures.len() {
        row.get_mut(format!("m{measure}")).into_iter().for_each(doubles);
    }
    cases::canonical(&row.to_string())
}

/// The rows that must come out, as `cases` writes them; `None`: the case does not say.
fn expected_rows(case: &Case, text: &Text) -> Option<Vec<String>> {
    let shown = case.body["rows_out"].as_array()?;
    let one = body(case)["rows"].as_str() == Some("one");
    let keys: &[i64] = if body(case)["partition_by"].is_string() { &[0] } else { &[1, 2] };
    let mut expected = Vec::new();
    for (at, row) in shown.iter().enumerate() {
        for key in keys {
            // An empty match has no last row.
            let index = if one && row[2].is_null() { Value::Null } else { row[0].clone() };
            let mut out = json!({ "idx": index, "n": row[1], "label": row[2], "k": key });
            for (number, name) in text.measures.iter().enumerate() {
                out[format!("m{number}")] = case.body["measures"][name][at].clone();
            }
            expected.push(untyped(&out.to_string(), text));
        }
    }
    expected.sort();
    Some(expected)
}

/// The matches that rows of key 1 tell of, where every row of a match is shown; sorted.
fn matches_of(case: &Case, rows: &[String]) -> Vec<Vec<Vec<i64>>> {
    let labels: Vec<&str> = case.body["match_steps"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
    let mut matches: BTreeMap<i64, Vec<Vec<i64>>> = BTreeMap::new();
    for row in rows {
        let row: Value = serde_json::from_str(row).unwrap();
        let (Some(number), Some(1)) = (row["n"].as_i64(), row["k"].as_i64()) else { continue };
        let one = matches.entry(number).or_insert_with(|| vec![Vec::new(); labels.len()]);
        if let Some(at) = labels.iter().position(|other| Some(*other) == row["label"].as_str()) {
            one[at].push(row["idx"].as_i64().unwrap());
        }
    }
    let mut all: Vec<Vec<Vec<i64>>> = matches.into_values().map(|steps| steps.into_iter().map(sorted).collect()).collect();
    all.sort();
    all
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values
}

/// The answer of a bounded query over the same rows.
async fn bounded_rows(case: &Case, text: &Text, events: &Events) -> Result<Vec<String>, String> {
    let at = |name: &str| events.schema.index_of(name).unwrap();
    let mut columns = Vec::new();
    let mut fields = Vec::new();
    for (name, _) in &text.columns {
        let from = match name.as_str() {
            "idx" => at(super::driver::INDEX),
            "k" => at(KEY),
            other => at(other),
        };
        fields.push(events.schema.field(from).clone().with_name(name));
        columns.push(events.rows.column(from).clone());
    }
    fields.push(events.schema.field(at(super::driver::TIME)).clone().with_name("at"));
    columns.push(events.rows.column(at(super::driver::TIME)).clone());
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let batch = arrow::array::RecordBatch::try_new(schema.clone(), columns).unwrap();
    let context = bounded::session(&Functions::default());
    context.register_table("t", Arc::new(MemTable::try_new(schema, vec![vec![batch]]).unwrap())).unwrap();
    let found = bounded::collect(&context, &Catalog::new(), &select(text, case), "case.sql").await.map_err(|e| e.to_string())?;
    Ok(sorted(found.iter().flat_map(cases::rows_of).collect()))
}

/// Runs a case every way; says what is wrong.
pub async fn try_rows(case: &Case, random: &mut Random) -> Result<(), String> {
    let events = Events::new(case, body(case)["partition_by"].as_str());
    let text = text(case, &events).map_err(|why| format!("? {why}"))?;
    let sql = sql_case(case, &text, &events);
    let cuts: Vec<usize> = (1..sql.steps.len() - 1).filter(|_| random.below(2) == 0).collect();
    let plain = |answer: Result<(Vec<String>, BTreeMap<String, u64>), String>| answer.map(|(rows, _)| rows);
    let whole = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
    let answers = [
        ("at once", plain(cases::at_once(&sql, 1, whole).await)),
        ("at once in two tasks", plain(cases::at_once(&sql, 2, whole).await)),
        ("cut", plain(cases::in_cuts(&sql, 2, &cuts).await)),
        ("restored between any two rows", plain(cases::restarted(&sql).await)),
        ("bounded", bounded_rows(case, &text, &events).await),
    ];
    for (way, answer) in answers {
        if let Some(error) = case.body["expect_error"].as_str() {
            match answer {
                Err(_) => continue,
                Ok(rows) => return Err(format!("{way}: must fail ({error}), but finds {rows:#?}")),
            }
        }
        let found = answer.map_err(|error| format!("{way}: {error}\n{}", sql.sql))?;
        let untyped = sorted(found.iter().map(|row| untyped(row, &text)).collect::<Vec<_>>());
        if let Some(expected) = expected_rows(case, &text)
            && untyped != expected
        {
            return Err(format!("{way}:\n{}\n    found    {found:#?}\n    expected {expected:#?}", sql.sql));
        }
        let excludes = body(case)["regex"].to_string().contains("exclude");
        let all_shown = !excludes && body(case)["rows"].as_str().is_none_or(|rows| rows == "all");
        let mut expected: Vec<Vec<Vec<i64>>> = serde_json::from_value(case.body["matches"].clone()).unwrap();
        expected.sort();
        // Match numbers are per partition: those of several cannot be told apart here.
        if all_shown && events.key.is_none() && matches_of(case, &found) != expected {
            return Err(format!("{way}: found {:?}, expected {expected:?}", matches_of(case, &found)));
        }
    }
    Ok(())
}
