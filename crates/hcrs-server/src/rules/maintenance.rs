//! Maintenance: while a file is there, requests get 503.
//!
//! Each thread looks for the file at most once a second, and reads it when it has changed. Both happen on the
//! thread, as the opening of files that are sent does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrs_files::content_type;
use rustix::fs::OFlags;

use crate::exchange::fault_response::{Page, PageResponse, page_of, with_page};
use crate::settings::Rules;

/// How long an answer to the question whether a file is there holds.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The most bytes of a file that are sent.
const PAGE_MAX: u64 = 1 << 20;

/// When clients should try again, in seconds.
const RETRY_AFTER: u32 = 60;

/// The files whose presence is watched. There are as many as the configuration names.
#[derive(Debug, Default)]
pub(super) struct MaintenanceFiles(RefCell<HashMap<PathBuf, Watched>>);

#[derive(Debug)]
struct Watched {
    checked: Instant,
    found: Option<Found>,
}

/// A file that is there.
#[derive(Debug)]
struct Found {
    stamp: Stamp,
    contents: Bytes,
}

/// The properties by which a changed file is noticed.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl MaintenanceFiles {
    /// Forgets what was found.
    pub(super) fn renew(&self) {
        self.0.borrow_mut().clear();
    }

    /// Returns the contents of the file if it is there, as it was at most a second ago.
    pub(super) fn page(&self, path: &Path, now: Instant) -> Option<Bytes> {
        let mut files = self.0.borrow_mut();
        if let Some(watched) = files.get_mut(path) {
            if now.saturating_duration_since(watched.checked) >= CHECK_INTERVAL {
                watched.checked = now;
                watched.found = find(path, watched.found.take());
            }
            return watched.contents();
        }
        let watched = Watched { checked: now, found: find(path, None) };
        files.entry(path.to_owned()).or_insert(watched).contents()
    }
}

impl Watched {
    fn contents(&self) -> Option<Bytes> {
        self.found.as_ref().map(|found| found.contents.clone())
    }
}

fn find(path: &Path, before: Option<Found>) -> Option<Found> {
    let metadata = std::fs::metadata(path).ok()?;
    let stamp = Stamp::of(&metadata);
    if let Some(before) = before.filter(|before| before.stamp == stamp) {
        return Some(before);
    }
    // A file that cannot be read, or is a directory or a pipe, is there all the same.
    let contents = if metadata.is_file() { read(path).unwrap_or_default() } else { Bytes::new() };
    Some(Found { stamp, contents })
}

fn read(path: &Path) -> std::io::Result<Bytes> {
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    let file: File = OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
    let mut contents = Vec::new();
    file.take(PAGE_MAX).read_to_end(&mut contents)?;
    Ok(contents.into())
}

/// Returns the response to a request during maintenance: the file's contents, or else the error page.
pub(super) fn response(rules: &Rules, path: &Path, contents: Bytes) -> PageResponse {
    let retry_after = ("retry-after", RETRY_AFTER.to_string());
    if contents.is_empty()
        && let Some(PageResponse { head, body }) = page_of(rules, 503)
    {
        let field = hcrs_http::Field { name: retry_after.0.as_bytes(), value: retry_after.1.as_bytes() };
        return PageResponse { head: head.with_field(field), body };
    }
    let page = Page { content_type: content_type(path), body: contents };
    with_page(503, &[retry_after], page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_file_is_noticed_within_a_second_and_read_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("down.html");
        let (files, start) = (MaintenanceFiles::default(), clock::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(files.page(&path, at(0)), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(files.page(&path, at(999)), None, "it was looked for");
        assert_eq!(files.page(&path, at(1000)), Some(Bytes::new()));
        std::fs::write(&path, "back soon").unwrap();
        assert_eq!(files.page(&path, at(2000)), Some(Bytes::from("back soon")));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(files.page(&path, at(2001)), Some(Bytes::from("back soon")));
        files.renew();
        assert_eq!(files.page(&path, at(2002)), None);
        std::fs::create_dir(&path).unwrap();
        assert_eq!(files.page(&path, at(3002)), Some(Bytes::new()), "a folder is there, too");
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
        assert_eq!(MaintenanceFiles::default().page(&path, clock::now()), Some(Bytes::new()));
    }

    #[test]
    fn an_empty_file_has_no_page() {
        let response = |contents| response(&Rules::default(), Path::new("down.html"), contents);
        let empty = response(Bytes::new());
        assert_eq!((empty.head.status(), empty.body.len()), (503, 0));
        let page = response(Bytes::from("<p>"));
        let kind = page.head.fields().first(b"content-type");
        assert_eq!(kind, Some(&b"text/html; charset=utf-8"[..]));
        assert_eq!(page.head.fields().first(b"retry-after"), Some(&b"60"[..]));
    }
}
