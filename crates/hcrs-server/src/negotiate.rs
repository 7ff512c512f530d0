//! Which protocol a connection speaks: ALPN says it, or the first bytes do.
//!
//! Without ALPN, a client with prior knowledge of HTTP/2 is known by its preface (RFC 9113 §3.3), on the same
//! port as HTTP/1.1.

use bytes::BytesMut;
use hcrs_h2::PREFACE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::drive;
use crate::handshake::Client;
use crate::rewind::Rewind;
use crate::send_file::SendFile;

/// What ALPN chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// `h2`: nothing else is served.
    H2,
    /// Another protocol: HTTP/1.1, and nothing else is served.
    H1,
    /// Nothing was chosen.
    None,
}

/// Finds out what the client speaks, and drives the connection.
pub(crate) async fn negotiate<T: AsyncRead + AsyncWrite + SendFile + Unpin>(
    client: Client,
    mut io: T,
    alpn: Alpn,
) {
    let settings = &client.admitted.shared.settings.connection;
    match alpn {
        Alpn::H2 => return drive::h2::drive(client, Rewind::new(BytesMut::new(), io)).await,
        Alpn::H1 => return drive::h1::drive(client, io, BytesMut::new()).await,
        Alpn::None => {}
    }
    let mut first = BytesMut::with_capacity(settings.h1.max_head_bytes.min(4096));
    let idle = Instant::now() + settings.keep_alive_timeout;
    loop {
        let read = timeout_at(idle, io.read_buf(&mut first));
        match client.admitted.while_welcome(read).await {
            Some(Ok(Ok(n))) if n > 0 => {}
            // Closed, failed or silent, or the thread has drained: there is nobody to answer.
            _ => return,
        }
        let seen = first.len().min(PREFACE.len());
        if first[..seen] != PREFACE[..seen] {
            return drive::h1::drive(client, io, first).await;
        }
        if seen == PREFACE.len() {
            return drive::h2::drive(client, Rewind::new(first, io)).await;
        }
    }
}
