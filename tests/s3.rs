//! Checkpoints on S3, over the wire: moto's server in a process of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::digests::eagre;
use crate::workload;

/// A server with an empty bucket `state`.
struct Server {
    child: Child,
    endpoint: String,
}

impl Server {
    fn start() -> Server {
        let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/moto");
        let program = venv.join("bin/moto_server");
        if !program.exists() {
            let ran = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
            ran(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            ran(Command::new(venv.join("bin/python")).args(["-m", "pip", "install", "-q", "moto[server,s3]"]));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        let child = command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Server { child, endpoint: format!("http://127.0.0.1:{port}") };
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(since.elapsed() < Duration::from_secs(60), "moto's server does not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let made = runtime.block_on(reqwest::Client::new().put(format!("{}/state", server.endpoint)).send()).unwrap();
        assert!(made.status().is_success(), "{made:?}");
        server
    }

    /// A run that keeps its checkpoints in `bucket`.
    fn run(&self, sql: &Path, data: &Path, bucket: &str) -> Command {
        let mut command = eagre(sql, data, 2, &[&format!("checkpoint.dir=s3://{bucket}/jobs"), "checkpoint.interval=50 ms"]);
        command.env("AWS_ENDPOINT", &self.endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "secret");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn job(dir: &Path, out: &str) -> std::path::PathBuf {
    let events = workload::small().join("all/events.jsonl");
    let text = format!(
        "CREATE TABLE events (customerId STRING, ts BIGINT, rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND)
WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
CREATE TABLE counts (customerId STRING, ws TIMESTAMP(3), cnt BIGINT) WITH ('connector' = 'filesystem', 'path' = '{out}', 'format' = 'json');
INSERT INTO counts SELECT customerId, window_start, COUNT(*)
FROM TABLE(HOP(TABLE events, DESCRIPTOR(rt), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)) GROUP BY window_start, window_end, customerId;",
        events.display()
    );
    let path = dir.join(format!("{out}.sql"));
    fs::write(&path, text).unwrap();
    path
}

fn rows(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let visible = files.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
    let mut rows: Vec<String> =
        visible.flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_run_that_is_killed_goes_on_from_s3() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let calm = eagre(&job(dir.path(), "calm"), &dir.path().join("calm-state"), 2, &[]).output().unwrap();
    assert!(calm.status.success(), "{}", String::from_utf8_lossy(&calm.stderr));

    let (sql, data) = (job(dir.path(), "shaken"), dir.path().join("state"));
    let mut kills = 0;
    for pause in [150, 250, 400, 600] {
        let mut run = server.run(&sql, &data, "state").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        run.kill().unwrap();
        kills += usize::from(!run.wait().unwrap().success());
    }
    let last = server.run(&sql, &data, "state").output().unwrap();
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    println!("killed {kills} times");
    assert!(rows(&dir.path().join("calm")) == rows(&dir.path().join("shaken")), "killed {kills} times");
    assert!(!data.join("shaken/checkpoints").exists(), "nothing is kept beside S3");

    let nowhere = server.run(&sql, &data, "nowhere").output().unwrap();
    let told = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert_eq!(nowhere.status.code(), Some(3), "{told}");
    assert!(told.contains("in the checkpoint store: ") && told.contains("NoSuchBucket"), "{told}");
}
