//! Limits of the protocols, and what responses carry.

use std::num::NonZeroU64;

use hcrs_http::REQUEST_HEAD_MAX;
use hcrs_server::ServerNames;

use super::fill;
use crate::draft::Draft;
use crate::setting::Group::Protocols;
use crate::setting::{ABOVE_ZERO, Kind, Setting, array, unset};
use crate::value::{Given, Mistake};

/// The largest heads that may be let in, in bytes: what a worker can be given, with room for what the edge adds.
#[expect(clippy::cast_possible_wrap, reason = "it is a megabyte")]
pub(crate) const HEAD_MAX: i64 = (REQUEST_HEAD_MAX - (64 << 10)) as i64;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Protocols,
        "keep_alive_max_requests",
        Kind::Whole(1, i64::MAX),
        unset,
        |v, d| fill(&mut d.server.connection.keep_alive_max_requests, v.whole().map(NonZeroU64::new)),
        "Requests after which a connection is closed; those under way are finished. Unset, any number.",
    ),
    Setting::new(
        Protocols,
        "server_names",
        Kind::TextOrTexts,
        |_| array([]),
        server_names,
        "The hosts that are served, in any case: NAME goes with every port, NAME:PORT with that one. Requests for \
         others get 404. Empty, every host is served.",
    )
    .flag("--server-name", None, "NAME")
    .aliases(&["server_name"]),
    Setting::new(
        Protocols,
        "include_date_header",
        Kind::Boolean,
        |d| d.server.connection.include_date_header.to_string(),
        |v, d| fill(&mut d.server.connection.include_date_header, v.boolean()),
        "Whether responses get a date.",
    ),
    Setting::new(
        Protocols,
        "include_server_header",
        Kind::Boolean,
        |d| d.server.connection.include_server_header.to_string(),
        |v, d| fill(&mut d.server.connection.include_server_header, v.boolean()),
        "Whether responses get a server.",
    ),
    Setting::new(
        Protocols,
        "alt_svc_headers",
        Kind::TextOrTexts,
        |_| array([]),
        alt_svc,
        "What every response gets as alt-svc, each value as a field of its own.",
    ),
    Setting::new(
        Protocols,
        "h11_max_incomplete_size",
        Kind::Whole(256, HEAD_MAX),
        |d| d.server.connection.h1.max_head_bytes.to_string(),
        |v, d| fill(&mut d.server.connection.h1.max_head_bytes, v.whole()),
        "The largest head of an HTTP/1.1 request, in bytes.",
    ),
    Setting::ignored(
        Protocols,
        "h11_pass_raw_headers",
        Kind::Boolean,
        "ASGI wants the names of header fields in lower case.",
    ),
    Setting::new(
        Protocols,
        "h2_max_concurrent_streams",
        Kind::Whole(1, i32::MAX as i64),
        |d| d.server.connection.h2.max_concurrent_streams.to_string(),
        |v, d| fill(&mut d.server.connection.h2.max_concurrent_streams, v.whole()),
        "Requests under way on one HTTP/2 connection; more are refused, one by one.",
    ),
    Setting::new(
        Protocols,
        "h2_max_header_list_size",
        Kind::Whole(256, HEAD_MAX),
        |d| d.server.connection.h2.max_header_list_size.to_string(),
        |v, d| fill(&mut d.server.connection.h2.max_header_list_size, v.whole()),
        "The largest header list of an HTTP/2 request, in bytes as RFC 9113 counts them.",
    ),
    Setting::new(
        Protocols,
        "h2_max_inbound_frame_size",
        // The bounds of RFC 9113 section 6.5.2.
        Kind::Whole(16_384, 16_777_215),
        |d| d.server.connection.h2.max_inbound_frame_size.to_string(),
        |v, d| fill(&mut d.server.connection.h2.max_inbound_frame_size, v.whole()),
        "The largest HTTP/2 frame that a client may send, in bytes.",
    ),
    Setting::new(
        Protocols,
        "websocket_max_message_size",
        Kind::Whole(1, i64::MAX),
        |d| d.server.connection.websocket.max_message_size.to_string(),
        |v, d| fill(&mut d.server.connection.websocket.max_message_size, v.whole()),
        "The largest message of a WebSocket, in bytes, after inflating.",
    ),
    Setting::new(
        Protocols,
        "websocket_ping_interval",
        ABOVE_ZERO,
        unset,
        |v, d| fill(&mut d.server.connection.websocket.ping_interval, v.seconds().map(Some)),
        "How often a WebSocket's client is pinged, in seconds; the first time at once. Unset, never.",
    )
    .flag("--websocket-ping-interval", None, "SECONDS"),
];

fn server_names(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
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

fn alt_svc(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let values = given.text_or_texts()?.into_iter().map(|(text, place)| {
        text.trim().parse().ok().filter(|_| !text.trim().is_empty()).ok_or_else(|| Mistake {
            place: place.clone(),
            message: format!("expected what a header field can say, found {text:?}"),
        })
    });
    draft.server.connection.alt_svc = values.collect::<Result<_, _>>()?;
    Ok(())
}
