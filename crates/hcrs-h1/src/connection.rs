//! One connection: which exchange it is in, what it reads next, and whether it lives on.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use hcrs_exchange::{Endpoints, Fault, RequestHead, ResponseHead, Scheme};

use crate::Settings;

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

/// Field values that the server adds to a response whose app did not send its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'a> {
    /// Value of `date`.
    pub date: Option<&'a [u8]>,
    /// Value of `server`.
    pub server: Option<&'a [u8]>,
}

/// The server side of one HTTP/1.1 connection.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    scheme: Scheme,
    endpoints: Rc<Endpoints>,
    spare: Vec<u8>,
}

impl Connection {
    /// A connection that awaits its first head.
    pub fn new(settings: &Settings, scheme: Scheme, endpoints: Rc<Endpoints>) -> Self {
        Self { settings: *settings, scheme, endpoints, spare: Vec::new() }
    }

    /// Gives a block for the next request's head to be written into, such as the last one's.
    pub fn set_spare_block(&mut self, block: Vec<u8>) {
        self.spare = block;
    }

    /// Reads from the front of `input`, consuming what it understood. `Ok(None)`: more bytes are needed, or
    /// nothing may be read before [`Connection::next_exchange`]. Call it until then.
    pub fn poll_event(&mut self, _input: &mut BytesMut) -> Result<Option<Event>, Fault> {
        let _ = (&self.settings, self.scheme, &self.endpoints);
        Ok(None)
    }

    /// What is awaited from the client, as of the last [`Connection::poll_event`].
    pub fn awaits(&self) -> Awaits {
        Awaits::Head { started: false }
    }

    /// Writes `100 Continue` if the client expects it and still waits. Returns whether it did.
    pub fn write_continue(&mut self, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Writes a response's head and settles its framing.
    #[expect(clippy::too_many_arguments, reason = "one call of one caller; a struct would be taken apart at once")]
    pub fn write_head(
        &mut self,
        _head: &ResponseHead,
        _body_now: Option<usize>,
        _close: bool,
        _extra: &Extra<'_>,
        _out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        Err(Fault::AppFailed)
    }

    /// Writes a piece of the response's body.
    pub fn write_data(&mut self, _data: &[u8], _out: &mut Vec<u8>) -> Result<(), Fault> {
        Err(Fault::AppFailed)
    }

    /// Ends the response's body.
    pub fn write_end(&mut self, _out: &mut Vec<u8>) -> Result<(), Fault> {
        Err(Fault::AppFailed)
    }

    /// Writes a whole response for a fault, unless a head is out already.
    pub fn write_fault(&mut self, _fault: Fault, _close: bool, _extra: &Extra<'_>, _out: &mut Vec<u8>) {}

    /// Whether a final response's head has been written in this exchange.
    pub fn has_head_out(&self) -> bool {
        false
    }

    /// Whether the response is complete.
    pub fn response_ended(&self) -> bool {
        false
    }

    /// Whether the request, body included, has been read to its end.
    pub fn request_ended(&self) -> bool {
        false
    }

    /// Whether no exchange is under way and no byte of a next one is here.
    pub fn is_idle(&self) -> bool {
        true
    }

    /// Whether nothing can keep the connection open after this exchange, not even reading the rest of the body.
    pub fn must_close(&self) -> bool {
        false
    }

    /// Whether the connection can carry another exchange after this one.
    pub fn can_keep_alive(&self) -> bool {
        false
    }

    /// Forgets the finished exchange and awaits the next head.
    pub fn next_exchange(&mut self) {}
}
