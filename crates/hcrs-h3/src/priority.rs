//! The order in which responses are sent (RFC 9218 §10).

use hcrs_http::Priority;

/// Number of bits below the urgency.
const BITS: u32 = 28;

/// Returns the number by which the transport orders a stream. Responses without a signal have 0: they share the
/// connection at the default urgency. Of the same urgency, those that are of use only as a whole come one
/// after another, and before those of which parts are of use.
pub(crate) fn rank(priority: Priority, id: u64) -> i32 {
    let urgency = (3 - i32::from(priority.urgency())) << BITS;
    if priority.is_incremental() {
        return urgency;
    }
    let last = (1 << BITS) - 1;
    urgency + last - i32::try_from(id / 4).map_or(last - 1, |at| at.min(last - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_responses_come_first_and_whole_ones_in_their_order() {
        let rank = |value: &[u8], id| rank(Priority::parse(value), id);
        let order = [
            rank(b"u=0", 0),
            rank(b"u=0", 4),
            rank(b"u=0", u64::MAX >> 2),
            rank(b"u=0, i", 0),
            rank(b"u=3", 4),
            rank(b"i", 8),
            rank(b"u=7", 0),
            rank(b"u=7, i", 0),
        ];
        assert!(order.is_sorted_by(|one, other| one > other), "{order:?}");
        assert_eq!(rank(b"i", 4), 0);
        assert_eq!(rank(b"u=7, i", 0), -(4 << BITS));
    }
}
