//! The page that answers in place of an app that cannot be served, while it is developed (`use_reloader`). It
//! shows the reason, which is a traceback if Python has raised.

use hcrs_http::{RequestHead, ResponseHead};

use super::html::{self, Html};
use crate::exchange::WholeResponse;

/// The most bytes of a reason that a page shows, its last ones: the exception is at the end of a traceback.
const REASON_MAX: usize = 64 << 10;

/// The line in which both forms of the page say what happens next.
const NEXT: &str = "Workers are started again when a file of the app changes; requests then wait for them.";

/// Returns the answer to a request, with the reason why the app cannot be served: HTML for a client that takes
/// it, else plain text. A WebSocket is refused by it.
pub(crate) fn answer(head: &RequestHead, reason: Option<&str>) -> WholeResponse {
    let reason = end_of(reason.unwrap_or_default().trim_end());
    let is_html = html::is_accepted(&head.view());
    let page = if is_html {
        let reason = Html(reason);
        format!("{HTML_START}<p>{NEXT}</p>\n<pre>{reason}</pre>\n</main>\n</body>\n</html>\n")
    } else {
        format!("The app cannot be served.\n{NEXT}\n\n{reason}\n")
    };
    let content_type: &[u8] =
        if is_html { b"text/html; charset=utf-8" } else { b"text/plain; charset=utf-8" };
    let length = page.len().to_string();
    let fields: [(&[u8], &[u8]); 5] = [
        (b"content-type", content_type),
        (b"content-length", length.as_bytes()),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
        (b"x-content-type-options", b"nosniff"),
    ];
    WholeResponse { head: ResponseHead::new(500, fields), body: page.into_bytes() }
}

/// Returns the last bytes of a reason that is too long.
fn end_of(reason: &str) -> &str {
    let start = reason.len().saturating_sub(REASON_MAX);
    let start = (start..=reason.len()).find(|&at| reason.is_char_boundary(at)).unwrap_or(0);
    &reason[start..]
}

const HTML_START: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>The app cannot be served</title>
<link rel="icon" href="data:,">
<style>
  :root { --ink: #1d2433; --soft: #667085; --line: #dfe3ea; --ground: #f6f7f9; --card: #fff; --mark: #b42318 }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e7eaf0; --soft: #98a2b3; --line: #2c3442; --ground: #12161d; --card: #1a2029; --mark: #f97066 }
  }
  body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
  main { box-sizing: border-box; width: min(70rem, 94vw); margin: 3vh auto; padding: 1.5rem 2rem;
         border-radius: 12px; background: var(--card); border: 1px solid var(--line);
         border-top: 4px solid var(--mark) }
  h1 { margin: 0 0 .25rem; font-size: 1.5rem }
  p { margin: 0; color: var(--soft) }
  pre { margin: 1.25rem 0 0; padding-top: 1rem; border-top: 1px solid var(--line); overflow-x: auto;
        font: .88em/1.5 ui-monospace, monospace }
</style>
</head>
<body>
<main>
<h1>The app cannot be served</h1>
"#;

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestLine, Scheme, Version};

    use super::*;

    fn page(accept: &str, reason: &str) -> (WholeResponse, String) {
        let (scheme, version) = (Scheme::Https, Version::Http2);
        let line = RequestLine { version, scheme, method: b"GET", path: b"/", query: b"" };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        head.push_field(b"accept", accept.as_bytes());
        let response = answer(&head, Some(reason));
        let page = String::from_utf8(response.body.clone()).unwrap();
        (response, page)
    }

    #[test]
    fn browsers_get_html_that_nothing_in_the_reason_can_become() {
        let (response, page) = page("text/html,*/*;q=0.8", "KeyError: '<script>'\n");
        assert_eq!(response.head.status(), 500);
        assert!(page.contains("<pre>KeyError: &#39;&lt;script&gt;&#39;</pre>"), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }

    #[test]
    fn other_clients_get_plain_text() {
        let (_, page) = page("*/*", "Traceback:\n  x < y\n");
        assert!(page.starts_with("The app cannot be served.\n"), "{page}");
        assert!(page.ends_with("\n\nTraceback:\n  x < y\n"), "{page}");
    }

    #[test]
    fn a_long_reason_is_cut_at_its_beginning() {
        let (response, page) = page("*/*", &format!("{}NameError", "é".repeat(REASON_MAX)));
        assert!(page.ends_with("éNameError\n") && response.body.len() < REASON_MAX + 300);
    }
}
