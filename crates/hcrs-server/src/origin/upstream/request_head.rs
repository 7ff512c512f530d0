//! The fields of a request as an upstream gets them: those of one hop are removed, and the client is described.

use hcrs_http::{RequestView, Version, is_connection_specific};

use super::forwarded::{self, Sender};
use crate::settings::{UpstreamHost, UpstreamUrl};

/// The entry of this server in `via` (RFC 9110 §7.6.3).
fn via(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 | Version::Http11 => b"1.1 hcrs",
        Version::Http2 => b"2 hcrs",
        Version::Http3 => b"3 hcrs",
    }
}

/// The facts that a request's head depends on besides the client's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// The upstream.
    pub url: &'a UpstreamUrl,
    /// The `host` that it gets.
    pub host: &'a UpstreamHost,
    /// The sender of the request.
    pub sender: Sender<'a>,
}

impl<'a> Context<'a> {
    /// Returns the `host` of the request for the upstream.
    pub(super) fn host_for(&self, request: &RequestView<'a>) -> &'a [u8] {
        match self.host {
            UpstreamHost::Client => request.fields().first(b"host").unwrap_or(self.url.authority.as_bytes()),
            UpstreamHost::Upstream => self.url.authority.as_bytes(),
            UpstreamHost::Named(name) => name.as_bytes(),
        }
    }
}

/// Pushes the fields but `host` and those of the connection, each with its value in pieces.
pub(super) fn push_fields(
    request: &RequestView<'_>,
    context: Context<'_>,
    mut push: impl FnMut(&[u8], &[&[u8]]),
) {
    let sender = context.sender;
    let host = request.fields().first(b"host");
    let has_connection = request.fields().any(|(name, _)| name == b"connection");
    for (name, value) in request.fields() {
        let is_kept = match name {
            b"host" | b"expect" | b"http2-settings" | b"proxy-authorization" => false,
            _ if forwarded::is_forwarded(name) => sender.is_kept(name, request, host),
            _ => !(is_connection_specific(name) || has_connection && is_named(request, name)),
        };
        if is_kept {
            push(name, &[value]);
        }
    }
    forwarded::describe(request, sender, host, &mut push);
    push(b"via", &[via(request.version)]);
}

/// Whether `connection` names the field, which then ends here (RFC 9110 §7.6.1). A length stays: a body would be left
/// without a frame.
fn is_named(request: &RequestView<'_>, name: &[u8]) -> bool {
    let mut connection = request.fields().filter(|(name, _)| *name == b"connection");
    name != b"content-length"
        && connection.any(|(_, options)| {
            options.split(|&byte| byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
        })
}

#[cfg(test)]
mod tests {
    use hcrs_forwarded::{ForwardedStyle, Forwarding};
    use hcrs_http::{Address, Endpoints, RequestHead, RequestLine};

    use super::*;

    fn head(version: Version, fields: &[(&str, &str)]) -> RequestHead {
        let scheme = hcrs_http::Scheme::Https;
        let line = RequestLine { version, scheme, method: b"GET", path: b"/api/x", query: b"q" };
        let client = Some(Address { host: "192.0.2.1", port: 5 });
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::new(client, None));
        for (name, value) in fields {
            head.push_field(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn sent(head: &RequestHead, sender: Sender<'_>) -> Vec<(String, String)> {
        let url = UpstreamUrl::parse("http://up.test:9000").unwrap();
        let context = Context { url: &url, host: &UpstreamHost::Client, sender };
        let mut fields = Vec::new();
        push_fields(&head.view(), context, |name, value| {
            fields.push((name.escape_ascii().to_string(), String::from_utf8(value.concat()).unwrap()));
        });
        fields
    }

    fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut values = fields.iter().filter(|(sent, _)| sent == name).map(|(_, value)| &**value);
        let value = values.next();
        assert!(values.next().is_none(), "{name} is sent once");
        value
    }

    const STRANGER: Sender<'_> = Sender { peer: Some("192.0.2.1"), believed: None, stripped: b"" };

    #[test]
    fn fields_of_one_hop_end_here() {
        let head = head(
            Version::Http11,
            &[
                ("host", "a.test"),
                ("connection", "keep-alive, X-Own, Content-Length"),
                ("keep-alive", "timeout=5"),
                ("x-own", "1"),
                ("content-length", "5"),
                ("transfer-encoding", "chunked"),
                ("te", "trailers, deflate"),
                ("expect", "100-continue"),
                ("x-kept", "2"),
            ],
        );
        let fields = sent(&head, STRANGER);
        for (name, value) in [
            ("host", None),
            ("x-kept", Some("2")),
            ("content-length", Some("5")),
            ("te", None),
            ("connection", None),
            ("keep-alive", None),
            ("x-own", None),
            ("transfer-encoding", None),
            ("expect", None),
            ("via", Some("1.1 hcrs")),
        ] {
            assert_eq!(field(&fields, name), value, "{name}");
        }
    }

    #[test]
    fn strangers_cannot_describe_themselves_and_trusted_proxies_are_continued() {
        let head = head(
            Version::Http2,
            &[
                ("host", "a.test"),
                ("x-forwarded-for", "10.0.0.1"),
                ("forwarded", "for=10.0.0.1"),
                ("x-forwarded-port", "1"),
                ("x-forwarded-proto", "ftp"),
                ("x-forwarded-host", "b.test"),
                ("x-forwarded-prefix", "/x"),
                ("x-forwarded-ssl", "on"),
            ],
        );
        let fields = sent(&head, STRANGER);
        assert_eq!(field(&fields, "x-forwarded-for"), Some("192.0.2.1"));
        assert_eq!(field(&fields, "forwarded"), Some("for=192.0.2.1;host=\"a.test\";proto=https"));
        assert_eq!(field(&fields, "x-forwarded-proto"), Some("https"));
        assert_eq!(field(&fields, "x-forwarded-host"), Some("a.test"));
        assert_eq!(field(&fields, "x-forwarded-port"), None);
        let of = |style, prefix, stripped| Sender {
            peer: Some("::1"),
            believed: Some(Forwarding { style, hops: None, prefix }),
            stripped,
        };
        let own = "for=\"[::1]\";host=\"a.test\";proto=https";
        let fields = sent(&head, of(ForwardedStyle::Legacy, true, b"/api"));
        assert_eq!(field(&fields, "x-forwarded-for"), Some("10.0.0.1, ::1"));
        assert_eq!(field(&fields, "forwarded"), Some(own), "the client's own");
        assert_eq!(field(&fields, "x-forwarded-port"), Some("1"));
        assert_eq!(field(&fields, "x-forwarded-prefix"), Some("/api"));
        assert_eq!(field(&fields, "x-forwarded-proto"), Some("https"));
        assert_eq!(field(&fields, "x-forwarded-host"), Some("a.test"));
        assert_eq!(field(&fields, "x-forwarded-ssl"), None);
        let fields = sent(&head, of(ForwardedStyle::Legacy, true, b""));
        assert_eq!(field(&fields, "x-forwarded-prefix"), Some("/x"));
        let fields = sent(&head, of(ForwardedStyle::Legacy, false, b""));
        assert_eq!(field(&fields, "x-forwarded-prefix"), None);
        let fields = sent(&head, of(ForwardedStyle::Modern, true, b""));
        assert_eq!(field(&fields, "x-forwarded-for"), Some("::1"), "not the client's own");
        assert_eq!(field(&fields, "forwarded"), Some(&*format!("for=10.0.0.1, {own}")));
        assert_eq!(field(&fields, "x-forwarded-port"), None);
        assert_eq!(field(&fields, "x-forwarded-prefix"), None);
    }

    #[test]
    fn a_list_whose_string_does_not_end_is_not_continued() {
        let believed = Some(Forwarding { style: ForwardedStyle::Modern, hops: None, prefix: false });
        let proxy = Sender { peer: Some("192.0.2.1"), believed, stripped: b"" };
        let own = "for=192.0.2.1;host=\"a.test\";proto=https";
        for (list, is_continued) in
            [("for=\"x", false), ("for=\"x\\\"", false), ("for=\"x\\\"\"", true), ("for=x\\", true)]
        {
            let head = head(Version::Http11, &[("host", "a.test"), ("forwarded", list)]);
            let expected = if is_continued { format!("{list}, {own}") } else { own.to_owned() };
            assert_eq!(field(&sent(&head, proxy), "forwarded"), Some(&*expected), "{list}");
        }
    }
}
