//! A running pipeline: started again, from what the outside confirms, when what was under way outside is lost or
//! unknown, and when sources have grown.
//!
//! ```text
//!  run ─▶ Kind::Restart (a transaction timed out, a commit without an answer) ─▶ pause ─▶ start ─▶ run ─▶ …
//! ```

use std::time::Duration;

use crate::connector::trouble::Troubles;
use crate::dataflow::coordinator::Ended;
use crate::dataflow::graph::Graph;
use crate::dataflow::pipeline::Pipeline;
use crate::dataflow::settings::{Restore, Settings, Stopper};
use crate::error::{Error, Kind, Result};

/// Pause before the first new start, doubled up to …
const PAUSE: Duration = Duration::from_millis(200);
/// … this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A running pipeline and what it takes to start it again.
pub struct Running {
    /// What the start found, in a sentence.
    pub start: String,
    pipeline: Pipeline,
    graph: Graph,
    settings: Settings,
    troubles: Troubles,
}

impl Running {
    /// Starts `graph`.
    pub(super) async fn start(graph: Graph, settings: Settings, troubles: Troubles) -> Result<Running> {
        let pipeline = Pipeline::start(graph.clone(), settings.clone()).await?;
        Ok(Running { start: pipeline.start.clone(), pipeline, graph, settings, troubles })
    }

    /// A handle that stops it.
    pub fn stopper(&self) -> Stopper {
        self.settings.stop.clone()
    }

    /// Waits for its end.
    pub async fn wait(self) -> Result<Ended> {
        let Running { mut pipeline, graph, mut settings, troubles, .. } = self;
        // The first start has forgotten what it did not go on from; from now on it is always the newest.
        settings.restore = match settings.restore {
            Restore::Latest | Restore::Epoch(_) => Restore::Latest,
            Restore::Auto | Restore::None => Restore::Auto,
        };
        let thing = format!("pipeline {}", settings.pipeline);
        loop {
            let error = match pipeline.wait().await {
                Err(error) if error.kind() == Kind::Restart => error,
                ended => return ended,
            };
            pipeline = match again(&graph, &settings, &troubles, &thing, error).await? {
                Some(pipeline) => pipeline,
                None => return Ok(Ended::Stopped),
            };
            troubles.mended(&thing);
            tracing::info!("{thing}: {}", pipeline.start);
        }
    }
}

/// Starts until it succeeds; `None`: asked to stop meanwhile.
async fn again(graph: &Graph, settings: &Settings, troubles: &Troubles, thing: &str, why: Error) -> Result<Option<Pipeline>> {
    tracing::warn!("{thing}: starting again from the last confirmed checkpoint: {why}");
    let mut pause = PAUSE;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = settings.stop.asked() => return Ok(None),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        match Pipeline::start(graph.clone(), settings.clone()).await {
            Err(error) if matches!(error.kind(), Kind::Restart | Kind::Unreachable) => {
                troubles.report(thing, format!("cannot start again yet: {error}"));
            }
            started => return started.map(Some),
        }
    }
}
