//! Priorities: what clients and apps want to be sent first (RFC 9218).

use std::time::Instant;

use hcrs_http::{Priority, ResponseHead};
use hcrs_mux::StreamKey;

use super::{Error, Protocol};
use crate::frame::{ErrorCode, Header, MAX_31};

/// The priority of a stream that has not begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    id: u32,
    priority: Priority,
}

impl Protocol {
    /// Takes `PRIORITY_UPDATE` (RFC 9218 §7.1). A value that is malformed is that of the default priority.
    pub(super) fn priority_update(
        &mut self,
        header: Header,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        const PROTOCOL_ERROR: Error = Error::Protocol(ErrorCode::PROTOCOL_ERROR);
        self.spend_frame(now)?;
        self.client_has_priorities = true;
        if header.stream_id != 0 {
            return Err(PROTOCOL_ERROR);
        }
        let (id, value) = payload.split_first_chunk().ok_or(Error::Protocol(ErrorCode::FRAME_SIZE_ERROR))?;
        let id = u32::from_be_bytes(*id) & MAX_31;
        let priority = Priority::parse(value);
        if !self.is_idle(id) {
            if let Some(key) = self.streams.find(id.into()) {
                self.set_priority(key, priority);
            }
            return Ok(());
        }
        if id == 0 || id.is_multiple_of(2) {
            return Err(PROTOCOL_ERROR);
        }
        if self.is_ignored(id) {
            return Ok(());
        }
        if let Some(announced) = self.announced.iter_mut().find(|announced| announced.id == id) {
            announced.priority = priority;
            return Ok(());
        }
        self.forget_announced();
        if self.open + self.announced.len() >= self.max_streams {
            return Err(PROTOCOL_ERROR);
        }
        self.announced.push(Announced { id, priority });
        Ok(())
    }

    /// Returns the priority of a stream that begins. What was announced by a frame counts, whatever the request's
    /// field is (RFC 9218 §7).
    ///
    /// The responses to a client that has shown no sign of priorities take turns: it may be a proxy with the
    /// requests of many users.
    pub(super) fn first_priority(
        &mut self,
        id: u32,
        of_field: Option<Priority>,
        is_websocket: bool,
    ) -> Priority {
        self.client_has_priorities |= of_field.is_some();
        let announced = self.announced.iter().find(|announced| announced.id == id);
        match announced.map(|announced| announced.priority).or(of_field) {
            Some(priority) => priority,
            None if is_websocket || !self.client_has_priorities => Priority::IN_TURNS,
            None => Priority::default(),
        }
    }

    /// Forgets what was announced for streams that have begun. Those that were skipped will never begin (RFC 9113
    /// §5.1.1).
    pub(super) fn forget_announced(&mut self) {
        if !self.announced.is_empty() {
            self.announced.retain(|announced| announced.id > self.last_id);
        }
    }

    /// Merges the fields `priority` of a response with the client's priority (RFC 9218 §8).
    pub(super) fn merge_priority(&mut self, key: StreamKey, response: &ResponseHead) {
        let Some(stream) = self.streams.get(key) else { return };
        let lines = response.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"priority"));
        let priority = stream.priority.updated_by_lines(lines.map(|(_, value)| value));
        self.set_priority(key, priority);
    }

    fn set_priority(&mut self, key: StreamKey, priority: Priority) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.priority = priority;
        if stream.waiting_since.is_some() {
            self.schedule.remove(key);
            self.schedule.insert(key, priority);
        }
    }
}
