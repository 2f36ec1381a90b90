//! One answer for every operator at once: rows in any order that the watermark allows, cut into batches anyhow, the
//! pipeline stopped and restored anywhere, each time at another parallelism. `EAGRE_SEED` repeats a run, `EAGRE_LONG`
//! makes ten times as many rounds. (Hard kills are shown on whole processes: `kill.rs`.)

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eagre::dataflow::settings::Restore;
use eagre::engine::Engine;
use eagre::error::Place;
use eagre::project::{Origin, Project, SqlText};

const SQL: &str = "
CREATE TABLE l (id INT, k STRING, v INT, x DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
  WITH ('connector' = 'feed', 'format' = 'json');
CREATE TABLE r (id INT, k STRING, v INT, x DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
  WITH ('connector' = 'feed', 'format' = 'json');
CREATE MATERIALIZED VIEW tumbled AS SELECT window_start, k, COUNT(*) AS n, SUM(v) AS s, AVG(v) AS a, COUNT(DISTINCT v) AS d, MAX(x) AS m
FROM TABLE(TUMBLE(TABLE l, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW hopped AS SELECT window_start, k, SUM(v) AS s, FIRST_VALUE(v) AS f
FROM TABLE(HOP(TABLE l, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '20' SECOND)) GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW cumulated AS SELECT window_end, k, SUM(v) AS s
FROM TABLE(CUMULATE(TABLE l, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '20' SECOND)) GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW sessions AS SELECT window_start, window_end, k, COUNT(*) AS n
FROM TABLE(SESSION(TABLE l PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND)) GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW cascaded AS SELECT window_start, SUM(n) AS n FROM TABLE(TUMBLE((SELECT window_time AS rt, COUNT(*) AS n
  FROM TABLE(TUMBLE(TABLE l, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, window_time), DESCRIPTOR(rt), INTERVAL '20' SECOND))
GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW near AS SELECT l.id AS a, r.id AS b FROM l FULL JOIN r
ON l.k = r.k AND r.ts BETWEEN l.ts - INTERVAL '3' SECOND AND l.ts + INTERVAL '2' SECOND;
CREATE MATERIALIZED VIEW alone AS SELECT l.id AS a FROM l WHERE NOT EXISTS
(SELECT 1 FROM r WHERE l.k = r.k AND r.ts BETWEEN l.ts - INTERVAL '3' SECOND AND l.ts + INTERVAL '2' SECOND);
CREATE MATERIALIZED VIEW together AS SELECT a.id AS a, b.id AS b FROM (SELECT * FROM TABLE(TUMBLE(TABLE l, DESCRIPTOR(ts), INTERVAL '10' SECOND))) a
LEFT JOIN (SELECT * FROM TABLE(TUMBLE(TABLE r, DESCRIPTOR(ts), INTERVAL '10' SECOND))) b
ON a.k = b.k AND a.window_start = b.window_start AND a.window_end = b.window_end;
CREATE MATERIALIZED VIEW best AS SELECT id, rn, window_start FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY v DESC, id) AS rn
FROM TABLE(TUMBLE(TABLE l, DESCRIPTOR(ts), INTERVAL '10' SECOND))) WHERE rn <= 2;
CREATE MATERIALIZED VIEW lasts AS SELECT id, window_start FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY ts DESC) AS rn
FROM TABLE(TUMBLE(TABLE l, DESCRIPTOR(ts), INTERVAL '10' SECOND))) WHERE rn = 1;
CREATE MATERIALIZED VIEW over_time AS SELECT id, COUNT(*) OVER w AS n, SUM(v) OVER w AS s, LAST_VALUE(v) OVER w AS la, COUNT(DISTINCT v) OVER w AS d FROM l
WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '7' SECOND PRECEDING AND CURRENT ROW);
CREATE MATERIALIZED VIEW over_rows AS SELECT id, SUM(x) OVER w AS s, FIRST_VALUE(id) OVER w AS f, MIN(v) OVER w AS m,
  LAG(v, 2) OVER (PARTITION BY k ORDER BY ts) AS la, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS rn,
  SUM(v) OVER (ORDER BY ts ROWS UNBOUNDED PRECEDING) AS al FROM l
WINDOW w AS (PARTITION BY k ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW);
";

const VIEWS: [&str; 12] =
    ["tumbled", "hopped", "cumulated", "sessions", "cascaded", "near", "alone", "together", "best", "lasts", "over_time", "over_rows"];

/// What a run waits for at most.
const PATIENCE: Duration = Duration::from_secs(30);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Rows with their times in milliseconds, in time order; no time occurs twice in a table.
fn rows(random: &mut Random) -> Vec<(i64, String)> {
    let mut at = 0;
    (0..40 + random.below(60))
        .map(|id| {
            let longest = if random.below(10) == 0 { 9_000 } else { 900 };
            at += 1 + random.below(longest) as i64;
            let time = chrono::DateTime::from_timestamp_millis(at - 20_000).unwrap().format("%Y-%m-%d %H:%M:%S%.3f");
            let text = |value: Option<String>| value.map_or("null".to_owned(), |value| value);
            let key = (random.below(8) > 0).then(|| format!("\"k{}\"", random.below(3)));
            let v = (random.below(6) > 0).then(|| random.below(20).to_string());
            let quarters = random.below(100) as f64 / 4.0;
            (at, format!("{{\"id\": {id}, \"k\": {}, \"v\": {}, \"x\": {quarters}, \"ts\": \"{time}\"}}", text(key), text(v)))
        })
        .collect()
}

/// An order in which the rows may arrive: none more than 4.9 s behind a later one.
fn disordered(rows: &[(i64, String)], random: &mut Random) -> Vec<String> {
    let mut delayed: Vec<(i64, &String)> = rows.iter().map(|(at, row)| (at + random.below(4_900) as i64, row)).collect();
    delayed.sort_by_key(|(at, _)| *at);
    delayed.into_iter().map(|(_, row)| row.clone()).collect()
}

struct Bench {
    engine: Engine,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let text = SqlText { name: "properties.sql".into(), text: SQL.into() };
        let mut project = Project::of_texts("properties", dir.path(), vec![text]);
        for (key, value) in [("parallelism", "1"), ("cut.interval", "1 ms"), ("checkpoint.interval", "1 h")] {
            project.settings.set(key, value, Origin::Set, Place::thing("test")).unwrap();
        }
        let engine = Engine::load(project).unwrap();
        for table in ["l", "r"] {
            engine.feed(table).unwrap().keep();
        }
        Bench { engine, _dir: dir }
    }

    async fn feed(&self, table: &str, rows: &[String]) {
        self.engine.feed(table).unwrap().send_lines(0, rows.join("\n") + "\n").await.unwrap();
    }

    fn end(&self) {
        ["l", "r"].iter().for_each(|table| self.engine.feed(table).unwrap().end());
    }

    fn results(&self) -> BTreeMap<&'static str, Vec<String>> {
        let dropped: i64 = self.engine.metrics().values().iter().filter(|(n, ..)| n == "eagre_rows_dropped_total").map(|(.., n)| *n).sum();
        assert_eq!(dropped, 0, "no row is late");
        let snapshot = self.engine.tables().snapshot();
        let rows_of = |view: &str| {
            let mut rows = Vec::new();
            for batch in snapshot.table(view).unwrap().batches().unwrap() {
                let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
                writer.write(&batch).unwrap();
                rows.extend(String::from_utf8(writer.into_inner()).unwrap().lines().map(str::to_owned));
            }
            rows.sort();
            rows
        };
        VIEWS.map(|view| (view, rows_of(view))).into()
    }
}

/// In order, in one batch, without a stop.
async fn calm(l: &[(i64, String)], r: &[(i64, String)]) -> BTreeMap<&'static str, Vec<String>> {
    let bench = Bench::new();
    for (table, rows) in [("l", l), ("r", r)] {
        bench.feed(table, &rows.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>()).await;
    }
    bench.end();
    let running = bench.engine.start(Restore::Auto, false).await.unwrap();
    tokio::time::timeout(PATIENCE, running.wait()).await.expect("it does not end").unwrap();
    bench.results()
}

/// Out of order, in pieces, stopped and restored in between.
async fn shaken(l: &[(i64, String)], r: &[(i64, String)], random: &mut Random) -> BTreeMap<&'static str, Vec<String>> {
    let bench = Bench::new();
    let mut left = [("l", disordered(l, random)), ("r", disordered(r, random))];
    while left.iter().any(|(_, rows)| !rows.is_empty()) {
        let running = bench.engine.start_at(1 + random.below(3) as usize, Restore::Latest, false).await.unwrap();
        for _ in 0..1 + random.below(6) {
            let (table, rows) = &mut left[random.below(2) as usize];
            let piece: Vec<String> = rows.drain(..rows.len().min(1 + random.below(25) as usize)).collect();
            if !piece.is_empty() {
                bench.feed(table, &piece).await;
            }
            // Sometimes the rows are let through before the stop, sometimes it meets them on the way.
            if random.below(2) == 0 {
                tokio::time::sleep(Duration::from_millis(random.below(8))).await;
            }
        }
        running.stopper().stop();
        tokio::time::timeout(PATIENCE, running.wait()).await.expect("it does not stop").unwrap();
    }
    bench.end();
    let running = bench.engine.start_at(1 + random.below(3) as usize, Restore::Latest, false).await.unwrap();
    tokio::time::timeout(PATIENCE, running.wait()).await.expect("it does not end").unwrap();
    bench.results()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_in_any_order_any_pieces_and_over_any_stops() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("EAGRE_SEED").map_or(now, |s| s.parse().unwrap());
    println!("EAGRE_SEED={seed}");
    let mut random = Random(seed);
    let rounds = if std::env::var_os("EAGRE_LONG").is_some() { 60 } else { 6 };
    let mut rows_of: BTreeMap<&str, usize> = BTreeMap::new();
    for round in 0..rounds {
        let (l, r) = (rows(&mut random), rows(&mut random));
        let wanted = calm(&l, &r).await;
        wanted.iter().for_each(|(view, rows)| *rows_of.entry(view).or_default() += rows.len());
        let found = shaken(&l, &r, &mut random).await;
        for (view, wanted) in &wanted {
            assert_eq!(wanted, &found[view], "EAGRE_SEED={seed}, round {round}: {view}");
        }
    }
    assert!(rows_of.values().all(|rows| *rows > rounds), "EAGRE_SEED={seed}: hardly an answer: {rows_of:?}");
}
