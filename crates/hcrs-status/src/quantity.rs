//! Quantities as people read them, in few columns.

/// Returns a size, as `84 MB`.
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB"])
}

/// Returns a rate or a number without a unit, as `2.3 k`.
pub(crate) fn number(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G"]).trim_end().to_owned()
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 9.95);
    format!("{value:.digits$} {}", units[unit])
}

/// Returns a number with its thousands separated, as `1,204,311`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a short time, as `41 ms`.
pub(crate) fn short(seconds: f64) -> String {
    match seconds {
        s if s < 0.000_95 => format!("{:.0} us", s * 1e6),
        s if s < 0.995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s => long(s),
    }
}

/// Returns a long time by its two largest units, as `3d 4h`.
pub(crate) fn long(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if days > 99 => format!("{days}d"),
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_few_digits() {
        assert_eq!([size(0), size(999), size(1000)], ["0 B", "999 B", "1.0 kB"]);
        assert_eq!([size(84_300_000), size(9_960_000_000)], ["84 MB", "10 GB"]);
        assert_eq!([number(0.0), number(12.4), number(2341.0), number(1e6)], ["0", "12", "2.3 k", "1.0 M"]);
        assert_eq!([count(0), count(999), count(1000), count(1_204_311)], ["0", "999", "1,000", "1,204,311"]);
        assert_eq!(
            [short(0.0002), short(0.041), short(1.26), short(75.0)],
            ["200 us", "41 ms", "1.3 s", "1m 15s"]
        );
        assert_eq!([long(59.0), long(3700.0), long(90_000.0), long(1e7)], ["59 s", "1h 1m", "1d 1h", "115d"]);
        assert_eq!(long(-5.0), "0 s");
    }
}
