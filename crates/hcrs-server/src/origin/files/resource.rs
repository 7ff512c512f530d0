//! A file as it can be sent: the original, and its siblings in other codings.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Instant;

use bytes::Bytes;
use hcrs_coding::{Accepted, Coding};
use hcrs_files::{Part, Validators, content_type, has_content_hash};
use hcrs_http::{RequestView, ResponseHead};

use super::folders::Root;
use super::head::HeadDraft;
use super::opened::{Found, OpenedFile};
use crate::exchange::BodyPiece;
use crate::exchange::file_body::{FileBody, SEND_MIN, read_at_once};
use crate::exchange::file_permits::{OpenFiles, SharedFile};

/// The `cache-control` of a file that never changes: a year is the most that caches honor.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// The codings of siblings and the ends of their names, from the one that is chosen first among equals: what is
/// compressed once may take its time, and then Brotli makes the least of text.
const SIBLINGS: [(Coding, &str); 3] =
    [(Coding::Brotli, ".br"), (Coding::Zstd, ".zst"), (Coding::Gzip, ".gz")];

/// How often a file that changes while it is read is read again.
const READS_MAX: usize = 3;

/// A file that can be sent.
#[derive(Debug)]
pub(super) struct Resource {
    /// The original, and after it the siblings.
    representations: Vec<Representation>,
    /// Its content type.
    pub content_type: Cow<'static, str>,
    /// Its `cache-control`.
    pub cache_control: Option<Cow<'static, str>>,
    /// Whether browsers are to store it.
    pub is_attachment: bool,
    /// The codings of the siblings. If there are any, the response depends on those that the client accepts.
    pub codings: Vec<Coding>,
    /// When it was opened.
    pub opened: Instant,
}

/// A file in one coding.
#[derive(Debug)]
pub(super) struct Representation {
    /// The coding; `None` for the original.
    pub coding: Option<Coding>,
    /// The length.
    pub len: u64,
    /// The validators.
    pub validators: Validators,
    /// The head of the response with the whole file.
    pub head: ResponseHead,
    content: Content,
}

/// The content of a file.
#[derive(Debug)]
enum Content {
    /// A small file's, in memory.
    Memory(Bytes),
    /// That of a file which is open as long as a response sends it.
    File(Weak<SharedFile>),
}

/// A file that can be sent now.
#[derive(Debug)]
pub(super) struct Opened {
    /// The file.
    pub resource: Rc<Resource>,
    /// Keeps it open until the response has it.
    _files: Vec<Rc<SharedFile>>,
}

impl Opened {
    /// Returns a file that was opened before, if it still can be sent.
    pub(super) fn again(resource: Rc<Resource>) -> Option<Self> {
        // Without room for files that are in memory: this is the hot path.
        let mut files = Vec::new();
        for representation in &resource.representations {
            if let Content::File(file) = &representation.content {
                files.push(file.upgrade()?);
            }
        }
        Some(Self { resource, _files: files })
    }

    /// Returns a file that has just been opened under this name, with its siblings.
    pub(super) fn new(
        file: OpenedFile,
        name: &Path,
        root: Root<'_>,
        open_files: &Rc<OpenFiles>,
        now: Instant,
    ) -> Result<Self, Unsendable> {
        let settings = root.settings;
        let read = |file, name: &Path| Read::of(file, || root.open(name), open_files);
        let original = read(file, name)?;
        let mut siblings = Vec::new();
        for (coding, suffix) in SIBLINGS.into_iter().filter(|_| settings.precompressed) {
            let name = with_suffix(name, suffix);
            match root.open(&name) {
                // No coding of any content is empty.
                Found::File(file) if file.facts.len() > 0 => match read(file, &name) {
                    Ok(sibling) => siblings.push((coding, sibling)),
                    Err(Unsendable::Gone) => {}
                    Err(Unsendable::TooManyFiles) => return Err(Unsendable::TooManyFiles),
                },
                _ => {}
            }
        }
        let mut resource = Resource {
            representations: Vec::with_capacity(1 + siblings.len()),
            content_type: match &settings.force_type {
                Some(forced) => Cow::Owned(forced.clone()),
                None => Cow::Borrowed(content_type(name)),
            },
            cache_control: if settings.hashed_immutable && has_content_hash(name) {
                Some(Cow::Borrowed(IMMUTABLE))
            } else {
                settings.cache_control.clone().map(Cow::Owned)
            },
            is_attachment: settings.attachment,
            codings: siblings.iter().map(|&(coding, _)| coding).collect(),
            opened: now,
        };
        let mut files = Vec::new();
        let siblings = siblings.into_iter().map(|(coding, read)| (Some(coding), read));
        for (coding, read) in std::iter::once((None, original)).chain(siblings) {
            let mut representation = Representation {
                coding,
                len: read.len,
                validators: match coding {
                    Some(coding) => read.validators.in_coding(coding.name()),
                    None => read.validators,
                },
                head: ResponseHead::new(200, []),
                content: read.content,
            };
            files.extend(read.file);
            let mut head = HeadDraft::new(200, None);
            head.whole_file(&resource, &representation);
            representation.head = head.finish();
            resource.representations.push(representation);
        }
        Ok(Self { resource: Rc::new(resource), _files: files })
    }
}

/// The reason why a file that was opened cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsendable {
    /// It has vanished.
    Gone,
    /// The thread holds as many files open as it may.
    TooManyFiles,
}

/// The content of a file that was read, or that is to be read by responses.
struct Read {
    len: u64,
    validators: Validators,
    content: Content,
    file: Option<Rc<SharedFile>>,
}

impl Read {
    /// Reads a file if it is small and its content is in memory. If it changes meanwhile it is opened again.
    fn of(
        mut file: OpenedFile,
        open: impl Fn() -> Found,
        open_files: &Rc<OpenFiles>,
    ) -> Result<Self, Unsendable> {
        for _ in 0..READS_MAX {
            let (len, validators) = (file.facts.len(), file.validators());
            if len >= SEND_MIN {
                break;
            }
            let Some(bytes) = read_at_once(&file.file, len as usize) else { break };
            let is_same = file
                .file
                .metadata()
                .is_ok_and(|facts| facts.len() == len && facts.modified().ok() == file.facts.modified().ok());
            if is_same {
                return Ok(Self { len, validators, content: Content::Memory(bytes), file: None });
            }
            match open() {
                Found::File(again) => file = again,
                Found::Folder(_) | Found::Nothing => return Err(Unsendable::Gone),
            }
        }
        let (len, validators) = (file.facts.len(), file.validators());
        let shared = open_files.share(file.file, &file.facts).ok_or(Unsendable::TooManyFiles)?;
        let content = Content::File(Rc::downgrade(&shared));
        Ok(Self { len, validators, content, file: Some(shared) })
    }
}

impl Resource {
    /// Returns the representation that the client likes best.
    pub(super) fn best(&self, view: &RequestView<'_>) -> &Representation {
        let (original, siblings) =
            self.representations.split_first().expect("invariant: the original is always there");
        if siblings.is_empty() {
            return original;
        }
        let mut accepted = Accepted::default();
        for (_, value) in view.fields().filter(|(name, _)| *name == b"accept-encoding") {
            accepted.note(value);
        }
        let best = accepted.prefer(&self.codings).coding;
        siblings.iter().find(|sibling| best.is_some() && sibling.coding == best).unwrap_or(original)
    }

    /// Returns the number of bytes that it holds in memory.
    pub(super) fn memory(&self) -> usize {
        let len = |representation: &Representation| match &representation.content {
            Content::Memory(bytes) => bytes.len(),
            Content::File(_) => 0,
        };
        self.representations.iter().map(len).sum()
    }
}

impl Representation {
    /// Returns a part of the content as a piece of a body; `None` if the part is empty.
    pub(super) fn piece(&self, Part { start, len }: Part) -> Option<BodyPiece> {
        if len == 0 {
            return None;
        }
        match &self.content {
            Content::Memory(bytes) => {
                Some(BodyPiece::bytes(bytes.slice(start as usize..(start + len) as usize)))
            }
            Content::File(file) => {
                let file = file.upgrade();
                debug_assert!(file.is_some(), "invariant: the caller holds the file");
                Some(BodyPiece::file(FileBody::of(file?, start, len)))
            }
        }
    }
}

fn with_suffix(name: &Path, suffix: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
