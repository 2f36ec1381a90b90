//! `batch.linger`: the first row of thin traffic does not wait, those right behind it are gathered, barriers get through.

use std::path::Path;
use std::time::Duration;

use eagre::dataflow::settings::Restore;
use eagre::engine::Engine;
use eagre::error::Place;
use eagre::log::{Batch, Record};
use eagre::project::{Origin, Project, SqlText};

const SQL: &str = "
CREATE TABLE t (k STRING) WITH ('connector' = 'log', 'format' = 'json', 'partitions' = '1');
CREATE MATERIALIZED VIEW out AS SELECT k FROM t;";

fn load(dir: &Path) -> Engine {
    let mut project = Project::of_texts("linger", dir, vec![SqlText { name: "linger.sql".into(), text: SQL.into() }]);
    for (key, value) in [("batch.linger", "1 h"), ("cut.interval", "1 ms"), ("parallelism", "1")] {
        project.settings.set(key, value, Origin::Set, Place::thing("test")).unwrap();
    }
    Engine::load(project).unwrap()
}

fn append(engine: &Engine, key: &str) {
    let log = engine.environment().log.open().unwrap();
    let mut batch = Batch::default();
    batch.push(&log.topic("t").unwrap(), 0, &Record::new(format!("{{\"k\": \"{key}\"}}").as_bytes(), 0)).unwrap();
    log.append(batch).unwrap();
}

fn rows(engine: &Engine) -> usize {
    engine.tables().snapshot().table("out").unwrap().batches().unwrap().iter().map(|batch| batch.num_rows()).sum()
}

async fn until_there_are(engine: &Engine, wanted: usize) {
    let waiting = async {
        while rows(engine) < wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the rows do not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_alone_goes_at_once_and_those_behind_it_together() {
    let dir = tempfile::tempdir().unwrap();
    let engine = load(dir.path());
    let running = engine.start(Restore::Auto, false).await.unwrap();
    append(&engine, "first");
    until_there_are(&engine, 1).await;
    append(&engine, "second");
    append(&engine, "third");
    // They are still being gathered when the pipeline stops, and lost to nobody.
    running.stopper().stop();
    running.wait().await.unwrap();
    assert_eq!(rows(&engine), 1);
    let running = engine.start(Restore::Latest, false).await.unwrap();
    until_there_are(&engine, 3).await;
    running.stopper().stop();
    running.wait().await.unwrap();
    assert_eq!(rows(&engine), 3);
}
