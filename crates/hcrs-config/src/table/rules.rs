//! Rules of requests: of all, and as keys of a route of its own.

use hcrs_coding::{Coding, MalformedType, TypePattern};

use crate::kind::ValueKind;
use crate::setting::Setting;
use crate::value::{GivenValue, Mistake, Place};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::of_requests(
    "max_body_size",
    ValueKind::Size,
    |v, r| put(&mut r.max_body_size, v.size()),
    "Largest body of a request to the app, in bytes, or with K, M or G as \"10M\". A longer one is answered with 413: \
     at once if content-length names its length, and otherwise when it has grown beyond; the app sees its client \
     leave. Unset, no limit.",
)
.flag("--max-body-size", None, "SIZE"),
    Setting::of_requests(
        "compress",
        ValueKind::BooleanOrWords(&["zstd", "br", "gzip"]),
        |v, r| put(&mut r.compression.codings, codings(v)),
        "Whether responses are compressed for clients that accept it: true for zstd, br and gzip, or those that are \
         meant. The client's weights decide; among equals the first. Unset, they are sent as they are.",
    )
    .flag("--compress", None, ""),
    Setting::of_requests(
        "compress_types",
        ValueKind::Texts,
        |v, r| put(&mut r.compression.types, types(v)),
        "Content types of the responses that are compressed, as text/html, text/* or application/*+json. Unset, text, \
         JSON, JavaScript, XML, SVG, WebAssembly and fonts that are not compressed already.",
    ),
    Setting::of_requests(
        "compress_min_size",
        ValueKind::Size,
        |v, r| put(&mut r.compression.min_size, v.size()),
        "Length in bytes, or with K or M as \"4K\", below which a response is not compressed. One of unknown length \
         is. Unset, 1K.",
    ),
    Setting::of_requests(
        "compress_secrets",
        ValueKind::Boolean,
        |v, r| put(&mut r.compression.secrets, v.boolean()),
        "Whether responses with set-cookie, and those to requests with authorization, are compressed as well. Their \
         length may then reveal secrets in them to an attacker whose own text is in the same body (BREACH).",
    ),
];

/// Reads the codings.
fn codings(given: &GivenValue<'_>) -> Result<Vec<Coding>, Mistake> {
    if let Ok(is_on) = given.boolean() {
        return Ok(if is_on { Coding::ALL.to_vec() } else { Vec::new() });
    }
    let expected = || given.expected("true, false, or an array of zstd, br and gzip");
    let mut codings = Vec::new();
    for (name, _) in given.texts().map_err(|_| expected())? {
        let coding = Coding::ALL.into_iter().find(|coding| coding.name() == name).ok_or_else(expected)?;
        if !codings.contains(&coding) {
            codings.push(coding);
        }
    }
    Ok(codings)
}

/// Reads patterns of content types.
fn types(given: &GivenValue<'_>) -> Result<Vec<TypePattern>, Mistake> {
    let pattern = |(text, place): (&str, &Place)| {
        let malformed = |error: MalformedType| Mistake {
            place: place.clone(),
            message: format!("{error}, found {text:?}"),
        };
        text.parse().map_err(malformed)
    };
    given.texts()?.into_iter().map(pattern).collect()
}

/// Stores a value that was read as that of a rule.
fn put<T>(rule: &mut Option<T>, read: Result<T, Mistake>) -> Result<(), Mistake> {
    *rule = Some(read?);
    Ok(())
}
