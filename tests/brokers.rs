//! The real brokers that `scripts/brokers` starts: where they are. A test that needs one starts it when it does not run;
//! without it the test fails, it is not skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Addresses by name, as the script writes them.
pub type Addresses = BTreeMap<String, String>;

/// Brings `broker` up in `dir` (below `target/`) and tells its addresses. What runs already is left as it is.
pub fn up(dir: &str, broker: &str) -> Addresses {
    up_nodes(dir, broker, 1)
}

/// The same, a cluster of so many.
pub fn up_nodes(dir: &str, broker: &str, nodes: usize) -> Addresses {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("scripts/brokers"));
    command.args(["up", "--nodes", &nodes.to_string(), "--dir"]).arg(folder(dir)).arg(broker);
    let done = command.output().unwrap();
    assert!(done.status.success(), "scripts/brokers up {broker}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Takes `broker` in `dir` down, with its data.
pub fn down(dir: &str, broker: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = Command::new(root.join("scripts/brokers")).args(["down", "--dir"]).arg(folder(dir)).arg(broker).status().unwrap();
    assert!(done.success());
}

fn folder(dir: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(dir)
}
