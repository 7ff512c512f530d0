//! Certificates, and the versions and ciphers of TLS.

use super::convert::Converter;
use super::servers::Server;
use super::sheet::{Entry, Section, Table, origin};
use super::syntax::Directive;

impl<'a> Converter<'a> {
    /// Converts certificates and the versions and ciphers of TLS. Returns whether there is a certificate.
    pub(crate) fn certificates(&mut self, servers: &[Server<'a>]) -> bool {
        let mut pairs: Vec<(&'a Directive, &'a Directive)> = Vec::new();
        for server in servers.iter().filter(|server| server.listens.iter().any(|listen| listen.has_tls)) {
            let certificates = server.scope.all(&["ssl_certificate"]);
            let keys = server.scope.all(&["ssl_certificate_key"]);
            for (certificate, key) in certificates.into_iter().zip(keys) {
                if certificate.arg(0).contains('$') {
                    self.sheet.note(
                        Section::NoCounterpart,
                        [certificate, key],
                        "certificates are files with fixed names",
                    );
                    continue;
                }
                let known = pairs.iter().find(|(known, _)| known.args == certificate.args);
                match known {
                    Some(_) => {
                        certificate.see();
                        key.see();
                    }
                    None => pairs.push((certificate, key)),
                }
            }
        }
        let Some(((certificate, key), others)) = pairs.split_first() else {
            self.sheet.note(
                Section::Check,
                [],
                "no certificate is named, so all addresses are without TLS; add certfile and keyfile",
            );
            return false;
        };
        self.sheet.set(Entry::text("certfile", &self.path(certificate.arg(0)), origin([*certificate])));
        self.sheet.set(Entry::text("keyfile", &self.path(key.arg(0)), origin([*key])));
        for (certificate, key) in others {
            let entries = vec![
                Entry::text("certfile", &self.path(certificate.arg(0)), origin([*certificate])),
                Entry::text("keyfile", &self.path(key.arg(0)), origin([*key])),
            ];
            let from = origin([*certificate]);
            self.sheet.tables.push(Table { header: "[[hcrs.certificates]]", origin: from, entries });
        }
        if pairs.iter().any(|(certificate, _)| certificate.arg(0).starts_with("/etc/letsencrypt/")) {
            let text = "the certificates are renewed by certbot; its nginx plugin needs nginx, so renew them with --webroot \
                        or --standalone. hcrs reads changed files by itself";
            self.sheet.note(Section::Check, [], text);
        }
        self.tls(servers);
        true
    }

    fn tls(&mut self, servers: &[Server<'a>]) {
        let servers: Vec<&Server<'a>> =
            servers.iter().filter(|server| server.listens.iter().any(|listen| listen.has_tls)).collect();
        let first = |name: &str| servers.iter().find_map(|server| server.scope.last(name));
        let see =
            |name: &str| servers.iter().filter_map(|server| server.scope.last(name)).for_each(Directive::see);
        if let Some(protocols) = first("ssl_protocols") {
            see("ssl_protocols");
            let has = |version: &str| protocols.args.iter().any(|arg| arg == version);
            if has("TLSv1.3") && !has("TLSv1.2") {
                self.sheet.set(Entry::text("minimum_version", "1.3", origin([protocols])));
            } else if has("TLSv1") || has("TLSv1.1") {
                self.sheet.note(Section::NoCounterpart, [protocols], "TLS 1.0 and 1.1 are not supported");
            } else {
                self.sheet.note(Section::NotNeeded, [protocols], "TLS 1.2 and 1.3 are enabled");
            }
        }
        if let Some(ciphers) = first("ssl_ciphers") {
            see("ssl_ciphers");
            if is_usable_cipher_list(ciphers.arg(0)) {
                self.sheet.set(Entry::text("ciphers", ciphers.arg(0), origin([ciphers])));
            } else {
                let text = "the default of ciphers has those of the list that hcrs has";
                self.sheet.note(Section::NotNeeded, [ciphers], text);
            }
        }
        if let Some(curves) = first("ssl_ecdh_curve") {
            see("ssl_ecdh_curve");
            self.sheet.note(Section::NotNeeded, [curves], "key_exchange has X25519 and the NIST curves");
        }
        if let Some(verify) = first("ssl_verify_client").filter(|verify| verify.arg(0) != "off") {
            let mode = if verify.arg(0) == "on" { "CERT_REQUIRED" } else { "CERT_OPTIONAL" };
            if verify.arg(0) == "optional_no_ca" {
                self.sheet.note(Section::Check, [verify], "client certificates are always verified");
            }
            self.sheet.set(Entry::text("verify_mode", mode, origin([verify])));
            if let Some(authorities) =
                first("ssl_client_certificate").or_else(|| first("ssl_trusted_certificate"))
            {
                self.sheet.set(Entry::text(
                    "ca_certs",
                    &self.path(authorities.arg(0)),
                    origin([authorities]),
                ));
            }
            if let Some(list) = first("ssl_crl") {
                self.sheet.set(Entry::text("crls", &self.path(list.arg(0)), origin([list])));
            }
            if servers.len() > 1 {
                let text = "client certificates are requested for all hosts alike";
                self.sheet.note(Section::Check, [verify], text);
            }
        }
        if let Some(password) = first("ssl_password_file") {
            let text = "keyfile_password, or HCRS_KEYFILE_PASSWORD, holds the password of the key itself";
            self.sheet.note(Section::Check, [password], text);
        }
    }
}

/// Returns whether a list of ciphers has only such as hcrs has as well; longer lists are for clients that TLS 1.2 with
/// AEAD ciphers leaves behind.
fn is_usable_cipher_list(text: &str) -> bool {
    text.split(':').all(|cipher| {
        cipher.starts_with("ECDHE-") && (cipher.contains("GCM") || cipher.contains("CHACHA20"))
            || matches!(cipher, "ECDHE+AESGCM" | "ECDHE+CHACHA20")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cipher_lists_of_aead_ciphers_are_taken() {
        assert!(is_usable_cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305"));
        assert!(!is_usable_cipher_list("HIGH:!aNULL:!MD5"));
        assert!(!is_usable_cipher_list("ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256"));
    }
}
