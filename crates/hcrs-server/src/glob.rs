//! Patterns of names and paths.

/// Whether the text matches the pattern: `*` matches any bytes, also none, and `?` any one byte.
pub(crate) fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut s) = (0, 0);
    // The position behind the last `*`, and the end of what it covers so far.
    let mut star = None;
    while s < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, s));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[s] => {
                p += 1;
                s += 1;
            }
            _ => {
                let Some((behind, covered)) = star else { return false };
                star = Some((behind, covered + 1));
                (p, s) = (behind, covered + 1);
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_anything_and_question_marks_one_byte() {
        for (pattern, text, expected) in [
            ("*.html", "a.html", true),
            ("*.html", "a.htm", false),
            ("a?c*", "abc", true),
            ("a?c*", "ac", false),
            ("*a*b", "xxaxxbxxab", true),
            ("*a*b", "xxaxxbxxa", false),
            ("/x/*", "/x/y/z", true),
            ("", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
