//! Rules of requests: of all, and as keys of a route of its own.

use hcrs_coding::{Coding, MalformedType, TypePattern};
use hcrs_forwarded::Network;
use hcrs_rules::{ErrorPages, FieldChange, Rate, StatusPattern, is_realm};
use hcrs_server::{FixedBody, LoadedFile, PasswordSource, RateBy, Rules, StrictTransport};

use crate::kind::{FROM_ZERO, ValueKind};
use crate::setting::Setting;
use crate::value::{Datum, GivenValue, Mistake, Place};

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
        "allow",
        ValueKind::TextOrTexts,
        |v, r| put(&mut r.allow, networks(v)),
        "Addresses and networks, as 10.0.0.0/8, of the clients that are served. Others get 403, and so do clients \
         without an address, as those of a unix socket whose proxy is not trusted.",
    ),
    Setting::of_requests(
        "deny",
        ValueKind::TextOrTexts,
        |v, r| put(&mut r.deny, networks(v)),
        "Addresses and networks of clients that get 403, even if allow has them.",
    ),
    Setting::of_requests(
        "rate",
        ValueKind::Text,
        |v, r| put(&mut r.rate, rate(v)),
        "Requests that a client may make in a second, minute or hour: \"10/s\", \"100/m\" or \"1000/h\". One above it \
         gets 429 with retry-after. A route that sets it counts its own requests; all others are counted together.",
    ),
    Setting::of_requests(
        "rate_burst",
        ValueKind::Whole(1, u32::MAX as i64),
        rate_burst,
        "Requests of a client that may come at once after a pause. By default the number in rate.",
    ),
    Setting::of_requests(
        "rate_by",
        ValueKind::Text,
        |v, r| put(&mut r.rate_by, rate_by(v)),
        "Property that tells clients apart for rate: \"address\" (of an IPv6 address its first 64 bits), or the name of \
         a request field, as x-api-key; requests without the field are told apart by address. By default address.",
    ),
    Setting::of_requests(
        "auth",
        ValueKind::Path,
        |v, r| put(&mut r.auth, v.path().map(PasswordSource::new)),
        "File of users and hashed passwords, as htpasswd -B writes it: bcrypt, argon2 or SHA-crypt. Requests need the \
         name and password of one (HTTP Basic), and get 401 without. It is read at a start and at SIGHUP.",
    ),
    Setting::of_requests(
        "auth_realm",
        ValueKind::Text,
        |v, r| put(&mut r.auth_realm, realm(v)),
        "Text that browsers may show when they ask for a name and a password. By default restricted.",
    ),
    Setting::of_requests(
        "set_headers",
        ValueKind::Pairs,
        |v, r| change_fields(v, FieldChange::Set, r),
        "Fields that all responses get, in place of those of the same name: { x-frame-options = \"DENY\" }. Fields that \
         frame a response cannot be changed.",
    ),
    Setting::of_requests(
        "add_headers",
        ValueKind::Pairs,
        |v, r| change_fields(v, FieldChange::Add, r),
        "Fields that all responses get besides those of the same name.",
    ),
    Setting::of_requests(
        "remove_headers",
        ValueKind::TextOrTexts,
        remove_headers,
        "Names of fields that are removed from responses.",
    ),
    Setting::of_requests(
        "strict_transport",
        ValueKind::BooleanOrText,
        |v, r| put(&mut r.strict_transport, strict_transport(v)),
        "Whether responses over HTTPS have strict-transport-security: true for max-age=31536000, or its value. Requests \
         count as HTTPS also where a trusted proxy has terminated TLS.",
    ),
    Setting::of_requests(
        "request_timeout",
        FROM_ZERO,
        |v, r| put(&mut r.request_timeout, v.seconds()),
        "Time from a request's arrival to the end of its response, in seconds. After it the client gets 504, or its \
         stream is reset if the response has begun, and the task of an ASGI app is cancelled. WebSockets have none. \
         0 or unset, no limit.",
    ),
    Setting::of_requests(
        "error_pages",
        ValueKind::Pairs,
        |v, r| put(&mut r.error_pages, error_pages(v)),
        "Pages in place of the server's own errors, by status: { \"502\" = \"down.html\", \"4xx\" = \"text:No.\" }, a \
         file or a text. Files are read at a start and at SIGHUP, and have at most 1 MiB. Errors that the app sends stay \
         as they are.",
    ),
    Setting::of_requests(
        "maintenance_file",
        ValueKind::Path,
        |v, r| put(&mut r.maintenance_file, v.path()),
        "File during whose presence requests get 503 with its contents, at most 1 MiB, or the error page if it is empty.",
    ),
    Setting::of_requests(
        "buffer_response",
        ValueKind::Size,
        |v, r| put(&mut r.buffer_response, v.size()),
        "Number of bytes of a response that are taken from the app ahead of a slow client, so that a WSGI thread is soon \
         free again. All responses of an edge thread share 64 MiB for this. By default 64 KiB, and 256 KiB from the \
         moment that the client reads, without that bound.",
    ),
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

fn networks(given: &GivenValue<'_>) -> Result<Vec<Network>, Mistake> {
    let texts = given.text_or_texts()?.into_iter();
    let network = |(text, place): (&str, _)| {
        let mistake = |error| {
            let message = format!("{text:?}: {error}");
            Mistake { place: Clone::clone(place), message }
        };
        text.parse().map_err(mistake)
    };
    texts.map(network).collect()
}

fn rate(given: &GivenValue<'_>) -> Result<Rate, Mistake> {
    Rate::parse(given.text()?).map_err(|error| given.mistake(error))
}

fn rate_burst(given: &GivenValue<'_>, rules: &mut Rules) -> Result<(), Mistake> {
    let burst = given.whole()?;
    if let Some(rate) = rules.rate {
        rate.with_burst(burst).map_err(|error| given.mistake(error))?;
    }
    rules.rate_burst = Some(burst);
    Ok(())
}

fn rate_by(given: &GivenValue<'_>) -> Result<RateBy, Mistake> {
    match given.text()? {
        "address" => Ok(RateBy::Address),
        name if hcrs_http::is_field_name(name.as_bytes()) => Ok(RateBy::Field(name.to_ascii_lowercase())),
        _ => Err(given.expected("address, or the name of a request field")),
    }
}

fn realm(given: &GivenValue<'_>) -> Result<String, Mistake> {
    let text = given.text()?;
    if is_realm(text) {
        Ok(text.to_owned())
    } else {
        Err(given.expected("visible ASCII characters and blanks, without quotes and backslashes"))
    }
}

fn change_fields(given: &GivenValue<'_>, change: FieldChange, rules: &mut Rules) -> Result<(), Mistake> {
    rules.fields.begin(change);
    for (name, value, at) in given.pairs()? {
        let included = rules.fields.include(change, name, value);
        included
            .map_err(|error| Mistake { place: at.place.clone(), message: format!("{name:?}: {error}") })?;
    }
    Ok(())
}

fn remove_headers(given: &GivenValue<'_>, rules: &mut Rules) -> Result<(), Mistake> {
    rules.fields.begin(FieldChange::Remove);
    for (name, place) in given.text_or_texts()? {
        let included = rules.fields.include(FieldChange::Remove, name, "");
        included.map_err(|error| Mistake { place: place.clone(), message: format!("{name:?}: {error}") })?;
    }
    Ok(())
}

fn strict_transport(given: &GivenValue<'_>) -> Result<StrictTransport, Mistake> {
    match &given.value.datum {
        Datum::Boolean(true) => Ok(StrictTransport::year()),
        Datum::Boolean(false) => Ok(StrictTransport::Off),
        Datum::Text(text)
            if text.to_ascii_lowercase().contains("max-age=")
                && hcrs_http::is_field_value(text.as_bytes()) =>
        {
            Ok(StrictTransport::Sent(text.clone()))
        }
        _ => Err(given
            .expected("true, false, or a text with max-age=, as \"max-age=63072000; includeSubDomains\"")),
    }
}

fn error_pages(given: &GivenValue<'_>) -> Result<ErrorPages<FixedBody>, Mistake> {
    let mut pages = ErrorPages::default();
    for (status, page, at) in given.pairs()? {
        let mistake = |message: String| Mistake { place: at.place.clone(), message };
        let pattern = StatusPattern::parse(status).ok_or_else(|| {
            mistake(format!("{status:?}: expected a status from 400 to 599, or 4xx or 5xx"))
        })?;
        let page = match page.strip_prefix("text:") {
            Some(text) => FixedBody::Text(text.to_owned()),
            None if page.is_empty() => {
                return Err(mistake(format!("{status:?}: expected a file, or text: and a text")));
            }
            None => FixedBody::File(LoadedFile::new(page.into())),
        };
        if !pages.add(pattern, page) {
            return Err(mistake(format!("{status:?} has a page already")));
        }
    }
    Ok(pages)
}
