//! Local time as log lines show it, whose text is renewed once a second.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Local time as a log line shows it, renewed by `render` when the second has changed.
#[derive(Debug)]
pub(crate) struct LocalTime {
    zone: TimeZone,
    second: Option<u64>,
}

impl LocalTime {
    /// Reads the machine's time zone.
    pub(crate) fn new() -> Self {
        Self { zone: TimeZone::system(), second: None }
    }

    #[cfg(test)]
    pub(crate) fn in_zone(zone: TimeZone) -> Self {
        Self { zone, second: None }
    }

    /// Returns the calendar form of `now` if it is in another second than the last time. A time that no calendar
    /// has is shown as the beginning of 1970.
    #[inline]
    pub(crate) fn tick(&mut self, now: SystemTime) -> Option<jiff::Zoned> {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.second == Some(second) {
            return None;
        }
        self.second = Some(second);
        let timestamp = i64::try_from(second).ok().and_then(|s| Timestamp::from_second(s).ok());
        Some(timestamp.unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.zone.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn local_time_is_made_once_a_second() {
        let mut time = LocalTime::in_zone(TimeZone::fixed(jiff::tz::offset(-3)));
        let first = time.tick(at(1_795_406_491)).unwrap();
        assert_eq!(first.strftime("%Y-%m-%d %H:%M:%S %z").to_string(), "2026-11-23 01:01:31 -0300");
        assert!(time.tick(at(1_795_406_491) + Duration::from_millis(1)).is_none());
        assert!(time.tick(at(1_795_406_492)).is_some());
    }
}
