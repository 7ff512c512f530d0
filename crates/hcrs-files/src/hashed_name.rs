//! Names that have a hash of their file's content, as build tools write them.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The least length of a hash: webpack, Parcel and Vite use 8 characters or more, Django 12.
const HASH_MIN: usize = 8;

/// Whether a file's name has a hash of its content, behind a dot or a hyphen, so that the file of this name never
/// changes: `app.3f2a9c1b04de.css`, `index-BXl3FXeF.js`.
///
/// A hash is at least 8 characters: hexadecimal digits in lower case, among them a letter and a digit (a date has no
/// letter); or, as the last 8 characters before the extension, letters and digits with an upper-case letter, a
/// lower-case letter and a digit.
pub fn has_content_hash(name: &Path) -> bool {
    let Some(name) = name.file_name().map(OsStrExt::as_bytes) else { return false };
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.') else { return false };
    let stem = &name[..dot];
    // The first part is the name itself.
    let mut parts = stem.split(|byte| matches!(byte, b'.' | b'-')).skip(1);
    parts.any(is_hexadecimal) || ends_in_mixed(stem)
}

fn is_hexadecimal(part: &[u8]) -> bool {
    part.len() >= HASH_MIN
        && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && part.iter().any(u8::is_ascii_digit)
        && part.iter().any(u8::is_ascii_alphabetic)
}

fn ends_in_mixed(stem: &[u8]) -> bool {
    let Some((before, hash)) = stem.len().checked_sub(HASH_MIN).map(|at| stem.split_at(at)) else {
        return false;
    };
    // The alphabet of base64url: a hash may have a hyphen within.
    matches!(before, [_, .., b'-' | b'.'])
        && hash.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && hash.iter().any(u8::is_ascii_digit)
        && hash.iter().any(u8::is_ascii_uppercase)
        && hash.iter().any(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_build_tools_are_found_and_dates_and_words_are_not() {
        for (name, expected) in [
            ("css/app.3f2a9c1b04de.css", true),
            ("main.8d3c4f5a.chunk.js", true),
            ("main.8d3c4f5a.js.map", true),
            ("index-BXl3FXeF.js", true),
            ("index-a_b-C1dE.js", true),
            ("logo.2b1c9e64f0a7d1e2b3c4.svg", true),
            ("app.css", false),
            ("jquery-3.7.1.min.js", false),
            ("report-20240101.pdf", false),
            ("report.20240101120000.csv", false),
            ("deadbeef.js", false),
            ("3f2a9c1b04de", false),
            ("app.3f2a9c1.css", false),
            ("a-facefeed.css", false),
            ("bootstrap-datetimepicker.js", false),
            ("jquery-ui.structure.css", false),
            (".3f2a9c1b04de", false),
            ("-BXl3FXeF.js", false),
            ("..", false),
            ("", false),
        ] {
            assert_eq!(has_content_hash(Path::new(name)), expected, "{name}");
        }
    }
}
