//! An open file, with the facts that a response states.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use hcrs_files::Validators;
use rustix::fs::FileType;

/// The thing that has a name below a folder.
#[derive(Debug)]
pub(crate) enum Found {
    /// A regular file.
    File(OpenedFile),
    /// A folder.
    Folder,
    /// Nothing, or nothing that may be sent.
    Nothing,
}

/// A file that may be sent.
#[derive(Debug)]
pub(crate) struct OpenedFile {
    /// The name below its folder.
    pub name: PathBuf,
    /// The length when it was opened; a response announces it.
    pub len: u64,
    /// The validators when it was opened.
    pub validators: Validators,
    file: File,
}

impl Found {
    /// Returns what an open descriptor is.
    pub(super) fn of(descriptor: OwnedFd, name: PathBuf) -> io::Result<Self> {
        let file = File::from(descriptor);
        let facts = file.metadata()?;
        let kind = FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&facts));
        Ok(match kind {
            FileType::RegularFile => {
                let len = facts.len();
                let written = facts.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                Self::File(OpenedFile { name, len, validators: Validators::new(len, written), file })
            }
            FileType::Directory => Self::Folder,
            _ => Self::Nothing,
        })
    }
}

impl OpenedFile {
    /// Returns another descriptor of the file.
    pub(super) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}
