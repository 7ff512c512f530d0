//! An open file, with the facts that a response states.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use hcrs_files::Validators;
use rustix::fs::FileType;

/// The thing that has a name below a folder.
#[derive(Debug)]
pub(crate) enum Found {
    /// A regular file.
    File(OpenedFile),
    /// A folder.
    Folder(OwnedFd),
    /// Nothing, or nothing that may be sent.
    Nothing,
}

/// A file that may be sent.
#[derive(Debug)]
pub(crate) struct OpenedFile {
    /// The file.
    pub file: File,
    /// Its facts when it was opened; a response announces their length.
    pub facts: Metadata,
}

impl Found {
    /// Returns what an open descriptor is.
    pub(super) fn of(descriptor: OwnedFd) -> io::Result<Self> {
        let file = File::from(descriptor);
        let facts = file.metadata()?;
        let kind = FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&facts));
        Ok(match kind {
            FileType::RegularFile => Self::File(OpenedFile { file, facts }),
            FileType::Directory => Self::Folder(file.into()),
            _ => Self::Nothing,
        })
    }
}

impl OpenedFile {
    /// Returns the validators of the file when it was opened.
    pub(super) fn validators(&self) -> Validators {
        Validators::new(self.facts.len(), self.facts.modified().unwrap_or(SystemTime::UNIX_EPOCH))
    }
}
