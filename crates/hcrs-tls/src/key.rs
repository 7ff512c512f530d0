//! Private keys, encrypted or not.

use std::path::Path;

use pkcs8::der::{Any, Decode as _};
use pkcs8::{AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, ObjectIdentifier, SecretDocument, pkcs5};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::pem::{damaged, read};
use crate::{Password, TlsError};

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// The first header of an encrypted block in the old form (RFC 1421 section 4.6.1.1).
const LEGACY_MARK: &str = "Proc-Type: 4,ENCRYPTED";

/// Loads the first private key in the file.
pub(crate) fn load(path: &Path, password: Option<&Password>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        _ if contains(&text, LEGACY_MARK) => Err(TlsError::LegacyEncryption { path: path.into() }),
        Err(pem::Error::NoItemsFound) => match encrypted_block(&text) {
            Some(block) => decrypt(path, block, password),
            None => Err(TlsError::NoKey { path: path.into() }),
        },
        Err(error) => Err(damaged(path, &error)),
        Ok(key) => Ok(key),
    }
}

/// Decrypts PKCS #8's `EncryptedPrivateKeyInfo` (RFC 5958 section 3) with the schemes of PBES2 (RFC 8018
/// section 6.2).
fn decrypt(
    path: &Path,
    block: &str,
    password: Option<&Password>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let malformed = |detail: String| TlsError::Pem { path: path.into(), detail };
    let (_, document) = SecretDocument::from_pem(block).map_err(|error| malformed(error.to_string()))?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|error| {
        match scheme(document.as_bytes()) {
            Some(scheme) => unknown(path, &format!("{scheme}: {error}")),
            None => malformed(error.to_string()),
        }
    })?;
    let Some(password) = password else { return Err(TlsError::PasswordMissing { path: path.into() }) };
    match info.decrypt(password.as_bytes()) {
        Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            error @ (pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs5::Error::NoPbes1CryptSupport
            | pkcs5::Error::AlgorithmParametersInvalid { .. }),
        )) => Err(unknown(path, &error.to_string())),
        // With a wrong key the plaintext has bad padding, or by chance good padding and no structure.
        Err(_) => Err(TlsError::WrongPassword { path: path.into() }),
    }
}

/// Returns the object identifier of the scheme, if the structure around it is valid.
fn scheme(document: &[u8]) -> Option<ObjectIdentifier> {
    let fields = Vec::<Any>::from_der(document).ok()?;
    Some(fields.first()?.decode_as::<AlgorithmIdentifierRef<'_>>().ok()?.oid)
}

fn unknown(path: &Path, detail: &str) -> TlsError {
    TlsError::UnknownEncryption { path: path.into(), detail: detail.to_owned() }
}

fn encrypted_block(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let block = &text[text.find(ENCRYPTED_BEGIN)?..];
    let end = block.find(ENCRYPTED_END).map_or(block.len(), |at| at + ENCRYPTED_END.len());
    Some(&block[..end])
}

fn contains(text: &[u8], mark: &str) -> bool {
    text.windows(mark.len()).any(|window| window == mark.as_bytes())
}
