//! The names of files in the response fields `x-accel-redirect` and `x-sendfile`, by which an app leaves a file to the
//! server.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use hcrs_http::NormalPath;

/// Returns the path that a value of `x-accel-redirect` means: a path on this server, percent-encoded or not, whose
/// query is ignored. `None` for a value that is no path, and for one with `..`, which an app that takes a part of it
/// from its client does not mean.
pub fn accel_path(value: &[u8]) -> Option<NormalPath<'_>> {
    let path = value.split(|&byte| byte == b'?').next().unwrap_or_default();
    let has_dots = || {
        let (decoded, _) = hcrs_http::percent_decoded(path);
        decoded.split(|&byte| byte == b'/').any(|segment| segment == b"..")
    };
    (path.starts_with(b"/") && !has_dots()).then(|| NormalPath::new(path))
}

/// Returns the rest of a path of `x-sendfile` below a folder, with the slash before it. Both are absolute; the path is
/// taken as it is, without percent-decoding.
pub fn sendfile_rest<'a>(value: &'a [u8], folder: &Path) -> Option<&'a [u8]> {
    let path = Path::new(OsStr::from_bytes(value));
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(is_plain) {
        return None;
    }
    let rest = path.strip_prefix(folder).ok()?.as_os_str().as_bytes();
    let before = value.len().checked_sub(rest.len() + 1)?;
    (!rest.is_empty() && value.ends_with(rest) && value[before] == b'/').then(|| &value[before..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_a_path_in_either_spelling() {
        let path = |value: &'static str| {
            accel_path(value.as_bytes()).map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned())
        };
        for (value, expected) in [
            ("/protected/a.txt", Some("/protected/a.txt")),
            ("/protected/a%20b.txt?x=1", Some("/protected/a b.txt")),
            ("/protected/100%.txt", Some("/protected/100%.txt")),
            ("/protected/é.txt", Some("/protected/é.txt")),
            ("/protected//a%2fb", Some("/protected/a/b")),
            ("/protected/..a", Some("/protected/..a")),
            ("/protected/../other/a", None),
            ("/protected/%2e%2e/a", None),
            ("/protected/..%2fa", None),
            ("/protected/..", None),
            ("protected/a", None),
            ("@named", None),
            ("https://example.com/", None),
            ("", None),
        ] {
            assert_eq!(path(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_file_is_below_its_folder() {
        let rest = |value: &'static str, folder: &str| {
            sendfile_rest(value.as_bytes(), Path::new(folder)).map(|rest| std::str::from_utf8(rest).unwrap())
        };
        for (value, folder, expected) in [
            ("/srv/media/a/b.txt", "/srv/media", Some("/a/b.txt")),
            ("/srv/media/a%20b", "/srv/media/", Some("/a%20b")),
            ("/srv/media", "/srv/media", None),
            ("/srv/media/", "/srv/media", None),
            ("/srv/mediator/a", "/srv/media", None),
            ("/srv/media/../secret", "/srv/media", None),
            ("srv/media/a", "/srv/media", None),
            ("", "/", None),
            ("/a", "/", Some("/a")),
        ] {
            assert_eq!(rest(value, folder), expected, "{value}");
        }
    }
}
