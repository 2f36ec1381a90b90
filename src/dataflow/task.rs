//! The loop of a task: messages in, chain, messages out; barriers acknowledged to the coordinator.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::dataflow::chain::{Chain, Report};
use crate::dataflow::channel::{Arrival, Closed, FanIn, Sender};
use crate::dataflow::layout::Route;
use crate::dataflow::message::{Barrier, Message, SourceReport};
use crate::error::{Error, Result};
use crate::state::Sharder;

/// Number of a task in the pipeline.
pub type TaskId = usize;

/// What a task tells the coordinator.
#[derive(Debug)]
pub enum TaskEvent {
    /// A barrier has passed.
    Passed(TaskId, Barrier, Report, Option<SourceReport>),
    /// All inputs have ended, everything is emitted and prepared under the given epoch.
    Finished(TaskId, Report, Option<SourceReport>),
    /// A source wants a checkpoint before its time.
    Wanted,
    /// The task cannot go on.
    Failed(Error),
}

/// An edge that leaves the task.
#[derive(Debug)]
pub struct Outlet {
    /// How rows are dealt.
    pub route: Route,
    /// One per task of the receiving stage.
    pub senders: Vec<Sender>,
    /// Computes the dealing.
    pub sharder: Sharder,
}

/// All edges that leave the task.
#[derive(Debug, Default)]
pub struct Outlets(pub Vec<Outlet>);

impl Outlets {
    /// Sends what the chain left in its outbox.
    pub async fn flush(&mut self, chain: &mut Chain) -> Result<()> {
        for (output, message) in chain.take_outbox() {
            self.0[output].send(message).await?;
        }
        Ok(())
    }

    /// Sends `message` to every task behind every edge.
    pub async fn broadcast(&self, message: Message) -> Result<()> {
        for outlet in &self.0 {
            for sender in &outlet.senders {
                sender.send(message.clone()).await.map_err(gone)?;
            }
        }
        Ok(())
    }
}

impl Outlet {
    async fn send(&mut self, message: Message) -> Result<()> {
        match (message, &self.route) {
            (Message::Batch(batch, arrived), Route::ByKey(keys)) if self.senders.len() > 1 => {
                let columns: Vec<_> = keys.iter().map(|key| batch.column(*key).clone()).collect();
                let parts = self.sharder.split(&columns, batch.num_rows())?;
                for (rows, sender) in parts.iter().zip(&self.senders) {
                    if rows.len() == batch.num_rows() {
                        sender.send(Message::Batch(batch.clone(), arrived)).await.map_err(gone)?;
                    } else if !rows.is_empty() {
                        let part = arrow::compute::take_record_batch(&batch, rows)?;
                        sender.send(Message::Batch(part, arrived)).await.map_err(gone)?;
                    }
                }
            }
            (Message::Batch(batch, arrived), _) => self.senders[0].send(Message::Batch(batch, arrived)).await.map_err(gone)?,
            (message, _) => {
                for sender in &self.senders {
                    sender.send(message.clone()).await.map_err(gone)?;
                }
            }
        }
        Ok(())
    }
}

/// The receiver of a channel is gone: its task has failed and has told the coordinator why.
fn gone(_: Closed) -> Error {
    Error::new(crate::error::Kind::Interrupted, "a task downstream is gone")
}

/// Runs a task that receives from other tasks. `inlets`: per channel of `fan_in` the chain node and in-slot it feeds;
/// `last_epoch`: the one that the run goes on from, so that what is prepared at an early end takes no name that is used.
pub async fn run(
    task: TaskId,
    mut last_epoch: u64,
    mut chain: Chain,
    mut fan_in: FanIn,
    inlets: Arc<[(usize, usize)]>,
    mut outlets: Outlets,
    events: mpsc::Sender<TaskEvent>,
) -> Result<()> {
    loop {
        match fan_in.next().await {
            Arrival::Message(channel, message) => {
                let (node, slot) = inlets[channel];
                chain.accept(node, slot, message)?;
                outlets.flush(&mut chain).await?;
                chain.room().await?;
            }
            Arrival::Barrier(barrier) => {
                last_epoch = barrier.epoch;
                let report = chain.barrier(barrier)?;
                outlets.flush(&mut chain).await?;
                outlets.broadcast(Message::Barrier(barrier)).await?;
                tell(&events, TaskEvent::Passed(task, barrier, report, None)).await;
            }
            Arrival::AllEnded => {
                let report = chain.barrier(Barrier { epoch: last_epoch + 1, checkpoint: true })?;
                outlets.flush(&mut chain).await?;
                outlets.broadcast(Message::End).await?;
                tell(&events, TaskEvent::Finished(task, report, None)).await;
                return Ok(());
            }
            Arrival::Broken => return Err(gone(Closed)),
        }
    }
}

/// Tells the coordinator; when it is gone the pipeline is going down anyway.
pub async fn tell(events: &mpsc::Sender<TaskEvent>, event: TaskEvent) {
    if events.send(event).await.is_err() {
        tracing::debug!("the coordinator is gone");
    }
}
