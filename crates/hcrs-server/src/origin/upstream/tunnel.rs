//! WebSockets: the bytes of both directions are passed on as they are.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use hcrs_http::{Fault, ResponseHead};
use hcrs_ws::close_code;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::sleep_until;

use super::deadline::poll_deadline;
use super::frames::{Frames, close_frame};
use super::job::{Job, pushed};
use super::transport::Transport;
use crate::clock;

/// The most bytes of one read.
const READ: usize = 16 << 10;

/// How long a client has to answer the Close frame when the server stops.
const LEAVING: Duration = Duration::from_secs(2);

/// A WebSocket between its client and an upstream.
struct Tunnel<'a> {
    job: &'a Job,
    upstream: Transport,
    /// Bytes of the upstream that came with its head.
    first: Bytes,
    /// Bytes that wait for the upstream.
    writing: Bytes,
    is_shut: bool,
    from_client: Frames,
    from_upstream: Frames,
    /// When the server began to stop; both ends are then sent Close frames.
    leaving_since: Option<Instant>,
    /// Whether the client, and the upstream, have theirs.
    has_left: [bool; 2],
}

/// The reason for a turn of the tunnel.
enum Moved {
    /// The upstream has sent these bytes; none at its end.
    FromUpstream(Bytes),
    /// Bytes of the client were written, or all of them were and it has ended.
    ToUpstream,
    /// The server stops.
    Leaving,
    /// The exchange is over.
    Abandoned,
    /// Nothing has moved for as long as it may.
    Late,
}

/// Returns the head that opens a WebSocket, for a client that gets the fields of the upgrade with status 101, or one
/// that has asked by an extended CONNECT (RFC 8441 §5).
pub(super) fn switch_head(head: &ResponseHead, is_extended_connect: bool) -> ResponseHead {
    if is_extended_connect {
        return ResponseHead::new(200, head.fields().filter(|(name, _)| *name != b"sec-websocket-accept"));
    }
    let upgrade: [(&[u8], &[u8]); 2] = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")];
    ResponseHead::new(101, upgrade.into_iter().chain(head.fields()))
}

/// Passes on the bytes until one side has ended. `first` are those that came with the upstream's head.
pub(super) async fn run(job: &Job, upstream: Transport, first: Bytes) -> Result<(), Fault> {
    let mut tunnel = Tunnel {
        job,
        upstream,
        first,
        writing: Bytes::new(),
        is_shut: false,
        from_client: Frames::default(),
        from_upstream: Frames::default(),
        leaving_since: None,
        has_left: [false; 2],
    };
    let limit = job.group.settings.read_timeout;
    let mut timer = pin!(sleep_until((clock::now() + limit).into()));
    loop {
        let since = clock::now();
        let due = tunnel.leaving_since.map_or(since + limit, |since| since + LEAVING);
        let moved = poll_fn(|cx| match tunnel.poll(cx) {
            Poll::Pending => poll_deadline(timer.as_mut(), cx, || Some(due)).map(|()| Ok(Moved::Late)),
            moved @ Poll::Ready(_) => moved,
        });
        let moved = moved.await.map_err(|_| Fault::UpstreamFailed)?;
        let end = match moved {
            Moved::Abandoned => return Ok(()),
            Moved::ToUpstream => false,
            Moved::FromUpstream(bytes) => tunnel.take(bytes)?,
            Moved::Leaving => {
                tunnel.leaving_since = Some(clock::now());
                timer.as_mut().reset((clock::now() + LEAVING).into());
                tunnel.say_goodbye()?;
                false
            }
            Moved::Late if tunnel.leaving_since.is_some() => true,
            Moved::Late => return Err(Fault::UpstreamTimeout),
        };
        let is_answered = tunnel.has_left[0] && (tunnel.from_client.has_closed() || job.body.is_done());
        if end || is_answered {
            return pushed(job.exchange.push_data(Bytes::new(), true));
        }
    }
}

impl Tunnel<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        let job = self.job;
        job.body.listen(cx.waker());
        job.listen(cx.waker());
        if job.is_abandoned() {
            return Poll::Ready(Ok(Moved::Abandoned));
        }
        if job.is_leaving() && self.leaving_since.is_none() {
            return Poll::Ready(Ok(Moved::Leaving));
        }
        if let Poll::Ready(moved) = self.poll_to_upstream(cx) {
            return Poll::Ready(moved);
        }
        let room = self.job.exchange.response_room().min(READ);
        if room == 0 {
            return Poll::Pending;
        }
        if !self.first.is_empty() {
            return Poll::Ready(Ok(Moved::FromUpstream(self.first.split_to(self.first.len().min(room)))));
        }
        let mut bytes = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut bytes[..room]);
        ready!(Pin::new(&mut self.upstream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(Moved::FromUpstream(Bytes::copy_from_slice(buffer.filled()))))
    }

    fn poll_to_upstream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        let Job { body, exchange, .. } = self.job;
        if self.writing.is_empty()
            && let Some(piece) = body.pop()
        {
            exchange.app_took(piece.len() as u32);
            self.writing = self.for_upstream(piece);
            if self.writing.is_empty() {
                return Poll::Ready(Ok(Moved::ToUpstream));
            }
        }
        if !self.writing.is_empty() {
            let len = ready!(Pin::new(&mut self.upstream).poll_write(cx, &self.writing))?;
            self.writing.advance(len);
            return Poll::Ready(Ok(Moved::ToUpstream));
        }
        ready!(Pin::new(&mut self.upstream).poll_flush(cx))?;
        if body.is_done() && !self.is_shut {
            ready!(Pin::new(&mut self.upstream).poll_shutdown(cx))?;
            self.is_shut = true;
            return Poll::Ready(Ok(Moved::ToUpstream));
        }
        Poll::Pending
    }

    /// Returns what the upstream gets of bytes of the client.
    fn for_upstream(&mut self, mut piece: Bytes) -> Bytes {
        if self.leaving_since.is_none() {
            self.from_client.pass(&piece);
            return piece;
        }
        if self.has_left[1] {
            self.from_client.pass(&piece);
            return Bytes::new();
        }
        // The rest of a frame, and then the Close frame.
        let len = self.from_client.pass_frame(&piece);
        let rest = piece.split_off(len);
        let is_between = self.from_client.is_between();
        self.from_client.pass(&rest);
        if !is_between {
            return piece;
        }
        self.has_left[1] = true;
        [&piece[..], &close_frame(close_code::GOING_AWAY, true)].concat().into()
    }

    /// Passes bytes of the upstream to the client. Returns whether the upstream has ended.
    fn take(&mut self, mut bytes: Bytes) -> Result<bool, Fault> {
        if bytes.is_empty() {
            return Ok(true);
        }
        if self.has_left[0] {
            return Ok(false);
        }
        if self.leaving_since.is_none() {
            self.from_upstream.pass(&bytes);
        } else {
            let len = self.from_upstream.pass_frame(&bytes);
            bytes.truncate(len);
        }
        pushed(self.job.exchange.push_data(bytes, false))?;
        self.say_goodbye()?;
        Ok(false)
    }

    /// Sends Close frames where the last frame is whole.
    fn say_goodbye(&mut self) -> Result<(), Fault> {
        if self.leaving_since.is_none() {
            return Ok(());
        }
        if !self.has_left[0] && self.from_upstream.is_between() {
            self.has_left[0] = true;
            // Otherwise the client, which does not read, finds out by the end.
            if self.job.exchange.response_room() > 0 {
                pushed(
                    self.job.exchange.push_data(close_frame(close_code::GOING_AWAY, false).into(), false),
                )?;
            }
        }
        if !self.has_left[1] && self.from_client.is_between() && self.writing.is_empty() {
            self.has_left[1] = true;
            self.writing = close_frame(close_code::GOING_AWAY, true).into();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_opens_in_the_form_in_which_the_client_has_asked() {
        let names = |head: &ResponseHead| {
            head.fields().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
        };
        let fields = [(&b"sec-websocket-accept"[..], &b"x"[..]), (b"sec-websocket-protocol", b"chat")];
        let answered = ResponseHead::new(101, fields);
        let head = switch_head(&answered, false);
        assert_eq!(head.status(), 101);
        assert_eq!(names(&head), ["upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol"]);
        let head = switch_head(&answered, true);
        assert_eq!((head.status(), names(&head)), (200, vec!["sec-websocket-protocol".to_owned()]));
    }
}
