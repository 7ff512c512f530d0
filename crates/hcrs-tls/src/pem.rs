//! PEM files. Errors name the file.

use std::fs;
use std::path::Path;

use pkcs8::LineEnding;
use pkcs8::der::pem::encode_string;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};

use crate::TlsError;

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })
}

/// Returns all blocks of one kind in the text, in order.
pub(crate) fn blocks<T: PemObject>(path: &Path, text: &[u8]) -> Result<Vec<T>, TlsError> {
    T::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| damaged(path, &error))
}

pub(crate) fn damaged(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::Pem { path: path.into(), detail: error.to_string() }
}

/// Encodes a certificate as text (RFC 7468 section 5).
pub(crate) fn certificate(certificate: &CertificateDer<'_>) -> String {
    encode_string("CERTIFICATE", LineEnding::LF, certificate).expect("a certificate is far below 2 GiB")
}
