//! The keys of QUIC that all threads of the process share. They are made at its start and end with it.

use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};
use quinn_proto::EndpointConfig;

use super::ids::{IdKey, Ids};
use super::socket::DATAGRAM_MAX;

/// The keys that all threads share, so that each can answer for the connections of the others.
#[derive(Clone)]
pub(crate) struct Keys {
    /// The key of connection ids.
    pub(super) ids: Arc<IdKey>,
    /// The key of stateless resets.
    reset: Arc<hmac::Key>,
    /// The key of the tokens that prove an address.
    pub(super) tokens: Arc<hkdf::Prk>,
}

impl Keys {
    /// Returns new random keys.
    pub(crate) fn random() -> Self {
        let mut id = [0; 16];
        let mut reset = [0; 64];
        let mut tokens = [0; 64];
        for bytes in [&mut id[..], &mut reset, &mut tokens] {
            aws_lc_rs::rand::fill(bytes).expect("invariant: the system has random bytes");
        }
        Self {
            ids: Arc::new(IdKey::new(&id)),
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)),
            tokens: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&tokens)),
        }
    }

    /// Returns the configuration of the endpoint of a thread.
    pub(super) fn endpoint_config(&self, thread: u16) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::clone(&self.reset) as _);
        let ids = Arc::clone(&self.ids);
        config
            .cid_generator(move || Box::new(Ids { key: Arc::clone(&ids), thread }))
            .max_udp_payload_size(DATAGRAM_MAX)
            .expect("invariant: there is room for a handshake");
        config
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(hidden)")
    }
}
