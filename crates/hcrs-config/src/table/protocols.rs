//! Limits of the protocols, and fields added to responses.

use std::num::NonZeroU64;

use hcrs_http::REQUEST_HEAD_MAX;
use hcrs_server::ServerNames;

use super::store;
use crate::draft::Draft;
use crate::kind::{ABOVE_ZERO, ValueKind, array};
use crate::setting::Group::Protocols;
use crate::setting::{Setting, unset};
use crate::value::{GivenValue, Mistake};

/// Largest limit for the head of a request, in bytes: the limit of the link to a worker, less room for what
/// the edge adds.
#[expect(clippy::cast_possible_wrap, reason = "about a megabyte")]
pub const HEAD_MAX: i64 = (REQUEST_HEAD_MAX - (64 << 10)) as i64;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Protocols,
        "keep_alive_max_requests",
        ValueKind::Whole(1, i64::MAX),
        unset,
        |v, d| store(&mut d.server.connection.keep_alive_max_requests, v.whole().map(NonZeroU64::new)),
        "Number of requests after which a connection is closed; those in flight are finished. Unset, no \
         limit.",
    ),
    Setting::new(
        Protocols,
        "server_names",
        ValueKind::TextOrTexts,
        |_| array([]),
        server_names,
        "Host names that are served, in any case: NAME for every port, NAME:PORT for one. Requests for \
         other hosts get 404. Empty, every host is served.",
    )
    .flag("--server-name", None, "NAME")
    .aliases(&["server_name"]),
    Setting::new(
        Protocols,
        "include_date_header",
        ValueKind::Boolean,
        |d| d.server.connection.include_date_header.to_string(),
        |v, d| store(&mut d.server.connection.include_date_header, v.boolean()),
        "Adds a date field to responses.",
    ),
    Setting::new(
        Protocols,
        "include_server_header",
        ValueKind::Boolean,
        |d| d.server.connection.include_server_header.to_string(),
        |v, d| store(&mut d.server.connection.include_server_header, v.boolean()),
        "Adds a server field to responses.",
    ),
    Setting::new(
        Protocols,
        "alt_svc_headers",
        ValueKind::TextOrTexts,
        |_| array([]),
        alt_svc,
        "Values of alt-svc fields that are added to every response, one field for each.",
    ),
    Setting::new(
        Protocols,
        "h11_max_incomplete_size",
        ValueKind::Whole(256, HEAD_MAX),
        |d| d.server.connection.h1.max_head_bytes.to_string(),
        |v, d| store(&mut d.server.connection.h1.max_head_bytes, v.whole()),
        "Largest head of an HTTP/1.1 request, in bytes.",
    ),
    Setting::ignored(
        Protocols,
        "h11_pass_raw_headers",
        ValueKind::Boolean,
        "ASGI requires the names of header fields in lower case.",
    ),
    Setting::new(
        Protocols,
        "h2_max_concurrent_streams",
        ValueKind::Whole(1, i32::MAX as i64),
        |d| d.server.connection.h2.max_concurrent_streams.to_string(),
        |v, d| store(&mut d.server.connection.h2.max_concurrent_streams, v.whole()),
        "Largest number of requests in flight on one HTTP/2 connection; each further one is refused.",
    ),
    Setting::new(
        Protocols,
        "h2_max_header_list_size",
        ValueKind::Whole(256, HEAD_MAX),
        |d| d.server.connection.h2.max_header_list_size.to_string(),
        |v, d| store(&mut d.server.connection.h2.max_header_list_size, v.whole()),
        "Largest header list of an HTTP/2 request, in bytes as RFC 9113 counts them.",
    ),
    Setting::new(
        Protocols,
        "h2_max_inbound_frame_size",
        // The bounds of RFC 9113 section 6.5.2.
        ValueKind::Whole(16_384, 16_777_215),
        |d| d.server.connection.h2.max_inbound_frame_size.to_string(),
        |v, d| store(&mut d.server.connection.h2.max_inbound_frame_size, v.whole()),
        "Largest HTTP/2 frame that a client may send, in bytes.",
    ),
    Setting::new(
        Protocols,
        "websocket_max_message_size",
        ValueKind::Whole(1, i64::MAX),
        |d| d.server.connection.websocket.max_message_size.to_string(),
        |v, d| store(&mut d.server.connection.websocket.max_message_size, v.whole()),
        "Largest WebSocket message, in bytes after decompression.",
    )
    .at_start(),
    Setting::new(
        Protocols,
        "websocket_ping_interval",
        ABOVE_ZERO,
        unset,
        |v, d| store(&mut d.server.connection.websocket.ping_interval, v.seconds().map(Some)),
        "Interval of pings to a WebSocket's client, in seconds; the first is sent at once. Unset, none are \
         sent.",
    )
    .flag("--websocket-ping-interval", None, "SECONDS"),
];

fn server_names(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let mut names = ServerNames::default();
    for (name, place) in given.text_or_texts()? {
        names.push(name).map_err(|expected| Mistake {
            place: place.clone(),
            message: format!("expected {expected}, found {name:?}"),
        })?;
    }
    draft.server.connection.server_names = names;
    Ok(())
}

fn alt_svc(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let values = given.text_or_texts()?.into_iter().map(|(text, place)| {
        text.trim().parse().ok().filter(|_| !text.trim().is_empty()).ok_or_else(|| Mistake {
            place: place.clone(),
            message: format!("expected the value of a header field, found {text:?}"),
        })
    });
    draft.server.connection.alt_svc = values.collect::<Result<_, _>>()?;
    Ok(())
}
