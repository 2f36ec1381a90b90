//! Texts of every form of statement, what they become, and what is said of those that are refused.

use super::catalog::{Catalog, ColumnKind, Entry};
use super::plan::Planner;
use super::statement::{DropKind, Insert, Spanned, Statement, parse};
use super::types;
use crate::error::Result;

/// Declares, plans, and returns the plans.
fn plans(text: &str) -> Result<Vec<String>> {
    let mut catalog = Catalog::new();
    let mut plans = Vec::new();
    for statement in parse(text, "q.sql")? {
        if catalog.apply(&statement)? {
            continue;
        }
        let planner = Planner::new(&catalog);
        let mut insert = |insert: &Insert| planner.plan_insert(insert).map(|p| plans.push(p.rows.display_indent().to_string()));
        match &statement.value {
            Statement::Insert(one) => insert(one)?,
            Statement::StatementSet(all) => all.iter().try_for_each(insert)?,
            Statement::Query(query) => plans.push(planner.plan_query(query)?.display_indent().to_string()),
            _ => {}
        }
    }
    Ok(plans)
}

/// What is said of a text that cannot be read or planned.
fn fault(text: &str) -> String {
    match plans(text) {
        Ok(plans) => panic!("{text}\nwas planned as {plans:#?}"),
        Err(error) => error.to_string(),
    }
}

/// The only statement of a text.
fn one(text: &str) -> Statement {
    let mut statements = parse(text, "q.sql").unwrap();
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0).value
}

const EVENTS: &str = "CREATE TABLE events (k STRING, n INT, amount DOUBLE, ts BIGINT, tags ARRAY<STRING>,
    rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND) WITH ('connector' = 'datagen');\n";

#[test]
fn a_table_has_columns_of_every_kind() {
    let text = "
        -- what Flink takes
        CREATE TEMPORARY TABLE IF NOT EXISTS `my table` (
          `user id` BIGINT NOT NULL COMMENT 'who',
          d DECIMAL(12, 2), c CHAR(3), b BYTES, day DATE, at TIME(0), t3 TIMESTAMP(3), t TIMESTAMP, /* six digits */
          ltz TIMESTAMP_LTZ(3), ltz6 TIMESTAMP(6) WITH LOCAL TIME ZONE,
          r ROW<a INT, `b c` ARRAY<ROW<x STRING NOT NULL>>>, m MAP<STRING, ARRAY<INT>>,
          `offset` BIGINT METADATA VIRTUAL, stamp TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
          twice AS `user id` * 2,
          WATERMARK FOR t3 AS t3 - INTERVAL '1' MINUTE,
          CONSTRAINT pk PRIMARY KEY (`user id`) NOT ENFORCED
        ) COMMENT 'a table' WITH ('connector' = 'log', 'topic' = 'it''s');";
    let Statement::CreateTable { table, if_not_exists: true } = one(text) else { panic!("no table") };
    assert_eq!(table.name, "my table");
    assert_eq!(table.primary_key, ["user id"]);
    assert_eq!(table.options["topic"].value, "it's");
    assert_eq!(table.options["topic"].place.to_string(), "q.sql:12:56");
    assert!(matches!(&table.columns[12].kind, ColumnKind::Metadata { key, is_virtual: true } if key == "offset"));
    assert!(matches!(&table.columns[13].kind, ColumnKind::Metadata { key, is_virtual: false } if key == "timestamp"));
    let mut catalog = Catalog::new();
    catalog.create_table(table, false).unwrap();
    let Entry::Table(table) = catalog.get("my table").unwrap() else { panic!("no table") };
    let schema: Vec<String> = table
        .schema
        .fields()
        .iter()
        .map(|f| format!("{} {}{}", f.name(), types::name(f.data_type()), if f.is_nullable() { "" } else { " NOT NULL" }))
        .collect();
    assert_eq!(
        schema,
        [
            "user id BIGINT NOT NULL",
            "d DECIMAL(12, 2)",
            "c STRING",
            "b BYTES",
            "day DATE",
            "at TIME(3)",
            "t3 TIMESTAMP(3)",
            "t TIMESTAMP(6)",
            "ltz TIMESTAMP_LTZ(3)",
            "ltz6 TIMESTAMP_LTZ(6)",
            "r ROW<`a` INT, `b c` ARRAY<ROW<`x` STRING>>>",
            "m MAP<STRING, ARRAY<INT>>",
            "offset BIGINT",
            "stamp TIMESTAMP_LTZ(3)",
            "twice BIGINT NOT NULL",
        ]
    );
    assert_eq!(table.computed.keys().copied().collect::<Vec<_>>(), [14]);
    assert_eq!(table.watermark.as_ref().map(|_| table.def.watermark.as_ref().unwrap().column.as_str()), Some("t3"));
}

#[test]
fn each_statement_is_known() {
    assert!(matches!(one("CREATE VIEW v AS SELECT 1"), Statement::CreateView(v) if !v.temporary && v.columns.is_empty()));
    assert!(
        matches!(one("CREATE TEMPORARY VIEW IF NOT EXISTS v (a) COMMENT 'x' AS (SELECT 1)"), Statement::CreateView(v) if v.if_not_exists && v.columns == ["a"])
    );
    let mv = "CREATE MATERIALIZED VIEW v (PRIMARY KEY (a, b) NOT ENFORCED) WITH ('retention' = '30 d') AS SELECT 1 AS a, 2 AS b";
    assert!(matches!(one(mv), Statement::CreateMaterializedView(v) if v.primary_key.len() == 2 && v.options["retention"].value == "30 d"));
    assert!(matches!(one("INSERT INTO t (a, b) SELECT 1, 2"), Statement::Insert(i) if i.columns.as_ref().is_some_and(|c| c.len() == 2)));
    assert!(matches!(one("INSERT INTO t (SELECT 1)"), Statement::Insert(i) if i.columns.is_none()));
    assert!(matches!(one("INSERT INTO t VALUES (1, 'a'), (2, 'b')"), Statement::Insert(_)));
    let set = "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END;";
    assert!(matches!(one(set), Statement::StatementSet(s) if s.len() == 2));
    let set = "BEGIN STATEMENT SET;\n INSERT INTO a SELECT 1;\n END;";
    assert!(matches!(one(set), Statement::StatementSet(s) if s.len() == 1));
    assert!(matches!(one("SET 'a.b'='c';"), Statement::Set { key, value } if key.value == "a.b" && value == "c"));
    assert!(
        matches!(one("SET parallelism.default = 4"), Statement::Set { key, value } if key.value == "parallelism.default" && value == "4")
    );
    assert!(matches!(one("SET"), Statement::ShowSet));
    assert!(matches!(one("RESET 'a.b'"), Statement::Reset { key: Some(_) }));
    assert!(matches!(one("RESET;"), Statement::Reset { key: None }));
    assert!(matches!(one("EXPLAIN PLAN FOR SELECT 1"), Statement::Explain(s) if matches!(s.value, Statement::Query(_))));
    assert!(matches!(one("DESCRIBE system.operators"), Statement::Describe(n) if n.value == "system.operators"));
    assert!(matches!(one("DESC `t`"), Statement::Describe(n) if n.value == "t"));
    assert!(matches!(one("SHOW TABLES"), Statement::ShowTables));
    assert!(matches!(one("SHOW VIEWS"), Statement::ShowViews));
    assert!(matches!(one("DROP TEMPORARY VIEW IF EXISTS v"), Statement::Drop { kind: DropKind::View, if_exists: true, .. }));
    assert!(matches!(one("DROP MATERIALIZED VIEW v"), Statement::Drop { kind: DropKind::MaterializedView, .. }));
    assert!(matches!(one("WITH x AS (SELECT 1) SELECT * FROM x"), Statement::Query(_)));
    assert!(parse(" ;; -- nothing\n /* at all */ ;", "q.sql").unwrap().is_empty());
}

#[test]
fn every_statement_that_cannot_be_read_is_told_with_its_place() {
    let text =
        "SELECT 1;\nCREAT TABLE t (a INT);\nCREATE TABLE t (a INT b INT);\nINSERT INTO;\nCREATE TABLE t (a STING);\nSELECT FROM WHERE;";
    let faults: Vec<String> = parse(text, "f.sql").unwrap_err().each().map(ToString::to_string).collect();
    let first_lines: Vec<&str> = faults.iter().map(|f| f.lines().next().unwrap()).collect();
    assert_eq!(faults.len(), 5, "{faults:#?}");
    assert!(first_lines[0].starts_with("f.sql:2:1: no statement begins with 'CREAT'; did you mean 'CREATE'?"), "{faults:#?}");
    assert_eq!(first_lines[1], "f.sql:3:23: expected ',' or ')' after a column, found b");
    assert_eq!(first_lines[2], "f.sql:4:12: expected identifier, but the statement ends here");
    assert_eq!(first_lines[3], "f.sql:5:19: no type 'STING'; did you mean 'STRING'?");
    assert!(first_lines[4].starts_with("f.sql:6:"), "{faults:#?}");
}

#[test]
fn what_is_not_supported_is_refused_by_name_with_its_place() {
    for (query, wanted) in [
        ("SELECT * FROM events FOR SYSTEM_TIME AS OF events.rt", "q.sql:3:15: FOR SYSTEM_TIME AS OF (temporal join) is not supported yet"),
        ("SELECT * FROM events AS e TABLESAMPLE (10 ROWS)", "q.sql:3:15: TABLESAMPLE is not supported"),
        ("SELECT * FROM events PIVOT (SUM(n) FOR k IN ('a'))", "q.sql:3:15: PIVOT is not supported"),
        ("SELECT * FROM events /*+ OPTIONS('a'='b') */", "q.sql:3:22: hints (/*+ … */) are not supported"),
        ("SELECT * FROM LATERAL f(1)", "q.sql:3:23: LATERAL f(…) is not supported"),
        ("SELECT * FROM evnts", "q.sql:3:15: no table or view 'evnts'; did you mean 'events'?"),
        ("SELECT * FROM db.events", "q.sql:3:15: 'db.events': catalogs and databases are not supported, name the table alone"),
        ("SELECT amont FROM events", "q.sql:3:8: no column 'amont'; did you mean 'amount'?"),
        ("SELECT e.amont FROM events e", "q.sql:3:8: no column 'amont' in 'e'; did you mean 'amount'?"),
        ("SELECT \"k\" FROM events", "q.sql:3:8: \"k\": names are quoted with backticks, texts with single quotes"),
        (
            "SELECT * FROM TABLE(TUMBEL(TABLE events, DESCRIPTOR(rt), INTERVAL '1' SECOND))",
            "q.sql:3:21: no table function 'TUMBEL'; did you mean 'TUMBLE'?",
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(tr), INTERVAL '1' SECOND))",
            "q.sql:3:53: no column 'tr'; there are k, n, amount, ts, tags, rt",
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND))",
            "q.sql:3:21: DESCRIPTOR(ts) is Int64; a window needs a TIMESTAMP or TIMESTAMP_LTZ column",
        ),
        ("SELECT * FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(rt)))", "q.sql:3:21: TUMBLE(DATA, TIMECOL, SIZE, OFFSET): SIZE is missing"),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(rt), SISE => INTERVAL '1' SECOND))",
            "q.sql:3:58: TUMBLE(DATA, TIMECOL, SIZE, OFFSET) has no argument 'SISE'; did you mean 'SIZE'?",
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(rt), INTERVAL '1' MONTH))",
            "q.sql:3:67: 'INTERVAL '1' MONTH' has months or years, which differ in length; expected a length in days or less",
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE events PARTITION BY k, DESCRIPTOR(rt), INTERVAL '1' SECOND))",
            "q.sql:3:21: PARTITION BY belongs to SESSION; TUMBLE is over the whole table",
        ),
        ("SELECT SPLIT_INDX(k, ',', 1) FROM events", "q.sql:3:8: no function 'split_indx'; did you mean 'split_index'?"),
        (
            "SELECT COUNT(*) FROM events GROUP BY TUMBLE(rt, INTERVAL '1' MINUTE)",
            "q.sql:3:38: TUMBLE(…) among expressions is not supported; use the table function: FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end",
        ),
        ("ALTER TABLE events ADD x INT", "q.sql:3:1: ALTER is not supported"),
        ("CREATE FUNCTION f AS 'x'", "q.sql:3:8: CREATE FUNCTION is not supported"),
        (
            "INSERT OVERWRITE events SELECT 1",
            "q.sql:3:1: INSERT OVERWRITE is not supported; a table or file sink begins empty when a pipeline starts afresh",
        ),
        ("CREATE TABLE events (a INT)", "q.sql:3:14: 'events' is there already: a table"),
        ("DROP VIEW events", "q.sql:3:11: 'events' is a table; drop it as such"),
        ("CREATE TABLE t (a INT, A INT, a INT)", "q.sql:3:31: column 'a' is declared twice in 't'"),
        ("CREATE TABLE t (a INT, PRIMARY KEY (b) NOT ENFORCED)", "q.sql:3:37: PRIMARY KEY: no column 'b' in 't'"),
        (
            "CREATE TABLE t (a INT PRIMARY KEY)",
            "q.sql:3:34: expected NOT ENFORCED (keys are not checked, rows with the same key replace each other), found )",
        ),
        (
            "CREATE TABLE t (a BIGINT, WATERMARK FOR a AS a)",
            "q.sql:3:27: WATERMARK FOR a: it is BIGINT; event time is a TIMESTAMP or TIMESTAMP_LTZ (of an integer: TO_TIMESTAMP_LTZ(a, 3))",
        ),
        ("CREATE TABLE t (a INT, b AS c + 1)", "q.sql:3:29: no column 'c'; there are a"),
        (
            "CREATE TABLE t (a DECIMAL(50, 2))",
            "q.sql:3:19: DECIMAL(50, 2) needs a precision from 1 to 38 and a scale from 0 to the precision",
        ),
        ("CREATE TABLE t (a INT) WITH ('x' = '1', 'x' = '2')", "q.sql:3:41: option 'x' is given twice"),
        ("CREATE TABLE t (a INT) PARTITIONED BY (a)", "q.sql:3:24: PARTITIONED is not supported"),
        (
            "CREATE TABLE t WITH ('a' = 'b') AS SELECT 1",
            "q.sql:3:33: CREATE TABLE … AS is not supported; use CREATE TABLE and INSERT INTO, or CREATE MATERIALIZED VIEW",
        ),
        ("CREATE VIEW v (a, b) AS SELECT 1", "q.sql:3:13: view 'v' names 2 columns, its query has 1"),
        ("BEGIN STATEMENT SET; INSERT INTO events SELECT 1;", "q.sql:3:1: this statement set has no END"),
    ] {
        assert_eq!(fault(&format!("{EVENTS}{query}")), wanted, "{query}");
    }
}

#[test]
fn what_is_wrong_with_match_recognize_is_told_at_its_place() {
    const ORDER: &str = "the clauses come in the order PARTITION BY, ORDER BY, MEASURES, ONE ROW PER MATCH, AFTER MATCH SKIP, PATTERN, WITHIN, SUBSET, DEFINE";
    for (body, wanted) in [
        ("MEASURES A.amont AS x PATTERN (A B)", "4:12: no column 'amont'; did you mean 'amount'?"),
        ("MEASURES C.n AS x PATTERN (A B)", "4:10: PATTERN has no variable 'C'; there are A, B"),
        ("MEASURES hit.n AS x PATTERN (Hit)", "4:10: PATTERN has no variable 'hit'; did you mean 'Hit'?"),
        ("MEASURES A.n AS x PATTERN (A B) DEFINE C AS n > 1", "4:40: DEFINE C: PATTERN has no such variable; there are A, B"),
        (
            "MEASURES A.n AS x PATTERN (A B) SUBSET U = (A, B) DEFINE U AS n > 1",
            "4:58: DEFINE U: PATTERN has no such variable (it is a SUBSET: define its members); there are A, B",
        ),
        ("MEASURES A.n AS x PATTERN (A B) DEFINE A AS n > 1, A AS n > 2", "4:52: DEFINE A: it is defined twice"),
        ("MEASURES A.n AS x PATTERN (A B) DEFINE A AS n + 1", "4:45: DEFINE: this is INT; a condition is true or false"),
        ("MEASURES A.n AS x PATTERN (A B) SUBSET U = (A, C)", "4:48: PATTERN has no variable 'C'; there are A, B"),
        ("MEASURES A.n AS x PATTERN (A B) SUBSET A = (B)", "4:40: SUBSET A: there is a variable of this name already"),
        ("MEASURES A.n AS x AFTER MATCH SKIP TO LAST C PATTERN (A B)", "4:44: PATTERN has no variable 'C'; there are A, B"),
        (
            "MEASURES A.n AS x AFTER MATCH SKIP NEXT ROW PATTERN (A B)",
            "4:36: expected PAST LAST ROW, TO NEXT ROW, TO FIRST variable or TO LAST variable, found NEXT",
        ),
        ("MEASURES A.n AS x PATTERN (A B{3,2})", "4:35: PATTERN: the quantifier ends below its beginning, or allows no row at all"),
        ("MEASURES A.n AS x PATTERN (A B{x})", "4:32: PATTERN: a quantifier is {n}, {n,}, {n,m}, {,m} or {,}"),
        ("MEASURES A.n AS x PATTERN (A |)", "4:30: PATTERN: one side of '|' is missing; write () for no row"),
        ("MEASURES A.n AS x PATTERN (* A)", "4:28: PATTERN: '*' follows nothing that it could be said of"),
        ("MEASURES A.n AS x PATTERN (A {- B)", "4:33: PATTERN: expected '-', found the end"),
        ("MEASURES 1 AS x PATTERN (())", "3:22: PATTERN names no variable"),
        ("MEASURES 1 AS x PATTERN (A{1000}{1000})", "4:33: PATTERN: '{' follows nothing that it could be said of"),
        (
            "MEASURES 1 AS x PATTERN ((A{1000}){1000})",
            "3:22: the pattern is too long when its repetitions are spelled out: more than 100000 steps",
        ),
        ("MEASURES 1 AS x PATTERN (PERMUTE(A, B, C, D, E, F, G))", "3:22: PERMUTE of 7 parts; at most 6 can be spelled out"),
        ("MEASURES A.n AS x PATTERN (A) WITHIN 5", "4:38: '5' is no INTERVAL literal"),
        ("MEASURES A.n AS x PATTERN (A) WITHIN INTERVAL '0' SECOND", "4:47: WITHIN INTERVAL '0' SECOND: it must be longer than nothing"),
        ("PATTERN (A) MEASURES A.n AS x", "4:13: expected WITHIN, SUBSET, DEFINE or ')'; {ORDER}, found MEASURES"),
        ("MEASURES A.n AS x ALL ROWS PATTERN (A)", "4:19: expected PATTERN or a clause before it; {ORDER}, found ALL"),
        (
            "MEASURES A.n AS x ONE ROW PER MATCH WITH UNMATCHED ROWS PATTERN (A)",
            "4:37: expected another clause: OMIT EMPTY MATCHES and WITH UNMATCHED ROWS belong to ALL ROWS PER MATCH, found WITH",
        ),
        ("MEASURES A.n AS k PATTERN (A)", "4:17: MATCH_RECOGNIZE: two of its columns are called 'k'"),
        ("MEASURES A.n x PATTERN (A)", "4:14: expected AS, found x"),
        ("MEASURES COUNT(DISTINCT A.n) AS x PATTERN (A)", "4:10: COUNT(DISTINCT …) is not supported in MATCH_RECOGNIZE"),
        (
            "MEASURES SUM(A.n + B.n) AS x PATTERN (A B)",
            "4:20: FIRST, LAST, PREV, NEXT and aggregates are about the rows of one variable, or of all",
        ),
        (
            "MEASURES FIRST(LAST(A.n)) AS x PATTERN (A)",
            "4:16: LAST(…) cannot stand inside of FIRST, LAST, PREV, NEXT or an aggregate; only PREV and NEXT take FIRST(…) and LAST(…)",
        ),
        (
            "MEASURES LAST(CLASSIFIER() || 'x') AS x PATTERN (A)",
            "4:15: CLASSIFIER(…) cannot be a part of what FIRST, LAST, PREV and NEXT take; aggregates can read it",
        ),
        (
            "MEASURES ARRAY_AGG(A.n || CLASSIFIER(B)) AS x PATTERN (A B)",
            "4:27: FIRST, LAST, PREV, NEXT and aggregates are about the rows of one variable, or of all",
        ),
        ("MEASURES LAST(A.n, A.n) AS x PATTERN (A)", "4:20: LAST(…): 'A.n' is no number of rows"),
        (
            "MEASURES PREV(A.n, 10001) AS x PATTERN (A)",
            "4:10: PREV(…) goes 10001 rows, and so many of every partition would be kept; at most 10000",
        ),
        ("MEASURES MATCH_ROWTIME(ts) AS x PATTERN (A)", "4:10: MATCH_ROWTIME takes nothing, or the event-time column 'rt'"),
        ("MEASURES A.n AS x PATTERN (A) DEFINE A AS n > (SELECT 1)", "4:48: a query cannot stand in MATCH_RECOGNIZE"),
        (
            "MEASURES A.n AS x PATTERN (A) DEFINE A AS FINAL LAST(n) > 1",
            "4:43: FINAL belongs to MEASURES: a condition knows the rows up to its own only",
        ),
        (
            "MEASURES A.n AS x PATTERN (A) DEFINE A AS MATCH_ROWTIME() IS NOT NULL",
            "4:43: MATCH_ROWTIME() belongs to MEASURES: a condition does not know it yet",
        ),
        ("MEASURES SUM(A.n) OVER () AS x PATTERN (A)", "4:10: SUM(…) OVER cannot stand in MATCH_RECOGNIZE"),
    ] {
        let query = format!("SELECT * FROM events MATCH_RECOGNIZE (PARTITION BY k ORDER BY rt\n{body}) AS m");
        assert_eq!(fault(&format!("{EVENTS}{query}")), format!("q.sql:{}", wanted.replace("{ORDER}", ORDER)), "{body}");
    }
    for (query, wanted) in [
        (
            "SELECT * FROM events AS e MATCH_RECOGNIZE (ORDER BY rt MEASURES A.n AS x PATTERN (A))",
            "3:27: MATCH_RECOGNIZE stands right behind a table or a query in parentheses; a name for its rows comes after it: FROM t MATCH_RECOGNIZE (…) AS m",
        ),
        (
            "SELECT * FROM events MATCH_RECOGNIZE (PARTITION BY UPPER(k) ORDER BY rt MEASURES A.n AS x PATTERN (A))",
            "3:52: PARTITION BY of MATCH_RECOGNIZE takes columns of its table; compute 'UPPER(k)' in a query below",
        ),
        (
            "SELECT * FROM events MATCH_RECOGNIZE (MEASURES A.n AS x PATTERN (A))",
            "3:22: MATCH_RECOGNIZE needs ORDER BY: its event-time column, ascending",
        ),
        (
            "SELECT * FROM events MATCH_RECOGNIZE (ORDER BY n MEASURES A.n AS x PATTERN (A))",
            "3:48: ORDER BY of MATCH_RECOGNIZE begins with the event-time column, ascending; 'n' is INT",
        ),
        (
            "SELECT * FROM events MATCH_RECOGNIZE (ORDER BY rt DESC MEASURES A.n AS x PATTERN (A))",
            "3:48: ORDER BY of MATCH_RECOGNIZE begins with the event-time column, ascending; 'rt' is descending",
        ),
        (
            "SELECT * FROM events MATCH_RECOGNIZE (ORDER BY rt PATTERN (A))",
            "3:22: MATCH_RECOGNIZE without PARTITION BY and MEASURES has no columns; add MEASURES … AS …",
        ),
        ("SELECT FINAL LAST(n) FROM events", "3:8: FINAL belongs to MEASURES of MATCH_RECOGNIZE"),
    ] {
        assert_eq!(fault(&format!("{EVENTS}{query}")), format!("q.sql:{wanted}"), "{query}");
    }
}

#[test]
fn a_pattern_keeps_the_columns_that_it_reads_and_no_others() {
    let plan = plans(&format!(
        "{EVENTS}SELECT x FROM (SELECT k, n, amount, rt, tags FROM events) MATCH_RECOGNIZE (PARTITION BY k ORDER BY rt
         MEASURES LAST(B.amount) AS x PATTERN (A B) DEFINE A AS n > 1) WHERE k = 'a' AND x > 1;"
    ));
    let plan = plan.unwrap().join("");
    assert!(plan.contains("TableScan: events projection=[k, n, amount, rt], full_filters=[events.k = Utf8View(\"a\")]"), "{plan}");
    let all = plans(&format!(
        "{EVENTS}SELECT c, ts FROM events MATCH_RECOGNIZE (ORDER BY rt MEASURES CLASSIFIER() AS c ALL ROWS PER MATCH PATTERN (A));"
    ));
    let all = all.unwrap().join("");
    assert!(all.contains("TableScan: events projection=[ts, rt]"), "{all}");
}

#[test]
fn rows_fit_their_sink_by_position() {
    let sink = format!("{EVENTS}CREATE TABLE sink (name STRING, n BIGINT, x DOUBLE, twice AS n * 2, at TIMESTAMP(3), id INT NOT NULL);\n");
    let plan = &plans(&format!("{sink}INSERT INTO sink SELECT k, n, n, rt, n + 1 FROM events")).unwrap()[0];
    assert!(plan.starts_with("Projection: events.k AS name, CAST(events.n AS Int64) AS n, CAST(events.n AS Float64) AS x"), "{plan}");
    let plan = &plans(&format!("{sink}INSERT INTO sink (id, name) SELECT 1, k FROM events")).unwrap()[0];
    assert!(plan.starts_with("Projection: events.k AS name, Int64(NULL) AS n, Float64(NULL) AS x"), "{plan}");
    for (insert, wanted) in [
        ("INSERT INTO sink SELECT k FROM events", "q.sql:4:18: 'sink' takes 5 columns (name, n, x, at, id), the query gives 1 (k)"),
        (
            "INSERT INTO sink (id) SELECT k FROM events",
            "q.sql:4:23: column 1 of the query, 'k', is STRING; 'sink' takes INT for 'id' (CAST it)",
        ),
        ("INSERT INTO sink (name) SELECT k FROM events", "q.sql:4:25: 'id' of 'sink' is NOT NULL and must be named"),
        ("INSERT INTO sink (nam) SELECT k FROM events", "q.sql:4:19: no column 'nam' to write in 'sink'; did you mean 'name'?"),
        ("INSERT INTO sink (id, id) SELECT 1, 2", "q.sql:4:23: column 'id' is named twice"),
        ("INSERT INTO snk SELECT 1", "q.sql:4:13: no table or view 'snk'; did you mean 'sink'?"),
        ("CREATE VIEW v AS SELECT 1; INSERT INTO v SELECT 1", "q.sql:4:40: 'v' is a view; only tables can be inserted into"),
    ] {
        assert_eq!(fault(&format!("{sink}{insert}")), wanted, "{insert}");
    }
}

#[test]
fn the_forms_of_flink_are_planned() {
    let contains = |query: &str, wanted: &str| {
        let plan = plans(&format!("{EVENTS}{query}")).unwrap().join("\n");
        assert!(plan.contains(wanted), "{query}\n{plan}");
    };
    contains("SELECT k, tag FROM events CROSS JOIN UNNEST(tags) AS t (tag)", "Unnest:");
    contains("SELECT * FROM TABLE(SESSION(TABLE events PARTITION BY (k, n), DESCRIPTOR(rt), INTERVAL '30' MINUTE))", "Window: Session");
    contains(
        "SELECT * FROM TABLE(TUMBLE(DATA => TABLE (SELECT k, rt FROM events WHERE n > 1), TIMECOL => DESCRIPTOR(rt), SIZE => INTERVAL '1' DAY))",
        "full_filters=[events.n > Int32(1)]",
    );
    contains(
        "WITH e AS (SELECT * FROM events) SELECT * FROM TUMBLE(TABLE e, DESCRIPTOR(rt), INTERVAL '1' HOUR) AS w WHERE w.k = 'a'",
        "full_filters=[events.k = Utf8View(\"a\")]",
    );
    contains(
        "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY amount DESC) AS rn
         FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(rt), INTERVAL '1' HOUR))) WHERE rn <= 3",
        "row_number() PARTITION BY [window_start, window_end, events.k] ORDER BY [events.amount DESC NULLS LAST]",
    );
    contains(
        "SELECT k, COUNT(DISTINCT n), SUM(amount) FILTER (WHERE n > 0) FROM events GROUP BY GROUPING SETS ((k), ())",
        "count(DISTINCT events.n)",
    );
    contains("SELECT a.k FROM events a WHERE EXISTS (SELECT 1 FROM events b WHERE a.k = b.k)", "LeftSemi Join");
    contains("SELECT k FROM events UNION ALL SELECT k FROM events", "Union");
}

/// The texts of the benchmark as they are, with their places filled in.
#[test]
fn the_queries_of_the_benchmark_are_planned() {
    const COMMON: &str = "
SET 'execution.runtime-mode' = 'streaming';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE events (
  eventId STRING, `type` STRING, customerId STRING, orderId STRING, ts BIGINT, amount DOUBLE,
  rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND
) WITH ('connector'='filesystem', 'path'='file:///events.json', 'format'='json');
CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` BIGINT,
  rt AS TO_TIMESTAMP_LTZ(`dateTime`, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND
) WITH ('connector'='filesystem', 'path'='file:///bid.json', 'format'='json');
";
    let planned = |text: &str| plans(&format!("{COMMON}{text}")).unwrap().join("\n");

    let minute = planned(
        "
CREATE TABLE sink (customerId STRING, ws BIGINT, cnt BIGINT, total DOUBLE) WITH ('connector'='blackhole');
CREATE TEMPORARY VIEW orders AS SELECT customerId, amount, rt FROM events WHERE `type` = 'OrderCreated';
INSERT INTO sink
SELECT customerId, TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', window_start) * CAST(1000 AS BIGINT), COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(rt), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, customerId;",
    );
    assert!(
        minute.contains("TableScan: events projection=[customerId, amount, rt], full_filters=[events.type = Utf8View(\"OrderCreated\")]"),
        "{minute}"
    );

    let hot = planned(
        "
CREATE TABLE sink (ws BIGINT, auction BIGINT, num BIGINT) WITH ('connector'='blackhole');
CREATE TEMPORARY VIEW ab AS
 SELECT auction, COUNT(*) AS num, window_start AS s, window_end AS e
 FROM TABLE(HOP(TABLE bid, DESCRIPTOR(rt), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY auction, window_start, window_end;
CREATE TEMPORARY VIEW mb AS SELECT MAX(num) AS maxn, s, e FROM (SELECT num, s, e FROM ab) GROUP BY s, e;
INSERT INTO sink
SELECT TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', a.s) * CAST(1000 AS BIGINT), a.auction, a.num
FROM ab a JOIN mb m ON a.s = m.s AND a.e = m.e AND a.num = m.maxn;",
    );
    assert!(hot.contains("Join: a.s = m.s, a.e = m.e, a.num = m.maxn"), "{hot}");
    assert_eq!(hot.matches("TableScan: bid projection=[auction, rt]").count(), 2, "{hot}");

    let over = planned(
        "
CREATE TABLE sink (eventId STRING, customerId STRING, ts BIGINT, cnt BIGINT) WITH ('connector'='blackhole');
INSERT INTO sink
SELECT * FROM (
  SELECT eventId, customerId, ts, COUNT(*) OVER (PARTITION BY customerId ORDER BY rt
         RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW) AS cnt
  FROM events WHERE `type` = 'PaymentProcessed') WHERE cnt > 5;",
    );
    assert!(
        over.contains("RANGE BETWEEN IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 } PRECEDING AND CURRENT ROW"),
        "{over}"
    );

    let near = planned(
        "
CREATE TABLE sink (customerId STRING, ce STRING, oe STRING) WITH ('connector'='blackhole');
INSERT INTO sink
SELECT c.customerId, c.eventId, o.eventId FROM events c JOIN events o ON c.customerId = o.customerId
 AND o.rt BETWEEN c.rt - INTERVAL '5' MINUTE AND c.rt + INTERVAL '5' MINUTE;",
    );
    assert!(near.contains("Inner Join: c.customerId = o.customerId Filter: o.rt >= c.rt - "), "{near}");
}

#[test]
fn names_are_case_sensitive_and_dropped_names_are_free_again() {
    let mut catalog = Catalog::new();
    for statement in parse(
        "CREATE TABLE T (a INT); CREATE TABLE t (b INT); DROP TABLE T; CREATE VIEW T AS SELECT b FROM t; DROP TABLE IF EXISTS x",
        "q.sql",
    )
    .unwrap()
    {
        assert!(catalog.apply(&statement).unwrap());
    }
    let names: Vec<_> = catalog.entries().map(|(name, entry)| format!("{name} {}", entry.kind())).collect();
    assert_eq!(names, ["T view", "t table"]);
}

#[test]
fn a_parsed_statement_keeps_its_place() {
    let places: Vec<String> = parse("SELECT 1;\n\n  -- a remark\n  SELECT\n 2", "a.sql")
        .unwrap()
        .iter()
        .map(|s: &Spanned<Statement>| s.place.to_string())
        .collect();
    assert_eq!(places, ["a.sql:1:1", "a.sql:4:3"]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// Whatever is cut out of a text, doubled or put elsewhere: it is read or refused, and what is read can be declared
    /// or refused.
    #[test]
    fn mangled_texts_never_panic(cuts in proptest::collection::vec((0_usize..2000, 0_usize..40, 0_usize..2000), 1..6)) {
        let mut text: Vec<char> = format!("{EVENTS}{MANGLED}").chars().collect();
        for (at, length, to) in cuts {
            let at = at % text.len();
            let end = (at + length).min(text.len());
            let piece: Vec<char> = text.drain(at..end).collect();
            let to = to % (text.len() + 1);
            text.splice(to..to, piece);
        }
        let text: String = text.into_iter().collect();
        if let Ok(statements) = parse(&text, "m.sql") {
            let mut catalog = Catalog::new();
            for statement in statements {
                _ = catalog.apply(&statement);
            }
        }
    }
}

const MANGLED: &str = "
SET 'a' = 'b';
CREATE TABLE u (a ARRAY<ROW<x MAP<STRING, INT>>>, b DECIMAL(10, 2) METADATA FROM 'k' VIRTUAL, PRIMARY KEY (b) NOT ENFORCED) WITH ('x' = 'y');
CREATE VIEW v AS SELECT CAST(k AS INT), IF(n > 1, 'a', 'b'), MAP['x', 1]['x'], FLOOR(rt TO DAY), JSON_VALUE(k, '$.a' RETURNING INT)
  FROM TABLE(HOP(DATA => TABLE events, TIMECOL => DESCRIPTOR(rt), SLIDE => INTERVAL '1' MINUTE, SIZE => INTERVAL '1:30' MINUTE TO SECOND))
  WHERE k LIKE 'a%' AND TIMESTAMPDIFF(SECOND, rt, rt) < 1E3 GROUP BY GROUPING SETS ((k), ());
EXECUTE STATEMENT SET BEGIN INSERT INTO u SELECT * FROM v; END;
INSERT INTO u SELECT * FROM (SELECT * FROM events) MATCH_RECOGNIZE (PARTITION BY k ORDER BY rt, n DESC MEASURES FINAL LAST(A.n, 1) AS x
  ALL ROWS PER MATCH AFTER MATCH SKIP TO LAST B PATTERN (^ (A | B+?){2,3} {- C -} PERMUTE(A, B) $) WITHIN INTERVAL '1' HOUR SUBSET U = (A, B)
  DEFINE A AS A.n > PREV(n), B AS AVG(A.n) < 15) AS m;
DROP VIEW IF EXISTS v; /* end */
";
