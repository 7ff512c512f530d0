//! The page that lists a folder.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use hcrs_http::ResponseHead;
use rustix::fs::{Dir, FileType};

use super::folders::Root;
use super::opened::Found;
use crate::exchange::{BodyPiece, PiecedResponse};
use crate::origin::html::Html;

/// The most entries that are listed; the page says so if there are more.
const LISTED_MAX: usize = 1000;

/// The most entries that are read, hidden ones included.
const READ_MAX: usize = 10 * LISTED_MAX;

/// An entry of a folder.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Files are listed behind the folders.
    is_file: bool,
    name: Vec<u8>,
}

/// Returns the response that lists a folder, which is open and has this name below that of the route. `path` is the
/// normal form of the request's path.
pub(super) fn answer(folder: OwnedFd, name: &Path, root: Root<'_>, path: &[u8]) -> PiecedResponse {
    let (entries, is_cut) = read(folder, name, root);
    let body = page(path, entries, is_cut);
    let length = body.len().to_string();
    let fields: [(&[u8], &[u8]); 4] = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", length.as_bytes()),
        (b"content-security-policy", b"default-src 'none'"),
        (b"x-content-type-options", b"nosniff"),
    ];
    PiecedResponse { head: ResponseHead::new(200, fields), body: vec![BodyPiece::bytes(body)] }
}

/// Reads the entries that may be sent, and whether there are more.
fn read(folder: OwnedFd, name: &Path, root: Root<'_>) -> (Vec<Entry>, bool) {
    let mut entries = Vec::new();
    let Ok(folder) = Dir::new(folder) else { return (entries, false) };
    for (at, entry) in folder.enumerate() {
        if at >= READ_MAX || entries.len() >= LISTED_MAX {
            return (entries, true);
        }
        let Ok(entry) = entry else { return (entries, true) };
        let bytes = entry.file_name().to_bytes();
        if matches!(bytes, b"." | b"..") || bytes.starts_with(b".") && !root.settings.hidden {
            continue;
        }
        let is_file = match entry.file_type() {
            FileType::RegularFile => true,
            FileType::Directory => false,
            // Where a link leads decides whether it may be sent.
            FileType::Symlink | FileType::Unknown => match root.open(&name.join(OsStr::from_bytes(bytes))) {
                Found::File(_) => true,
                Found::Folder(_) => false,
                Found::Nothing => continue,
            },
            _ => continue,
        };
        entries.push(Entry { is_file, name: bytes.to_vec() });
    }
    (entries, false)
}

fn page(path: &[u8], mut entries: Vec<Entry>, is_cut: bool) -> String {
    entries.sort_unstable();
    let title = Html(&String::from_utf8_lossy(path)).to_string();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
    );
    if path != b"/" {
        page.push_str("<li><a href=\"../\">../</a>\n");
    }
    for Entry { is_file, name } in &entries {
        let slash = if *is_file { "" } else { "/" };
        let text = String::from_utf8_lossy(name);
        // With a dot before it no name is taken for a scheme.
        let reference = reference(name);
        let _never_fails = writeln!(page, "<li><a href=\"./{reference}{slash}\">{}{slash}</a>", Html(&text));
    }
    page.push_str("</ul>\n");
    if is_cut {
        page.push_str("<p>There are more entries, which are not listed.\n");
    }
    page
}

/// Returns a path or a name as a part of a URL: what may not stand there is percent-encoded.
pub(super) fn reference(path: &[u8]) -> String {
    let mut reference = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~!$()*+,;=:@".contains(&byte) {
            reference.push(char::from(byte));
        } else {
            let _never_fails = write!(reference, "%{byte:02X}");
        }
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], is_file: bool) -> Entry {
        Entry { is_file, name: name.into() }
    }

    #[test]
    fn names_are_sorted_folders_first_and_escaped_twice() {
        let entries = vec![
            entry(b"b.txt", true),
            entry(b"<script>alert('&')</script>", true),
            entry(b"z", false),
            entry(b"javascript:x", true),
            entry("100% \"é\".txt".as_bytes(), true),
            entry(b"\xff.txt", true),
        ];
        let page = page(b"/a&b/", entries, false);
        let found: Vec<_> = page.lines().filter(|line| line.starts_with("<li>")).collect();
        assert_eq!(
            found,
            [
                "<li><a href=\"../\">../</a>",
                "<li><a href=\"./z/\">z/</a>",
                "<li><a href=\"./100%25%20%22%C3%A9%22.txt\">100% &quot;é&quot;.txt</a>",
                "<li><a href=\"./%3Cscript%3Ealert(%27%26%27)%3C/script%3E\">\
                 &lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;</a>",
                "<li><a href=\"./b.txt\">b.txt</a>",
                "<li><a href=\"./javascript:x\">javascript:x</a>",
                "<li><a href=\"./%FF.txt\">\u{fffd}.txt</a>",
            ]
        );
        assert!(page.contains("<title>/a&amp;b/</title>") && !page.contains("There are more"));
    }

    #[test]
    fn the_root_has_no_parent_and_a_cut_listing_says_so() {
        let page = page(b"/", Vec::new(), true);
        assert!(!page.contains("../") && page.contains("There are more"));
    }
}
