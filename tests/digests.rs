//! The benchmark workloads, written for Flink, against the reference answers on which Flink, DuckDB, Polars and others
//! agree: whole, in partitions, at parallelism 1 and 2, and stopped and restored on the way.
//!
//! The texts, the generated input and the answers are read from `EAGRE_BENCH` (default `../shared/bench`); the input is
//! a pure function of its seed and is made by its `gen.py`, or here where that is missing (`tests/workload.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::workload;

/// Workload, its three numbers: rows, and what the canonical rows must hash to, as text of `expected/<w>.csv`.
const WORKLOADS: [&str; 8] = ["w1", "w2", "w3", "w3m", "w4", "q5", "q7", "q8"];

/// The canonical line of a result row (the same text as the reference's).
pub fn canonical(workload: &str, row: &serde_json::Value) -> String {
    let text = |k: &str| row[k].as_str().unwrap_or_else(|| panic!("{workload}: no text '{k}' in {row}")).to_owned();
    let int = |k: &str| row[k].as_i64().unwrap_or_else(|| panic!("{workload}: no number '{k}' in {row}"));
    let cents = |k: &str| (row[k].as_f64().unwrap() * 100.0).round() as i64;
    match workload {
        "w1" => format!("{},{},{},{}", text("customerId"), int("ws"), int("cnt"), cents("total")),
        "w2" => format!("{},{},{}", text("customerId"), text("ce"), text("oe")),
        "w3" => format!("{},{},{},{}", text("eventId"), text("customerId"), int("ts"), int("cnt")),
        "w3m" => format!("{},{},{}", text("customerId"), int("t0"), int("t1")),
        "w4" => format!("{},{},{},{}", text("eventId"), text("customerId"), int("ts"), cents("amount")),
        "q5" => format!("{},{},{}", int("ws"), int("auction"), int("num")),
        "q7" => format!("{},{},{},{}", int("ws"), int("auction"), int("bidder"), int("price")),
        "q8" => format!("{},{},{}", int("ws"), int("id"), text("name")),
        other => panic!("no workload {other}"),
    }
}

fn rows(workload: &str, file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut rows: Vec<String> = text.lines().map(|l| canonical(workload, &serde_json::from_str(l).unwrap())).collect();
    rows.sort();
    rows
}

pub fn expected(workload: &str) -> Vec<String> {
    fs::read_to_string(workload::bench().join("expected").join(format!("{workload}.csv"))).unwrap().lines().map(str::to_owned).collect()
}

/// The SQL text with its paths filled in.
fn job(workload: &str, data: &Path, out: &Path, partitioned: bool) -> String {
    let read = |file: &str| fs::read_to_string(workload::bench().join("flink").join(file)).unwrap();
    let inputs: BTreeMap<&str, &str> = if partitioned {
        [("EV", "p2"), ("CU", "customer_p2"), ("OR", "order_p2"), ("BID", "nx_p2/bid"), ("AU", "nx_p2/auction"), ("PE", "nx_p2/person")]
            .into()
    } else {
        [
            ("EV", "all/events.jsonl"),
            ("CU", "customer/all.jsonl"),
            ("OR", "order/all.jsonl"),
            ("BID", "nx/bid.jsonl"),
            ("AU", "nx/auction.jsonl"),
            ("PE", "nx/person.jsonl"),
        ]
        .into()
    };
    let mut text = read("common.sql") + &read(&format!("{workload}.sql"));
    for (name, path) in inputs {
        text = text.replace(&format!("__{name}__"), &data.join(path).display().to_string());
    }
    text.replace("__P__", "1").replace("__OUT__", &out.display().to_string())
}

/// `eagre run` of a file, as a user calls it.
pub fn eagre(sql: &Path, data_dir: &Path, parallelism: usize, set: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eagre"));
    command.arg("run").arg(sql).args(["--no-serve", "--parallelism", &parallelism.to_string(), "--data-dir"]).arg(data_dir);
    set.iter().for_each(|s| {
        command.args(["--set", s]);
    });
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env("RUST_LOG", "warn");
    command
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, workload: &str, data: &Path, partitioned: bool) -> (PathBuf, PathBuf) {
        let out = self.dir.path().join("rows.jsonl");
        let sql = self.dir.path().join("job.sql");
        fs::write(&sql, job(workload, data, &out, partitioned)).unwrap();
        (sql, out)
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
}

#[test]
fn the_reference_answers_at_any_parallelism_and_partitioning() {
    let data = workload::small();
    for workload in WORKLOADS {
        for (parallelism, partitioned) in [(1, false), (2, false), (2, true), (1, true)] {
            let bench = Bench::new();
            let (sql, out) = bench.write(workload, &data, partitioned);
            let done = eagre(&sql, &bench.state(), parallelism, &[]).output().unwrap();
            assert!(done.status.success(), "{workload}: {}", String::from_utf8_lossy(&done.stderr));
            assert!(
                rows(workload, &out) == expected(workload),
                "{workload}, parallelism {parallelism}, partitioned {partitioned}: other rows"
            );
        }
    }
}

#[test]
fn stopped_and_restored_on_the_way() {
    let data = workload::small();
    for (number, workload) in WORKLOADS.iter().enumerate() {
        let bench = Bench::new();
        let (sql, out) = bench.write(workload, &data, number % 2 == 1);
        let mut stops = 0;
        for round in 0.. {
            assert!(round < 100, "{workload} does not come to its end");
            let mut run = eagre(&sql, &bench.state(), 1 + round % 2, &["checkpoint.interval=20 ms"]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(60 + 40 * round as u64));
            if run.try_wait().unwrap().is_none() {
                let pid = run.id().to_string();
                assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            }
            let done = run.wait_with_output().unwrap();
            // A signal that came before the program had begun to listen ends it the hard way: that must be borne, too.
            let orderly = done.status.success() || done.status.signal() == Some(15);
            assert!(orderly, "{workload}: {}", String::from_utf8_lossy(&done.stderr));
            if out.exists() {
                break;
            }
            stops += 1;
        }
        assert!(rows(workload, &out) == expected(workload), "{workload}, stopped {stops} times: other rows");
    }
}
