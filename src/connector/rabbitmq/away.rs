//! A connection that comes and goes: opened in the background while barriers go on through.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connection::{Backoff, Broker};
use crate::connector::trouble::Troubles;
use crate::error::{Error, Kind, Result};

/// Opens what works with a broker: a consumer on a channel of a connection.
pub type Open<T> = Arc<dyn Fn() -> futures::future::BoxFuture<'static, Result<T>> + Send + Sync>;

/// Something open on a broker, or the attempts to open it again.
pub struct Kept<T> {
    broker: Arc<Broker>,
    troubles: Troubles,
    state: State<T>,
    backoff: Backoff,
    /// Since when the broker has been away.
    away: Option<Instant>,
}

enum State<T> {
    Open(T),
    Opening(JoinHandle<Result<T>>),
    Waiting(Instant),
}

impl<T: Send + 'static> Kept<T> {
    /// Begins with something open.
    pub fn new(broker: Arc<Broker>, troubles: Troubles, open: T) -> Self {
        Kept { broker, troubles, state: State::Open(open), backoff: Backoff::default(), away: None }
    }

    /// What is open, if the broker is there.
    pub fn get(&mut self) -> Option<&mut T> {
        match &mut self.state {
            State::Open(open) => Some(open),
            _ => None,
        }
    }

    /// It broke: waits and tries again. An error that does not go away by itself is given back, and so is one that has
    /// lasted for `broker.retry.timeout`.
    pub fn broke(&mut self, error: Error) -> Result<()> {
        if error.kind() != Kind::Unreachable {
            return Err(error);
        }
        let away = *self.away.get_or_insert_with(Instant::now);
        if let Some(most) = self.broker.retry_timeout()
            && away.elapsed() >= most
        {
            let text = format!("{} has been away for {} s (option 'broker.retry.timeout')", self.broker.thing(), most.as_secs_f64());
            return Err(Error::unreachable(text).because(error));
        }
        self.troubles.report(self.broker.thing(), format!("cannot be reached, trying again: {}", error.line()));
        self.state = State::Waiting(Instant::now() + self.backoff.wait());
        Ok(())
    }

    /// Goes on trying; true when it has been opened. Comes back at `until` at the latest.
    pub async fn reopen(&mut self, open: &Open<T>, until: Instant) -> Result<bool> {
        if let State::Waiting(next) = &self.state {
            let next = *next;
            tokio::time::sleep_until(next.min(until)).await;
            if next > until {
                return Ok(false);
            }
            self.state = State::Opening(tokio::spawn(open()));
        }
        let State::Opening(opening) = &mut self.state else { return Ok(false) };
        match tokio::time::timeout_at(until, opening).await {
            Err(_) => Ok(false),
            Ok(Ok(Ok(opened))) => {
                self.state = State::Open(opened);
                self.backoff = Backoff::default();
                self.away = None;
                self.troubles.mended(&self.broker.thing());
                Ok(true)
            }
            Ok(Ok(Err(error))) => self.broke(error).map(|()| false),
            Ok(Err(stopped)) => Err(Error::bug("connecting stopped").because(stopped)),
        }
    }
}
