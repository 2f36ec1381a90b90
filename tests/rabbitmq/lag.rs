//! How much there is to read: messages of a queue that wait, messages of a stream behind where reading stands.

use serde_json::json;

use super::outside::numbered;
use super::{Job, Outside, shared, unique};

#[test]
fn lag_of_queues_and_streams_is_in_the_metrics() {
    let uri = &shared()["RABBITMQ"];
    let (queue, stream) = (unique("lag.queue"), unique("lag.stream"));
    let mut outside = Outside::connect(uri);
    outside.queue(&queue, "classic");
    outside.queue(&stream, "stream");
    outside.put(&stream, numbered(0..300));
    let table =
        |name: &str, more: &str| format!("CREATE TABLE {name} (n BIGINT) WITH ('connector' = 'rabbitmq', 'uri' = '{uri}', {more});");
    let mut job = Job::new(&format!(
        "{}\n{}\nCREATE TABLE o (n BIGINT) WITH ('connector' = 'blackhole');\nINSERT INTO o SELECT n FROM q UNION ALL SELECT n FROM s;",
        table("q", &format!("'queue' = '{queue}', 'prefetch' = '1'")),
        table("s", &format!("'stream' = '{stream}'")),
    ));
    job.set = vec!["checkpoint.interval=1 h".into()];
    let mut running = job.start();
    running.until("it runs", |running| running.metrics().contains("eagre_source_records_total"));
    let gauge = |metrics: &str, partition: &str| {
        let line = metrics.lines().find(|line| line.starts_with("eagre_source_lag_records{") && line.contains(partition))?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    running.until("the stream is read to its end", |running| gauge(&running.metrics(), &stream) == Some(0));
    // Each message brings a checkpoint: the others wait meanwhile.
    outside.put(&queue, numbered(0..5_000));
    let mut told = 0;
    running.until("what waits in the queue is told", |running| {
        told = gauge(&running.metrics(), &queue).unwrap_or(0);
        told > 0
    });
    assert!(told <= 5_000, "{told} were told, and no more than 5000 are there");
    for queue in [&queue, &stream] {
        outside.step(json!({ "step": "delete", "queue": queue }));
    }
}
