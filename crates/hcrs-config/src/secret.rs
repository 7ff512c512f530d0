//! Settings whose values must not leak.

/// Setting that is never shown: the password of a key.
pub const SECRET: &str = "keyfile_password";
/// Setting that is never shown: the key of an account at an authority of certificates.
const ACCOUNT_KEY: &str = "acme_eab_hmac_key";
/// The same in its table.
const ACCOUNT_KEY_IN_TABLE: &str = "eab_hmac_key";

/// Settings that may hold a secret (handlers of Python's logging take passwords); their variables are
/// withheld from workers.
pub(crate) const SECRETS: [&str; 3] = [SECRET, ACCOUNT_KEY, "logconfig_dict"];

/// Placeholder for a secret in output.
pub(crate) const HIDDEN: &str = "(hidden)";

/// Whether the value of a key is never shown.
pub(crate) fn is_hidden(key: &str) -> bool {
    matches!(key, SECRET | ACCOUNT_KEY | ACCOUNT_KEY_IN_TABLE)
}
