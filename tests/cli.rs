//! The command line as a person meets it: what it prints where, what it says of faults, its exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const ORDERS: &str = "CREATE TABLE orders (customer STRING, amount DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'orders.jsonl', 'format' = 'json');
";

const LINES: &str = r#"{"customer": "ann", "amount": 2, "ts": "2024-01-01 12:00:01"}
no JSON
{"customer": "bob", "amount": 3, "ts": "2024-01-01 12:00:40"}
"#;

/// A folder with the orders; each text is a file `name.sql` in it that begins with their table.
fn folder(texts: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("orders.jsonl"), LINES).unwrap();
    for (name, text) in texts {
        fs::write(dir.path().join(name), format!("{ORDERS}{text}")).unwrap();
    }
    dir
}

fn eagre(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eagre")).current_dir(dir).args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG").output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_bare_select_prints_and_rows_that_reach_no_result_are_told_and_kept() {
    let dir = folder(&[("a.sql", "SELECT customer, amount * 2 AS twice FROM orders;")]);
    let ran = eagre(dir.path(), &["run", "a.sql"]);
    assert_eq!((ran.status.code(), out(&ran).as_str()), (Some(0), "+I[ann, 4.0]\n+I[bob, 6.0]\n"), "{}", err(&ran));
    assert!(err(&ran).contains("rows that reached no result: 1 at orders (undecodable)"), "{}", err(&ran));
    assert!(!err(&ran).contains('\u{1b}'), "no colours where there is no terminal: {}", err(&ran));
    let letters = eagre(
        dir.path(),
        &["sql", "a.sql", "--format", "csv", "-c", "SELECT source, reason, CAST(record AS STRING) AS r FROM dead_letters"],
    );
    assert_eq!(out(&letters), "source,reason,r\norders,undecodable,no JSON\n", "{}", err(&letters));
}

#[test]
fn check_warns_of_patterns_that_overlap_unasked_or_wait_for_ever() {
    let dir = folder(&[(
        "a.sql",
        "CREATE TABLE live (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'log');
CREATE VIEW rising AS SELECT * FROM live MATCH_RECOGNIZE (
  PARTITION BY k ORDER BY ts MEASURES B.v AS v, MATCH_ROWTIME() AS mt PATTERN (A B) DEFINE B AS B.v > A.v);
CREATE MATERIALIZED VIEW r WITH ('retention' = '1 d') AS SELECT * FROM rising;
",
    )]);
    let checked = eagre(dir.path(), &["check", "a.sql"]);
    assert_eq!(checked.status.code(), Some(0), "{}", err(&checked));
    let place = "a.sql:4:42: MATCH_RECOGNIZE without";
    assert!(err(&checked).contains(&format!("{place} AFTER MATCH SKIP looks for the next match from the row after")), "{}", err(&checked));
    assert!(err(&checked).contains(&format!("{place} WITHIN keeps the rows of a match that has begun")), "{}", err(&checked));
    let told = fs::read_to_string(dir.path().join("a.sql")).unwrap();
    let told = told.replace("PATTERN (A B)", "AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) WITHIN INTERVAL '1' HOUR");
    fs::write(dir.path().join("a.sql"), told).unwrap();
    let checked = eagre(dir.path(), &["check", "a.sql"]);
    assert!(!err(&checked).contains("MATCH_RECOGNIZE"), "{}", err(&checked));
}

#[test]
fn check_tells_every_fault_in_one_go_and_no_consequence() {
    let dir = folder(&[(
        "a.sql",
        "CREATE TABLE broken (a STRIN) WITH ('connector' = 'print');
CREATE TABLE sink (c STRING, n BIGINT) WITH ('connector' = 'print');
CREATE TABLE other (c STRING, n BIGINT) WITH ('connector' = 'prnt');
INSERT INTO broken SELECT customer FROM orders;
INSERT INTO sink SELECT customer, COUNT(*) FROM orders GROUP BY customer;
INSERT INTO sink SELECT custmer, 1 FROM orders;
INSERT INTO other SELECT customer, 1 FROM orders;
CREATE VIEW v AS SELECT nothing FROM orders;
INSERT INTO sink SELECT nothing, 1 FROM v;
SET 'paralelism' = '2';
SELECT a FROM broken;
SELEC 1;
",
    )]);
    let checked = eagre(dir.path(), &["check", "a.sql"]);
    let told = err(&checked);
    let lines: Vec<&str> = told.lines().collect();
    let wanted = [
        "error: a.sql:3:24: no type 'STRIN'; did you mean 'STRING'?",
        "error: a.sql:5:14: unknown connector 'prnt'; did you mean 'print'?",
        "error: a.sql:7:65: GROUP BY (or DISTINCT) without a window is not supported yet",
        "error: a.sql:8:25: no column 'custmer'; did you mean 'customer'?",
        "error: a.sql:10:25: no column 'nothing'; there are customer, amount, ts",
        "error: a.sql:12:5: unknown setting 'paralelism'; did you mean 'parallelism'?",
        "error: a.sql:14:1: no statement begins with 'SELEC'; did you mean 'SELECT'?",
    ];
    assert_eq!((checked.status.code(), lines.len()), (Some(2), wanted.len()), "{told}");
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line}\n{wanted}");
    }
}

#[test]
fn a_named_query_is_checked_and_read_by_its_name() {
    let dir = folder(&[]);
    let queries = dir.path().join("queries");
    fs::create_dir(&queries).unwrap();
    fs::write(dir.path().join("eagre.yaml"), "name: named\n").unwrap();
    fs::write(queries.join("10.sql"), format!("{ORDERS}CREATE MATERIALIZED VIEW kept AS SELECT customer, amount FROM orders;")).unwrap();
    fs::write(queries.join("dear.sql"), "SELECT customer FROM kept WHERE amount > 2").unwrap();
    assert_eq!(eagre(dir.path(), &["run"]).status.code(), Some(0));
    let asked = eagre(dir.path(), &["sql", "--format", "csv", "-c", "SELECT * FROM dear"]);
    assert_eq!(out(&asked), "customer\nbob\n", "{}", err(&asked));
    fs::write(queries.join("dear.sql"), "SELECT custmer FROM kept").unwrap();
    let checked = eagre(dir.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(2));
    assert_eq!(err(&checked), "error: ./queries/dear.sql:1:8: no column 'custmer'; did you mean 'customer'?\n");
}

#[test]
fn a_finished_run_can_be_gone_on_with_and_says_what_begins_anew() {
    let dir = folder(&[(
        "a.sql",
        "CREATE TABLE out (customer STRING) WITH ('connector' = 'filesystem', 'path' = 'out', 'format' = 'raw');
INSERT INTO out SELECT customer FROM orders;
CREATE MATERIALIZED VIEW kept AS SELECT customer FROM orders;",
    )]);
    assert_eq!(eagre(dir.path(), &["run", "a.sql"]).status.code(), Some(0));
    for (more, wanted) in [("cid", "ann bob cid"), ("dan", "ann bob cid dan")] {
        let mut orders = fs::read_to_string(dir.path().join("orders.jsonl")).unwrap();
        orders.push_str(&format!("{{\"customer\": \"{more}\", \"amount\": 1, \"ts\": \"2024-01-01 12:01:00\"}}\n"));
        fs::write(dir.path().join("orders.jsonl"), orders).unwrap();
        let again = eagre(dir.path(), &["run", "a.sql", "--restore", "latest"]);
        assert_eq!(again.status.code(), Some(0), "{}", err(&again));
        assert!(
            err(&again).contains("its run had finished: the windows, joins and OVER frames that its end closed begin anew"),
            "{}",
            err(&again)
        );
        let parts = fs::read_dir(dir.path().join("out")).unwrap().map(|part| fs::read_to_string(part.unwrap().path()).unwrap());
        let mut written: Vec<String> = parts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        written.sort_unstable();
        assert_eq!(written.join(" "), wanted);
        let kept = eagre(dir.path(), &["sql", "a.sql", "--format", "csv", "-c", "SELECT customer FROM kept ORDER BY customer"]);
        assert_eq!(out(&kept), format!("customer\n{}\n", wanted.replace(' ', "\n")), "{}", err(&kept));
    }
}

#[test]
fn a_folder_that_was_renamed_is_told_where_its_state_is() {
    let dir = tempfile::tempdir().unwrap();
    let shop = dir.path().join("shop");
    fs::create_dir_all(shop.join("queries")).unwrap();
    fs::write(shop.join("orders.jsonl"), LINES).unwrap();
    fs::write(shop.join("queries/a.sql"), format!("{ORDERS}CREATE MATERIALIZED VIEW kept AS SELECT customer FROM orders;")).unwrap();
    let first = eagre(dir.path(), &["run", "shop"]);
    assert_eq!(first.status.code(), Some(0), "{}", err(&first));
    assert!(!err(&first).contains("has no state yet"), "{}", err(&first));
    fs::rename(&shop, dir.path().join("market")).unwrap();
    let moved = eagre(dir.path(), &["run", "market"]);
    assert!(
        err(&moved).contains("'market' has no state yet, but '.eagre' holds that of 'shop': if the folder was renamed, set 'name'"),
        "{}",
        err(&moved)
    );
    let again = eagre(dir.path(), &["run", "market"]);
    assert!(!err(&again).contains("has no state yet"), "{}", err(&again));
}

#[test]
fn check_warns_of_what_is_probably_not_meant() {
    let dir = folder(&[(
        "a.sql",
        "CREATE TABLE made (k STRING, ts TIMESTAMP(3)) WITH ('connector' = 'datagen', 'rows-per-second' = '1');
CREATE TABLE topic (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'log', 'format' = 'json', 'scan.watermark.idle-timeout' = '2 s');
INSERT INTO topic SELECT * FROM made;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM topic;",
    )]);
    let checked = eagre(dir.path(), &["check", "a.sql"]);
    assert_eq!(checked.status.code(), Some(0), "{}", err(&checked));
    assert!(err(&checked).contains("live table 'kept' keeps every row for ever"), "{}", err(&checked));
    assert!(err(&checked).contains("table 'topic' counts as idle after 2000 ms"), "{}", err(&checked));
}

#[test]
fn exit_codes_and_messages_say_what_to_do() {
    let dir = folder(&[("a.sql", "CREATE TABLE t (c STRING) WITH ('connector' = 'print');\nINSERT INTO t SELECT customer FROM orders;")]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let wrong: [(&[&str], i32, &str); 12] = [
        (&["run", "b.sql"], 3, "there is no 'b.sql'; did you mean 'a.sql'?"),
        (&["run"], 2, "'.' is no project folder"),
        (&["run", "a.sql", "--pg-listen", &taken], 3, "the port is taken; name another one with this option"),
        (&["run", "a.sql", "--pg-listen", "0.0.0.0:0"], 2, "neither a token nor TLS is set"),
        (
            &["run", "a.sql", "--http-listen", "here"],
            2,
            "--http-listen: setting 'http.listen': 'here' is not an address; expected host:port",
        ),
        (&["run", "a.sql", "--set", "paralelism=2"], 2, "--set: unknown setting 'paralelism'; did you mean 'parallelism'?"),
        (&["run", "a.sql", "--parallelism", "0"], 2, "it must be above zero"),
        (&["run", "a.sql", "--restore", "7"], 2, "no checkpoint 7 in ./.eagre/a/checkpoints; there is none yet"),
        (&["run", "a.sql", "--data-dir", "orders.jsonl"], 3, "cannot be made"),
        (&["topics", "list"], 3, "there is no log in ./.eagre"),
        (&["topics", "list", "none"], 3, "there is no log in none/.eagre"),
        (&["init", "."], 2, "is there already"),
    ];
    for (arguments, code, text) in wrong {
        let ran = eagre(dir.path(), arguments);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {}", err(&ran));
        assert!(err(&ran).contains(text) && err(&ran).starts_with("error: "), "{arguments:?}: {}", err(&ran));
        assert_eq!(out(&ran), "", "{arguments:?}");
    }
    let told = eagre(dir.path(), &["--log-format", "json", "run", "b.sql"]);
    let line: serde_json::Value = serde_json::from_str(err(&told).trim()).unwrap();
    assert_eq!((line["level"].as_str(), told.status.code()), (Some("ERROR"), Some(3)), "{line}");
}

#[test]
fn a_table_whose_records_change_rows_is_read_as_it_stands_after_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write(
        "changes.jsonl",
        r#"{"before": null, "after": {"id": 1, "name": "a"}, "op": "c"}
{"before": null, "after": {"id": 2, "name": "b"}, "op": "c"}
{"before": {"id": 1, "name": "a"}, "after": {"id": 1, "name": "c"}, "op": "u"}
{"before": {"id": 2, "name": "b"}, "after": null, "op": "d"}
{"before": null, "after": {"id": 3, "name": "d"}, "op": "c"}
"#,
    );
    write("rows.jsonl", "{\"id\": 1, \"name\": \"a\"}\n{\"id\": 1, \"name\": \"c\"}\n{\"id\": 3, \"name\": \"d\"}\n");
    let with = "WITH ('connector' = 'log', 'format' = 'debezium-json')";
    write("keyed.sql", &format!("CREATE TABLE products (id INT, name STRING, PRIMARY KEY (id) NOT ENFORCED) {with};"));
    write("bare.sql", &format!("CREATE TABLE products (id INT, name STRING) {with};"));
    write(
        "upserts.sql",
        "CREATE TABLE made (id INT, name STRING) WITH ('connector' = 'filesystem', 'path' = 'rows.jsonl', 'format' = 'json');
         CREATE TABLE products (id INT, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'upsert-log', 'topic' = 'by_key');
         INSERT INTO products SELECT id, name FROM made;",
    );
    let put = eagre(dir.path(), &["topics", "put", "products", "changes.jsonl", "--partition", "0"]);
    let ran = eagre(dir.path(), &["run", "upserts.sql"]);
    assert!(put.status.success() && ran.status.success(), "{}{}", err(&put), err(&ran));
    for file in ["keyed.sql", "bare.sql", "upserts.sql"] {
        for (sql, rows) in [
            ("SELECT name FROM products ORDER BY id", "name\nc\nd\n"),
            ("SELECT COUNT(*) AS n FROM products", "n\n2\n"),
            ("SELECT name, id FROM products WHERE id = 1", "name,id\nc,1\n"),
        ] {
            let ran = eagre(dir.path(), &["sql", file, "--format", "csv", "-c", sql]);
            assert_eq!((out(&ran).as_str(), ran.status.code()), (rows, Some(0)), "{file}: {sql}: {}", err(&ran));
        }
    }
}

#[test]
fn what_the_project_declares_is_not_dropped() {
    let dir = folder(&[("a.sql", "CREATE VIEW v AS SELECT customer FROM orders;")]);
    for what in ["TABLE orders", "TABLE IF EXISTS orders", "VIEW v", "MATERIALIZED VIEW m"] {
        let ran = eagre(dir.path(), &["sql", "a.sql", "-c", &format!("DROP {what}")]);
        let told = format!("DROP {}: nothing is dropped here", what.replace("IF EXISTS ", ""));
        assert!(ran.status.code() == Some(2) && err(&ran).contains(&told), "{what}: {}", err(&ran));
    }
}

#[test]
fn a_view_of_the_session_may_be_dropped() {
    let dir = folder(&[("a.sql", "")]);
    let commands = ["-c", "CREATE VIEW v AS SELECT customer FROM orders", "-c", "DROP VIEW v", "-c", "SELECT * FROM v"];
    let ran = eagre(dir.path(), &[&["sql", "a.sql"], &commands[..]].concat());
    assert!(ran.status.code() == Some(2) && err(&ran).contains("no table or view 'v'"), "{}", err(&ran));
}

#[test]
fn the_brokers_for_trying_out_say_how_they_are_used() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/brokers");
    let told = Command::new("bash").args([script, "--help"]).output().unwrap();
    let text = out(&told);
    assert!(text.starts_with("Real brokers") && text.trim_end().ends_with("by another `up`."), "{text}");
}
