//! Rules of requests: of all, and as keys of a route of its own.

use crate::kind::ValueKind;
use crate::setting::Setting;
use crate::value::Mistake;

pub(super) const SETTINGS: &[Setting] = &[Setting::of_requests(
    "max_body_size",
    ValueKind::Size,
    |v, r| put(&mut r.max_body_size, v.size()),
    "Largest body of a request to the app, in bytes, or with K, M or G as \"10M\". A longer one is answered with 413: \
     at once if content-length names its length, and otherwise when it has grown beyond; the app sees its client \
     leave. Unset, no limit.",
)
.flag("--max-body-size", None, "SIZE")];

/// Stores a value that was read as that of a rule.
fn put<T>(rule: &mut Option<T>, read: Result<T, Mistake>) -> Result<(), Mistake> {
    *rule = Some(read?);
    Ok(())
}
