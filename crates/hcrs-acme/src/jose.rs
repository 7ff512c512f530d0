//! Signed requests (RFC 8555 section 6.2): JSON Web Signatures by an ECDSA key on P-256, and the binding to an
//! external account by HMAC.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::settings::ExternalAccount;

/// The length of a coordinate on P-256, in bytes.
const COORDINATE: usize = 32;

/// Encodes bytes in base64url without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url without padding.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// The key of an account.
pub(crate) struct AccountKey(EcdsaKeyPair);

/// Who signs a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signer<'a> {
    /// The key itself, before the account has a URL.
    Key,
    /// The account at this URL.
    Account(&'a str),
}

/// A signature, or the key for one, could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account's key cannot be used")]
pub(crate) struct KeyError;

impl AccountKey {
    /// Makes a key. Returns it as PKCS #8.
    pub(crate) fn generate() -> Result<Vec<u8>, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        document.map(|document| document.as_ref().to_vec()).map_err(|_| KeyError)
    }

    /// Reads a key from PKCS #8.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map(Self).map_err(|_| KeyError)
    }

    /// Returns the public key (RFC 7517).
    fn jwk(&self) -> Value {
        let (x, y) = self.coordinates();
        json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
    }

    fn coordinates(&self) -> (String, String) {
        // An uncompressed point begins with a byte that says so.
        let point = &self.0.public_key().as_ref()[1..];
        let (x, y) = point.split_at(COORDINATE);
        (encode(x), encode(y))
    }

    /// Returns the thumbprint (RFC 7638): the digest of the public key with its members in order.
    fn thumbprint(&self) -> String {
        let (x, y) = self.coordinates();
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        encode(&digest_of(members.as_bytes()))
    }

    /// Returns the proof of this account for the token of a challenge (RFC 8555 section 8.1).
    pub(crate) fn key_authorization(&self, token: &str) -> String {
        format!("{token}.{}", self.thumbprint())
    }

    /// Returns the signed request. Without a payload it only reads (RFC 8555 section 6.3).
    pub(crate) fn sign(
        &self,
        signer: Signer<'_>,
        nonce: &str,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<String, KeyError> {
        let mut header = json!({ "alg": "ES256", "nonce": nonce, "url": url });
        match signer {
            Signer::Key => header["jwk"] = self.jwk(),
            Signer::Account(account) => header["kid"] = account.into(),
        }
        signed(&header, payload, |message| {
            let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| KeyError)?;
            Ok(signature.as_ref().to_vec())
        })
        .map(|value| value.to_string())
    }

    /// Returns the binding of this key to an external account (RFC 8555 section 7.3.4).
    pub(crate) fn binding(&self, external: &ExternalAccount, url: &str) -> Result<Value, KeyError> {
        let header = json!({ "alg": "HS256", "kid": external.kid, "url": url });
        let key = hmac::Key::new(hmac::HMAC_SHA256, external.key.as_bytes());
        signed(&header, Some(&self.jwk()), |message| Ok(hmac::sign(&key, message).as_ref().to_vec()))
    }
}

/// Returns the SHA-256 digest.
pub(crate) fn digest_of(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("invariant: the digest has 32 bytes")
}

fn signed(
    header: &Value,
    payload: Option<&Value>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, KeyError>,
) -> Result<Value, KeyError> {
    let protected = encode(header.to_string().as_bytes());
    let payload = payload.map(|payload| encode(payload.to_string().as_bytes())).unwrap_or_default();
    let signature = sign(format!("{protected}.{payload}").as_bytes())?;
    Ok(json!({ "protected": protected, "payload": payload, "signature": encode(&signature) }))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;
    use crate::settings::HmacKey;

    fn member(request: &Value, name: &str) -> String {
        request[name].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_request_is_signed_over_its_header_and_its_payload() {
        let key = AccountKey::from_pkcs8(&AccountKey::generate().unwrap()).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.0.public_key().as_ref().to_vec());
        for (signer, payload) in
            [(Signer::Key, Some(json!({ "a": 1 }))), (Signer::Account("https://ca/1"), None)]
        {
            let text = key.sign(signer, "n", "https://ca/x", payload.as_ref()).unwrap();
            let request: Value = serde_json::from_str(&text).unwrap();
            let header: Value =
                serde_json::from_slice(&decode(&member(&request, "protected")).unwrap()).unwrap();
            assert_eq!((&header["nonce"], &header["url"]), (&json!("n"), &json!("https://ca/x")));
            assert_eq!(header["jwk"].is_object(), matches!(signer, Signer::Key));
            assert_eq!(header["kid"].is_string(), !matches!(signer, Signer::Key));
            assert_eq!(member(&request, "payload").is_empty(), payload.is_none());
            let message = format!("{}.{}", member(&request, "protected"), member(&request, "payload"));
            let signature = decode(&member(&request, "signature")).unwrap();
            assert_eq!(signature.len(), 2 * COORDINATE);
            public.verify(message.as_bytes(), &signature).unwrap();
        }
    }

    #[test]
    fn a_key_is_bound_to_an_external_account() {
        let key = AccountKey::from_pkcs8(&AccountKey::generate().unwrap()).unwrap();
        let external = ExternalAccount { kid: "kid-1".into(), key: HmacKey::parse("YWJj").unwrap() };
        let binding = key.binding(&external, "https://ca/new").unwrap();
        let payload: Value = serde_json::from_slice(&decode(&member(&binding, "payload")).unwrap()).unwrap();
        assert_eq!(payload, key.jwk());
        let message = format!("{}.{}", member(&binding, "protected"), member(&binding, "payload"));
        let mac = hmac::Key::new(hmac::HMAC_SHA256, b"abc");
        hmac::verify(&mac, message.as_bytes(), &decode(&member(&binding, "signature")).unwrap()).unwrap();
    }

    #[test]
    fn a_key_authorization_has_the_token_and_the_thumbprint() {
        let key = AccountKey::from_pkcs8(&AccountKey::generate().unwrap()).unwrap();
        let authorization = key.key_authorization("token");
        let (token, thumbprint) = authorization.split_once('.').unwrap();
        assert_eq!((token, decode(thumbprint).unwrap().len()), ("token", 32));
        assert!(AccountKey::from_pkcs8(b"no key").is_err());
    }
}
