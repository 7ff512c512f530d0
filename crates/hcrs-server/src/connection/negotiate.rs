//! Determines a connection's protocol, from ALPN or from the first bytes.
//!
//! Without ALPN, a client with prior knowledge of HTTP/2 is recognized by its preface (RFC 9113 §3.3), on the
//! same port as HTTP/1.1.

use bytes::BytesMut;
use hcrs_h2::PREFACE;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::rewind::Rewind;
use crate::client::Client;

/// A connection whose protocol is known, with the bytes that were read to find it out.
#[derive(Debug)]
pub(crate) enum Negotiated<T> {
    /// HTTP/1.1, with the first bytes of its input.
    H1(T, BytesMut),
    /// HTTP/2.
    H2(Rewind<T>),
}

/// Returns the protocol that the client uses; `None` if the connection ends, or the thread drains, before
/// that is known.
pub(crate) async fn negotiate<T: AsyncRead + Unpin>(client: &Client, mut io: T) -> Option<Negotiated<T>> {
    match client.tls.as_ref().and_then(|agreed| agreed.alpn.as_deref()) {
        Some("h2") => return Some(Negotiated::H2(Rewind::new(BytesMut::new(), io))),
        Some(_) => return Some(Negotiated::H1(io, BytesMut::new())),
        None => {}
    }
    let settings = client.admitted.shared.kept_settings();
    let settings = &settings.connection;
    let mut first = BytesMut::with_capacity(settings.h1.max_head_bytes.min(4096));
    let idle = Instant::now() + settings.keep_alive_timeout;
    loop {
        let read = timeout_at(idle, io.read_buf(&mut first));
        match client.admitted.until_drained(read).await {
            Some(Ok(Ok(n))) if n > 0 => {}
            // The connection is closed, failed or silent, or the thread has drained: there is no request to
            // answer.
            _ => return None,
        }
        let seen = first.len().min(PREFACE.len());
        if first[..seen] != PREFACE[..seen] {
            return Some(Negotiated::H1(io, first));
        }
        if seen == PREFACE.len() {
            return Some(Negotiated::H2(Rewind::new(first, io)));
        }
    }
}
