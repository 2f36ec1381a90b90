//! Events as such: the CloudEvents envelope, what makes one valid, and ids that a retry makes again.
//!
//! Comes in: a JSON object. Goes out: whether it is an event under CloudEvents 1.0.2, under the stricter standard, or
//! under both. Words floor: knows nothing of formats and brokers. Read `envelope.rs` first.

mod envelope;
mod media_type;
mod uri;

pub use envelope::{Reading, Validity, check, is_source_of_standard, is_type_of_standard, judge, lift_metadata};

use uuid::Uuid;

/// Attributes of CloudEvents 1.0.2 itself; all others are extensions.
pub const ATTRIBUTES: [&str; 8] = ["specversion", "type", "source", "id", "subject", "time", "datacontenttype", "dataschema"];

/// The fields of the standard's `metadata` object and the extension attributes that they are lifted to.
pub const LIFTED: [(&str, &str); 4] =
    [("correlationId", "correlationid"), ("causationId", "causationid"), ("version", "dataversion"), ("traceId", "traceid")];

/// The id of the `n`th event that `maker` made because of `cause`: the same whenever it is made again, so that a retry is
/// a duplicate and not a second event.
pub fn derived_id(maker: &str, cause: &[u8], n: u64) -> Uuid {
    // A name space of our own: the UUIDv5 of the URL name space and `urn:eagre:event`.
    let space = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"urn:eagre:event");
    // Lengths between the parts, so that no two triples run together alike.
    let name = [&(maker.len() as u64).to_be_bytes(), maker.as_bytes(), &n.to_be_bytes(), cause].concat();
    Uuid::new_v5(&space, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_made_again_and_differ_by_every_part() {
        let id = derived_id("totals", b"o-1", 0);
        assert_eq!(id, derived_id("totals", b"o-1", 0));
        assert_eq!(id.get_version_num(), 5);
        for other in [derived_id("total", b"so-1", 0), derived_id("totals", b"o-2", 0), derived_id("totals", b"o-1", 1)] {
            assert_ne!(id, other);
        }
    }
}
