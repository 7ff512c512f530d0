//! The origins of the answers to a route's requests, and their settings.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::settings::{AppIndex, LoadedFile, UpstreamSettings};

/// The origin of the answers to a route's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAction {
    /// An app.
    App(AppIndex),
    /// Files of a folder.
    Files(FilesSettings),
    /// A redirect.
    Redirect(RedirectSettings),
    /// Always the same response.
    Fixed(FixedResponse),
    /// Other HTTP servers.
    Upstream(Arc<UpstreamSettings>),
    /// The page of a server without an app.
    Welcome,
}

impl RouteAction {
    /// Whether only responses of the app name files of the route.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Files(files) if files.internal)
    }
}

impl fmt::Display for RouteAction {
    /// Describes the answer, for the operator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(_) => f.write_str("the app"),
            Self::Files(files) => write!(f, "files of {}", files.folder.display()),
            Self::Redirect(redirect) => write!(f, "status {}, to {}", redirect.status, redirect.location),
            Self::Fixed(fixed) => write!(f, "status {}", fixed.status),
            Self::Upstream(settings) => {
                f.write_str("upstream")?;
                settings.servers.iter().try_for_each(|server| write!(f, " {server}"))
            }
            Self::Welcome => f.write_str("the welcome page"),
        }
    }
}

/// Files of a folder. The path behind the route's prefix names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesSettings {
    /// The folder.
    pub folder: PathBuf,
    /// The names of the files that answer for a folder; the first that is there.
    pub index: Vec<String>,
    /// The answer to a request for a file that is not there.
    pub missing: MissingFile,
    /// The `cache-control` of responses with a file.
    pub cache_control: Option<String>,
    /// Whether names that begin with a dot are served.
    pub hidden: bool,
    /// Whether symbolic links may lead out of the folder.
    pub follow_links: bool,
    /// Whether a file beside it with the end `.br`, `.zst` or `.gz` is sent in its place to clients that take it.
    pub precompressed: bool,
    /// Whether files whose names have a hash of their content may be kept by caches forever.
    pub hashed_immutable: bool,
    /// Whether browsers are to store files and not to show them.
    pub attachment: bool,
    /// The content type of all files; `None` for that of their extensions.
    pub force_type: Option<String>,
    /// Whether a folder without an index file is listed.
    pub listing: bool,
    /// Whether only responses of the app name files, by `x-accel-redirect` or `x-sendfile`. No client's request takes
    /// the route.
    pub internal: bool,
}

impl FilesSettings {
    /// Returns the default settings for the files of a folder.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            index: vec!["index.html".to_owned()],
            missing: MissingFile::NotFound,
            cache_control: None,
            hidden: false,
            follow_links: false,
            precompressed: false,
            hashed_immutable: false,
            attachment: false,
            force_type: None,
            listing: false,
            internal: false,
        }
    }
}

/// The answer to a request for a file that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingFile {
    /// 404.
    NotFound,
    /// The routes behind this one decide.
    NextRoute,
    /// This file, relative to the folder, is sent.
    File(String),
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectSettings {
    /// The location, with `{host}`, `{path}` and `{query}` of the request, and `{rest}` for the part of the path that
    /// the route leaves open.
    pub location: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A response that is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body.
    pub body: FixedBody,
    /// The type of the body; `None` for that of the file's extension, and plain text.
    pub content_type: Option<String>,
}

/// The body of a response that is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FixedBody {
    /// This text.
    Text(String),
    /// The contents of this file.
    File(LoadedFile),
}
