//! The header of a record that was refused once and has been sent again: which letter it was, and how often it was tried.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Name of the header; its value is a [`Replayed`] as JSON.
pub const HEADER: &str = "eagre-replay";
/// The header in which a quorum queue of RabbitMQ says how often it has handed a message out in vain.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Id of the dead letter that the record was.
    pub letter: String,
    /// How often it has been sent again.
    pub attempt: u32,
    /// Its offset when it came for the first time: what orders the letters of a key, however often they were sent.
    pub first_offset: i64,
}

impl Replayed {
    /// What the headers of a record say; `None`: it has not been sent again.
    pub fn of(headers: &[(String, Bytes)]) -> Option<Replayed> {
        let (_, value) = headers.iter().find(|(name, _)| name == HEADER)?;
        serde_json::from_slice(value).ok()
    }

    /// Puts it among the headers of a record, in the place of an earlier one.
    pub fn put(&self, headers: &mut Vec<(String, Bytes)>) -> crate::error::Result<()> {
        let value = serde_json::to_vec(self).map_err(|e| crate::error::Error::bug("a header that is no JSON").because(e))?;
        headers.retain(|(name, _)| name != HEADER);
        headers.push((HEADER.to_owned(), value.into()));
        Ok(())
    }
}

/// How often a record with these headers has been tried: once, and once more each time that it was sent again or that its
/// queue handed it out before.
pub fn attempts(headers: &[(String, Bytes)]) -> u32 {
    let count = headers.iter().find(|(name, _)| name == DELIVERY_COUNT).and_then(|(_, count)| std::str::from_utf8(count).ok());
    let handed_out = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    Replayed::of(headers).map_or(0, |replayed| replayed.attempt).saturating_add(handed_out).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_again_and_what_a_queue_handed_out_before_are_attempts() {
        let mut headers = vec![("trace".to_owned(), Bytes::from_static(b"1"))];
        assert_eq!(attempts(&headers), 1);
        headers.push((DELIVERY_COUNT.to_owned(), Bytes::from_static(b"2")));
        assert_eq!(attempts(&headers), 3);
        Replayed { letter: "l".into(), attempt: 4, first_offset: 7 }.put(&mut headers).unwrap();
        assert_eq!(attempts(&headers), 7);
    }

    #[test]
    fn a_record_that_is_sent_again_and_again_has_one_such_header() {
        let mut headers = vec![("trace".to_owned(), Bytes::from_static(b"1"))];
        assert_eq!(Replayed::of(&headers), None);
        for attempt in [1, 2] {
            Replayed { letter: "l".into(), attempt, first_offset: 7 }.put(&mut headers).unwrap();
        }
        assert_eq!(headers.len(), 2);
        assert_eq!(Replayed::of(&headers), Some(Replayed { letter: "l".into(), attempt: 2, first_offset: 7 }));
        headers[1].1 = Bytes::from_static(b"somebody else's");
        assert_eq!(Replayed::of(&headers), None);
    }
}
