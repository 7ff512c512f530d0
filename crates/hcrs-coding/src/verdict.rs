//! Whether a response is encoded.

use hcrs_http::{RequestView, ResponseHead, response_content_length};

use crate::accept::{Accepted, Preference};
use crate::coding::Coding;
use crate::settings::Settings;

/// The most fields of a head to which others can be added.
const FIELDS_MAX: usize = u16::MAX as usize - 8;

/// What is known of the length of a body when its head is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// This many bytes; the body is complete.
    Whole(u64),
    /// Nothing but what the head announces.
    AsAnnounced,
}

/// What happens to a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent as it is.
    Untouched,
    /// Its body is sent as it is, and its head gets `vary`: another client would get it encoded.
    Varied,
    /// It has no body (304), and stands for one that this client has got encoded.
    Revalidated,
    /// Its body is encoded.
    Coded(Coding),
}

/// Judges a response by its head and that of its request.
///
/// A body is never encoded that has a coding already, that is a range, or whose head has `no-transform` or a digest.
pub fn judge(
    request: &RequestView<'_>,
    response: &ResponseHead,
    body: BodyLength,
    settings: &Settings,
) -> Verdict {
    let is_head = request.method == b"HEAD";
    let is_bodiless = matches!(response.status(), ..200 | 204 | 205) || request.method == b"CONNECT";
    let is_empty = body == BodyLength::Whole(0) && !is_head && response.status() != 304;
    if !settings.is_on() || is_bodiless || is_empty || response.field_count() > FIELDS_MAX {
        return Verdict::Untouched;
    }
    let Some(answered) = Answered::by(response, settings) else { return Verdict::Untouched };
    let asked = Asked::by(request, settings);
    if response.status() == 304 {
        return match asked
            .preference
            .coding
            .filter(|_| answered.has_type != Some(false) && asked.may_be_coded)
        {
            Some(_) => Verdict::Revalidated,
            None => Verdict::Untouched,
        };
    }
    let length = answered.length.or(match body {
        BodyLength::Whole(length) if !is_head => Some(length),
        _ => None,
    });
    let gains = answered.has_type == Some(true) && length.is_none_or(|length| length >= settings.threshold());
    if length == Some(0) || !(gains || asked.preference.refuses_identity) {
        return Verdict::Untouched;
    }
    let is_part = answered.is_part || response.status() == 206;
    match asked.preference.coding.filter(|_| !is_part && answered.may_be_coded && asked.may_be_coded) {
        Some(coding) => Verdict::Coded(coding),
        None => Verdict::Varied,
    }
}

/// The facts of a request.
#[derive(Debug)]
struct Asked {
    preference: Preference,
    may_be_coded: bool,
}

impl Asked {
    fn by(request: &RequestView<'_>, settings: &Settings) -> Self {
        let mut accepted = Accepted::default();
        let mut may_be_coded = true;
        for (name, value) in request.fields() {
            match name {
                b"accept-encoding" => accepted.note(value),
                b"authorization" => may_be_coded &= settings.takes_secrets(),
                b"cache-control" => may_be_coded &= !forbids_transform(value),
                _ => {}
            }
        }
        Self { preference: accepted.prefer(settings.codings()), may_be_coded }
    }
}

/// The facts of a response.
#[derive(Debug)]
struct Answered {
    /// Whether its type is one that gains; `None` if it has none.
    has_type: Option<bool>,
    length: Option<u64>,
    is_part: bool,
    may_be_coded: bool,
}

impl Answered {
    /// Returns the facts; `None` if the body may not be encoded for any client, or if the head is malformed.
    fn by(response: &ResponseHead, settings: &Settings) -> Option<Self> {
        let mut facts = Self { has_type: None, length: None, is_part: false, may_be_coded: true };
        for (name, value) in response.fields() {
            // By length first, because most fields are none of these.
            match name.len() {
                6 if is(name, b"digest") => return None,
                10 if is(name, b"set-cookie") => facts.may_be_coded &= settings.takes_secrets(),
                11 if is(name, b"content-md5") || is(name, b"repr-digest") => return None,
                12 if is(name, b"content-type") => {
                    facts.has_type = Some(settings.takes_type(value));
                }
                13 if is(name, b"content-range") => facts.is_part = true,
                13 if is(name, b"cache-control") && forbids_transform(value) => return None,
                14 if is(name, b"content-length") => {
                    let (length, _) = response_content_length(value)?;
                    if facts.length.replace(length).is_some_and(|before| before != length) {
                        return None;
                    }
                }
                14 if is(name, b"content-digest") => return None,
                16 if is(name, b"content-encoding") => return None,
                _ => {}
            }
        }
        Some(facts)
    }
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.eq_ignore_ascii_case(known)
}

/// Whether the value of `cache-control` has `no-transform` (RFC 9111 §5.2.2.6).
fn forbids_transform(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|directive| is(directive.trim_ascii(), b"no-transform"))
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestHead, RequestLine, Scheme, Version};

    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
    const GZIP: (&str, &str) = ("accept-encoding", "gzip");

    fn request(method: &str, fields: Fields<'_>) -> RequestHead {
        let method = method.as_bytes();
        let line =
            RequestLine { version: Version::Http11, scheme: Scheme::Http, method, path: b"/", query: b"" };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        for (name, value) in fields {
            head.push_field(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn response(status: u16, fields: Fields<'_>) -> ResponseHead {
        ResponseHead::new(status, fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    fn on() -> Settings {
        Settings { codings: Some(Coding::ALL.to_vec()), ..Settings::default() }
    }

    /// Judges a response of unknown length to `GET`.
    fn judged(asked: Fields<'_>, status: u16, answered: Fields<'_>) -> Verdict {
        let request = request("GET", asked);
        judge(&request.view(), &response(status, answered), BodyLength::AsAnnounced, &on())
    }

    #[test]
    fn a_response_whose_type_gains_is_encoded() {
        assert_eq!(judged(&[GZIP], 200, &[HTML]), Verdict::Coded(Coding::Gzip));
        assert_eq!(
            judged(&[GZIP], 404, &[("Content-Type", "application/problem+json")]),
            Verdict::Coded(Coding::Gzip)
        );
        assert_eq!(judged(&[], 200, &[HTML]), Verdict::Varied);
        assert_eq!(judged(&[("accept-encoding", "identity")], 200, &[HTML]), Verdict::Varied);
        for other in ["image/png", "application/octet-stream", "", "text"] {
            assert_eq!(judged(&[GZIP], 200, &[("content-type", other)]), Verdict::Untouched, "{other}");
        }
        assert_eq!(judged(&[GZIP], 200, &[]), Verdict::Untouched, "without a type");
    }

    #[test]
    fn some_bodies_are_never_encoded() {
        for field in [
            ("content-encoding", "gzip"),
            ("Content-Encoding", "identity"),
            ("cache-control", "max-age=60, No-Transform"),
            ("content-digest", "sha-256=:x:"),
            ("repr-digest", "sha-256=:x:"),
            ("digest", "sha-256=x"),
            ("content-md5", "x"),
            ("content-length", "x"),
            ("content-length", "0"),
        ] {
            assert_eq!(judged(&[GZIP], 200, &[HTML, field]), Verdict::Untouched, "{field:?}");
        }
        let lengths = [HTML, ("content-length", "5000"), ("content-length", "5001")];
        assert_eq!(judged(&[GZIP], 200, &lengths), Verdict::Untouched);
        let range = [HTML, ("content-range", "bytes 0-4999/6000"), ("content-length", "5000")];
        assert_eq!(judged(&[GZIP], 206, &range), Verdict::Varied);
        for status in [101, 204, 205] {
            assert_eq!(judged(&[GZIP], status, &[HTML]), Verdict::Untouched, "{status}");
        }
        assert_eq!(judged(&[GZIP, ("cache-control", "no-transform")], 200, &[HTML]), Verdict::Varied);
        let websocket = request("CONNECT", &[GZIP]);
        let accepted = response(200, &[HTML]);
        let settings = on();
        assert_eq!(
            judge(&websocket.view(), &accepted, BodyLength::AsAnnounced, &settings),
            Verdict::Untouched
        );
    }

    #[test]
    fn secrets_are_left_as_they_are_unless_asked_for() {
        let (authorized, cookie) = (("authorization", "Basic eA=="), ("set-cookie", "a=b"));
        assert_eq!(judged(&[GZIP, authorized], 200, &[HTML]), Verdict::Varied);
        assert_eq!(judged(&[GZIP], 200, &[HTML, cookie]), Verdict::Varied);
        assert_eq!(judged(&[GZIP, ("cookie", "a=b")], 200, &[HTML]), Verdict::Coded(Coding::Gzip));
        let settings = Settings { secrets: Some(true), ..on() };
        let (request, response) = (request("GET", &[GZIP, authorized]), response(200, &[HTML, cookie]));
        let verdict = judge(&request.view(), &response, BodyLength::AsAnnounced, &settings);
        assert_eq!(verdict, Verdict::Coded(Coding::Gzip));
    }

    #[test]
    fn short_bodies_are_left_as_they_are() {
        let long = Verdict::Coded(Coding::Gzip);
        for (method, announced, whole, expected) in [
            ("GET", Some("1023"), None, Verdict::Untouched),
            ("GET", Some("1024"), None, long),
            ("GET", None, Some(1023), Verdict::Untouched),
            ("GET", None, Some(1024), long),
            ("GET", Some("1024"), Some(1024), long),
            ("GET", None, Some(0), Verdict::Untouched),
            ("GET", Some("5000"), Some(0), Verdict::Untouched),
            ("GET", None, None, long),
            ("HEAD", Some("1024"), Some(0), long),
            ("HEAD", Some("1023"), Some(0), Verdict::Untouched),
            ("HEAD", None, Some(0), long),
        ] {
            let mut fields = vec![HTML];
            fields.extend(announced.map(|length| ("content-length", length)));
            let body = whole.map_or(BodyLength::AsAnnounced, BodyLength::Whole);
            let (request, response) = (request(method, &[GZIP]), response(200, &fields));
            let verdict = judge(&request.view(), &response, body, &on());
            assert_eq!(verdict, expected, "{method} {announced:?} {whole:?}");
        }
    }

    #[test]
    fn a_client_that_refuses_bodies_as_they_are_gets_any_encoded() {
        let refusing = ("accept-encoding", "gzip, identity;q=0");
        let short = [("content-type", "image/png"), ("content-length", "9")];
        assert_eq!(judged(&[refusing], 200, &short), Verdict::Coded(Coding::Gzip));
        let coded = [("content-type", "image/png"), ("content-encoding", "br")];
        assert_eq!(judged(&[refusing], 200, &coded), Verdict::Untouched);
        assert_eq!(
            judged(&[("accept-encoding", "*;q=0")], 200, &[HTML]),
            Verdict::Varied,
            "nothing is left to it"
        );
    }

    #[test]
    fn a_304_has_the_fields_of_the_response_that_it_stands_for() {
        assert_eq!(judged(&[GZIP], 304, &[("etag", "\"a\"")]), Verdict::Revalidated);
        assert_eq!(judged(&[GZIP], 304, &[HTML]), Verdict::Revalidated);
        assert_eq!(judged(&[GZIP], 304, &[("content-type", "image/png")]), Verdict::Untouched);
        assert_eq!(judged(&[], 304, &[("etag", "\"a\"")]), Verdict::Untouched);
    }

    #[test]
    fn without_codings_nothing_is_touched() {
        let settings = Settings { codings: Some(Vec::new()), ..on() };
        let (request, response) = (request("GET", &[GZIP]), response(200, &[HTML]));
        assert_eq!(judge(&request.view(), &response, BodyLength::AsAnnounced, &settings), Verdict::Untouched);
    }
}
