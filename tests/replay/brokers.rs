//! Dead letters whose records came from Kafka or RabbitMQ.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Instant;

use serde_json::json;

use super::Folder;
use crate::kafka::{self, Kafka};
use crate::rabbitmq::{self, Outside, unique};

const SEEN: &str = "SELECT COUNT(*) FROM seen";
const LETTERS: &str = "SELECT COUNT(*) FROM dead_letters";

#[test]
fn letters_of_kafka_go_to_their_partition_with_key_headers_and_time() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("again", 3);
    let project = |amount: &str| {
        format!(
            "CREATE TABLE orders (id INT, amount {amount}, customer STRING METADATA FROM 'key' VIRTUAL)
WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE MATERIALIZED VIEW seen AS SELECT id, customer, CAST(amount AS DOUBLE) AS amount FROM orders;",
            kafka.servers()
        )
    };
    // Where no partitioner would put them.
    for (partition, text) in
        [("2", "ann:{\"id\":1,\"amount\": 1.5}\nann:{\"id\":2,\"amount\": 2.5}\n"), ("0", "bob:{\"id\":3,\"amount\":3}\n")]
    {
        kafka.kcat(&["-P", "-t", &topic, "-p", partition, "-K", ":", "-H", "trace=t1"], text);
    }
    let folder = Folder::new(&project("SMALLINT"));
    folder.run_until(LETTERS, 2);
    folder.query(&project("DOUBLE"));
    let mut running = folder.start();
    running.until_count(&folder, SEEN, 1);
    // Killed when the broker has them and nobody has noted it: they go once more. This is where exactly once ends.
    let killed = folder.command(&["replay", "dead-letters", "--limit", "1"]).env("EAGRE_FAULT", "resent").output().unwrap();
    assert_eq!(killed.status.signal(), Some(9));
    let sent = folder.ok(&["replay", "dead-letters"]);
    assert_eq!(sent, format!("orders: 2 letters sent to topic {topic} of Kafka\n"));
    assert_eq!(folder.ok(&["replay", "dead-letters"]), "2 letters sent before (--again sends them, too)\n");
    running.until_count(&folder, SEEN, 4);
    running.stop();
    let read = |format: &str| kafka.committed(&topic, format);
    let found = read("%p %k %T %s %h");
    assert_eq!(found.len(), 6, "{found:?}");
    let of = |number: u32| -> Vec<&String> { found.iter().filter(|line| line.contains(&format!("\"id\":{number},"))).collect() };
    for (number, times) in [(1, 3), (2, 2), (3, 1)] {
        let lines = of(number);
        assert_eq!(lines.len(), times, "{lines:?}");
        // Partition, key, time and bytes of all of them are those of the first; so is the header that it had.
        let same: Vec<&str> = lines.iter().map(|line| line.split("} ").next().unwrap()).collect();
        assert!(same.iter().all(|line| *line == same[0]) && lines.iter().all(|line| line.contains("trace=t1")), "{lines:?}");
        assert_eq!(lines.iter().filter(|line| line.contains("eagre-replay=")).count(), times - 1);
    }
}

#[test]
fn letters_are_read_from_a_topic_of_kafka_and_go_back_each_once() {
    let kafka = Kafka::shared();
    let (topic, letters) = (kafka.topic("read", 2), kafka::unique("letters"));
    let project = |amount: &str| {
        format!(
            "CREATE TABLE orders (id INT, amount {amount}) WITH ('broker' = 'shop', 'topic' = '{topic}',
  'scan.startup.mode' = 'earliest-offset', 'format' = 'json', 'dead-letter' = '{letters}');
CREATE MATERIALIZED VIEW seen AS SELECT id, CAST(amount AS DOUBLE) AS amount FROM orders;"
        )
    };
    kafka.put(&topic, 0, true, "ann:{\"id\":1,\"amount\":1.5}\nann:{\"id\":2,\"amount\":2}\nann:{\"id\":3,\"amount\":3.5}\n");
    let folder = Folder::new(&project("SMALLINT"));
    let brokers = format!("brokers: {{ shop: {{ connector: kafka, properties.bootstrap.servers: '{}' }} }}\n", kafka.servers());
    std::fs::write(folder.path("eagre.yaml"), format!("name: again\ncheckpoint.interval: 50 ms\n{brokers}")).unwrap();
    let mut running = folder.start();
    running.until_count(&folder, SEEN, 1);
    let begun = Instant::now();
    while kafka.committed(&letters, "%s").len() < 2 {
        assert!(begun.elapsed().as_secs() < 60, "the letters are in Kafka");
    }
    running.stop();
    folder.query(&project("DOUBLE"));
    let mut running = folder.start();
    let replay = ["replay", "dead-letters", "--from", &letters, "--broker", "shop"];
    assert_eq!(folder.ok(&replay), format!("orders: 2 letters sent to topic {topic} of Kafka\n"));
    running.until_count(&folder, SEEN, 3);
    assert_eq!(folder.ok(&replay), "2 letters sent before (--again sends them, too)\n");
    running.stop();
    let back = kafka.committed(&topic, "%p %k %s");
    assert_eq!(back.len(), 5);
    assert_eq!(back.iter().filter(|line| *line == "0 ann {\"id\":1,\"amount\":1.5}").count(), 2, "{back:?}");
}

#[test]
fn letters_of_a_queue_go_back_to_it_with_id_and_headers() {
    let uri = &rabbitmq::shared()["RABBITMQ"];
    let queue = unique("again");
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "quorum");
    let project = |amount: &str| {
        format!(
            "CREATE TABLE orders (id INT, amount {amount}, message STRING METADATA FROM 'message_id' VIRTUAL)
WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', 'queue' = '{queue}', 'format' = 'json');
CREATE MATERIALIZED VIEW seen AS SELECT id, message, CAST(amount AS DOUBLE) AS amount FROM orders;"
        )
    };
    let message = |n: u32, amount: &str| json!({ "id": format!("m-{n}"), "body": format!("{{\"id\":{n},\"amount\":{amount}}}"), "headers": { "trace": "t1" } });
    outside.put(&queue, vec![message(1, "1.5"), message(2, "2")]);
    let folder = Folder::new(&project("SMALLINT"));
    let mut running = folder.start();
    running.until_count(&folder, LETTERS, 1);
    let begun = Instant::now();
    while outside.depth(&queue) > 0 {
        assert!(begun.elapsed().as_secs() < 60);
    }
    running.stop();
    let sent = folder.ok(&["replay", "dead-letters"]);
    assert_eq!(sent, format!("orders: 1 letter sent to queue {queue} of RabbitMQ\n"));
    let back = outside.drain(&queue);
    assert_eq!(back.len(), 1, "{back:?}");
    assert_eq!(
        (&back[0]["id"], &back[0]["headers"]["trace"], &back[0]["body"]),
        (&json!("m-1"), &json!("t1"), &json!("{\"id\":1,\"amount\":1.5}"))
    );
    assert!(back[0]["headers"]["eagre-replay"].as_str().unwrap().contains("\"attempt\":1"), "{back:?}");
    // It is known as sent; asked for once more it is read by the mended table.
    assert_eq!(folder.ok(&["replay", "dead-letters"]), "1 letter sent before (--again sends them, too)\n");
    folder.query(&project("DOUBLE"));
    folder.ok(&["replay", "dead-letters", "--again"]);
    folder.run_until(SEEN, 2);
    assert_eq!(folder.rows("SELECT id, message, amount FROM seen WHERE id = 1"), ["{\"id\":1,\"message\":\"m-1\",\"amount\":1.5}"]);
    // A queue that is gone is told.
    outside.step(json!({ "step": "delete", "queue": queue }));
    let (code, told) = folder.fails(&["replay", "dead-letters", "--again"]);
    assert!(code == 1 && told.contains(&format!("there is no queue '{queue}' any more")), "{code} {told}");
}
