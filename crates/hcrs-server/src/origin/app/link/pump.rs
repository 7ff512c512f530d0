//! The I/O of a link.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hcrs_link::{FromWorker, Inbox, LinkError};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Life, Link, LinkEvent, WorkerEvent};

/// The room for one read, in bytes.
const READ: usize = 128 << 10;

/// The most reads of one turn, so that a worker that sends without pause does not keep the thread from its
/// other tasks.
const READS_PER_TURN: usize = 16;

/// The most descriptors that may wait for their frames. A worker passes each with the first byte of its
/// frame.
const FILES_MAX: usize = 16;

/// The most bytes that are read after a worker's death. A socket holds less, so this only bounds what a child
/// of the worker may still write.
const LAST_MAX: usize = 16 << 20;

/// The outcome of a read.
#[derive(Debug, Clone, Copy)]
struct Read {
    /// The number of bytes; 0 if the worker's end is closed.
    len: usize,
    /// Whether the socket is empty now.
    has_emptied: bool,
}

/// Moves frames between a link and its socket.
pub(super) struct Pump<'a> {
    link: &'a Link,
    /// Watched for reading only: a unix socket becomes writable each time the other end reads, and each of
    /// those edges would wake the thread for nothing.
    socket: AsyncFd<UnixStream>,
    /// Watches for room to write, while there is none.
    room: Option<AsyncFd<UnixStream>>,
    inbox: Inbox,
    /// Descriptors whose frames have not arrived completely, in order.
    files: VecDeque<OwnedFd>,
}

impl<'a> Pump<'a> {
    pub(super) fn new(link: &'a Link, socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = watch(socket, Interest::READABLE)?;
        Ok(Self { link, socket, room: None, inbox: Inbox::new(READ), files: VecDeque::new() })
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        on_event: &mut impl FnMut(LinkEvent),
    ) -> Poll<Result<(), LinkIoError>> {
        if self.link.life.get() == Life::Orphaned {
            return Poll::Ready(self.read_last(now, on_event));
        }
        let mut reads = 0;
        while let Poll::Ready(n) = self.poll_read(cx)? {
            if n == 0 {
                return Poll::Ready(Ok(()));
            }
            self.take_frames(now, on_event)?;
            on_event(LinkEvent::Progress);
            reads += 1;
            if reads == READS_PER_TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.link.is_spent.take() {
            on_event(LinkEvent::Worker(WorkerEvent::Spent));
        }
        if self.link.is_retired() {
            self.link.changed.notify_one();
        }
        self.link.check_out()?;
        loop {
            let had_room = self.link.out.borrow().has_room();
            // If bytes are left after this write, room in the socket or the next push polls the pump again.
            let written = self.poll_write(cx)?;
            if had_room || !self.link.out.borrow().has_room() {
                return Poll::Pending;
            }
            self.link.feed_starved();
            on_event(LinkEvent::Progress);
            if written.is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            match read(ready.get_inner(), &mut self.inbox, &mut self.files) {
                Ok(Read { len, has_emptied }) => {
                    if has_emptied {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(len));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                // The worker has ended with unread frames in its socket.
                Err(Errno::CONNRESET) => return Poll::Ready(Ok(0)),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Reads what a worker that has ended has left in the socket, whether or not the runtime reports it
    /// readable.
    fn read_last(&mut self, now: Instant, on_event: &mut impl FnMut(LinkEvent)) -> Result<(), LinkIoError> {
        let mut left = LAST_MAX;
        while left > 0 {
            let len = match read(&self.socket, &mut self.inbox, &mut self.files) {
                Ok(Read { len: len @ 1.., .. }) => len,
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            self.take_frames(now, on_event)?;
            left = left.saturating_sub(len);
        }
        Ok(())
    }

    /// Handles the frames that are complete.
    fn take_frames(&mut self, now: Instant, on_event: &mut impl FnMut(LinkEvent)) -> Result<(), LinkError> {
        while let Some((header, payload)) = self.inbox.next_frame()? {
            let frame = FromWorker::parse(&header, payload)?;
            self.link.handle(&frame, &mut self.files, now, on_event)?;
        }
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { link, socket, room, .. } = self;
        let mut out = link.out.borrow_mut();
        while out.len() > 0 {
            let sent = rustix::net::send(&*socket, out.pending(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            match sent {
                Ok(n) => out.wrote(n),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    let room = if let Some(room) = room {
                        room
                    } else {
                        room.insert(watch(socket.get_ref().try_clone()?, Interest::WRITABLE)?)
                    };
                    ready!(room.poll_write_ready(cx))?.clear_ready();
                }
                // The worker's last frames may still be unread; the read finds them, and then the end.
                Err(Errno::PIPE) => {
                    out.clear();
                    break;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        *room = None;
        Poll::Ready(Ok(()))
    }
}

/// Reads once, with the descriptors that come with the bytes.
fn read(socket: impl AsFd, inbox: &mut Inbox, files: &mut VecDeque<OwnedFd>) -> Result<Read, Errno> {
    let room = inbox.room();
    let size = room.len();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let len = recvmsg(socket, &mut [IoSliceMut::new(room)], &mut control, flags)?.bytes;
    let mut has_files = false;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            files.extend(passed);
            has_files = true;
        }
    }
    if files.len() > FILES_MAX {
        return Err(Errno::TOOMANYREFS);
    }
    inbox.filled(len);
    // A read that fills less than the room has emptied the socket, unless it ended at a descriptor.
    Ok(Read { len, has_emptied: len > 0 && len < size && !has_files })
}

fn watch(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    #[expect(unsafe_code, reason = "readiness of a descriptor is where the OS begins")]
    // SAFETY: a UnixStream owns its descriptor and keeps the same one until it is dropped, which AsyncFd, its
    // only owner here, does after taking it out of the reactor.
    let watched = unsafe { AsyncFd::register_with_interest(socket, interest) };
    watched.map_err(io::Error::from)
}

/// The reason why a link ended before the worker closed it.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkIoError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] LinkError),
}
