//! Certificates that come by themselves: starts the thread that asks for them, and has the new ones served.

use hcrs_acme::{Acme, AcmeSettings, Domain};
use hcrs_metrics::NamedCertificateFacts;
use hcrs_status::NamedCertificate;

use super::Supervisor;
use super::event::Event;
use crate::origin::admin::Reply;

impl Supervisor<'_> {
    /// Has the certificates of the settings asked for, which the edge threads can answer challenges of now.
    pub(super) fn start_acme(&mut self) {
        let (Some(settings), Some(_with_tls)) = (&self.settings.acme, &self.certificates) else { return };
        let events = self.sender.clone();
        let renewed = move || {
            let _supervisor_gone = events.blocking_send(Event::NewCertificates);
        };
        match Acme::start(settings.clone(), renewed) {
            Ok(acme) => self.acme = Some(acme),
            Err(error) => tracing::error!("No certificates are asked for: {error}"),
        }
    }

    /// Applies changed settings. The certificates are read again afterwards.
    pub(super) fn change_acme(&mut self, before: Option<&AcmeSettings>) {
        let now = self.settings.acme.as_ref();
        if now == before {
            return;
        }
        if let Some(certificates) = &self.certificates {
            certificates.tls().manage(now.map(AcmeSettings::certificates).unwrap_or_default());
        }
        match (now, &self.acme) {
            (Some(settings), Some(acme)) => acme.change(settings.clone()),
            (Some(_), None) if self.is_open => self.start_acme(),
            (Some(_), None) => {}
            (None, _) => self.acme = None,
        }
    }

    /// Has certificates renewed now.
    pub(super) fn renew_certificates(&self, domain: Option<Domain>) -> Reply {
        let (Some(settings), Some(acme)) = (&self.settings.acme, &self.acme) else {
            return Reply::text(409, "no certificate comes by itself: [hcrs.acme] has no domains");
        };
        match domain {
            Some(domain) if !settings.domains.contains(&domain) => {
                Reply::text(409, &format!("{domain} is not among the domains of [hcrs.acme]"))
            }
            domain => {
                let which = domain.as_ref().map_or_else(|| "all names".to_owned(), ToString::to_string);
                acme.renew(domain);
                Reply::text(
                    200,
                    &format!("the authority is being asked for {which}; hcrs acme status shows the outcome"),
                )
            }
        }
    }

    /// Returns the state of the names.
    pub(super) fn named_certificates(&self) -> Vec<NamedCertificate> {
        self.acme.as_ref().map(Acme::report).unwrap_or_default()
    }

    /// Returns the numbers of the names for metrics.
    pub(super) fn named_certificate_facts(&self) -> Vec<NamedCertificateFacts> {
        let facts = |name: NamedCertificate| NamedCertificateFacts {
            name: name.name,
            not_after: name.not_after,
            next_try: name.next_try,
            failures: name.failures_total,
        };
        self.named_certificates().into_iter().map(facts).collect()
    }
}
