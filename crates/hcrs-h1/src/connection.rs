//! One connection: the bytes that have arrived, the exchange in progress, the state of reading, and whether the
//! connection persists.

use std::rc::Rc;

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use hcrs_http::{Blame, Endpoints, Fault, Field, ResponseHead, Scheme, Version, is_field_name};

use crate::chunk::ChunkDecoder;
use crate::event::{Awaits, Event, Request};
use crate::head::{self, BodyLength, ParsedHead};
use crate::response::{self, Response, ResponseContext};
use crate::scan::HeadScan;
use crate::{ServerFields, Settings};

/// The server side of one HTTP/1.1 connection.
///
/// The connection owns its input: the caller appends the client's bytes to [`Connection::input_mut`]. In each
/// exchange it calls `poll_event` until the request has arrived, then `write_head`, `write_data` and
/// `write_end`, and `next_exchange` once both request and response are complete. It may call `poll_event`
/// between any two of these.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
    /// Bytes of the client that were not parsed. A head that is incomplete was searched up to
    /// [`HeadProgress`].
    input: BytesMut,
    spare_block: Vec<u8>,
    reading: Reading,
    /// Some bytes of the next head have arrived.
    head_started: bool,
    /// The client has asked for `100 Continue` and sent no byte since.
    continue_owed: bool,
    context: ResponseContext,
    response: Response,
}

/// The state of reading.
#[derive(Debug)]
enum Reading {
    /// A head is being read.
    Head(HeadProgress),
    /// A body of known length is being read; that many bytes are to come.
    Known(u64),
    /// A body in chunks is being read.
    Chunked(ChunkDecoder),
    /// The connection has switched to another protocol, whose bytes are passed on as they come.
    Switched,
    /// The request is complete.
    Ended,
    /// The client broke the protocol: the start of a next message is unknown.
    Broken,
}

#[derive(Debug, Default)]
struct HeadProgress {
    scan: HeadScan,
    empty_lines: u8,
    line_checked: bool,
}

/// Most empty lines that are skipped in front of a request line (RFC 9112 §2.2): old clients send one after a
/// body.
const MAX_EMPTY_LINES: u8 = 2;

/// Length up to which pieces of a body are copied, in bytes, so that a small piece does not keep a large
/// buffer.
const COPIED_PIECE_BYTES: usize = 4 * 1024;

/// The context before a head is read, for the answer to a malformed one.
const NO_REQUEST: ResponseContext =
    ResponseContext { version: Version::Http11, is_head_method: false, keep_alive: true };

impl Connection {
    /// Creates a connection that awaits its first head. `input` has the bytes that have already arrived.
    pub fn new(settings: &Settings, scheme: Scheme, endpoints: Rc<Endpoints>, input: BytesMut) -> Self {
        Self {
            settings: *settings,
            scheme,
            endpoints,
            input,
            spare_block: Vec::new(),
            reading: Reading::Head(HeadProgress::default()),
            head_started: false,
            continue_owed: false,
            context: NO_REQUEST,
            response: Response::Awaited,
        }
    }

    /// Sets the block that the next request's head is written into, such as the last one's.
    pub fn set_spare_block(&mut self, block: Vec<u8>) {
        self.spare_block = block;
    }

    /// Returns the end of the input, with room for at least `room` bytes. Bytes that have arrived are appended
    /// there; nothing else can be done to the input, of which the connection remembers what it has searched.
    pub fn input_mut(&mut self, room: usize) -> impl BufMut {
        self.input.reserve(room);
        &mut self.input
    }

    /// Returns the bytes that have arrived and were not parsed. After a fault in a head they begin with that
    /// head.
    pub fn unparsed(&self) -> &[u8] {
        &self.input
    }

    /// Returns the buffer of a connection that has switched to another protocol; `None` if it has not. Its
    /// bytes belong to the caller, because the connection parses none of them.
    pub fn switched_input(&mut self) -> Option<&mut BytesMut> {
        matches!(self.reading, Reading::Switched).then_some(&mut self.input)
    }

    /// Drops the bytes that were not parsed, because the connection ends. No further request is read.
    pub fn discard_input(&mut self) {
        self.input.clear();
        self.break_off();
    }

    /// Parses the front of the input. Returns `Ok(None)` when it needs more bytes, or when
    /// [`Connection::next_exchange`] has to come first; the caller calls it until then. After a fault no
    /// further request is read, and after a switch the bytes are those of [`Connection::switched_input`].
    pub fn poll_event(&mut self) -> Result<Option<Event>, Fault> {
        let polled = match self.reading {
            Reading::Head(_) => self.poll_head(),
            Reading::Known(_) | Reading::Chunked(_) => self.poll_body(),
            Reading::Switched | Reading::Ended | Reading::Broken => Ok(None),
        };
        if polled.is_err() {
            self.break_off();
        }
        polled
    }

    fn poll_head(&mut self) -> Result<Option<Event>, Fault> {
        let Reading::Head(progress) = &mut self.reading else { return Ok(None) };
        let input = &mut self.input;
        while input.starts_with(b"\r\n") {
            progress.empty_lines += 1;
            if progress.empty_lines > MAX_EMPTY_LINES {
                return Err(Fault::BadRequest("empty lines before the request"));
            }
            input.advance(2);
        }
        self.head_started = !input.is_empty();
        if input.is_empty() || **input == *b"\r" {
            return Ok(None);
        }
        if !is_field_name(&input[..1]) {
            return Err(Fault::BadRequest("not an HTTP request"));
        }
        let found = progress.scan.find_end(input, self.settings.max_head_bytes);
        let Ok(Some(len)) = found else {
            // Before the scan's own fault, so that the answer does not depend on how the bytes were split.
            progress.check_early(input)?;
            return found.map(|_| None);
        };
        let block = std::mem::take(&mut self.spare_block);
        let parsed = head::parse(&input[..len], &self.settings, block, self.scheme, &self.endpoints)?;
        input.advance(len);
        Ok(Some(Event::Request(self.begin(parsed))))
    }

    fn begin(&mut self, parsed: ParsedHead) -> Request {
        let ParsedHead { head, body, version, is_head_method, keep_alive, expect_continue } = parsed;
        self.head_started = false;
        self.continue_owed = expect_continue;
        self.context = ResponseContext { version, is_head_method, keep_alive };
        self.reading = match body {
            BodyLength::None => Reading::Ended,
            BodyLength::Known(length) => Reading::Known(length),
            BodyLength::Chunked => Reading::Chunked(ChunkDecoder::new()),
        };
        Request { head, expect_continue }
    }

    fn poll_body(&mut self) -> Result<Option<Event>, Fault> {
        let input = &mut self.input;
        if !input.is_empty() {
            self.continue_owed = false;
        }
        let (len, is_done) = match &mut self.reading {
            Reading::Known(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= len as u64;
                (len, *left == 0)
            }
            Reading::Chunked(decoder) => {
                let len = decoder.decode(input, &self.settings)?;
                (len, decoder.is_done())
            }
            Reading::Head(_) | Reading::Switched | Reading::Ended | Reading::Broken => return Ok(None),
        };
        if len > 0 {
            return Ok(Some(Event::Data(take(input, len))));
        }
        if let Reading::Chunked(decoder) = &mut self.reading
            && is_done
            && decoder.has_trailers()
        {
            let trailers = without_underscores(decoder.take_trailers());
            if trailers.field_count() > 0 {
                return Ok(Some(Event::Trailers(trailers)));
            }
        }
        if is_done {
            self.reading = Reading::Ended;
            Ok(Some(Event::End))
        } else {
            Ok(None)
        }
    }

    /// Whether the last data event is known to have been the body's last, before [`Event::End`] has been
    /// returned.
    pub fn has_read_body(&self) -> bool {
        matches!(self.reading, Reading::Known(0))
    }

    /// Returns the part of a request that is awaited, as of the last [`Connection::poll_event`].
    pub fn awaits(&self) -> Awaits {
        match self.reading {
            Reading::Head(_) => Awaits::Head { started: self.head_started },
            Reading::Known(_) | Reading::Chunked(_) if !self.continue_owed => Awaits::Body,
            Reading::Switched => Awaits::Body,
            Reading::Known(_) | Reading::Chunked(_) | Reading::Ended | Reading::Broken => Awaits::Nothing,
        }
    }

    /// Appends `100 Continue` to `out` if the client expects it, has sent no byte of the body and has no
    /// response yet. Returns whether it did.
    pub fn write_continue(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.continue_owed || self.has_head_out() {
            return false;
        }
        self.continue_owed = false;
        out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        true
    }

    /// Appends the head of an interim response (RFC 9110 §15.2) to `out`. Appends nothing for a client of
    /// HTTP/1.0, which would take it for the final one.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`], with nothing appended, for any status but 103, for a malformed name or value,
    /// and after the final head.
    pub fn write_interim(&mut self, head: &ResponseHead, out: &mut Vec<u8>) -> Result<(), Fault> {
        if matches!(self.reading, Reading::Head(_)) || self.has_head_out() || head.status() != 103 {
            return Err(Fault::AppFailed);
        }
        if self.context.version == Version::Http10 {
            return Ok(());
        }
        response::write_interim(head, out)
    }

    /// Appends a response's head to `out` and chooses its framing: the app's `content-length`; else
    /// `body_now`, the length of a body that is complete (0 if the head ends the response); else chunks, or
    /// for HTTP/1.0 the end of the connection. `close` asks for `connection: close`.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`], with nothing appended, for a head that cannot be sent: a status outside
    /// 200..=999, a malformed name or value, lengths that differ from each other or from `body_now`, a
    /// transfer coding other than `chunked`, a second head.
    #[expect(
        clippy::too_many_arguments,
        reason = "one caller, which has them as they are; a struct would only be taken apart"
    )]
    pub fn write_head(
        &mut self,
        head: &ResponseHead,
        body_now: Option<usize>,
        close: bool,
        server_fields: &ServerFields<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if matches!(self.reading, Reading::Head(_)) || self.has_head_out() {
            return Err(Fault::AppFailed);
        }
        let context = ResponseContext { keep_alive: !close && self.may_persist(), ..self.context };
        let (framing, keep_alive) = response::write_head(context, head, body_now, server_fields, out)?;
        self.response = Response::Body(framing);
        self.context.keep_alive = keep_alive;
        Ok(())
    }

    /// Appends the head of a `101 Switching Protocols` to `out`, which answers a complete request that asked
    /// for it (RFC 9110 §15.2.2). After it, the client's bytes are in [`Connection::switched_input`],
    /// [`Connection::write_data`] writes without framing, and [`Connection::write_end`] ends the connection.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`], with nothing appended, if a field is malformed, the request is not complete or
    /// of HTTP/1.0, or a head has been written.
    pub fn write_switch(
        &mut self,
        head: &ResponseHead,
        server_fields: &ServerFields<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if !self.request_ended() || self.has_head_out() || self.context.version != Version::Http11 {
            return Err(Fault::AppFailed);
        }
        self.response = Response::Body(response::write_switch(head, server_fields, out)?);
        self.reading = Reading::Switched;
        self.context.keep_alive = false;
        Ok(())
    }

    /// Appends a piece of the response's body to `out`, in the framing that the head announced. Drops the
    /// piece if the response has no body.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`], with nothing appended, for more bytes than `content-length` allows, before the
    /// head, and after the end.
    pub fn write_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let Response::Body(framing) = &mut self.response else { return Err(Fault::AppFailed) };
        let written = framing.write_data(data, out);
        self.context.keep_alive &= written.is_ok();
        written
    }

    /// Returns the number of body bytes that the caller may write itself, without framing, after all of
    /// `out`; it then calls [`Connection::wrote_plain`]. `None` if the body has to be framed or dropped, or
    /// the head has not been written.
    pub fn plain_room(&self) -> Option<u64> {
        match self.response {
            Response::Body(framing) => framing.plain_room(),
            Response::Awaited | Response::Ended => None,
        }
    }

    /// Notes that the caller has written `len` bytes of the body itself, within [`Connection::plain_room`].
    pub fn wrote_plain(&mut self, len: u64) {
        if let Response::Body(framing) = &mut self.response {
            framing.wrote_plain(len);
        }
    }

    /// Ends the response.
    ///
    /// # Errors
    ///
    /// [`Fault::AppFailed`] if fewer bytes than `content-length` were written: the connection then has to be
    /// closed, which is the only sign that the client gets.
    pub fn write_end(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Response::Body(framing) = self.response else { return Err(Fault::AppFailed) };
        let written = framing.write_end(out);
        self.context.keep_alive &= written.is_ok();
        self.response = Response::Ended;
        written
    }

    /// Ends the response with the fields of `trailers`, or without them if the body is not in chunks.
    ///
    /// # Errors
    ///
    /// As [`Connection::write_end`], and [`Fault::AppFailed`] for a field that may not be sent in trailers.
    pub fn write_trailers(&mut self, trailers: &ResponseHead, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Response::Body(framing) = self.response else { return Err(Fault::AppFailed) };
        framing.write_trailers(trailers, out).inspect_err(|_| self.context.keep_alive = false)?;
        self.response = Response::Ended;
        Ok(())
    }

    /// Appends the response to a fault, which has no body, to `out`; does nothing if a head has been written.
    /// `own` is a field of this response alone. The response announces `connection: close` if `close` asks for it, if the fault closes the connection,
    /// or if the client is to blame and its request is not complete.
    #[expect(
        clippy::too_many_arguments,
        reason = "one caller, which has them as they are; a struct would only be taken apart"
    )]
    pub fn write_fault(
        &mut self,
        fault: Fault,
        own: Option<Field<'_>>,
        close: bool,
        server_fields: &ServerFields<'_>,
        out: &mut Vec<u8>,
    ) {
        if self.has_head_out() {
            return;
        }
        let cut_short = fault.blame() == Blame::Peer && !self.request_ended();
        let keep_alive = !close && !cut_short && self.may_persist();
        let context = ResponseContext { keep_alive, ..self.context };
        self.context.keep_alive = response::write_fault(context, fault, own, server_fields, out);
        self.response = Response::Ended;
        if cut_short {
            self.break_off();
        }
    }

    /// Whether a fault may be answered as the app would answer: no head has been written, and what follows in the
    /// connection can be told from the request that has failed.
    pub fn can_answer(&self, fault: Fault) -> bool {
        let is_framed = fault.blame() != Blame::Peer || self.request_ended();
        !self.has_head_out() && is_framed && !fault.closes_connection()
    }

    /// Whether a final response's head has been written in this exchange.
    pub fn has_head_out(&self) -> bool {
        self.response != Response::Awaited
    }

    /// Whether the response is complete.
    pub fn response_ended(&self) -> bool {
        self.response == Response::Ended
    }

    /// Returns the number of body bytes that are still to come by `content-length`; 0 for a body without one.
    pub fn body_left(&self) -> u64 {
        match self.reading {
            Reading::Known(left) => left,
            _ => 0,
        }
    }

    /// Whether the request, body included, has been read to its end.
    pub fn request_ended(&self) -> bool {
        matches!(self.reading, Reading::Ended)
    }

    /// Whether no exchange is in progress and no byte of a next one has arrived.
    pub fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Head(_)) && !self.head_started && !self.has_head_out()
    }

    /// Whether the connection has to close after this exchange, even if the rest of the request is read:
    /// because of the version, a `connection` field of either side, the framing, or a broken request.
    pub fn must_close(&self) -> bool {
        !self.context.keep_alive
    }

    /// Whether the connection can carry another exchange after this one: it need not close, and the request
    /// has been read to its end.
    pub fn can_keep_alive(&self) -> bool {
        self.context.keep_alive && self.request_ended()
    }

    /// Ends the exchange and awaits the next head. Has no effect unless request and response have ended and
    /// [`Connection::can_keep_alive`].
    pub fn next_exchange(&mut self) {
        if self.response_ended() && self.can_keep_alive() {
            self.reading = Reading::Head(HeadProgress::default());
            self.continue_owed = false;
            self.context = NO_REQUEST;
            self.response = Response::Awaited;
        }
    }

    /// Whether the client allows another exchange. A client that still waits for `100 Continue` may send its
    /// body after a final response or leave it out, so its next bytes could be either a body or a request
    /// (RFC 9110 §10.1.1).
    fn may_persist(&self) -> bool {
        self.context.keep_alive && !self.continue_owed
    }

    fn break_off(&mut self) {
        self.reading = Reading::Broken;
        self.context.keep_alive = false;
    }
}

impl HeadProgress {
    /// Refuses a request line that cannot begin a head (HTTP/0.9, odd versions) before the rest has arrived.
    fn check_early(&mut self, input: &[u8]) -> Result<(), Fault> {
        let first_line = self.scan.first_line();
        if first_line > 0 && !self.line_checked {
            self.line_checked = true;
            head::check_request_line(&input[..first_line])?;
        }
        Ok(())
    }
}

/// Returns trailers without the fields that CGI's mapping would take for others, as of heads.
fn without_underscores(trailers: ResponseHead) -> ResponseHead {
    let is_kept = |name: &[u8]| !name.contains(&b'_');
    if trailers.fields().all(|(name, _)| is_kept(name)) {
        return trailers;
    }
    ResponseHead::new(0, trailers.fields().filter(|(name, _)| is_kept(name)))
}

fn take(input: &mut BytesMut, len: usize) -> Bytes {
    if len > COPIED_PIECE_BYTES {
        return input.split_to(len).freeze();
    }
    let piece = Bytes::copy_from_slice(&input[..len]);
    input.advance(len);
    piece
}
