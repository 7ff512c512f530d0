//! Settings whose values must not leak.

/// Setting that is never shown.
pub const SECRET: &str = "keyfile_password";

/// Settings that may hold a secret (handlers of Python's logging take passwords); their variables are
/// withheld from workers.
pub(crate) const SECRETS: [&str; 2] = [SECRET, "logconfig_dict"];

/// Placeholder for a secret in output.
pub(crate) const HIDDEN: &str = "(hidden)";
