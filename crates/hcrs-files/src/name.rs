//! The name of a file below a folder.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The name of a file or a folder, relative to the folder that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileName<'a> {
    /// The path; empty for the folder itself.
    pub path: &'a Path,
    /// Whether the request's path ends in a slash, and so means a folder.
    pub is_folder: bool,
}

/// Returns the name that the rest of a normal path means, behind the prefix of a route. `None` if no file may have it:
/// names with a zero byte or a backslash, those that are longer than the system allows, and, unless `hidden`, names that
/// begin with a dot.
pub fn file_name(rest: &[u8], hidden: bool) -> Option<FileName<'_>> {
    /// The system's `PATH_MAX`, less its zero byte.
    const PATH_MAX: usize = 4095;
    let name = rest.strip_prefix(b"/").unwrap_or(rest);
    let is_hidden = |segment: &[u8]| segment.starts_with(b".");
    let is_bad = name.len() > PATH_MAX
        || name.iter().any(|byte| matches!(byte, 0 | b'\\'))
        || !hidden && name.split(|&byte| byte == b'/').any(is_hidden);
    let is_folder = rest.ends_with(b"/");
    let name = name.strip_suffix(b"/").unwrap_or(name);
    (!is_bad).then(|| FileName { path: Path::new(OsStr::from_bytes(name)), is_folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_and_odd_ones_are_no_files() {
        let name = |rest: &'static [u8]| {
            file_name(rest, false).map(|name| (name.path.to_str().unwrap().to_owned(), name.is_folder))
        };
        assert_eq!(name(b"/a/b.css"), Some(("a/b.css".into(), false)));
        assert_eq!(name(b"/a/"), Some(("a".into(), true)));
        assert_eq!(name(b"/"), Some((String::new(), true)));
        assert_eq!(name(b""), Some((String::new(), false)));
        for odd in [b"/a\0b".as_slice(), b"/a\\b", b"/.git/config", b"/a/.env", &[b'a'; 5000]] {
            assert_eq!(file_name(odd, false), None);
        }
        assert!(file_name(b"/.well-known/x", true).is_some());
    }
}
