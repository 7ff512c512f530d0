//! Values of nginx's directives: sizes, times and rates.

/// Returns a size with the unit of hcrs, as `10M`; `None` if it is none, or 0, which means no limit.
pub(crate) fn size(text: &str) -> Option<String> {
    let text = text.to_ascii_uppercase();
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let is_size = digits.bytes().all(|byte| byte.is_ascii_digit()) && text.len() - digits.len() <= 1;
    let is_positive = !digits.trim_start_matches('0').is_empty();
    (is_size && is_positive && digits.len() <= 12).then_some(text)
}

/// Returns a size in bytes.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = size(text)?;
    let shift = match text.bytes().last() {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        _ => 0,
    };
    let number: u64 = text.trim_end_matches(['K', 'M', 'G']).parse().ok()?;
    number.checked_mul(1 << shift)
}

/// Returns a time in seconds: a number, or numbers with units, as `1h30m`.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ms", 0.001),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
            ("d", 86400.0),
            ("w", 604_800.0),
            ("M", 2_592_000.0),
            ("y", 31_536_000.0),
        ];
        let unit = units.iter().find(|(unit, _)| rest.starts_with(unit));
        let (unit, factor) = unit.copied().or_else(|| rest.is_empty().then_some(("", 1.0)))?;
        total += number * factor;
        rest = rest[unit.len()..].trim_start();
    }
    (!text.is_empty()).then_some(total)
}

/// Returns a number of seconds as hcrs writes it.
pub(crate) fn shown_seconds(seconds: f64) -> String {
    format!("{seconds}")
}

/// Returns a rate of requests, as `10/s`, of nginx's `10r/s`.
pub(crate) fn rate(text: &str) -> Option<String> {
    let (number, unit) = text.split_once("r/")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && matches!(unit, "s" | "m")).then(|| format!("{number}/{unit}"))
}

/// Returns whether the text is an address or a network, without a name.
pub(crate) fn is_network(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_units_of_hcrs() {
        for (text, expected) in [
            ("10m", Some("10M")),
            ("1G", Some("1G")),
            ("512", Some("512")),
            ("0", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(size(text).as_deref(), expected, "{text}");
        }
        assert_eq!(bytes("8k"), Some(8192));
        for (text, expected) in [
            ("60", Some(60.0)),
            ("60s", Some(60.0)),
            ("1h30m", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("30d", Some(2_592_000.0)),
            ("1M", Some(2_592_000.0)),
            ("1x", None),
            ("", None),
            ("s", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert_eq!(rate("10r/s").as_deref(), Some("10/s"));
        assert_eq!(rate("10"), None);
        for (text, expected) in
            [("10.0.0.0/8", true), ("::1", true), ("10.0.0.1", true), ("all", false), ("1.2.3.4/64", false)]
        {
            assert_eq!(is_network(text), expected, "{text}");
        }
    }
}
