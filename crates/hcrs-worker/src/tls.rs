//! What requests find under `tls` in their scope's extensions (ASGI, "TLS Extension"), by the number that their heads name.

use std::num::NonZeroU8;

use hcrs_link::TlsFacts;
use pyo3::exceptions::PyConnectionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// The meaning of numbers, as the edge told them last. There are no more than a number has values.
#[derive(Debug, Default)]
pub(crate) struct TlsScopes {
    /// By number, less one.
    meant: Vec<Option<Meant>>,
}

#[derive(Debug)]
enum Meant {
    /// No request has named it yet.
    Told(Box<[u8]>),
    /// Copied for each request; what is in it cannot be changed.
    Extension(Py<PyDict>),
}

impl TlsScopes {
    /// Notes what a number means from now on; false if the payload does not have its form.
    pub(crate) fn learn(&mut self, number: NonZeroU8, payload: &[u8]) -> bool {
        let at = place(number);
        if self.meant.len() <= at {
            self.meant.resize_with(at + 1, || None);
        }
        self.meant[at] = Some(Meant::Told(payload.into()));
        TlsFacts::parse(payload).is_some()
    }

    /// The extension of a request that names this number.
    pub(crate) fn extension<'py>(
        &mut self,
        py: Python<'py>,
        number: NonZeroU8,
    ) -> PyResult<Bound<'py, PyDict>> {
        let meant = self.meant.get_mut(place(number)).and_then(Option::as_mut);
        let unknown = || PyConnectionError::new_err("a request names TLS facts that the edge has not told");
        let meant = meant.ok_or_else(unknown)?;
        if let Meant::Told(payload) = meant {
            let facts = TlsFacts::parse(payload).ok_or_else(unknown)?;
            *meant = Meant::Extension(build(py, &facts)?.unbind());
        }
        match meant {
            Meant::Extension(extension) => extension.bind(py).copy(),
            Meant::Told(_) => Err(unknown()),
        }
    }
}

fn place(number: NonZeroU8) -> usize {
    usize::from(number.get()) - 1
}

fn build<'py>(py: Python<'py>, facts: &TlsFacts<'_>) -> PyResult<Bound<'py, PyDict>> {
    let known = |number: u16| (number != 0).then_some(number);
    let extension = PyDict::new(py);
    extension.set_item(intern!(py, "server_cert"), facts.server_certificate)?;
    extension.set_item(intern!(py, "client_cert_chain"), PyTuple::new(py, &facts.client_certificates)?)?;
    extension.set_item(intern!(py, "client_cert_name"), facts.client_name)?;
    // A client whose certificate does not verify has no connection.
    extension.set_item(intern!(py, "client_cert_error"), py.None())?;
    extension.set_item(intern!(py, "tls_version"), known(facts.version))?;
    extension.set_item(intern!(py, "cipher_suite"), known(facts.cipher_suite))?;
    Ok(extension)
}
