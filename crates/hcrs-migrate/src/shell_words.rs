//! Splits a command line into words as a shell or systemd does: quotes, escapes, variables.

/// Words of a command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) words: Vec<String>,
    /// Variables that are not set. Their references stay in the words as written.
    pub(crate) unset: Vec<String>,
}

/// Splits a command line into words. `variable` returns the value of a variable. The error describes a syntax
/// error.
pub(crate) fn split(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Words, String> {
    let mut split = Words::default();
    let mut letters = text.chars().peekable();
    let mut word: Option<String> = None;
    let mut quote = None;
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, Some(open)) if open == letter => quote = None,
            ('\\', None | Some('"')) => match letters.next() {
                Some('\n') => {}
                Some(escaped) => {
                    let word = word.get_or_insert_default();
                    // Within double quotes a backslash is kept before a character that needs no escape.
                    if quote.is_some() && !matches!(escaped, '"' | '\\' | '$' | '`') {
                        word.push('\\');
                    }
                    word.push(escaped);
                }
                None => return Err("the command line ends in a backslash; remove it".into()),
            },
            ('$', None | Some('"')) => {
                let Reference { name, default, written } = reference(&mut letters);
                let value = match name.as_str() {
                    "" => Some(written.clone()),
                    name => variable(name).filter(|value| default.is_none() || !value.is_empty()).or(default),
                };
                let value = value.unwrap_or_else(|| {
                    split.unset.push(name);
                    written
                });
                // Outside quotes a value may become several words, or none.
                let mut parts = value.split(|c: char| quote.is_none() && c.is_whitespace());
                if let Some(first) = parts.next().filter(|first| quote.is_some() || !first.is_empty()) {
                    word.get_or_insert_default().push_str(first);
                }
                for part in parts {
                    split.words.extend(word.take());
                    word = (!part.is_empty()).then(|| part.to_owned());
                }
            }
            (space, None) if space.is_whitespace() => split.words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        return Err(format!("the quote {open} is not closed; add the closing one"));
    }
    split.words.extend(word);
    Ok(split)
}

/// Reference to a variable in a command line.
struct Reference {
    /// Name of the variable; empty for a lone dollar sign.
    name: String,
    /// Value if the variable is not set, as in `${NAME:-value}`.
    default: Option<String>,
    /// The reference as written.
    written: String,
}

/// Parses the rest of a reference after its dollar sign.
fn reference(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Reference {
    let is_name = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    if letters.next_if_eq(&'{').is_none() {
        let mut name = String::new();
        while let Some(letter) = letters.next_if(is_name) {
            name.push(letter);
        }
        let written = format!("${name}");
        return Reference { name, default: None, written };
    }
    let inside: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
    let written = format!("${{{inside}}}");
    match inside.split_once(":-").or_else(|| inside.split_once('-')) {
        Some((name, default)) => Reference { name: name.into(), default: Some(default.into()), written },
        None => Reference { name: inside, default: None, written },
    }
}

/// Quotes a word for a shell or systemd.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%[]~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for letter in word.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

/// Returns name and value of a word of the form `NAME=value`.
pub(crate) fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_name.then(|| (name.to_owned(), value.to_owned()))
}

/// Parses a file of variables such as `.env`: lines of the form `NAME=value`, optionally after `export` and
/// with quotes.
pub(crate) fn dotenv(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.starts_with(['#', ';']) {
            return None;
        }
        let (name, value) = line.split_once('=')?;
        let value = value.trim();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
            _ => value.split(" #").next().unwrap_or_default().trim_end(),
        };
        assignment(&format!("{}={value}", name.trim()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let value = |name: &str| match name {
            "PORT" => Some("80".to_owned()),
            "OPTIONS" => Some("-w 4  -t 5".to_owned()),
            "NOTHING" => Some(String::new()),
            _ => None,
        };
        split(text, value).unwrap().words
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        for (text, expected) in [
            ("uvicorn  main:app\t--port 80\n", &["uvicorn", "main:app", "--port", "80"][..]),
            ("a 'b c' \"d e\"f ''", &["a", "b c", "d ef", ""]),
            (r#"a\ b "x\"y\$z" 'p\q' "\n""#, &["a b", "x\"y$z", r"p\q", r"\n"]),
            ("a \\\n  b", &["a", "b"]),
            ("--bind=:$PORT '$PORT' \"${PORT}\" ${PORT}1", &["--bind=:80", "$PORT", "80", "801"]),
            ("x $OPTIONS y \"$OPTIONS\"", &["x", "-w", "4", "-t", "5", "y", "-w 4  -t 5"]),
            ("a $NOTHING b$NOTHING \"$NOTHING\"", &["a", "b", ""]),
            ("${WORKERS:-4} ${PORT:-9} $ 5$", &["4", "80", "$", "5$"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn incomplete_lines_are_refused_and_unset_variables_are_reported() {
        assert!(split("a 'b", |_| None).unwrap_err().contains("not closed"));
        assert!(split("a \\", |_| None).unwrap_err().contains("backslash"));
        let split = split("x $A ${B}", |_| None).unwrap();
        assert_eq!(split.words, ["x", "$A", "${B}"]);
        assert_eq!(split.unset, ["A", "B"]);
    }

    #[test]
    fn quoted_words_are_read_back() {
        for word in ["plain", "a b", "", "it's", "a\"b\\c", "main:create()"] {
            assert_eq!(words(&quote(word)), [word], "{word}");
        }
    }

    #[test]
    fn a_file_of_variables_is_parsed() {
        let text = "# x\nA=1\nexport B = 'two words'\nC=\"3\" # c\nD=4 # d\nnonsense\n;E=5\n";
        let expected = [("A", "1"), ("B", "two words"), ("C", "3"), ("D", "4")];
        assert_eq!(dotenv(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
