//! The moment between a durable checkpoint and its acknowledgement: what comes again is dropped, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use eagre::connector::registry::{Environment, TableRequest, source};
use eagre::connector::{Position, Read, Reader, Source};
use eagre::format::Records;
use serde_json::json;

use super::outside::numbered;
use super::{Outside, shared, unique};

fn table(queue: &str, dir: &tempfile::TempDir) -> Arc<dyn Source> {
    let pairs = [("connector", "rabbitmq"), ("uri", &shared()["RABBITMQ"]), ("queue", queue)];
    let options: BTreeMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let columns: Vec<FieldRef> = vec![Arc::new(Field::new("n", DataType::Int64, true))];
    let request = TableRequest { table: "t", options, columns: &columns, primary_key: &[] };
    source(request, &Environment::new(dir.path(), dir.path(), "p")).unwrap().source
}

/// Reads until there have been so many records and nothing more comes.
async fn read(reader: &mut dyn Reader, wanted: usize) -> usize {
    let (mut records, mut idle) = (0, 0);
    while records < wanted || idle < 50 {
        match reader.read().await.unwrap() {
            Read::Chunk(chunk) => {
                let Records::Framed(framed) = chunk.records else { panic!("messages are framed") };
                records += framed.values.len();
                idle = 0;
            }
            _ => idle += 1,
        }
    }
    records
}

/// As a manifest keeps it.
fn kept(reader: &dyn Reader) -> Position {
    let kept = reader.kept(&reader.position());
    serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_checkpoint_covers_and_nobody_acknowledged_is_dropped_when_it_comes_again() {
    for kind in ["classic", "quorum"] {
        let (queue, dir) = (unique(&format!("redelivered.{kind}")), tempfile::tempdir().unwrap());
        let mut outside = Outside::connect(&shared()["RABBITMQ"]);
        outside.queue(&queue, kind);
        outside.put(&queue, numbered(0..500));
        let source = table(&queue, &dir);
        let partition = source.partitions().await.unwrap().remove(0);
        let mut reader = source.open(&partition, None).await.unwrap();
        assert_eq!(read(reader.as_mut(), 500).await, 500);
        let checkpoint = kept(reader.as_ref());
        // 200 more are read behind the checkpoint: they are not in it.
        outside.put(&queue, numbered(500..700));
        assert_eq!(read(reader.as_mut(), 200).await, 200);
        drop(reader);

        let mut again = source.open(&partition, Some(&checkpoint)).await.unwrap();
        assert_eq!(read(again.as_mut(), 200).await, 200, "{kind}: only those that the checkpoint does not cover");
        let position = again.position();
        let second = kept(again.as_ref());
        again.confirmed(&position).await.unwrap();
        drop(again);

        // All is acknowledged: nothing comes again, and what is new comes, whatever its id.
        outside.put(&queue, numbered(0..10));
        let mut third = source.open(&partition, Some(&second)).await.unwrap();
        assert_eq!(read(third.as_mut(), 10).await, 10, "{kind}: a new message under a known id is a message");
        // Without an id nothing tells what comes again from what is new.
        outside.put(&queue, (0..5).map(|n| json!({ "body": json!({ "n": n }).to_string() })).collect());
        assert_eq!(read(third.as_mut(), 5).await, 5);
        let checkpoint = kept(third.as_ref());
        drop(third);
        let mut fourth = source.open(&partition, Some(&checkpoint)).await.unwrap();
        assert_eq!(read(fourth.as_mut(), 5).await, 5, "{kind}: at least once");
        drop(fourth);
        outside.step(json!({ "step": "delete", "queue": queue }));
    }
}
