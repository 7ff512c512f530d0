//! The deadlines of a WebSocket: pings, messages that stall, unanswered Close frames, idle compressors.

use std::time::{Duration, Instant};

use super::{Progress, WebSocket};

/// How long after its last message to the client a WebSocket keeps its compression context.
pub(super) const CONTEXT_KEPT: Duration = Duration::from_secs(30);

impl WebSocket {
    /// Checks the deadlines: pings, missing pongs, a stalled message, an unanswered Close frame. Returns when
    /// to check again, if that is before the connection's next check.
    pub(crate) fn tick(&mut self, now: Instant) -> (Progress, Option<Instant>) {
        let mut progress = Progress::default();
        let is_reading = self.to_app.is_empty() && !self.yielded;
        self.shed_context(now);
        if self.has_stalled(now, is_reading)
            && let Some(connection) = &mut self.connection
        {
            let failure = connection.give_up_message();
            self.note_failure(failure, now);
            self.reply(&mut progress);
            return (self.finish_step(progress), None);
        }
        let Some(connection) = &mut self.connection else { return (progress, None) };
        if let Some(since) = self.failing_since
            && connection.has_failed()
        {
            let until = since + self.terms.close_timeout;
            return if now < until { (progress, Some(until)) } else { (self.app_took_end(), None) };
        }
        if connection.awaits_close() {
            let since = *self.closing_since.get_or_insert(now);
            let until = since + self.terms.close_timeout;
            progress.is_closed = now >= until;
            return (progress, Some(until));
        }
        let Ok(next) = connection.tick(now, is_reading, &mut progress.out) else {
            self.disconnect();
            progress.is_closed = true;
            return (progress, None);
        };
        (self.finish_step(progress), next)
    }

    /// Whether a message that is being read has stalled for the message timeout.
    fn has_stalled(&mut self, now: Instant, is_reading: bool) -> bool {
        let come = self.connection.as_ref().and_then(hcrs_ws::Connection::unfinished);
        self.unfinished = match (come, self.unfinished) {
            (Some(come), Some((before, since))) if come == before && is_reading => Some((come, since)),
            (come, _) => come.map(|come| (come, now)),
        };
        self.unfinished
            .is_some_and(|(_, since)| now.saturating_duration_since(since) >= self.terms.message_timeout)
    }

    /// Releases the compression context for messages to the client once none was sent for a while.
    fn shed_context(&mut self, now: Instant) {
        if std::mem::take(&mut self.has_sent) {
            self.quiet_since = Some(now);
        }
        if self.quiet_since.take_if(|since| now.saturating_duration_since(*since) >= CONTEXT_KEPT).is_some()
            && let Some(connection) = &mut self.connection
        {
            connection.shed_context();
        }
    }
}
