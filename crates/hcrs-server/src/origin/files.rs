//! Answers requests by the files of a folder (`files` of a route).
//!
//! Names and conditions are judged by `hcrs-files`; here the files are opened. That happens on the edge thread: the
//! names of files in use are in memory. Small files are answered from memory while they are fresh (`recent.rs`);
//! others are read as those that apps name (`exchange/file_body.rs`).

mod folders;
mod head;
mod listing;
mod named_by_app;
mod opened;
mod recent;
mod resource;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use hcrs_files::{FileName, Part, Verdict, file_name, judge};
use hcrs_http::{NormalPath, RequestView, ResponseHead};

use crate::exchange::file_permits::OpenFiles;
use crate::exchange::{BodyPiece, PiecedResponse};
use crate::settings::{FilesSettings, MissingFile};

use folders::{Folders, Root};
use head::HeadDraft;
pub(crate) use named_by_app::NamedByApp;
use opened::Found;
use recent::Recent;
use resource::{Opened, Representation, Unsendable};

/// The boundary between the parts of a response with several ranges. It need not be unknown to the file: clients go by
/// the lengths in `content-range`.
const BOUNDARY: &str = "hcrs-part-4f1c9d2be8a7";

/// The outcome of a request for a file.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// This response.
    Answered(PiecedResponse),
    /// The routes behind this one decide.
    NextRoute,
    /// The thread holds as many files open as it may.
    TooManyFiles,
}

/// The folders and files that an edge thread holds open.
#[derive(Debug, Default)]
pub(crate) struct Files {
    folders: Folders,
    recent: Recent,
    /// The files of responses, also of those that workers have opened.
    pub open: Rc<OpenFiles>,
}

/// A request for a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileRequest<'a> {
    /// The request.
    pub view: &'a RequestView<'a>,
    /// Its path.
    pub path: &'a NormalPath<'a>,
    /// The part of the path behind the route's prefix.
    pub rest: &'a [u8],
}

/// A file or folder as it answers a request.
enum Looked {
    File(Opened),
    /// A folder that is to be listed, with its name.
    Listing(OwnedFd, PathBuf),
    /// A folder whose name lacks the slash at its end.
    Folder,
    Nothing,
    TooManyFiles,
}

impl Files {
    /// Forgets the files that were opened, because the settings have changed or nothing has been asked for lately.
    pub(crate) fn forget(&self) {
        self.recent.clear();
    }

    /// Answers a request.
    pub(crate) fn answer(
        &self,
        FileRequest { view, path, rest }: FileRequest<'_>,
        settings: &FilesSettings,
        now: Instant,
    ) -> Outcome {
        if !matches!(view.method, b"GET" | b"HEAD") || view.websocket {
            // A form or a WebSocket may be for the app.
            return match settings.missing {
                MissingFile::NextRoute => Outcome::NextRoute,
                _ => Outcome::Answered(refusal(405, &[(b"allow", b"GET, HEAD")])),
            };
        }
        let looked = if path.has_encoded_slash() { Looked::Nothing } else { self.look(rest, settings, now) };
        match looked {
            Looked::File(file) => Outcome::Answered(send(view, &file, None)),
            Looked::Folder => Outcome::Answered(to_folder(view)),
            Looked::Listing(folder, name) => {
                let mut response = listing::answer(folder, &name, self.root(settings), path.as_bytes());
                if view.method == b"HEAD" {
                    response.body.clear();
                }
                Outcome::Answered(response)
            }
            Looked::TooManyFiles => Outcome::TooManyFiles,
            Looked::Nothing => match &settings.missing {
                MissingFile::NotFound => Outcome::Answered(refusal(404, &[])),
                MissingFile::NextRoute => Outcome::NextRoute,
                MissingFile::File(name) => {
                    let looked = self.remembered(name.as_bytes(), settings, now);
                    match looked.unwrap_or_else(|| self.file(name.as_bytes(), Path::new(name), settings, now))
                    {
                        Looked::File(file) => Outcome::Answered(send(view, &file, None)),
                        Looked::TooManyFiles => Outcome::TooManyFiles,
                        _ => Outcome::Answered(refusal(404, &[])),
                    }
                }
            },
        }
    }

    fn remembered(&self, rest: &[u8], settings: &FilesSettings, now: Instant) -> Option<Looked> {
        let resource = self.recent.get(settings, rest, now)?;
        Opened::again(resource).map(Looked::File)
    }

    fn root<'a>(&'a self, settings: &'a FilesSettings) -> Root<'a> {
        Root { folders: &self.folders, settings }
    }

    /// Looks for what a path behind the route's prefix names.
    fn look(&self, rest: &[u8], settings: &FilesSettings, now: Instant) -> Looked {
        let Some(name) = file_name(rest, settings.hidden) else { return Looked::Nothing };
        if let Some(remembered) = self.remembered(rest, settings, now) {
            return remembered;
        }
        let FileName { path, is_folder } = name;
        if is_folder || path.as_os_str().is_empty() {
            return self.index(rest, path, settings, now);
        }
        match self.file(rest, path, settings, now) {
            // It is redirected only if there is something behind the redirect.
            Looked::Folder => match self.index(&[rest, b"/"].concat(), path, settings, now) {
                Looked::Nothing => Looked::Nothing,
                _ => Looked::Folder,
            },
            looked => looked,
        }
    }

    /// Looks for what answers for a folder: the first of its index files, or its listing. The folder's name has to end
    /// in a slash, because relative links depend on it.
    fn index(&self, rest: &[u8], folder: &Path, settings: &FilesSettings, now: Instant) -> Looked {
        for index in &settings.index {
            match self.file(rest, &folder.join(index), settings, now) {
                Looked::Nothing | Looked::Folder => {}
                looked => return looked,
            }
        }
        if !settings.listing {
            return Looked::Nothing;
        }
        match self.root(settings).open(folder) {
            Found::Folder(descriptor) => Looked::Listing(descriptor, folder.to_owned()),
            Found::File(_) | Found::Nothing => Looked::Nothing,
        }
    }

    /// Opens a file, which is then remembered as what `rest` names.
    fn file(&self, rest: &[u8], name: &Path, settings: &FilesSettings, now: Instant) -> Looked {
        let root = self.root(settings);
        let found = match root.open(name) {
            Found::File(file) => file,
            Found::Folder(_) => return Looked::Folder,
            Found::Nothing => return Looked::Nothing,
        };
        match Opened::new(found, name, root, &self.open, now) {
            Ok(opened) => {
                self.recent.put(settings, rest, &opened.resource, now);
                Looked::File(opened)
            }
            Err(Unsendable::Gone) => Looked::Nothing,
            Err(Unsendable::TooManyFiles) => Looked::TooManyFiles,
        }
    }
}

/// Returns the response with a file, as far as the request's conditions and ranges ask for it. If the app has named the
/// file, it has the fields of the app's head.
fn send(view: &RequestView<'_>, file: &Opened, of_app: Option<&ResponseHead>) -> PiecedResponse {
    let resource = &file.resource;
    let sent = resource.best(view);
    // A request that the app has answered with a file may have any method.
    let is_get = view.method != b"HEAD";
    let whole = Part { start: 0, len: sent.len };
    match judge(view.fields(), is_get, sent.len, &sent.validators) {
        Verdict::Whole => {
            let head = if of_app.is_none() {
                sent.head.clone()
            } else {
                let mut draft = HeadDraft::new(200, of_app);
                draft.whole_file(resource, sent);
                draft.finish()
            };
            let body = if is_get { sent.piece(whole).into_iter().collect() } else { Vec::new() };
            PiecedResponse { head, body }
        }
        Verdict::Parts(parts) => {
            let mut draft = HeadDraft::new(206, of_app);
            draft.file(resource, sent);
            let content_type = draft.content_type(resource);
            let body = match parts[..] {
                [part] => one_part(part, sent, content_type, &mut draft),
                _ => several_parts(parts, sent, content_type, &mut draft),
            };
            PiecedResponse { head: draft.finish(), body }
        }
        Verdict::NotModified => {
            let mut draft = HeadDraft::new(304, of_app);
            draft.cached_file(resource, sent);
            PiecedResponse { head: draft.finish(), body: Vec::new() }
        }
        Verdict::PreconditionFailed => refusal(412, &[]),
        Verdict::NotSatisfiable => {
            refusal(416, &[(b"content-range", format!("bytes */{}", sent.len).as_bytes())])
        }
    }
}

/// Adds the fields of a response with one part, and returns its body.
fn one_part(
    part: Part,
    sent: &Representation,
    content_type: &[u8],
    draft: &mut HeadDraft<'_>,
) -> Vec<BodyPiece> {
    draft.add_bytes("content-type", content_type);
    draft.add("content-length", &part.len.to_string());
    draft.add("content-range", &part.content_range(sent.len));
    sent.piece(part).into_iter().collect()
}

/// Adds the fields of a response with several parts, and returns its body.
fn several_parts(
    parts: Vec<Part>,
    sent: &Representation,
    content_type: &[u8],
    draft: &mut HeadDraft<'_>,
) -> Vec<BodyPiece> {
    let mut body = Vec::with_capacity(2 * parts.len() + 1);
    let mut length = 0;
    for (at, part) in parts.into_iter().enumerate() {
        let line = if at == 0 { "" } else { "\r\n" };
        let range = part.content_range(sent.len);
        let head = [
            format!("{line}--{BOUNDARY}\r\ncontent-type: ").as_bytes(),
            content_type,
            format!("\r\ncontent-range: {range}\r\n\r\n").as_bytes(),
        ]
        .concat();
        length += head.len() as u64 + part.len;
        body.push(BodyPiece::bytes(head));
        body.extend(sent.piece(part));
    }
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    length += end.len() as u64;
    body.push(BodyPiece::bytes(end));
    draft.add("content-type", &format!("multipart/byteranges; boundary={BOUNDARY}"));
    draft.add("content-length", &length.to_string());
    body
}

/// Returns the redirect to the name of a folder with a slash at its end. The location has the normal form of the path,
/// so that it never names another host.
fn to_folder(view: &RequestView<'_>) -> PiecedResponse {
    let mut location = listing::reference(NormalPath::new(view.path).as_bytes()).into_bytes();
    location.push(b'/');
    if !view.query.is_empty() {
        location.push(b'?');
        location.extend_from_slice(view.query);
    }
    refusal(301, &[(b"location", &location)])
}

/// Returns a response without a file.
fn refusal(status: u16, more: &[(&[u8], &[u8])]) -> PiecedResponse {
    let fields = more.iter().copied().chain([(b"content-length".as_slice(), b"0".as_slice())]);
    PiecedResponse { head: ResponseHead::new(status, fields), body: Vec::new() }
}
