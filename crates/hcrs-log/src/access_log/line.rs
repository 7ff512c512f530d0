//! A line of text: the parts of the format one after another, each value escaped for a log.

use std::borrow::Cow;
use std::time::Duration;

use hcrs_http::Address;

use super::entry::AccessEntry;
use super::format::{Atom, Part};
use super::user::user;
use crate::escape::{Quotes, push_escaped};

/// The most bytes of one text of a client that a line shows, before escapes.
pub(super) const TEXT_MAX: usize = 8 << 10;

/// The values that are the same in many lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The time, as in `[23/Nov/2026:04:01:31 +0000]`.
    pub time: &'a [u8],
    /// The edge's process id.
    pub pid: u32,
}

/// Appends the line of `entry`, without its end.
pub(super) fn push_line(
    out: &mut Vec<u8>,
    parts: &[Part],
    entry: &AccessEntry<'_>,
    around: Surroundings<'_>,
) {
    for Part { text, atom, width } in parts {
        out.extend_from_slice(text);
        let Some(atom) = atom else { continue };
        let start = out.len();
        push_atom(out, atom, entry, around);
        if *width != 0 {
            fill_up(out, start, *width);
        }
    }
}

fn push_atom(out: &mut Vec<u8>, atom: &Atom, entry: &AccessEntry<'_>, around: Surroundings<'_>) {
    match atom {
        Atom::Client => push_client(out, entry.client),
        Atom::User => push_value(out, entry.field(b"authorization").and_then(user).as_deref()),
        Atom::Time => out.extend_from_slice(around.time),
        Atom::Line => push_request_line(out, entry, false),
        Atom::LineWithQuery => push_request_line(out, entry, true),
        Atom::Status => push_known(out, entry.status),
        Atom::Reason => push_reason(out, entry.status),
        Atom::Scheme => out.extend_from_slice(entry.scheme.as_str().as_bytes()),
        Atom::Length => push_known(out, entry.content_length),
        Atom::Method => push_sent(out, entry.method),
        Atom::Path => push_path(out, entry.path),
        Atom::PathWithQuery => push_path_and_query(out, entry),
        Atom::Query => push_text(out, entry.query),
        Atom::Version => push_sent(out, entry.version),
        Atom::Seconds => push_number(out, entry.duration.as_secs()),
        Atom::Milliseconds => push_number(out, clamp(entry.duration.as_millis())),
        Atom::Microseconds => push_number(out, clamp(entry.duration.as_micros())),
        Atom::Duration => push_seconds(out, entry.duration),
        Atom::Process => {
            out.push(b'<');
            push_number(out, entry.worker.unwrap_or(around.pid));
            out.push(b'>');
        }
        Atom::Request(name) => push_value(out, entry.field(name)),
        Atom::Response(index) => {
            push_value(out, entry.response_fields.get(*index).and_then(Option::as_deref));
        }
        Atom::BytesSent => push_number(out, entry.bytes_sent),
        Atom::BytesReceived => push_number(out, entry.bytes_received),
        Atom::QueueTime => push_time(out, entry.queue_time),
        Atom::HeadTime => push_time(out, entry.head_time),
        Atom::Worker => push_known(out, entry.worker),
        Atom::Protocol => out.extend_from_slice(entry.protocol.as_bytes()),
        Atom::Connection => push_number(out, entry.connection),
        Atom::Stream => push_known(out, entry.stream),
        Atom::RequestId => push_value(out, entry.request_id),
        Atom::TraceId => push_value(out, entry.trace.map(|trace| trace.trace_id)),
        Atom::SpanId => push_value(out, entry.trace.map(|trace| trace.span_id)),
        Atom::Fault => push_value(out, entry.fault.map(|fault| fault.as_str().as_bytes())),
    }
}

fn push_request_line(out: &mut Vec<u8>, entry: &AccessEntry<'_>, with_query: bool) {
    push_sent(out, entry.method);
    out.push(b' ');
    if with_query {
        push_path_and_query(out, entry);
    } else {
        push_path(out, entry.path);
    }
    out.push(b' ');
    push_sent(out, entry.version);
}

pub(super) fn push_path_and_query(out: &mut Vec<u8>, entry: &AccessEntry<'_>) {
    push_path(out, entry.path);
    if !entry.query.is_empty() {
        out.push(b'?');
        push_text(out, entry.query);
    }
}

/// Appends `host:port`, IPv6 without brackets as in Hypercorn; `None` on a unix socket.
pub(super) fn push_client(out: &mut Vec<u8>, client: Option<Address<'_>>) {
    match client {
        Some(Address { host, port }) => {
            out.extend_from_slice(host.as_bytes());
            out.push(b':');
            push_number(out, port);
        }
        None => out.extend_from_slice(b"None"),
    }
}

fn push_reason(out: &mut Vec<u8>, status: Option<u16>) {
    let Some(status) = status else { return out.push(b'-') };
    match hcrs_http::reason_phrase(status) {
        // Hypercorn's text for codes that are not registered.
        "" => out.extend_from_slice(format!("<???{status}???>").as_bytes()),
        reason => out.extend_from_slice(reason.as_bytes()),
    }
}

pub(super) fn push_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_known(out: &mut Vec<u8>, number: Option<impl itoa::Integer>) {
    match number {
        Some(number) => push_number(out, number),
        None => out.push(b'-'),
    }
}

/// Appends seconds with six decimals.
pub(super) fn push_seconds(out: &mut Vec<u8>, time: Duration) {
    push_number(out, time.as_secs());
    out.push(b'.');
    let mut digits = *b"000000";
    let mut rest = time.subsec_micros();
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

fn push_time(out: &mut Vec<u8>, time: Option<Duration>) {
    match time {
        Some(time) => push_seconds(out, time),
        None => out.push(b'-'),
    }
}

fn clamp(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn push_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    push_text(out, value.unwrap_or(b"-"));
}

/// Appends a text that every request has; it is empty if it could not be read.
pub(super) fn push_sent(out: &mut Vec<u8>, text: &[u8]) {
    push_text(out, if text.is_empty() { b"-" } else { text });
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    push_escaped(out, &text[..text.len().min(TEXT_MAX)], Quotes::Escaped);
}

/// Appends the path as the app sees it: percent-decoded, then escaped.
fn push_path(out: &mut Vec<u8>, path: &[u8]) {
    push_sent(out, &decoded(path));
}

fn decoded(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b'%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                _ => decoded.push(byte),
            },
            _ => decoded.push(byte),
        }
    }
    Cow::Owned(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Pads the text appended since `start` to the width with spaces.
fn fill_up(out: &mut Vec<u8>, start: usize, width: i16) {
    let characters = String::from_utf8_lossy(&out[start..]).chars().count();
    let blanks = usize::from(width.unsigned_abs()).saturating_sub(characters);
    if width < 0 {
        out.resize(out.len() + blanks, b' ');
    } else {
        out.splice(start..start, std::iter::repeat_n(b' ', blanks));
    }
}
