//! The page that the edge serves itself when it was given no app: it shows how this request came in.

use std::fmt::{self, Write as _};

use hcrs_http::Address;

/// What the page shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The protocol, as in `HTTP/2`.
    pub protocol: &'a str,
    /// TLS, if the connection has it.
    pub tls: Option<TlsFacts<'a>>,
    /// The connection's number.
    pub connection: u64,
    /// The stream's number, on HTTP/2.
    pub stream: Option<u32>,
    /// The client; `None` on a unix socket.
    pub client: Option<Address<'a>>,
}

/// What the handshake agreed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TlsFacts<'a> {
    /// The version, as in `TLS 1.3`.
    pub version: &'a str,
    /// The cipher suite's name.
    pub cipher: &'a str,
    /// The protocol that ALPN chose.
    pub alpn: Option<&'a str>,
}

/// The page's media type.
pub(crate) fn content_type(html: bool) -> &'static str {
    if html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" }
}

/// The page, as HTML or as plain text.
pub(crate) fn page(facts: &Facts<'_>, html: bool) -> Vec<u8> {
    let mut rows = String::with_capacity(512);
    let mut row = |name: &str, value: &dyn fmt::Display| {
        let _infallible = if html {
            writeln!(rows, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", Html(&value.to_string()))
        } else {
            writeln!(rows, "  {name:<12}{value}")
        };
    };
    row("Protocol", &facts.protocol);
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
    match facts.client {
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

/// Text inside an element.
struct Html<'a>(&'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
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
            protocol: "HTTP/2",
            tls: Some(TlsFacts { version: "TLS 1.3", cipher: "TLS_AES_128_GCM_SHA256", alpn: Some("h2") }),
            connection: 17,
            stream: Some(5),
            client: Some(Address { host: "::1", port: 54106 }),
        }
    }

    #[test]
    fn both_forms_show_how_the_request_came_in() {
        for html in [true, false] {
            let page = String::from_utf8(page(&facts(), html)).unwrap();
            for fact in ["HTTP/2", "TLS 1.3", "TLS_AES_128_GCM_SHA256", "h2", "17", "5", "[::1]:54106"] {
                assert!(page.contains(fact), "{fact} is missing in {page}");
            }
            assert_eq!(page.contains("<html"), html);
        }
    }

    #[test]
    fn a_cleartext_request_over_a_unix_socket_has_less_to_show() {
        let facts = Facts { protocol: "HTTP/1.1", tls: None, stream: None, client: None, ..facts() };
        let page = String::from_utf8(page(&facts, false)).unwrap();
        assert!(page.contains("  TLS         none\n"), "{page}");
        assert!(page.contains("  Client      unix socket\n"), "{page}");
        assert!(!page.contains("Stream") && !page.contains("ALPN"), "{page}");
    }

    #[test]
    fn values_cannot_become_markup() {
        let page = page(&Facts { protocol: "<b>\"&'", ..facts() }, true);
        assert!(String::from_utf8(page).unwrap().contains("<td>&lt;b&gt;&quot;&amp;&#39;</td>"));
    }
}
