//! Drives a client's connection: what the client says becomes exchanges, what the exchanges say goes out.
//!
//! Each protocol has its driver; what both need stands here.

pub(crate) mod h1;
pub(crate) mod h2;
#[cfg(test)]
mod tests;
mod under_way;

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrs_http::{RequestHead, ResponseHead, ResponseHeadWriter};
use tokio::time::Sleep;

use crate::handshake::Client;
use crate::welcome::{self, Facts, TlsFacts};

use under_way::UnderWay;

/// How often the deadlines of a connection with something under way are looked at: a deadline may be missed by
/// as much. An idle connection sleeps until its own.
const LOOK: Duration = Duration::from_secs(1);

/// Has the task run again once other tasks have run and sockets were looked at.
fn run_again(cx: &mut Context<'_>) {
    // Its first poll sees to that; a waker that is woken at once would come before what has arrived for others.
    let _pending = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}

/// Answers a request at the edge, where no app was given.
fn welcome(client: &Client, head: &RequestHead, stream: Option<u32>) -> (ResponseHead, Bytes) {
    let view = head.view();
    let cipher = client.tls.as_ref().and_then(|tls| tls.known.facts.cipher_suite_name());
    let facts = Facts {
        protocol: match view.version {
            hcrs_http::Version::Http10 => "HTTP/1.0",
            hcrs_http::Version::Http11 => "HTTP/1.1",
            hcrs_http::Version::Http2 => "HTTP/2",
        },
        tls: client.tls.as_ref().map(|tls| TlsFacts {
            version: tls.known.facts.version_name(),
            cipher: cipher.as_deref().unwrap_or("unknown"),
            alpn: tls.alpn.as_deref(),
        }),
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
    at: Instant,
}

impl Look {
    fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(at.into())), at }
    }

    /// Ready once when it is time to look.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }

    /// Something is under way, whose deadlines nobody has looked at when the connection was idle.
    fn no_later_than(&mut self, at: Instant) {
        if self.at > at {
            self.set(at);
        }
    }

    fn set(&mut self, at: Instant) {
        self.at = at;
        self.sleep.as_mut().reset(at.into());
    }
}
