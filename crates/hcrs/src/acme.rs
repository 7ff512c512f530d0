//! The commands about certificates that come by themselves.

use std::io::{self, Write as _};

use hcrs_config::AcmeAction;
use hcrs_server::{Settings, check_acme, stored_report};

use crate::admin::{self, AdminError};

/// Runs a command. Returns whether what it has found is in order.
pub(crate) fn run(settings: &Settings, action: AcmeAction) -> Result<bool, AdminError> {
    let Some(acme) = &settings.acme else { return Err(AdminError::NoDomains) };
    let mut lines = Vec::new();
    let mut is_good = true;
    match action {
        AcmeAction::Status => {
            // Without a server the storage knows all but what is being done now.
            let names = match admin::status(settings) {
                Ok(status) => status.acme,
                Err(_) => stored_report(acme)
                    .map_err(|error| AdminError::Storage(acme.storage.display().to_string(), error))?,
            };
            lines.extend(names.iter().map(hcrs_status::NamedCertificate::words));
        }
        AcmeAction::Renew(domain) => {
            let reply = admin::renew(settings, domain.as_ref())?;
            lines.push(String::from_utf8_lossy(&reply).trim_end().to_owned());
        }
        AcmeAction::Check(ports) => {
            for finding in check_acme(acme, ports) {
                is_good &= finding.is_good;
                lines.push(format!("{}  {}", if finding.is_good { "ok  " } else { "FAIL" }, finding.words));
            }
        }
    }
    let _closed_output = io::stdout().write_all((lines.join("\n") + "\n").as_bytes());
    Ok(is_good)
}
