//! The standard's own blocks, and what is wrong in them; each fault by a test of its name.

use super::lint;
use crate::project::topology::read;

/// The standard's block for Kafka, as it stands.
const KAFKA: &str = "\
topics:
  order-events: { partitions: 12, replication_factor: 3, config: { retention.ms: 2592000000, cleanup.policy: delete, compression.type: snappy, min.insync.replicas: 2, segment.ms: 604800000 } }
  customer-events: { partitions: 6, replication_factor: 3, config: { retention.ms: 7776000000, cleanup.policy: delete, compression.type: lz4 } }
producer: { acks: all, retries: 2147483647, max.in.flight.requests.per.connection: 5, enable.idempotence: true, compression.type: snappy, batch.size: 16384, linger.ms: 5 }
consumer: { enable.auto.commit: false, auto.offset.reset: earliest, isolation.level: read_committed, max.poll.records: 500, session.timeout.ms: 30000 }
";

/// The standard's block for RabbitMQ, as it stands.
const RABBITMQ: &str = "\
exchanges:
  - { name: order.events, type: topic, durable: true, properties: { alternate-exchange: order.dead-letter } }
  - { name: customer.events, type: fanout, durable: true }
queues:
  - { name: order.processing, durable: true, properties: { x-message-ttl: 3600000, x-max-retries: 3, x-dead-letter-exchange: order.dead-letter, x-dead-letter-routing-key: failed } }
  - { name: order.dead-letter, durable: true, properties: { x-message-ttl: 2592000000 } }
bindings:
  - { exchange: order.events, queue: order.processing, routing_key: order.created }
";

fn told(text: &str) -> Vec<String> {
    lint(&read(text, "topics.yaml").unwrap()).iter().map(|fault| fault.line()).collect()
}

/// The one fault of `text` whose sentence holds `part` stands at `place`.
#[track_caller]
fn found(text: &str, place: &str, part: &str) {
    let told = told(text);
    let holding: Vec<&String> = told.iter().filter(|line| line.contains(part)).collect();
    assert!(holding.len() == 1 && holding[0].starts_with(&format!("{place}: ")), "wanted {place}: …{part}…, told {told:#?}");
}

#[test]
fn both_blocks_load_as_they_stand_alone_and_together() {
    let kafka = read(KAFKA, "topics.yaml").unwrap();
    assert_eq!((kafka[0].topics.len(), kafka[0].producer.len(), kafka[0].consumer.len()), (2, 7, 5));
    let rabbitmq = read(RABBITMQ, "topics.yaml").unwrap();
    assert_eq!((rabbitmq[0].exchanges.len(), rabbitmq[0].queues.len(), rabbitmq[0].bindings.len()), (2, 2, 1));
    assert_eq!(read(&format!("{KAFKA}{RABBITMQ}"), "topics.yaml").unwrap().len(), 1);
    assert_eq!(
        read(&format!("{KAFKA}---\n{RABBITMQ}---\nbroker: log\ntopics: {{ t: {{ retention: 30 d }} }}\n"), "topics.yaml").unwrap().len(),
        3
    );
}

#[test]
fn the_standards_blocks_have_these_faults_and_no_others() {
    assert_eq!(told(KAFKA).len(), 5, "{:#?}", told(KAFKA));
    assert_eq!(told(RABBITMQ).len(), 5, "{:#?}", told(RABBITMQ));
}

#[test]
fn unequal_partitions_cannot_be_joined_per_partition() {
    found(KAFKA, "topics.yaml:3:34", "topic 'customer-events' has 6 partitions and 'order-events' has 12: they cannot be joined");
}

#[test]
fn min_insync_replicas_is_missing() {
    found(KAFKA, "topics.yaml:3:3", "topic 'customer-events' has 3 replicas and no 'min.insync.replicas'");
}

#[test]
fn finite_retention_on_event_sourced_topics() {
    found(KAFKA, "topics.yaml:2:68", "topic 'order-events' holds events and forgets them after 30.0 days");
    found(KAFKA, "topics.yaml:3:70", "topic 'customer-events' holds events and forgets them after 90.0 days");
}

#[test]
fn max_poll_records_is_not_librdkafkas() {
    found(KAFKA, "topics.yaml:5:102", "'max.poll.records' is a setting of Java's consumer");
}

#[test]
fn acks_all_with_one_replica() {
    let text = "topics:\n  t: { partitions: 1, replication_factor: 1 }\nproducer: { acks: all }\n";
    found(text, "topics.yaml:2:43", "topic 't' has one replica: 'acks: all' promises no more");
}

#[test]
fn more_than_five_in_flight_with_idempotence() {
    let text = "producer:\n  enable.idempotence: true\n  max.in.flight.requests.per.connection: 6\n";
    found(text, "topics.yaml:3:3", "'max.in.flight.requests.per.connection' is 6");
    assert!(told(&text.replace("true", "false")).is_empty());
    found("producer: { enable.idempotence: true, acks: 1 }", "topics.yaml:1:39", "exclude each other");
}

#[test]
fn more_replicas_in_sync_than_there_are() {
    let text = "topics: { t: { replication_factor: 3, config: { min.insync.replicas: 3 } } }";
    found(text, "topics.yaml:1:49", "needs 3 replicas in sync and has 3");
}

#[test]
fn x_max_retries_is_no_argument_of_rabbitmq() {
    found(RABBITMQ, "topics.yaml:5:84", "'x-max-retries' is no argument of RabbitMQ");
}

#[test]
fn the_dead_letter_exchange_is_declared_only_as_a_queue() {
    found(
        RABBITMQ,
        "topics.yaml:5:102",
        "queue 'order.processing' sends what it rejects to exchange 'order.dead-letter', which is declared only as a queue",
    );
    found(
        RABBITMQ,
        "topics.yaml:2:69",
        "exchange 'order.events' sends what it cannot route to exchange 'order.dead-letter', which is declared only as a queue",
    );
}

#[test]
fn no_binding_takes_the_dead_letter_key() {
    found(RABBITMQ, "topics.yaml:5:145", "with the key 'failed', and no binding of 'order.dead-letter' takes that key");
    let bound = "\
exchanges: [ { name: dead, type: topic } ]
queues: [ { name: q, properties: { x-dead-letter-exchange: dead, x-dead-letter-routing-key: failed.late } }, { name: d } ]
bindings: [ { exchange: dead, queue: d, routing_key: 'KEY' } ]
";
    for key in ["failed.late", "failed.*", "#", "failed.late.#"] {
        assert_eq!(told(&bound.replace("KEY", key)), [""; 0], "{key}");
    }
    found(&bound.replace("KEY", "*"), "topics.yaml:2:66", "with the key 'failed.late'");
}

#[test]
fn the_fanout_has_no_queue() {
    found(RABBITMQ, "topics.yaml:3:13", "exchange 'customer.events' (fanout) has no queue: whatever is published to it vanishes");
}

#[test]
fn names_that_are_not_declared_and_things_declared_twice() {
    let text = "\
exchanges: [ { name: a, type: topic }, { name: a, type: topic } ]
queues: [ { name: orders } ]
bindings:
  - { exchange: a, queue: order, routing_key: x }
  - { exchange: b, queue: orders }
";
    found(text, "topics.yaml:1:48", "exchange 'a' is declared twice; first at topics.yaml:1:22");
    found(text, "topics.yaml:4:27", "a binding to queue 'order', which is not declared; did you mean 'orders'?");
    found(text, "topics.yaml:5:17", "a binding of exchange 'b', which is not declared");
}

#[test]
fn settings_that_nobody_knows() {
    found(
        "topics: { t: { config: { retention.mss: 5 } } }",
        "topics.yaml:1:26",
        "no setting 'retention.mss'; did you mean 'retention.ms'?",
    );
    found("queues: [ { name: q, properties: { x-mesage-ttl: 5 } } ]", "topics.yaml:1:36", "did you mean 'x-message-ttl'?");
    let log = "broker: log\ntopics: { t: { replication_factor: 3, config: { retention.ms: 5 } } }";
    found(log, "topics.yaml:2:36", "has no replicas");
    found(log, "topics.yaml:2:49", "knows no setting 'retention.ms'; 'retention: 30 d' is its word here");
}

#[test]
fn what_does_not_read_is_told_at_its_place() {
    let told = |text: &str| read(text, "topics.yaml").unwrap_err().to_string();
    assert!(
        told("topics: { t: { partitons: 5 } }")
            .starts_with("topics.yaml:1:16: topic 't': unknown key 'partitons'; did you mean 'partitions'?")
    );
    assert!(
        told("topics: { t: { partitions: 0 } }")
            .starts_with("topics.yaml:1:28: topic 't': 'partitions' is '0'; expected a whole number from 1")
    );
    assert!(
        told("queues:\n  - { name: q, broker: mq }")
            .starts_with("topics.yaml:2:16: queue 'q': 'broker' stands at the top of the file, beside 'topics' and 'queues'")
    );
    assert!(told("topics: [a]").contains("'topics' is a mapping"));
    assert!(told("queues: [ { durable: true } ]").contains("a queue: 'name' is missing"));
    assert!(told("bindings: [ { exchange: a } ]").contains("leads to a 'queue' or 'to_exchange'"));
    assert!(told("broker: log\nqueues: [ { name: q } ]").contains("has topics only"));
}
