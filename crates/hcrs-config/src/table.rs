//! The table of all settings. File, environment, flags, help and the generated pages are derived from it.

pub(crate) mod acme;
pub(crate) mod admin;
mod app;
pub mod apps;
mod deadlines;
mod listeners;
mod logs;
mod process;
mod protocols;
mod proxies;
pub mod routes;
mod rules;
mod tls;
mod tracing;
mod websocket;

use std::num::NonZeroUsize;

pub use protocols::HEAD_MAX;

use crate::setting::Setting;
use crate::value::{GivenValue, Mistake};

/// Returns all settings, group by group.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    [
        listeners::SETTINGS,
        proxies::SETTINGS,
        routes::SETTINGS,
        rules::SETTINGS,
        app::SETTINGS,
        apps::SETTINGS,
        process::SETTINGS,
        deadlines::SETTINGS,
        tls::SETTINGS,
        acme::SETTINGS,
        protocols::SETTINGS,
        websocket::SETTINGS,
        logs::SETTINGS,
        tracing::SETTINGS,
        admin::SETTINGS,
    ]
    .into_iter()
    .flatten()
}

/// Returns the setting with this key.
pub fn find(key: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.key == key)
}

/// Largest number of processes or threads; more are taken for a typing error.
const MAX_COUNT: i64 = 1024;

/// Stores a value that was read in its field.
fn store<T>(field: &mut T, read: Result<T, Mistake>) -> Result<(), Mistake> {
    *field = read?;
    Ok(())
}

fn count(given: &GivenValue<'_>) -> Result<NonZeroUsize, Mistake> {
    Ok(NonZeroUsize::new(given.whole()?).unwrap_or(NonZeroUsize::MIN))
}
