//! `warm_up: log` in whole projects: a rule that is added while the project stands begins with what the partitions of a
//! topic have brought, of the log and of Kafka.

use std::fs;

use crate::kafka::Kafka;
use crate::replay::{Folder, NOON, Running};

const MINUTE: i64 = 60_000_000;
/// Payments that come before the rule is added, and after.
const BEFORE: i64 = 100;
const ALL: i64 = 160;

fn tables(with: &str) -> String {
    format!(
        "CREATE TABLE payments (id STRING, customer STRING, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts) WITH ({with}, 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601');
CREATE MATERIALIZED VIEW seen AS SELECT id FROM payments;"
    )
}

fn rule(name: &str, more_than: u32, more: &str) -> String {
    format!(
        "rule: {name}\non: payments\nkey: [customer]\n{more}match: {{ count: {{ over: 1h, more_than: {more_than}, each: true }} }}
emit: {{ type: shop.fraud.Seen, subject: id, data: {{ n: 'count()' }} }}\n"
    )
}

/// Payment `n`, every four minutes one: customers change quickly, so that a partition holds payments of all of them.
fn payment(n: i64) -> String {
    let customer = ["ann", "bob"][usize::from(n % 7 < 4)];
    let time = chrono::DateTime::from_timestamp_micros(NOON + 4 * n * MINUTE).unwrap().format("%Y-%m-%dT%H:%M:%SZ");
    format!("{{\"id\":\"{n}\",\"customer\":\"{customer}\",\"ts\":\"{time}\"}}")
}

/// The payments at which `busy` raises an alert.
fn busy(folder: &Folder) -> Vec<i64> {
    let rows = folder.ok(&["sql", "--format", "csv", "-c", "SELECT subject FROM alerts WHERE rule = 'busy'"]);
    let mut found: Vec<i64> = rows.lines().skip(1).map(|id| id.parse().unwrap()).collect();
    found.sort_unstable();
    found
}

fn until_seen(running: &mut Running, folder: &Folder, count: i64) {
    running.until_count(folder, "SELECT COUNT(*) FROM seen", count as usize);
}

/// Runs a project with the rule from the start, and one to which it is added; `put` writes payments, and both see the same.
fn warmed_up_is_as_if_it_had_run_all_the_time(with: [String; 2], put: impl Fn(&Folder, usize, std::ops::Range<i64>)) {
    let given = [false, true].map(|added| {
        let at = usize::from(added);
        let folder = Folder::new(&tables(&with[at]));
        fs::create_dir(folder.path("rules")).unwrap();
        // Another rule on the same stream has state of its own, which stays.
        fs::write(folder.path("rules/rare.yaml"), rule("rare", 12, "")).unwrap();
        if !added {
            fs::write(folder.path("rules/busy.yaml"), rule("busy", 7, "")).unwrap();
        }
        put(&folder, at, 0..BEFORE);
        let mut running = folder.start();
        until_seen(&mut running, &folder, BEFORE);
        running.stop();
        if added {
            fs::write(folder.path("rules/busy.yaml"), rule("busy", 7, "warm_up: log\n")).unwrap();
        }
        let mut running = folder.start();
        until_seen(&mut running, &folder, BEFORE);
        running.stop();
        let before = busy(&folder);
        put(&folder, at, BEFORE..ALL);
        let mut running = folder.start();
        until_seen(&mut running, &folder, ALL);
        running.stop();
        let mut then = busy(&folder);
        then.retain(|payment| !before.contains(payment));
        (before, then)
    });
    let [(before, then), (nothing, added)] = given;
    assert!(before.len() > 2 && then.len() > 2, "{before:?} {then:?}");
    assert_eq!(nothing, Vec::<i64>::new(), "nothing is raised for what was complete before");
    assert_eq!(added, then);
}

#[test]
fn over_two_partitions_of_the_log() {
    let with = || "'connector' = 'log', 'partitions' = '2'".to_owned();
    warmed_up_is_as_if_it_had_run_all_the_time([with(), with()], |folder, _, numbers| {
        let keys: Vec<String> = numbers.clone().map(|n| n.to_string()).collect();
        let records: Vec<(&str, String, i64)> = keys.iter().zip(numbers).map(|(key, n)| (key.as_str(), payment(n), NOON)).collect();
        folder.put("payments", 2, &records);
    });
}

#[test]
fn over_two_partitions_of_kafka() {
    let kafka = Kafka::shared();
    let topics = [kafka.topic("payments", 2), kafka.topic("payments", 2)];
    let with = |topic: &String| {
        format!(
            "'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'scan.startup.mode' = 'earliest-offset'",
            kafka.servers()
        )
    };
    warmed_up_is_as_if_it_had_run_all_the_time([with(&topics[0]), with(&topics[1])], |_, at, numbers| {
        for partition in 0..2 {
            let lines: String = numbers.clone().filter(|n| n % 2 == i64::from(partition)).map(|n| payment(n) + "\n").collect();
            kafka.put(&topics[at], partition, false, &lines);
        }
    });
}
