//! `eagre test` as a person meets it: fixtures that pass, that fail and that are wrong, and the report for CI.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const QUERIES: &str =
    "CREATE TABLE orders (id STRING, amount DECIMAL(10, 2), ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'log', 'format' = 'json');
CREATE MATERIALIZED VIEW per_minute WITH ('retention' = '1 d') AS
SELECT window_start, COUNT(*) AS orders, SUM(amount) AS total
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
";

const GOOD: &str = "test: an order counts in its minute
given: { orders: [ { id: a, amount: 5, at: 1s }, { file: more.csv } ] }
expect: { per_minute: [ { window_start: 0s, orders: 2, total: 7.5 } ] }
";

const FAILING: &str = "test: totals & <others>
given: { orders: [ { id: a, amount: 5, at: 1s }, { id: b, amount: 2, at: 61s } ] }
expect:
  per_minute:
    - { window_start: 0s, orders: 1, total: 6 }
    - { window_start: 1m, orders: 1 }
";

fn eagre(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eagre")).current_dir(dir).args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG").output().unwrap()
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn project(fixtures: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["queries", "tests"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("queries/10.sql"), QUERIES).unwrap();
    fs::write(dir.path().join("tests/more.csv"), "id,amount,at\nb,2.5,59s\n").unwrap();
    for (name, text) in fixtures {
        fs::write(dir.path().join("tests").join(name), text).unwrap();
    }
    dir
}

#[test]
fn a_failing_test_shows_the_nearest_row_with_a_mark_and_the_report_says_the_same() {
    let dir = project(&[("a.yaml", GOOD), ("b.yaml", FAILING)]);
    let (code, out, err) = told(&eagre(dir.path(), &["test", "--junit", "report.xml"]));
    let wanted = "ok      an order counts in its minute  (./tests/a.yaml:1:7)
FAILED  totals & <others>  (./tests/b.yaml:1:7)
  ./tests/b.yaml:5:7: per_minute: 1 row is missing, 1 is not expected
    expected  window_start: 2024-01-01 00:00:00  orders: 1  total: 6
    found     window_start: 2024-01-01 00:00:00  orders: 1  total: 5
                                                            ^^^^^^^^
2 tests: 1 passed, 1 failed
";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(1), wanted, ""));
    let report = fs::read_to_string(dir.path().join("report.xml")).unwrap();
    assert!(report.contains("<testsuite name=\"./tests/b.yaml\" tests=\"1\" failures=\"1\" errors=\"0\""), "{report}");
    assert!(
        report.contains("<testcase name=\"totals &amp; &lt;others&gt;\" classname=\"./tests/b.yaml\" file=\"./tests/b.yaml\" line=\"1\"")
    );
    assert!(report.contains("<failure message=\"./tests/b.yaml:5:7: per_minute: 1 row is missing, 1 is not expected\">"), "{report}");
    assert!(!dir.path().join(".eagre").exists(), "a test makes no data directory");
    let (code, out, _) = told(&eagre(dir.path(), &["test", "--filter", "minute"]));
    assert_eq!((code, out.lines().last()), (Some(0), Some("1 test: 1 passed, 0 failed")));
}

#[test]
fn a_wrong_fixture_is_told_with_its_place_before_anything_runs() {
    let wrong =
        GOOD.replace("amount: 5", "amuont: 5").replace("orders: 2", "ordrs: 2").replace("given: { orders", "given: { ordrs: [], orders");
    let dir = project(&[("a.yaml", &wrong), ("b.yaml", FAILING)]);
    let (code, out, err) = told(&eagre(dir.path(), &["test"]));
    let wanted = "error: ./tests/a.yaml:2:10: no table 'ordrs'; did you mean 'orders'?
error: ./tests/a.yaml:2:40: no column 'amuont' in table 'orders'; did you mean 'amount'?
error: ./tests/a.yaml:3:45: no column 'ordrs' in 'per_minute'; did you mean 'orders'?
";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(2), "", wanted));
    let (code, _, err) = told(&eagre(dir.path(), &["check"]));
    assert_eq!((code, err.as_str()), (Some(2), wanted));
    fs::write(dir.path().join("tests/a.yaml"), "test: x\ngivn: {}\nexpect: { per_minute: 1 }\n").unwrap();
    let (code, _, err) = told(&eagre(dir.path(), &["test"]));
    assert_eq!(code, Some(2));
    let wanted = "error: ./tests/a.yaml:1:1: test 'x': 'given' is missing\nerror: ./tests/a.yaml:2:1: test 'x': unknown key 'givn'; did you mean 'given'?\n";
    assert_eq!(err, wanted);
    let (code, _, err) = told(&eagre(project(&[("b.yaml", FAILING)]).path(), &["test", "--filter", "totls & <others>"]));
    assert_eq!(
        (code, err.as_str()),
        (Some(2), "error: --filter: no test is called 'totls & <others>'; did you mean 'totals & <others>'?\n")
    );
    let (code, _, err) = told(&eagre(project(&[]).path(), &["test"]));
    assert_eq!((code, err.as_str()), (Some(2), "error: there are no fixtures: no test stands in './tests/*.yaml'\n"));
}

#[test]
fn what_is_shipped_and_what_init_makes_pass_their_tests() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop");
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(eagre(dir.path(), &["init", "demo"]).status.code(), Some(0));
    for (path, least) in [(shop.as_path(), 5), (&dir.path().join("demo"), 1)] {
        let (code, out, err) = told(&eagre(dir.path(), &["test", &path.display().to_string()]));
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(out.matches("ok  ").count() >= least, "{out}");
    }
}
