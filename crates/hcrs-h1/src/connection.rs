//! One connection: which exchange it is in, what it reads next, and whether it lives on.

use std::rc::Rc;

use bytes::{Buf as _, Bytes, BytesMut};
use hcrs_http::{Blame, Endpoints, Fault, RequestHead, ResponseHead, Scheme, Version, is_field_name};

use crate::Settings;
use crate::chunk::ChunkDecoder;
use crate::head::{self, ParsedHead};
use crate::response::{self, Response, Terms};
use crate::scan::HeadScan;

/// A request whose head has arrived.
#[derive(Debug)]
pub struct Request {
    /// The head: names in lower case, values without surrounding blanks.
    pub head: RequestHead,
    /// The body that follows.
    pub body: BodyLength,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
}

/// How a request's body is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none, or its length is zero.
    None,
    /// That many bytes, at least one.
    Known(u64),
    /// Chunks until the last one.
    Chunked,
}

/// What the client has sent.
#[derive(Debug)]
pub enum Event {
    /// A head. With [`BodyLength::None`] the request ends here, without [`Event::End`].
    Request(Request),
    /// A piece of the body as it arrived, never empty.
    Data(Bytes),
    /// The body, trailers included, is complete.
    End,
}

/// What the connection waits for from the client, so that the caller can choose a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// A request's head.
    Head {
        /// Some bytes of it are here.
        started: bool,
    },
    /// More of the body.
    Body,
    /// Nothing: the request is complete, broken, or held back by its client until `100 Continue`.
    Nothing,
}

/// What the server adds to the fields of a response.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'a> {
    /// Value of `date`, unless the app has sent its own.
    pub date: Option<&'a [u8]>,
    /// Value of `server`, unless the app has sent its own.
    pub server: Option<&'a [u8]>,
    /// The lines of `alt-svc`, each with its end, whatever the app has sent.
    pub alt_svc: &'a [u8],
}

/// The server side of one HTTP/1.1 connection.
///
/// An exchange goes `poll_event` until the request is there, `write_head`, `write_data`, `write_end`, and
/// `next_exchange` once both ends of it are reached; what a client sends meanwhile may be read between any two
/// of these.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
    spare_block: Vec<u8>,
    reading: Reading,
    /// Some bytes of the next head are here.
    head_started: bool,
    /// The client has asked for `100 Continue` and sent nothing since.
    continue_owed: bool,
    terms: Terms,
    response: Response,
}

/// What is read next.
#[derive(Debug)]
enum Reading {
    Head(HeadProgress),
    /// A body of known length, with so many bytes to come.
    Known(u64),
    Chunked(ChunkDecoder),
    /// Another protocol, whose bytes are passed on as they come.
    Switched,
    /// The request is complete.
    Ended,
    /// The client broke the protocol: where the next message would start is unknown.
    Broken,
}

#[derive(Debug, Default)]
struct HeadProgress {
    scan: HeadScan,
    empty_lines: u8,
    line_checked: bool,
}

/// Empty lines that are skipped in front of a request line (RFC 9112 §2.2): old clients send one after a body.
const MAX_EMPTY_LINES: u8 = 2;

/// Pieces of a body up to this length are copied out, so that a small piece does not keep a large buffer.
const COPIED_PIECE_BYTES: usize = 4 * 1024;

/// The terms before a head is read, for the answer to a malformed one.
const NO_TERMS: Terms = Terms { version: Version::Http11, is_head_method: false, keep_alive: true };

impl Connection {
    /// A connection that awaits its first head.
    pub fn new(settings: &Settings, scheme: Scheme, endpoints: Rc<Endpoints>) -> Self {
        Self {
            settings: *settings,
            scheme,
            endpoints,
            spare_block: Vec::new(),
            reading: Reading::Head(HeadProgress::default()),
            head_started: false,
            continue_owed: false,
            terms: NO_TERMS,
            response: Response::Awaited,
        }
    }

    /// Gives a block for the next request's head to be written into, such as the last one's.
    pub fn set_spare_block(&mut self, block: Vec<u8>) {
        self.spare_block = block;
    }

    /// Whether the connection has switched: all that comes is another protocol's.
    pub fn has_switched(&self) -> bool {
        matches!(self.reading, Reading::Switched)
    }

    /// Reads from the front of `input`, consuming what it understood. `Ok(None)`: more bytes are needed, or
    /// nothing may be read before [`Connection::next_exchange`]; call it until then. What it left in `input`
    /// must still stand at the front at the next call. After a fault nothing more is read.
    pub fn poll_event(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Fault> {
        let polled = match self.reading {
            Reading::Head(_) => self.poll_head(input),
            Reading::Known(_) | Reading::Chunked(_) => self.poll_body(input),
            Reading::Switched if !input.is_empty() => {
                let len = input.len();
                Ok(Some(Event::Data(take(input, len))))
            }
            Reading::Switched | Reading::Ended | Reading::Broken => Ok(None),
        };
        if polled.is_err() {
            self.break_off();
        }
        polled
    }

    fn poll_head(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Fault> {
        let Reading::Head(progress) = &mut self.reading else { return Ok(None) };
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
            // Before the scan's own fault, so that how the bytes were cut does not choose the answer.
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
        self.terms = Terms { version, is_head_method, keep_alive };
        self.reading = match body {
            BodyLength::None => Reading::Ended,
            BodyLength::Known(length) => Reading::Known(length),
            BodyLength::Chunked => Reading::Chunked(ChunkDecoder::new()),
        };
        Request { head, body, expect_continue }
    }

    fn poll_body(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Fault> {
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
            Ok(Some(Event::Data(take(input, len))))
        } else if is_done {
            self.reading = Reading::Ended;
            Ok(Some(Event::End))
        } else {
            Ok(None)
        }
    }

    /// Whether the data that came last is known to be the body's last, before [`Event::End`] says so.
    pub fn has_read_body(&self) -> bool {
        matches!(self.reading, Reading::Known(0))
    }

    /// What is awaited from the client, as of the last [`Connection::poll_event`].
    pub fn awaits(&self) -> Awaits {
        match self.reading {
            Reading::Head(_) => Awaits::Head { started: self.head_started },
            Reading::Known(_) | Reading::Chunked(_) if !self.continue_owed => Awaits::Body,
            Reading::Switched => Awaits::Body,
            Reading::Known(_) | Reading::Chunked(_) | Reading::Ended | Reading::Broken => Awaits::Nothing,
        }
    }

    /// Writes `100 Continue` if the client expects it, has sent nothing of the body and has no response yet.
    /// Returns whether it did.
    pub fn write_continue(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.continue_owed || self.has_head_out() {
            return false;
        }
        self.continue_owed = false;
        out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        true
    }

    /// Writes an interim response's head (RFC 9110 §15.2), before the final one; nothing to a client of HTTP/1.0, which
    /// would take it for the final one. [`Fault::AppFailed`], with nothing appended, for any status but 103, a
    /// malformed name or value, or after the final head.
    pub fn write_interim(&mut self, head: &ResponseHead, out: &mut Vec<u8>) -> Result<(), Fault> {
        if matches!(self.reading, Reading::Head(_)) || self.has_head_out() || head.status() != 103 {
            return Err(Fault::AppFailed);
        }
        if self.terms.version == Version::Http10 {
            return Ok(());
        }
        response::write_interim(head, out)
    }

    /// Writes a response's head and settles its framing: the app's `content-length`, else `body_now`, the length
    /// of a body that is known to be all (0 if the head ends the response), else chunks, or for HTTP/1.0 the end
    /// of the connection. `close` asks for `connection: close`.
    ///
    /// [`Fault::AppFailed`], with nothing appended to `out`, if the head is not one that can be sent: a status
    /// outside 200..=999, a malformed name or value, lengths that differ from each other or from `body_now`, a
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
        extra: &Extra<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if matches!(self.reading, Reading::Head(_)) || self.has_head_out() {
            return Err(Fault::AppFailed);
        }
        let terms = Terms { keep_alive: !close && self.may_live_on(), ..self.terms };
        let (framing, keep_alive) = response::write_head(terms, head, body_now, extra, out)?;
        self.response = Response::Body(framing);
        self.terms.keep_alive = keep_alive;
        Ok(())
    }

    /// Writes the head of a `101 Switching Protocols`, the answer to a request that is complete and asked for it (RFC
    /// 9110 §15.2.2). From then on what the client sends comes as [`Event::Data`] and what
    /// [`Connection::write_data`] is given goes out as it is; [`Connection::write_end`] ends the connection.
    ///
    /// [`Fault::AppFailed`], with nothing appended, if a field is malformed or this is not the time for it.
    pub fn write_switch(
        &mut self,
        head: &ResponseHead,
        extra: &Extra<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if !self.request_ended() || self.has_head_out() || self.terms.version != Version::Http11 {
            return Err(Fault::AppFailed);
        }
        self.response = Response::Body(response::write_switch(head, extra, out)?);
        self.reading = Reading::Switched;
        self.terms.keep_alive = false;
        Ok(())
    }

    /// Writes a piece of the response's body, in the framing that its head announced; drops it where a response
    /// has no body. [`Fault::AppFailed`], with nothing appended, if it is more than `content-length` allows or
    /// comes before the head or after the end.
    pub fn write_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let Response::Body(framing) = &mut self.response else { return Err(Fault::AppFailed) };
        let written = framing.write_data(data, out);
        self.terms.keep_alive &= written.is_ok();
        written
    }

    /// Bytes of the body that may go out behind `out` as they are, written by somebody else, who says so with
    /// [`Connection::wrote_plain`]. `None` where the body has to be framed, or dropped, or its head is not out.
    pub fn plain_room(&self) -> Option<u64> {
        match self.response {
            Response::Body(framing) => framing.plain_room(),
            Response::Awaited | Response::Ended => None,
        }
    }

    /// So many bytes of the body, within [`Connection::plain_room`], were written by somebody else.
    pub fn wrote_plain(&mut self, len: u64) {
        if let Response::Body(framing) = &mut self.response {
            framing.wrote_plain(len);
        }
    }

    /// Ends the response. [`Fault::AppFailed`] if fewer bytes than `content-length` were written: then only the
    /// end of the connection tells the client.
    pub fn write_end(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Response::Body(framing) = self.response else { return Err(Fault::AppFailed) };
        let written = framing.write_end(out);
        self.terms.keep_alive &= written.is_ok();
        self.response = Response::Ended;
        written
    }

    /// Ends the response with the fields of `trailers`, or without them where the body is not in chunks. Errors are
    /// those of [`Connection::write_end`], and [`Fault::AppFailed`] for a field that cannot be sent there.
    pub fn write_trailers(&mut self, trailers: &ResponseHead, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Response::Body(framing) = self.response else { return Err(Fault::AppFailed) };
        framing.write_trailers(trailers, out).inspect_err(|_| self.terms.keep_alive = false)?;
        self.response = Response::Ended;
        Ok(())
    }

    /// Writes a whole response for a fault, without a body; nothing if a head is out already. It announces
    /// `connection: close` if `close` asks for it, if the fault reaches the connection, or if the client is to
    /// blame and its request is not complete.
    pub fn write_fault(&mut self, fault: Fault, close: bool, extra: &Extra<'_>, out: &mut Vec<u8>) {
        if self.has_head_out() {
            return;
        }
        let cut_short = fault.blame() == Blame::Peer && !self.request_ended();
        let terms = Terms { keep_alive: !close && !cut_short && self.may_live_on(), ..self.terms };
        self.terms.keep_alive = response::write_fault(terms, fault, extra, out);
        self.response = Response::Ended;
        if cut_short {
            self.break_off();
        }
    }

    /// Whether a final response's head has been written in this exchange.
    pub fn has_head_out(&self) -> bool {
        self.response != Response::Awaited
    }

    /// Whether the response is complete.
    pub fn response_ended(&self) -> bool {
        self.response == Response::Ended
    }

    /// Bytes of the request's body that are still to come, as far as `content-length` has told.
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

    /// Whether no exchange is under way and no byte of a next one is here.
    pub fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Head(_)) && !self.head_started && !self.has_head_out()
    }

    /// Whether the connection ends with this exchange, even if the rest of the request is still read: version,
    /// `connection` of either side, framing, or a breach of the protocol demand it.
    pub fn must_close(&self) -> bool {
        !self.terms.keep_alive
    }

    /// Whether the connection can carry another exchange after this one: nothing demands its end, and the
    /// request has been read to its own.
    pub fn can_keep_alive(&self) -> bool {
        self.terms.keep_alive && self.request_ended()
    }

    /// Forgets the finished exchange and awaits the next head. Without effect unless request and response have
    /// ended and [`Connection::can_keep_alive`].
    pub fn next_exchange(&mut self) {
        if self.response_ended() && self.can_keep_alive() {
            self.reading = Reading::Head(HeadProgress::default());
            self.continue_owed = false;
            self.terms = NO_TERMS;
            self.response = Response::Awaited;
        }
    }

    /// A client that still waits for `100 Continue` may send its body after a final response or leave it out, so
    /// that nobody knows what its next bytes are (RFC 9110 §10.1.1).
    fn may_live_on(&self) -> bool {
        self.terms.keep_alive && !self.continue_owed
    }

    fn break_off(&mut self) {
        self.reading = Reading::Broken;
        self.terms.keep_alive = false;
    }
}

impl HeadProgress {
    /// Refuses, before the rest is here, what cannot become a head: HTTP/0.9, odd versions.
    fn check_early(&mut self, input: &[u8]) -> Result<(), Fault> {
        let first_line = self.scan.first_line();
        if first_line > 0 && !self.line_checked {
            self.line_checked = true;
            head::check_request_line(&input[..first_line])?;
        }
        Ok(())
    }
}

fn take(input: &mut BytesMut, len: usize) -> Bytes {
    if len > COPIED_PIECE_BYTES {
        return input.split_to(len).freeze();
    }
    let piece = Bytes::copy_from_slice(&input[..len]);
    input.advance(len);
    piece
}
