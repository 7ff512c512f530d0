//! Reloading of the files while the server runs.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::{ManagedCertificate, ServerConfigs, Settings, TlsError, TlsWarning};

/// The settings, and the configurations from the last reading of their files. All listeners share it. Its
/// owner calls [`TlsConfig::reload`] when files have changed: this crate does not watch them.
#[derive(Debug)]
pub struct TlsConfig {
    settings: Settings,
    /// The managed certificates of the moment; those of the settings are the first ones.
    managed: RwLock<Vec<ManagedCertificate>>,
    current: RwLock<Arc<ServerConfigs>>,
}

impl TlsConfig {
    /// Reads all files and checks them. The warnings include those of [`ServerConfigs::out_of_date`].
    pub fn load(settings: Settings, now: SystemTime) -> Result<(Self, Vec<TlsWarning>), TlsError> {
        let (configs, mut warnings) = ServerConfigs::load(&settings, None)?;
        warnings.extend(configs.out_of_date(now));
        let managed = RwLock::new(settings.managed.clone());
        let current = RwLock::new(Arc::new(configs));
        Ok((Self { settings, managed, current }, warnings))
    }

    /// Returns the configurations for a new connection. To be called once for each connection.
    pub fn current(&self) -> Arc<ServerConfigs> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads all files again, for later connections. Open connections are not affected, and sessions resume
    /// unless the authorities or the CRLs changed. An error leaves everything as it was. If a certificate and
    /// its key are being replaced one after the other, the error is that they are no pair, and a later call
    /// succeeds.
    pub fn reload(&self, now: SystemTime) -> Result<Vec<TlsWarning>, TlsError> {
        let (configs, mut warnings) = ServerConfigs::load(&self.present(), Some(&self.current()))?;
        warnings.extend(configs.out_of_date(now));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(configs);
        Ok(warnings)
    }

    /// Returns the files whose change is a reason to reload.
    pub fn files(&self) -> Vec<PathBuf> {
        self.present().files()
    }

    /// Changes the managed certificates, which the next reload reads.
    pub fn manage(&self, managed: Vec<ManagedCertificate>) {
        *self.managed.write().unwrap_or_else(PoisonError::into_inner) = managed;
    }

    /// Returns the settings with the managed certificates of the moment.
    fn present(&self) -> Settings {
        let managed = self.managed.read().unwrap_or_else(PoisonError::into_inner).clone();
        Settings { managed, ..self.settings.clone() }
    }

    /// Returns the settings, which never change but for the managed certificates.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
