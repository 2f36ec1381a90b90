//! The embedded log against crashes and damage: killed processes, cut and flipped files, random histories.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use eagre::error::Kind;
use eagre::log::{Batch, Log, Record, Topic};
use proptest::prelude::*;

/// All values of a partition in the order of offsets, which must have no gap.
fn values(log: &Log, topic: &Topic, partition: u32) -> Vec<String> {
    let mut next = topic.start_offset(partition).unwrap();
    let mut all = Vec::new();
    loop {
        let records = log.read(topic, partition, next, 64 << 10).unwrap();
        let Some(after) = records.next_offset() else { return all };
        assert_eq!(records.offsets, (next..after).collect::<Vec<_>>());
        all.extend((0..records.len()).map(|i| String::from_utf8(records.value(i).unwrap().to_vec()).unwrap()));
        next = after;
    }
}

fn append(log: &Log, topic: &Topic, partition: u32, values: &[String]) {
    let mut batch = Batch::default();
    for value in values {
        batch.push(topic, partition, &Record::new(value.as_bytes(), 0)).unwrap();
    }
    log.append(batch).unwrap();
}

/// The newest journal below the log's folder.
fn journal(dir: &Path) -> PathBuf {
    let journals =
        std::fs::read_dir(dir.join("db")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "jnl"));
    journals.max_by_key(|p| p.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap()).unwrap()
}

fn end_of(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b != 0).unwrap() + 1
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_torn_tail_is_repaired_and_told_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let topic = log.create_topic("orders", 1, None).unwrap();
    append(&log, &topic, 0, &["kept".into()]);
    let sound = end_of(&std::fs::read(journal(dir.path())).unwrap());
    append(&log, &topic, 0, &["torn".into()]);
    drop((log, topic));
    let journal_file = journal(dir.path());
    let mut whole = std::fs::read(&journal_file).unwrap();
    whole.truncate(end_of(&whole));
    std::fs::write(&journal_file, &whole).unwrap();
    for cut in (sound + 1..whole.len()).step_by(7) {
        let other = tempfile::tempdir().unwrap();
        copy(dir.path(), other.path());
        std::fs::write(journal(other.path()), &whole[..cut]).unwrap();
        let log = Log::open(other.path()).unwrap();
        let torn = log.repaired().unwrap().clone();
        assert_eq!((torn.kept_bytes, torn.kept_bytes + torn.cut_bytes), (sound as u64, end_of(&whole[..cut]) as u64));
        let topic = log.topic("orders").unwrap();
        append(&log, &topic, 0, &["next".into()]);
        drop((log, topic));
        let log = Log::open(other.path()).unwrap();
        assert_eq!(log.repaired(), None);
        assert_eq!(values(&log, &log.topic("orders").unwrap(), 0), ["kept", "next"], "cut at {cut}");
    }
}

#[test]
fn damage_in_the_middle_is_refused_with_topic_and_offset_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    {
        let log = Log::open(dir.path()).unwrap();
        let topic = log.create_topic("orders", 4, None).unwrap();
        (0..5).for_each(|n| append(&log, &topic, 3, &[format!("the value {n}"), "more".into()]));
    }
    let path = journal(dir.path());
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    let at = memchr::memmem::find(&bad, b"the value 2").unwrap();
    bad[at + 3] ^= 0x10;
    std::fs::write(&path, &bad).unwrap();
    let refused = Log::open(dir.path()).unwrap_err();
    assert_eq!((refused.kind(), refused.kind().exit_code()), (Kind::Corrupt, 4));
    assert_eq!(refused.place().unwrap().to_string(), "orders[3]@4", "{refused}");
    assert!(std::fs::read(&path).unwrap() == bad);
    std::fs::write(&path, &good).unwrap();
    assert_eq!(Log::open(dir.path()).unwrap().repaired(), None);
}

#[test]
fn damage_in_a_table_is_found_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let text = |n: usize| format!("{n}:{}", "z".repeat(900));
    {
        let log = Log::open(dir.path()).unwrap();
        let topic = log.create_topic("orders", 1, None).unwrap();
        // More than stays in memory, so that tables are written.
        for n in 0..50 {
            append(&log, &topic, 0, &(0..1000).map(|m| text(n * 1000 + m)).collect::<Vec<_>>());
        }
        let waited = std::time::Instant::now();
        while !has_blobs(dir.path()) && waited.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let blob = blobs(dir.path()).into_iter().min().expect("a table was written");
    let mut bytes = std::fs::read(&blob).unwrap();
    let at = memchr::memmem::find(&bytes, text(5).as_bytes()).unwrap();
    bytes[at + 100] ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    let log = Log::open(dir.path()).unwrap();
    let topic = log.topic("orders").unwrap();
    let fault = log.read(&topic, 0, 0, 1 << 20).unwrap_err();
    assert_eq!(fault.kind(), Kind::Corrupt, "{fault}");
    // The storage engine checks whole blocks: the place is where the block begins.
    assert_eq!(fault.place().unwrap().to_string(), "orders[0]@0", "{fault}");
}

fn blobs(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.join("db/keyspaces")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else if entry.path().parent().unwrap().ends_with("blobs") {
                found.push(entry.path());
            }
        }
    }
    found
}

fn has_blobs(dir: &Path) -> bool {
    !blobs(dir).is_empty()
}

#[test]
fn a_reader_that_retention_overtakes_is_told_so_and_never_of_damage() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    let topic = log.create_topic("t", 1, Some(1)).unwrap();
    let reading = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut overtaken = 0;
            while overtaken < 20 {
                let start = topic.start_offset(0).unwrap();
                match log.read(&topic, 0, start, 1 << 20) {
                    Ok(records) => assert!(records.is_empty() || records.offsets[0] == start),
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::Failed, "{error}");
                        assert!(error.to_string().contains("is no longer there: retention"), "{error}");
                        overtaken += 1;
                    }
                }
                // An offset that is certainly behind: what a slow reader asks for.
                if start > 0 && log.read(&topic, 0, start - 1, 1).is_err() {
                    overtaken += 1;
                }
            }
            reading.store(false, std::sync::atomic::Ordering::Relaxed);
        });
        while reading.load(std::sync::atomic::Ordering::Relaxed) {
            let values: Vec<String> = (0..3).map(|n| format!("{n}{}", "r".repeat(3000))).collect();
            append(&log, &topic, 0, &values);
            log.expire(1_000).unwrap();
        }
    });
}

/// What the child process of the next test does: appends for ever, telling each batch that the log has taken.
#[test]
#[ignore = "run by kill_9_loses_nothing_acknowledged_and_doubles_nothing"]
fn append_until_killed() {
    let Ok(dir) = std::env::var("EAGRE_TEST_LOG") else { return };
    let log = Log::open(Path::new(&dir)).unwrap();
    let topic = log.topic("t").unwrap();
    let first: i64 = (0..topic.partitions()).map(|p| topic.end_offset(p).unwrap()).sum();
    let mut number = first;
    let mut out = std::io::stdout();
    loop {
        let mut batch = Batch::default();
        let until = number + 1 + number % 40;
        for n in number..until {
            let value = format!("{n} {}", "v".repeat((n % 500) as usize));
            batch.push(&topic, (n % 4) as u32, &Record::new(value.as_bytes(), n)).unwrap();
        }
        log.append(batch).unwrap();
        number = until;
        writeln!(out, "taken {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn kill_9_loses_nothing_acknowledged_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    Log::open(dir.path()).unwrap().create_topic("t", 4, None).unwrap();
    for round in 0..8_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["log::append_until_killed", "--exact", "--ignored", "--nocapture"])
            .env("EAGRE_TEST_LOG", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let taken = std::thread::spawn(move || {
            let numbers = output
                .lines()
                .map_while(|line| line.ok())
                .filter_map(|line| line.strip_prefix("taken ").and_then(|n| n.parse::<i64>().ok()));
            numbers.last().unwrap_or(0)
        });
        std::thread::sleep(Duration::from_millis(150 + round * 37));
        child.kill().unwrap();
        child.wait().unwrap();
        let taken = taken.join().unwrap();

        let log = Log::open(dir.path()).unwrap();
        let topic = log.topic("t").unwrap();
        let mut numbers: Vec<i64> = Vec::new();
        for partition in 0..4 {
            let of_partition: Vec<i64> =
                values(&log, &topic, partition).iter().map(|v| v.split(' ').next().unwrap().parse().unwrap()).collect();
            assert!(of_partition.is_sorted());
            numbers.extend(of_partition);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..numbers.len() as i64).collect::<Vec<_>>(), "round {round}: nothing missing, nothing twice");
        assert!(numbers.len() as i64 >= taken, "round {round}: {taken} were taken, {} are there", numbers.len());
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Appends so many records to each of these partitions, in one batch.
    Append(Vec<(u32, usize)>),
    /// Stages so many records for a partition; committed, thrown away by a restart, or committed after one.
    Stage(u32, usize, Fate),
    /// Reads a partition from a fraction of its length, in pieces of so many bytes.
    Read(u32, f64, usize),
    Restart,
}

#[derive(Debug, Clone)]
enum Fate {
    Committed,
    Lost,
    CommittedAfterRestart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![3 => 1..5_usize, 1 => 100..400_usize];
    let fate = prop_oneof![Just(Fate::Committed), Just(Fate::Lost), Just(Fate::CommittedAfterRestart)];
    let step = prop_oneof![
        4 => prop::collection::vec((0..3_u32, size.clone()), 1..4).prop_map(Step::Append),
        2 => (0..3_u32, size, fate).prop_map(|(p, n, f)| Step::Stage(p, n, f)),
        3 => (0..3_u32, 0.0..1.0, 1..100_000_usize).prop_map(|(p, f, b)| Step::Read(p, f, b)),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_history_reads_as_its_model(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path()).unwrap();
        let mut topic = log.create_topic("t", 3, None).unwrap();
        let mut model: Vec<Vec<String>> = vec![Vec::new(); 3];
        let mut made = 0;
        let mut make = |count: usize| -> Vec<String> {
            (0..count).map(|_| { made += 1; format!("{made}:{}", "q".repeat(made * 31 % 700)) }).collect()
        };
        let push = |batch: &mut Batch, topic: &Topic, partition: u32, values: &[String]| {
            values.iter().for_each(|v| batch.push(topic, partition, &Record::new(v.as_bytes(), 1)).unwrap());
        };
        for step in steps {
            match step {
                Step::Append(parts) => {
                    let mut batch = Batch::default();
                    for (partition, count) in parts {
                        let values = make(count);
                        push(&mut batch, &topic, partition, &values);
                        model[partition as usize].extend(values);
                    }
                    log.append(batch).unwrap();
                }
                Step::Stage(partition, count, fate) => {
                    let values = make(count);
                    let mut stage = log.stage("s").unwrap();
                    let mut batch = Batch::default();
                    push(&mut batch, &topic, partition, &values);
                    stage.write(batch).unwrap();
                    let id = stage.id();
                    drop(stage);
                    if !matches!(fate, Fate::Committed) {
                        drop((log, topic));
                        log = Log::open(dir.path()).unwrap();
                        topic = log.topic("t").unwrap();
                        let keep = if matches!(fate, Fate::Lost) { vec![] } else { vec![id] };
                        log.begin_sink("s", &keep).unwrap();
                    }
                    if !matches!(fate, Fate::Lost) {
                        log.commit_stages("s", 1, &[id]).unwrap();
                        log.commit_stages("s", 1, &[id]).unwrap();
                        model[partition as usize].extend(values);
                    }
                }
                Step::Read(partition, fraction, bytes) => {
                    let want = &model[partition as usize];
                    let from = (want.len() as f64 * fraction) as i64;
                    let records = log.read(&topic, partition, from, bytes).unwrap();
                    let got: Vec<_> = (0..records.len()).map(|i| String::from_utf8(records.value(i).unwrap().to_vec()).unwrap()).collect();
                    prop_assert_eq!(&got, &want[from as usize..from as usize + got.len()]);
                    prop_assert!(!got.is_empty() || from as usize == want.len());
                }
                Step::Restart => {
                    drop((log, topic));
                    log = Log::open(dir.path()).unwrap();
                    topic = log.topic("t").unwrap();
                }
            }
        }
        for partition in 0..3 {
            prop_assert_eq!(&values(&log, &topic, partition), &model[partition as usize]);
        }
    }
}
