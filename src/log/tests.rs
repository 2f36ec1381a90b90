//! The log as a whole: appended, read again, restarted, expired.

use std::time::Duration;

use super::*;
use crate::error::Kind;
use crate::time::now_micros;

fn values(log: &Log, topic: &Topic, partition: u32, from: i64) -> Vec<String> {
    let (mut out, mut next) = (Vec::new(), from);
    loop {
        let records = log.read(topic, partition, next, 1 << 20).unwrap();
        let Some(after) = records.next_offset() else { return out };
        assert_eq!(records.offsets, (next..after).collect::<Vec<_>>(), "offsets go on without a gap");
        out.extend((0..records.len()).map(|i| String::from_utf8(records.value(i).unwrap().to_vec()).unwrap()));
        next = after;
    }
}

fn batch(topic: &Topic, partition: u32, values: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for (n, value) in values.iter().enumerate() {
        batch.push(topic, partition, &Record::new(value.as_bytes(), n as i64)).unwrap();
    }
    batch
}

#[test]
fn what_was_appended_is_read_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let log = Log::open(dir.path()).unwrap();
        let topic = log.create_topic("orders", 3, None).unwrap();
        let appended = log.append(batch(&topic, 1, &["a", "b"])).unwrap();
        assert_eq!(appended, [Appended { topic: "orders".into(), partition: 1, offsets: 0..2 }]);
        assert_eq!(log.append(batch(&topic, 1, &["c"])).unwrap()[0].offsets, 2..3);
    }
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.repaired(), None);
    let topic = log.topic("orders").unwrap();
    assert_eq!((topic.partitions(), topic.end_offset(0).unwrap(), topic.end_offset(1).unwrap()), (3, 0, 3));
    assert_eq!(values(&log, &topic, 1, 0), ["a", "b", "c"]);
    assert_eq!(values(&log, &topic, 1, 1), ["b", "c"], "from the middle of a block");
    log.verify_end("orders", 1, 3).unwrap();
    assert_eq!(log.verify_end("orders", 1, 4).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn large_and_small_blocks_are_read_alike_over_many_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let text = |n: usize| format!("{n}:{}", "x".repeat(n % 997));
    let count = 20_000;
    {
        let log = Log::open(dir.path()).unwrap();
        let topic = log.create_topic("t", 64, None).unwrap();
        let mut batch = Batch::default();
        for n in 0..count {
            batch.push(&topic, (n % 64) as u32, &Record::new(text(n).as_bytes(), n as i64)).unwrap();
            if n % 7_000 == 6_999 || n < 100 {
                log.append(std::mem::take(&mut batch)).unwrap();
            }
        }
        log.append(batch).unwrap();
    }
    let log = Log::open(dir.path()).unwrap();
    let topic = log.topic("t").unwrap();
    for partition in 0..64 {
        let want: Vec<_> = (partition..count).step_by(64).map(text).collect();
        assert_eq!(values(&log, &topic, partition as u32, 0), want);
    }
}

#[test]
fn many_append_at_once_and_each_hears_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let topic = log.create_topic("t", 2, None).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let (log, topic) = (&log, &topic);
            scope.spawn(move || {
                let partition = thread % 2;
                for n in 0..20 {
                    let text = format!("{thread}:{n}");
                    let offsets = log.append(batch(topic, partition, &[&text, &text])).unwrap().remove(0).offsets;
                    let there = log.read(topic, partition, offsets.start, 1).unwrap();
                    assert_eq!(there.value(0).unwrap(), text.as_bytes());
                    assert_eq!(offsets.end - offsets.start, 2);
                }
            });
        }
    });
    assert_eq!((topic.end_offset(0).unwrap(), topic.end_offset(1).unwrap()), (160, 160));
}

#[test]
fn a_second_process_and_an_unknown_topic_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let second = Log::open(dir.path()).unwrap_err();
    assert_eq!(second.kind(), Kind::Input);
    assert!(second.to_string().contains(&format!("process {}", std::process::id())), "{second}");
    assert_eq!(log.topic("orders").unwrap_err().to_string(), "no topic 'orders' in the log; the log has no topics yet");
    log.create_topic("orders", 1, None).unwrap();
    assert_eq!(log.topic("order").unwrap_err().to_string(), "no topic 'order' in the log; did you mean 'orders'?");
    assert_eq!(log.create_topic("orders", 2, None).unwrap_err().kind(), Kind::Input);
}

#[test]
fn an_epoch_is_appended_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let topic = log.create_topic("t", 1, None).unwrap();
    assert!(log.append_epoch("s", 1, batch(&topic, 0, &["a"])).unwrap().is_some());
    drop((log, topic));
    let log = Log::open(dir.path()).unwrap();
    let topic = log.topic("t").unwrap();
    assert!(log.append_epoch("s", 1, batch(&topic, 0, &["a"])).unwrap().is_none());
    assert!(log.append_epoch("other", 1, batch(&topic, 0, &["b"])).unwrap().is_some());
    assert_eq!(values(&log, &topic, 0, 0), ["a", "b"]);
}

#[test]
fn staged_rows_are_seen_from_their_commit_on_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let long = "y".repeat(10_000);
    let stages = {
        let log = Log::open(dir.path()).unwrap();
        let topic = log.create_topic("t", 1, None).unwrap();
        let mut stages: Vec<Stage> = (0..3).map(|_| log.stage("s").unwrap()).collect();
        for (stage, text) in stages.iter_mut().zip(["a", long.as_str(), "abandoned"]) {
            stage.write(batch(&topic, 0, &[text])).unwrap();
        }
        log.append(batch(&topic, 0, &["between"])).unwrap();
        assert_eq!(values(&log, &topic, 0, 0), ["between"]);
        stages.iter().map(Stage::id).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let log = Log::open(dir.path()).unwrap();
        let topic = log.topic("t").unwrap();
        log.begin_sink("s", &stages[..1]).unwrap();
        log.begin_sink("s", &stages[1..2]).unwrap();
        assert!(log.stage("s").unwrap().id() > stages[2], "ids are not used twice");
        log.commit_stages("s", 1, &stages[..2]).unwrap();
        log.commit_stages("s", 1, &stages[..2]).unwrap();
        assert_eq!(values(&log, &topic, 0, 0), ["between", "a", &long]);
        assert_eq!(log.shared.index.prefix(keys::staged_by("s")).count(), 0, "nothing stays staged");
        assert_eq!(log.shared.blocks.len().unwrap(), 1);
        let lost = log.commit_stages("s", 2, &[stages[2]]).unwrap_err();
        assert_eq!(lost.kind(), Kind::Corrupt, "rows that were thrown away are not taken for committed");
        assert_eq!(log.commit_stages("s", 2, &[99]).unwrap_err().kind(), Kind::Corrupt, "a stage the log never saw");
    }
}

#[test]
fn another_retention_holds_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", 1, Some(5_000_000)).unwrap();
    for retention in [Some(7_000_000), None] {
        log.set_retention("t", retention).unwrap();
        assert_eq!(log.topic("t").unwrap().retention_micros(), retention);
    }
    log.set_retention("t", Some(9_000_000)).unwrap();
    assert!(log.set_retention("t", Some(0)).is_err() && log.set_retention("u", None).is_err());
    drop(log);
    assert_eq!(Log::open(dir.path()).unwrap().topic("t").unwrap().retention_micros(), Some(9_000_000));
}

#[test]
fn retention_drops_whole_blocks_and_keeps_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let topic = log.create_topic("t", 1, Some(100)).unwrap();
    let now = now_micros();
    let put = |time: i64| {
        let mut batch = Batch::default();
        batch.push(&topic, 0, &Record::new(&[b'x'; 5000], time)).unwrap();
        log.append(batch).unwrap();
    };
    (0..4).for_each(|n| put(now + n * 50));
    log.expire(now + 160).unwrap();
    assert_eq!((topic.start_offset(0).unwrap(), topic.end_offset(0).unwrap()), (2, 4));
    let gone = log.read(&topic, 0, 1, 100).unwrap_err();
    assert!(gone.to_string().starts_with("t[0]@1: offset 1 is no longer there: retention"), "{gone}");
    log.expire(now + 1000).unwrap();
    drop(topic.clone());
    drop((log, topic));
    let log = Log::open(dir.path()).unwrap();
    let topic = log.topic("t").unwrap();
    assert_eq!((topic.start_offset(0).unwrap(), topic.end_offset(0).unwrap()), (4, 4));
    assert_eq!(log.shared.blocks.len().unwrap(), 0);
    assert!(log.read(&topic, 0, 4, 100).unwrap().is_empty());
}

#[test]
fn offsets_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let topic = log.create_topic("t", 1, None).unwrap();
    for times in [[10, 20], [15, 30]] {
        let mut batch = Batch::default();
        times.iter().for_each(|time| batch.push(&topic, 0, &Record::new(b"v", *time)).unwrap());
        log.append(batch).unwrap();
    }
    let at = |time| log.offset_at_time(&topic, 0, time).unwrap();
    assert_eq!([at(0), at(11), at(21), at(31)], [0, 1, 3, 4]);
    assert_eq!(log.time_span(&topic, 0).unwrap(), Some((10, 30)));
}

#[tokio::test]
async fn a_follower_wakes_when_records_come() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let topic = log.create_topic("t", 1, None).unwrap();
    let mut follower = topic.follow(0).unwrap();
    assert!(!follower.wait_for(0, Duration::from_millis(5)).await);
    let appending = std::thread::spawn({
        let (log, batch) = (log.clone(), batch(&topic, 0, &["a"]));
        move || {
            log.append(batch).unwrap();
            std::time::Instant::now()
        }
    });
    assert!(follower.wait_for(0, Duration::from_secs(10)).await);
    let woken = std::time::Instant::now();
    let waited = woken.saturating_duration_since(appending.join().unwrap());
    assert!(waited < Duration::from_millis(200), "woken {waited:?} after the append");
}
