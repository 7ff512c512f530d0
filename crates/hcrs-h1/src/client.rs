//! The client side of one connection: requests go out, and the bytes of their responses come in.

mod head;
mod request;

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use hcrs_http::{Fault, ResponseHead};

pub use request::{OutgoingRequest, RequestBody, RequestFields, Unsendable};

use crate::Settings;
use crate::chunk::ChunkDecoder;
use crate::response::Framing;
use crate::scan::HeadScan;
use head::{BodyLength, Parsed};

/// The most interim responses before a final one. A server that sends them endlessly would never be late.
const INTERIMS_MAX: u8 = 64;

/// The size below which pieces of a body are copied, in bytes, so that a small piece does not keep a large buffer.
const COPIED_PIECE_BYTES: usize = 16 << 10;

/// The beginning of each response.
const FIRST_BYTES: &[u8] = b"HTTP/1.";

/// The client side of one HTTP/1.1 connection, which carries one request at a time.
///
/// The caller writes a request by [`ClientConnection::write_request`], `write_data` and `write_end`, appends the
/// server's bytes to [`ClientConnection::input_mut`], and calls `poll_event` until it returns `None`. The response may
/// begin before the request has been written. Once both are complete and [`ClientConnection::can_be_reused`], the next
/// request may be written.
#[derive(Debug)]
pub struct ClientConnection {
    settings: Settings,
    /// Bytes of the server that were not parsed, behind those that were decoded.
    input: BytesMut,
    /// Number of bytes of the body at the input's front that were decoded and not returned.
    decoded: usize,
    /// Whether the server has closed its side.
    input_ended: bool,
    receiving: Receiving,
    sending: Sending,
    asked: Asked,
    interims: u8,
    /// Whether the server, and the framing so far, allow another request.
    may_persist: bool,
}

/// The state of the response.
#[derive(Debug)]
enum Receiving {
    /// No request was written.
    Idle,
    /// A head is being read, perhaps an interim one.
    Head(HeadScan),
    /// A body of known length is being read; that many bytes are to come.
    Known(u64),
    /// A body in chunks is being read.
    Chunked(ChunkDecoder),
    /// A body is being read that ends with the connection.
    UntilEnd,
    /// The connection has switched to another protocol.
    Switched,
    /// The response is complete.
    Ended,
    /// The server broke the protocol.
    Broken {
        /// No byte of the response had come.
        is_unanswered: bool,
    },
}

/// The state of the request.
#[derive(Debug)]
enum Sending {
    Body(Framing),
    Ended,
}

/// The facts of a request by which its response is read.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    is_head_method: bool,
    for_websocket: bool,
}

/// A part of a response.
#[derive(Debug)]
pub enum ResponseEvent {
    /// An interim head (`103 Early Hints`). The other interim responses are for this connection alone.
    Interim(ResponseHead),
    /// The final head, without the fields that are about the connection. The names are in lower case.
    Head {
        /// The head.
        head: ResponseHead,
        /// Whether it is the whole response.
        is_whole: bool,
    },
    /// The head of `101 Switching Protocols`, without the fields that are about the connection, to a request that asked
    /// for it. What follows is in [`ClientConnection::take_input`].
    Switched(ResponseHead),
    /// A piece of the body, never empty.
    Data {
        /// The bytes.
        data: Bytes,
        /// Whether they end the response.
        end: bool,
    },
    /// The trailers, which end the response. Fields that may not stand there were left out.
    Trailers(ResponseHead),
    /// The end of the response.
    End,
}

/// The reason why the server's bytes are no response, for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadResponse(pub &'static str);

impl ClientConnection {
    /// Creates a connection that has carried no request. Of the settings, the limits of bytes hold for responses.
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: *settings,
            input: BytesMut::new(),
            decoded: 0,
            input_ended: false,
            receiving: Receiving::Idle,
            sending: Sending::Ended,
            asked: Asked::default(),
            interims: 0,
            may_persist: true,
        }
    }

    /// Appends a request's head to `out`. The fields are those that `fields` pushes, and those of the framing and the
    /// connection.
    ///
    /// # Errors
    ///
    /// [`Unsendable`], with nothing appended, if a part of the head would not be read as what it is.
    pub fn write_request(
        &mut self,
        request: &OutgoingRequest<'_>,
        fields: impl FnOnce(&mut RequestFields<'_>),
        out: &mut Vec<u8>,
    ) -> Result<(), Unsendable> {
        let framing = request::write(request, fields, out)?;
        self.sending = if framing == Framing::Nothing { Sending::Ended } else { Sending::Body(framing) };
        self.asked =
            Asked { is_head_method: request.method == b"HEAD", for_websocket: request.asks_for_websocket };
        self.interims = 0;
        self.receiving = Receiving::Head(HeadScan::default());
        Ok(())
    }

    /// Appends a piece of the request's body to `out`, in the framing that the head announced.
    ///
    /// # Errors
    ///
    /// [`Unsendable`], with nothing appended, for more bytes than were announced, and for a request that has ended.
    pub fn write_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let Sending::Body(framing) = &mut self.sending else { return Err(Unsendable) };
        framing.write_data(data, out).map_err(|_| Unsendable)
    }

    /// Returns the number of body bytes that the caller may write itself, without framing, after all of `out`; it then
    /// calls [`ClientConnection::wrote_plain`]. `None` if the body has to be framed.
    pub fn plain_room(&self) -> Option<u64> {
        match self.sending {
            Sending::Body(framing) => framing.plain_room(),
            Sending::Ended => None,
        }
    }

    /// Notes that the caller has written `len` bytes of the body itself, within [`ClientConnection::plain_room`].
    pub fn wrote_plain(&mut self, len: u64) {
        if let Sending::Body(framing) = &mut self.sending {
            framing.wrote_plain(len);
        }
    }

    /// Ends the request.
    ///
    /// # Errors
    ///
    /// [`Unsendable`] if fewer bytes than announced were written: the connection then has to be closed.
    pub fn write_end(&mut self, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let Sending::Body(framing) = self.sending else { return Ok(()) };
        framing.write_end(out).map_err(|_| Unsendable)?;
        self.sending = Sending::Ended;
        Ok(())
    }

    /// Ends the request with trailers, or without them if its body is not in chunks.
    ///
    /// # Errors
    ///
    /// As [`ClientConnection::write_end`], and for a field that may not stand in trailers.
    pub fn write_trailers(&mut self, trailers: &ResponseHead, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let Sending::Body(framing) = self.sending else { return Ok(()) };
        framing.write_trailers(trailers, out).map_err(|_| Unsendable)?;
        self.sending = Sending::Ended;
        Ok(())
    }

    /// Whether the request has been written to its end.
    pub fn request_ended(&self) -> bool {
        matches!(self.sending, Sending::Ended)
    }

    /// Returns the end of the input, with room for at least `room` bytes. The server's bytes are appended there.
    pub fn input_mut(&mut self, room: usize) -> impl BufMut {
        self.input.reserve(room);
        &mut self.input
    }

    /// Gives the connection a buffer for its input, which is empty, if it has none.
    pub fn lend_buffer(&mut self, lend: impl FnOnce() -> BytesMut) {
        if self.input.capacity() == 0 {
            self.input = lend();
        }
    }

    /// Takes the buffer back if nothing is in it.
    pub fn return_buffer(&mut self) -> Option<BytesMut> {
        (self.input.is_empty() && self.input.capacity() > 0).then(|| std::mem::take(&mut self.input))
    }

    /// Takes the bytes that were not parsed: those of the other protocol, after [`ResponseEvent::Switched`].
    pub fn take_input(&mut self) -> BytesMut {
        self.decoded = 0;
        std::mem::take(&mut self.input)
    }

    /// Notes that the server has closed its side. What has arrived is still parsed.
    pub fn end_input(&mut self) {
        self.input_ended = true;
    }

    /// Whether no byte has come in answer to the request.
    pub fn is_unanswered(&self) -> bool {
        match self.receiving {
            Receiving::Idle | Receiving::Head(_) => self.input.is_empty() && self.interims == 0,
            Receiving::Broken { is_unanswered } => is_unanswered,
            _ => false,
        }
    }

    /// Whether the response is complete.
    pub fn response_ended(&self) -> bool {
        matches!(self.receiving, Receiving::Ended)
    }

    /// Whether request and response are complete and the connection may carry another request. Bytes behind a response
    /// are no part of the next one.
    pub fn can_be_reused(&self) -> bool {
        let is_at_rest = matches!(self.receiving, Receiving::Ended | Receiving::Idle) && self.request_ended();
        is_at_rest && self.may_persist && self.input.is_empty() && !self.input_ended
    }

    /// Parses the front of the input, at most `room` bytes of a body. Returns `Ok(None)` when it needs more bytes, more
    /// room, or another request. After an error the connection has to be closed.
    pub fn poll_event(&mut self, room: usize) -> Result<Option<ResponseEvent>, BadResponse> {
        let polled = match self.receiving {
            Receiving::Head(_) => self.poll_head(),
            Receiving::Known(_) | Receiving::Chunked(_) | Receiving::UntilEnd => self.poll_body(room),
            Receiving::Idle if !self.input.is_empty() => {
                Err(BadResponse("it sends bytes that were not asked for"))
            }
            Receiving::Idle | Receiving::Switched | Receiving::Ended | Receiving::Broken { .. } => Ok(None),
        };
        if polled.is_err() {
            self.receiving = Receiving::Broken { is_unanswered: self.is_unanswered() };
        }
        polled
    }

    fn poll_head(&mut self) -> Result<Option<ResponseEvent>, BadResponse> {
        loop {
            let Receiving::Head(scan) = &mut self.receiving else { return Ok(None) };
            // At once, because another protocol may never send a line end.
            if !self.input.iter().zip(FIRST_BYTES).all(|(byte, first)| byte == first) {
                return Err(BadResponse("it does not speak HTTP/1.1"));
            }
            let Some(len) = scan.find_end(&self.input, self.settings.max_head_bytes).map_err(bad_head)?
            else {
                return if self.input_ended { Err(self.ended_early()) } else { Ok(None) };
            };
            let parsed = head::parse(&self.input[..len], &self.settings, self.asked)?;
            self.input.advance(len);
            let status = parsed.head.status();
            if matches!(status, 100 | 102..=199) {
                self.receiving = Receiving::Head(HeadScan::default());
                self.interims += 1;
                if self.interims > INTERIMS_MAX {
                    return Err(BadResponse("too many interim responses"));
                }
                if status == 103 {
                    return Ok(Some(ResponseEvent::Interim(parsed.head)));
                }
                continue;
            }
            return Ok(Some(self.begin(parsed)));
        }
    }

    fn ended_early(&self) -> BadResponse {
        if self.is_unanswered() {
            BadResponse("it closed the connection without a response")
        } else {
            BadResponse("the connection ended within a head")
        }
    }

    fn begin(&mut self, Parsed { head, body, is_persistent }: Parsed) -> ResponseEvent {
        self.may_persist &= is_persistent;
        if head.status() == 101 {
            self.receiving = Receiving::Switched;
            self.may_persist = false;
            return ResponseEvent::Switched(head);
        }
        self.receiving = match body {
            BodyLength::None => Receiving::Ended,
            BodyLength::Known(len) => Receiving::Known(len),
            BodyLength::Chunked => Receiving::Chunked(ChunkDecoder::new()),
            BodyLength::UntilEnd => Receiving::UntilEnd,
        };
        ResponseEvent::Head { head, is_whole: self.response_ended() }
    }

    fn poll_body(&mut self, room: usize) -> Result<Option<ResponseEvent>, BadResponse> {
        let input = &mut self.input;
        let (available, is_last) = match &mut self.receiving {
            Receiving::Known(left) => {
                let available = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                (available, available as u64 == *left)
            }
            Receiving::Chunked(decoder) => {
                if self.decoded == 0 {
                    self.decoded = decoder.decode(input, &self.settings).map_err(bad_body)?;
                }
                (self.decoded, decoder.is_done())
            }
            _ => (input.len(), self.input_ended),
        };
        let len = available.min(room);
        let is_last = is_last && len == available;
        let has_trailers =
            matches!(&self.receiving, Receiving::Chunked(decoder) if is_last && decoder.has_trailers());
        let end = is_last && !has_trailers;
        if end {
            if matches!(self.receiving, Receiving::UntilEnd) {
                self.may_persist = false;
            }
            self.receiving = Receiving::Ended;
        } else if let Receiving::Known(left) = &mut self.receiving {
            *left -= len as u64;
        }
        if len > 0 {
            self.decoded = self.decoded.saturating_sub(len);
            return Ok(Some(ResponseEvent::Data { data: take(&mut self.input, len), end }));
        }
        if end {
            return Ok(Some(ResponseEvent::End));
        }
        if let Receiving::Chunked(decoder) = &mut self.receiving
            && has_trailers
        {
            let trailers = decoder.take_trailers();
            self.receiving = Receiving::Ended;
            return Ok(Some(ResponseEvent::Trailers(trailers)));
        }
        if available == 0 && self.input_ended {
            return Err(BadResponse("the connection ended within a body"));
        }
        Ok(None)
    }
}

fn bad_head(fault: Fault) -> BadResponse {
    match fault {
        Fault::BadRequest(reason) => BadResponse(reason),
        _ => BadResponse("its head is too large"),
    }
}

fn bad_body(fault: Fault) -> BadResponse {
    match fault {
        Fault::BadRequest(reason) => BadResponse(reason),
        _ => BadResponse("its trailers are too large"),
    }
}

fn take(input: &mut BytesMut, len: usize) -> Bytes {
    if len >= COPIED_PIECE_BYTES {
        return input.split_to(len).freeze();
    }
    let piece = Bytes::copy_from_slice(&input[..len]);
    input.advance(len);
    piece
}
