//! Status lines.

use hcrs_http::reason_phrase;

/// Appends `HTTP/1.1`, the code and its standard phrase. Codes that are not registered have an empty phrase.
pub(crate) fn push_status_line(out: &mut Vec<u8>, status: u16) {
    debug_assert!((100..=999).contains(&status), "callers check the range");
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let digit = |n: u16| b'0' + (n % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_makes_a_line_that_a_client_reads() {
        for status in 100..=999 {
            let mut out = Vec::new();
            push_status_line(&mut out, status);
            let mut response = httparse::Response::new(&mut []);
            assert!(response.parse(&out).is_ok_and(|s| s.is_partial()), "{status}");
            assert_eq!(response.code, Some(status));
            assert_eq!(response.reason, Some(reason_phrase(status)));
        }
    }
}
