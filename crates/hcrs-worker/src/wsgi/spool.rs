//! The storage of request bodies that arrive before their requests get threads. Its number of uploads, files
//! and bytes is limited. Large bodies are stored in unnamed files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{MemfdFlags, Mode, OFlags};

use crate::lock;

/// Bytes of an incomplete body that stay in memory; more are moved to a file. Half of the window, because a
/// client may use some of that for padding.
pub(crate) const MEMORY_MAX: usize = hcrs_link::REQUEST_WINDOW as usize / 2;

/// Uploads of a worker that are held at a time: with [`MEMORY_MAX`], 32 MiB of bodies in memory.
const UPLOADS_MAX: usize = 512;

/// Bodies of a worker in files: a quarter of the usual limit of a process's descriptors.
const FILES_MAX: usize = 256;

/// Bytes of a worker in files, unless a single body may be longer.
const BYTES_MAX: u64 = 1 << 30;

/// Bytes of a worker in files if there is no directory for them, so that the files are in memory.
const BYTES_MAX_WITHOUT_FOLDER: u64 = 64 << 20;

/// The storage of a worker.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: Option<PathBuf>,
    bytes_max: u64,
    held: Mutex<Held>,
}

/// The storage in use.
#[derive(Debug, Default)]
struct Held {
    uploads: usize,
    files: usize,
    bytes: u64,
}

/// The stored part of one request's body.
#[derive(Debug)]
pub(crate) struct Spooled {
    spool: Arc<Spool>,
    file: Option<File>,
    len: u64,
    /// Whether the body counts as an upload.
    is_upload: bool,
}

/// The reason for which a body cannot be stored.
#[derive(Debug)]
pub(crate) enum Cut {
    /// A limit of the worker is reached.
    Full,
    /// The file could not be created or written.
    Failed(io::Error),
}

impl Spool {
    /// Creates a storage with files in `folder`, or in memory if there is none, for bodies of at most
    /// `body_max` bytes.
    pub(crate) fn new(folder: Option<PathBuf>, body_max: usize) -> Arc<Self> {
        let bytes_max = if folder.is_some() { BYTES_MAX } else { BYTES_MAX_WITHOUT_FOLDER };
        Arc::new(Self { folder, bytes_max: bytes_max.max(body_max as u64), held: Mutex::default() })
    }

    /// Begins an upload. Returns `None` if there are too many.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Spooled> {
        let mut held = lock(&self.held);
        if held.uploads >= UPLOADS_MAX {
            return None;
        }
        held.uploads += 1;
        Some(Spooled { spool: self.clone(), file: None, len: 0, is_upload: true })
    }

    fn create(&self) -> Result<File, Cut> {
        {
            let mut held = lock(&self.held);
            if held.files >= FILES_MAX {
                return Err(Cut::Full);
            }
            held.files += 1;
        }
        unnamed(self.folder.as_deref()).map_err(|error| {
            lock(&self.held).files -= 1;
            self.failed(&error)
        })
    }

    fn reserve(&self, len: u64) -> Result<(), Cut> {
        let mut held = lock(&self.held);
        if held.bytes + len > self.bytes_max {
            return Err(Cut::Full);
        }
        held.bytes += len;
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Cut {
        let folder = self.folder.as_deref().unwrap_or(Path::new("memory"));
        let text = format!(
            "a request's body could not be stored in {}, and its client gets 507: {error}. Free some space \
             there, or set TMPDIR to another directory",
            folder.display()
        );
        Cut::Failed(io::Error::new(error.kind(), text))
    }
}

impl Spooled {
    /// Appends a piece of the body.
    pub(crate) fn store(&mut self, piece: &[u8]) -> Result<(), Cut> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.spool.create()?),
        };
        self.spool.reserve(piece.len() as u64)?;
        let at = self.len;
        self.len += piece.len() as u64;
        file.write_all_at(piece, at).map_err(|error| self.spool.failed(&error))
    }

    /// Returns the number of bytes stored.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads at most `max` bytes from `at` on; none at the end.
    pub(crate) fn read(&self, at: u64, max: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.len - at).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(max)];
        if let Some(file) = &self.file {
            file.read_exact_at(&mut piece, at)?;
        }
        Ok(piece)
    }

    /// Ends the upload, as the request has a thread.
    pub(crate) fn end_upload(&mut self) {
        if std::mem::take(&mut self.is_upload) {
            lock(&self.spool.held).uploads -= 1;
        }
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        self.end_upload();
        let mut held = lock(&self.spool.held);
        held.files -= usize::from(self.file.is_some());
        held.bytes -= self.len;
    }
}

/// Opens a new file without a name, which is deleted when it is closed.
fn unnamed(folder: Option<&Path>) -> io::Result<File> {
    let Some(folder) = folder else {
        return Ok(rustix::fs::memfd_create("hcrs-upload", MemfdFlags::CLOEXEC)?.into());
    };
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    match rustix::fs::open(folder, flags | OFlags::TMPFILE, mode) {
        Ok(file) => Ok(file.into()),
        // Not every file system and kernel supports O_TMPFILE.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            named_and_removed(folder)
        }
        Err(error) => Err(error.into()),
    }
}

fn named_and_removed(folder: &Path) -> io::Result<File> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    loop {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("hcrs-upload-{}-{serial}", std::process::id()));
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
        match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file.into());
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(spool: &Spool) -> (usize, usize, u64) {
        let held = lock(&spool.held);
        (held.uploads, held.files, held.bytes)
    }

    fn whole(spooled: &Spooled) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < spooled.len() {
            bytes.extend(spooled.read(bytes.len() as u64, 7).unwrap());
        }
        bytes
    }

    #[test]
    fn pieces_are_read_as_they_were_stored_and_leave_nothing() {
        let folder = std::env::temp_dir().join(format!("hcrs-spool-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        for place in [Some(folder.clone()), None] {
            let spool = Spool::new(place, 100);
            let mut spooled = spool.begin().unwrap();
            assert_eq!(spooled.read(0, 10).unwrap(), b"");
            spooled.store(b"some bytes ").unwrap();
            spooled.store(b"and more").unwrap();
            assert_eq!(whole(&spooled), b"some bytes and more");
            assert_eq!(held(&spool), (1, 1, 19));
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "the file has no name");
            spooled.end_upload();
            assert_eq!(held(&spool), (0, 1, 19));
            drop(spooled);
            assert_eq!(held(&spool), (0, 0, 0));
        }
        let file = named_and_removed(&folder).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn uploads_and_files_are_bounded_in_number() {
        let spool = Spool::new(None, 1);
        let mut all: Vec<_> = std::iter::from_fn(|| spool.begin()).collect();
        assert_eq!(all.len(), UPLOADS_MAX);
        for (number, spooled) in all.iter_mut().enumerate() {
            assert_eq!(spooled.store(b"x").is_ok(), number < FILES_MAX);
        }
        all.truncate(UPLOADS_MAX - 1);
        assert!(spool.begin().is_some());
        all.clear();
        assert_eq!(held(&spool), (0, 0, 0));
    }

    #[test]
    fn files_are_bounded_in_bytes_but_take_one_body_of_any_length() {
        let spool = Spool::new(None, 2 * BYTES_MAX_WITHOUT_FOLDER as usize);
        let (mut long, mut other) = (spool.begin().unwrap(), spool.begin().unwrap());
        let piece = vec![0; 1 << 20];
        for _ in 0..(2 * BYTES_MAX_WITHOUT_FOLDER) >> 20 {
            long.store(&piece).unwrap();
        }
        assert!(matches!(other.store(b"x"), Err(Cut::Full)));
        drop(long);
        other.store(b"x").unwrap();
    }

    #[test]
    fn a_missing_directory_is_named_in_the_error() {
        let spool = Spool::new(Some("/nowhere/at/all".into()), 1);
        let mut spooled = spool.begin().unwrap();
        let Err(Cut::Failed(error)) = spooled.store(b"x") else { panic!("it was stored") };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
        drop(spooled);
        assert_eq!(held(&spool), (0, 0, 0));
    }
}
