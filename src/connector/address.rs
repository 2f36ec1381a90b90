//! Where a topic is that is not a table's: in the embedded log, or at a broker that `eagre.yaml` names.

use std::fmt;

use super::log;
use crate::error::{Error, Result};
use crate::log::check_topic_name;

/// `raised`: a topic of the embedded log; `shop:raised`: one of the broker that `eagre.yaml` calls `shop`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicAddress {
    /// The name of the broker; `None` = the embedded log.
    pub broker: Option<String>,
    /// The topic.
    pub topic: String,
}

impl TopicAddress {
    /// Reads what a person wrote.
    pub fn parse(text: &str) -> Result<Self> {
        let (broker, topic) = match text.split_once(':') {
            Some((broker, topic)) => (Some(broker), topic),
            None => (None, text),
        };
        if broker == Some("") {
            return Err(Error::input(format!("'{text}' names no broker before the ':'; expected 'topic' or 'broker:topic'")));
        }
        check_topic_name(topic)?;
        let broker = broker.filter(|broker| *broker != log::NAME).map(str::to_owned);
        Ok(TopicAddress { broker, topic: topic.to_owned() })
    }
}

impl fmt::Display for TopicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.broker {
            Some(broker) => write!(f, "{broker}:{}", self.topic),
            None => f.write_str(&self.topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_the_logs_or_a_brokers() {
        let parsed = |text: &str| TopicAddress::parse(text).map(|address| (address.broker.clone(), address.to_string()));
        assert_eq!(parsed("raised").unwrap(), (None, "raised".into()));
        assert_eq!(parsed("log:raised").unwrap(), (None, "raised".into()));
        assert_eq!(parsed("shop:raised").unwrap(), (Some("shop".into()), "shop:raised".into()));
        assert!(parsed(":raised").unwrap_err().message().contains("expected 'topic' or 'broker:topic'"));
        assert!(parsed("shop:ra ised").unwrap_err().message().contains("holds ' '"));
    }
}
