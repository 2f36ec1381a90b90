//! Texts of SQL and the graphs they become, as `eagre explain` shows them; and the text of every refusal.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;

use super::{LiveTable, Options, Outside, Pipeline, Scanned, lower};
use crate::connector::registry::TableRequest;
use crate::connector::{Partition, Position, Prepared, Reader, Sink, Source, Writer};
use crate::dataflow::explain::explain;
use crate::dataflow::graph::Graph;
use crate::error::{Error, Result};
use crate::format::{Chunk, DecodeSpec, Decoded, Decoder, Judge};
use crate::sql::catalog::{Catalog, Entry};
use crate::sql::plan::Planner;
use crate::sql::statement::{Statement, parse};
use crate::state::StateHandles;

/// A world in which every connector is there and nothing can be opened.
struct Paper;

impl Outside for Paper {
    fn scan(&self, request: TableRequest<'_>, spec: DecodeSpec) -> Result<Scanned> {
        let unbounded = request.options.get("connector").is_some_and(|c| c == "log");
        let fields: Vec<_> = spec.first.iter().chain(&spec.rest).map(|c| c.field.clone()).collect();
        let source = PaperSource { name: request.table.to_owned(), bounded: !unbounded };
        Ok(Scanned { source: Arc::new(source), decoder: Arc::new(PaperDecoder(Arc::new(Schema::new(fields)))) })
    }

    fn sink(&self, request: TableRequest<'_>) -> Result<Arc<dyn Sink>> {
        let one_file = request.options.get("connector").is_some_and(|c| c == "one-file");
        let columns: Vec<_> = request.columns.iter().map(|f| format!("{} {}", f.name(), crate::sql::types::name(f.data_type()))).collect();
        Ok(Arc::new(PaperSink { text: columns.join(", "), one_file }))
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
        Ok(Arc::new(PaperSink { text, one_file: false }))
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
struct PaperDecoder(SchemaRef);

impl Decoder for PaperDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn decode(&self, _: &Chunk, _: &mut Judge<'_>) -> Result<Decoded> {
        Err(Error::bug("paper"))
    }
}

#[derive(Debug)]
struct PaperSink {
    text: String,
    one_file: bool,
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

    fn check_unbounded(&self) -> Result<()> {
        if self.one_file { Err(Error::input("one file cannot be written for ever; name a directory")) } else { Ok(()) }
    }
}

const TABLES: &str = "
    CREATE TABLE orders (id BIGINT, customer STRING, kind STRING, amount DOUBLE, tags ARRAY<STRING>, ts BIGINT,
      rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND) WITH ('connector'='filesystem');
    CREATE TABLE payments (id BIGINT, orderId BIGINT, customer STRING, amount DOUBLE, pt TIMESTAMP(3),
      WATERMARK FOR pt AS pt) WITH ('connector'='filesystem');
    CREATE TABLE plain (id BIGINT, name STRING) WITH ('connector'='filesystem');
";

/// The pipelines of a text after the tables above; every query without INSERT goes to a table of its own columns.
fn pipelines(text: &str) -> Result<Vec<Pipeline>> {
    let mut catalog = Catalog::new();
    let mut pipelines = Vec::new();
    for (file, text) in [("tables.sql", TABLES), ("q.sql", text)] {
        for statement in parse(text, file)? {
            catalog.apply(&statement)?;
            match &statement.value {
                Statement::Insert(insert) => {
                    pipelines.push(Pipeline::insert(Planner::new(&catalog).plan_insert(insert)?, statement.place.clone()));
                }
                Statement::StatementSet(inserts) => {
                    for insert in inserts {
                        pipelines.push(Pipeline::insert(Planner::new(&catalog).plan_insert(insert)?, statement.place.clone()));
                    }
                }
                Statement::CreateMaterializedView(view) => {
                    let Some(Entry::MaterializedView(..)) = catalog.get(&view.name.value) else { continue };
                    pipelines.push(Pipeline::view(view, Planner::new(&catalog).plan_query(&view.query)?)?);
                }
                _ => {}
            }
        }
    }
    Ok(pipelines)
}

fn graph(text: &str) -> Result<Graph> {
    lower(&pipelines(text)?, &Paper, Options::default())
}

/// What `eagre explain` shows of a text.
fn explained(text: &str) -> String {
    match graph(text) {
        Ok(graph) => explain(&graph),
        Err(fault) => panic!("{fault}"),
    }
}

/// What is said of a text that is refused.
fn refusal(text: &str) -> String {
    match graph(text) {
        Ok(graph) => panic!("accepted:\n{}", explain(&graph)),
        Err(fault) => fault.to_string(),
    }
}

/// Compares with the expected text, whose indentation is that of its first line.
#[track_caller]
fn assert_graph(text: &str, expected: &str) {
    let lines: Vec<&str> = expected.lines().skip_while(|l| l.trim().is_empty()).collect();
    let indent = lines.first().map_or(0, |l| l.len() - l.trim_start().len());
    let expected: Vec<&str> = lines.iter().map(|l| l.get(indent..).unwrap_or("")).collect();
    let expected = expected.join("\n");
    let seen = explained(text);
    assert!(seen.trim() == expected.trim(), "expected\n{}\n\nbut it is\n{}", expected.trim(), seen.trim());
}

#[test]
fn a_filter_is_decoded_before_the_columns_that_only_its_rows_need() {
    assert_graph(
        "CREATE MATERIALIZED VIEW v AS SELECT id, customer, amount FROM orders WHERE kind = 'x' AND amount > 100",
        "
        sink v: live (id, customer, amount) key () retention None by None
          source orders: paper
            decodes kind, amount, ts, then id, customer of rows that pass
            where kind@0 = x AND amount@1 > 100
            gives id, customer, amount
            event time to_timestamp_ltz(ts@2, 3), watermark 5 s behind the largest
            records that cannot be decoded go to the dead letters
        ",
    );
}

#[test]
fn windows_are_aggregated_away_in_two_phases() {
    assert_graph(
        "CREATE MATERIALIZED VIEW v AS SELECT customer, window_start, COUNT(*) AS n, SUM(amount) AS s
         FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(rt), INTERVAL '1' MINUTE)) WHERE kind = 'x' GROUP BY window_start, window_end, customer",
        "
        sink v: live (customer, window_start, n, s) key () retention None by None
          project 1: customer, window_start, count(Int64(1))@1 AS n, sum(orders.amount)@2 AS s
            window aggregation (final) 1: [count(Int64(1)), sum(orders.amount)] by [customer] over Tumble { size: 60000000, offset: 0 } on rt · by key customer · keeps state
              window pre-aggregation 1: [count(Int64(1)), sum(orders.amount)] by [customer] over Tumble { size: 60000000, offset: 0 } on rt
                source orders: paper
                  decodes kind, ts, then customer, amount of rows that pass
                  where kind@0 = x
                  gives customer, amount, to_timestamp_ltz(ts@1, 3) AS rt
                  event time to_timestamp_ltz(ts@1, 3), watermark 5 s behind the largest
                  records that cannot be decoded go to the dead letters
        ",
    );
}

#[test]
fn a_join_with_bounds_on_both_sides_of_time_is_an_interval_join() {
    assert_graph(
        "CREATE MATERIALIZED VIEW v AS SELECT o.id, p.id AS pid FROM orders o JOIN payments p
         ON o.id = p.orderId AND p.pt BETWEEN o.rt - INTERVAL '5' MINUTE AND o.rt + INTERVAL '1' HOUR",
        "
        sink v: live (id, pid) key () retention None by None
          project 1: id, id@1 AS pid
            interval join 1: Inner on [id = orderId], right pt - left rt within [-300000000 us, 3600000000 us] · by key id · by key orderId · keeps state
              source orders: paper
                decodes ts, then id
                gives id, to_timestamp_ltz(ts@0, 3) AS rt
                event time to_timestamp_ltz(ts@0, 3), watermark 5 s behind the largest
                records that cannot be decoded go to the dead letters
              source payments: paper
                decodes pt, then id, orderId
                gives id, orderId, pt
                event time pt@0, watermark 0 s behind the largest
                records that cannot be decoded go to the dead letters
        ",
    );
}

#[test]
fn what_cannot_end_is_refused_with_what_to_write_instead() {
    let said = refusal("CREATE MATERIALIZED VIEW v AS SELECT o.id FROM orders o JOIN payments p ON o.id = p.orderId");
    assert!(said.contains("a regular INNER join is not supported yet"), "{said}");
}

#[test]
fn look() {
    let texts = std::fs::read_to_string("/tmp/look.sql").unwrap();
    for text in texts.split("\n---\n") {
        let text = if text.contains("INSERT") || text.contains("MATERIALIZED") { text.to_owned() } else { format!("CREATE MATERIALIZED VIEW v AS {text}") };
        match graph(&text) {
            Ok(graph) => println!("==== {text}\n{}", explain(&graph)),
            Err(fault) => {
                println!("==== {text}\nREFUSED {fault}");
                for p in pipelines(&text).into_iter().flatten() {
                    println!("{}", p.plan.display_indent());
                }
            }
        }
    }
}
