//! A running engine from outside: psql and `eagre sql` read its tables while they change, it survives kill -9, and what
//! it leaves can be read while none runs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const QUERIES: &str = "
CREATE TABLE made (k STRING, v BIGINT, ts TIMESTAMP_LTZ(3)) WITH (
  'connector' = 'datagen', 'rows-per-second' = '500', 'fields.k.values' = 'a|b|c', 'fields.ts.max-past' = '100 ms');
CREATE TABLE events (k STRING, v BIGINT, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (
  'connector' = 'log', 'format' = 'json', 'partitions' = '2', 'key.fields' = 'k', 'scan.watermark.idle-timeout' = '1 s');
INSERT INTO events SELECT * FROM made;
CREATE MATERIALIZED VIEW per_second (PRIMARY KEY (window_start, k) NOT ENFORCED) AS
SELECT window_start, window_end, k, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, k;
";

const RULE: &str = "rule: crowd
on: events
key: [k]
match: { count: { over: 1s, more_than: 2 } }
emit: { type: door.crowd.Crowded, subject: k, data: { n: 'count()' } }
";

fn eagre() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eagre"));
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

/// A running engine, taken down with the test.
struct Running {
    child: Child,
    /// PostgreSQL's port.
    port: String,
    /// Where HTTP answers.
    http: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn start(project: &Path) -> Running {
    let mut command = eagre();
    command.arg("run").arg(project).args(["--pg-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let doors = lines.by_ref().map(Result::unwrap).find_map(|line| {
        let (_, after) = line.split_once("psql -h 127.0.0.1 -p ")?;
        let (_, http) = line.split_once("http://")?;
        Some((after.split_whitespace().next()?.to_owned(), http.split('/').next()?.to_owned()))
    });
    // Its further words must find a reader.
    std::thread::spawn(move || lines.for_each(drop));
    let (port, http) = doors.expect("the engine says where its doors are");
    Running { child, port, http }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn psql(running: &Running, sql: &str) -> String {
    let mut command = Command::new("psql");
    command.args(["-h", "127.0.0.1", "-p", &running.port, "-U", "me", "-d", "eagre", "-X", "-A", "-t", "-w", "-c", sql]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    text(&output)
}

/// What `/health` says.
fn health(running: &Running) -> serde_json::Value {
    let mut socket = TcpStream::connect(&running.http).unwrap();
    socket.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn eagre_sql(project: &Path, sql: &str) -> Output {
    eagre().arg("sql").arg(project).args(["--format", "csv", "-c", sql]).output().unwrap()
}

/// Waits until `holds`, for as long as a slow machine may need.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn tables_are_read_while_they_change_and_after_a_kill() {
    let project = tempfile::tempdir().unwrap();
    let project = project.path();
    fs::create_dir(project.join("queries")).unwrap();
    fs::write(project.join("queries/all.sql"), QUERIES).unwrap();
    fs::create_dir(project.join("rules")).unwrap();
    fs::write(project.join("rules/crowd.yaml"), RULE).unwrap();
    fs::write(project.join("eagre.yaml"), "name: doors\ncheckpoint.interval: 300 ms\nparallelism: 2\n").unwrap();

    let running = start(project);
    let windows = |running: &Running| psql(running, "SELECT count(*) FROM per_second").parse::<u64>().unwrap();
    wait_until("a few windows close", || windows(&running) >= 9);
    let explained = text(&eagre().arg("explain").arg(project).output().unwrap());
    assert!(explained.contains("sink per_second: live table") && explained.contains("now: "), "{explained}");
    let before = windows(&running);
    wait_until("further windows close", || windows(&running) > before);
    let doubled = "SELECT count(*) FROM (SELECT window_start, k FROM per_second GROUP BY window_start, k HAVING count(*) > 1) AS d";
    assert_eq!(psql(&running, doubled), "0");

    // A window is out when the mark of its table has passed its end, and not before.
    let newest = psql(&running, "SELECT max(window_end)::text FROM per_second").replace(' ', "T");
    let told = health(&running);
    let mark = told["watermarks"]["events"].as_str().unwrap_or_else(|| panic!("{told}"));
    assert!(mark >= newest.as_str() && told["watermarks"].get("made").is_none(), "{mark} {newest} {told}");

    // A rule is tried on what the engine holds.
    let tried =
        |since: &str| eagre().args(["rules", "try", "crowd"]).arg(project).args(["--format", "json", "--since", since]).output().unwrap();
    let raised = tried("-1h");
    assert!(raised.status.success() && text(&raised).contains("Crowded"), "{}", String::from_utf8_lossy(&raised.stderr));
    let none = tried("2200-01-01");
    assert!(none.status.success() && text(&none).is_empty(), "{}", String::from_utf8_lossy(&none.stderr));

    // The command line goes through the engine: live tables, the topic, and no second engine.
    let attached = eagre_sql(project, "SELECT COUNT(*) >= 9 AS many FROM per_second");
    assert_eq!(text(&attached), "many\ntrue", "{}", String::from_utf8_lossy(&attached.stderr));
    let topic = eagre_sql(project, "SELECT COUNT(*) > 1000 AS many, COUNT(DISTINCT k) AS keys FROM events");
    assert_eq!(text(&topic), "many,keys\ntrue,3", "{}", String::from_utf8_lossy(&topic.stderr));
    let second = eagre().arg("run").arg(project).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains(&format!("process {}", running.child.id())));
    let unknown = eagre_sql(project, "SELECT * FROM per_secnd");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean 'per_second'?"));

    // Killed: its last checkpoint is read in its place …
    drop(running);
    let rows = |output: &Output| text(output).lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let all = "SELECT window_start, k, n FROM per_second ORDER BY window_start, k";
    let left = eagre_sql(project, all);
    assert!(left.status.success() && rows(&left).len() >= 6, "{}", String::from_utf8_lossy(&left.stderr));
    // … with windows as counted from the topic itself, all of whose records are still there.
    let counted = eagre_sql(
        project,
        "SELECT window_start, k, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND))
         GROUP BY window_start, window_end, k ORDER BY window_start, k",
    );
    let (left, counted) = (rows(&left), rows(&counted));
    assert_eq!(left, counted[..left.len()], "the running result equals the query over the stored topic");

    // … and is where the next run goes on from: the same rows, at once.
    let running = start(project);
    let after = psql(&running, all).replace('|', ",");
    let after: Vec<&str> = after.lines().collect();
    let same = |(a, b): (&String, &&str)| a.replace('T', " ").split(',').next_back() == b.split(',').next_back();
    assert!(after.len() >= left.len() && left.iter().zip(&after).all(same), "{left:#?}\n{after:#?}");
    wait_until("windows close again", || windows(&running) > left.len() as u64);
}
