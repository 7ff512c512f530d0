//! A part of a file, whose descriptor a worker has passed or which the edge has opened, as the body of a
//! response. It is sent from the page cache where the socket can do that, and is otherwise read here, piece by
//! piece as the client takes it.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hcrs_link::FilePart;
use rustix::fs::FileType;
use rustix::io::{Errno, ReadWriteFlags};

use crate::exchange::file_permits::{OpenFile, SharedFile};
use crate::exchange::piece::{PIECE, Room};
use crate::exchange::send_file::SendFile;

/// The length below which a part is read instead, so that it leaves in one write with the head.
pub(crate) const SEND_MIN: u64 = 32 << 10;

/// The most bytes that are sent at once.
const SEND_MAX: u64 = 256 << 10;

/// The distance between the bytes, besides the last one, that are looked up in the page cache before a piece
/// is sent. The kernel reads ahead at least that far, so a gap is rare, and costs one wait for the disk.
const PROBE_STEP: usize = 64 << 10;

/// The filesystem type whose files are memory, so that reading them never waits.
const TMPFS: u32 = 0x0102_1994;

/// The unsent rest of a file's part.
#[derive(Debug)]
pub(crate) struct FileBody {
    /// The file; `None` if the descriptor is no regular file.
    file: Option<Arc<File>>,
    offset: u64,
    left: u64,
    waits: Waits,
    /// Whether the next bytes were not in the page cache: they are read before anything else is sent.
    must_read: bool,
    reading: Reading,
    counted: Counted,
}

/// How the open file is counted.
#[derive(Debug)]
enum Counted {
    /// Not at all.
    No,
    /// By itself.
    Alone { _counted: OpenFile },
    /// With the other responses that send it.
    Shared { _file: Rc<SharedFile> },
}

/// Whether reading may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The kernel reports it for each read.
    Reported,
    /// No read waits.
    Never,
    /// Unknown; treated as if each read waited.
    Unknown,
}

#[derive(Debug)]
enum Reading {
    No,
    /// The next piece is being read on a thread that may wait.
    Away,
    Back(io::Result<Bytes>),
}

/// The outcome of [`FileBody::poll_send`].
#[derive(Debug)]
pub(crate) enum Sent {
    /// This number of bytes was sent.
    Bytes(usize),
    /// The next bytes have to be read with [`FileBody::next`].
    Read,
    /// The file has become shorter.
    Failed,
}

/// The next piece of a file.
#[derive(Debug)]
pub(crate) enum Next {
    /// These bytes.
    Piece(Bytes),
    /// A read for a piece is already running.
    Wait,
    /// The bytes have to be read by this, on a thread that may wait.
    Read(Read),
    /// The file cannot be read, or has become shorter.
    Failed,
}

impl FileBody {
    /// Returns the part of the file whose descriptor a worker has passed.
    pub(crate) fn new(descriptor: OwnedFd, part: FilePart) -> Self {
        let file = regular_file(descriptor)
            .inspect_err(|error| tracing::warn!("A worker has passed a file that cannot be sent: {error}"));
        Self {
            file: file.ok().map(Arc::new),
            offset: part.offset,
            left: part.len,
            waits: Waits::Reported,
            must_read: false,
            reading: Reading::No,
            counted: Counted::No,
        }
    }

    /// Returns a part of a regular file that the edge has opened.
    pub(crate) fn of(file: Rc<SharedFile>, offset: u64, len: u64) -> Self {
        Self {
            file: Some(Arc::clone(file.file())),
            offset,
            left: len,
            waits: Waits::Reported,
            must_read: false,
            reading: Reading::No,
            counted: Counted::Shared { _file: file },
        }
    }

    /// Counts the file as open until it is dropped.
    pub(crate) fn count_as(&mut self, counted: OpenFile) {
        self.counted = Counted::Alone { _counted: counted };
    }

    /// Returns the number of bytes that are still to be read.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Whether a read for [`FileBody::next`] is running.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.reading, Reading::Away)
    }

    /// Whether [`FileBody::poll_send`] is worth a call.
    pub(crate) fn may_be_sent(&self) -> bool {
        self.file.is_some()
            && self.left >= SEND_MIN
            && self.waits != Waits::Unknown
            && !self.must_read
            && matches!(self.reading, Reading::No)
    }

    /// Sends the next bytes, at most `max`, if that does not wait for the disk.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut impl SendFile,
        max: usize,
    ) -> Poll<io::Result<Sent>> {
        let Some(file) = self.file.as_ref().filter(|_| !self.must_read) else {
            return Poll::Ready(Ok(Sent::Read));
        };
        let len = self.left.min(SEND_MAX).min(max as u64) as usize;
        loop {
            ready!(to.poll_room(cx))?;
            // Checked each time: pages may have been evicted while the socket was full.
            if self.waits == Waits::Reported && !is_cached(file, self.offset, len) {
                self.must_read = true;
                return Poll::Ready(Ok(Sent::Read));
            }
            match to.try_send_file(file, self.offset, len) {
                Ok(0) => {
                    tracing::warn!("The file of a response ended {} bytes early", self.left);
                    return Poll::Ready(Ok(Sent::Failed));
                }
                Ok(sent) => {
                    self.offset += sent as u64;
                    self.left -= sent as u64;
                    return Poll::Ready(Ok(Sent::Bytes(sent)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => match Errno::from_io_error(&error) {
                    // The filesystem does not support it, or a read will report the error.
                    Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::IO) => {
                        self.must_read = true;
                        return Poll::Ready(Ok(Sent::Read));
                    }
                    _ => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    /// Returns the next piece, if it can be had without waiting for the disk.
    pub(crate) fn next(&mut self) -> Next {
        let Some(file) = &self.file else { return Next::Failed };
        let outcome = match std::mem::replace(&mut self.reading, Reading::No) {
            Reading::Away => {
                self.reading = Reading::Away;
                return Next::Wait;
            }
            Reading::Back(outcome) => outcome,
            Reading::No => {
                let len = self.left.min(PIECE as u64) as usize;
                let at_once = match self.waits {
                    Waits::Reported => read_cached(file, self.offset, len, ReadWriteFlags::NOWAIT),
                    Waits::Never => read_cached(file, self.offset, len, ReadWriteFlags::empty()),
                    Waits::Unknown => Ok(None),
                };
                match at_once {
                    Ok(Some(piece)) => Ok(piece),
                    Ok(None) => {
                        self.reading = Reading::Away;
                        let room = Room::new(len);
                        return Next::Read(Read { file: Arc::clone(file), offset: self.offset, room });
                    }
                    Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                        self.waits = match self.waits {
                            Waits::Reported if is_memory(file) => Waits::Never,
                            _ => Waits::Unknown,
                        };
                        return self.next();
                    }
                    Err(error) => Err(error.into()),
                }
            }
        };
        match outcome {
            Ok(piece) if piece.is_empty() => {
                tracing::warn!("The file of a response ended {} bytes early", self.left);
                Next::Failed
            }
            Ok(piece) => {
                self.offset += piece.len() as u64;
                self.left -= piece.len() as u64;
                self.must_read = false;
                Next::Piece(piece)
            }
            Err(error) => {
                tracing::warn!("Cannot read the file of a response: {error}");
                Next::Failed
            }
        }
    }

    /// Stores the outcome of the read that [`Next::Read`] asked for.
    pub(crate) fn finish_read(&mut self, outcome: io::Result<Bytes>) {
        self.reading = Reading::Back(outcome);
    }
}

/// A read that may wait for the disk.
#[derive(Debug)]
pub(crate) struct Read {
    file: Arc<File>,
    offset: u64,
    room: Room,
}

impl Read {
    /// Reads; an empty piece means that the file has ended.
    pub(crate) fn run(mut self) -> io::Result<Bytes> {
        loop {
            match self.file.read_at(self.room.as_mut_slice(), self.offset) {
                Ok(len) => return Ok(self.room.fill(len)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns the whole contents of a file of `len` bytes; `None` if they cannot be had at once, or are fewer.
pub(crate) fn read_at_once(file: &File, len: usize) -> Option<Bytes> {
    let mut bytes = vec![0; len];
    let mut read = |flags| rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut bytes)], 0, flags);
    let outcome = match read(ReadWriteFlags::NOWAIT) {
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) if is_memory(file) => {
            read(ReadWriteFlags::empty())
        }
        outcome => outcome,
    };
    (outcome == Ok(len)).then(|| bytes.into())
}

/// Returns the file of a descriptor; an error unless it is a regular file, because reading others may wait
/// for something other than a disk.
fn regular_file(descriptor: OwnedFd) -> io::Result<File> {
    if FileType::from_raw_mode(rustix::fs::fstat(&descriptor)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(descriptor.into())
}

/// Whether the file's filesystem is in memory.
fn is_memory(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|system| u32::try_from(system.f_type) == Ok(TMPFS))
}

/// Whether the page cache holds a part of a file, as far as a sample of its bytes shows. Bytes behind the
/// file's end count as held, because a read returns the end at once.
fn is_cached(file: &File, offset: u64, len: usize) -> bool {
    let is_there = |at: usize| {
        let mut byte = [0];
        let slices = &mut [IoSliceMut::new(&mut byte)];
        rustix::io::preadv2(file, slices, offset + at as u64, ReadWriteFlags::NOWAIT).is_ok()
    };
    (0..len).step_by(PROBE_STEP).chain(len.checked_sub(1)).all(is_there)
}

/// Returns the bytes of a file that can be had at once; `None` if there are none.
fn read_cached(file: &File, offset: u64, len: usize, flags: ReadWriteFlags) -> Result<Option<Bytes>, Errno> {
    let mut room = Room::new(len);
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(room.as_mut_slice())], offset, flags) {
        Ok(len) => Ok(Some(room.fill(len))),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    fn body(file: &File, offset: u64, len: u64) -> FileBody {
        FileBody::new(file.try_clone().unwrap().into(), FilePart { offset, len })
    }

    /// Returns an unnamed file that holds `bytes`.
    fn file_of(bytes: &[u8]) -> File {
        let memory = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(memory);
        file.write_all(bytes).unwrap();
        file
    }

    /// Reads to the end, or to a failure.
    fn drain(body: &mut FileBody) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        while body.left() > 0 {
            match body.next() {
                Next::Piece(piece) => {
                    assert!(piece.len() <= PIECE);
                    bytes.extend_from_slice(&piece);
                }
                Next::Read(read) => {
                    assert!(body.is_away() && matches!(body.next(), Next::Wait));
                    body.finish_read(read.run());
                }
                Next::Wait => panic!("nothing is away"),
                Next::Failed => return (bytes, false),
            }
        }
        (bytes, true)
    }

    #[test]
    fn a_part_is_read_in_pieces_whether_the_kernel_reports_waits_or_not() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let file = file_of(&bytes);
        for waits in [Waits::Reported, Waits::Never, Waits::Unknown] {
            let mut body = body(&file, 1000, 150_000);
            body.waits = waits;
            let (read, whole) = drain(&mut body);
            assert!(whole && read == bytes[1000..151_000]);
        }
    }

    #[test]
    fn the_place_of_the_descriptor_is_left_alone_and_its_end_does_not_matter() {
        let mut file = file_of(b"0123456789");
        file.rewind().unwrap();
        let mut body = body(&file, 2, 5);
        assert_eq!(file.stream_position().unwrap(), 0);
        drop(file);
        assert_eq!(drain(&mut body), (b"23456".to_vec(), true));
    }

    /// A writer that accepts everything.
    struct Taking;

    impl SendFile for Taking {
        fn try_send_file(&mut self, _: &File, _: u64, len: usize) -> io::Result<usize> {
            Ok(len)
        }
    }

    #[test]
    fn what_the_page_cache_does_not_hold_is_read_before_anything_is_sent() {
        // Beside the tests, because a temporary folder may be in memory.
        let folder = std::env::current_exe().unwrap();
        let mut file = tempfile::tempfile_in(folder.parent().unwrap()).unwrap();
        file.write_all(&vec![7; 512 << 10]).unwrap();
        let mut body = body(&file, 0, 512 << 10);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(matches!(body.poll_send(cx, &mut Taking, 1000), Poll::Ready(Ok(Sent::Bytes(1000)))));
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(body.may_be_sent());
        assert!(matches!(body.poll_send(cx, &mut Taking, usize::MAX), Poll::Ready(Ok(Sent::Read))));
        assert!(!body.may_be_sent());
        let read = match body.next() {
            Next::Read(read) => read,
            other => panic!("the cache holds it: {other:?}"),
        };
        body.finish_read(read.run());
        assert!(matches!(body.next(), Next::Piece(piece) if piece.len() == PIECE));
        assert!(body.may_be_sent());
    }

    #[test]
    fn a_file_that_is_memory_is_never_waited_for() {
        let file = file_of(&vec![7; 200_000]);
        let mut body = body(&file, 0, 200_000);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        // A filesystem that does not report waits is recognized by the first attempt.
        while let Poll::Ready(Ok(Sent::Read)) = body.poll_send(cx, &mut Taking, 1000) {
            assert!(matches!(body.next(), Next::Piece(_)));
        }
        assert!(body.may_be_sent() && body.waits != Waits::Unknown);
    }

    #[test]
    fn a_file_that_has_shrunk_fails() {
        let file = file_of(&[7; 100]);
        let mut body = body(&file, 0, 100);
        file.set_len(60).unwrap();
        assert_eq!(drain(&mut body), (vec![7; 60], false));
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let (near, _far) = io::pipe().unwrap();
        let mut body = FileBody::new(near.into(), FilePart { offset: 0, len: 1 });
        assert!(matches!(body.next(), Next::Failed));
    }
}
