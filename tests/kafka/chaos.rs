//! Killed between any two steps of a commit, at random moments, with its broker killed, its network hanging, another
//! instance beside it: what readers of committed records see is what the calm run gives, nothing lost, nothing doubled.
//!
//! `EAGRE_SEED` repeats a run; `EAGRE_LONG` kills more often.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eagre::fault::Point;

use super::proxy::Proxy;
use super::{Job, Kafka, lines, unique};
use crate::brokers;
use crate::digests::eagre;
use crate::workload;

/// A job with two topics, files and a log topic behind one topic of events.
struct Chaos {
    kafka: Kafka,
    /// How the job reaches the broker.
    servers: String,
    job: Job,
    events: String,
    counts: String,
    paid: String,
    prefix: String,
}

const COLUMNS: &str = "eventId STRING, `type` STRING, customerId STRING, orderId STRING, ts BIGINT, amount DOUBLE";

impl Chaos {
    /// A broker with its events, and nothing written yet.
    fn new(kafka: &Kafka, servers: &str) -> Chaos {
        let events = kafka.topic("events", 2);
        Job::new().run(
            "fill.sql",
            &format!(
                "CREATE TABLE files ({COLUMNS}) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
                 CREATE TABLE events ({COLUMNS}) WITH ('connector' = 'kafka', 'topic' = '{events}', 'properties.bootstrap.servers' = '{}',
                   'value.format' = 'json', 'key.format' = 'raw', 'key.fields' = 'customerId');
                 INSERT INTO events SELECT * FROM files;",
                workload::small().join("all/events.jsonl").display(),
                kafka.servers()
            ),
        );
        Chaos::again(kafka, servers, events)
    }

    /// The same events, nothing written yet.
    fn again(kafka: &Kafka, servers: &str, events: String) -> Chaos {
        let mut job = Job::new();
        job.set = vec!["checkpoint.interval=10 ms".into()];
        let [counts, paid] = ["counts", "paid"].map(|stem| kafka.topic(stem, 2));
        Chaos { kafka: kafka.clone(), servers: servers.to_owned(), job, events, counts, paid, prefix: unique("chaos") }
    }

    fn sql(&self) -> String {
        let out = self.job.dir.path().display();
        let kafka = format!(
            "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}', 'format' = 'json', 'connect.timeout' = '90 s'",
            self.servers
        );
        let once = format!("'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{}'", self.prefix);
        format!(
            "CREATE TABLE events ({COLUMNS}, rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND)
               WITH ({kafka}, 'topic' = '{events}', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset');
             CREATE TABLE counts (customerId STRING, ws TIMESTAMP(3), cnt BIGINT, cents BIGINT) WITH ({kafka}, 'topic' = '{counts}', {once});
             CREATE TABLE paid (orderId STRING, eventId STRING) WITH ({kafka}, 'topic' = '{paid}', {once});
             CREATE TABLE files (customerId STRING, ws TIMESTAMP(3), cnt BIGINT, cents BIGINT) WITH ('connector' = 'filesystem', 'path' = '{out}/files', 'format' = 'json');
             CREATE TABLE logged (orderId STRING, eventId STRING) WITH ('connector' = 'log', 'format' = 'json', 'topic' = 'logged', 'partitions' = '1');
             CREATE TEMPORARY VIEW counted AS SELECT customerId, window_start AS ws, COUNT(*) AS cnt, SUM(CAST(ROUND(amount * 100) AS BIGINT)) AS cents
               FROM TABLE(HOP(TABLE events, DESCRIPTOR(rt), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)) GROUP BY window_start, window_end, customerId;
             CREATE TEMPORARY VIEW pairs AS SELECT o.orderId, p.eventId FROM events o JOIN events p ON o.customerId = p.customerId
               AND o.`type` = 'OrderCreated' AND p.`type` = 'PaymentProcessed' AND p.rt BETWEEN o.rt - INTERVAL '5' MINUTE AND o.rt + INTERVAL '5' MINUTE;
             EXECUTE STATEMENT SET BEGIN
               INSERT INTO counts SELECT * FROM counted; INSERT INTO paid SELECT * FROM pairs;
               INSERT INTO files SELECT * FROM counted; INSERT INTO logged SELECT * FROM pairs;
             END;",
            events = self.events,
            counts = self.counts,
            paid = self.paid,
        )
    }

    /// The job. A run may be killed when its last checkpoint is confirmed and only its end is missing: it is gone on from
    /// then, too, for a run afresh would append everything again.
    fn command(&self) -> Command {
        let mut command = self.job.command("job.sql", &self.sql());
        command.args(["--restore", "latest"]);
        command
    }

    /// All results: the topics as a client that is not ours sees them, the files, the log.
    fn results(&self) -> BTreeMap<&'static str, Vec<String>> {
        // The log is in the job's own data directory.
        let dump = self.job.path("dump.sql");
        fs::write(
            &dump,
            format!(
                "CREATE TABLE logged (orderId STRING, eventId STRING)
                   WITH ('connector' = 'log', 'format' = 'json', 'topic' = 'logged', 'partitions' = '1', 'scan.bounded.mode' = 'latest-offset');
                 CREATE TABLE dumped (orderId STRING, eventId STRING) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
                 INSERT INTO dumped SELECT * FROM logged;",
                self.job.path("logged.jsonl").display()
            ),
        )
        .unwrap();
        let done = eagre(&dump, &self.job.path("job.sql.state"), 1, &[]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        [
            ("counts", self.kafka.committed(&self.counts, "%s")),
            ("paid", self.kafka.committed(&self.paid, "%s")),
            ("files", lines(&self.job.path("files"))),
            ("logged", lines(&self.job.path("logged.jsonl"))),
        ]
        .into()
    }

    fn finish(&self) {
        let done = self.command().output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// A calm run in the shared broker.
fn calm() -> BTreeMap<&'static str, Vec<String>> {
    let kafka = Kafka::shared();
    let chaos = Chaos::new(&kafka, kafka.servers());
    chaos.finish();
    let results = chaos.results();
    assert!(results.values().all(|rows| rows.len() > 100), "{:?}", results.iter().map(|(k, v)| (k, v.len())).collect::<Vec<_>>());
    results
}

fn equal(what: &str, calm: &BTreeMap<&'static str, Vec<String>>, found: &BTreeMap<&'static str, Vec<String>>) {
    for (name, rows) in calm {
        assert!(*rows == found[name], "{what}: {name}: {} rows, the calm run has {}", found[name].len(), rows.len());
    }
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("EAGRE_SEED").map_or(now, |s| s.parse().unwrap());
    println!("EAGRE_SEED={seed}");
    seed
}

/// Pseudo-random numbers.
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

/// How a run ended.
enum Gone {
    Killed,
    Finished,
}

/// Waits for a child for so long, then kills it. It may also have been killed at a fault point.
fn wait_or_kill(mut child: Child, patience: Duration) -> Gone {
    let started = Instant::now();
    while started.elapsed() < patience {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    // Nothing is done to one that has ended.
    child.kill().unwrap();
    let ended = child.wait_with_output().unwrap();
    match (ended.status.success(), ended.status.signal()) {
        (true, _) => Gone::Finished,
        (false, Some(9)) => Gone::Killed,
        _ => panic!("{}", String::from_utf8_lossy(&ended.stderr)),
    }
}

#[test]
fn killed_between_any_two_steps_and_at_random_moments_nothing_is_lost_or_doubled() {
    let (calm, kafka, seed) = (calm(), Kafka::shared(), seed());
    let wanted = if std::env::var_os("EAGRE_LONG").is_some() { 60 } else { 12 };
    let (mut random, mut kills, mut rounds, mut step) = (seed, 0, 0, 0);
    let mut chaos = Chaos::new(&kafka, kafka.servers());
    loop {
        // Each point in turn, at its first or a later passing; every third run ends at any moment.
        let point = Point::ALL[step / 2 % Point::ALL.len()];
        let passing = if point == Point::Fenced { 1 } else { 1 + next(&mut random) % 2 };
        let (fault, patience) = match step % 3 {
            _ if kills >= wanted => (String::new(), 120_000),
            2 => (String::new(), 50 + next(&mut random) % 1_000),
            _ => (format!("{}:{passing}", point.name()), 120_000),
        };
        step += 1;
        let child = chaos.command().env("EAGRE_FAULT", &fault).spawn().unwrap();
        match wait_or_kill(child, Duration::from_millis(patience)) {
            Gone::Killed => kills += 1,
            Gone::Finished => {
                rounds += 1;
                equal(&format!("EAGRE_SEED={seed}, round {rounds}, {kills} kills"), &calm, &chaos.results());
                if kills >= wanted {
                    break;
                }
                chaos = Chaos::again(&kafka, kafka.servers(), chaos.events.clone());
            }
        }
        assert!(step < 20 * wanted, "only {kills} kills: the runs end before they are killed");
    }
    println!("killed {kills} times in {rounds} rounds");
}

/// Broken brokers are not shared: one after the other in a cluster of their own.
#[test]
fn a_broker_killed_and_a_network_that_hangs_change_nothing() {
    let calm = calm();
    let kafka = Kafka { addresses: brokers::up("brokers-chaos", "kafka") };
    let pid_file = kafka.addresses["KAFKA_PID_FILE"].clone();
    let mut random = seed();

    let chaos = Chaos::new(&kafka, kafka.servers());
    let mut child = chaos.command().spawn().unwrap();
    thread::sleep(Duration::from_millis(300 + next(&mut random) % 700));
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    thread::sleep(Duration::from_millis(500));
    brokers::up("brokers-chaos", "kafka");
    let ended = child.wait().unwrap();
    assert!(ended.success(), "the run did not survive its broker");
    equal("broker killed", &calm, &chaos.results());

    let proxy = Proxy::start(&kafka.addresses["KAFKA_PROXIED"], &kafka.addresses["KAFKA_BEHIND_PROXY"]);
    let chaos = Chaos::new(&kafka, &kafka.addresses["KAFKA_PROXIED"]);
    let mut child = chaos.command().spawn().unwrap();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(200 + next(&mut random) % 500));
        proxy.hang(true);
        thread::sleep(Duration::from_millis(1_500));
        proxy.hang(false);
    }
    assert!(child.wait().unwrap().success(), "the run did not survive its network");
    equal("network hanging", &calm, &chaos.results());
    brokers::down("brokers-chaos", "kafka");
}

#[test]
fn a_second_instance_fences_the_first() {
    let kafka = Kafka::shared();
    let (topic, prefix) = (kafka.topic("fenced", 1), unique("fenced"));
    let sql = format!(
        "CREATE TABLE s (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '100', 'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '1000000');
         CREATE TABLE t (n BIGINT) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'format' = 'json',
           'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{prefix}');
         INSERT INTO t SELECT n FROM s;",
        kafka.servers()
    );
    let (mut first, mut second) = (Job::new(), Job::new());
    for job in [&mut first, &mut second] {
        job.set = vec!["checkpoint.interval=100 ms".into()];
    }
    let one = first.command("fenced.sql", &sql).spawn().unwrap();
    kafka.kcat(&["-C", "-t", &topic, "-o", "beginning", "-c", "1", "-X", "isolation.level=read_committed"], "");
    let mut two = second.command("fenced.sql", &sql).spawn().unwrap();
    let gone = one.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&gone.stderr);
    assert_eq!(gone.status.code(), Some(1), "{said}");
    assert!(said.contains("another instance of this pipeline has taken over"), "{said}");
    assert!(two.try_wait().unwrap().is_none(), "the second goes on");
    two.kill().unwrap();
    two.wait().unwrap();
}
