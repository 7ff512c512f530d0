//! Names of environment variables.

/// Variables shared with other servers, and the settings that they set.
pub const SHARED_VARIABLES: &[(&str, &str)] = &[("WEB_CONCURRENCY", "workers"), ("PORT", "bind")];

/// Returns the name of the environment variable that sets a key.
pub(crate) fn variable(key: &str) -> String {
    format!("HCRS_{}", key.to_ascii_uppercase())
}
