//! Negotiation of permessage-deflate (RFC 7692 §5 and §7.1).

use crate::Compression;
use crate::deflate::WINDOW_BITS;

/// The extension's name.
pub(super) const EXTENSION: &[u8] = b"permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// Base-two logarithm of the window of an end that was not asked for a smaller one.
const FULL_WINDOW_BITS: u8 = 15;

/// The parameters of an offer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DeflateOffer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// The client's window; [`FULL_WINDOW_BITS`] if the parameter has no value.
    client_max_window_bits: Option<u8>,
}

impl DeflateOffer {
    /// Adds a parameter. `None` if it is unknown, repeated, or has an invalid value: such an offer is
    /// declined (RFC 7692 §7.1).
    pub(super) fn with(mut self, name: &[u8], value: Option<&[u8]>) -> Option<Self> {
        if name == SERVER_NO_CONTEXT_TAKEOVER.as_bytes() {
            set_flag(&mut self.server_no_context_takeover, value)?;
        } else if name == CLIENT_NO_CONTEXT_TAKEOVER.as_bytes() {
            set_flag(&mut self.client_no_context_takeover, value)?;
        } else if name == SERVER_MAX_WINDOW_BITS.as_bytes() {
            set_bits(&mut self.server_max_window_bits, window_bits(value?)?)?;
        } else if name == CLIENT_MAX_WINDOW_BITS.as_bytes() {
            set_bits(&mut self.client_max_window_bits, value.map_or(Some(FULL_WINDOW_BITS), window_bits)?)?;
        } else {
            return None;
        }
        Some(self)
    }
}

/// The agreed parameters of permessage-deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateTerms {
    /// Base-two logarithm of the window for messages to the client, 9 to 15.
    pub server_max_window_bits: u8,
    /// Base-two logarithm of the window for messages of the client, 8 to 15.
    pub client_max_window_bits: u8,
    /// Whether messages to the client may refer to earlier ones.
    pub server_context_takeover: bool,
    /// Whether messages of the client may refer to earlier ones.
    pub client_context_takeover: bool,
}

/// Returns the terms of the first acceptable offer, and the response's value.
pub(super) fn agree(offers: &[DeflateOffer], compression: &Compression) -> Option<(DeflateTerms, String)> {
    offers.iter().find_map(|&offer| agree_on(offer, compression))
}

fn agree_on(offer: DeflateOffer, ours: &Compression) -> Option<(DeflateTerms, String)> {
    let clamp = |bits: u8| bits.clamp(*WINDOW_BITS.start(), *WINDOW_BITS.end());
    let server_bits = offer.server_max_window_bits.unwrap_or(FULL_WINDOW_BITS);
    if !WINDOW_BITS.contains(&server_bits) {
        return None;
    }
    // Only a client that offers the parameter can use a smaller window.
    let client_bits = match offer.client_max_window_bits {
        Some(bits) => bits.min(clamp(ours.client_max_window_bits)),
        None => FULL_WINDOW_BITS,
    };
    let terms = DeflateTerms {
        server_max_window_bits: server_bits.min(clamp(ours.server_max_window_bits)),
        client_max_window_bits: client_bits,
        server_context_takeover: ours.server_context_takeover && !offer.server_no_context_takeover,
        client_context_takeover: ours.client_context_takeover && !offer.client_no_context_takeover,
    };
    Some((terms, response(terms, offer)))
}

fn response(terms: DeflateTerms, offer: DeflateOffer) -> String {
    let mut value = String::from("permessage-deflate");
    if !terms.server_context_takeover {
        value.extend(["; ", SERVER_NO_CONTEXT_TAKEOVER]);
    }
    if !terms.client_context_takeover {
        value.extend(["; ", CLIENT_NO_CONTEXT_TAKEOVER]);
    }
    if offer.server_max_window_bits.is_some() || terms.server_max_window_bits < FULL_WINDOW_BITS {
        value.extend(["; ", SERVER_MAX_WINDOW_BITS, "=", &terms.server_max_window_bits.to_string()]);
    }
    if terms.client_max_window_bits < FULL_WINDOW_BITS {
        value.extend(["; ", CLIENT_MAX_WINDOW_BITS, "=", &terms.client_max_window_bits.to_string()]);
    }
    value
}

fn set_flag(flag: &mut bool, value: Option<&[u8]>) -> Option<()> {
    (value.is_none() && !std::mem::replace(flag, true)).then_some(())
}

fn set_bits(bits: &mut Option<u8>, value: u8) -> Option<()> {
    bits.replace(value).is_none().then_some(())
}

/// Parses a window's base-two logarithm: 8 to 15, without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + (digit - b'0')),
        _ => None,
    }
}
