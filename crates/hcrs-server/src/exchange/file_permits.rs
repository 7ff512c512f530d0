//! The limits of file descriptors that the responses of a connection, and of an edge thread, may hold open. A
//! request without a permit gets the bytes of files from its worker.

use std::cell::Cell;
use std::rc::Rc;

/// The number of exchanges of one connection whose responses may have files at a time. Each may have as many
/// open as its window takes.
const CONNECTION_MAX: usize = 8;

/// The number of open files of an edge thread above which further requests get no permit.
const THREAD_MAX: usize = 1024;

/// The files that the responses of an edge thread hold open.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    count: Cell<usize>,
}

impl OpenFiles {
    /// Counts a file that the edge opens by itself; `None` if the thread holds as many as it may.
    pub(crate) fn open_one_more(self: &Rc<Self>) -> Option<OpenFile> {
        (self.count.get() < THREAD_MAX).then(|| self.open())
    }

    /// Counts a file as open until the returned value is dropped.
    fn open(self: &Rc<Self>) -> OpenFile {
        self.count.set(self.count.get() + 1);
        OpenFile { of: Rc::clone(self) }
    }
}

/// Counts an open file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    of: Rc<OpenFiles>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.of.count.set(self.of.count.get() - 1);
    }
}

/// The permits of a connection.
#[derive(Debug)]
pub(crate) struct FilePermits {
    left: Cell<usize>,
    thread: Rc<OpenFiles>,
}

impl FilePermits {
    /// Returns the permits of a connection on the thread.
    pub(crate) fn of_connection(thread: &Rc<OpenFiles>) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(CONNECTION_MAX), thread: Rc::clone(thread) })
    }

    /// Returns a permit, if the connection has one left and the thread holds few enough files.
    pub(crate) fn take(self: &Rc<Self>) -> Option<FilePermit> {
        if self.left.get() == 0 || self.thread.count.get() >= THREAD_MAX {
            return None;
        }
        self.left.set(self.left.get() - 1);
        Some(FilePermit { permits: Rc::clone(self) })
    }
}

/// Permission for one response to hold files open. Dropping it returns it.
#[derive(Debug)]
pub(crate) struct FilePermit {
    permits: Rc<FilePermits>,
}

impl FilePermit {
    /// Counts a file of the response.
    pub(crate) fn open(&self) -> OpenFile {
        self.permits.thread.open()
    }
}

impl Drop for FilePermit {
    fn drop(&mut self) {
        self.permits.left.set(self.permits.left.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_its_permits_and_the_thread_its_files() {
        let thread = Rc::new(OpenFiles::default());
        let connection = FilePermits::of_connection(&thread);
        let mut permits: Vec<_> = std::iter::from_fn(|| connection.take()).collect();
        assert_eq!(permits.len(), CONNECTION_MAX);
        let files: Vec<_> = (0..THREAD_MAX).map(|_| permits[0].open()).collect();
        permits.pop();
        assert!(connection.take().is_none() && FilePermits::of_connection(&thread).take().is_none());
        drop(files);
        assert!(connection.take().is_some());
    }
}
