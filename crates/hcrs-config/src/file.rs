//! Reads configuration files, up to a limit.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::error::ConfigError;

/// Largest configuration, in bytes. A real one is a few kilobytes; more is a mistaken path, such as an
/// endless device.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a file of at most 1 MiB as UTF-8. The error names the file.
pub fn read_file(path: &Path) -> Result<String, ConfigError> {
    let invalid = |problem: String| ConfigError::Invalid(vec![format!("{}: {problem}", path.display())]);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| invalid(format!("cannot read the configuration: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid(format!(
            "the file is larger than {MAX_FILE_BYTES} bytes, the limit of a configuration; check the path"
        )));
    }
    String::from_utf8(bytes)
        .map_err(|_| invalid("the file is not UTF-8 text; save the configuration as UTF-8".into()))
}
