//! The elements of lists that proxies append to, from the last to the first.
//!
//! The order matters for more than speed: read from the left, a quote that a client has opened and not closed
//! would swallow the elements that the proxies have added.

use std::borrow::Cow;

use hcrs_http::is_field_name;

/// One element of `Forwarded`, without the parameters that are not used here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// The parameter `for`.
    pub(super) node: Option<Cow<'a, [u8]>>,
    /// The parameter `proto`.
    pub(super) scheme: Option<Cow<'a, [u8]>>,
    /// The parameter `host`.
    pub(super) host: Option<Cow<'a, [u8]>>,
}

/// Returns the elements of comma-separated lists without quotes, the last one first. Empty elements do not
/// count (RFC 9110 §5.6.1).
pub(super) fn legacy_elements<'a>(lines: &[&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    lines
        .iter()
        .rev()
        .flat_map(|line| line.rsplit(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Returns the elements of `Forwarded`, the last one first, with `None` for a malformed one.
pub(super) fn modern_elements<'a>(lines: &[&'a [u8]]) -> impl Iterator<Item = Option<Element<'a>>> {
    lines.iter().rev().flat_map(|&line| {
        let mut rest = Some(line);
        std::iter::from_fn(move || {
            loop {
                let line = rest.take()?;
                let Some(start) = last_element(line) else { return Some(None) };
                rest = line[..start].strip_suffix(b",");
                let element = line[start..].trim_ascii();
                if !element.is_empty() {
                    return Some(parse_element(element));
                }
            }
        })
    })
}

/// Returns the place where the last element begins, behind the last comma outside quotes; `None` if a quote
/// is not closed.
fn last_element(line: &[u8]) -> Option<usize> {
    let mut at = line.len();
    while at > 0 {
        match line[at - 1] {
            b',' => return Some(at),
            b'"' => at = opening_quote(&line[..at - 1])?,
            _ => at -= 1,
        }
    }
    Some(0)
}

/// Returns the place of the last quote that no backslash escapes.
fn opening_quote(mut before: &[u8]) -> Option<usize> {
    loop {
        let at = before.iter().rposition(|&byte| byte == b'"')?;
        before = &before[..at];
        let backslashes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
        if backslashes % 2 == 0 {
            return Some(at);
        }
    }
}

/// Parses `name=value` pairs with semicolons between them; each name may occur once (RFC 7239 §4).
fn parse_element(element: &[u8]) -> Option<Element<'_>> {
    let mut parsed = Element::default();
    let mut rest = element;
    while !rest.is_empty() {
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let name = rest[..equals].trim_ascii_start();
        if !is_field_name(name) {
            return None;
        }
        let (value, after) = parse_value(&rest[equals + 1..])?;
        rest = match after.trim_ascii() {
            b"" => b"",
            after => after.strip_prefix(b";")?.trim_ascii_start(),
        };
        let place = match name.to_ascii_lowercase().as_slice() {
            b"for" => &mut parsed.node,
            b"proto" => &mut parsed.scheme,
            b"host" => &mut parsed.host,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return None;
        }
    }
    Some(parsed)
}

/// Returns a quoted string without its quotes and escapes, or the text before the next semicolon, and the
/// text that follows.
///
/// Values with colons and brackets ought to be quoted, but often are not, and have no other meaning.
fn parse_value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (value, after) = text.split_at(text.iter().position(|&byte| byte == b';').unwrap_or(text.len()));
        let value = value.trim_ascii_end();
        let is_plain = |byte: &u8| is_field_name(&[*byte]) || b":[]".contains(byte);
        return (!value.is_empty() && value.iter().all(is_plain)).then_some((Cow::Borrowed(value), after));
    };
    let mut unescaped = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((Cow::Owned(unescaped), &quoted[at + 1..])),
            b'\\' => unescaped.push(*bytes.next()?.1),
            _ => unescaped.push(byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(lines: &[&str]) -> Vec<Option<String>> {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        modern_elements(&lines)
            .map(|element| {
                element.and_then(|element| Some(String::from_utf8(element.node?.into_owned()).unwrap()))
            })
            .collect()
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn lines_are_one_list_and_empty_elements_are_none() {
        let lines: [&[u8]; 3] = [b"a, b", b"", b" ,c ,\td,"];
        let elements: Vec<&[u8]> = legacy_elements(&lines).collect();
        assert_eq!(elements, [&b"d"[..], b"c", b"b", b"a"]);
        assert_eq!(nodes(&["for=a, for=b", "", ", for=c;by=x ,"]), some(&["c", "b", "a"]));
    }

    #[test]
    fn quoted_strings_may_hold_what_would_part_elements() {
        assert_eq!(nodes(&[r#"for="a,b;c=d",FOR="\"e\\"; proto=http"#]), some(&[r#""e\"#, "a,b;c=d"]));
    }

    #[test]
    fn a_quote_that_a_client_left_open_swallows_nothing() {
        assert_eq!(nodes(&[r#"for="x, for=192.0.2.1"#])[0], Some("192.0.2.1".to_owned()));
        assert_eq!(nodes(&[r#"for="x, for="[2001:db8::1]""#])[0], Some("[2001:db8::1]".to_owned()));
        assert_eq!(nodes(&[r#"for="x\, for="[2001:db8::1]""#])[0], Some("[2001:db8::1]".to_owned()));
    }

    #[test]
    fn malformed_elements_are_recognized() {
        for text in [
            "for",
            "=a",
            "for=",
            "for=a b",
            "f r=a",
            "for=a;for=b",
            "for=\"a",
            "for=a\"",
            "for=\"a\"b",
            "for=a;x",
            "for=\"\\",
        ] {
            assert_eq!(nodes(&[text])[0], None, "{text}");
        }
        assert_eq!(nodes(&["for=a; for =b"]), [None]);
    }

    proptest! {
        #[test]
        fn whatever_the_client_sends_the_proxys_element_is_the_last(
            line in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let elements =
                [(&b", for=192.0.2.1"[..], &b"192.0.2.1"[..]), (b",for=\"[::1]:80\"", b"[::1]:80")];
            for (added, node) in elements {
                let line = [&line, added].concat();
                let first = modern_elements(&[&line]).next().unwrap().unwrap();
                prop_assert_eq!(first.node.as_deref(), Some(node));
                prop_assert!(modern_elements(&[&line]).count() <= line.len());
            }
            prop_assert_eq!(legacy_elements(&[&line, b"x"]).next(), Some(&b"x"[..]));
        }

        #[test]
        fn any_text_in_quotes_is_read_back(text in "[ -~]{0,30}") {
            let line = format!("by=_x;for=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(nodes(&[&line]), vec![Some(text)]);
        }
    }
}
