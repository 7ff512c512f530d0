//! A transport in memory: what a QUIC connection does for both ends, with windows, and reports as quinn makes
//! them. It panics when the server breaks the contract of [`Transport`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hcrs_h3::{Connection, ErrorCode, Read, Transport, Write};

/// The window of a stream to the client that is not told otherwise, in bytes.
const WINDOW: usize = 1 << 20;

/// What the transport reports to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
    Opened(u64),
    Readable(u64),
    Writable(u64),
    Finished(u64),
    Stopped(u64),
}

/// The direction from the client of a stream.
#[derive(Debug, Default)]
struct Inbound {
    bytes: VecDeque<u8>,
    is_finished: bool,
    is_reset: bool,
    /// The server has seen the end, or has asked to stop.
    is_over: bool,
    /// The server has found nothing to read, and is told of more.
    is_blocked: bool,
    stopped_with: Option<u64>,
}

/// The direction to the client of a stream.
#[derive(Debug)]
struct Outbound {
    bytes: Vec<u8>,
    window: usize,
    is_finished: bool,
    reset_with: Option<u64>,
    is_blocked: bool,
    is_stopped: bool,
    priority: i32,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            window: WINDOW,
            is_finished: false,
            reset_with: None,
            is_blocked: false,
            is_stopped: false,
            priority: 0,
        }
    }
}

/// Both directions of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    inbound: BTreeMap<u64, Inbound>,
    outbound: BTreeMap<u64, Outbound>,
    reports: VecDeque<Report>,
    next_uni: u64,
    next_request: u64,
    next_client_uni: u64,
    pub(crate) unis_allowed: u64,
    /// Number of bytes that a stream of the server's own may send at first.
    pub(crate) uni_window: usize,
    /// Most bytes that one read returns.
    pub(crate) piece: usize,
    /// Number of bytes that a response's stream may send at first.
    pub(crate) window: usize,
    /// Number of bytes that all streams together may send.
    pub(crate) connection_window: usize,
    /// Streams that wait for the connection's window.
    connection_blocked: Vec<u64>,
    /// The client acknowledges what it gets at once.
    pub(crate) acknowledges: bool,
    pub(crate) closed_with: Option<ErrorCode>,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            inbound: BTreeMap::new(),
            outbound: BTreeMap::new(),
            reports: VecDeque::new(),
            next_uni: 3,
            next_request: 0,
            next_client_uni: 2,
            unis_allowed: 3,
            uni_window: WINDOW,
            piece: usize::MAX,
            window: WINDOW,
            connection_window: usize::MAX,
            connection_blocked: Vec::new(),
            acknowledges: true,
            closed_with: None,
        }
    }
}

/// The client's end.
impl Wire {
    /// Sends bytes on a stream, which is opened if need be.
    pub(crate) fn send(&mut self, id: u64, bytes: &[u8]) {
        self.open(id);
        let inbound = self.inbound.get_mut(&id).expect("opened");
        assert!(!inbound.is_finished, "the client has ended stream {id}");
        if !inbound.is_over {
            inbound.bytes.extend(bytes);
            self.report_readable(id);
        }
    }

    /// Ends a stream.
    pub(crate) fn finish_request(&mut self, id: u64) {
        self.open(id);
        self.inbound.get_mut(&id).expect("opened").is_finished = true;
        self.report_readable(id);
    }

    /// Resets a stream.
    pub(crate) fn reset_request(&mut self, id: u64) {
        self.open(id);
        let inbound = self.inbound.get_mut(&id).expect("opened");
        inbound.bytes.clear();
        inbound.is_reset = true;
        self.report_readable(id);
    }

    /// Asks the server to stop sending.
    pub(crate) fn stop_response(&mut self, id: u64) {
        let outbound = self.outbound.get_mut(&id).expect("a stream to the client");
        if !outbound.is_stopped {
            outbound.is_stopped = true;
            self.reports.push_back(Report::Stopped(id));
        }
    }

    /// Has a stream take nothing more, before that is reported.
    pub(crate) fn end_silently(&mut self, id: u64) {
        self.outbound.get_mut(&id).expect("a stream to the client").is_stopped = true;
    }

    fn open(&mut self, id: u64) {
        let kind = id & 3;
        assert!(kind == 0 || kind == 2, "a stream of the client");
        let window = self.window;
        // A stream opens all before it of its kind (RFC 9000 §2.1).
        let next = if kind == 0 { &mut self.next_request } else { &mut self.next_client_uni };
        let first = std::mem::replace(next, (*next).max(id + 4));
        for id in (first..=id).step_by(4) {
            self.inbound.insert(id, Inbound::default());
            if kind == 0 {
                self.outbound.insert(id, Outbound { window, ..Outbound::default() });
            }
            self.reports.push_back(Report::Opened(id));
        }
    }

    fn report_readable(&mut self, id: u64) {
        let inbound = self.inbound.get_mut(&id).expect("opened");
        if std::mem::take(&mut inbound.is_blocked) {
            self.reports.push_back(Report::Readable(id));
        }
    }

    /// Lets the server send `len` more bytes on a stream.
    pub(crate) fn widen(&mut self, id: u64, len: usize) {
        let outbound = self.outbound.get_mut(&id).expect("a stream to the client");
        outbound.window += len;
        if std::mem::take(&mut outbound.is_blocked) {
            self.reports.push_back(Report::Writable(id));
        }
    }

    /// Lets the server send `len` more bytes on all streams together. As in quinn, the stream that was blocked last
    /// is reported first.
    pub(crate) fn widen_connection(&mut self, len: usize) {
        self.connection_window += len;
        while let Some(id) = self.connection_blocked.pop() {
            self.outbound.get_mut(&id).expect("a stream to the client").is_blocked = false;
            self.reports.push_back(Report::Writable(id));
        }
    }

    /// Acknowledges what was sent on a stream.
    pub(crate) fn acknowledge(&mut self, id: u64) {
        if self.outbound[&id].is_finished {
            self.reports.push_back(Report::Finished(id));
        }
    }

    /// Returns the bytes that came on a stream since the last call.
    pub(crate) fn take(&mut self, id: u64) -> Vec<u8> {
        self.outbound.get_mut(&id).map(|outbound| std::mem::take(&mut outbound.bytes)).unwrap_or_default()
    }

    pub(crate) fn is_finished(&self, id: u64) -> bool {
        self.outbound.get(&id).is_some_and(|outbound| outbound.is_finished)
    }

    pub(crate) fn reset_with(&self, id: u64) -> Option<u64> {
        self.outbound.get(&id)?.reset_with
    }

    pub(crate) fn stopped_with(&self, id: u64) -> Option<u64> {
        self.inbound.get(&id)?.stopped_with
    }

    pub(crate) fn priority(&self, id: u64) -> i32 {
        self.outbound[&id].priority
    }

    /// Returns the number of bytes of a stream that the server has not taken.
    pub(crate) fn untaken(&self, id: u64) -> usize {
        self.inbound[&id].bytes.len()
    }

    /// Forgets a request stream, both of whose directions are over.
    pub(crate) fn forget(&mut self, id: u64) {
        assert!(self.is_over(id));
        self.inbound.remove(&id);
        self.outbound.remove(&id);
    }

    /// Whether both directions of a request stream are over.
    pub(crate) fn is_over(&self, id: u64) -> bool {
        let outbound = &self.outbound[&id];
        self.inbound[&id].is_over && (outbound.is_finished || outbound.reset_with.is_some())
    }

    /// Passes on what has happened. Returns whether anything has.
    pub(crate) fn report(&mut self, connection: &mut Connection) -> bool {
        let has_reports = !self.reports.is_empty();
        for report in self.reports.drain(..) {
            match report {
                Report::Opened(id) => connection.opened(id),
                Report::Readable(id) => connection.readable(id),
                Report::Writable(id) => connection.writable(id),
                Report::Finished(id) => connection.finished(id),
                Report::Stopped(id) => connection.stopped(id),
            }
        }
        has_reports
    }
}

/// The server's end.
impl Transport for Wire {
    fn read(&mut self, id: u64, max: usize) -> Read {
        assert!(max > 0, "a read of nothing");
        let piece = self.piece;
        let inbound = self.inbound.get_mut(&id).expect("a stream of the client");
        assert!(!inbound.is_over, "stream {id} is read after its end");
        assert!(!inbound.is_blocked, "stream {id} is read although it was blocked");
        if inbound.is_reset {
            inbound.is_over = true;
            return Read::Reset;
        }
        if inbound.bytes.is_empty() {
            if inbound.is_finished {
                inbound.is_over = true;
                return Read::Finished;
            }
            inbound.is_blocked = true;
            return Read::Blocked;
        }
        let len = inbound.bytes.len().min(max).min(piece);
        Read::Bytes(inbound.bytes.drain(..len).collect::<Vec<_>>().into())
    }

    fn write(&mut self, id: u64, chunks: &mut [Bytes]) -> Write {
        let outbound = self.outbound.get_mut(&id).expect("a stream to the client");
        assert!(!outbound.is_finished, "stream {id} is written after its end");
        assert!(!outbound.is_blocked, "stream {id} is written although it was blocked");
        assert!(chunks.iter().any(|chunk| !chunk.is_empty()), "a write of nothing");
        if outbound.is_stopped || outbound.reset_with.is_some() {
            return Write::Closed;
        }
        let mut taken = 0;
        for chunk in chunks {
            let len = chunk.len().min(outbound.window).min(self.connection_window);
            self.connection_window -= len;
            outbound.bytes.extend_from_slice(&chunk[..len]);
            chunk.advance(len);
            outbound.window -= len;
            taken += len;
        }
        if taken > 0 {
            return Write::Taken;
        }
        outbound.is_blocked = true;
        if self.connection_window == 0 && outbound.window > 0 {
            self.connection_blocked.push(id);
        }
        Write::Blocked
    }

    fn finish(&mut self, id: u64) {
        let outbound = self.outbound.get_mut(&id).expect("a stream to the client");
        assert!(!outbound.is_finished && outbound.reset_with.is_none(), "stream {id} is ended twice");
        outbound.is_finished = true;
        if self.acknowledges {
            self.reports.push_back(Report::Finished(id));
        }
    }

    fn reset(&mut self, id: u64, code: ErrorCode) {
        let outbound = self.outbound.get_mut(&id).expect("a stream to the client");
        outbound.reset_with.get_or_insert(code.value());
    }

    fn stop_sending(&mut self, id: u64, code: ErrorCode) {
        let inbound = self.inbound.get_mut(&id).expect("a stream of the client");
        if !inbound.is_over {
            inbound.is_over = true;
            inbound.bytes.clear();
            inbound.stopped_with = Some(code.value());
        }
    }

    fn open_uni(&mut self) -> Option<u64> {
        let id = self.next_uni;
        if id / 4 >= self.unis_allowed {
            return None;
        }
        self.next_uni += 4;
        self.outbound.insert(id, Outbound { window: self.uni_window, ..Outbound::default() });
        Some(id)
    }

    fn set_priority(&mut self, id: u64, priority: i32) {
        self.outbound.get_mut(&id).expect("a stream to the client").priority = priority;
    }

    fn close(&mut self, code: ErrorCode) {
        assert!(self.closed_with.is_none(), "the connection is closed twice");
        self.closed_with = Some(code);
    }

    fn rtt(&self) -> Duration {
        Duration::from_millis(50)
    }
}
