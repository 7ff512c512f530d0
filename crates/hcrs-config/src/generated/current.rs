//! The comparison of generated files with those in the repository.

use std::fs;
use std::path::Path;

/// Asserts that a file of the repository has this content. With `HCRS_GENERATE` in the environment it is
/// written first.
#[track_caller]
pub(crate) fn assert_current(path: &str, content: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("HCRS_GENERATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == content, "{path} is stale; renew it with: make generate");
}
