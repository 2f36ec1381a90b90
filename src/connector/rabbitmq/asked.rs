//! A number that a broker is asked for now and then and that nobody waits for: how much there is to read.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::Result;

/// A number of the broker's, as it last told it.
#[derive(Debug)]
pub struct Asked {
    every: Duration,
    /// When it was asked last; `None` = never yet.
    last: Option<Instant>,
    answer: Option<JoinHandle<Result<u64>>>,
    known: Option<u64>,
}

impl Asked {
    /// To be asked for so often at most.
    pub fn new(every: Duration) -> Self {
        Asked { every, last: None, answer: None, known: None }
    }

    /// The number as it is known; asks for a newer one with `ask` when it is time, unless an answer is awaited.
    pub fn look(&mut self, ask: impl FnOnce() -> Option<BoxFuture<'static, Result<u64>>>) -> Option<u64> {
        if let Some(answered) = self.answer.as_mut().and_then(FutureExt::now_or_never) {
            self.answer = None;
            match answered {
                Ok(Ok(number)) => self.known = Some(number),
                // What is wrong with a broker is told by who reads from it.
                Ok(Err(error)) => tracing::debug!("{error}"),
                Err(stopped) => tracing::debug!("asking a broker stopped: {stopped}"),
            }
        }
        if self.answer.is_none()
            && self.last.is_none_or(|last| last.elapsed() >= self.every)
            && let Some(question) = ask()
        {
            self.last = Some(Instant::now());
            self.answer = Some(tokio::spawn(question));
        }
        self.known
    }

    /// The broker has told the number without being asked for it.
    pub fn told(&mut self, number: u64) {
        self.known = Some(number);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(answer) = &self.answer {
            answer.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[tokio::test]
    async fn an_answer_is_not_waited_for_and_a_wrong_one_changes_nothing() {
        let mut asked = Asked::new(Duration::ZERO);
        assert_eq!(asked.look(|| Some(async { Ok(7) }.boxed())), None);
        tokio::task::yield_now().await;
        assert_eq!(asked.look(|| Some(async { Err(Error::unreachable("away")) }.boxed())), Some(7));
        tokio::task::yield_now().await;
        assert_eq!(asked.look(|| None), Some(7));
        let mut seldom = Asked::new(Duration::from_secs(3_600));
        assert_eq!(seldom.look(|| Some(async { Ok(1) }.boxed())), None);
        tokio::task::yield_now().await;
        assert_eq!(seldom.look(|| panic!("asked before it is time")), Some(1));
        seldom.told(2);
        assert_eq!(seldom.look(|| None), Some(2));
    }
}
