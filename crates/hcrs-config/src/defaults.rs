//! Defaults of all settings, from the crates that obey them.

use hcrs_server::{AppSettings, Settings};

use crate::environment::variable;
use crate::secret::SECRETS;

/// Settings with every field at its default.
pub(crate) struct Defaults {
    pub(crate) server: Settings,
    pub(crate) app: AppSettings,
    pub(crate) tls: hcrs_tls::Settings,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            server: Settings::default(),
            app: AppSettings {
                withheld_variables: SECRETS.iter().map(|key| variable(key)).collect(),
                ..AppSettings::new(String::new())
            },
            tls: hcrs_tls::Settings::new("", ""),
        }
    }
}
