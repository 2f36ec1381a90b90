//! `eagre replay TOPIC`: history in a shadow, beside what is live.

use super::{Folder, NOON, err};
use crate::kafka::Kafka;

const ORDERS: &str =
    "CREATE TABLE orders (id INT, customer STRING, amount DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'log', 'topic' = 'shop-orders', 'format' = 'json', 'partitions' = '2');
";

fn project(tables: &str, sum: &str, least: u32) -> String {
    format!(
        "{tables}
CREATE MATERIALIZED VIEW per_minute (PRIMARY KEY (customer, window_start) NOT ENFORCED) WITH ('retention' = '100000 d') AS
SELECT customer, window_start, window_end, COUNT(*) AS n, {sum} AS total
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY customer, window_start, window_end;
CREATE TABLE large (id INT, amount DOUBLE, ts TIMESTAMP(3)) WITH ('connector' = 'log', 'format' = 'json', 'partitions' = '1');
INSERT INTO large SELECT id, amount, ts FROM orders WHERE amount >= {least};
CREATE TABLE large_again (id INT, ts TIMESTAMP(3)) WITH ('connector' = 'log', 'topic' = 'large', 'format' = 'json', 'partitions' = '1');
CREATE MATERIALIZED VIEW copies WITH ('retention' = '100000 d') AS SELECT id, ts FROM large_again;"
    )
}

/// An order a second for ten minutes, of two customers that lie in both partitions.
fn records() -> Vec<(&'static str, String, i64)> {
    let time = |second: i64| format!("2024-01-01 12:{:02}:{:02}", second / 60, second % 60);
    let customers = ["ann", "bob", "cem", "dan", "eve"];
    let order = |n: i64| {
        let customer = customers[(n % 5) as usize];
        (customer, format!("{{\"id\":{n},\"customer\":\"{customer}\",\"amount\":{n},\"ts\":\"{}\"}}", time(n)), NOON + n * 1_000_000)
    };
    (0..600).map(order).collect()
}

const WINDOWS: &str = "SELECT COUNT(*) FROM per_minute";

#[test]
fn an_unchanged_project_is_the_same_in_its_shadow_and_a_changed_one_shows_what_differs() {
    let folder = Folder::new(&project(ORDERS, "SUM(amount)", 590));
    folder.put("shop-orders", 2, &records());
    let mut running = folder.start();
    running.until_count(&folder, WINDOWS, 45);
    running.until_count(&folder, "SELECT COUNT(*) FROM copies", 10);
    // Beside the running engine, by the topic's name and by the table's.
    let topics = || folder.ok(&["topics", "list"]);
    let held = topics();
    for name in ["shop-orders", "orders"] {
        let told = folder.ok(&["replay", name, "--diff"]);
        assert_eq!(told, "large: the same, 10 rows\nper_minute: the same, 45 rows; 5 rows later than all that is live\n");
    }
    assert_eq!(topics(), held, "nothing is written");
    running.stop();

    // Another query: its sums and its rows.
    folder.query(&project(ORDERS, "SUM(amount) * 2", 591));
    let done = folder.command(&["replay", "orders", "--diff", "--result", "large"]).output().unwrap();
    let told = String::from_utf8(done.stdout.clone()).unwrap();
    assert_eq!(
        (done.status.code(), told.as_str()),
        (Some(1), "large: 1 row is only live\n  live    id: 590  amount: 590  ts: 2024-01-01 12:09:50\n"),
        "{}",
        err(&done)
    );
    let done =
        folder.command(&["replay", "orders", "--diff", "--result", "per_minute", "--since", "2024-01-01 12:08:00"]).output().unwrap();
    let told = String::from_utf8(done.stdout.clone()).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(done.status.code(), Some(1), "{}", err(&done));
    assert_eq!(lines[0], "per_minute: 5 rows differ; 5 rows later than all that is live", "{told}");
    assert_eq!(lines.len(), 16, "{told}");
    // Of ann the orders of the ninth minute: 480, 485, …, 535.
    let ann = lines.iter().position(|line| line.contains("live    customer: ann")).unwrap();
    assert!(lines[ann].ends_with("n: 12  total: 6090") && lines[ann + 1].ends_with("n: 12  total: 12180"), "{told}");
    assert_eq!(lines[ann + 2].trim(), "^^^^^^^^^^^^");
}

#[test]
fn results_are_shown_from_a_time_or_an_offset_on_and_go_out_only_where_they_are_told_to() {
    let folder = Folder::new(&project(ORDERS, "SUM(amount)", 590));
    folder.put("shop-orders", 2, &records());
    // Without any run: all of it comes from the topic. What is cut is told, and left out.
    let count = |more: &[&str]| {
        let done = folder.command(&[&["replay", "orders", "--result", "per_minute", "--format", "json"], more].concat()).output().unwrap();
        assert!(done.status.success(), "{}", err(&done));
        (String::from_utf8_lossy(&done.stdout).lines().count(), err(&done))
    };
    assert_eq!(count(&[]).0, 50);
    assert_eq!(count(&["--since", "2024-01-01 12:05:00", "--until", "2024-01-01T12:07:00Z"]).0, 10);
    let (rows, told) = count(&["--since", "2024-01-01 12:05:30"]);
    assert!(rows == 20 && told.contains("per_minute: 5 rows of windows that --since or --until cuts left out"), "{rows} {told}");
    // From record 120 of each partition on: windows that began before are not whole.
    let (rows, told) = count(&["--since", "120"]);
    assert!(rows > 0 && rows < 50 && told.contains("left out"), "{rows} {told}");
    let whole = folder.ok(&["replay", "orders", "--result", "per_minute", "--format", "json"]);
    let cut = folder.ok(&["replay", "orders", "--result", "per_minute", "--format", "json", "--since", "120"]);
    assert!(cut.lines().all(|line| whole.lines().any(|other| other == line)), "a row that is shown is whole: {cut}");

    let summary = folder.ok(&["replay", "orders", "--format", "csv"]);
    assert_eq!(summary.lines().next(), Some("result,rows,latest"));
    assert!(summary.contains("large,10,") && summary.contains("per_minute,50,"), "{summary}");
    assert!(!folder.ok(&["topics", "list"]).contains("large "), "nothing was written");
    assert_eq!(folder.ok(&["replay", "orders", "--into", "large"]), "large: 10 rows put into topic large of the log\n");
    assert_eq!(
        folder.ok(&["replay", "orders", "--result", "per_minute", "--into", "again"]),
        "per_minute: 50 rows put into topic again of the log\n"
    );
    let large = folder.topic("large");
    assert_eq!((large.len(), large[0].len()), (1, 10), "the topic is made as its table says");
    assert_eq!(folder.topic("again").iter().map(eagre::log::Records::len).sum::<usize>(), 50);

    let refused: [(&[&str], &str); 7] = [
        (&["replay", "order"], "the project reads no table and no topic 'order'; did you mean 'orders'?"),
        (&["replay", "dead-leters"], "did you mean 'dead-letters'?"),
        (&["replay", "orders", "--result", "per_minut"], "no such result comes of it; did you mean 'per_minute'?"),
        (&["replay", "orders", "--into", "elsewhere"], "--into takes one result"),
        (&["replay", "orders", "--since", "noon"], "'noon' is no moment"),
        (&["replay", "orders", "--since", "120", "--diff"], "--diff takes a time for --since"),
        (&["replay"], "required"),
    ];
    for (arguments, wanted) in refused {
        let (code, told) = folder.fails(arguments);
        assert!(code == 2 && told.contains(wanted), "{arguments:?}: {code} {told}");
    }
}

#[test]
fn the_history_of_a_kafka_topic_runs_again_too() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("history", 2);
    for (partition, remainder) in [(0, 0), (1, 1)] {
        let lines: String = records().iter().skip(remainder).step_by(2).map(|(_, value, _)| format!("{value}\n")).collect();
        kafka.put(&topic, partition, false, &lines);
    }
    let tables = ORDERS.replace(
        "'connector' = 'log', 'topic' = 'shop-orders', 'format' = 'json', 'partitions' = '2'",
        &format!("'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json'", kafka.servers()),
    );
    let folder = Folder::new(&project(&tables, "SUM(amount)", 590));
    folder.run_until(WINDOWS, 45);
    let told = folder.ok(&["replay", &topic, "--diff"]);
    assert_eq!(told, "large: the same, 10 rows\nper_minute: the same, 45 rows; 5 rows later than all that is live\n");
}
