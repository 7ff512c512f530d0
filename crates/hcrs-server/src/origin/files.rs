//! Answers requests by the files of a folder (`files` of a route).
//!
//! Names and conditions are judged by `hcrs-files`; here the files are opened. That happens on the edge thread: the
//! names of files in use are in memory. Their contents are read as those that apps name (`exchange/file_body.rs`).

mod folders;
mod opened;

use hcrs_files::{FileName, Part, Verdict, content_type, file_name, judge};
use hcrs_http::{NormalPath, RequestHead, RequestView, ResponseHead};

use crate::exchange::file_body::FileBody;
use crate::exchange::file_permits::OpenFiles;
use crate::exchange::{BodyPiece, PiecedResponse};
use crate::settings::{FilesSettings, MissingFile};

pub(crate) use folders::Folders;
use opened::{Found, OpenedFile};
use std::path::Path;
use std::rc::Rc;

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

/// The files that an edge thread holds open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handles<'a> {
    /// The folders.
    pub folders: &'a Folders,
    /// The files of responses.
    pub files: &'a Rc<OpenFiles>,
}

/// Answers a request. `rest` is the normal path behind the route's prefix.
pub(crate) fn answer(
    head: &RequestHead,
    rest: &[u8],
    settings: &FilesSettings,
    handles: Handles<'_>,
) -> Outcome {
    let view = head.view();
    if !matches!(view.method, b"GET" | b"HEAD") || head.is_websocket() {
        // A form or a WebSocket may be for the app.
        return match settings.missing {
            MissingFile::NextRoute => Outcome::NextRoute,
            _ => Outcome::Answered(refusal(405, &[(b"allow", b"GET, HEAD")])),
        };
    }
    let is_ambiguous = NormalPath::new(view.path).has_encoded_slash();
    let name = file_name(rest, settings.hidden).filter(|_| !is_ambiguous);
    match name.map_or(Found::Nothing, |name| find(name, settings, handles.folders)) {
        Found::File(file) => send(&view, &file, settings, handles),
        Found::Folder => Outcome::Answered(to_folder(&view)),
        Found::Nothing => match &settings.missing {
            MissingFile::NotFound => Outcome::Answered(refusal(404, &[])),
            MissingFile::NextRoute => Outcome::NextRoute,
            MissingFile::File(name) => match handles.folders.open(settings, Path::new(name)) {
                Found::File(file) => send(&view, &file, settings, handles),
                Found::Folder | Found::Nothing => Outcome::Answered(refusal(404, &[])),
            },
        },
    }
}

/// Looks for a file. A folder stands for the first of its index files; its name has to end in a slash, because relative
/// links in the file depend on it.
fn find(name: FileName<'_>, settings: &FilesSettings, folders: &Folders) -> Found {
    let index = |name: &Path| {
        let found = settings.index.iter().map(|index| folders.open(settings, &name.join(index)));
        found.into_iter().find(|found| matches!(found, Found::File(_))).unwrap_or(Found::Nothing)
    };
    if name.is_folder || name.path.as_os_str().is_empty() {
        return index(name.path);
    }
    match folders.open(settings, name.path) {
        Found::Folder if matches!(index(name.path), Found::Nothing) => Found::Nothing,
        found => found,
    }
}

/// Returns the response with a file, as far as the request's conditions and ranges ask for it.
fn send(
    view: &RequestView<'_>,
    file: &OpenedFile,
    settings: &FilesSettings,
    handles: Handles<'_>,
) -> Outcome {
    let is_get = view.method == b"GET";
    let len = file.len;
    let modified = file.validators.last_modified();
    let mut fields = Fields::default();
    fields.add("etag", &file.validators.etag);
    fields.add("last-modified", &modified);
    if let Some(value) = &settings.cache_control {
        fields.add("cache-control", value);
    }
    match judge(view.fields(), is_get, len, &file.validators) {
        Verdict::NotModified => Outcome::Answered(fields.respond(304, Vec::new())),
        Verdict::PreconditionFailed => Outcome::Answered(refusal(412, &[])),
        Verdict::NotSatisfiable => {
            let range = format!("bytes */{len}");
            Outcome::Answered(refusal(416, &[(b"content-range", range.as_bytes())]))
        }
        verdict => {
            fields.add("accept-ranges", "bytes");
            fields.add("x-content-type-options", "nosniff");
            let content_type = content_type(&file.name);
            let plan = plan(verdict, len, content_type, &mut fields);
            let Some(body) = body(plan.body, file, is_get, handles.files) else {
                return Outcome::TooManyFiles;
            };
            Outcome::Answered(fields.respond(plan.status, body))
        }
    }
}

/// The status and the body of a response with a file.
struct Plan {
    status: u16,
    body: Vec<Planned>,
}

/// A piece of a body that is to be made.
enum Planned {
    Text(String),
    Part(Part),
}

fn plan(verdict: Verdict, len: u64, content_type: &str, fields: &mut Fields) -> Plan {
    let Verdict::Parts(parts) = verdict else {
        fields.add("content-type", content_type);
        fields.add("content-length", &len.to_string());
        let whole = (len > 0).then_some(Planned::Part(Part { start: 0, len }));
        return Plan { status: 200, body: whole.into_iter().collect() };
    };
    if let [part] = parts[..] {
        fields.add("content-type", content_type);
        fields.add("content-length", &part.len.to_string());
        fields.add("content-range", &part.content_range(len));
        return Plan { status: 206, body: vec![Planned::Part(part)] };
    }
    let mut body = Vec::with_capacity(2 * parts.len() + 1);
    let mut length = 0;
    for (at, part) in parts.into_iter().enumerate() {
        let line = if at == 0 { "" } else { "\r\n" };
        let range = part.content_range(len);
        let head =
            format!("{line}--{BOUNDARY}\r\ncontent-type: {content_type}\r\ncontent-range: {range}\r\n\r\n");
        length += head.len() as u64 + part.len;
        body.extend([Planned::Text(head), Planned::Part(part)]);
    }
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    length += end.len() as u64;
    body.push(Planned::Text(end));
    fields.add("content-type", &format!("multipart/byteranges; boundary={BOUNDARY}"));
    fields.add("content-length", &length.to_string());
    Plan { status: 206, body }
}

/// Makes the pieces of a body; `None` if they need more open files than the thread may have.
fn body(
    planned: Vec<Planned>,
    file: &OpenedFile,
    is_get: bool,
    open_files: &Rc<OpenFiles>,
) -> Option<Vec<BodyPiece>> {
    if !is_get {
        return Some(Vec::new());
    }
    let piece = |planned| {
        Some(match planned {
            Planned::Text(text) => BodyPiece::bytes(text),
            Planned::Part(part) => {
                let counted = open_files.open_one_more()?;
                BodyPiece::file(FileBody::of(file.share().ok()?, part.start, part.len, counted))
            }
        })
    };
    planned.into_iter().map(piece).collect()
}

/// Returns the redirect to the name of a folder with a slash at its end. The location has the normal form of the path,
/// so that it never names another host.
fn to_folder(view: &RequestView<'_>) -> PiecedResponse {
    let mut location = Vec::new();
    for &byte in NormalPath::new(view.path).as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            location.push(byte);
        } else {
            location.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
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

/// The fields of a response.
#[derive(Debug, Default)]
struct Fields(Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.into(), value.into()));
    }

    fn respond(self, status: u16, body: Vec<BodyPiece>) -> PiecedResponse {
        let fields = self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        PiecedResponse { head: ResponseHead::new(status, fields), body }
    }
}
