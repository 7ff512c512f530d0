//! The state of names, for the operator.

use std::fs;
use std::io;
use std::time::Duration;

use hcrs_status::{NameState, NamedCertificate};

use crate::client::now;
use crate::domain::Domain;
use crate::schedule::{Facts, Moment, due, is_ahead};
use crate::settings::AcmeSettings;
use crate::storage::{NameRecord, Storage, Stored};

/// Returns the state of all names as it is stored, for a command beside the server.
pub fn stored_report(settings: &AcmeSettings) -> io::Result<Vec<NamedCertificate>> {
    // What another user may not read would seem to be missing.
    match fs::read_dir(&settings.storage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let storage = Storage::new(&settings.storage, &settings.directory);
    let next_order = storage.orders().next(now());
    let report = |domain: &Domain| {
        let known = Known { stored: storage.load(domain), record: storage.name_record(domain) };
        known.report(domain, settings, next_order, now())
    };
    Ok(settings.domains.iter().map(report).collect())
}

/// What is known of a name.
pub(crate) struct Known {
    pub(crate) stored: Option<Stored>,
    pub(crate) record: NameRecord,
}

impl Known {
    /// Returns the facts by which it is decided when to ask.
    pub(crate) fn facts(&self) -> Facts<'_> {
        let facts = self.stored.as_ref().map(|stored| &stored.facts);
        let id = facts.and_then(|facts| facts.id.as_deref());
        let seed = facts.map(|facts| facts.seed);
        let suggestion = self.record.suggestion.as_ref();
        Facts {
            validity: facts.map(|facts| facts.validity),
            window: suggestion.filter(|known| Some(&*known.id) == id).and_then(|known| known.window),
            seed: seed.unwrap_or_default(),
            obtained: self.record.obtained.filter(|known| Some(known.seed) == seed).map(|known| known.at),
            attempts: &self.record.attempts,
        }
    }

    /// Returns when the certificate is to be asked for.
    pub(crate) fn due(&self, now: Moment) -> Moment {
        due(self.facts(), now)
    }

    /// Returns the identifier of the certificate if the authority's suggestion for it is to be asked for.
    pub(crate) fn stale_suggestion(&self, now: Moment) -> Option<&str> {
        let facts = &self.stored.as_ref()?.facts;
        let id = facts.id.as_deref().filter(|_| facts.validity.end > now)?;
        match &self.record.suggestion {
            Some(known) if known.id == id && is_ahead(known.next_check, now) => None,
            _ => Some(id),
        }
    }

    /// Returns the state for the operator; `next_order` is when another order of any name may be made.
    pub(crate) fn report(
        &self,
        domain: &Domain,
        settings: &AcmeSettings,
        next_order: Moment,
        now: Moment,
    ) -> NamedCertificate {
        let validity = self.facts().validity;
        let state = match validity {
            None => NameState::Missing,
            Some(validity) if validity.end <= now => NameState::Expired,
            Some(_) => NameState::Valid,
        };
        let attempts = &self.record.attempts;
        let next_try = self.due(now).max(next_order).max(now);
        NamedCertificate {
            name: domain.to_string(),
            directory: settings.directory.as_str().to_owned(),
            state,
            is_asking: false,
            not_after: validity.map(|validity| validity.end),
            next_try,
            wait: Duration::from_secs(next_try - now).as_secs_f64(),
            failures: attempts.failures,
            failures_total: 0,
            error: attempts.error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::CertificateFacts;
    use crate::schedule::{DAY, Validity, Window};
    use crate::storage::{Obtained, Suggestion};

    const NOW: Moment = 1_800_000_000;

    fn known(end: Moment) -> Known {
        let facts = CertificateFacts {
            validity: Validity { start: end - 90 * DAY, end },
            names: vec!["a.test".into()],
            id: Some("x.y".into()),
            seed: 0,
        };
        Known { stored: Some(Stored { pem: String::new(), facts }), record: NameRecord::default() }
    }

    fn report(known: &Known) -> NamedCertificate {
        let settings = AcmeSettings::new("/nonexistent".into());
        known.report(&Domain::parse("a.test").unwrap(), &settings, 0, NOW)
    }

    #[test]
    fn a_name_is_missing_valid_or_expired() {
        let none = Known { stored: None, record: NameRecord::default() };
        assert_eq!((report(&none).state, report(&none).next_try), (NameState::Missing, NOW));
        let valid = report(&known(NOW + 60 * DAY));
        assert_eq!((valid.state, valid.next_try), (NameState::Valid, NOW + 30 * DAY));
        let obtained = |seed| {
            let mut known = known(NOW + DAY);
            known.record.obtained = Some(Obtained { seed, at: NOW });
            report(&known).next_try
        };
        assert_eq!((obtained(0), obtained(1)), (NOW + DAY, NOW), "one is that of another certificate");
        let expired = report(&known(NOW - DAY));
        assert_eq!((expired.state, expired.next_try), (NameState::Expired, NOW));
    }

    #[test]
    fn a_storage_that_cannot_be_read_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = AcmeSettings::new(folder.path().join("missing"));
        settings.domains.push(Domain::parse("a.test").unwrap());
        assert_eq!(stored_report(&settings).unwrap()[0].state, NameState::Missing);
        settings.storage = folder.path().join("file");
        fs::write(&settings.storage, "").unwrap();
        assert!(stored_report(&settings).is_err());
    }

    #[test]
    fn a_suggestion_is_for_one_certificate_and_for_some_time() {
        let mut known = known(NOW + 60 * DAY);
        assert_eq!(known.stale_suggestion(NOW), Some("x.y"));
        let window = Some(Window { start: NOW + DAY, end: NOW + 2 * DAY });
        let suggestion = Suggestion { id: "x.y".into(), window, next_check: NOW + 100 };
        known.record.suggestion = Some(suggestion.clone());
        assert_eq!((known.stale_suggestion(NOW), known.due(NOW)), (None, NOW + DAY));
        assert_eq!(known.stale_suggestion(NOW + 100), Some("x.y"));
        known.record.suggestion = Some(Suggestion { id: "of.another".into(), ..suggestion });
        assert_eq!((known.stale_suggestion(NOW), known.due(NOW)), (Some("x.y"), NOW + 30 * DAY));
    }
}
