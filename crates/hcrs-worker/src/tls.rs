//! The `tls` extension of scopes (ASGI, "TLS Extension"), by the number in the request's head.

use std::num::NonZeroU8;

use hcrs_link::TlsInfo;
use pyo3::exceptions::PyConnectionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// The TLS facts of each number, as the edge has sent them last. There are at most 255 numbers.
#[derive(Debug, Default)]
pub(crate) struct TlsScopes {
    /// The facts by number, minus one.
    facts: Vec<Option<Facts>>,
}

/// The facts of one number.
#[derive(Debug)]
enum Facts {
    /// The payload of the frame, before the first request with the number.
    Payload(Box<[u8]>),
    /// The extension, which is copied for each request. Its values are immutable.
    Extension(Py<PyDict>),
}

impl TlsScopes {
    /// Assigns facts to a number, in place of any earlier ones. Returns false if the payload is malformed.
    pub(crate) fn learn(&mut self, number: NonZeroU8, payload: &[u8]) -> bool {
        let at = index(number);
        if self.facts.len() <= at {
            self.facts.resize_with(at + 1, || None);
        }
        self.facts[at] = Some(Facts::Payload(payload.into()));
        TlsInfo::parse(payload).is_some()
    }

    /// Returns the extension of a request with this number.
    pub(crate) fn extension<'py>(
        &mut self,
        py: Python<'py>,
        number: NonZeroU8,
    ) -> PyResult<Bound<'py, PyDict>> {
        let known = self.facts.get_mut(index(number)).and_then(Option::as_mut);
        let unknown =
            || PyConnectionError::new_err("a request refers to TLS facts that the edge has not sent");
        let known = known.ok_or_else(unknown)?;
        if let Facts::Payload(payload) = known {
            let facts = TlsInfo::parse(payload).ok_or_else(unknown)?;
            *known = Facts::Extension(build(py, &facts)?.unbind());
        }
        match known {
            Facts::Extension(extension) => extension.bind(py).copy(),
            Facts::Payload(_) => Err(unknown()),
        }
    }
}

fn index(number: NonZeroU8) -> usize {
    usize::from(number.get()) - 1
}

fn build<'py>(py: Python<'py>, facts: &TlsInfo<'_>) -> PyResult<Bound<'py, PyDict>> {
    let known = |number: u16| (number != 0).then_some(number);
    let extension = PyDict::new(py);
    extension.set_item(intern!(py, "server_cert"), facts.server_certificate)?;
    extension.set_item(intern!(py, "client_cert_chain"), PyTuple::new(py, &facts.client_certificates)?)?;
    extension.set_item(intern!(py, "client_cert_name"), facts.client_name)?;
    // A client whose certificate does not verify is not connected.
    extension.set_item(intern!(py, "client_cert_error"), py.None())?;
    extension.set_item(intern!(py, "tls_version"), known(facts.version))?;
    extension.set_item(intern!(py, "cipher_suite"), known(facts.cipher_suite))?;
    Ok(extension)
}
