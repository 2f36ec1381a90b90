//! How a graph is run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::connector::Sink;
use crate::dataflow::coordinator::OnCut;
use crate::dataflow::state_limit::OnStateLimit;
use crate::metrics::Metrics;
use crate::operator::expressions::OnExpressionError;
use crate::state::Checkpoints;

/// Which checkpoint to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// The newest, if the last run was interrupted; afresh if it had finished.
    Auto,
    /// The newest, even of a finished run: input is read from where that run ended, tables keep their rows. Windows, joins
    /// and frames of OVER begin anew, since the end of the input closed them and gave out their results.
    Latest,
    /// None: afresh.
    None,
    /// This one.
    Epoch(u64),
}

/// How to run a graph.
#[derive(Clone)]
pub struct Settings {
    /// The pipeline's id: its state belongs to it.
    pub pipeline: String,
    /// Worker threads, decoding included; also the number of tasks of a keyed stage.
    pub parallelism: usize,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Where checkpoints are.
    pub checkpoints: Checkpoints,
    /// Which one to go on from.
    pub restore: Restore,
    /// Go on although some state finds no operator.
    pub allow_state_loss: bool,
    /// Live tables: time between cuts, and what publishes them.
    pub cuts: Option<(Duration, OnCut)>,
    /// Where dead letters go whose table names no topic; `None` = they are only counted.
    pub dead_letters: Option<Arc<dyn Sink>>,
    /// After a small chunk a live reader gathers at least this long before it hands over the next.
    pub linger: Duration,
    /// What happens to rows on which an expression fails.
    pub on_expression_error: OnExpressionError,
    /// The most state there may be; `None` = no limit.
    pub state_max_bytes: Option<u64>,
    /// What happens when there is as much.
    pub on_state_limit: OnStateLimit,
    /// Counters.
    pub metrics: Metrics,
    /// Asks the pipeline to stop.
    pub stop: Stopper,
}

/// Asks a pipeline to stop.
#[derive(Debug, Clone, Default)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Stop behind a last checkpoint.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Hears the asking, also one from before.
    pub fn listen(&self) -> watch::Receiver<bool> {
        let mut heard = self.0.subscribe();
        if *heard.borrow() {
            heard.mark_changed();
        }
        heard
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        // The sender is ours: it does not go away meanwhile.
        _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}
