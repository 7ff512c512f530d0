//! A response.

use std::time::UNIX_EPOCH;

use hcrs_http::ResponseHead;

/// A response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    fields: Vec<(String, String)>,
    /// The body, if it was asked for.
    pub body: Vec<u8>,
}

impl Response {
    pub(crate) fn of(head: &ResponseHead) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = head.fields().map(|(name, value)| (text(name), text(value)));
        Self { status: head.status(), fields: fields.collect(), body: Vec::new() }
    }

    /// Returns the first field with this name, which is in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the wait that `Retry-After` asks for, in seconds. The present is in seconds since 1970.
    pub fn retry_after(&self, now: u64) -> Option<u64> {
        let value = self.field("retry-after")?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(seconds);
        }
        let until = httpdate::parse_http_date(value).ok()?;
        Some(until.duration_since(UNIX_EPOCH).ok()?.as_secs().saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_in_seconds_or_until_a_date() {
        let response = |text: &str| {
            let fields = vec![("retry-after".to_owned(), text.to_owned())];
            Response { status: 503, fields, body: Vec::new() }
        };
        assert_eq!(response("120").retry_after(0), Some(120));
        assert_eq!(response("Thu, 01 Jan 1970 00:02:00 GMT").retry_after(50), Some(70));
        assert_eq!(response("Thu, 01 Jan 1970 00:02:00 GMT").retry_after(500), Some(0));
        assert_eq!(response("soon").retry_after(0), None);
    }
}
