//! Settings of TLS: certificates, client certificates, versions and algorithms.

use std::str::FromStr;

use hcrs_tls::{CertificateFiles, KeyExchange, Password, TlsError, TlsVersion, VerifyFlags, VerifyMode};

use super::store;
use crate::draft::Draft;
use crate::kind::{ABOVE_ZERO, ValueKind, array, quoted, seconds};
use crate::setting::Group::Tls;
use crate::setting::{Setting, unset};
use crate::value::{Datum, GivenValue, Mistake, Value};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Tls,
        "certfile",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.certfile, v.placed(v.path())),
        "PEM file with the certificate, followed by its issuers. With keyfile it enables TLS; one of the \
         two alone is an error.",
    )
    .at_start()
    .flag("--certfile", None, "FILE")
    .aliases(&["ssl_certfile"]),
    Setting::new(
        Tls,
        "keyfile",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.keyfile, v.placed(v.path())),
        "PEM file with the certificate's private key.",
    )
    .at_start()
    .flag("--keyfile", None, "FILE")
    .aliases(&["ssl_keyfile"]),
    Setting::new(
        Tls,
        "keyfile_password",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.tls.keyfile_password, v.text().map(|text| Some(Password::from(text)))),
        "Password of the private key. Prefer the variable HCRS_KEYFILE_PASSWORD to the flag, which other \
         users of the machine can see.",
    )
    .at_start()
    .flag("--keyfile-password", None, "PASSWORD"),
    Setting::new(
        Tls,
        "ca_certs",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.tls.ca_certs, v.path().map(Some)),
        "PEM file with the authorities whose client certificates are accepted.",
    )
    .at_start()
    .flag("--ca-certs", None, "FILE"),
    Setting::new(
        Tls,
        "verify_mode",
        ValueKind::NameOrNumber,
        |_| "\"CERT_NONE\"".into(),
        |v, d| store(&mut d.tls.verify_mode, named::<VerifyMode>(v)),
        "Whether client certificates are requested: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2).",
    )
    .at_start()
    .flag("--verify-mode", None, "MODE")
    .flag_aliases(&["cert-reqs"])
    .aliases(&["cert_reqs"]),
    Setting::new(
        Tls,
        "verify_flags",
        ValueKind::NameOrNumber,
        unset,
        |v, d| store(&mut d.tls.verify_flags, named::<VerifyFlags>(v)),
        "How client certificates are verified: names of Python's ssl.VerifyFlags joined by |, or the number.",
    )
    .at_start(),
    Setting::new(
        Tls,
        "ciphers",
        ValueKind::Text,
        |d| quoted(&d.tls.ciphers),
        |v, d| store(&mut d.tls.ciphers, v.text().map(String::from)),
        "Cipher suites of TLS 1.2, as an OpenSSL cipher list. Those of TLS 1.3 are always enabled.",
    )
    .at_start()
    .flag("--ciphers", None, "LIST"),
    Setting::new(
        Tls,
        "alpn_protocols",
        ValueKind::Texts,
        |d| array(d.tls.alpn_protocols.iter().map(String::as_str)),
        alpn_protocols,
        "Protocols offered to clients by ALPN, in order of preference: h2 and http/1.1.",
    )
    .at_start(),
    Setting::new(
        Tls,
        "ssl_handshake_timeout",
        ABOVE_ZERO,
        |d| seconds(d.tls.handshake_timeout),
        |v, d| store(&mut d.tls.handshake_timeout, v.seconds()),
        "Time limit of a TLS handshake, in seconds; its ClientHello must arrive within head_timeout.",
    )
    .at_start(),
    Setting::new(
        Tls,
        "certificates",
        ValueKind::Tables,
        unset,
        certificates,
        "Additional certificates, each a table [[hcrs.certificates]] with certfile, keyfile and optionally \
         keyfile_password. A client gets the certificate for the server name that it requests.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Tls,
        "crls",
        ValueKind::TextOrTexts,
        |_| array([]),
        |v, d| {
            let files = v.text_or_texts()?;
            d.tls.crls = files.into_iter().map(|(file, _)| file.into()).collect();
            Ok(())
        },
        "PEM files with revocation lists of client certificates. A certificate that no list covers is \
         refused.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Tls,
        "minimum_version",
        ValueKind::Text,
        |_| "\"1.2\"".into(),
        |v, d| store(&mut d.tls.minimum_version, named::<TlsVersion>(v)),
        "Oldest TLS version that is accepted: 1.2 or 1.3.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Tls,
        "key_exchange",
        ValueKind::TextOrTexts,
        |d| array(d.tls.key_exchange.iter().map(|group| group.name())),
        key_exchange,
        "Key exchange groups from which clients may choose.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Tls,
        "ticket_keys",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.tls.ticket_keys, v.path().map(Some)),
        "File with keys of TLS session tickets, one a line: 32 to 64 random bytes in base64 or hexadecimal \
         digits. The first encrypts, all decrypt, so that servers with the same file, and the next process, \
         resume each other's sessions. It is read again when it changes. Unset, the keys are random and change \
         every six hours.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Tls,
        "max_handshakes",
        ValueKind::Whole(1, 1 << 20),
        |d| d.server.connection.max_handshakes.to_string(),
        |v, d| store(&mut d.server.connection.max_handshakes, v.whole()),
        "Number of TLS handshakes that an edge thread answers before other work has its turn; further ones \
         wait for the next turn. Clients that have sent nothing do not count.",
    )
    .at_start()
    .extension(),
];

/// Returns a named value of TLS, given by its name or its number.
fn named<T: FromStr<Err = TlsError>>(given: &GivenValue<'_>) -> Result<T, Mistake> {
    let word = match &given.value.datum {
        Datum::Integer(number) => number.to_string(),
        Datum::Float(number) => number.to_string(),
        Datum::Text(text) => text.clone(),
        _ => return Err(given.expected("a name or a number")),
    };
    word.parse().map_err(|error| mistake(given.value, error))
}

/// Returns the error as a mistake without the setting's name, which the place already shows.
fn mistake(value: &Value, error: TlsError) -> Mistake {
    match error {
        TlsError::UnknownName { expected, .. } => value.expected(expected),
        other => Mistake { place: value.place.clone(), message: other.to_string() },
    }
}

fn key_exchange(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let groups = given.text_or_texts()?.into_iter().map(|(name, place)| {
        name.parse::<KeyExchange>().map_err(|error| {
            let value = Value { datum: Datum::Text(name.to_owned()), place: place.clone() };
            mistake(&value, error)
        })
    });
    draft.tls.key_exchange = groups.collect::<Result<_, _>>()?;
    Ok(())
}

/// Accepts only protocols that the server implements.
fn alpn_protocols(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
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

fn certificates(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let expected = "an array of tables, each with certfile and keyfile";
    let Datum::Array(tables) = &given.value.datum else { return Err(given.expected(expected)) };
    let mut pairs = Vec::new();
    for table in tables {
        let Datum::Table(entries) = &table.datum else { return Err(table.expected(expected)) };
        let (mut certfile, mut keyfile, mut password) = (None, None, None);
        for (key, value) in entries {
            let entry = GivenValue { value, kind: ValueKind::Path };
            match key.as_str() {
                "certfile" => certfile = Some(entry.path()?),
                "keyfile" => keyfile = Some(entry.path()?),
                "keyfile_password" => password = Some(Password::from(entry.text()?)),
                _ => return Err(value.expected("only the keys certfile, keyfile and keyfile_password")),
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
