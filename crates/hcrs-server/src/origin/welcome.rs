//! The page that the edge serves itself when it has no app. It shows how the request arrived.

use std::fmt::{Display, Write as _};

use hcrs_http::{Address, RequestHead, ResponseHead, Version};

use super::html::{self, Html};
use crate::exchange::WholeResponse;

/// Facts about the connection that the request's head does not hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// TLS, if the connection has it.
    pub tls: Option<TlsFacts<'a>>,
    /// The connection's number.
    pub connection: u64,
    /// The stream's number, on HTTP/2.
    pub stream: Option<u64>,
}

/// The outcome of the TLS handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TlsFacts<'a> {
    /// The version, as in `TLS 1.3`.
    pub version: &'a str,
    /// The cipher suite's name.
    pub cipher: &'a str,
    /// The protocol that ALPN chose.
    pub alpn: Option<&'a str>,
}

/// Returns the answer to a request: the page as HTML for a client that takes it, else as plain text.
pub(crate) fn answer(head: &RequestHead, facts: &Facts<'_>) -> WholeResponse {
    let view = head.view();
    let html = html::is_accepted(&view);
    let protocol = match view.version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2",
        Version::Http3 => "HTTP/3",
    };
    let page = page(protocol, view.client(), facts, html);
    let content_type: &[u8] = if html { b"text/html; charset=utf-8" } else { b"text/plain; charset=utf-8" };
    let length = page.len().to_string();
    let fields: [(&[u8], &[u8]); 3] = [
        (b"content-type", content_type),
        (b"content-length", length.as_bytes()),
        (b"cache-control", b"no-store"),
    ];
    WholeResponse { head: ResponseHead::new(200, fields), body: page }
}

fn page(protocol: &str, client: Option<Address<'_>>, facts: &Facts<'_>, html: bool) -> Vec<u8> {
    let mut rows = String::with_capacity(512);
    let mut row = |name: &str, value: &dyn Display| {
        let _infallible = if html {
            writeln!(rows, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", Html(&value.to_string()))
        } else {
            writeln!(rows, "  {name:<12}{value}")
        };
    };
    row("Protocol", &protocol);
    match facts.tls {
        Some(tls) => {
            row("TLS", &tls.version);
            row("Cipher", &tls.cipher);
            row("ALPN", &tls.alpn.unwrap_or("none"));
        }
        None => row("TLS", &"none"),
    }
    row("Connection", &facts.connection);
    if let Some(stream) = facts.stream {
        row("Stream", &stream);
    }
    match client {
        Some(Address { host, port }) if host.contains(':') => row("Client", &format_args!("[{host}]:{port}")),
        Some(Address { host, port }) => row("Client", &format_args!("{host}:{port}")),
        None => row("Client", &"unix socket"),
    }
    let page = if html {
        format!("{HTML_START}{rows}{HTML_END}")
    } else {
        format!("hcrs is running.\n\n{rows}\nServe an app with: hcrs main:app\n")
    };
    page.into_bytes()
}

const HTML_START: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>hcrs is running</title>
<link rel="icon" href="data:,">
<style>
  :root { --ink: #1d2433; --soft: #667085; --line: #dfe3ea; --ground: #f6f7f9; --card: #fff; --mark: #b7410e }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e7eaf0; --soft: #98a2b3; --line: #2c3442; --ground: #12161d; --card: #1a2029; --mark: #f08a5d }
  }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground);
         color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
  main { box-sizing: border-box; width: min(34rem, 92vw); padding: 2rem 2.25rem; border-radius: 12px;
         background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--mark) }
  h1 { margin: 0 0 .25rem; font-size: 1.5rem }
  p { margin: 0; color: var(--soft) }
  table { width: 100%; margin: 1.25rem 0; border-collapse: collapse }
  th, td { padding: .45rem 0; text-align: left; border-top: 1px solid var(--line); font-weight: 400 }
  th { width: 8rem; color: var(--soft) }
  td, code { font-family: ui-monospace, monospace; font-size: .92em; overflow-wrap: anywhere }
</style>
</head>
<body>
<main>
<h1>hcrs is running</h1>
<p>This page comes from the edge itself. Here is how your request got here.</p>
<table>
"#;

const HTML_END: &str =
    "</table>\n<p>Serve an app with <code>hcrs main:app</code></p>\n</main>\n</body>\n</html>\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>() -> Facts<'a> {
        Facts {
            tls: Some(TlsFacts { version: "TLS 1.3", cipher: "TLS_AES_128_GCM_SHA256", alpn: Some("h2") }),
            connection: 17,
            stream: Some(5),
        }
    }

    #[test]
    fn both_forms_show_how_the_request_came_in() {
        for html in [true, false] {
            let client = Some(Address { host: "::1", port: 54106 });
            let page = String::from_utf8(page("HTTP/2", client, &facts(), html)).unwrap();
            for fact in ["HTTP/2", "TLS 1.3", "TLS_AES_128_GCM_SHA256", "h2", "17", "5", "[::1]:54106"] {
                assert!(page.contains(fact), "{fact} is missing in {page}");
            }
            assert_eq!(page.contains("<html"), html);
        }
    }

    #[test]
    fn a_cleartext_request_over_a_unix_socket_has_less_to_show() {
        let facts = Facts { tls: None, stream: None, ..facts() };
        let page = String::from_utf8(page("HTTP/1.1", None, &facts, false)).unwrap();
        assert!(page.contains("  TLS         none\n"), "{page}");
        assert!(page.contains("  Client      unix socket\n"), "{page}");
        assert!(!page.contains("Stream") && !page.contains("ALPN"), "{page}");
    }

    #[test]
    fn values_cannot_become_markup() {
        let page = page("<b>\"&'", None, &facts(), true);
        assert!(String::from_utf8(page).unwrap().contains("<td>&lt;b&gt;&quot;&amp;&#39;</td>"));
    }
}
