//! pika in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

/// A Python that has pika.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let venv = root.join("target/pika");
        let python = venv.join("bin/python");
        let has_pika = || Command::new(&python).args(["-c", "import pika"]).output().is_ok_and(|done| done.status.success());
        if !has_pika() {
            let ran = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
            ran(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            ran(Command::new(&python).args(["-m", "pip", "install", "-q", "pika"]));
        }
        python
    })
}

/// A connection of pika's.
pub struct Outside {
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Outside {
    pub fn connect(uri: &str) -> Outside {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rabbitmq/outside.py");
        let mut child = Command::new(python()).arg(script).arg(uri).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asked, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Outside { child, asked, answers }
    }

    pub fn step(&mut self, step: Value) -> Value {
        writeln!(self.asked, "{step}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("pika failed at {}", &step.to_string()[..200.min(step.to_string().len())]))
    }

    pub fn queue(&mut self, queue: &str, kind: &str) {
        self.step(json!({ "step": "queue", "queue": queue, "arguments": { "x-queue-type": kind } }));
    }

    /// An exchange with a queue bound to it by `key`.
    pub fn exchange(&mut self, exchange: &str, queue: &str, key: &str) {
        self.step(json!({ "step": "exchange", "exchange": exchange }));
        self.queue(queue, "classic");
        self.step(json!({ "step": "bind", "exchange": exchange, "queue": queue, "key": key }));
    }

    /// Publishes to a queue.
    pub fn put(&mut self, queue: &str, messages: Vec<Value>) {
        self.step(json!({ "step": "publish", "queue": queue, "messages": messages }));
    }

    /// Messages that wait, unacknowledged ones not counted.
    pub fn depth(&mut self, queue: &str) -> u64 {
        self.step(json!({ "step": "depth", "queue": queue })).as_u64().unwrap()
    }

    /// Takes all messages.
    pub fn drain(&mut self, queue: &str) -> Vec<Value> {
        self.step(json!({ "step": "drain", "queue": queue })).as_array().unwrap().clone()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Messages `{"n": …}` with ids.
pub fn numbered(numbers: std::ops::Range<u32>) -> Vec<Value> {
    numbers.map(|n| json!({ "id": format!("id-{n}"), "body": json!({ "n": n }).to_string() })).collect()
}
