//! Texts of SQL and the graphs they become, as `eagre explain` shows them; and the text of every refusal.

use std::sync::Arc;

use async_trait::async_trait;

use super::{LiveTable, Options, Outside, Pipeline, lower};
use crate::change::Changes;
use crate::connector::table::{ConfiguredSource, TableRequest};
use crate::connector::{Partition, Position, Prepared, Reader, Sink, Source, Writer};
use crate::dataflow::explain::explain;
use crate::dataflow::fingerprint::fingerprints;
use crate::dataflow::graph::{Graph, NodeKind};
use crate::error::{Error, Result};
use crate::format::{FormatConfig, KeyRead};
use crate::sql::catalog::Catalog;
use crate::sql::plan::Planner;
use crate::sql::statement::{Statement, parse};
use crate::state::StateHandles;

/// A world in which every connector is there and nothing can be opened.
struct Paper;

impl Outside for Paper {
    fn source(&self, request: TableRequest<'_>) -> Result<ConfiguredSource> {
        let is = |connector| request.options.get("connector").is_some_and(|c| c == connector);
        let source = PaperSource { name: request.table.to_owned(), bounded: !is("log") };
        let json = || FormatConfig::from_options("json", &mut Default::default());
        let columns = request.primary_key.iter().map(|name| (name.clone(), name.clone())).collect();
        let key = if is("upserts") { Some(KeyRead { format: json()?, columns, upserts: true }) } else { None };
        let format =
            request.options.get("format").map_or(Ok(FormatConfig::Rows), |f| FormatConfig::from_options(f, &mut Default::default()));
        Ok(ConfiguredSource { key, ..ConfiguredSource::new(Arc::new(source), format?) })
    }

    fn sink(&self, request: TableRequest<'_>) -> Result<Arc<dyn Sink>> {
        let one_file = request.options.get("connector").is_some_and(|c| c == "one-file");
        let columns: Vec<_> = request.columns.iter().map(|f| format!("{} {}", f.name(), crate::sql::types::name(f.data_type()))).collect();
        let print = request.options.get("connector").is_some_and(|c| c == "print");
        let takes = if print { Changes::All } else { Changes::Inserts };
        Ok(Arc::new(PaperSink { text: columns.join(", "), one_file, takes, key: None }))
    }

    fn dead_letters(&self, name: &str, _: TableRequest<'_>) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(PaperSink { text: format!("dead letters to {name}"), one_file: false, takes: Changes::Inserts, key: None }))
    }

    fn live_table(&self, table: &LiveTable) -> Result<Arc<dyn Sink>> {
        let columns: Vec<_> = table.schema.fields().iter().map(|f| f.name().as_str()).collect();
        let text = format!(
            "live ({}) key ({}) retention {:?} by {:?}",
            columns.join(", "),
            table.primary_key.join(", "),
            table.retention_micros,
            table.time.map(|at| columns[at])
        );
        let key: Vec<usize> = table.primary_key.iter().map(|key| table.schema.index_of(key)).collect::<Result<_, _>>()?;
        let takes = if key.is_empty() { Changes::Inserts } else { Changes::Upserts };
        Ok(Arc::new(PaperSink { text, one_file: false, takes, key: (!key.is_empty()).then_some(key) }))
    }
}

#[derive(Debug)]
struct PaperSource {
    name: String,
    bounded: bool,
}

#[async_trait]
impl Source for PaperSource {
    fn describe(&self) -> String {
        "paper".to_owned()
    }

    fn identity(&self) -> String {
        self.name.clone()
    }

    fn bounded(&self) -> bool {
        self.bounded
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        Ok(Vec::new())
    }

    async fn open(&self, _: &Partition, _: Option<&Position>) -> Result<Box<dyn Reader>> {
        Err(Error::bug("paper"))
    }
}

#[derive(Debug)]
struct PaperSink {
    text: String,
    one_file: bool,
    takes: Changes,
    key: Option<Vec<usize>>,
}

impl Sink for PaperSink {
    fn describe(&self) -> String {
        self.text.clone()
    }

    fn identity(&self) -> String {
        self.text.clone()
    }

    fn start(&self, _: Option<&[Prepared]>) -> Result<()> {
        Ok(())
    }

    fn open(&self, _: usize, _: &mut StateHandles) -> Result<Box<dyn Writer>> {
        Err(Error::bug("paper"))
    }

    fn commit(&self, _: u64, _: &[Prepared]) -> Result<()> {
        Ok(())
    }

    fn takes(&self) -> Changes {
        self.takes
    }

    fn key_columns(&self) -> Option<Vec<usize>> {
        self.key.clone()
    }

    fn check_unbounded(&self) -> Result<()> {
        if self.one_file { Err(Error::input("one file cannot be written for ever; name a directory")) } else { Ok(()) }
    }
}

const TABLES: &str = "
    CREATE TABLE orders (id BIGINT, customer STRING, kind STRING, amount DOUBLE, tags ARRAY<STRING>, ts BIGINT,
      rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND) WITH ('connector'='filesystem');
    CREATE TABLE payments (id BIGINT, orderId BIGINT, customer STRING, amount DOUBLE, pt TIMESTAMP(3),
      WATERMARK FOR pt AS pt) WITH ('connector'='filesystem');
    CREATE TABLE users (id BIGINT, name STRING NOT NULL, score INT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector'='upserts');
    CREATE TABLE products (id BIGINT, name STRING, weight DOUBLE, tags ARRAY<STRING>, ts TIMESTAMP(3),
      WATERMARK FOR ts AS ts) WITH ('connector'='filesystem', 'format'='debezium-json');
    CREATE TABLE plain (id BIGINT, name STRING) WITH ('connector'='filesystem');
";

/// The pipelines of a text after the tables above; every query without INSERT goes to a table of its own columns.
fn pipelines(text: &str) -> Result<Vec<Pipeline>> {
    let mut catalog = Catalog::new();
    let mut pipelines = Vec::new();
    for (file, text) in [("tables.sql", TABLES), ("q.sql", text)] {
        for statement in parse(text, file)? {
            catalog.apply(&statement)?;
            let planner = Planner::new(&catalog);
            let place = statement.place.clone();
            let inserts = match &statement.value {
                Statement::Insert(insert) => std::slice::from_ref(insert),
                Statement::StatementSet(inserts) => inserts,
                Statement::CreateMaterializedView(view) => {
                    pipelines.push(Pipeline::view(view, planner.plan_query(&view.query)?)?);
                    continue;
                }
                _ => continue,
            };
            for insert in inserts {
                let planned = planner.plan_insert(insert)?;
                pipelines.push(Pipeline::insert(planned, place.clone()));
            }
        }
    }
    Ok(pipelines)
}

fn graph(text: &str) -> Result<Graph> {
    lower(&pipelines(text)?, &Paper, Options::default())
}

/// A text and what becomes of it: the graph as `eagre explain` shows it, or the refusal.
fn answer(text: &str) -> String {
    let text = match text {
        whole if whole.contains("INSERT INTO") || whole.contains("CREATE MATERIALIZED VIEW") => whole.to_owned(),
        query => format!("CREATE MATERIALIZED VIEW v AS {query}"),
    };
    match graph(&text) {
        Ok(graph) => explain(&graph, &std::collections::BTreeMap::new()),
        Err(fault) => format!("refused: {fault}\n"),
    }
}

/// The cases of a file under `cases/`: a comment that names the case, the text, `----`, the answer; `====` between cases.
/// A query alone is a materialized view `v`. `EAGRE_FILL=1` writes the answers found into the file.
fn check_cases(file: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sql/lower/cases").join(file);
    let known = std::fs::read_to_string(&path).unwrap();
    let (mut seen, mut wrong) = (Vec::new(), Vec::new());
    for case in known.split("\n====\n") {
        let (head, expected) = case.split_once("\n----\n").unwrap_or((case.trim_end(), ""));
        let text: String = head.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        let answer = answer(text.trim());
        if answer.trim() != expected.trim() {
            wrong.push(format!("{head}\n---- expected\n{}\n---- but it is\n{}", expected.trim(), answer.trim()));
        }
        seen.push(format!("{head}\n----\n{}", answer.trim_end()));
    }
    if std::env::var_os("EAGRE_FILL").is_some() {
        std::fs::write(&path, seen.join("\n====\n") + "\n").unwrap();
    } else {
        assert!(wrong.is_empty(), "{} of {} cases of {file} differ:\n{}", wrong.len(), seen.len(), wrong.join("\n\n"));
    }
}

#[test]
fn texts_become_graphs() {
    for file in ["scans.txt", "windows.txt", "joins.txt", "over_and_ranks.txt", "match.txt", "changes.txt"] {
        check_cases(file);
    }
}

#[test]
fn what_has_no_answer_is_refused_by_name() {
    check_cases("refusals.txt");
}

/// Fingerprints of the stateful operators of a text, in order of their names.
fn state_of(text: &str) -> Vec<String> {
    let graph = graph(text).unwrap();
    let ids = fingerprints(&graph);
    let stateful = |kind: &NodeKind| matches!(kind, NodeKind::Operator(spec) if spec.stateful());
    let mut found: Vec<String> = graph.nodes.iter().zip(ids).filter(|(node, _)| stateful(&node.kind)).map(|(_, id)| id).collect();
    found.sort();
    found
}

#[test]
fn state_is_found_again_after_an_edit_that_leaves_its_meaning() {
    let count = |view: &str, column: &str, table: &str, alias: &str| {
        format!(
            "CREATE MATERIALIZED VIEW {view} AS SELECT customer AS {column}, window_start, COUNT(*) AS {alias}, SUM(amount) AS s
             FROM TABLE(TUMBLE({table}, DESCRIPTOR(rt), INTERVAL '1' MINUTE)) WHERE kind = 'x' GROUP BY window_start, window_end, customer;"
        )
    };
    let plain = state_of(&count("v", "c", "TABLE orders", "n"));
    assert_eq!(plain.len(), 1);
    assert_eq!(plain, state_of(&count("w", "who", "TABLE orders", "how_many")), "names do not count");
    let subquery = "(SELECT id, customer, kind, amount, rt FROM orders)";
    assert_eq!(plain, state_of(&count("v", "c", subquery, "n")), "neither does what nobody reads");

    let more = "CREATE MATERIALIZED VIEW a AS SELECT id, amount * 2 AS x, kind FROM orders WHERE id > 3 OR amount > 5;";
    assert_eq!(plain, state_of(&format!("{more}{}", count("v", "c", "TABLE orders", "n"))), "another reader widens the source only");

    let other = count("v", "c", "TABLE orders", "n").replace("kind = 'x'", "kind = 'y'");
    assert_ne!(plain, state_of(&other), "another filter is another count");
    let other = count("v", "c", "TABLE orders", "n").replace("SUM(amount)", "SUM(id)");
    assert_ne!(plain, state_of(&other), "another argument is another sum");
}

#[test]
fn the_state_of_a_pattern_is_that_of_its_conditions_not_of_its_names() {
    let text = "CREATE MATERIALIZED VIEW v AS SELECT * FROM orders MATCH_RECOGNIZE (PARTITION BY customer ORDER BY rt
        MEASURES LAST(B.amount) AS x AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.amount > A.amount) AS m;";
    let plain = state_of(text);
    assert_eq!(plain.len(), 1);
    assert_eq!(plain, state_of(&text.replace("A.amount", "First.amount").replace("(A B)", "(First B)").replace("AS x", "AS y")));
    for (old, new) in [("> A", "< A"), ("(A B)", "(A B?)"), ("PAST LAST", "TO NEXT"), ("(A B)", "(A B) WITHIN INTERVAL '1' HOUR")] {
        assert_ne!(plain, state_of(&text.replace(old, new)), "{new}");
    }
    // Names that come out make two of what would be one.
    let told = text.replace("LAST(B.amount)", "CLASSIFIER()");
    let other = told.replace("VIEW v", "VIEW w").replace("A.amount", "C.amount").replace("(A B)", "(C B)");
    assert_eq!(state_of(&format!("{told}{other}")).len(), 2);
}
