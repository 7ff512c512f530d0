//! The I/O of a link.

use std::io;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hcrs_exchange::append;
use hcrs_link::{FrameHeader, HEADER_LEN, Kind, LinkError};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Link, Notice};

/// Room for one read.
const READ: usize = 128 << 10;

/// Payloads up to this are copied out of the read buffer, so that a small one that has to wait for a slow client
/// does not hold on to all of it.
const COPY: usize = 4 << 10;

/// Bytes that are read of what a worker has left behind: more than a socket holds, so that this bounds only what a child
/// of it may still write.
const LAST_MAX: usize = 16 << 20;

/// Capacity that an empty output buffer may keep.
const KEEP: usize = 256 << 10;

/// Moves frames between a link and its socket.
pub(super) struct Pump<'a> {
    link: &'a Link,
    /// Watched for reading only: a unix socket becomes writable each time the other end has read, and each of these
    /// edges would wake the thread for nothing.
    socket: AsyncFd<UnixStream>,
    /// Watches for room to write, while there is none.
    room: Option<AsyncFd<UnixStream>>,
    input: Vec<u8>,
    written: usize,
}

impl<'a> Pump<'a> {
    pub(super) fn new(link: &'a Link, socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = watch(socket, Interest::READABLE)?;
        Ok(Self { link, socket, room: None, input: Vec::new(), written: 0 })
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        notice: &mut impl FnMut(Notice),
    ) -> Poll<Result<(), LinkIoError>> {
        if self.link.is_orphaned.get() {
            return Poll::Ready(self.read_last(notice));
        }
        while let Poll::Ready(n) = self.poll_read(cx)? {
            if n == 0 {
                return Poll::Ready(Ok(()));
            }
            self.take_frames(notice)?;
            notice(Notice::Progress);
        }
        if self.link.is_spent.take() {
            notice(Notice::Spent);
        }
        if self.link.is_retired.get() {
            self.link.stir.notify_one();
        }
        // What a pending write leaves, room in the socket or the next push brings back here.
        let _pending = self.poll_write(cx)?;
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { socket, input, .. } = self;
        if input.capacity() - input.len() < READ / 4 {
            input.reserve(READ);
        }
        loop {
            let mut ready = ready!(socket.poll_read_ready(cx))?;
            let room = input.capacity() - input.len();
            match rustix::net::recv(ready.get_inner(), spare_capacity(input), RecvFlags::DONTWAIT) {
                Ok((n, _)) => {
                    if n > 0 && n < room {
                        // A read that fills less than the room has emptied the socket.
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(Errno::WOULDBLOCK) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Reads what a worker that has ended has left in the socket, whether or not the runtime has been told of it.
    fn read_last(&mut self, notice: &mut impl FnMut(Notice)) -> Result<(), LinkIoError> {
        let mut left = LAST_MAX;
        loop {
            if self.input.capacity() - self.input.len() < READ / 4 {
                self.input.reserve(READ);
            }
            match rustix::net::recv(&self.socket, spare_capacity(&mut self.input), RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::WOULDBLOCK) => return Ok(()),
                Ok((n, _)) => {
                    self.take_frames(notice)?;
                    left = left.saturating_sub(n);
                    if left == 0 {
                        return Ok(());
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Handles the frames that are complete. Small payloads are copied out; from the first large one on, what was
    /// read is shared with those who keep it.
    fn take_frames(&mut self, notice: &mut impl FnMut(Notice)) -> Result<(), LinkError> {
        let mut at = 0;
        while let Some((header, payload)) = FrameHeader::split(&self.input[at..])? {
            match header.kind {
                Kind::Text | Kind::Binary => self.link.handle_message(header, payload)?,
                _ if header.len > COPY => return self.take_shared_frames(at, notice),
                _ => self.link.handle(header, Bytes::copy_from_slice(payload), notice)?,
            }
            at += HEADER_LEN + header.len;
        }
        self.input.drain(..at);
        self.reserve_frame()
    }

    fn take_shared_frames(
        &mut self,
        mut at: usize,
        notice: &mut impl FnMut(Notice),
    ) -> Result<(), LinkError> {
        let block = Bytes::from(std::mem::take(&mut self.input));
        while let Some((header, payload)) = FrameHeader::split(&block[at..])? {
            let payload =
                if header.len <= COPY { Bytes::copy_from_slice(payload) } else { block.slice_ref(payload) };
            self.link.handle(header, payload, notice)?;
            at += HEADER_LEN + header.len;
        }
        self.input.reserve(READ + block.len() - at);
        append(&mut self.input, &block[at..]);
        self.reserve_frame()
    }

    /// Makes room for the rest of the frame that has begun.
    fn reserve_frame(&mut self) -> Result<(), LinkError> {
        if let Some(header) = FrameHeader::parse(&self.input)? {
            self.input.reserve(HEADER_LEN + header.len - self.input.len());
        }
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { link, socket, room, written, .. } = self;
        let mut out = link.out.borrow_mut();
        while *written < out.len() {
            match rustix::net::send(&*socket, &out[*written..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => *written += n,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    out.drain(..*written);
                    *written = 0;
                    let room = if let Some(room) = room {
                        room
                    } else {
                        room.insert(watch(socket.get_ref().try_clone()?, Interest::WRITABLE)?)
                    };
                    ready!(room.poll_write_ready(cx))?.clear_ready();
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        *room = None;
        *written = 0;
        out.clear();
        out.shrink_to(KEEP);
        Poll::Ready(Ok(()))
    }
}

fn watch(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    #[expect(unsafe_code, reason = "readiness of a descriptor is where the OS begins")]
    // SAFETY: a UnixStream owns its descriptor and keeps the same one until it is dropped, which AsyncFd, its only
    // owner here, does after taking it out of the reactor.
    let watched = unsafe { AsyncFd::register_with_interest(socket, interest) };
    watched.map_err(io::Error::from)
}

/// Why a link ended before the worker closed it.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkIoError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] LinkError),
}
