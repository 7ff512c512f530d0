//! Every setting there is. File, environment, flags, help and the generated pages all come from here.

mod app;
mod deadlines;
mod listeners;
mod logs;
mod protocols;
mod proxies;
mod tls;
mod websocket;

use std::num::NonZeroUsize;

pub(crate) use listeners::binds;
pub(crate) use protocols::HEAD_MAX;

use crate::setting::Setting;
use crate::value::{Given, Mistake};

/// All settings, group by group.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    [
        listeners::SETTINGS,
        proxies::SETTINGS,
        app::SETTINGS,
        deadlines::SETTINGS,
        tls::SETTINGS,
        protocols::SETTINGS,
        websocket::SETTINGS,
        logs::SETTINGS,
    ]
    .into_iter()
    .flatten()
}

/// The setting of this name.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.key == key)
}

/// More processes or threads than this are a slip of the keyboard.
const MAX_COUNT: i64 = 1024;

fn fill<T>(setting: &mut T, read: Result<T, Mistake>) -> Result<(), Mistake> {
    *setting = read?;
    Ok(())
}

fn count(given: &Given<'_>) -> Result<NonZeroUsize, Mistake> {
    Ok(NonZeroUsize::new(given.whole()?).unwrap_or(NonZeroUsize::MIN))
}
