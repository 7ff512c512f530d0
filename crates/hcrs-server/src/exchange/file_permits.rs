//! The limits of file descriptors that the responses of a connection, and of an edge thread, may hold open. A
//! request without a permit gets the bytes of files from its worker.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// The number of exchanges of one connection whose responses may have files at a time. Each may have as many
/// open as its window takes.
const CONNECTION_MAX: usize = 8;

/// The number of open files of an edge thread above which further requests get no permit.
const THREAD_MAX: usize = 1024;

/// The files that the responses of an edge thread hold open.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    count: Cell<usize>,
    /// Those that the edge has opened by itself.
    shared: RefCell<HashMap<Inode, Weak<SharedFile>>>,
}

/// The identity of a file while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Inode {
    device: u64,
    number: u64,
}

/// A file that the edge has opened by itself, with one descriptor for all responses that send it at a time.
#[derive(Debug)]
pub(crate) struct SharedFile {
    file: Arc<File>,
    inode: Inode,
    counted: OpenFile,
}

impl SharedFile {
    /// Returns the file.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        self.counted.of.shared.borrow_mut().remove(&self.inode);
    }
}

impl OpenFiles {
    /// Returns a file that the edge has just opened, or the descriptor with which responses send it already; `None` if
    /// the thread holds as many files as it may.
    pub(crate) fn share(self: &Rc<Self>, file: File, facts: &Metadata) -> Option<Rc<SharedFile>> {
        let inode = Inode { device: facts.dev(), number: facts.ino() };
        let held = self.shared.borrow().get(&inode).and_then(Weak::upgrade);
        if held.is_some() || self.count.get() >= THREAD_MAX {
            return held;
        }
        let shared = Rc::new(SharedFile { file: Arc::new(file), inode, counted: self.open() });
        self.shared.borrow_mut().insert(inode, Rc::downgrade(&shared));
        Some(shared)
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
        let opened = tempfile::tempfile().unwrap();
        let facts = opened.metadata().unwrap();
        assert!(thread.share(opened, &facts).is_none());
        drop(files);
        assert!(connection.take().is_some());
    }

    #[test]
    fn a_file_that_is_sent_already_takes_no_second_descriptor() {
        let thread = Rc::new(OpenFiles::default());
        let one = tempfile::NamedTempFile::new().unwrap();
        let share = |file: File| {
            let facts = file.metadata().unwrap();
            thread.share(file, &facts).unwrap()
        };
        let first = share(one.reopen().unwrap());
        let again = share(one.reopen().unwrap());
        assert!(Rc::ptr_eq(&first, &again));
        let other = share(tempfile::tempfile().unwrap());
        assert_eq!(thread.count.get(), 2);
        drop((first, other));
        assert_eq!(thread.count.get(), 1);
        drop(again);
        assert_eq!((thread.count.get(), thread.shared.borrow().len()), (0, 0));
    }
}
