//! Finds the end of a head, and looks at each byte once.
//!
//! A head may come in many small reads (RFC 9112 §2.2). The scan remembers its place, so that a client that
//! sends byte by byte costs no more than one that sends a head at once. A line feed without a carriage return
//! is refused here, since httparse takes it for a line end.

use hcrs_http::Fault;

/// The progress of the search for the empty line, in bytes from the head's start.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// Number of bytes searched.
    seen: usize,
    /// Start of the line that is incomplete.
    line: usize,
    /// Length of the request line, its line end included; 0 until it is complete.
    first_line: usize,
}

impl HeadScan {
    /// Returns the head's length with its empty line, once all of it is in `input` within `limit` bytes.
    pub(crate) fn find_end(&mut self, input: &[u8], limit: usize) -> Result<Option<usize>, Fault> {
        let window = &input[..input.len().min(limit)];
        for offset in memchr::memchr_iter(b'\n', &window[self.seen..]) {
            let at = self.seen + offset;
            if at == 0 || window[at - 1] != b'\r' {
                return Err(Fault::BadRequest("line feed without carriage return in a head"));
            }
            if at == self.line + 1 && self.line > 0 {
                return Ok(Some(at + 1));
            }
            self.line = at + 1;
            if self.first_line == 0 {
                self.first_line = at + 1;
            }
        }
        self.seen = window.len();
        if input.len() < limit {
            Ok(None)
        } else if self.first_line > 0 {
            Err(Fault::HeadTooLarge)
        } else if window.contains(&b' ') {
            Err(Fault::TargetTooLong)
        } else {
            Err(Fault::BadRequest("endless method"))
        }
    }

    /// Returns the length of the request line with its line end; 0 until it is complete.
    pub(crate) fn first_line(&self) -> usize {
        self.first_line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_empty_line_however_the_head_is_cut() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for cut in 0..head.len() {
            let mut scan = HeadScan::default();
            assert_eq!(scan.find_end(&head[..cut], 100), Ok(None));
            assert_eq!(scan.find_end(head, 100), Ok(Some(head.len())));
        }
    }

    #[test]
    fn refuses_a_bare_line_feed_wherever_it_stands() {
        for head in
            [&b"GET / HTTP/1.1\nhost: a\r\n\r\n"[..], b"GET / HTTP/1.1\r\nhost: a\n\r\n", b"a\r\n\n", b"\n"]
        {
            let found = HeadScan::default().find_end(head, 100);
            assert!(matches!(found, Err(Fault::BadRequest(_))), "{head:?}");
        }
    }

    #[test]
    fn the_limit_holds_to_the_byte_and_names_what_is_too_long() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let find = |limit| HeadScan::default().find_end(head, limit);
        assert_eq!(find(head.len()), Ok(Some(head.len())));
        assert_eq!(find(head.len() - 1), Err(Fault::HeadTooLarge));
        assert_eq!(find(15), Err(Fault::TargetTooLong));
        assert!(matches!(find(3), Err(Fault::BadRequest(_))));
    }
}
