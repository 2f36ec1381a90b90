//! A full disk: a small file system in a mount namespace of the test's own, which is enlarged after the run has failed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const ROWS: i64 = 100_000;

/// Runs a bash script that may mount; `None` where that is not allowed (`scripts/test` says so).
fn mounting(script: &str) -> Option<String> {
    let allowed = |flags: &&str| {
        let tried = Command::new("unshare").args([flags, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|tried| tried.success())
    };
    let flags = ["-m", "-Urm"].into_iter().find(|flags| allowed(flags))?;
    let ran = Command::new("unshare").args([flags, "bash", "-euc", script]).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{text}");
    Some(text)
}

fn ids(dir: &Path) -> Vec<i64> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let visible = files.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_i64().unwrap();
    let mut ids: Vec<i64> = visible.flat_map(|path| fs::read_to_string(path).unwrap().lines().map(id).collect::<Vec<_>>()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_full_disk_stops_the_run_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let topic = "CREATE TABLE kept (id BIGINT, text STRING)
WITH ('connector' = 'log', 'format' = 'json', 'topic' = 'kept', 'partitions' = '2', 'scan.bounded.mode' = 'latest-offset');";
    let fill = format!(
        "CREATE TABLE made (id BIGINT, text STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '{ROWS}',
  'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '{ROWS}', 'fields.text.length' = '100');
{topic}
CREATE TABLE files (id BIGINT, text STRING) WITH ('connector' = 'filesystem', 'path' = 'disk/files', 'format' = 'json');
EXECUTE STATEMENT SET BEGIN
INSERT INTO kept SELECT id, text FROM made;
INSERT INTO files SELECT id, text FROM made;
END;"
    );
    let dump = format!(
        "{topic}
CREATE TABLE dumped (id BIGINT) WITH ('connector' = 'filesystem', 'path' = 'topic', 'format' = 'json');
INSERT INTO dumped SELECT id FROM kept;"
    );
    fs::write(dir.path().join("fill.sql"), fill).unwrap();
    fs::write(dir.path().join("dump.sql"), dump).unwrap();
    let script = format!(
        "cd '{}'; mkdir disk; mount -t tmpfs -o size=12m tmpfs disk
run() {{ '{}' run $1 --no-serve --data-dir disk/data --set 'checkpoint.interval=50 ms' || echo exit code $?; }}
run fill.sql; run fill.sql
mount -o remount,size=200m disk
run fill.sql; run dump.sql
cp -r disk/files .",
        dir.path().display(),
        env!("CARGO_BIN_EXE_eagre")
    );
    let Some(told) = mounting(&script) else {
        println!("skipped: nothing can be mounted here");
        return;
    };
    assert_eq!(told.matches("exit code").count(), 2, "{told}");
    assert!(told.contains("no space left") && told.contains("start again"), "{told}");
    let all: Vec<i64> = (1..=ROWS).collect();
    assert!(ids(&dir.path().join("topic")) == all, "the topic: {told}");
    assert!(ids(&dir.path().join("files")) == all, "the files: {told}");
}
