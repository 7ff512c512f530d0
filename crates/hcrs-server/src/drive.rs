//! Drives a client's connection: what the client says becomes exchanges, what the exchanges say goes out.
//!
//! Each protocol has its driver; what both need stands here.

pub(crate) mod h1;
pub(crate) mod h2;
#[cfg(test)]
mod tests;

use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrs_exchange::{RequestHead, ResponseHead, ResponseHeadWriter};
use tokio::time::Sleep;

use crate::access_log::AccessEntry;
use crate::edge_thread::Shared;
use crate::exchange::Exchange;
use crate::handshake::Client;
use crate::welcome::{self, Facts, TlsFacts};

/// How often the deadlines of a connection with something under way are looked at: a deadline may be missed by
/// as much. An idle connection sleeps until its own.
const LOOK: Duration = Duration::from_secs(1);

/// A request under way, as its connection sees it.
#[derive(Debug)]
struct UnderWay {
    exchange: Rc<Exchange>,
    status: Option<u16>,
    /// The app's content-length, for the access log.
    content_length: Option<Bytes>,
    /// When a byte of the body last arrived, or the app took the last one.
    body_at: Instant,
}

impl UnderWay {
    fn new(exchange: Rc<Exchange>, now: Instant) -> Self {
        Self { exchange, status: None, content_length: None, body_at: now }
    }

    fn note_head(&mut self, head: &ResponseHead, shared: &Shared) {
        self.status = Some(head.status());
        if shared.access.borrow().is_some() {
            self.content_length = head.fields().first(b"content-length").map(|value| head.share(value));
        }
    }

    /// The exchange has come to its end at the connection: the worker is told if it has not, and the access log is
    /// written. Gives the head's block for another request.
    fn finish(self, client: &Client) -> Option<Vec<u8>> {
        self.exchange.abandon();
        let head = self.exchange.take_head()?;
        if let Some(access) = &mut *client.admitted.shared.access.borrow_mut() {
            let view = head.view();
            access.record(&AccessEntry {
                client: client.endpoints.client(),
                method: view.method,
                path: view.path,
                version: view.version.as_str(),
                status: self.status,
                content_length: self.content_length.as_deref(),
                referer: view.fields().first(b"referer"),
                user_agent: view.fields().first(b"user-agent"),
            });
        }
        Some(head.into_block())
    }
}

/// Answers a request at the edge, where no app was given.
fn welcome(client: &Client, head: &RequestHead, stream: Option<u32>) -> (ResponseHead, Bytes) {
    let view = head.view();
    let tls = client.tls.as_ref();
    let facts = Facts {
        protocol: match view.version {
            hcrs_exchange::Version::Http10 => "HTTP/1.0",
            hcrs_exchange::Version::Http11 => "HTTP/1.1",
            hcrs_exchange::Version::Http2 => "HTTP/2",
        },
        tls: tls.map(|tls| TlsFacts { version: tls.version, cipher: &tls.cipher, alpn: tls.alpn.as_deref() }),
        connection: client.serial,
        stream,
        client: view.client(),
    };
    let html = view
        .fields()
        .first(b"accept")
        .is_some_and(|accept| accept.windows(9).any(|part| part == b"text/html"));
    let page = welcome::page(&facts, html);
    let mut block = Vec::with_capacity(128);
    let mut writer = ResponseHeadWriter::begin(&mut block, 200);
    writer.field(&mut block, b"content-type", welcome::content_type(html).as_bytes());
    writer.field(&mut block, b"content-length", page.len().to_string().as_bytes());
    writer.field(&mut block, b"cache-control", b"no-store");
    writer.finish(&mut block);
    let head = ResponseHead::parse(Bytes::from(block)).expect("invariant: a head just written has its form");
    (head, Bytes::from(page))
}

/// The one timer of a connection: it is set for the next look at the deadlines, not for each of them.
#[derive(Debug)]
struct Look {
    sleep: Pin<Box<Sleep>>,
}

impl Look {
    fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(at.into())) }
    }

    /// Ready once when it is time to look.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }

    fn set(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at.into());
    }
}
