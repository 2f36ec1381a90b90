//! Kill -9 at random moments: the output equals that of the calm run, nothing lost, nothing doubled.
//!
//! One pipeline reads a topic of the embedded log, aggregates it, joins it and writes to a directory of files and to
//! another topic, and its dead letters to a third. `EAGRE_SEED` repeats a run; `EAGRE_LONG` kills five times as often.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::digests::eagre;
use crate::workload;

const TABLES: &str = "
CREATE TABLE events (
  eventId STRING, `type` STRING, customerId STRING, orderId STRING, ts BIGINT, amount DOUBLE,
  rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND
) WITH ('connector' = 'log', 'format' = 'json', 'topic' = 'events', 'partitions' = '2', 'key.fields' = 'customerId', 'scan.bounded.mode' = 'latest-offset');
";

fn fill(events: &Path) -> String {
    format!(
        "{TABLES}
CREATE TABLE files (eventId STRING, `type` STRING, customerId STRING, orderId STRING, ts BIGINT, amount DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
INSERT INTO events SELECT * FROM files;",
        events.display()
    )
}

fn job(out: &Path) -> String {
    format!(
        "{TABLES}
SET 'pipeline.on-expression-error' = 'dead-letter';
CREATE TABLE counts (customerId STRING, ws TIMESTAMP(3), cnt BIGINT, cents BIGINT)
  WITH ('connector' = 'filesystem', 'path' = '{out}/counts', 'format' = 'json');
CREATE TABLE paid (orderId STRING, eventId STRING) WITH ('connector' = 'log', 'format' = 'json', 'topic' = 'paid', 'partitions' = '1');
CREATE TABLE divided (eventId STRING, amount DOUBLE, n AS 1000 / CAST(amount / 100 AS INT))
  WITH ('connector' = 'log', 'format' = 'json', 'topic' = 'events', 'partitions' = '2', 'scan.bounded.mode' = 'latest-offset', 'dead-letter' = 'refused');
CREATE TABLE quotients (eventId STRING, n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{out}/quotients', 'format' = 'json');
CREATE TABLE hasty (eventId STRING, cnt BIGINT) WITH ('connector' = 'filesystem', 'path' = '{out}/hasty', 'format' = 'json');
EXECUTE STATEMENT SET BEGIN
INSERT INTO quotients SELECT eventId, n FROM divided;
INSERT INTO counts SELECT customerId, window_start, COUNT(*), SUM(CAST(ROUND(amount * 100) AS BIGINT))
FROM TABLE(HOP(TABLE events, DESCRIPTOR(rt), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)) GROUP BY window_start, window_end, customerId;
INSERT INTO paid SELECT o.orderId, p.eventId FROM events o JOIN events p ON o.customerId = p.customerId
  AND o.`type` = 'OrderCreated' AND p.`type` = 'PaymentProcessed' AND p.rt BETWEEN o.rt - INTERVAL '5' MINUTE AND o.rt + INTERVAL '5' MINUTE;
INSERT INTO hasty SELECT * FROM (SELECT eventId, COUNT(*) OVER (PARTITION BY customerId ORDER BY rt RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW) AS cnt
  FROM events WHERE `type` = 'PaymentProcessed') WHERE cnt > 5;
END;",
        out = out.display()
    )
}

/// What the topics `paid` and `refused` (events on which a division fails) hold, read by another run.
fn dump(out: &Path) -> String {
    format!(
        "CREATE TABLE paid (orderId STRING, eventId STRING)
  WITH ('connector' = 'log', 'format' = 'json', 'topic' = 'paid', 'partitions' = '1', 'scan.bounded.mode' = 'latest-offset');
CREATE TABLE refused (eventId STRING, amount DOUBLE)
  WITH ('connector' = 'log', 'format' = 'json', 'topic' = 'refused', 'scan.bounded.mode' = 'latest-offset');
CREATE TABLE dumped (orderId STRING, eventId STRING) WITH ('connector' = 'filesystem', 'path' = '{out}/paid.jsonl', 'format' = 'json');
CREATE TABLE letters (eventId STRING, amount DOUBLE) WITH ('connector' = 'filesystem', 'path' = '{out}/refused.jsonl', 'format' = 'json');
EXECUTE STATEMENT SET BEGIN
INSERT INTO dumped SELECT * FROM paid;
INSERT INTO letters SELECT * FROM refused;
END;",
        out = out.display()
    )
}

fn lines(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            if !entry.file_name().to_string_lossy().starts_with('.') {
                lines.extend(fs::read_to_string(entry.path()).unwrap().lines().map(str::to_owned));
            }
        }
    } else {
        lines.extend(fs::read_to_string(path).unwrap().lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

fn finish(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A folder with a filled log; returns all results after running the job, killed `kills` times.
fn results(seed: u64, kills: usize) -> BTreeMap<&'static str, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let (out, state) = (dir.path().join("out"), dir.path().join("state"));
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    finish(&mut eagre(&write("fill.sql", fill(&workload::small().join("all/events.jsonl"))), &state, 1, &[]));
    let job = write("job.sql", job(&out));
    let mut random = seed;
    let mut killed = 0;
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut run = eagre(&job, &state, 1 + (random >> 40) as usize % 2, &["checkpoint.interval=15 ms"]).spawn().unwrap();
        if killed < kills {
            std::thread::sleep(Duration::from_millis(20 + (random >> 33) % 400));
            run.kill().unwrap();
            let gone = run.wait().unwrap();
            killed += usize::from(!gone.success());
            if !gone.success() {
                continue;
            }
        }
        let done = run.wait_with_output().unwrap();
        assert!(done.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&done.stderr));
        break;
    }
    finish(&mut eagre(&write("dump.sql", dump(&out)), &state, 1, &[]));
    println!("killed {killed} times");
    let read = |name| lines(&out.join(name));
    [
        ("counts", read("counts")),
        ("hasty", read("hasty")),
        ("paid", read("paid.jsonl")),
        ("refused", read("refused.jsonl")),
        ("quotients", read("quotients")),
    ]
    .into()
}

#[test]
fn killed_at_random_moments_the_output_is_that_of_the_calm_run() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("EAGRE_SEED").map_or(now, |s| s.parse().unwrap());
    let kills = if std::env::var_os("EAGRE_LONG").is_some() { 100 } else { 20 };
    println!("EAGRE_SEED={seed}");
    let calm = results(seed, 0);
    assert!(calm.values().all(|rows| rows.len() > 100), "{:?}", calm.iter().map(|(k, v)| (k, v.len())).collect::<Vec<_>>());
    let shaken = results(seed, kills);
    for (name, rows) in calm {
        let found = &shaken[name];
        assert!(rows == *found, "EAGRE_SEED={seed}: {name}: {} rows, the calm run has {}", found.len(), rows.len());
    }
}
