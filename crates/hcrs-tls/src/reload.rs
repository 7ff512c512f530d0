//! TLS whose files may be replaced while it runs.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::{ServerConfigs, Settings, TlsError, TlsWarning};

/// The settings and what their files came to when they were last read. It is shared by all that accept
/// connections. When to read again is said from outside: nothing is watched here.
#[derive(Debug)]
pub struct TlsConfig {
    settings: Settings,
    current: RwLock<Arc<ServerConfigs>>,
}

impl TlsConfig {
    /// Reads all files and checks them. The warnings include those of [`ServerConfigs::out_of_date`].
    pub fn load(settings: Settings, now: SystemTime) -> Result<(Self, Vec<TlsWarning>), TlsError> {
        let (configs, mut warnings) = ServerConfigs::load(&settings, None)?;
        warnings.extend(configs.out_of_date(now));
        Ok((Self { settings, current: RwLock::new(Arc::new(configs)) }, warnings))
    }

    /// What a new connection is to use; to be asked once for each.
    pub fn current(&self) -> Arc<ServerConfigs> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads all files again, for the connections that come after. Those that there are go on as they began,
    /// and sessions resume, unless the authorities or the CRLs changed. With an error everything stays as it
    /// was. A certificate and a key that are written one after the other may be met half way: the error says
    /// that they are no pair, and the next call finds them whole.
    pub fn reload(&self, now: SystemTime) -> Result<Vec<TlsWarning>, TlsError> {
        let (configs, mut warnings) = ServerConfigs::load(&self.settings, Some(&self.current()))?;
        warnings.extend(configs.out_of_date(now));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(configs);
        Ok(warnings)
    }

    /// The files whose change is a reason to reload.
    pub fn files(&self) -> Vec<PathBuf> {
        self.settings.files()
    }

    /// The settings, which stay the same.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
