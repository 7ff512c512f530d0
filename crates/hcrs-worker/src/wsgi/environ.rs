//! Builds a WSGI environ from a request's head (PEP 3333, "environ Variables").
//!
//! Strings are "native": bytes decoded as Latin-1, as PEP 3333 requires.

use std::borrow::Cow;

use hcrs_http::{RequestView, Version};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::cache::DirectMapped;
use crate::target::percent_decode;
use crate::wsgi::file::FileWrapper;

const NAMES_KEPT: usize = 256;
const VALUES_KEPT: usize = 512;

/// The values of an environ that are the same for all requests of a worker.
#[derive(Debug)]
pub(crate) struct Server<'py> {
    /// The path under which the app is mounted.
    pub(crate) root_path: &'py str,
    /// Whether more than one thread runs the app.
    pub(crate) multithread: bool,
    /// Whether more than one process runs the app.
    pub(crate) multiprocess: bool,
    /// The stream to the error log.
    pub(crate) errors: &'py Bound<'py, PyAny>,
}

/// A builder of environs, with the caches of their strings.
#[derive(Debug)]
pub(crate) struct EnvironBuilder {
    template: Py<PyDict>,
    root_path: String,
    names: DirectMapped<Py<PyString>>,
    values: DirectMapped<Py<PyString>>,
}

impl EnvironBuilder {
    pub(crate) fn new(py: Python<'_>, server: &Server<'_>) -> PyResult<Self> {
        let template = PyDict::new(py);
        template.set_item("SCRIPT_NAME", server.root_path)?;
        template.set_item("wsgi.version", (1, 0))?;
        template.set_item("wsgi.errors", server.errors)?;
        template.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
        template.set_item("wsgi.multithread", server.multithread)?;
        template.set_item("wsgi.multiprocess", server.multiprocess)?;
        template.set_item("wsgi.run_once", false)?;
        template.set_item("wsgi.input_terminated", true)?;
        Ok(Self {
            template: template.unbind(),
            root_path: server.root_path.to_owned(),
            names: DirectMapped::new(NAMES_KEPT),
            values: DirectMapped::new(VALUES_KEPT),
        })
    }

    /// Returns the dict of which each environ is a copy. The copy is not made in [`EnvironBuilder::fill`],
    /// which runs under a lock, because a new dict may start the garbage collector and so run code of the
    /// app.
    pub(crate) fn template<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        self.template.bind(py).clone()
    }

    /// Returns the path below the app's root, or `None` if the request is for a path outside of it.
    pub(crate) fn path_info<'a>(&self, head: &RequestView<'a>) -> Option<Cow<'a, [u8]>> {
        let path = percent_decode(head.path);
        below(self.root_path.as_bytes(), &path)?;
        let skipped = self.root_path.trim_end_matches('/').len();
        Some(match path {
            Cow::Borrowed(path) => Cow::Borrowed(&path[skipped..]),
            Cow::Owned(path) => Cow::Owned(path[skipped..].to_vec()),
        })
    }

    /// Sets the values of the request's head.
    pub(crate) fn fill(
        &mut self,
        environ: &Bound<'_, PyDict>,
        head: &RequestView<'_>,
        path_info: &[u8],
    ) -> PyResult<()> {
        let py = environ.py();
        environ.set_item(intern!(py, "REQUEST_METHOD"), self.method(py, head.method))?;
        if !head.prefix.is_empty() {
            // The prefix that a proxy has removed from the path.
            let script_name = [&percent_decode(head.prefix), self.root_path.as_bytes()].concat();
            environ.set_item(intern!(py, "SCRIPT_NAME"), self.value(py, &script_name))?;
        }
        environ.set_item(intern!(py, "PATH_INFO"), self.value(py, path_info))?;
        environ.set_item(intern!(py, "QUERY_STRING"), self.value(py, head.query))?;
        environ.set_item(intern!(py, "wsgi.url_scheme"), PyString::intern(py, head.scheme.as_str()))?;
        let protocol = match head.version {
            Version::Http10 => intern!(py, "HTTP/1.0"),
            Version::Http11 => intern!(py, "HTTP/1.1"),
            // RFC 3875 §4.1.16: a digit, a dot, a digit.
            Version::Http2 => intern!(py, "HTTP/2.0"),
            Version::Http3 => intern!(py, "HTTP/3.0"),
        };
        environ.set_item(intern!(py, "SERVER_PROTOCOL"), protocol)?;
        let (host, port) = head.server().map_or(("localhost", 80), |server| (server.host, server.port));
        environ.set_item(intern!(py, "SERVER_NAME"), self.value(py, host.as_bytes()))?;
        environ.set_item(intern!(py, "SERVER_PORT"), self.value(py, port.to_string().as_bytes()))?;
        // A client on a unix socket has no address, but CGI requires the variable (RFC 3875 §4.1.8).
        let client = head.client().map_or("", |client| client.host);
        environ.set_item(intern!(py, "REMOTE_ADDR"), self.value(py, client.as_bytes()))?;
        if let Some(client) = head.client() {
            environ
                .set_item(intern!(py, "REMOTE_PORT"), self.value(py, client.port.to_string().as_bytes()))?;
        }
        let target = self.target(py, head);
        environ.set_item(intern!(py, "RAW_URI"), &target)?;
        environ.set_item(intern!(py, "REQUEST_URI"), target)?;
        for (name, value) in head.fields() {
            self.field(environ, name, value)?;
        }
        Ok(())
    }

    fn field(&mut self, environ: &Bound<'_, PyDict>, name: &[u8], value: &[u8]) -> PyResult<()> {
        let py = environ.py();
        // `x_a` would be mistaken for `x-a`, which proxies set or remove; `proxy` for the variable
        // HTTP_PROXY.
        if name.contains(&b'_') || name == b"proxy" {
            return Ok(());
        }
        let key = self.names.get_or_try_insert(
            (name, b""),
            || Ok::<_, PyErr>(PyString::new(py, &variable(name)).unbind()),
            |key| key.bind(py).clone(),
        )?;
        let value = match environ.get_item(&key)? {
            None if matches!(name, b"cookie" | b"authorization" | b"proxy-authorization") => {
                latin1(py, value)
            }
            None => self.value(py, value),
            Some(before) => {
                let before = before.cast_into::<PyString>()?;
                let between = if name == b"cookie" { "; " } else { "," }; // RFC 6265 §5.4, RFC 9110 §5.3
                PyString::new(py, &[&before.to_cow()?, between, &text(value)].concat())
            }
        };
        environ.set_item(key, value)
    }

    fn method<'py>(&mut self, py: Python<'py>, method: &[u8]) -> Bound<'py, PyString> {
        if method.iter().any(u8::is_ascii_lowercase) {
            self.value(py, &method.to_ascii_uppercase())
        } else {
            self.value(py, method)
        }
    }

    /// Returns the path and query as the client has sent them.
    fn target<'py>(&mut self, py: Python<'py>, head: &RequestView<'_>) -> Bound<'py, PyString> {
        if head.query.is_empty() {
            self.value(py, head.path)
        } else {
            self.value(py, &[head.path, b"?", head.query].concat())
        }
    }

    fn value<'py>(&mut self, py: Python<'py>, value: &[u8]) -> Bound<'py, PyString> {
        let kept = self.values.get_or_try_insert(
            (value, b""),
            || Ok::<_, std::convert::Infallible>(latin1(py, value).unbind()),
            |value| value.bind(py).clone(),
        );
        match kept {
            Ok(value) => value,
        }
    }
}

/// Returns the rest of `path` below `root`, if `root` ends at the boundary of a segment.
fn below<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?;
    (rest.is_empty() || rest[0] == b'/' || root.is_empty()).then_some(rest)
}

/// Returns the variable of a field, whose name is in lower case.
fn variable(name: &[u8]) -> String {
    let upper: String =
        name.iter().map(|&b| if b == b'-' { '_' } else { char::from(b.to_ascii_uppercase()) }).collect();
    match name {
        b"content-type" | b"content-length" => upper,
        _ => format!("HTTP_{upper}"),
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        Ok(_) | Err(_) => Cow::Owned(bytes.iter().map(|&b| char::from(b)).collect()),
    }
}

fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    PyString::new(py, &text(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_variables() {
        assert_eq!(variable(b"x-request-id"), "HTTP_X_REQUEST_ID");
        assert_eq!(variable(b"content-type"), "CONTENT_TYPE");
        assert_eq!(variable(b"content-length"), "CONTENT_LENGTH");
    }

    #[test]
    fn paths_lie_below_the_root_at_a_segments_boundary() {
        assert_eq!(below(b"", b"/a"), Some(&b"/a"[..]));
        assert_eq!(below(b"/r", b"/r/a"), Some(&b"/a"[..]));
        assert_eq!(below(b"/r", b"/r"), Some(&b""[..]));
        assert_eq!(below(b"/r/", b"/r/a"), Some(&b"/a"[..]));
        assert_eq!(below(b"/r", b"/rx"), None);
        assert_eq!(below(b"/r", b"/"), None);
    }

    #[test]
    fn bytes_are_decoded_as_latin_1() {
        assert_eq!(text(b"a\xc3\xa9"), "a\u{c3}\u{a9}");
    }
}
