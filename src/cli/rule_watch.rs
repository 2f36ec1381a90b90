//! Tells when the rule files of a running project have changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::error::Result;
use crate::project::{RULES, RuleFile, rule_files};

/// An editor writes a file in several steps: what is saved is read when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(150);

/// Watches the rules of a project folder; of a single SQL file, which has none, nothing.
pub struct RuleWatch {
    dir: PathBuf,
    /// Kept alive: dropping it ends the watch.
    watcher: Option<RecommendedWatcher>,
    news: mpsc::Receiver<()>,
    /// What was read last.
    known: Vec<RuleFile>,
    /// Has something changed that was not read yet? Kept here because whoever waits may be interrupted.
    stale: bool,
}

impl RuleWatch {
    /// Begins to watch the project at `path`, which was read with the rules `known`. Where the system cannot, it says so and
    /// rules are read at the start only.
    pub fn begin(path: &Path, known: Vec<RuleFile>) -> RuleWatch {
        let (sender, news) = mpsc::channel(1);
        let mut watch = RuleWatch { dir: path.to_owned(), watcher: None, news, known, stale: path.is_dir() };
        if !path.is_dir() {
            return watch;
        }
        let told = move |event: notify::Result<notify::Event>| {
            // One piece of news stands for any number of changes; what is no change of content is no news.
            let concerns = |event: notify::Event| !event.kind.is_access() && event.paths.iter().any(|path| is_rules(path));
            if event.is_ok_and(concerns) && sender.try_send(()).is_err() {
                tracing::trace!("changed rules are waiting to be read already");
            }
        };
        let begun = notify::recommended_watcher(told).and_then(|mut watcher| {
            // The folder itself may come and go: the project's folder tells of that.
            watcher.watch(path, RecursiveMode::NonRecursive)?;
            if path.join(RULES).is_dir() {
                watcher.watch(&path.join(RULES), RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        match begun {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(error) => tracing::warn!("changed rules are not seen while this runs: {error}"),
        }
        watch
    }

    /// Waits until the rule files are other than before, and reads them.
    pub async fn changed(&mut self) -> Result<Vec<RuleFile>> {
        loop {
            if !self.stale && (self.watcher.is_none() || self.news.recv().await.is_none()) {
                std::future::pending::<()>().await;
            }
            self.stale = true;
            while tokio::time::timeout(QUIET, self.news.recv()).await.is_ok_and(|news| news.is_some()) {}
            if let Some(watcher) = &mut self.watcher
                && self.dir.join(RULES).is_dir()
                && let Err(error) = watcher.watch(&self.dir.join(RULES), RecursiveMode::NonRecursive)
            {
                tracing::warn!("changed rules are not seen while this runs: {error}");
            }
            self.stale = false;
            let files = rule_files(&self.dir)?;
            if files != self.known {
                self.known.clone_from(&files);
                return Ok(files);
            }
        }
    }
}

/// Is it the folder of rules, or something in it?
fn is_rules(path: &Path) -> bool {
    let named = |path: &Path| path.file_name().is_some_and(|name| name == RULES);
    named(path) || path.parent().is_some_and(named)
}
