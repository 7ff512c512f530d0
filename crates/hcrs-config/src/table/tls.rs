//! Who we are, whom we let in, and what may be spoken.

use std::str::FromStr;

use hcrs_tls::{CertificateFiles, KeyExchange, Password, TlsError, TlsVersion, VerifyFlags, VerifyMode};

use super::fill;
use crate::draft::Draft;
use crate::setting::Group::Tls;
use crate::setting::{ABOVE_ZERO, Kind, Setting, array, quoted, seconds, unset};
use crate::value::{Datum, Given, Mistake, Value};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Tls,
        "certfile",
        Kind::Path,
        unset,
        |v, d| fill(&mut d.certfile, v.placed(v.path())),
        "PEM file with the certificate and then its issuers. With keyfile it turns TLS on; one of the two \
         alone is an error.",
    )
    .flag("--certfile", None, "FILE")
    .aliases(&["ssl_certfile"]),
    Setting::new(
        Tls,
        "keyfile",
        Kind::Path,
        unset,
        |v, d| fill(&mut d.keyfile, v.placed(v.path())),
        "PEM file with the certificate's private key.",
    )
    .flag("--keyfile", None, "FILE")
    .aliases(&["ssl_keyfile"]),
    Setting::new(
        Tls,
        "keyfile_password",
        Kind::Text,
        unset,
        |v, d| fill(&mut d.tls.keyfile_password, v.text().map(|text| Some(Password::from(text)))),
        "Decrypts the key. Better set by HCRS_KEYFILE_PASSWORD than by a flag, which others can see.",
    )
    .flag("--keyfile-password", None, "PASSWORD"),
    Setting::new(
        Tls,
        "ca_certs",
        Kind::Path,
        unset,
        |v, d| fill(&mut d.tls.ca_certs, v.path().map(Some)),
        "PEM file with the authorities whose client certificates are accepted.",
    )
    .flag("--ca-certs", None, "FILE"),
    Setting::new(
        Tls,
        "verify_mode",
        Kind::NameOrNumber,
        |_| "\"CERT_NONE\"".into(),
        |v, d| fill(&mut d.tls.verify_mode, named::<VerifyMode>(v)),
        "Whether clients are asked for a certificate: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2).",
    )
    .flag("--verify-mode", None, "MODE")
    .flag_aliases(&["cert-reqs"])
    .aliases(&["cert_reqs"]),
    Setting::new(
        Tls,
        "verify_flags",
        Kind::NameOrNumber,
        unset,
        |v, d| fill(&mut d.tls.verify_flags, named::<VerifyFlags>(v)),
        "How clients' certificates are checked: names of Python's ssl.VerifyFlags joined by |, or the number.",
    ),
    Setting::new(
        Tls,
        "ciphers",
        Kind::Text,
        |d| quoted(&d.tls.ciphers),
        |v, d| fill(&mut d.tls.ciphers, v.text().map(String::from)),
        "The cipher suites of TLS 1.2, as a list of OpenSSL's. Those of TLS 1.3 are always on.",
    )
    .flag("--ciphers", None, "LIST"),
    Setting::new(
        Tls,
        "alpn_protocols",
        Kind::Texts,
        |d| array(d.tls.alpn_protocols.iter().map(String::as_str)),
        alpn_protocols,
        "The protocols that are offered to clients, the preferred one first: h2 and http/1.1.",
    ),
    Setting::new(
        Tls,
        "ssl_handshake_timeout",
        ABOVE_ZERO,
        |d| seconds(d.tls.handshake_timeout),
        |v, d| fill(&mut d.tls.handshake_timeout, v.seconds()),
        "How long a TLS handshake may take, in seconds; its ClientHello has to arrive within head_timeout.",
    ),
    Setting::new(
        Tls,
        "certificates",
        Kind::Tables,
        unset,
        certificates,
        "More certificates, each a table [[hcrs.certificates]] with certfile, keyfile and perhaps \
         keyfile_password. A client gets the one for the name that it asks for.",
    )
    .own(),
    Setting::new(
        Tls,
        "crls",
        Kind::TextOrTexts,
        |_| array([]),
        |v, d| {
            let files = v.text_or_texts()?;
            d.tls.crls = files.into_iter().map(|(file, _)| file.into()).collect();
            Ok(())
        },
        "PEM files with lists of revoked client certificates. A certificate that none of them covers is refused.",
    )
    .own(),
    Setting::new(
        Tls,
        "minimum_version",
        Kind::Text,
        |_| "\"1.2\"".into(),
        |v, d| fill(&mut d.tls.minimum_version, named::<TlsVersion>(v)),
        "The oldest TLS version that is spoken: 1.2 or 1.3.",
    )
    .own(),
    Setting::new(
        Tls,
        "key_exchange",
        Kind::TextOrTexts,
        |d| array(d.tls.key_exchange.iter().map(|group| group.name())),
        key_exchange,
        "The groups for the key exchange that clients may choose from.",
    )
    .own(),
    Setting::new(
        Tls,
        "max_handshakes",
        Kind::Whole(1, 1 << 20),
        |d| d.server.connection.max_handshakes.to_string(),
        |v, d| fill(&mut d.server.connection.max_handshakes, v.whole()),
        "TLS handshakes that one thread answers before whatever else is ready has its turn; more wait for the next. \
         Silent clients do not count.",
    )
    .own(),
];

/// A word of TLS, or its number.
fn named<T: FromStr<Err = TlsError>>(given: &Given<'_>) -> Result<T, Mistake> {
    let word = match &given.value.datum {
        Datum::Integer(number) => number.to_string(),
        Datum::Float(number) => number.to_string(),
        Datum::Text(text) => text.clone(),
        _ => return Err(given.expected("a name or a number")),
    };
    word.parse().map_err(|error| unknown(given.value, error))
}

/// The error without the setting's name, which is told with the place.
fn unknown(value: &Value, error: TlsError) -> Mistake {
    match error {
        TlsError::UnknownName { expected, .. } => value.expected(expected),
        other => Mistake { place: value.place.clone(), message: other.to_string() },
    }
}

fn key_exchange(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let groups = given.text_or_texts()?.into_iter().map(|(name, place)| {
        name.parse::<KeyExchange>().map_err(|error| {
            let value = Value { datum: Datum::Text(name.to_owned()), place: place.clone() };
            unknown(&value, error)
        })
    });
    draft.tls.key_exchange = groups.collect::<Result<_, _>>()?;
    Ok(())
}

/// Only what is really spoken may be promised to a client.
fn alpn_protocols(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let names = given.texts()?;
    if let Some((name, place)) =
        names.iter().find(|(name, _)| !hcrs_tls::Settings::ALPN_PROTOCOLS.contains(name))
    {
        return Err(Mistake {
            place: (*place).clone(),
            message: format!("expected \"h2\" or \"http/1.1\", found {name:?}"),
        });
    }
    draft.tls.alpn_protocols = names.into_iter().map(|(name, _)| name.into()).collect();
    Ok(())
}

fn certificates(given: &Given<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let expected = "an array of tables, each with certfile and keyfile";
    let Datum::Array(tables) = &given.value.datum else { return Err(given.expected(expected)) };
    let mut pairs = Vec::new();
    for table in tables {
        let Datum::Table(entries) = &table.datum else { return Err(table.expected(expected)) };
        let (mut certfile, mut keyfile, mut password) = (None, None, None);
        for (key, value) in entries {
            let entry = Given { value, kind: Kind::Path };
            match key.as_str() {
                "certfile" => certfile = Some(entry.path()?),
                "keyfile" => keyfile = Some(entry.path()?),
                "keyfile_password" => password = Some(Password::from(entry.text()?)),
                _ => return Err(value.expected("certfile, keyfile or keyfile_password and nothing else")),
            }
        }
        let (Some(certfile), Some(keyfile)) = (certfile, keyfile) else {
            return Err(table.expected(expected));
        };
        pairs.push(CertificateFiles { certfile, keyfile, keyfile_password: password });
    }
    draft.tls.more_certificates = pairs;
    Ok(())
}
