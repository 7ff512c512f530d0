//! One direction of a link's socket: bytes, and descriptors between them, up to a capacity.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// Bytes in transit.
#[derive(Debug)]
pub(super) struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// The number of bytes that were read.
    read: u64,
    /// Descriptors, and the byte that each comes with.
    files: VecDeque<(u64, OwnedFd)>,
    /// Whether the writer has closed it.
    pub is_closed: bool,
    /// Whether the reader has closed it.
    pub is_deaf: bool,
}

impl Pipe {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            capacity,
            read: 0,
            files: VecDeque::new(),
            is_closed: false,
            is_deaf: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    /// Whether a read returns bytes or the end.
    pub(super) fn is_readable(&self) -> bool {
        !self.bytes.is_empty() || self.is_closed
    }

    /// Whether nothing more will be read.
    pub(super) fn is_at_end(&self) -> bool {
        self.bytes.is_empty() && self.is_closed
    }

    /// Writes as many bytes as fit, with a descriptor beside the first byte.
    pub(super) fn write(&mut self, bytes: &[u8], file: Option<OwnedFd>) -> usize {
        let len = bytes.len().min(self.room());
        if len > 0 {
            if let Some(file) = file {
                self.files.push_back((self.read + self.bytes.len() as u64, file));
            }
            self.bytes.extend(&bytes[..len]);
        }
        len
    }

    /// Reads up to the next byte that a descriptor comes with.
    pub(super) fn read(&mut self, into: &mut [u8], files: &mut VecDeque<OwnedFd>) -> usize {
        if self.files.front().is_some_and(|(at, _)| *at == self.read) && !into.is_empty() {
            files.extend(self.files.pop_front().map(|(_, file)| file));
        }
        let next = self.files.front().map_or(usize::MAX, |(at, _)| (at - self.read) as usize);
        let len = into.len().min(self.bytes.len()).min(next);
        let (first, second) = self.bytes.as_slices();
        let cut = len.min(first.len());
        into[..cut].copy_from_slice(&first[..cut]);
        into[cut..len].copy_from_slice(&second[..len - cut]);
        self.bytes.drain(..len);
        self.read += len as u64;
        len
    }
}
