//! `eagre replay dead-letters` from and to the embedded log.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;

use serde_json::Value;

use super::{Folder, NOON, err, header};

/// Orders whose amount is an `amount`, and all of them in a live table.
fn orders(amount: &str, more: &str) -> String {
    format!(
        "CREATE TABLE orders (
  id INT, amount {amount}, customer STRING METADATA FROM 'key' VIRTUAL, at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL
) WITH ('connector' = 'log', 'format' = 'json', 'partitions' = '2'{more});
CREATE MATERIALIZED VIEW seen WITH ('retention' = '1000000 d') AS SELECT id, customer, at, CAST(amount AS DOUBLE) AS amount FROM orders;"
    )
}

/// Orders of five customers; every third is no whole number. The spaces show whether bytes stay as they were.
fn records(count: usize) -> Vec<(&'static str, String, i64)> {
    let customers = ["ann", "bob", "cem", "dan", "eve"];
    let value = |n: usize| match n % 3 {
        0 => format!("{{ \"id\":{n} ,  \"amount\": {n}.5 }}"),
        _ => format!("{{\"id\":{n},\"amount\":{n}}}"),
    };
    (0..count).map(|n| (customers[n % 5], value(n), NOON + n as i64 * 1_000_000)).collect()
}

const LETTERS: &str = "SELECT COUNT(*) FROM dead_letters";
const SEEN: &str = "SELECT COUNT(*) FROM seen";
const ROWS: &str = "SELECT id, customer, at, amount FROM seen";

#[test]
fn after_the_fix_of_a_table_its_letters_give_what_a_run_without_the_fault_gives() {
    let folder = Folder::new(&orders("SMALLINT", ""));
    folder.put("orders", 2, &records(200));
    let mut running = folder.start();
    running.until_count(&folder, LETTERS, 67);
    // What would be sent is shown, and nothing is.
    let shown = folder.ok(&["replay", "dead-letters", "--dry-run"]);
    let shown: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown.len(), 67);
    assert_eq!((&shown[0]["reason"], &shown[0]["to"]), (&"undecodable".into(), &"topic orders of the log".into()));
    assert_eq!((&shown[0]["attempts"], &shown[0]["headers"]["raw"]["hex"]), (&1.into(), &"ff00".into()));
    running.until_count(&folder, SEEN, 133);
    // The fault is still there: what is sent comes back as another letter, of a second attempt.
    let sent = folder.ok(&["replay", "dead-letters", "--limit", "1"]);
    assert_eq!(sent, "orders: 1 letter sent to topic orders of the log\n66 letters left for another call (--limit)\n");
    running.until_count(&folder, "SELECT COUNT(*) FROM dead_letters WHERE headers LIKE '%eagre-replay%' AND attempts = 2", 1);
    running.stop();

    folder.query(&orders("DOUBLE", ""));
    let mut running = folder.start();
    running.until_count(&folder, LETTERS, 68);
    let sent = folder.ok(&["replay", "dead-letters"]);
    assert_eq!(sent, "orders: 67 letters sent to topic orders of the log\n1 letter sent before (--again sends them, too)\n");
    running.until_count(&folder, SEEN, 200);
    assert_eq!(folder.ok(&["replay", "dead-letters"]), "68 letters sent before (--again sends them, too)\n");
    running.stop();

    let calm = Folder::new(&orders("DOUBLE", ""));
    calm.put("orders", 2, &records(200));
    calm.run_until(SEEN, 200);
    assert_eq!(folder.rows(ROWS), calm.rows(ROWS));

    // Each came back as it was: bytes, key, headers, time, partition, and in the order of its key.
    let mut order: BTreeMap<Vec<u8>, Vec<i64>> = BTreeMap::new();
    let mut again = 0;
    for (records, mut original) in folder.topic("orders").into_iter().zip(calm.topic("orders")) {
        let first = original.len();
        original.headers.iter_mut().for_each(|headers| headers.sort());
        for row in first..records.len() {
            let replay = header(&records, row, "eagre-replay").unwrap();
            let at = usize::try_from(replay["first_offset"].as_i64().unwrap()).unwrap();
            let mut headers = records.headers[row].clone();
            headers.retain(|(name, _)| name != "eagre-replay");
            headers.sort();
            assert_eq!((records.value(row), &records.keys[row], &headers), (original.value(at), &original.keys[at], &original.headers[at]));
            assert_eq!(records.timestamps[row], original.timestamps[at]);
            again += 1;
            if replay["attempt"] == 1 {
                order.entry(records.keys[row].clone().unwrap().to_vec()).or_default().push(at as i64);
            }
        }
    }
    assert_eq!((again, order.len()), (68, 5));
    assert!(order.values().all(|offsets| offsets.is_sorted()), "{order:?}");
}

#[test]
fn killed_in_the_middle_a_replay_sends_no_letter_twice() {
    let folder = Folder::new(&orders("SMALLINT", ""));
    folder.put("orders", 2, &records(3_600));
    folder.run_until(LETTERS, 1_200);
    let killed = folder.command(&["replay", "dead-letters"]).env("EAGRE_FAULT", "remembered").output().unwrap();
    assert_eq!(killed.status.signal(), Some(9), "{}", err(&killed));
    let sent = folder.ok(&["replay", "dead-letters"]);
    assert_eq!(sent, "orders: 700 letters sent to topic orders of the log\n500 letters sent before (--again sends them, too)\n");
    let mut values: Vec<_> =
        folder.topic("orders").iter().flat_map(|records| (0..records.len()).filter_map(|row| records.value(row))).collect();
    assert_eq!(values.len(), 4_800);
    values.sort();
    values.dedup();
    assert_eq!(values.len(), 3_600);
    let twice = folder
        .topic("orders")
        .iter()
        .flat_map(|records| (0..records.len()).filter_map(|row| header(records, row, "eagre-replay")).collect::<Vec<_>>())
        .count();
    assert_eq!(twice, 1_200);
    // Asked to, it sends them all the same.
    assert_eq!(
        folder.ok(&["replay", "dead-letters", "--again", "--limit", "2"]).lines().next().unwrap(),
        "orders: 2 letters sent to topic orders of the log"
    );
}

#[test]
fn letters_of_a_topic_are_chosen_by_what_they_are_and_go_where_they_are_told_to() {
    let late = "
CREATE TABLE clicks (id INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
  WITH ('connector' = 'log', 'format' = 'json', 'partitions' = '1', 'dead-letter' = 'refused');
CREATE MATERIALIZED VIEW per_minute AS
SELECT window_start, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;";
    let folder = Folder::new(&format!("{}{late}", orders("SMALLINT", ", 'dead-letter' = 'refused'")));
    folder.put("orders", 2, &records(30));
    let click = |id: i32, time: &str| ("k", format!("{{\"id\":{id},\"ts\":\"2024-01-01 {time}\"}}"), NOON);
    folder.put("clicks", 1, &[click(1, "12:00:00"), click(2, "12:05:00"), click(3, "12:00:01"), ("k", "no JSON".into(), NOON)]);
    let mut running = folder.start();
    running.until_count(&folder, SEEN, 20);
    running.until_count(&folder, "SELECT COUNT(*) FROM per_minute", 1);
    // Dead letters of a topic show with the checkpoint.
    let records_of = |folder: &Folder| folder.ok(&["topics", "tail", "refused", "--from", "earliest", "--no-follow"]).lines().count();
    let begun = std::time::Instant::now();
    while records_of(&folder) < 12 {
        assert!(begun.elapsed().as_secs() < 60, "{} letters", records_of(&folder));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let replay = |more: &[&str]| folder.ok(&[&["replay", "dead-letters", "--from", "refused"], more].concat());
    let lines = |more: &[&str]| replay(&[&["--dry-run"], more].concat()).lines().count();
    assert_eq!(lines(&[]), 11, "a late row has no bytes of its record");
    assert_eq!(lines(&["--source", "clicks"]), 1);
    assert_eq!(lines(&["--reason", "undecodable", "--where", "amount > 20 AND customer IS NULL AND key <> 'ann'"]), 3);
    assert_eq!(lines(&["--since", "-1h", "--table", "orders"]), 10);
    assert_eq!(lines(&["--until", "-1h"]), 0);
    assert_eq!(replay(&["--until", "2020-01-01"]), "none of 12 letters is what was asked for\n");
    let sent = replay(&["--into", "mended", "--where", "\"source\" = 'clicks'"]);
    let told: Vec<&str> = sent.lines().collect();
    assert_eq!(told[0], "clicks: 1 letter sent to topic mended of the log");
    assert_eq!(told.len(), 1, "{told:?}");
    let sent = replay(&[]);
    assert!(sent.contains("orders: 10 letters sent to topic orders of the log\n"), "{sent}");
    assert!(sent.contains(": 1 letter not sent: only the row is left that an operator refused, as JSON"), "{sent}");
    assert!(sent.contains("1 letter sent before"), "{sent}");
    running.stop();
    let mended = folder.topic("mended");
    assert_eq!(mended.iter().map(eagre::log::Records::len).sum::<usize>(), 1);
    assert!(!folder.ok(&["topics", "list"]).contains("__eagre"), "what the engine keeps for itself is not listed");

    let refused: [(&[&str], &str); 7] = [
        (&["--reason", "undecodeable"], "--reason 'undecodeable': nothing is refused for that; did you mean 'undecodable'?"),
        (&["--source", "order"], "--source 'order': the project reads no such table; did you mean 'orders'?"),
        (&["--from", "refusd"], "no topic 'refusd' in the log; did you mean 'refused'?"),
        (&["--from", "refused", "--broker", "none"], "--broker 'none': there is no such broker"),
        (&["--from", "refused", "--into", "refused"], "--from and --into are the same topic 'refused'"),
        (&["--where", "amount >"], "--where 'amount >': "),
        (&["--since", "yesterday"], "'yesterday' is no moment"),
    ];
    for (arguments, wanted) in refused {
        let (code, told) = folder.fails(&[&["replay", "dead-letters"], arguments].concat());
        assert!(code == 2 && told.contains(wanted), "{arguments:?}: {code} {told}");
    }
}

#[test]
fn without_an_engine_letters_are_those_of_the_last_checkpoint_and_what_cannot_be_written_to_is_told() {
    let folder = Folder::new(
        "CREATE TABLE lines (id INT) WITH ('connector' = 'filesystem', 'path' = 'in.jsonl', 'format' = 'json');
CREATE MATERIALIZED VIEW seen AS SELECT id FROM lines;",
    );
    assert_eq!(folder.ok(&["replay", "dead-letters", "--dry-run"]), "");
    assert!(!folder.path(".eagre/log").exists(), "looking makes nothing");
    std::fs::write(folder.path("in.jsonl"), "{\"id\": 1}\nno JSON\n").unwrap();
    folder.ok(&["run", "."]);
    let told = folder.ok(&["replay", "dead-letters"]);
    assert_eq!(told, "lines: 1 letter not sent: what 'filesystem' reads cannot be written to: --into TOPIC sends them to a topic\n");
    assert_eq!(folder.ok(&["replay", "dead-letters", "--into", "mended"]), "lines: 1 letter sent to topic mended of the log\n");
    assert_eq!(folder.topic("mended").iter().find(|records| !records.is_empty()).unwrap().value(0).unwrap(), "no JSON");
}
