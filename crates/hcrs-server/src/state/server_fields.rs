//! The fields that the server adds to every response: `date`, `server` and `alt-svc`.

use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;

use super::date::HttpDate;
use crate::ConnectionSettings;
use crate::clock;

/// The `server` of responses.
const SERVER: &str = "hcrs";

/// How long clients remember that HTTP/3 is served.
const HTTP3_KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The fields that the server adds to every response.
#[derive(Debug)]
pub(crate) struct ServerFields {
    has_date: bool,
    date: HttpDate,
    until: Instant,
    /// The fields as HTTP/2 and HTTP/3 take them.
    pub streams: hcrs_mux::ServerFields,
    /// `alt-svc` as HTTP/1.1 writes it.
    alt_svc: Vec<u8>,
}

impl ServerFields {
    /// Returns the fields by the settings. Without an `alt-svc` of the operator's, HTTP/3 at `http3_port` is
    /// announced.
    pub(crate) fn new(settings: &ConnectionSettings, http3_port: Option<u16>) -> Self {
        let server = settings.include_server_header.then(|| HeaderValue::from_static(SERVER));
        let mut alt_svc = settings.alt_svc.clone();
        if let (Some(port), true) = (http3_port, alt_svc.is_empty()) {
            let value = format!("h3=\":{port}\"; ma={}", HTTP3_KNOWN_FOR.as_secs());
            alt_svc.push(
                HeaderValue::try_from(value).expect("invariant: the value has visible characters alone"),
            );
        }
        let lines = alt_svc.iter().map(|value| [b"alt-svc: ", value.as_bytes(), b"\r\n"].concat());
        Self {
            has_date: settings.include_date_header,
            date: HttpDate::new(),
            until: clock::now(),
            alt_svc: lines.flatten().collect(),
            streams: hcrs_mux::ServerFields {
                date: None,
                server,
                alt_svc: (!alt_svc.is_empty()).then(|| alt_svc.into()),
            },
        }
    }

    /// Returns the fields as HTTP/1.1 takes them.
    pub(crate) fn h1(&self) -> hcrs_h1::ServerFields<'_> {
        hcrs_h1::ServerFields {
            date: self.streams.date.as_ref().map(HeaderValue::as_bytes),
            server: self.streams.server.as_ref().map(HeaderValue::as_bytes),
            alt_svc: &self.alt_svc,
        }
    }

    /// Renews the date, if responses get one, once its second is over.
    pub(crate) fn refresh_date(&mut self, now: Instant) {
        if !self.has_date || now < self.until {
            return;
        }
        let wall = SystemTime::now();
        let date = HeaderValue::from_bytes(self.date.now(wall)).expect("invariant: a date is a field value");
        self.streams.date = Some(date);
        let into_second =
            wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
        self.until = now + Duration::from_millis(u64::from(1000 - into_second.min(999)));
    }
}
