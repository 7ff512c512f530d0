//! The formats in which metrics are scraped, and the choice of one.

use std::fmt::Write as _;

use crate::families::{FAMILIES, Kind, Scrape};
use crate::histogram::Histogram;
use crate::label::Label;
use crate::server::ServerFacts;
use crate::snapshot::ThreadSnapshot;
use crate::values::{By, Counter, Level};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Text,
    /// `OpenMetrics`, version 1.0.
    OpenMetrics,
}

impl Format {
    /// Returns the format that the value of an `accept` field asks for (RFC 9110 §12.5.1): `OpenMetrics` if it
    /// is named, in version 1 or in any, and not less wanted than text; otherwise text.
    pub fn negotiate(accept: Option<&[u8]>) -> Self {
        let accept = String::from_utf8_lossy(accept.unwrap_or_default());
        let (mut open_metrics, mut text) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let (mut weight, mut version) = (1.0, None);
            for parameter in parts {
                match parameter.split_once('=') {
                    Some((name, value)) if name.eq_ignore_ascii_case("q") => weight = quality(value),
                    Some((name, value)) if name.eq_ignore_ascii_case("version") => {
                        version = Some(value.trim_matches('"'));
                    }
                    _ => {}
                }
            }
            if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
                if version.is_none_or(|version| version == "1.0.0") {
                    open_metrics = open_metrics.max(weight);
                }
            } else if ["text/plain", "text/*", "*/*"].iter().any(|name| media_type.eq_ignore_ascii_case(name))
            {
                text = text.max(weight);
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// Returns the value of the response's `content-type` field.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Returns a quality value (RFC 9110 §12.4.2); 0 if it is malformed.
fn quality(value: &str) -> f32 {
    value.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0)
}

/// Returns all metrics in the format.
pub fn exposition(format: Format, threads: &ThreadSnapshot, server: &ServerFacts) -> String {
    let scrape = Scrape { threads, server };
    let mut out = String::new();
    for family in FAMILIES {
        let (name, kind) = (family.name, family.kind);
        let of_counter = if format == Format::Text { kind.suffix() } else { "" };
        let type_name = match (format, kind) {
            (Format::Text, Kind::Info) => "gauge",
            _ => kind.as_str(),
        };
        let _infallible = writeln!(out, "# HELP {name}{of_counter} {}", family.help);
        let _infallible = writeln!(out, "# TYPE {name}{of_counter} {type_name}");
        if format == Format::OpenMetrics
            && let Some(unit) = family.unit()
        {
            let _infallible = writeln!(out, "# UNIT {name} {unit}");
        }
        (family.samples)(&scrape, &mut Samples { out: &mut out, format, name, kind });
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// Writes the samples of one family.
///
/// The text of a label is a value of [`Label`], a number, or the version of hcrs, and so needs no escaping.
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    out: &'a mut String,
    format: Format,
    name: &'static str,
    kind: Kind,
}

impl Samples<'_> {
    /// Writes a number.
    pub(crate) fn number(&mut self, labels: &[(&str, &str)], n: u64) {
        self.begin(self.kind.suffix(), labels, None);
        let _infallible = writeln!(self.out, " {n}");
    }

    /// Writes a number of seconds.
    pub(crate) fn seconds(&mut self, labels: &[(&str, &str)], nanos: u64) {
        self.begin(self.kind.suffix(), labels, None);
        self.out.push(' ');
        push_seconds(self.out, nanos, "");
        self.out.push('\n');
    }

    /// Writes the number of each value of a label, behind the other labels.
    pub(crate) fn each<L: Label, T: Number, const N: usize>(
        &mut self,
        labels: &[(&str, &str)],
        by: &By<L, T, N>,
    ) {
        for (label, number) in by.iter() {
            self.number(&[labels, &[(L::NAME, label.as_str())]].concat(), number.number());
        }
    }

    /// Writes the buckets, the sum and the count of a histogram.
    pub(crate) fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        for (bound, count) in histogram.cumulative() {
            let le = bound.map_or_else(
                || "+Inf".to_owned(),
                |nanos| {
                    let mut le = String::new();
                    // OpenMetrics has bounds that are floating-point numbers in any case.
                    let whole = if self.format == Format::OpenMetrics { ".0" } else { "" };
                    push_seconds(&mut le, nanos, whole);
                    le
                },
            );
            self.begin("_bucket", labels, Some(&le));
            let _infallible = writeln!(self.out, " {count}");
        }
        self.begin("_sum", labels, None);
        self.out.push(' ');
        push_seconds(self.out, histogram.sum(), "");
        self.out.push('\n');
        self.begin("_count", labels, None);
        let _infallible = writeln!(self.out, " {}", histogram.count());
    }

    fn begin(&mut self, suffix: &str, labels: &[(&str, &str)], le: Option<&str>) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let mut opening = '{';
        for (name, value) in labels.iter().copied().chain(le.map(|le| ("le", le))) {
            let _infallible = write!(self.out, "{opening}{name}=\"{value}\"");
            opening = ',';
        }
        if opening == ',' {
            self.out.push('}');
        }
    }
}

/// A number that a sample may have.
pub(crate) trait Number {
    fn number(&self) -> u64;
}

impl Number for Counter {
    fn number(&self) -> u64 {
        self.get()
    }
}

impl Number for Level {
    fn number(&self) -> u64 {
        self.get()
    }
}

/// Appends nanoseconds as seconds, without zeros at the end; `whole` follows a number without a fraction.
fn push_seconds(out: &mut String, nanos: u64, whole: &str) {
    let (seconds, fraction) = (nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND);
    let _infallible = if fraction == 0 {
        write!(out, "{seconds}{whole}")
    } else {
        let fraction = format!("{fraction:09}");
        write!(out, "{seconds}.{}", fraction.trim_end_matches('0'))
    };
}

#[cfg(test)]
mod tests;
