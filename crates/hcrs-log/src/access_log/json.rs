//! A line of JSON: one object, whose members have a fixed order. Members without a value are left out.

use std::time::Duration;

use super::entry::AccessEntry;
use super::line::{TEXT_MAX, push_client, push_number, push_seconds};
use crate::escape::push_json_string;

/// Appends the object of `entry`, without a line end. `time` is the current time in RFC 3339's form.
pub(super) fn push_object(out: &mut Vec<u8>, entry: &AccessEntry<'_>, time: &str, pid: u32) {
    let mut object = Object { out, is_first: true };
    object.text("time", time.as_bytes());
    if entry.client.is_some() {
        let mut client = Vec::with_capacity(48);
        push_client(&mut client, entry.client);
        object.text("client", &client);
    }
    object.sent("method", entry.method);
    object.text("scheme", entry.scheme.as_str().as_bytes());
    object.field("host", entry.field(b"host"));
    object.sent("path", entry.path);
    object.sent("query", entry.query);
    object.text("protocol", entry.protocol.as_bytes());
    object.number("status", entry.status);
    object.number("bytes_sent", Some(entry.bytes_sent));
    object.number("bytes_received", Some(entry.bytes_received));
    object.seconds("duration", Some(entry.duration));
    object.seconds("queue_time", entry.queue_time);
    object.seconds("head_time", entry.head_time);
    object.field("referer", entry.field(b"referer"));
    object.field("user_agent", entry.field(b"user-agent"));
    object.number("pid", Some(pid));
    object.number("worker_pid", entry.worker);
    object.number("connection_id", Some(entry.connection));
    object.number("stream_id", entry.stream);
    object.field("request_id", entry.request_id);
    object.field("trace_id", entry.trace.map(|trace| trace.trace_id));
    object.field("span_id", entry.trace.map(|trace| trace.span_id));
    object.field("fault", entry.fault.map(|fault| fault.as_str().as_bytes()));
    out.push(b'}');
}

struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl Object<'_> {
    fn name(&mut self, name: &str) {
        self.out.push(if std::mem::take(&mut self.is_first) { b'{' } else { b',' });
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, text: &[u8]) {
        self.name(name);
        push_json_string(self.out, &text[..text.len().min(TEXT_MAX)]);
    }

    fn field(&mut self, name: &str, text: Option<&[u8]>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Appends a member of the request, which is empty if it could not be read.
    fn sent(&mut self, name: &str, text: &[u8]) {
        self.field(name, Some(text).filter(|text| !text.is_empty()));
    }

    fn number(&mut self, name: &str, number: Option<impl itoa::Integer>) {
        if let Some(number) = number {
            self.name(name);
            push_number(self.out, number);
        }
    }

    fn seconds(&mut self, name: &str, time: Option<Duration>) {
        if let Some(time) = time {
            self.name(name);
            push_seconds(self.out, time);
        }
    }
}
