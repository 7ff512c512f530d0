//! HTML of the pages that the edge serves itself.

use std::fmt::{self, Write as _};

use hcrs_http::RequestView;

/// Whether the client takes HTML, as browsers say and most other clients do not.
pub(super) fn is_accepted(view: &RequestView<'_>) -> bool {
    let accept = view.fields().first(b"accept");
    accept.is_some_and(|accept| accept.windows(9).any(|part| part == b"text/html"))
}

/// Text inside an HTML element.
pub(super) struct Html<'a>(pub &'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
