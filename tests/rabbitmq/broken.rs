//! What goes wrong between us and a broker: it is said, and nothing is lost.

use serde_json::json;

use super::outside::numbered;
use super::{Job, Outside, shared, unique};

/// Reads a queue into files.
fn reads(options: &str, job: &Job) -> String {
    format!(
        "CREATE TABLE messages (n BIGINT) WITH ('connector' = 'rabbitmq', {options});
CREATE TABLE seen (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
INSERT INTO seen SELECT n FROM messages;",
        job.path("seen").display()
    )
}

fn fails(options: &str) -> (i32, String) {
    let job = Job::new("");
    job.rewrite(&reads(options, &job));
    job.fails()
}

#[test]
fn a_broker_that_is_not_there_is_named_and_the_exit_code_is_3() {
    let (code, told) = fails("'uri' = 'amqp://ann:secret@127.0.0.1:1/%2f', 'queue' = 'q', 'connect.timeout' = '1 s'");
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("broker amqp://127.0.0.1:1/%2f could not be reached within 1 s (option 'connect.timeout'"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn a_wrong_password_a_missing_host_and_a_missing_queue_stop_at_once() {
    let (uri, http) = (&shared()["RABBITMQ"], &shared()["RABBITMQ_HTTP"]);
    let (code, told) = fails(&format!("'uri' = '{}', 'queue' = 'q'", uri.replace("guest:guest", "guest:wrong")));
    assert!(code == 2 && told.contains("refuses user 'guest'"), "{code} {told}");
    let (code, told) = fails(&format!("'uri' = '{}', 'queue' = 'q'", uri.replace("%2f", "nowhere")));
    assert!(code == 2 && told.contains("has no virtual host 'nowhere'"), "{code} {told}");
    let queue = unique("near");
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "classic");
    let (code, told) = fails(&format!("'uri' = '{uri}', 'queue' = '{queue}x', 'management.uri' = '{http}'"));
    assert!(code == 2 && told.contains(&format!("did you mean '{queue}'?")), "{code} {told}");
    outside.step(json!({ "step": "delete", "queue": queue }));
}

#[test]
fn a_broker_that_demands_tls_is_read_when_its_signer_is_known() {
    let (secure, ca) = (&shared()["RABBITMQ_SECURE"], &shared()["RABBITMQ_CA"]);
    let queue = unique("tls");
    let mut outside = Outside::connect(&shared()["RABBITMQ"]);
    outside.queue(&queue, "classic");
    outside.put(&queue, numbered(0..10));
    let (code, told) = fails(&format!("'uri' = '{secure}', 'queue' = '{queue}', 'connect.timeout' = '5 s'"));
    assert!(code == 2 && told.contains("its certificate is not accepted; 'tls.ca' names who signs for it"), "{code} {told}");
    let job = Job::new("");
    job.rewrite(&reads(&format!("'uri' = '{secure}', 'tls.ca' = '{ca}', 'queue' = '{queue}'"), &job));
    let mut running = job.start();
    running.until("all is read", |_| job.lines("seen").len() == 10);
    assert_eq!(running.stop(), 0);
    outside.step(json!({ "step": "delete", "queue": queue }));
}

#[test]
fn a_queue_that_is_deleted_stops_the_pipeline() {
    let uri = &shared()["RABBITMQ"];
    let queue = unique("deleted");
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "classic");
    let job = Job::new("");
    job.rewrite(&reads(&format!("'uri' = '{uri}', 'queue' = '{queue}'"), &job));
    let mut running = job.start();
    outside.put(&queue, numbered(0..5));
    running.until("it reads", |_| job.lines("seen").len() == 5);
    outside.step(json!({ "step": "delete", "queue": queue }));
    assert_eq!(running.wait(), 2, "{}", job.said());
    assert!(job.said().contains(&format!("queue '{queue}'")) && job.said().contains("NOT_FOUND"), "{}", job.said());
}

#[test]
fn a_poison_message_goes_to_the_dead_letters_or_stops_the_pipeline_and_stays() {
    let uri = &shared()["RABBITMQ"];
    let queue = unique("poison");
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "quorum");
    let poison = || json!({ "id": "bad", "body": "{\"n\": \"no number\"}" });
    // Asked to fail, it fails each time, and the message is still there for the next version.
    outside.put(&queue, vec![poison()]);
    let job = Job::new("");
    job.rewrite(&reads(&format!("'uri' = '{uri}', 'queue' = '{queue}', 'format.on-error' = 'fail'"), &job));
    for _ in 0..3 {
        let (code, told) = job.fails();
        assert!(code == 1 && told.contains("no number"), "{code} {told}");
    }
    // By default it is put aside, and what comes behind it is read.
    job.rewrite(&reads(&format!("'uri' = '{uri}', 'queue' = '{queue}'"), &job));
    outside.put(&queue, numbered(0..10));
    let mut running = job.start();
    running.until("the others are read", |_| job.lines("seen").len() == 10);
    running.until("it is acknowledged", |_| outside.depth(&queue) == 0);
    assert_eq!(running.stop(), 0);
    assert_eq!(outside.depth(&queue), 0);
    outside.step(json!({ "step": "delete", "queue": queue }));
}

#[test]
fn a_low_delivery_limit_is_warned_of() {
    let (uri, http) = (&shared()["RABBITMQ"], &shared()["RABBITMQ_HTTP"]);
    let queue = unique("limited");
    let mut outside = Outside::connect(uri);
    outside.step(json!({ "step": "queue", "queue": queue, "arguments": { "x-queue-type": "quorum", "x-delivery-limit": 20 } }));
    let job = Job::new("");
    job.rewrite(&reads(&format!("'uri' = '{uri}', 'queue' = '{queue}', 'management.uri' = '{http}'"), &job));
    outside.put(&queue, numbered(0..1));
    let mut running = job.start();
    running.until("it reads", |_| job.lines("seen").len() == 1);
    assert_eq!(running.stop(), 0);
    assert!(job.said().contains("has a delivery limit of 20"), "{}", job.said());
    outside.step(json!({ "step": "delete", "queue": queue }));
}

#[test]
fn a_message_whose_delivery_limit_runs_out_is_with_the_brokers_dead_letters_and_the_others_are_read() {
    let (uri, http) = (&shared()["RABBITMQ"], &shared()["RABBITMQ_HTTP"]);
    let (queue, dead) = (unique("limit"), unique("dead"));
    let mut outside = Outside::connect(uri);
    outside.queue(&dead, "classic");
    let arguments = json!({
        "x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead
    });
    outside.step(json!({ "step": "queue", "queue": queue, "arguments": arguments }));
    outside.put(&queue, vec![json!({ "id": "bad", "body": "{\"n\": \"no number\"}" })]);
    let job = Job::new("");
    job.rewrite(&reads(&format!("'uri' = '{uri}', 'queue' = '{queue}', 'management.uri' = '{http}', 'format.on-error' = 'fail'"), &job));
    // The first delivery and two more: each is told with what to do, and why the limit is a danger.
    for _ in 0..3 {
        let (code, told) = job.fails();
        assert!(code == 1 && told.contains("no number") && told.contains("has a delivery limit of 2"), "{code} {told}");
    }
    let mut running = job.start();
    outside.put(&queue, numbered(0..5));
    running.until("the others are read", |_| job.lines("seen").len() == 5);
    assert_eq!(running.stop(), 0);
    let taken = outside.drain(&dead);
    assert_eq!(taken.len(), 1);
    assert_eq!((&taken[0]["id"], &taken[0]["headers"]["x-death"][0]["reason"]), (&json!("bad"), &json!("delivery_limit")), "{taken:?}");
    for queue in [queue, dead] {
        outside.step(json!({ "step": "delete", "queue": queue }));
    }
}
