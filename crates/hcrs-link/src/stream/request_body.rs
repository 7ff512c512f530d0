//! The request's body: from the edge to the app, and credit back.

use super::{Next, Phase, Stream};
use crate::credit::REQUEST_WINDOW;
use crate::frame::LinkError;
use crate::from_worker::FromWorker;
use crate::outbox::Outbox;

impl<B: AsRef<[u8]>> Stream<B> {
    /// Takes body bytes from the edge. The error means more bytes than the window allows, or bytes after the
    /// end.
    pub fn arrive(&mut self, data: &[u8], end: bool) -> Result<(), LinkError> {
        if self.received || self.arrived.len() + data.len() > REQUEST_WINDOW as usize {
            return Err(LinkError::Unexpected("Data"));
        }
        self.arrived.extend_from_slice(data);
        self.received = end;
        Ok(())
    }

    /// Returns the app's next input, with at most `max` bytes. Credit, and the demand for a body that the
    /// client holds back, go to `out`.
    pub fn next(&mut self, max: usize, out: &mut Outbox) -> Next {
        if self.gone || self.phase == Phase::Closed || (self.taken && self.half_closed) {
            self.has_disconnected = true;
            return Next::Disconnect;
        }
        if self.taken {
            return Next::Wait;
        }
        if self.arrived.is_empty() && !self.received {
            self.ask(out);
            return Next::Wait;
        }
        self.awaits_demand = false;
        let rest = if self.arrived.len() > max { self.arrived.split_off(max) } else { Vec::new() };
        let piece = std::mem::replace(&mut self.arrived, rest);
        self.taken = self.received && self.arrived.is_empty();
        if !self.received
            && let Some(amount) = self.owed.take(piece.len())
        {
            out.push(&FromWorker::Credit { stream: self.id, amount });
        }
        Next::Body { piece, more: !self.taken }
    }

    /// Demands a body that the client holds back, once. The edge then sends 100 (Continue).
    pub fn ask(&mut self, out: &mut Outbox) {
        if std::mem::take(&mut self.awaits_demand) {
            out.push(&FromWorker::AwaitsBody { stream: self.id });
        }
    }

    /// Whether the whole body has arrived, or `enough` bytes of it wait for the app, or the client is gone.
    pub fn has_uploaded(&self, enough: usize) -> bool {
        self.gone || self.received || self.arrived.len() >= enough
    }

    /// Whether [`Stream::next`] returns anything but [`Next::Wait`].
    pub fn has_next(&self) -> bool {
        self.gone
            || self.phase == Phase::Closed
            || (self.half_closed && self.taken)
            || (!self.taken && (self.received || !self.arrived.is_empty()))
    }
}
