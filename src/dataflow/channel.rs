//! Bounded channels between tasks, and the fan-in of a task: barrier alignment over its inputs.
//!
//! One channel per pair of tasks. A channel holds at most [`CAPACITY`] messages of at most a scan batch each, so what is
//! under way is bounded in rows and in bytes.

use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::mpsc;

use crate::dataflow::message::{Barrier, Message};
use crate::metrics::Gauge;

/// Messages a channel holds before its sender waits.
pub const CAPACITY: usize = 8;

/// The sending end of a channel.
#[derive(Debug, Clone)]
pub struct Sender {
    inner: mpsc::Sender<Message>,
    fill: Gauge,
}

/// A new channel; `fill` shows how many messages it holds.
pub fn channel(fill: Gauge) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (Sender { inner: sender, fill: fill.clone() }, Receiver { inner: receiver, fill })
}

impl Sender {
    /// Waits for room and sends. `Err` = the receiving task is gone, the pipeline is going down.
    pub async fn send(&self, message: Message) -> Result<(), Closed> {
        self.inner.send(message).await.map_err(|_| Closed)?;
        self.fill.set((CAPACITY - self.inner.capacity()) as i64);
        Ok(())
    }
}

/// The other side of a channel is gone.
#[derive(Debug)]
pub struct Closed;

/// The receiving end of a channel.
#[derive(Debug)]
pub struct Receiver {
    inner: mpsc::Receiver<Message>,
    fill: Gauge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Read from it.
    Open,
    /// It has delivered the barrier that the others still owe: nothing is read from it until they have.
    Waiting,
    /// It has ended: it delivers every barrier at once.
    Ended,
}

/// All inputs of a task, read fairly, with barriers aligned.
#[derive(Debug)]
pub struct FanIn {
    inputs: Vec<(Receiver, Gate)>,
    /// Where the next look begins, so that no input starves.
    next: usize,
    /// The barrier being aligned.
    aligning: Option<Barrier>,
}

/// What the fan-in has to say.
#[derive(Debug)]
pub enum Arrival {
    /// A message (never a barrier) of an input.
    Message(usize, Message),
    /// A barrier that all inputs have delivered.
    Barrier(Barrier),
    /// All inputs have ended.
    AllEnded,
    /// An input vanished without ending: its task failed.
    Broken,
}

impl FanIn {
    /// Reads from `inputs`.
    pub fn new(inputs: Vec<Receiver>) -> Self {
        FanIn { inputs: inputs.into_iter().map(|r| (r, Gate::Open)).collect(), next: 0, aligning: None }
    }

    /// The next arrival.
    pub async fn next(&mut self) -> Arrival {
        loop {
            if self.inputs.iter().all(|(_, gate)| *gate == Gate::Ended) && self.aligning.is_none() {
                return Arrival::AllEnded;
            }
            if self.inputs.iter().all(|(_, gate)| *gate != Gate::Open)
                && let Some(barrier) = self.aligning.take()
            {
                self.inputs.iter_mut().filter(|(_, gate)| *gate == Gate::Waiting).for_each(|(_, gate)| *gate = Gate::Open);
                return Arrival::Barrier(barrier);
            }
            let (input, message) = poll_fn(|cx| {
                let count = self.inputs.len();
                for step in 0..count {
                    let index = (self.next + step) % count;
                    let (receiver, gate) = &mut self.inputs[index];
                    if *gate == Gate::Open
                        && let Poll::Ready(message) = receiver.inner.poll_recv(cx)
                    {
                        receiver.fill.set(receiver.inner.len() as i64);
                        self.next = index + 1;
                        return Poll::Ready((index, message));
                    }
                }
                Poll::Pending
            })
            .await;
            match message {
                None => return Arrival::Broken,
                Some(Message::Barrier(barrier)) => {
                    self.inputs[input].1 = Gate::Waiting;
                    self.aligning = Some(barrier);
                }
                Some(Message::End) => {
                    self.inputs[input].1 = Gate::Ended;
                    return Arrival::Message(input, Message::End);
                }
                Some(message) => return Arrival::Message(input, message),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Watermark;

    #[tokio::test]
    async fn an_input_that_delivered_the_barrier_waits_for_the_others() {
        let (a, ra) = channel(Gauge::default());
        let (b, rb) = channel(Gauge::default());
        let mut fan = FanIn::new(vec![ra, rb]);
        let barrier = Barrier { epoch: 1, checkpoint: true };
        a.send(Message::Barrier(barrier)).await.unwrap();
        a.send(Message::Watermark(Watermark(7), 0)).await.unwrap();
        b.send(Message::Watermark(Watermark(5), 0)).await.unwrap();
        assert!(matches!(fan.next().await, Arrival::Message(1, Message::Watermark(Watermark(5), 0))));
        b.send(Message::End).await.unwrap();
        assert!(matches!(fan.next().await, Arrival::Message(1, Message::End)));
        assert!(matches!(fan.next().await, Arrival::Barrier(found) if found == barrier));
        assert!(matches!(fan.next().await, Arrival::Message(0, Message::Watermark(Watermark(7), 0))));
        a.send(Message::End).await.unwrap();
        assert!(matches!(fan.next().await, Arrival::Message(0, Message::End)));
        assert!(matches!(fan.next().await, Arrival::AllEnded));
    }
}
