//! The syntax of nginx's configuration: words, quotes, escapes, comments and blocks, as nginx's own parser reads them.
//! No I/O: `include` is an ordinary directive here.

use std::cell::Cell;
use std::fmt;
use std::iter::Peekable;
use std::rc::Rc;
use std::str::Chars;

/// Deepest nesting of blocks. nginx's own contexts need five.
const MAX_DEPTH: usize = 32;
/// Most directives of a file. A file has at most 1 MiB, and a directive at least two bytes.
const MAX_DIRECTIVES: usize = 50_000;

/// File and line of a directive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: Rc<str>,
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Directive with its arguments and, if it has one, its block.
#[derive(Debug, Clone)]
pub(crate) struct Directive {
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    pub(crate) block: Option<Vec<Directive>>,
    pub(crate) place: Place,
    /// Whether the result or one of its notes names this directive.
    seen: Cell<bool>,
}

impl Directive {
    /// Returns the argument at this index, or an empty text.
    pub(crate) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// Returns the directives of the block; none without a block.
    pub(crate) fn children(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Returns the children with this name.
    pub(crate) fn each<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.children().iter().filter(move |child| child.name == name)
    }

    /// Marks the directive as named in the result.
    pub(crate) fn see(&self) {
        self.seen.set(true);
    }

    /// Marks the directive and everything in its block as named in the result.
    pub(crate) fn see_all(&self) {
        self.see();
        self.children().iter().for_each(Directive::see_all);
    }

    /// Whether the result or one of its notes names this directive.
    pub(crate) fn is_seen(&self) -> bool {
        self.seen.get()
    }

    /// Returns the directive as it was written, on one line and without its block.
    pub(crate) fn written(&self) -> String {
        let mut text = self.name.clone();
        for arg in &self.args {
            text.push(' ');
            if arg.is_empty() || arg.contains(|c: char| c.is_whitespace() || ";{}".contains(c)) {
                text.push_str(&["\"", &arg.replace(char::is_control, " "), "\""].concat());
            } else {
                text.push_str(arg);
            }
        }
        if self.name == "if" { text.replace(" )", ")") } else { text }
    }
}

/// Error of the syntax at a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) message: String,
}

enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
}

/// Block that is not closed yet.
struct OpenBlock {
    head: Directive,
    outer: Vec<Directive>,
}

/// Parses the text of one file.
pub(crate) fn parse(file: &Rc<str>, text: &str) -> Result<Vec<Directive>, SyntaxError> {
    let mut tokens = Tokens { chars: text.chars().peekable(), line: 1, start: 1 };
    let mut blocks: Vec<OpenBlock> = Vec::new();
    let mut current: Vec<Directive> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut first_line = 1;
    let mut count = 0;
    let at = |line: usize, message: String| Err(SyntaxError { line, message });
    while let Some(token) = tokens.next()? {
        let line = tokens.start;
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    first_line = line;
                }
                words.push(word);
                continue;
            }
            Token::Close if !words.is_empty() => {
                return at(first_line, format!("{} is not ended; write ; behind it", words[0]));
            }
            Token::Close => {
                let Some(OpenBlock { mut head, outer }) = blocks.pop() else {
                    return at(line, "} closes no block".into());
                };
                head.block = Some(std::mem::replace(&mut current, outer));
                current.push(head);
                continue;
            }
            Token::Semicolon | Token::Open => {}
        }
        if words.is_empty() {
            let symbol = if matches!(token, Token::Open) { "{" } else { ";" };
            return at(line, format!("{symbol} without a directive before it"));
        }
        count += 1;
        if count > MAX_DIRECTIVES {
            return at(line, format!("more than {MAX_DIRECTIVES} directives"));
        }
        let mut words = std::mem::take(&mut words).into_iter();
        let directive = Directive {
            name: words.next().unwrap_or_default(),
            args: words.collect(),
            block: None,
            place: Place { file: file.clone(), line: first_line },
            seen: Cell::new(false),
        };
        if matches!(token, Token::Semicolon) {
            current.push(directive);
        } else if directive.name.ends_with("_by_lua_block") {
            tokens.skip_block()?;
            current.push(Directive { block: Some(Vec::new()), ..directive });
        } else if blocks.len() == MAX_DEPTH {
            return at(line, format!("blocks are nested more than {MAX_DEPTH} deep"));
        } else {
            blocks.push(OpenBlock { head: directive, outer: std::mem::take(&mut current) });
        }
    }
    if let Some(OpenBlock { head, .. }) = blocks.last() {
        return at(
            head.place.line,
            format!("the block of {} is not closed; write }} at its end", head.written()),
        );
    }
    if let Some(word) = words.first() {
        return at(first_line, format!("{word} is not ended; write ; behind it"));
    }
    Ok(current)
}

struct Tokens<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    /// Line at which the last token began.
    start: usize,
}

impl Tokens<'_> {
    fn take(&mut self) -> Option<char> {
        let taken = self.chars.next();
        self.line += usize::from(taken == Some('\n'));
        taken
    }

    fn error<T>(&self, message: &str) -> Result<T, SyntaxError> {
        Err(SyntaxError { line: self.start, message: message.into() })
    }

    fn next(&mut self) -> Result<Option<Token>, SyntaxError> {
        loop {
            let Some(&c) = self.chars.peek() else { return Ok(None) };
            self.start = self.line;
            match c {
                '#' => {
                    while self.chars.peek().is_some_and(|&c| c != '\n') {
                        self.take();
                    }
                }
                ';' | '{' | '}' => {
                    self.take();
                    return Ok(Some(match c {
                        ';' => Token::Semicolon,
                        '{' => Token::Open,
                        _ => Token::Close,
                    }));
                }
                '"' | '\'' => {
                    self.take();
                    return self.quoted(c).map(Some);
                }
                // A byte order mark is no part of the first directive.
                ' ' | '\t' | '\r' | '\n' | '\u{feff}' => {
                    self.take();
                }
                _ => return self.plain().map(Some),
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token, SyntaxError> {
        let mut word = String::new();
        loop {
            match self.take() {
                None => return self.error(&format!("the text behind {quote} is not closed")),
                Some('\\') => self.escaped(&mut word)?,
                Some(c) if c == quote => break,
                Some(c) => self.push(&mut word, c)?,
            }
        }
        match self.chars.peek() {
            None | Some(' ' | '\t' | '\r' | '\n' | ';' | '{' | ')') => Ok(Token::Word(word)),
            Some(&c) => {
                let shown = if c.is_control() { "a control character".to_owned() } else { format!("{c:?}") };
                self.error(&format!("{shown} follows {quote}; a space, ; or {{ is expected there"))
            }
        }
    }

    fn plain(&mut self) -> Result<Token, SyntaxError> {
        let mut word = String::new();
        while let Some(&c) = self.chars.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' => break,
                '{' if !word.ends_with('$') => break,
                '\\' => {
                    self.take();
                    self.escaped(&mut word)?;
                }
                _ => {
                    self.take();
                    self.push(&mut word, c)?;
                }
            }
        }
        Ok(Token::Word(word))
    }

    fn push(&self, word: &mut String, c: char) -> Result<(), SyntaxError> {
        if c.is_control() && !matches!(c, '\t' | '\r' | '\n') {
            return Err(SyntaxError {
                line: self.line,
                message: "a control character; is this a configuration of nginx?".into(),
            });
        }
        word.push(c);
        Ok(())
    }

    /// Adds an escape, whose backslash was taken. Of those that nginx does not know the backslash is kept, for regular
    /// expressions.
    fn escaped(&mut self, word: &mut String) -> Result<(), SyntaxError> {
        match self.take() {
            None => return self.error("the file ends in a backslash"),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(c @ ('"' | '\'' | '\\')) => word.push(c),
            Some(c) => {
                word.push('\\');
                self.push(word, c)?;
            }
        }
        Ok(())
    }

    /// Skips a block in another language, whose braces are balanced.
    fn skip_block(&mut self) -> Result<(), SyntaxError> {
        let mut depth = 1;
        while depth > 0 {
            match self.take() {
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                Some(_) => {}
                None => return self.error("the block is not closed; write } at its end"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Directive>, SyntaxError> {
        parse(&Rc::from("x"), text)
    }

    /// Returns directives in a form on one line.
    fn shown(directives: &[Directive]) -> String {
        let one = |directive: &Directive| {
            let words = [std::slice::from_ref(&directive.name), &directive.args].concat();
            match &directive.block {
                Some(block) => format!("{words:?}@{}{{{}}}", directive.place.line, shown(block)),
                None => format!("{words:?}@{}", directive.place.line),
            }
        };
        directives.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_are_those_of_nginx() {
        for (text, expected) in [
            ("a b;", r#"["a", "b"]@1"#),
            ("a b  c ;\n\n d;", r#"["a", "b", "c"]@1 ["d"]@3"#),
            ("# no\na#b 'c d' \"e;}\"; # end", r#"["a#b", "c d", "e;}"]@2"#),
            (r#"a "x\"y" 'it\'s' \.css$ "\d\\";"#, r#"["a", "x\"y", "it's", "\\.css$", "\\d\\"]@1"#),
            ("a ${b}c $d{e;}", r#"["a", "${b}c", "$d"]@1{["e"]@1}"#),
            ("a{b{}c d;}", r#"["a"]@1{["b"]@1{} ["c", "d"]@1}"#),
            ("if ($a = \"b c\") { return 1; }", r#"["if", "($a", "=", "b c", ")"]@1{["return", "1"]@1}"#),
            ("a\n  b\n  c;", r#"["a", "b", "c"]@1"#),
            ("x '';", r#"["x", ""]@1"#),
            ("c_by_lua_block { if x { } end -- ' } d;", r#"["c_by_lua_block"]@1{} ["d"]@1"#),
            ("\u{feff}a;", r#"["a"]@1"#),
            ("", ""),
        ] {
            assert_eq!(shown(&parsed(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn errors_name_the_line_where_something_began() {
        let deep = "a {".repeat(MAX_DEPTH + 1);
        for (text, line, message) in [
            ("a;\nserver {\n x;\n", 2, "the block of server is not closed"),
            ("a;\n}\n", 2, "} closes no block"),
            ("a b\n", 1, "a is not ended"),
            ("x {\n listen 80\n}\n", 2, "listen is not ended"),
            ("\n;", 2, "; without a directive"),
            ("\n{", 2, "{ without a directive"),
            ("a;\nb \"x\n\n", 2, "the text behind \" is not closed"),
            ("a 'b'c;", 1, "'c' follows '"),
            ("a \u{0}b;", 1, "a control character"),
            ("a \\", 1, "ends in a backslash"),
            (&deep, 1, "more than 32 deep"),
            (&"a;".repeat(MAX_DIRECTIVES + 1), 1, "more than 50000 directives"),
            ("a_by_lua_block { {", 1, "not closed"),
        ] {
            let error = parsed(text).unwrap_err();
            assert_eq!(error.line, line, "{message}");
            assert!(error.message.contains(message), "{message}\n{}", error.message);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "([a-z$ {};'\"\\\\#\n]|.){0,80}") {
            if let Ok(directives) = parsed(&text) {
                // Lines are counted from one.
                proptest::prop_assert!(directives.iter().all(|directive| directive.place.line >= 1));
            }
        }
    }
}
