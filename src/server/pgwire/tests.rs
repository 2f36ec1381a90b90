//! The door driven by psql and by a PostgreSQL client library.

use std::process::{Command, Output};
use std::time::Duration;

use super::*;
use crate::metrics::Metrics;
use crate::server::listen::listen;
use crate::server::queries::QueryLimits;
use crate::server::testing::orders;
use crate::table::{SystemSchema, Tables};

/// A door on a free port, over the table `orders`.
async fn door(token: Option<&str>, limits: QueryLimits) -> (u16, Tables, crate::table::TableWriter) {
    let (tables, writer) = orders();
    let queries = Queries::new(tables.clone(), SystemSchema::new(Metrics::default()), Arc::default(), &limits).unwrap();
    let guard = Guard::new(token.map(str::to_owned), None).unwrap();
    let listener = listen("--pg-listen", "127.0.0.1:0", &guard).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(listener, queries, guard));
    (port, tables, writer)
}

async fn psql(port: u16, password: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("psql");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "me", "-d", "eagre", "-X", "-A", "-t", "-w"]);
    command.args(arguments).env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "5");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn ask(port: u16, sql: &str) -> (String, String) {
    let output = psql(port, "", &["-c", sql]).await;
    (String::from_utf8(output.stdout).unwrap().trim_end().to_owned(), String::from_utf8(output.stderr).unwrap().trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_reads_tables_while_they_change() {
    let (port, tables, mut writer) = door(None, QueryLimits::default()).await;
    for (sql, want) in [
        ("SELECT id, amount, placed FROM orders WHERE id = 'o2'", "o2|20|1970-01-01 00:00:02.000000"),
        ("SELECT count(*), SUM(amount) FROM orders", "3|60"),
        ("SELECT \"id\" FROM orders ORDER BY amount DESC LIMIT 1", "o3"),
        (
            "SELECT window_start, SUM(amount) FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '2' SECOND)) GROUP BY window_start, window_end ORDER BY 1",
            "1970-01-01 00:00:00.000000|10\n1970-01-01 00:00:02.000000|50",
        ),
        ("SHOW TRANSACTION ISOLATION LEVEL", "read_committed"),
        ("SELECT name FROM system.metrics LIMIT 0", ""),
        ("BEGIN; SELECT 1; COMMIT", "BEGIN\n1\nCOMMIT"),
        ("SET application_name = 'x'", "SET"),
        ("SELECT amount::text, amount::float8, amount, amount FROM orders WHERE id = 'o2'", "20|20.0|20|20"),
        ("SELECT amount, * FROM orders WHERE id = 'o2'", "20|o2|20|1970-01-01 00:00:02.000000"),
        ("SELECT amount::text FROM orders ORDER BY amount LIMIT 2", "10\n20"),
        ("SELECT -amount::float8 FROM orders ORDER BY 1 LIMIT 1", "-30.0"),
        ("SELECT named_struct('n', 1, 'none', NULL, 'empty', '', 'text', 'a, \"b\"')", r#"(1,,"","a, ""b""")"#),
        (
            "BEGIN; DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY id; FETCH 2 FROM c; FETCH 2 FROM c; FETCH 2 FROM c",
            "BEGIN\nDECLARE CURSOR\no1\no2\no3",
        ),
    ] {
        assert_eq!(ask(port, sql).await, (want.to_owned(), String::new()), "{sql}");
    }
    crate::server::testing::write_orders(&mut writer, &[("o2", 99, 2), ("o4", 1, 4)]);
    writer.cut(2).unwrap();
    tables.publish(2);
    assert_eq!(ask(port, "SELECT count(*), SUM(amount) FROM orders").await.0, "4|140");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_describes_tables() {
    let (port, ..) = door(None, QueryLimits::default()).await;
    let (listed, errors) = ask(port, "\\dt").await;
    assert!(errors.is_empty() && listed.contains("public|orders|table"), "{listed}\n{errors}");
    let (described, errors) = ask(port, "\\d orders").await;
    assert!(errors.is_empty(), "{errors}");
    for column in ["id|", "amount|bigint", "placed|timestamp without time zone"] {
        assert!(described.contains(column), "{described}");
    }
    let (listed, errors) = ask(port, "\\d").await;
    assert!(errors.is_empty() && listed.contains("orders"), "{listed}\n{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_writes_is_refused_by_name() {
    let (port, ..) = door(None, QueryLimits::default()).await;
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("out.csv");
    let file = file.to_str().unwrap();
    for (sql, name) in [
        ("INSERT INTO orders VALUES ('x', 1, NULL)", "INSERT"),
        ("UPDATE orders SET amount = 0", "UPDATE"),
        ("DELETE FROM orders", "DELETE"),
        ("TRUNCATE orders", "TRUNCATE"),
        ("CREATE TABLE t (a INT)", "CREATE TABLE"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
        ("DROP TABLE orders", "DROP TABLE"),
        ("ALTER TABLE orders ADD COLUMN b INT", "ALTER TABLE"),
        (&format!("COPY orders TO '{file}'"), "COPY"),
        (&format!("COPY (SELECT 1) TO '{file}'"), "COPY"),
        (&format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{file}'"), "CREATE EXTERNAL"),
        ("SELECT 1 AS a INTO t2", "CreateMemoryTable"),
        ("EXPLAIN INSERT INTO orders VALUES ('x', 1, NULL)", "INSERT"),
        ("SET datafusion.runtime.memory_limit = '100G'", "SET datafusion.runtime.memory_limit"),
        ("PREPARE p AS INSERT INTO orders VALUES ('x', 1, NULL)", "PREPARE"),
    ] {
        let (out, errors) = ask(port, sql).await;
        assert!(out.is_empty() && errors.contains(name), "{sql}: {out} {errors}");
    }
    for sql in ["INSERT INTO orders VALUES ('x', 1, NULL)", "COPY (SELECT 1) TO '/tmp/x'"] {
        assert!(ask(port, sql).await.1.contains("this door is read-only"));
    }
    assert_eq!(ask(port, "SELECT count(*) FROM orders").await.0, "3");
    assert!(!std::path::Path::new(file).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_as_password() {
    let (port, ..) = door(Some("secret"), QueryLimits::default()).await;
    let right = psql(port, "secret", &["-c", "SELECT 1"]).await;
    assert_eq!(String::from_utf8_lossy(&right.stdout).trim(), "1");
    let wrong = psql(port, "guess", &["-c", "SELECT 1"]).await;
    let errors = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && errors.contains("takes the token as password"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_statement_reads_anew_each_time() {
    let (port, tables, mut writer) = door(None, QueryLimits::default()).await;
    let (client, connection) =
        tokio_postgres::connect(&format!("host=127.0.0.1 port={port} user=me"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let prepared = client.prepare("SELECT amount FROM orders WHERE id = $1 AND amount > $2::bigint").await.unwrap();
    let amount = |rows: Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>();
    assert_eq!(amount(client.query(&prepared, &[&"o2", &5_i64]).await.unwrap()), [20]);
    crate::server::testing::write_orders(&mut writer, &[("o2", 99, 2)]);
    writer.cut(2).unwrap();
    tables.publish(2);
    assert_eq!(amount(client.query(&prepared, &[&"o2", &5_i64]).await.unwrap()), [99]);
    assert!(client.query("INSERT INTO orders VALUES ('x', 1, NULL)", &[]).await.unwrap_err().to_string().contains("db error"));
    assert_eq!(amount(client.query(&prepared, &[&"none", &5_i64]).await.unwrap()), [0_i64; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_at_its_time_limit_or_when_it_is_cancelled() {
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000) b WHERE a.value % 7 = b.value";
    let (port, ..) = door(None, QueryLimits { timeout: Duration::from_millis(300), ..QueryLimits::default() }).await;
    let (_, errors) = ask(port, endless).await;
    assert!(errors.contains("time limit"), "{errors}");
    let (port, ..) = door(None, QueryLimits::default()).await;
    let (client, connection) =
        tokio_postgres::connect(&format!("host=127.0.0.1 port={port} user=me"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let cancel = client.cancel_token();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    });
    let error = client.simple_query(endless).await.unwrap_err();
    assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::QUERY_CANCELED), "{error}");
    assert!(client.simple_query("SELECT 1").await.is_ok(), "the connection lives on");
}

/// The names of the columns, as psql heads them.
async fn heads(port: u16, sql: &str) -> String {
    let output = psql(port, "", &["-P", "tuples_only=off", "-P", "footer=off", "-c", &format!("{sql} LIMIT 0")]).await;
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_have_the_names_that_postgresql_gives_them() {
    let (port, ..) = door(None, QueryLimits::default()).await;
    for (sql, names) in [
        ("SELECT amount::text, amount::float8 FROM orders", "amount|amount"),
        ("SELECT amount, amount AS amount, orders.amount FROM orders", "amount|amount|amount"),
        ("SELECT amount, * FROM orders", "amount|id|amount|placed"),
        ("SELECT placed::time FROM orders ORDER BY placed", "placed"),
        ("SELECT sum(amount)::int FROM orders", "sum"),
    ] {
        assert_eq!(heads(port, sql).await, names, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_another_kind_than_the_column_are_compared_with_it() {
    use tokio_postgres::types::{ToSql, Type};
    let (port, ..) = door(None, QueryLimits::default()).await;
    let (client, connection) =
        tokio_postgres::connect(&format!("host=127.0.0.1 port={port} user=me"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let numbers: [(&str, Type, &(dyn ToSql + Sync), i64); 4] = [
        ("amount::decimal(38, 2)", Type::INT2, &15_i16, 2),
        ("amount::decimal(38, 2)", Type::FLOAT8, &19.5_f64, 2),
        ("amount", Type::FLOAT8, &29.5_f64, 1),
        ("amount", Type::INT2, &10_i16, 2),
    ];
    for (column, sent, value, more) in numbers {
        let prepared =
            client.prepare_typed(&format!("SELECT count(*) FROM orders WHERE {column} > $1"), std::slice::from_ref(&sent)).await.unwrap();
        let row = client.query_one(&prepared, &[value]).await.unwrap_or_else(|error| panic!("{column} > {sent}: {error:?}"));
        assert_eq!(row.get::<_, i64>(0), more, "{column} > {value:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_lists_functions() {
    let (port, ..) = door(None, QueryLimits::default()).await;
    for command in ["\\df", "\\df upper"] {
        let (_, errors) = ask(port, command).await;
        assert_eq!(errors, "", "{command}");
    }
}

/// A connection that speaks the protocol itself: what a client library sends for a cursor on the server.
struct Wire(tokio::net::TcpStream);

impl Wire {
    async fn connect(port: u16) -> Wire {
        use tokio::io::AsyncWriteExt as _;
        let mut wire = Wire(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        let body = b"\0\x03\0\0user\0me\0\0";
        wire.0.write_all(&[&(body.len() as u32 + 4).to_be_bytes(), &body[..]].concat()).await.unwrap();
        wire.answers().await;
        wire
    }

    /// Sends messages of a kind and a body; gives back the answers up to the next ReadyForQuery.
    async fn ask(&mut self, messages: &[(u8, &str)]) -> Vec<(char, String)> {
        use tokio::io::AsyncWriteExt as _;
        for (kind, body) in messages {
            let length = (body.len() as u32 + 4).to_be_bytes();
            self.0.write_all(&[&[*kind], &length[..], body.as_bytes()].concat()).await.unwrap();
        }
        self.answers().await
    }

    async fn answers(&mut self) -> Vec<(char, String)> {
        use tokio::io::AsyncReadExt as _;
        let mut answers = Vec::new();
        loop {
            let kind = self.0.read_u8().await.unwrap() as char;
            let length = self.0.read_u32().await.unwrap() as usize;
            let mut body = vec![0; length - 4];
            self.0.read_exact(&mut body).await.unwrap();
            if kind == 'Z' {
                return answers;
            }
            answers.push((kind, String::from_utf8_lossy(&body).into_owned()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_is_described_and_fetched_from_until_its_transaction_ends() {
    let (port, ..) = door(None, QueryLimits::default()).await;
    let mut wire = Wire::connect(port).await;
    let kinds = |answers: &[(char, String)]| answers.iter().map(|(kind, _)| *kind).collect::<String>();
    let declare = "DECLARE \"named\" CURSOR FOR SELECT id, amount FROM orders WHERE amount > $1::bigint ORDER BY id";
    assert_eq!(kinds(&wire.ask(&[(b'Q', "BEGIN\0")]).await), "C");
    // Parse, Bind (one parameter, as text), Describe and Execute of what has no rows itself.
    let parse = format!("\0{declare}\0\0\0");
    let bind = "\0\0\0\0\0\x01\0\0\0\x0215\0\0";
    let answers = wire.ask(&[(b'P', &parse), (b'B', bind), (b'D', "P\0"), (b'E', "\0\0\0\0\0"), (b'S', "")]).await;
    assert_eq!(kinds(&answers), "12nC", "{answers:?}");
    // Its columns are known by its name.
    let answers = wire.ask(&[(b'D', "Pnamed\0"), (b'S', "")]).await;
    assert!(kinds(&answers) == "T" && answers[0].1.contains("id\0") && answers[0].1.contains("amount\0"), "{answers:?}");
    let fetched = wire.ask(&[(b'Q', "FETCH FORWARD 1 FROM \"named\"\0")]).await;
    assert!(kinds(&fetched) == "TDC" && fetched[1].1.contains("o2") && fetched[2].1 == "FETCH 1\0", "{fetched:?}");
    // By the protocol, too.
    let fetched = wire.ask(&[(b'E', "named\0\0\0\0\0"), (b'S', "")]).await;
    assert!(kinds(&fetched) == "DC" && fetched[0].1.contains("o3"), "{fetched:?}");
    let at_end = wire.ask(&[(b'Q', "FETCH FORWARD 5 FROM \"named\"\0")]).await;
    assert!(kinds(&at_end) == "TC" && at_end[0].1.contains("amount\0"), "{at_end:?}");
    let refused = wire.ask(&[(b'Q', "FETCH PRIOR FROM \"named\"\0")]).await;
    assert!(kinds(&refused) == "E" && refused[0].1.contains("C55000"), "{refused:?}");
    wire.ask(&[(b'Q', "ROLLBACK\0")]).await;
    let gone = wire.ask(&[(b'Q', "FETCH 1 FROM \"named\"\0")]).await;
    assert!(kinds(&gone) == "E" && gone[0].1.contains("C34000") && gone[0].1.contains("cursor \"named\" does not exist"), "{gone:?}");
}
