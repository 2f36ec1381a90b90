//! What is wrong in a topology that reads well: values that lose events, do nothing, or do not mean what they seem to.

use std::collections::BTreeMap;

use super::{At, Document, Topic, property};
use crate::error::{Error, Place, did_you_mean};
use crate::time::MICROS_PER_MILLI;

/// In-flight requests beyond which an idempotent producer cannot keep its order.
const MOST_IN_FLIGHT: u64 = 5;

/// All faults, in the order of the file.
pub fn lint(documents: &[Document]) -> Vec<Error> {
    let mut faults = Vec::new();
    for document in documents {
        topics(document, &mut faults);
        clients(document, &mut faults);
        exchanges(document, &mut faults);
        queues(document, &mut faults);
        bindings(document, &mut faults);
    }
    faults.sort_by_key(|fault: &Error| fault.place().and_then(|place| place.line_col));
    faults
}

fn fault(place: &Place, message: String) -> Error {
    Error::input(message).at(place.clone())
}

fn topics(document: &Document, faults: &mut Vec<Error>) {
    twice(document.topics.iter().map(|topic| &topic.name), "topic", faults);
    let mut first: Option<(&Topic, u32)> = None;
    for topic in &document.topics {
        let name = &topic.name.value;
        if let Some(partitions) = &topic.partitions {
            match first {
                Some((other, others)) if others != partitions.value => faults.push(fault(
                    &partitions.place,
                    format!(
                        "topic '{name}' has {} partitions and '{}' has {others}: they cannot be joined partition by partition, every row \
                         is sent to another task first; equal numbers can",
                        partitions.value, other.name.value
                    ),
                )),
                Some(_) => {}
                None => first = Some((topic, partitions.value)),
            }
        }
        if document.is_log() {
            log_topic(topic, faults);
        } else {
            kafka_topic(topic, faults);
        }
    }
}

fn log_topic(topic: &Topic, faults: &mut Vec<Error>) {
    let name = &topic.name.value;
    if let Some(replicas) = &topic.replication_factor {
        faults.push(fault(
            &replicas.place,
            format!("topic '{name}' of the embedded log has no replicas: 'replication_factor' has no effect"),
        ));
    }
    for setting in &topic.config {
        let key = &setting.value.0;
        let hint = if key == "retention.ms" { "; 'retention: 30 d' is its word here" } else { "" };
        faults.push(fault(&setting.place, format!("topic '{name}' of the embedded log knows no setting '{key}'{hint}")));
    }
    if let Some(retention) = &topic.retention_micros {
        finite_retention(name, retention.value, &retention.place, faults);
    }
}

fn kafka_topic(topic: &Topic, faults: &mut Vec<Error>) {
    let name = &topic.name.value;
    if let Some(retention) = &topic.retention_micros {
        faults.push(fault(
            &retention.place,
            format!("topic '{name}': 'retention' is the embedded log's; Kafka has 'config: {{ retention.ms: … }}'"),
        ));
    }
    let replicas = topic.replication_factor.as_ref().map_or(1, |replicas| replicas.value);
    match topic.setting("min.insync.replicas") {
        None if replicas > 1 => faults.push(fault(
            &topic.name.place,
            format!(
                "topic '{name}' has {replicas} replicas and no 'min.insync.replicas': the default of 1 lets 'acks: all' be content with \
                 one copy; set it to {}",
                replicas - 1
            ),
        )),
        Some(setting) if setting.value.1.parse::<u16>().is_ok_and(|needed| needed >= replicas) => faults.push(fault(
            &setting.place,
            format!(
                "topic '{name}' needs {} replicas in sync and has {replicas}: no broker may be away, or nothing can be written",
                setting.value.1
            ),
        )),
        _ => {}
    }
    let kept = topic.setting("cleanup.policy").is_some_and(|policy| !policy.value.1.contains("delete"));
    if let Some(retention) = topic.setting("retention.ms").filter(|_| !kept) {
        match retention.value.1.parse::<i64>() {
            Ok(-1) => {}
            Ok(ms) => finite_retention(name, ms.saturating_mul(MICROS_PER_MILLI), &retention.place, faults),
            Err(_) => faults.push(fault(
                &retention.place,
                format!("topic '{name}': 'retention.ms' is '{}'; expected milliseconds, or -1", retention.value.1),
            )),
        }
    }
    for setting in &topic.config {
        if !TOPIC_SETTINGS.contains(&setting.value.0.as_str()) {
            let near = did_you_mean(&setting.value.0, TOPIC_SETTINGS);
            faults.push(fault(&setting.place, format!("topic '{name}': Kafka's topics have no setting '{}'{near}", setting.value.0)));
        }
    }
}

/// Events are the truth that read models are rebuilt from: a topic of events must not lose them.
fn finite_retention(name: &str, micros: i64, place: &Place, faults: &mut Vec<Error>) {
    if name.split(['-', '.', '_']).any(|word| word == "events") {
        let days = micros as f64 / 86_400_000_000.0;
        faults.push(fault(
            place,
            format!(
                "topic '{name}' holds events and forgets them after {days:.1} days: what is rebuilt from it later is incomplete. Keep \
                 them (retention.ms: -1, or cleanup.policy: compact for states), or call it something else than events"
            ),
        ));
    }
}

fn clients(document: &Document, faults: &mut Vec<Error>) {
    let of = |settings: &'_ [At<(String, String)>], name: &str| settings.iter().find(|setting| setting.value.0 == name).cloned();
    if let Some(acks) = of(&document.producer, "acks").filter(|acks| matches!(acks.value.1.as_str(), "all" | "-1")) {
        for topic in &document.topics {
            if let Some(replicas) = topic.replication_factor.as_ref().filter(|replicas| replicas.value == 1) {
                faults.push(fault(
                    &replicas.place,
                    format!(
                        "topic '{}' has one replica: 'acks: {}' promises no more than 'acks: 1' there, and its broker's disk is the only copy",
                        topic.name.value, acks.value.1
                    ),
                ));
            }
        }
    }
    let idempotent = of(&document.producer, "enable.idempotence").is_some_and(|setting| setting.value.1 == "true");
    if let Some(in_flight) = of(&document.producer, "max.in.flight.requests.per.connection")
        && idempotent
        && in_flight.value.1.parse::<u64>().is_ok_and(|number| number > MOST_IN_FLIGHT)
    {
        faults.push(fault(
            &in_flight.place,
            format!(
                "'max.in.flight.requests.per.connection' is {}: an idempotent producer keeps its order with {MOST_IN_FLIGHT} at most, and \
                 is refused with more",
                in_flight.value.1
            ),
        ));
    }
    if let Some(acks) = of(&document.producer, "acks").filter(|acks| idempotent && !matches!(acks.value.1.as_str(), "all" | "-1")) {
        faults.push(fault(
            &acks.place,
            format!("'acks: {}' and 'enable.idempotence: true' exclude each other: it must be all", acks.value.1),
        ));
    }
    if let Some(poll) = of(&document.consumer, "max.poll.records") {
        faults.push(fault(
            &poll.place,
            "'max.poll.records' is a setting of Java's consumer, not of librdkafka's: here it has no effect, batches are cut by size and time"
                .to_owned(),
        ));
    }
}

fn exchanges(document: &Document, faults: &mut Vec<Error>) {
    twice(document.exchanges.iter().map(|exchange| &exchange.name), "exchange", faults);
    for exchange in &document.exchanges {
        let name = &exchange.name.value;
        if let Some(alternate) = property(&exchange.properties, "alternate-exchange") {
            let to = alternate.value.1.as_str().unwrap_or_default();
            missing_exchange(document, to, &alternate.place, &format!("exchange '{name}' sends what it cannot route to"), faults);
        }
        if !document.bindings.iter().any(|binding| binding.exchange.value == *name) && !is_fallback(document, name) {
            let lost = match property(&exchange.properties, "alternate-exchange") {
                Some(_) => "all of it goes to its alternate exchange",
                None => "whatever is published to it vanishes",
            };
            faults.push(fault(&exchange.name.place, format!("exchange '{name}' ({}) has no queue: {lost}; bind one", exchange.kind)));
        }
    }
}

/// Is it where others send what they cannot deliver? Then its queues are judged there.
fn is_fallback(document: &Document, name: &str) -> bool {
    let names = |properties: &super::Properties, key: &str| property(properties, key).is_some_and(|at| at.value.1 == *name);
    document.exchanges.iter().any(|exchange| names(&exchange.properties, "alternate-exchange"))
        || document.queues.iter().any(|queue| names(&queue.properties, "x-dead-letter-exchange"))
}

fn missing_exchange(document: &Document, to: &str, place: &Place, what: &str, faults: &mut Vec<Error>) {
    if to.is_empty() || to.starts_with("amq.") || document.exchanges.iter().any(|exchange| exchange.name.value == to) {
        return;
    }
    let why = match document.queues.iter().any(|queue| queue.name.value == to) {
        true => "which is declared only as a queue: it vanishes. Declare an exchange of this name and bind the queue to it".to_owned(),
        false => {
            let near = did_you_mean(to, document.exchanges.iter().map(|exchange| exchange.name.value.as_str()));
            format!("which is not declared: it vanishes{near}")
        }
    };
    faults.push(fault(place, format!("{what} exchange '{to}', {why}")));
}

fn queues(document: &Document, faults: &mut Vec<Error>) {
    twice(document.queues.iter().map(|queue| &queue.name), "queue", faults);
    for queue in &document.queues {
        let name = &queue.name.value;
        for argument in &queue.properties {
            let key = argument.value.0.as_str();
            if key == "x-max-retries" {
                faults.push(fault(
                    &argument.place,
                    format!(
                        "queue '{name}': 'x-max-retries' is no argument of RabbitMQ, which ignores it: a message that fails comes again for \
                         ever. A quorum queue (x-queue-type: quorum) with x-delivery-limit counts"
                    ),
                ));
            } else if !QUEUE_ARGUMENTS.contains(&key) {
                let near = did_you_mean(key, QUEUE_ARGUMENTS);
                faults.push(fault(&argument.place, format!("queue '{name}': '{key}' is no argument of RabbitMQ, which ignores it{near}")));
            }
        }
        let Some(dead_letter) = property(&queue.properties, "x-dead-letter-exchange") else { continue };
        let to = dead_letter.value.1.as_str().unwrap_or_default();
        missing_exchange(document, to, &dead_letter.place, &format!("queue '{name}' sends what it rejects to"), faults);
        let Some(key) = property(&queue.properties, "x-dead-letter-routing-key") else { continue };
        let word = key.value.1.as_str().unwrap_or_default();
        if !document.bindings.iter().any(|binding| binding.exchange.value == to && takes(document, binding, word)) {
            faults.push(fault(
                &key.place,
                format!("queue '{name}' sends what it rejects to exchange '{to}' with the key '{word}', and no binding of '{to}' takes that key: it vanishes"),
            ));
        }
    }
}

/// Does a binding take messages of this key?
fn takes(document: &Document, binding: &super::Binding, key: &str) -> bool {
    let kind =
        document.exchanges.iter().find(|exchange| exchange.name.value == binding.exchange.value).map(|exchange| exchange.kind.as_str());
    match kind {
        Some("fanout" | "headers") => true,
        Some("topic") => topic_takes(&binding.routing_key.split('.').collect::<Vec<_>>(), &key.split('.').collect::<Vec<_>>()),
        _ => binding.routing_key == key,
    }
}

/// `*` is one word, `#` any number of them.
fn topic_takes(pattern: &[&str], words: &[&str]) -> bool {
    match (pattern, words) {
        ([], []) => true,
        (["#", rest @ ..], _) => (0..=words.len()).any(|skipped| topic_takes(rest, &words[skipped..])),
        (["*", rest @ ..], [_, others @ ..]) => topic_takes(rest, others),
        ([one, rest @ ..], [other, others @ ..]) if one == other => topic_takes(rest, others),
        _ => false,
    }
}

fn bindings(document: &Document, faults: &mut Vec<Error>) {
    for binding in &document.bindings {
        let from = &binding.exchange;
        if !from.value.starts_with("amq.") && !document.exchanges.iter().any(|exchange| exchange.name.value == from.value) {
            let near = did_you_mean(&from.value, document.exchanges.iter().map(|exchange| exchange.name.value.as_str()));
            faults.push(fault(&from.place, format!("a binding of exchange '{}', which is not declared{near}", from.value)));
        }
        let (word, names): (_, Vec<&str>) = match binding.to_exchange {
            true => ("exchange", document.exchanges.iter().map(|exchange| exchange.name.value.as_str()).collect()),
            false => ("queue", document.queues.iter().map(|queue| queue.name.value.as_str()).collect()),
        };
        if !names.contains(&binding.to.value.as_str()) {
            let near = did_you_mean(&binding.to.value, names);
            faults.push(fault(&binding.to.place, format!("a binding to {word} '{}', which is not declared{near}", binding.to.value)));
        }
    }
}

fn twice<'a>(names: impl Iterator<Item = &'a At<String>>, word: &str, faults: &mut Vec<Error>) {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    for name in names {
        if let Some(first) = seen.insert(&name.value, &name.place) {
            faults.push(fault(&name.place, format!("{word} '{}' is declared twice; first at {first}", name.value)));
        }
    }
}

/// Settings of a topic that Kafka knows.
const TOPIC_SETTINGS: [&str; 34] = [
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.downconversion.enable",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
];

/// Arguments of a queue that RabbitMQ knows.
const QUEUE_ARGUMENTS: [&str; 23] = [
    "x-consumer-timeout",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-delivery-limit",
    "x-expires",
    "x-initial-cluster-size",
    "x-max-age",
    "x-max-in-memory-bytes",
    "x-max-in-memory-length",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-message-ttl",
    "x-overflow",
    "x-queue-leader-locator",
    "x-queue-master-locator",
    "x-queue-mode",
    "x-queue-type",
    "x-queue-version",
    "x-quorum-initial-group-size",
    "x-single-active-consumer",
    "x-stream-max-segment-size-bytes",
];

#[cfg(test)]
mod tests;
