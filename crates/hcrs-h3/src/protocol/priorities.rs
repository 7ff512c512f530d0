//! The order in which responses are sent (RFC 9218).

use hcrs_http::{Priority, ResponseHead};
use hcrs_mux::StreamKey;

use super::{Command, Error, Protocol};
use crate::error::ErrorCode;
use crate::stream::{Phase, Sending};
use crate::varint;

/// Number of bits of a rank below the urgency.
const BITS: u32 = 28;

/// The priority of a request whose head is not here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    id: u64,
    priority: Priority,
}

impl Protocol {
    /// Takes `PRIORITY_UPDATE` of a request (RFC 9218 §7.2).
    pub(super) fn priority_update(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut value = payload;
        let id = varint::take(&mut value).ok_or(ErrorCode::FRAME_ERROR)?;
        let limit = self.next_id.saturating_add(4 * self.max_streams as u64);
        if id & 3 != 0 || id >= limit {
            return Err(ErrorCode::ID_ERROR.into());
        }
        let priority = Priority::parse(value);
        let key = self.streams.find(id);
        let phase = key.and_then(|key| self.streams.get(key)).map(|stream| stream.receiving.phase);
        match (key, phase) {
            (Some(key), Some(Phase::Body | Phase::Trailers | Phase::Closed)) => {
                self.set_priority(key, priority);
            }
            (None, _) if id < self.next_id => {}
            _ => self.announce(Announced { id, priority }),
        }
        Ok(())
    }

    fn announce(&mut self, announced: Announced) {
        self.announced.retain(|other| other.id != announced.id);
        if self.announced.len() >= self.max_streams {
            self.announced.remove(0);
        }
        self.announced.push(announced);
    }

    /// Returns the priority of a request whose head is complete. What was announced by a frame counts, whatever the
    /// request's field is (RFC 9218 §7).
    pub(super) fn first_priority(&mut self, id: u64, of_field: Priority) -> Priority {
        match self.announced.iter().position(|announced| announced.id == id) {
            Some(at) => self.announced.swap_remove(at).priority,
            None => of_field,
        }
    }

    /// Merges the fields `priority` of a response with the client's priority (RFC 9218 §8).
    pub(super) fn merge_priority(&mut self, key: StreamKey, response: &ResponseHead) {
        let Some(stream) = self.streams.get(key) else { return };
        let lines = response.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"priority"));
        let priority = stream.priority.updated_by_lines(lines.map(|(_, value)| value));
        self.set_priority(key, priority);
    }

    pub(super) fn set_priority(&mut self, key: StreamKey, priority: Priority) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let before = std::mem::replace(&mut stream.priority, priority);
        if before != priority && stream.sending != Sending::Ended {
            self.commands.push(Command::SetPriority(key.id, rank(priority, key.id)));
        }
    }
}

/// Returns the number by which the transport orders a stream. Of the same urgency, responses that are of use only
/// as a whole come one after another, in the order of their requests, and before incremental ones, which take turns.
///
/// The default priority is that of clients that send none, perhaps of many users behind a proxy. Their responses take
/// turns too: the transport has no share for those that come last, so that a long one would stop all behind it.
pub(super) fn rank(priority: Priority, id: u64) -> i32 {
    let urgency = (3 - i32::from(priority.urgency())) << BITS;
    if priority.is_incremental() || priority == Priority::default() {
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
            rank(b"u=2", 4),
            rank(b"u=2, i", 4),
            rank(b"i", 8),
            rank(b"u=7", 0),
            rank(b"u=7, i", 0),
        ];
        assert!(order.is_sorted_by(|one, other| one > other), "{order:?}");
        assert_eq!((rank(b"i", 4), rank(b"", 4)), (0, 0), "streams begin so");
        assert_eq!(rank(b"u=7, i", 0), -(4 << BITS));
    }
}
