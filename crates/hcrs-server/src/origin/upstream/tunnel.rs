//! WebSockets: the bytes of both directions are passed on as they are.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::{Buf as _, Bytes};
use hcrs_http::Fault;
use hyper::Response;
use hyper::body::Incoming;
use hyper::rt::{Read as _, ReadBuf, Write as _};
use tokio::time::sleep_until;

use super::deadline::poll_deadline;
use super::serve::Job;
use crate::clock;

/// The most bytes of one read.
const READ: usize = 16 << 10;

/// The reason for a turn of the tunnel.
enum Moved {
    /// The upstream has sent these bytes; none at its end.
    FromUpstream(Bytes),
    /// Bytes of the client were written, or all of them were and it has ended.
    ToUpstream,
    /// Nothing has moved for as long as it may.
    Late,
}

/// Passes on the bytes until one side has ended.
pub(super) async fn run(job: &Job, response: Response<Incoming>) -> Result<(), Fault> {
    let mut upstream = hyper::upgrade::on(response).await.map_err(|_| Fault::UpstreamFailed)?;
    let limit = job.group.settings.read_timeout;
    let mut timer = pin!(sleep_until((clock::now() + limit).into()));
    let mut writing = Bytes::new();
    let mut is_shut = false;
    loop {
        let since = clock::now();
        let moved = poll_fn(|cx| {
            let body = &job.stream.body;
            body.listen(cx.waker());
            job.stream.listen(cx.waker());
            if writing.is_empty() {
                writing = body.pop().unwrap_or_default();
            }
            if !writing.is_empty()
                && let Poll::Ready(written) = Pin::new(&mut upstream).poll_write(cx, &writing)
            {
                return Poll::Ready(written.map(|len| {
                    writing.advance(len);
                    job.exchange.app_took(len as u32);
                    Moved::ToUpstream
                }));
            }
            if writing.is_empty()
                && let Poll::Ready(Err(error)) = Pin::new(&mut upstream).poll_flush(cx)
            {
                return Poll::Ready(Err(error));
            }
            if writing.is_empty()
                && body.is_done()
                && !is_shut
                && let Poll::Ready(shut) = Pin::new(&mut upstream).poll_shutdown(cx)
            {
                is_shut = true;
                return Poll::Ready(shut.map(|()| Moved::ToUpstream));
            }
            let room = job.exchange.response_room().min(READ);
            if room > 0 {
                let mut bytes = [MaybeUninit::uninit(); READ];
                let mut buffer = ReadBuf::uninit(&mut bytes[..room]);
                if let Poll::Ready(read) = Pin::new(&mut upstream).poll_read(cx, buffer.unfilled()) {
                    return Poll::Ready(
                        read.map(|()| Moved::FromUpstream(Bytes::copy_from_slice(buffer.filled()))),
                    );
                }
            }
            poll_deadline(timer.as_mut(), cx, || Some(since + limit)).map(|()| Ok(Moved::Late))
        });
        match moved.await {
            Ok(Moved::ToUpstream) => {}
            Ok(Moved::FromUpstream(bytes)) => {
                let end = bytes.is_empty();
                if !job.exchange.push_data(bytes, end) {
                    return Err(Fault::UpstreamFailed);
                }
                if end {
                    return Ok(());
                }
            }
            Ok(Moved::Late) => return Err(Fault::UpstreamTimeout),
            Err(_) => return Err(Fault::UpstreamFailed),
        }
    }
}
