//! Dead letters in a queue of the broker that they came from: as they came, with their properties and what the broker said.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Job, Outside, shared, unique};

fn sql(uri: &str, queue: &str, letters: &str) -> String {
    format!(
        "CREATE TABLE messages (n BIGINT) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'queue' = '{queue}', 'format' = 'json', 'dead-letter' = '{letters}');
CREATE TABLE seen (n BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO seen SELECT n FROM messages;"
    )
}

#[test]
fn refused_messages_keep_their_properties_headers_and_deaths() {
    let uri = &shared()["RABBITMQ"];
    let (first, queue, exchange) = (unique("letters.first"), unique("letters.in"), unique("letters.exchange"));
    let (plain, routed) = (unique("letters.out"), format!("{exchange}.all"));
    let mut outside = Outside::connect(uri);
    // They have died once before they come: the broker says so in x-death.
    let dies = json!({ "x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue });
    outside.step(json!({ "step": "queue", "queue": first, "arguments": dies }));
    outside.queue(&queue, "classic");
    outside.queue(&plain, "classic");
    outside.exchange(&exchange, &routed, "#");
    for (letters, out, key) in [(plain.clone(), &plain, &plain), (format!("exchange:{exchange}"), &routed, &queue)] {
        let message = json!({ "id": "m-1", "correlation": "c-1", "content_type": "application/json", "timestamp": 1_700_000_000,
            "headers": { "tenant": "t1" }, "body": "torn {" });
        outside.put(&first, vec![message]);
        let job = Job::new(&sql(uri, &queue, &letters));
        let mut running = job.start();
        running.until("the letter is there", |_| outside.depth(out) == 1);
        assert_eq!(running.stop(), 0);
        let letter = outside.drain(out).remove(0);
        let property = |name: &str| letter[name].clone();
        assert_eq!(
            [property("body"), property("id"), property("correlation"), property("content_type"), property("timestamp")],
            [json!("torn {"), json!("m-1"), json!("c-1"), json!("application/json"), json!(1_700_000_000)]
        );
        assert_eq!(property("key"), json!(key));
        let headers = &letter["headers"];
        assert_eq!((&headers["tenant"], &headers["content-type"]), (&json!("t1"), &Value::Null), "{letter}");
        assert_eq!(
            (&headers["dead-letter.reason"], &headers["dead-letter.source"]),
            (&json!("undecodable"), &json!("messages")),
            "{letter}"
        );
        let death = &headers["x-death"][0];
        assert_eq!((&death["reason"], &death["queue"], &death["count"]), (&json!("expired"), &json!(first), &json!(1)), "{letter}");
        assert!(death["time"].as_str().is_some_and(|time| time.starts_with("20")), "a point in time stays one: {letter}");
    }
    for queue in [&first, &queue, &plain, &routed] {
        outside.step(json!({ "step": "delete", "queue": queue }));
    }
}

#[test]
fn killed_between_the_steps_of_a_commit_no_letter_is_lost_and_none_counts_twice() {
    let uri = &shared()["RABBITMQ"];
    let (queue, letters) = (unique("letters.in"), unique("letters.out"));
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "quorum");
    outside.queue(&letters, "classic");
    let job = Job::new(&sql(uri, &queue, &letters));
    let bad = |numbers: std::ops::Range<u32>| numbers.map(|n| json!({ "id": format!("id-{n}"), "body": format!("bad {n}") })).collect();
    for (piece, point) in (0..).zip(["prepared", "manifest:2", "committed:2", "confirmed:2"]) {
        outside.put(&queue, bad(piece * 500..(piece + 1) * 500));
        if point == "prepared" {
            // Only a pipeline with a transaction comes to this point: killed at any moment instead.
            let mut running = job.start();
            running.until("some letters are there", |_| outside.depth(&letters) > 0);
            running.kill();
        } else {
            job.start_with(point).ends_killed();
        }
    }
    let mut running = job.start();
    running.until("all are read", |_| outside.depth(&queue) == 0 && outside.depth(&letters) >= 2_000);
    assert_eq!(running.stop(), 0);
    let found = outside.drain(&letters);
    // Published again after a kill it is the same message: it has the same id.
    let bodies: BTreeSet<(&str, &str)> = found.iter().map(|m| (m["id"].as_str().unwrap(), m["body"].as_str().unwrap())).collect();
    assert_eq!(bodies.len(), 2_000, "{} messages; {}", found.len(), job.said());
    for queue in [&queue, &letters] {
        outside.step(json!({ "step": "delete", "queue": queue }));
    }
}

#[test]
fn a_queue_that_is_not_there_and_its_own_are_told() {
    let uri = &shared()["RABBITMQ"];
    let queue = unique("letters.in");
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "classic");
    let (code, said) = Job::new(&sql(uri, &queue, "nowhere.at.all")).fails();
    assert!(code == 2 && said.contains("queue 'nowhere.at.all' cannot be written") && said.contains("topics apply"), "{code} {said}");
    let (code, said) = Job::new(&sql(uri, &queue, &queue)).fails();
    assert!(code == 2 && said.contains("cannot go to its own topic"), "{code} {said}");
    outside.step(json!({ "step": "delete", "queue": queue }));
}
