//! A queue read by a process that is killed again and again: nothing lost, nothing counted twice.

use std::time::{Duration, Instant};

use serde_json::json;

use super::outside::numbered;
use super::{Job, Outside, shared, unique};

const MESSAGES: u32 = 20_000;
const PIECE: u32 = 1_000;

/// Counts messages over windows and keeps each one: both are whole only if nothing is lost and nothing doubled.
fn sql(uri: &str, queue: &str, job: &Job) -> String {
    format!(
        "CREATE TABLE messages (n BIGINT) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'queue' = '{queue}', 'format' = 'json');
CREATE TABLE seen (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
INSERT INTO seen SELECT n FROM messages;",
        job.path("seen").display()
    )
}

fn killed_while_messages_come(kind: &str, kills: usize) {
    let uri = &shared()["RABBITMQ"];
    let queue = unique(&format!("restarts.{kind}"));
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, kind);
    let job = Job::new("");
    job.rewrite(&sql(uri, &queue, &job));
    let seed = std::env::var("EAGRE_SEED").map_or(unique("").len() as u64 ^ u64::from(std::process::id()), |seed| seed.parse().unwrap());
    println!("EAGRE_SEED={seed}");
    let mut random = seed;
    let (mut sent, mut killed) = (0, 0);
    while killed < kills || sent < MESSAGES {
        let running = job.start();
        if sent < MESSAGES {
            outside.put(&queue, numbered(sent..sent + PIECE));
            sent += PIECE;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(150 + (random >> 33) % 500));
        running.kill();
        killed += 1;
    }
    // Left alone it reads the rest, and acknowledges.
    let mut running = job.start();
    running.until("all messages are read", |_| job.lines("seen").len() >= MESSAGES as usize);
    assert_eq!(running.stop(), 0);
    let mut wanted: Vec<String> = (0..MESSAGES).map(|n| json!({ "n": n }).to_string()).collect();
    wanted.sort();
    let seen = job.lines("seen");
    assert!(seen == wanted, "EAGRE_SEED={seed}: {} lines of {MESSAGES} after {killed} kills; {}", seen.len(), job.said());
    assert_eq!(outside.depth(&queue), 0, "stopped in order: all is acknowledged");
    println!("{kind}: killed {killed} times");
    outside.step(json!({ "step": "delete", "queue": queue }));
}

#[test]
fn a_classic_queue_is_counted_once_over_twenty_kills() {
    killed_while_messages_come("classic", 20);
}

#[test]
fn a_quorum_queue_is_counted_once_over_twenty_kills() {
    killed_while_messages_come("quorum", 20);
}

#[test]
fn killed_between_checkpoint_and_acknowledgement_each_message_counts_once() {
    let uri = &shared()["RABBITMQ"];
    for kind in ["classic", "quorum"] {
        let queue = unique(&format!("unacknowledged.{kind}"));
        let mut outside = Outside::connect(uri);
        outside.queue(&queue, kind);
        let job = Job::new("");
        job.rewrite(&sql(uri, &queue, &job));
        let (pieces, mut again) = (4, 0);
        for piece in 0..pieces {
            outside.put(&queue, numbered(piece * 1_000..(piece + 1) * 1_000));
            job.start_with("confirmed:2").ends_killed();
            // The broker takes a moment to put back what nobody will acknowledge.
            let (mut depth, mut since) = (outside.depth(&queue), Instant::now());
            while since.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(50));
                let now = outside.depth(&queue);
                if now != depth {
                    (depth, since) = (now, Instant::now());
                }
            }
            // Both in a confirmed checkpoint and in the queue: they come again.
            again += (depth + job.lines("seen").len() as u64).saturating_sub(u64::from((piece + 1) * 1_000));
        }
        assert!(again > 0, "{kind}: it was never killed between a checkpoint and its acknowledgement");
        let mut running = job.start();
        running.until("all messages are acknowledged", |_| outside.depth(&queue) == 0 && job.lines("seen").len() >= 4_000);
        assert_eq!(running.stop(), 0);
        let mut wanted: Vec<String> = (0..pieces * 1_000).map(|n| json!({ "n": n }).to_string()).collect();
        wanted.sort();
        assert!(job.lines("seen") == wanted, "{kind}: {} lines of {}; {}", job.lines("seen").len(), wanted.len(), job.said());
        outside.step(json!({ "step": "delete", "queue": queue }));
    }
}

#[test]
fn a_stream_that_is_read_from_its_end_goes_on_there_when_nothing_had_come_before_it_was_killed() {
    let uri = &shared()["RABBITMQ"];
    for before in [0, 50] {
        let stream = unique("stream.end");
        let mut outside = Outside::connect(uri);
        outside.queue(&stream, "stream");
        outside.put(&stream, numbered(0..before));
        let job = Job::new("");
        job.rewrite(&format!(
            "CREATE TABLE messages (n BIGINT) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'stream' = '{stream}',
  'scan.startup.mode' = 'latest-offset');
CREATE TABLE seen (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
INSERT INTO seen SELECT n FROM messages;",
            job.path("seen").display()
        ));
        let mut running = job.start();
        running.until("there is a checkpoint", |running| running.metrics().contains("eagre_checkpoint_epoch"));
        running.kill();
        outside.put(&stream, numbered(before..before + 10));
        let mut running = job.start();
        running.until("what has come since is read", |_| job.lines("seen").len() >= 10);
        assert_eq!(running.stop(), 0);
        let mut wanted: Vec<String> = (before..before + 10).map(|n| json!({ "n": n }).to_string()).collect();
        wanted.sort();
        assert_eq!(job.lines("seen"), wanted, "{before} messages before: only what came after the start");
        outside.step(json!({ "step": "delete", "queue": stream }));
    }
}

#[test]
fn a_stream_is_read_on_from_its_offset() {
    let uri = &shared()["RABBITMQ"];
    let stream = unique("stream");
    let mut outside = Outside::connect(uri);
    outside.queue(&stream, "stream");
    outside.put(&stream, numbered(0..500));
    let job = Job::new("");
    job.rewrite(&format!(
        "CREATE TABLE messages (n BIGINT, at BIGINT METADATA FROM 'offset') WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'stream' = '{stream}');
CREATE TABLE seen (n BIGINT, at BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
INSERT INTO seen SELECT n, at FROM messages;",
        job.path("seen").display()
    ));
    for piece in 0..6u32 {
        let mut running = job.start();
        let wanted = 500 + piece as usize * 300;
        running.until("the piece is read", |_| job.lines("seen").len() >= wanted);
        // Some are read and not in a checkpoint when it is killed.
        outside.put(&stream, numbered(500 + piece * 300..800 + piece * 300));
        running.kill();
    }
    let mut running = job.start();
    running.until("all is read", |_| job.lines("seen").len() >= 2_300);
    assert_eq!(running.stop(), 0);
    let mut wanted: Vec<String> = (0..2_300).map(|n| format!("{{\"n\":{n},\"at\":{n}}}")).collect();
    wanted.sort();
    assert_eq!(job.lines("seen"), wanted, "each message once, under its own offset");
    // The same stream again, from an offset.
    let again = Job::new("");
    again.rewrite(&format!(
        "CREATE TABLE messages (n BIGINT) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'stream' = '{stream}',
  'scan.startup.mode' = 'specific-offsets', 'scan.startup.specific-offsets' = '2290');
CREATE TABLE seen (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
INSERT INTO seen SELECT n FROM messages;",
        again.path("seen").display()
    ));
    let mut running = again.start();
    running.until("the end is read", |_| again.lines("seen").len() >= 10);
    assert_eq!(running.stop(), 0);
    assert_eq!(again.lines("seen").len(), 10);
    outside.step(json!({ "step": "delete", "queue": stream }));
}
