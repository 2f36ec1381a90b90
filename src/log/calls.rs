//! What an engine does for commands that need the log while the engine holds it: named calls with plain data.
//!
//! | call | argument | answer |
//! |---|---|---|
//! | `topics.list` | none | a list of [`TopicFigures`](super::TopicFigures) |
//! | `topics.tail` | [`Tail`] | [`Tailed`]: a page, and the argument of the next call |
//! | `topics.put` | [`Putting`]: some lines | [`Put`]: the argument of the next call, with its counts |
//! | `topics.read` | [`Reading`] | [`WholePage`](super::WholePage): records, and the argument of the next call |
//! | `topics.resend` | [`Resend`]: records, and the letters that they were | how many letters are remembered |
//! | `topics.declare` | [`Declared`]: a topic that is to be there, or to be kept longer or shorter | nothing |

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lines::{Page, Put, Tail};
use super::{Log, Reading, Resend};
use crate::error::{Error, Result};

/// Answer of `topics.tail`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tailed {
    /// What to show.
    pub page: Page,
    /// What to ask next.
    pub next: Tail,
}

/// Argument of `topics.put`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Putting {
    /// Where to, and what has been put so far.
    pub put: Put,
    /// Whole lines.
    pub lines: String,
}

/// Argument of `topics.declare`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Declared {
    /// The topic.
    pub topic: String,
    /// Its partitions when it is made; `None` = as many as a topic has that nobody declares.
    pub partitions: Option<u32>,
    /// How long its records are kept; `None` = for ever.
    pub retention_micros: Option<i64>,
}

impl Log {
    /// Carries out the call of this name; `None` when it is none of the log's.
    pub async fn call(&self, name: &str, argument: Value) -> Option<Result<Value>> {
        Some(match name {
            "topics.list" => self.figures().and_then(|figures| answer(&figures)),
            "topics.tail" => self.call_tail(argument).await,
            "topics.put" => self.call_put(argument),
            "topics.read" => self.call_read(argument),
            "topics.resend" => self.call_resend(argument),
            "topics.declare" => self.call_declare(argument),
            _ => return None,
        })
    }

    async fn call_tail(&self, argument: Value) -> Result<Value> {
        let mut next: Tail = asked("topics.tail", argument)?;
        let page = self.tail_lines(&mut next).await?;
        answer(&Tailed { page, next })
    }

    fn call_declare(&self, argument: Value) -> Result<Value> {
        let Declared { topic, partitions, retention_micros } = asked("topics.declare", argument)?;
        let made = self.topic_or_create(&topic, partitions, retention_micros)?;
        if made.retention_micros() != retention_micros {
            self.set_retention(&topic, retention_micros)?;
        }
        Ok(Value::Null)
    }

    fn call_read(&self, argument: Value) -> Result<Value> {
        let reading: Reading = asked("topics.read", argument)?;
        answer(&self.read_whole(reading)?)
    }

    fn call_resend(&self, argument: Value) -> Result<Value> {
        let resend: Resend = asked("topics.resend", argument)?;
        answer(&self.resend(&resend)?)
    }

    fn call_put(&self, argument: Value) -> Result<Value> {
        let Putting { mut put, lines } = asked("topics.put", argument)?;
        self.put_lines(&mut put, lines.as_bytes())?;
        answer(&put)
    }
}

fn asked<T: serde::de::DeserializeOwned>(call: &str, argument: Value) -> Result<T> {
    serde_json::from_value(argument).map_err(|e| Error::input(format!("call {call}: {e}; engine and command are of different versions?")))
}

fn answer(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| Error::bug("an answer that is no JSON").because(e))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn topics_are_put_listed_and_tailed_through_calls() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let put = json!({"topic": "t", "partition": 1, "key_field": null, "source": "stdin"});
        let put = log.call("topics.put", json!({"put": put, "lines": "{\"n\":1}\n{\"n\":2}\n"})).await.unwrap().unwrap();
        assert_eq!((&put["lines"], &put["records"]), (&json!(2), &json!(2)));
        let list = log.call("topics.list", Value::Null).await.unwrap().unwrap();
        assert_eq!((&list[0]["topic"], &list[0]["records"]), (&json!("t"), &json!(2)));
        let tail = json!({"topic": "t", "partition": null, "from": "Earliest", "limit": 2, "follow": false});
        let tailed = log.call("topics.tail", tail).await.unwrap().unwrap();
        assert_eq!((&tailed["page"]["records"], &tailed["page"]["ended"]), (&json!(2), &json!(true)));
        assert_eq!(tailed["next"]["stands"][1], json!([1, 2]));
        assert!(log.call("sagas.list", Value::Null).await.is_none());
    }
}
