//! The facts about a TLS connection as they cross the link, once for all requests of the connection: version
//! u16, cipher suite u16, then the server's certificate, the client's name and the client's certificates,
//! each with its length (u32) before it.

/// The length of a part that is absent.
const NONE: u32 = u32::MAX;

/// The facts about a TLS connection; certificates are PEM, which is ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo<'a> {
    /// The version's number on the wire, as in 0x0304; 0 if it is unknown.
    pub version: u16,
    /// The cipher suite's number; 0 if it is unknown.
    pub cipher_suite: u16,
    /// The certificate that the server sent.
    pub server_certificate: &'a str,
    /// The subject of the client's certificate (RFC 4514); `None` without one.
    pub client_name: Option<&'a str>,
    /// The certificates that the client sent, its own first.
    pub client_certificates: Vec<&'a str>,
}

impl<'a> TlsInfo<'a> {
    /// Returns the payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        let chain = self.client_certificates.iter().map(|certificate| certificate.len() + 4).sum::<usize>();
        let name = self.client_name.unwrap_or_default();
        let mut out = Vec::with_capacity(12 + self.server_certificate.len() + name.len() + chain);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.cipher_suite.to_le_bytes());
        let own = [Some(self.server_certificate), self.client_name];
        for part in own.into_iter().chain(self.client_certificates.iter().copied().map(Some)) {
            let len = part.map_or(NONE, |part| part.len() as u32);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(part.unwrap_or_default().as_bytes());
        }
        out
    }

    /// Parses a payload; `None` if it is malformed.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (version, rest) = payload.split_first_chunk()?;
        let (cipher_suite, mut rest) = rest.split_first_chunk()?;
        let mut part = || -> Option<Option<&'a str>> {
            let (len, after) = rest.split_first_chunk()?;
            rest = after;
            match u32::from_le_bytes(*len) {
                NONE => Some(None),
                len => {
                    let (text, after) = rest.split_at_checked(len as usize)?;
                    rest = after;
                    Some(Some(std::str::from_utf8(text).ok()?))
                }
            }
        };
        let server_certificate = part()??;
        let client_name = part()?;
        let mut client_certificates = Vec::new();
        while let Some(certificate) = part() {
            client_certificates.push(certificate?);
        }
        rest.is_empty().then_some(Self {
            version: u16::from_le_bytes(*version),
            cipher_suite: u16::from_le_bytes(*cipher_suite),
            server_certificate,
            client_name,
            client_certificates,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_info_is_read_back_as_it_was_written(
            version: u16, cipher_suite: u16, server: String, name: Option<String>,
            chain in proptest::collection::vec(any::<String>(), 0..4),
        ) {
            let info = TlsInfo {
                version,
                cipher_suite,
                server_certificate: &server,
                client_name: name.as_deref(),
                client_certificates: chain.iter().map(String::as_str).collect(),
            };
            let payload = info.to_bytes();
            prop_assert_eq!(TlsInfo::parse(&payload), Some(info));
            for cut in [1, 5] {
                let cut = TlsInfo::parse(&payload[..payload.len() - cut.min(payload.len())]);
                prop_assert!(cut.is_none_or(|info| info.client_certificates.len() < chain.len()));
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _outcome = TlsInfo::parse(&payload);
        }
    }
}
