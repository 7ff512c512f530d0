//! The parts that an exchange is made of.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hcrs_http::RequestHead;
use hcrs_otlp::SpanId;

use super::InternalFiles;
use super::compression::Compression;
use super::file_permits::FilePermit;
use super::mailbox::Mailbox;
use super::response_room::ResponseRoom;
use super::tls_info::NumberedTlsInfo;
use super::websocket::WebSocket;
use crate::settings::Rules;

/// The parts that an exchange is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The key under which its connection knows it.
    pub key: usize,
    /// The mailbox that it announces output in.
    pub mailbox: Rc<Mailbox>,
    /// The request's head.
    pub head: RequestHead,
    /// When the request arrived.
    pub arrived: Instant,
    /// The properties of its connection's TLS, which the head names by their number.
    pub tls: Option<Rc<NumberedTlsInfo>>,
    /// Counts the exchange among its connection's requests, until no worker has it any more.
    pub running: Option<Rc<()>>,
    /// Permits its response to hold files open, as long as nothing else is a part of it.
    pub file_permit: Option<FilePermit>,
    /// The files that the app may name in its response.
    pub internal_files: Option<Rc<dyn InternalFiles>>,
    /// The WebSocket that the request asks for.
    pub websocket: Option<WebSocket>,
    /// Whether the request asks for a WebSocket whose bytes are passed on as they are.
    pub is_tunnel: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The most bytes of the request's body; `None` for no limit.
    pub max_body_size: Option<u64>,
    /// Whether the origin has a place for trailers of the request.
    pub takes_trailers: bool,
    /// The client's span, in whose place the head names one of this server.
    pub parent_span: Option<SpanId>,
    /// The terms on which its response may be compressed; `None` if it never is.
    pub compression: Option<Compression>,
    /// The rules that change its response or its deadlines, if there are any.
    pub rules: Option<Arc<Rules>>,
    /// Room for a response that is taken ahead of its client, if the rules have any.
    pub response_room: Option<Rc<ResponseRoom>>,
}

impl Parts {
    /// Returns the parts of a plain request over cleartext that its connection knows as `key`.
    pub(crate) fn new(key: usize, mailbox: Rc<Mailbox>, head: RequestHead, arrived: Instant) -> Self {
        Self {
            key,
            mailbox,
            head,
            arrived,
            tls: None,
            running: None,
            file_permit: None,
            internal_files: None,
            websocket: None,
            is_tunnel: false,
            expects_continue: false,
            max_body_size: None,
            takes_trailers: false,
            parent_span: None,
            compression: None,
            rules: None,
            response_room: None,
        }
    }
}
