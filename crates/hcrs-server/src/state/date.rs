//! The `date` field (RFC 9110 §5.6.7). Its text is renewed once a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Length of an IMF-fixdate, as in `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) const HTTP_DATE_LEN: usize = 29;

/// The value of `date`, one for each edge thread.
#[derive(Debug)]
pub(crate) struct HttpDate {
    second: Option<u64>,
    text: [u8; HTTP_DATE_LEN],
}

impl HttpDate {
    pub(crate) fn new() -> Self {
        Self { second: None, text: *b"Thu, 01 Jan 1970 00:00:00 GMT" }
    }

    /// Returns the IMF-fixdate of `now`.
    #[inline]
    pub(crate) fn now(&mut self, now: SystemTime) -> &[u8; HTTP_DATE_LEN] {
        let second = unix_second(now);
        if self.second != Some(second) {
            let text = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(second)).to_string();
            if let Ok(text) = <[u8; HTTP_DATE_LEN]>::try_from(text.as_bytes()) {
                self.text = text;
            }
            self.second = Some(second);
        }
        &self.text
    }
}

/// Returns the whole seconds since 1970; a clock before that counts as 1970.
fn unix_second(now: SystemTime) -> u64 {
    /// The last second of the year 9999, after which the form has no fixed length.
    const LAST: u64 = 253_402_300_799;
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().min(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn dates_are_imf_fixdates_of_the_second_asked_for() {
        let mut date = HttpDate::new();
        assert_eq!(date.now(at(784_111_777)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.now(at(784_111_777) + Duration::from_millis(999)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.now(at(784_111_778)), b"Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(date.now(at(0)), b"Thu, 01 Jan 1970 00:00:00 GMT", "a clock that jumps back is followed");
    }

    #[test]
    fn absurd_clocks_are_clamped() {
        let mut date = HttpDate::new();
        assert_eq!(date.now(UNIX_EPOCH - Duration::from_secs(9)), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date.now(at(1 << 40)), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
