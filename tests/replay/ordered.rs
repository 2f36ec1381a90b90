//! `'dead-letter.ordered'`: what comes behind a refused record of its key waits, and goes through in order after it.

use std::fs;

use serde_json::Value;

use super::{Folder, NOON};

fn project(amount: &str) -> String {
    format!(
        "CREATE TABLE orders (id INT, amount {amount}, k STRING METADATA FROM 'key' VIRTUAL)
WITH ('connector' = 'log', 'format' = 'json', 'partitions' = '2', 'dead-letter.ordered' = 'true');
CREATE MATERIALIZED VIEW seen AS SELECT id, k FROM orders WHERE amount > -1;
CREATE TABLE copied (id INT, k STRING) WITH ('connector' = 'log', 'format' = 'json', 'partitions' = '1', 'key.fields' = 'k');
INSERT INTO copied SELECT id, k FROM orders WHERE amount > -1;"
    )
}

/// Orders 1 to 60 of three customers; of `ann`, the seventh is no whole number, of `bob` the last.
fn records() -> Vec<(&'static str, String, i64)> {
    let order = |n: i64| {
        let customer = ["ann", "bob", "cem"][(n % 3) as usize];
        let amount = if n == 21 || n == 58 { "1.5" } else { "1" };
        (customer, format!("{{\"id\":{n},\"k\":\"{customer}\",\"amount\":{amount}}}"), NOON + n)
    };
    (1..=60).map(order).collect()
}

/// The ids of a customer's orders in the order in which they went through.
fn through(folder: &Folder, customer: &str) -> Vec<i64> {
    let lines = folder.ok(&["topics", "tail", "copied", "--from", "earliest", "--no-follow"]);
    let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["key"] == customer).map(|record| record["value"]["id"].as_i64().unwrap()).collect()
}

fn put(folder: &Folder, id: i64, customer: &str) {
    fs::write(folder.path("one.jsonl"), format!("{{\"id\":{id},\"k\":\"{customer}\",\"amount\":1}}\n")).unwrap();
    folder.ok(&["topics", "put", "orders", "one.jsonl", "--key-field", "k"]);
}

const SEEN: &str = "SELECT COUNT(*) FROM seen";
const PARKED: &str = "SELECT COUNT(*) FROM dead_letters WHERE reason = 'parked'";

#[test]
fn a_parked_key_goes_through_in_order_after_the_fix_also_over_kills() {
    let folder = Folder::new(&project("SMALLINT"));
    folder.put("orders", 2, &records());
    let mut running = folder.start();
    // Of ann 21 is refused and the 13 behind it wait; bob's 58 is refused, and nothing is behind it yet.
    running.until_count(&folder, PARKED, 13);
    running.until_count(&folder, SEEN, 45);
    let errors = folder.rows("SELECT DISTINCT error FROM dead_letters WHERE reason = 'parked'");
    assert!(errors.len() == 1 && errors[0].contains("was refused, and this later record of its key waits for it"), "{errors:?}");
    running.kill();
    folder.run_until(PARKED, 13);

    // What waits is known after kill and stop; a new order of ann waits, too, one of cem does not.
    folder.query(&project("DOUBLE"));
    let mut running = folder.start();
    running.until_count(&folder, PARKED, 13);
    put(&folder, 61, "ann");
    put(&folder, 62, "cem");
    running.until_count(&folder, PARKED, 14);
    running.until_count(&folder, SEEN, 46);
    // Only those that wait are sent: it is not their turn, and they wait again.
    let sent = folder.ok(&["replay", "dead-letters", "--reason", "parked"]);
    assert_eq!(sent, "orders: 14 letters sent to topic orders of the log\n");
    running.until_count(&folder, PARKED, 28);
    running.until_count(&folder, SEEN, 46);
    running.kill();

    // All of them: the key is released behind the last, and later orders go their way.
    let mut running = folder.start();
    running.until_count(&folder, PARKED, 28);
    let sent = folder.ok(&["replay", "dead-letters"]);
    assert!(sent.starts_with("orders: 16 letters sent to topic orders of the log\n"), "{sent}");
    running.until_count(&folder, SEEN, 62);
    put(&folder, 63, "ann");
    put(&folder, 64, "bob");
    running.until_count(&folder, SEEN, 64);
    running.stop();
    let wanted = |customer: i64, more: &[i64]| -> Vec<i64> { (1..=60).filter(|n| n % 3 == customer).chain(more.iter().copied()).collect() };
    assert_eq!(through(&folder, "ann"), wanted(0, &[61, 63]));
    assert_eq!(through(&folder, "bob"), wanted(1, &[64]));
    assert_eq!(through(&folder, "cem"), wanted(2, &[62]));
}

#[test]
fn a_mended_record_that_no_query_asks_for_releases_its_key_all_the_same() {
    let sql = |amount: &str| {
        format!(
            "CREATE TABLE orders (id INT, amount {amount}, k STRING METADATA FROM 'key' VIRTUAL)
WITH ('connector' = 'log', 'format' = 'json', 'partitions' = '1', 'dead-letter.ordered' = 'true');
CREATE MATERIALIZED VIEW seen AS SELECT id FROM orders WHERE amount >= 2;"
        )
    };
    let order = |id: i64, amount: &str| ("ann", format!("{{\"id\":{id},\"k\":\"ann\",\"amount\":{amount}}}"), NOON + id);
    let folder = Folder::new(&sql("SMALLINT"));
    folder.put("orders", 1, &[order(1, "2"), order(2, "1.5"), order(3, "2")]);
    let mut running = folder.start();
    running.until_count(&folder, PARKED, 1);
    running.stop();
    folder.query(&sql("DOUBLE"));
    let mut running = folder.start();
    folder.ok(&["replay", "dead-letters"]);
    running.until_count(&folder, SEEN, 2);
    running.stop();
}

#[test]
fn records_without_keys_cannot_be_ordered() {
    let sql = "CREATE TABLE lines (id INT) WITH ('connector' = 'filesystem', 'path' = 'in.jsonl', 'format' = 'json', 'dead-letter.ordered' = 'true');
CREATE MATERIALIZED VIEW seen AS SELECT id FROM lines;";
    let (code, told) = Folder::new(sql).fails(&["check", "."]);
    assert!(
        code == 2 && told.contains("10.sql:1:103: ") && told.contains("table 'lines': 'dead-letter.ordered' needs records with keys"),
        "{code} {told}"
    );
    // Where the table names a broker of eagre.yaml, what that is decides.
    let mail = Folder::new(&sql.replace("'connector' = 'filesystem', 'path' = 'in.jsonl'", "'broker' = 'mail', 'queue' = 'q'"));
    std::fs::write(mail.path("eagre.yaml"), "brokers:\n  mail:\n    connector: rabbitmq\n    uri: amqp://nowhere\n").unwrap();
    let (code, told) = mail.fails(&["check", "."]);
    assert!(code == 2 && told.contains("'dead-letter.ordered' needs records with keys"), "{code} {told}");
    let slip = sql.replace("'dead-letter.ordered' = 'true'", "'dead-letter.ordered' = 'yes'");
    let (code, told) = Folder::new(&slip).fails(&["check", "."]);
    assert!(code == 2 && told.contains("dead-letter.ordered"), "{code} {told}");
}
