//! Settings of certificates that come by themselves: the keys of `[hcrs.acme]`, as `acme_KEY`.

use std::path::PathBuf;

use hcrs_server::{AcmeSettings, ChallengePolicy, DirectoryUrl, Domain, ExternalAccount, HmacKey, KeyType};

use super::store;
use crate::draft::Draft;
use crate::kind::{ValueKind, array};
use crate::setting::Group::Acme;
use crate::setting::{Setting, unset};
use crate::value::{GivenValue, Mistake, Place};

/// The key of the names.
pub(crate) const DOMAINS: &str = "acme_domains";

/// The folder of a server that is started by root.
pub(crate) const SYSTEM_STORAGE: &str = "/var/lib/hcrs/acme";

/// The settings as they are given.
#[derive(Debug, Default)]
pub(crate) struct AcmeDraft {
    domains: Vec<Domain>,
    email: Option<String>,
    directory: DirectoryUrl,
    directory_ca: Option<PathBuf>,
    challenge: ChallengePolicy,
    profile: Option<String>,
    eab_kid: Option<(String, Place)>,
    eab_key: Option<(HmacKey, Place)>,
    storage: Option<PathBuf>,
    key_type: KeyType,
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Acme,
        DOMAINS,
        ValueKind::TextOrTexts,
        |_| array([]),
        domains,
        "Names for which certificates are asked for and renewed by ACME, each with one of its own. Unless bind is \
         set, the server listens on port 443 with TLS, and on port 80 to redirect and to answer challenges. Setting \
         it means agreement with the terms of the authority. In a file also domains of [hcrs.acme], as for all these keys.",
    )
    .extension()
    .flag("--domain", None, "NAME"),
    Setting::new(
        Acme,
        "acme_email",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.acme.email, email(v)),
        "Address at which the authority may reach the operator.",
    )
    .extension(),
    Setting::new(
        Acme,
        "acme_directory",
        ValueKind::Text,
        |_| "\"letsencrypt\"".into(),
        |v, d| store(&mut d.acme.directory, directory(v)),
        "The authority: letsencrypt, letsencrypt-staging (for tests; clients do not trust it), or the URL of its \
         directory.",
    )
    .extension(),
    Setting::new(
        Acme,
        "acme_directory_ca",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.acme.directory_ca, v.path().map(Some)),
        "PEM file with the authorities that the directory's own certificate is verified by, in place of those of \
         the system, for a private authority.",
    )
    .extension(),
    Setting::new(
        Acme,
        "acme_challenge",
        ValueKind::OneOf(ChallengePolicy::WORDS),
        |_| "\"auto\"".into(),
        |v, d| store(&mut d.acme.challenge, word(v, ChallengePolicy::WORDS, ChallengePolicy::parse)),
        "How the authority sees that a name leads here: tls-alpn-01 by a handshake at port 443, http-01 by a request \
         at port 80, auto by one and after a failure the other.",
    )
    .extension(),
    Setting::new(
        Acme,
        "acme_profile",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.acme.profile, filled(v).map(Some)),
        "Profile of the certificates, of those that the authority has.",
    )
    .extension(),
    Setting::new(
        Acme,
        "acme_eab_kid",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.acme.eab_kid, v.placed(filled(v))),
        "Identifier of the key of an account at the authority, with which some authorities bind the ACME account.",
    )
    .extension(),
    Setting::new(
        Acme,
        "acme_eab_hmac_key",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.acme.eab_key, v.placed(hmac_key(v))),
        "That key, in base64url. Prefer the variable HCRS_ACME_EAB_HMAC_KEY to the file.",
    )
    .extension(),
    Setting::new(
        Acme,
        "acme_storage",
        ValueKind::Path,
        unset,
        |v, d| store(&mut d.acme.storage, v.path().map(Some)),
        "Folder of keys and certificates, which several servers may share; no other user may enter it. Unset, that \
         which systemd gives (StateDirectory), /var/lib/hcrs/acme for root, and hcrs/acme in the user's folder of \
         state otherwise.",
    )
    .extension(),
    Setting::new(
        Acme,
        "acme_key_type",
        ValueKind::OneOf(KeyType::WORDS),
        |_| "\"ecdsa-p256\"".into(),
        |v, d| store(&mut d.acme.key_type, word(v, KeyType::WORDS, KeyType::parse)),
        "Type of the certificates' keys. Each certificate has a new one.",
    )
    .extension(),
];

impl AcmeDraft {
    /// Returns the settings; `None` without names. `default_storage` is the folder if none is given.
    pub(crate) fn finish(
        self,
        default_storage: Option<PathBuf>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<AcmeSettings> {
        if self.domains.is_empty() {
            return None;
        }
        let Some(storage) = self.storage.or(default_storage) else {
            mistakes.push(Mistake {
                place: Place::Nowhere,
                message: "acme_storage is not set, and there is no folder of the user for it (HOME); set it"
                    .into(),
            });
            return None;
        };
        let external_account = match (self.eab_kid, self.eab_key) {
            (Some((kid, _)), Some((key, _))) => Some(ExternalAccount { kid, key }),
            (None, None) => None,
            (Some((_, place)), None) | (None, Some((_, place))) => {
                let message = "eab_kid and eab_hmac_key belong together; set both or none".into();
                mistakes.push(Mistake { place, message });
                None
            }
        };
        Some(AcmeSettings {
            domains: self.domains,
            email: self.email,
            directory: self.directory,
            directory_ca: self.directory_ca,
            challenge: self.challenge,
            profile: self.profile,
            external_account,
            key_type: self.key_type,
            storage,
        })
    }
}

fn domains(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let mut domains = Vec::new();
    for (text, place) in given.text_or_texts()? {
        let domain = Domain::parse(text)
            .map_err(|error| Mistake { place: place.clone(), message: format!("{text:?}: {error}") })?;
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    draft.acme.domains = domains;
    Ok(())
}

fn filled(given: &GivenValue<'_>) -> Result<String, Mistake> {
    match given.text()? {
        "" => Err(given.expected("a string that is not empty")),
        text => Ok(text.to_owned()),
    }
}

fn email(given: &GivenValue<'_>) -> Result<Option<String>, Mistake> {
    // Other clients want the scheme, which is added to what is sent.
    let text = given.text()?;
    let text = text.strip_prefix("mailto:").unwrap_or(text);
    let is_address =
        text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && Domain::parse(host).is_ok())
            && text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b',' && byte != b'?');
    if is_address {
        Ok(Some(text.to_owned()))
    } else {
        Err(given.expected("an address, as admin@example.com"))
    }
}

fn directory(given: &GivenValue<'_>) -> Result<DirectoryUrl, Mistake> {
    let expected = "letsencrypt, letsencrypt-staging, or a URL that begins with https://";
    DirectoryUrl::parse(given.text()?).ok_or_else(|| given.expected(expected))
}

fn hmac_key(given: &GivenValue<'_>) -> Result<HmacKey, Mistake> {
    // The value is not shown.
    HmacKey::parse(given.text()?).ok_or_else(|| given.mistake("expected a key in base64url"))
}

fn word<T>(given: &GivenValue<'_>, words: &[&str], parse: fn(&str) -> Option<T>) -> Result<T, Mistake> {
    parse(&given.text()?.to_ascii_lowercase())
        .ok_or_else(|| given.expected(format_args!("one of {}", words.join(", "))))
}

/// Returns the folder of certificates that a process with this environment has.
pub(crate) fn default_storage(variable: impl Fn(&str) -> Option<String>, is_root: bool) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|folder| folder.starts_with('/')).map(PathBuf::from);
    let given = variable("STATE_DIRECTORY").and_then(|folders| folders.split(':').next().map(PathBuf::from));
    match given.filter(|folder| folder.is_absolute()) {
        Some(folder) => Some(folder.join("acme")),
        None if is_root => Some(SYSTEM_STORAGE.into()),
        None => {
            let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")));
            state.map(|state| state.join("hcrs/acme"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_that_of_the_service_the_system_or_the_user() {
        let storage = |variables: &[(&str, &str)], is_root| {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            default_storage(variable, is_root).map(|folder| folder.display().to_string())
        };
        let of = |folder: &str| Some(folder.to_owned());
        assert_eq!(storage(&[("STATE_DIRECTORY", "/var/lib/a:/b")], true), of("/var/lib/a/acme"));
        assert_eq!(storage(&[("HOME", "/root")], true), of("/var/lib/hcrs/acme"));
        assert_eq!(storage(&[("HOME", "/home/a")], false), of("/home/a/.local/state/hcrs/acme"));
        let both = [("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")];
        assert_eq!(storage(&both, false), of("/s/hcrs/acme"));
        assert_eq!(storage(&[("HOME", "relative")], false), None);
    }
}
