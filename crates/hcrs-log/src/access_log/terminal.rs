//! A short line for a terminal, with the status in the color of its class.

use super::entry::AccessEntry;
use super::line::{push_number, push_path_and_query, push_sent};

/// The sequence that ends a color.
const PLAIN: &str = "\x1b[0m";
/// The sequence of what a reader needs least.
const DIM: &str = "\x1b[2m";

/// Appends the line of `entry`, without its end, as in `05:01:31 200 GET /path?q 12.3 ms h2`. A fault follows
/// at the end.
pub(super) fn push_line(out: &mut Vec<u8>, entry: &AccessEntry<'_>, time: &str, has_colors: bool) {
    let color = if has_colors { color_of(entry.status) } else { "" };
    let (dim, plain) = if has_colors { (DIM, PLAIN) } else { ("", "") };
    let mut text = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    text(&[dim, time, plain, " ", color]);
    match entry.status {
        Some(status) => push_number(out, status),
        None => out.extend_from_slice(b"---"),
    }
    out.extend_from_slice(plain.as_bytes());
    out.push(b' ');
    push_sent(out, entry.method);
    out.push(b' ');
    push_path_and_query(out, entry);
    let tenths = u64::try_from(entry.duration.as_micros() / 100).unwrap_or(u64::MAX);
    out.extend_from_slice(format!(" {dim}{}.{} ms {}", tenths / 10, tenths % 10, entry.protocol).as_bytes());
    out.extend_from_slice(plain.as_bytes());
    if let Some(fault) = entry.fault {
        out.extend_from_slice(format!(" {color}({}){plain}", fault.as_str()).as_bytes());
    }
}

/// Returns the color of a status: green for success, cyan for a redirect, yellow for a client's mistake, and
/// red for a failure, as which a response counts that was never begun.
fn color_of(status: Option<u16>) -> &'static str {
    match status {
        Some(100..300) => "\x1b[32m",
        Some(300..400) => "\x1b[36m",
        Some(400..500) => "\x1b[33m",
        _ => "\x1b[31m",
    }
}
