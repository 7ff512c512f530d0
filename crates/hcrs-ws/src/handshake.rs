//! The opening handshake (RFC 6455 §4.2), over HTTP/1.1 (Upgrade) and HTTP/2 (RFC 8441, extended CONNECT).

mod extensions;
mod key;
mod negotiate;

use hcrs_http::is_field_name;

use crate::Compression;
use extensions::{Extension, Scanner};
use negotiate::DeflateOffer;
pub use negotiate::DeflateTerms;

/// The form in which a client asks for a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// HTTP/1.1's GET with `upgrade: websocket` (RFC 6455 §4.1).
    Upgrade,
    /// CONNECT with `:protocol` `websocket` (RFC 8441 §5): no key, no `upgrade`, no `connection`.
    ExtendedConnect,
}

/// The reason why a request does not open a WebSocket, and the response that refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The version is not 13, or is missing.
    #[error("sec-websocket-version is not 13")]
    WrongVersion,
    /// A field breaks its grammar or is missing.
    #[error("{0}")]
    Malformed(&'static str),
}

impl Refusal {
    /// Returns the response's status: 426 (RFC 6455 §4.4) or 400.
    pub fn status(self) -> u16 {
        match self {
            Self::WrongVersion => 426,
            Self::Malformed(_) => 400,
        }
    }

    /// Returns the fields of the response, which show how to ask instead. `connection: upgrade`, which a 426
    /// needs on HTTP/1.1 along with `upgrade`, is only for [`Opening::Upgrade`].
    pub fn fields(self, opening: Opening) -> &'static [(&'static str, &'static str)] {
        match (self, opening) {
            (Self::WrongVersion, Opening::Upgrade) => {
                &[("sec-websocket-version", "13"), ("upgrade", "websocket"), ("connection", "upgrade")]
            }
            (Self::WrongVersion, Opening::ExtendedConnect) => &[("sec-websocket-version", "13")],
            (Self::Malformed(_), _) => &[],
        }
    }
}

/// The error of an app that chose a subprotocol that the client did not offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("subprotocol was not offered by the client")]
pub struct SubprotocolNotOffered;

/// Whether an HTTP/1.1 request asks for a WebSocket: GET, `websocket` in `upgrade` and `upgrade` in
/// `connection`. Any other is an ordinary request, and so is each request of HTTP/1.0 (RFC 9110 §7.8).
pub fn asks_for_websocket<'a>(method: &[u8], fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    let (mut upgrade, mut connection) = (false, false);
    for (name, value) in fields {
        if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade |= list(value).any(|item| item.eq_ignore_ascii_case(b"websocket"));
        } else if name.eq_ignore_ascii_case(b"connection") {
            connection |= list(value).any(|item| item.eq_ignore_ascii_case(b"upgrade"));
        }
    }
    method == b"GET" && upgrade && connection
}

/// A client's valid request for a WebSocket, which waits for the app's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    opening: Opening,
    /// The value of `sec-websocket-accept`; empty for [`Opening::ExtendedConnect`].
    accept: String,
    subprotocols: Vec<String>,
    offers: Vec<DeflateOffer>,
}

/// The response that opens a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The response's status: 101, or 200 for [`Opening::ExtendedConnect`].
    pub status: u16,
    /// The response's fields, without those of the app.
    pub fields: Vec<(&'static str, String)>,
    /// The agreement on permessage-deflate; `None` if messages are not compressed.
    pub deflate: Option<DeflateTerms>,
}

impl Handshake {
    /// Reads a request's fields; names may have any case. The caller has checked that the request is a GET
    /// that asks for an upgrade, or a CONNECT with the right `:protocol`, and that it has no body.
    pub fn read<'a>(
        opening: Opening,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, Refusal> {
        let (mut version, mut key) = (None, None);
        let mut this = Self { opening, accept: String::new(), subprotocols: Vec::new(), offers: Vec::new() };
        for (name, value) in fields {
            let Some(name) = name.get(PREFIX.len()..).filter(|_| starts_with(name, PREFIX)) else { continue };
            if name.eq_ignore_ascii_case(b"version") {
                if version.replace(value.trim_ascii()).is_some() {
                    return Err(Refusal::Malformed("several sec-websocket-version fields"));
                }
            } else if name.eq_ignore_ascii_case(b"key") {
                if key.replace(value.trim_ascii()).is_some() {
                    return Err(Refusal::Malformed("several sec-websocket-key fields"));
                }
            } else if name.eq_ignore_ascii_case(b"protocol") {
                this.read_subprotocols(value)?;
            } else if name.eq_ignore_ascii_case(b"extensions") {
                this.read_extensions(value)?;
            }
        }
        if version != Some(b"13") {
            return Err(Refusal::WrongVersion);
        }
        if opening == Opening::Upgrade {
            let key = key.ok_or(Refusal::Malformed("no sec-websocket-key"))?;
            this.accept = key::accept(key).ok_or(Refusal::Malformed("sec-websocket-key is not 16 bytes"))?;
        }
        Ok(this)
    }

    /// Returns the subprotocols that the client offers, in its order of preference, each once.
    pub fn subprotocols(&self) -> &[String] {
        &self.subprotocols
    }

    /// Returns the response that opens the WebSocket, with the `subprotocol` that the app chose among
    /// [`Handshake::subprotocols`], and with compression if it is enabled and the client makes an acceptable
    /// offer.
    pub fn accept(
        &self,
        subprotocol: Option<&str>,
        compression: Option<&Compression>,
    ) -> Result<Accepted, SubprotocolNotOffered> {
        let mut fields = Vec::with_capacity(5);
        if self.opening == Opening::Upgrade {
            fields.push(("upgrade", "websocket".to_owned()));
            fields.push(("connection", "upgrade".to_owned()));
            fields.push(("sec-websocket-accept", self.accept.clone()));
        }
        if let Some(chosen) = subprotocol {
            if !self.subprotocols.iter().any(|offered| offered == chosen) {
                return Err(SubprotocolNotOffered);
            }
            fields.push(("sec-websocket-protocol", chosen.to_owned()));
        }
        let agreed = compression.and_then(|compression| negotiate::agree(&self.offers, compression));
        let deflate = agreed.map(|(terms, value)| {
            fields.push(("sec-websocket-extensions", value));
            terms
        });
        let status = match self.opening {
            Opening::Upgrade => 101,
            Opening::ExtendedConnect => 200,
        };
        Ok(Accepted { status, fields, deflate })
    }

    fn read_subprotocols(&mut self, value: &[u8]) -> Result<(), Refusal> {
        const MALFORMED: Refusal = Refusal::Malformed("malformed sec-websocket-protocol");
        for item in list(value) {
            let item = std::str::from_utf8(item).ok().filter(|item| is_field_name(item.as_bytes()));
            let item = item.ok_or(MALFORMED)?;
            if self.subprotocols.iter().any(|offered| offered == item) {
                continue;
            }
            if self.subprotocols.len() == MAX_SUBPROTOCOLS {
                return Err(Refusal::Malformed("too many subprotocols"));
            }
            self.subprotocols.push(item.to_owned());
        }
        Ok(())
    }

    fn read_extensions(&mut self, value: &[u8]) -> Result<(), Refusal> {
        const MALFORMED: Refusal = Refusal::Malformed("malformed sec-websocket-extensions");
        let mut scanner = Scanner::new(value);
        while let Some(extension) = scanner.next_extension().map_err(|_| MALFORMED)? {
            if let Extension::Deflate(offer) = extension
                && self.offers.len() < MAX_OFFERS
            {
                self.offers.push(offer);
            }
        }
        Ok(())
    }
}

const PREFIX: &[u8] = b"sec-websocket-";

/// Most subprotocols of a request; more are refused, because each is compared with the ones before.
const MAX_SUBPROTOCOLS: usize = 64;

/// Most offers of permessage-deflate that are read; further ones are ignored.
const MAX_OFFERS: usize = 16;

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Returns the items of a comma-separated list, without blanks around them. Empty items do not count (RFC
/// 9110 §5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}
