//! Builds an ASGI HTTP scope from a request's head in one pass (ASGI HTTP spec, "HTTP Connection Scope").
//!
//! The keys that do not change stand in a template for each version and scheme; objects that come again are
//! shared out of bounded caches. They are immutable, so no request sees another's changes.

use std::num::NonZeroU8;

use hcrs_http::{Address, RequestView, Scheme, Version};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::cache::DirectMapped;
use crate::target::percent_decode;
use crate::tls::TlsScopes;

/// The version of ASGI's HTTP specification that scopes name. 2.4 would promise that `send` raises once the client is
/// gone; frameworks that see it no longer listen for `http.disconnect`, so that a stream with nothing to send would
/// live on after its client.
const SPEC_VERSION: &str = "2.3";

/// The version for WebSockets: there `send` raises once the client is gone, and nothing is lost by it.
const WEBSOCKET_SPEC_VERSION: &str = "2.4";

const FIELDS_KEPT: usize = 512;
const TARGETS_KEPT: usize = 512;
const ADDRESSES_KEPT: usize = 128;

const VERSIONS: [Version; 3] = [Version::Http10, Version::Http11, Version::Http2];
const SCHEMES: [Scheme; 2] = [Scheme::Http, Scheme::Https];

/// The methods of RFC 9110 §9 and RFC 5789.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Builds scopes.
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

/// What requests of one version and scheme have in common.
#[derive(Debug)]
struct Template {
    scope: Py<PyDict>,
    /// By what [`Offered`] numbers. Copied for each request; the empty dicts in them are shared.
    extensions: Vec<Py<PyDict>>,
}

/// What some requests are offered and others of the same version are not.
#[derive(Debug, Clone, Copy)]
struct Offered {
    /// The place for `tls`, which is each connection's own.
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

/// What a request target becomes.
#[derive(Debug)]
struct Target {
    path: Py<PyString>,
    raw_path: Py<PyBytes>,
    query: Py<PyBytes>,
}

impl ScopeBuilder {
    /// A builder for an app mounted at `root_path` whose lifespan left `state`.
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

    /// The scope of the request with this head.
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

    /// The scope of the request for a WebSocket with this head (ASGI WebSocket spec, "WebSocket Connection Scope").
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

    /// Notes what a number of TLS facts means from now on; false if the payload does not have its form.
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

/// What a proxy has taken off the path belongs to the root, and ASGI's path contains its root.
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

/// Fields whose values are not kept beyond their request.
fn is_secret(name: &[u8]) -> bool {
    matches!(name, b"cookie" | b"authorization" | b"proxy-authorization")
}

fn template_index(version: Version, scheme: Scheme) -> usize {
    let version = match version {
        Version::Http10 => 0,
        Version::Http11 => 1,
        Version::Http2 => 2,
    };
    version * SCHEMES.len() + scheme as usize
}

/// The extensions of ASGI that a version of the protocol allows.
fn extensions(py: Python<'_>, version: Version, offered: Offered) -> PyResult<Bound<'_, PyDict>> {
    const FILES: &[&str] = &["http.response.pathsend", "http.response.zerocopysend"];
    let files = if offered.files { FILES } else { &[] };
    let more: &[&str] = match version {
        Version::Http10 => &[],
        Version::Http11 | Version::Http2 => &["http.response.trailers", "http.response.early_hint"],
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

/// A scope in which every key stands, so that setting the request's own never makes the dict grow.
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

/// A method as scopes name it. Interned strings live on for ever (Python 3.12), so what a client makes up is not.
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
