//! Responses to faults that rules change: pages in place of an empty body, and the challenge for a password.

use bytes::Bytes;
use hcrs_files::content_type;
use hcrs_http::{Fault, ResponseHead};

use super::{BodyPiece, PiecedResponse};
use crate::settings::{FixedBody, Rules};

/// The type of texts.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Returns the response to a fault.
pub(crate) fn fault_response(rules: &Rules, fault: Fault) -> PageResponse {
    let mut fields = Vec::new();
    if let Some(methods) = fault.allow() {
        fields.push(("allow", methods.to_owned()));
    }
    if let Some(seconds) = fault.retry_after() {
        fields.push(("retry-after", seconds.to_string()));
    }
    if fault == Fault::Unauthorized {
        let realm = rules.auth_realm.as_deref().unwrap_or(Rules::REALM);
        fields.push(("www-authenticate", format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")));
    }
    let page = rules.error_pages.as_ref().and_then(|pages| pages.find(fault.status())).map(Page::of);
    with_page(fault.status(), &fields, page.unwrap_or_default())
}

/// Returns the response with the page that the rules have for this status of an error; `None` if they have none.
pub(crate) fn page_of(rules: &Rules, status: u16) -> Option<PageResponse> {
    let page = rules.error_pages.as_ref()?.find(status)?;
    Some(with_page(status, &[], Page::of(page)))
}

/// Returns the response in place of one that the server has made for an error, if the rules have a page for it: with
/// the page, and with the fields that do not describe the text that it replaces.
pub(crate) fn instead_of(rules: &Rules, head: &ResponseHead) -> Option<PageResponse> {
    let page = rules.error_pages.as_ref()?.find(head.status())?;
    let is_kept = |name: &str| {
        !matches!(name, "content-type" | "content-length" | "x-content-type-options" | "cache-control")
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let fields: Vec<_> = head.fields().map(|(name, value)| (text(name), text(value))).collect();
    let fields = fields.iter().filter(|(name, _)| is_kept(name));
    let fields: Vec<_> = fields.map(|(name, value)| (name.as_str(), value.clone())).collect();
    Some(with_page(head.status(), &fields, Page::of(page)))
}

/// A response with a page, whose body is in memory for all of them.
#[derive(Debug)]
pub(crate) struct PageResponse {
    /// The head, which announces the body's length.
    pub head: ResponseHead,
    /// The body; empty if there is none.
    pub body: Bytes,
}

impl From<PageResponse> for PiecedResponse {
    fn from(PageResponse { head, body }: PageResponse) -> Self {
        let body = if body.is_empty() { Vec::new() } else { vec![BodyPiece::bytes(body)] };
        Self { head, body }
    }
}

/// A page; an empty one is none.
#[derive(Debug, Default)]
pub(crate) struct Page<'a> {
    /// The type of the body.
    pub content_type: &'a str,
    /// The body.
    pub body: Bytes,
}

impl<'a> Page<'a> {
    fn of(page: &'a FixedBody) -> Self {
        match page {
            FixedBody::Text(text) => {
                Self { content_type: PLAIN_TEXT, body: Bytes::copy_from_slice(text.as_bytes()) }
            }
            FixedBody::File(file) => {
                Self { content_type: content_type(file.path()), body: file.contents().clone() }
            }
        }
    }
}

/// Returns a response of this status with these fields and the page.
pub(crate) fn with_page(status: u16, fields: &[(&str, String)], page: Page<'_>) -> PageResponse {
    let length = page.body.len().to_string();
    let has_page = !page.body.is_empty();
    let of_page = [
        ("content-type", page.content_type),
        ("x-content-type-options", "nosniff"),
        // The error of the moment is not that of a cache.
        ("cache-control", "no-store"),
    ];
    let of_page = of_page.into_iter().filter(|_| has_page);
    let all = fields.iter().map(|(name, value)| (*name, value.as_str())).chain(of_page);
    let all = all.chain([("content-length", length.as_str())]);
    let head = ResponseHead::new(status, all.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    PageResponse { head, body: page.body }
}

#[cfg(test)]
mod tests {
    use hcrs_rules::{ErrorPages, StatusPattern};

    use super::*;

    fn shown(response: &PageResponse) -> (u16, Vec<String>, Vec<u8>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = response.head.fields();
        let fields = fields.map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
        (response.head.status(), fields, response.body.to_vec())
    }

    #[test]
    fn a_fault_without_a_page_has_its_fields_and_no_body() {
        let (status, fields, body) = shown(&fault_response(&Rules::default(), Fault::RateLimited(7)));
        assert_eq!((status, body), (429, Vec::new()));
        assert_eq!(fields, ["retry-after: 7", "content-length: 0"]);
        let rules = Rules { auth_realm: Some("staff".into()), ..Rules::default() };
        let (status, fields, _) = shown(&fault_response(&rules, Fault::Unauthorized));
        let challenge = "www-authenticate: Basic realm=\"staff\", charset=\"UTF-8\"";
        assert_eq!((status, fields[0].as_str()), (401, challenge));
    }

    #[test]
    fn a_fault_with_a_page_has_its_type_and_length() {
        let mut pages = ErrorPages::default();
        assert!(pages.add(StatusPattern::Class(5), FixedBody::Text("down".into())));
        let rules = Rules { error_pages: Some(pages), ..Rules::default() };
        let (status, fields, body) = shown(&fault_response(&rules, Fault::QueueFull));
        assert_eq!((status, body), (503, b"down".to_vec()));
        assert_eq!(
            fields,
            [
                "retry-after: 1",
                "content-type: text/plain; charset=utf-8",
                "x-content-type-options: nosniff",
                "cache-control: no-store",
                "content-length: 4"
            ]
        );
        assert!(page_of(&rules, 502).is_some() && page_of(&rules, 404).is_none());
    }

    #[test]
    fn an_error_of_the_server_keeps_its_own_fields_beside_a_page() {
        let mut pages = ErrorPages::default();
        assert!(pages.add(StatusPattern::Exactly(416), FixedBody::Text("no".into())));
        let rules = Rules { error_pages: Some(pages), ..Rules::default() };
        let head = |status| {
            let fields: [(&[u8], &[u8]); 2] = [(b"content-range", b"bytes */9"), (b"content-length", b"7")];
            ResponseHead::new(status, fields)
        };
        let (status, fields, body) = shown(&instead_of(&rules, &head(416)).unwrap());
        assert_eq!((status, body), (416, b"no".to_vec()));
        assert_eq!(
            (fields[0].as_str(), fields.last().unwrap().as_str()),
            ("content-range: bytes */9", "content-length: 2")
        );
        assert!(instead_of(&rules, &head(404)).is_none());
    }
}
