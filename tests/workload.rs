//! The generated input of the benchmark workloads.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder with the texts and answers.
pub fn bench() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("EAGRE_BENCH").map_or_else(|| here.join("../shared/bench"), PathBuf::from)
}

/// The input of `expected/*.csv`, made once per test run.
pub fn small() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("workload-small");
        if !dir.join("manifest.json").exists() {
            let args = ["--events", "20000", "--rate", "2", "--customers", "500", "--nexmark", "20000"];
            let made = Command::new("python3").arg(bench().join("gen.py")).arg(&dir).args(args).status().expect("python3 is needed");
            assert!(made.success(), "gen.py failed; it needs numpy");
        }
        dir
    })
    .clone()
}
