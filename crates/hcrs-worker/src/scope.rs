//! Builds an ASGI HTTP scope from a request's head in one pass (ASGI HTTP spec, "HTTP Connection Scope").
//!
//! Constant keys are in a template for each version and scheme. Repeated objects are shared by bounded
//! caches; they are immutable, so that no request sees changes by another.

use std::num::NonZeroU8;

use hcrs_http::{Address, RequestView, Scheme, Version};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::cache::DirectMapped;
use crate::target::percent_decode;
use crate::tls::TlsScopes;

/// The version of ASGI's HTTP specification in scopes. Version 2.4 would promise that `send` raises after a
/// disconnect; frameworks that see it do not listen for `http.disconnect`, so that a stream with nothing to
/// send would outlive its client.
const SPEC_VERSION: &str = "2.3";

/// The version of ASGI's WebSocket specification in scopes. On a WebSocket `send` does raise after a
/// disconnect.
const WEBSOCKET_SPEC_VERSION: &str = "2.4";

const FIELDS_KEPT: usize = 512;
const TARGETS_KEPT: usize = 512;
const ADDRESSES_KEPT: usize = 128;

const VERSIONS: [Version; 4] = [Version::Http10, Version::Http11, Version::Http2, Version::Http3];
const SCHEMES: [Scheme; 2] = [Scheme::Http, Scheme::Https];

/// The methods of RFC 9110 §9 and RFC 5789.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// A builder of scopes, with the caches of their values.
#[derive(Debug)]
pub(crate) struct ScopeBuilder {
    templates: Vec<Template>,
    asgi: Py<PyDict>,
    state: Py<PyDict>,
    fields: DirectMapped<Py<PyTuple>>,
    targets: DirectMapped<Target>,
    addresses: DirectMapped<Py<PyAny>>,
    methods: DirectMapped<Py<PyString>>,
    tls: TlsScopes,
}

/// The common part of the scopes of one version and scheme.
#[derive(Debug)]
struct Template {
    scope: Py<PyDict>,
    /// The extensions by [`Offered::kind`]. The dicts are copied for each request; the empty dicts in them
    /// are shared.
    extensions: Vec<Py<PyDict>>,
}

/// The extensions that depend on the request and not only on its version.
#[derive(Debug, Clone, Copy)]
struct Offered {
    /// Whether there is a key for `tls`, whose value depends on the connection.
    tls: bool,
    pushes: bool,
    files: bool,
}

impl Offered {
    const KINDS: usize = 8;

    fn kind(self) -> usize {
        usize::from(self.tls) + 2 * usize::from(self.pushes) + 4 * usize::from(self.files)
    }

    fn of_kind(kind: usize) -> Self {
        Self { tls: kind & 1 != 0, pushes: kind & 2 != 0, files: kind & 4 != 0 }
    }
}

/// The values of a scope that are made of the request target.
#[derive(Debug)]
struct Target {
    path: Py<PyString>,
    raw_path: Py<PyBytes>,
    query: Py<PyBytes>,
}

impl ScopeBuilder {
    /// Creates a builder for an app at `root_path`, with the `state` of its lifespan.
    pub(crate) fn new(py: Python<'_>, root_path: &str, state: &Bound<'_, PyDict>) -> PyResult<Self> {
        let asgi = PyDict::new(py);
        asgi.set_item("spec_version", SPEC_VERSION)?;
        asgi.set_item("version", "3.0")?;
        let mut templates = Vec::new();
        for version in VERSIONS {
            for scheme in SCHEMES {
                let mut kinds = Vec::with_capacity(Offered::KINDS);
                for kind in 0..Offered::KINDS {
                    kinds.push(extensions(py, version, Offered::of_kind(kind))?.unbind());
                }
                templates.push(Template {
                    scope: template(py, version, scheme, root_path)?.unbind(),
                    extensions: kinds,
                });
            }
        }
        Ok(Self {
            templates,
            asgi: asgi.unbind(),
            state: state.clone().unbind(),
            fields: DirectMapped::new(FIELDS_KEPT),
            targets: DirectMapped::new(TARGETS_KEPT),
            addresses: DirectMapped::new(ADDRESSES_KEPT),
            methods: DirectMapped::new(16),
            tls: TlsScopes::default(),
        })
    }

    /// Builds the scope of the request with this head.
    pub(crate) fn build<'py>(
        &mut self,
        py: Python<'py>,
        head: &RequestView<'_>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let template = &self.templates[template_index(head.version, head.scheme)];
        let scope = template.scope.bind(py).copy()?;
        let offered =
            Offered { tls: head.tls.is_some(), pushes: head.takes_pushes, files: head.offers_files };
        let extensions = template.extensions[offered.kind()].bind(py).copy()?;
        if let Some(number) = head.tls {
            extensions.set_item(intern!(py, "tls"), self.tls.extension(py, number)?)?;
        }
        scope.set_item(intern!(py, "extensions"), extensions)?;
        scope.set_item(intern!(py, "asgi"), self.asgi.bind(py).copy()?)?;
        let method = self.methods.get_or_try_insert(
            (head.method, b""),
            || Ok::<_, PyErr>(method(py, head.method).unbind()),
            |method| method.bind(py).clone(),
        )?;
        scope.set_item(intern!(py, "method"), method)?;
        self.targets.get_or_try_insert(
            (head.path, head.query),
            || Ok::<_, PyErr>(target(py, head.path, head.query)),
            |target| {
                scope.set_item(intern!(py, "path"), &target.path)?;
                scope.set_item(intern!(py, "raw_path"), &target.raw_path)?;
                scope.set_item(intern!(py, "query_string"), &target.query)
            },
        )??;
        if !head.prefix.is_empty() {
            put_prefix_back(&scope, head.prefix)?;
        }
        scope.set_item(intern!(py, "headers"), self.headers(py, head)?)?;
        let (client, server) = head.address_blocks();
        let client = self.address(py, client, head.client())?;
        scope.set_item(intern!(py, "client"), client)?;
        let server = self.address(py, server, head.server())?;
        scope.set_item(intern!(py, "server"), server)?;
        scope.set_item(intern!(py, "state"), self.state.bind(py).copy()?)?;
        Ok(scope)
    }

    /// Builds the scope of the WebSocket request with this head (ASGI WebSocket spec, "WebSocket Connection
    /// Scope").
    pub(crate) fn build_websocket<'py>(
        &mut self,
        py: Python<'py>,
        head: &RequestView<'_>,
        subprotocols: &[String],
    ) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.build(py, head)?;
        scope.set_item(intern!(py, "type"), intern!(py, "websocket"))?;
        scope.del_item(intern!(py, "method"))?;
        let asgi = self.asgi.bind(py).copy()?;
        asgi.set_item(intern!(py, "spec_version"), WEBSOCKET_SPEC_VERSION)?;
        scope.set_item(intern!(py, "asgi"), asgi)?;
        let scheme = match head.scheme {
            Scheme::Http => "ws",
            Scheme::Https => "wss",
        };
        scope.set_item(intern!(py, "scheme"), PyString::intern(py, scheme))?;
        scope.set_item(intern!(py, "subprotocols"), subprotocols)?;
        let extensions = PyDict::new(py);
        extensions.set_item(intern!(py, "websocket.http.response"), PyDict::new(py))?;
        if let Some(number) = head.tls {
            extensions.set_item(intern!(py, "tls"), self.tls.extension(py, number)?)?;
        }
        scope.set_item(intern!(py, "extensions"), extensions)?;
        Ok(scope)
    }

    /// Assigns TLS facts to a number, in place of any earlier ones. Returns false if the payload is
    /// malformed.
    pub(crate) fn learn_tls(&mut self, number: NonZeroU8, payload: &[u8]) -> bool {
        self.tls.learn(number, payload)
    }

    fn headers<'py>(&mut self, py: Python<'py>, head: &RequestView<'_>) -> PyResult<Bound<'py, PyList>> {
        let items =
            head.fields().map(|(name, value)| self.field(py, name, value)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, items)
    }

    fn field<'py>(&mut self, py: Python<'py>, name: &[u8], value: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
        let make = || PyTuple::new(py, [PyBytes::new(py, name), PyBytes::new(py, value)]);
        if is_secret(name) {
            return make();
        }
        self.fields.get_or_try_insert(
            (name, value),
            || make().map(Bound::unbind),
            |field| field.bind(py).clone(),
        )
    }

    fn address<'py>(
        &mut self,
        py: Python<'py>,
        block: &[u8],
        address: Option<Address<'_>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(Address { host, port }) = address else { return Ok(py.None().into_bound(py)) };
        self.addresses.get_or_try_insert(
            (block, b""),
            || Ok::<_, PyErr>((host, port).into_pyobject(py)?.into_any().unbind()),
            |address| address.bind(py).clone(),
        )
    }
}

/// Prepends the prefix that a proxy has removed from the path to `root_path`, and to `path`, which contains
/// the root.
fn put_prefix_back(scope: &Bound<'_, PyDict>, prefix: &[u8]) -> PyResult<()> {
    let py = scope.py();
    let prefix = PyString::new(py, &String::from_utf8_lossy(&percent_decode(prefix)));
    for key in [intern!(py, "root_path"), intern!(py, "path")] {
        if let Some(rest) = scope.get_item(key)? {
            scope.set_item(key, prefix.add(rest)?)?;
        }
    }
    Ok(())
}

/// Returns whether a field's value is secret, and so is not cached.
fn is_secret(name: &[u8]) -> bool {
    matches!(name, b"cookie" | b"authorization" | b"proxy-authorization")
}

fn template_index(version: Version, scheme: Scheme) -> usize {
    let version = match version {
        Version::Http10 => 0,
        Version::Http11 => 1,
        Version::Http2 => 2,
        Version::Http3 => 3,
    };
    version * SCHEMES.len() + scheme as usize
}

/// Creates the `extensions` of a scope.
fn extensions(py: Python<'_>, version: Version, offered: Offered) -> PyResult<Bound<'_, PyDict>> {
    const FILES: &[&str] = &["http.response.pathsend", "http.response.zerocopysend"];
    let files = if offered.files { FILES } else { &[] };
    let more: &[&str] = match version {
        Version::Http10 => &[],
        Version::Http11 | Version::Http2 | Version::Http3 => {
            &["http.response.trailers", "http.response.early_hint"]
        }
    };
    let extensions = PyDict::new(py);
    for name in files.iter().chain(more) {
        extensions.set_item(PyString::intern(py, name), PyDict::new(py))?;
    }
    if offered.pushes {
        extensions.set_item(intern!(py, "http.response.push"), PyDict::new(py))?;
    }
    if offered.tls {
        extensions.set_item(intern!(py, "tls"), py.None())?;
    }
    Ok(extensions)
}

/// Creates a scope with all keys, so that the dict does not grow when the request's values are set.
fn template<'py>(
    py: Python<'py>,
    version: Version,
    scheme: Scheme,
    root_path: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let scope = PyDict::new(py);
    scope.set_item(intern!(py, "type"), intern!(py, "http"))?;
    scope.set_item(intern!(py, "asgi"), py.None())?;
    scope.set_item(intern!(py, "http_version"), PyString::intern(py, version.as_str()))?;
    scope.set_item(intern!(py, "method"), py.None())?;
    scope.set_item(intern!(py, "scheme"), PyString::intern(py, scheme.as_str()))?;
    scope.set_item(intern!(py, "path"), py.None())?;
    scope.set_item(intern!(py, "raw_path"), py.None())?;
    scope.set_item(intern!(py, "query_string"), py.None())?;
    scope.set_item(intern!(py, "root_path"), PyString::intern(py, root_path))?;
    scope.set_item(intern!(py, "headers"), py.None())?;
    scope.set_item(intern!(py, "client"), py.None())?;
    scope.set_item(intern!(py, "server"), py.None())?;
    scope.set_item(intern!(py, "state"), py.None())?;
    scope.set_item(intern!(py, "extensions"), py.None())?;
    Ok(scope)
}

/// Creates a scope's `method`. Unknown methods are not interned, because interned strings are immortal
/// (Python 3.12).
fn method<'py>(py: Python<'py>, method: &[u8]) -> Bound<'py, PyString> {
    let method = String::from_utf8_lossy(method).to_ascii_uppercase();
    if METHODS.contains(&&*method) { PyString::intern(py, &method) } else { PyString::new(py, &method) }
}

fn target(py: Python<'_>, path: &[u8], query: &[u8]) -> Target {
    Target {
        path: PyString::new(py, &String::from_utf8_lossy(&percent_decode(path))).unbind(),
        raw_path: PyBytes::new(py, path).unbind(),
        query: PyBytes::new(py, query).unbind(),
    }
}
