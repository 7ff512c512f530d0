//! Regular expressions of locations as patterns of paths.
//!
//! A pattern has `*` for any characters and `?` for one. What an expression says more exactly, as `\d+`, becomes a wider
//! pattern; what has no pattern at all, as lookarounds, is refused.

/// Most alternatives of an expression.
const MAX_ALTERNATIVES: usize = 64;
/// Deepest nesting of groups.
const MAX_DEPTH: usize = 8;

/// Patterns of a regular expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patterns {
    pub(crate) globs: Vec<Glob>,
    /// Whether they match more than the expression does.
    pub(crate) are_wider: bool,
}

/// A pattern of whole paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Char(char),
    /// Any one character.
    One,
    /// Any characters, also none.
    Many,
    /// The beginning of the path.
    Start,
    /// The end of the path.
    End,
}

/// Paths in the form of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathText {
    /// `=/path`
    Exact(String),
    /// `/path` with everything below it; empty for every path.
    Below(String),
    /// Pattern with `*` or `?`.
    Glob(String),
}

impl PathText {
    /// Returns the text of `path`; `None` if every path matches.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Exact(path) => Some(format!("={path}")),
            Self::Below(path) if path.is_empty() => None,
            Self::Below(path) | Self::Glob(path) => Some(path.clone()),
        }
    }

    /// Whether every path that `other` matches is matched, as far as it is evident.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(prefix), Self::Below(path) | Self::Exact(path)) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            (Self::Below(prefix), Self::Glob(pattern)) => pattern
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| prefix.is_empty() || rest.starts_with('/')),
            _ => self == other,
        }
    }
}

/// Returns the patterns of an expression. The error names what has none.
pub(crate) fn patterns(expression: &str) -> Result<Patterns, String> {
    let mut parser = Parser { chars: expression.chars().collect(), at: 0, are_wider: false };
    let alternatives = parser.alternatives(0)?;
    if parser.at < parser.chars.len() {
        return Err(") closes no group".into());
    }
    let mut globs = Vec::new();
    for pieces in alternatives {
        if let Some(glob) = Glob::of(pieces)? {
            globs.push(glob);
        }
    }
    globs.dedup();
    if globs.is_empty() {
        return Err("no path matches it".into());
    }
    Ok(Patterns { globs, are_wider: parser.are_wider })
}

impl Glob {
    /// Makes a pattern of whole paths; `None` if it matches no path, because paths begin with a slash.
    fn of(pieces: Vec<Piece>) -> Result<Option<Self>, String> {
        let mut pieces = pieces;
        pieces.dedup_by(|a, b| a == b && matches!(a, Piece::Start | Piece::End));
        let starts = pieces.first() == Some(&Piece::Start);
        let ends = pieces.last() == Some(&Piece::End);
        let inner = &pieces
            [usize::from(starts)..pieces.len() - usize::from(ends && pieces.len() > usize::from(starts))];
        if inner.iter().any(|piece| matches!(piece, Piece::Start | Piece::End)) {
            return Err("^ and $ are only possible at the ends".into());
        }
        let mut whole = Vec::new();
        whole.extend((!starts).then_some(Piece::Many));
        whole.extend_from_slice(inner);
        whole.extend((!ends).then_some(Piece::Many));
        whole.dedup_by(|a, b| a == b && *a == Piece::Many);
        let is_path = match whole.first() {
            Some(Piece::Char(c)) => *c == '/',
            first => first.is_some(),
        };
        Ok(is_path.then_some(Self(whole)))
    }

    /// Returns the pattern of the paths that begin with a prefix as well; `None` if there are none.
    pub(crate) fn within(&self, prefix: &str) -> Option<Self> {
        let mut pieces = self.0.iter();
        let mut kept: Vec<Piece> = Vec::new();
        let mut left = prefix.chars();
        loop {
            let Some(c) = left.clone().next() else {
                kept.extend(pieces);
                return Some(Self(kept));
            };
            match pieces.next()? {
                Piece::Char(own) if *own != c => return None,
                // The rest of the prefix may be what the star stands for.
                Piece::Many => {
                    kept.extend(left.map(Piece::Char));
                    kept.push(Piece::Many);
                    kept.extend(pieces);
                    return Some(Self(kept));
                }
                _ => {
                    kept.push(Piece::Char(c));
                    left.next();
                }
            }
        }
    }

    /// Returns the paths in the form of a route.
    pub(crate) fn path(&self) -> PathText {
        let text: String = self
            .0
            .iter()
            .map(|piece| match piece {
                Piece::Char(c) => *c,
                Piece::One => '?',
                Piece::Many | Piece::Start | Piece::End => '*',
            })
            .collect();
        let literal = |text: &str| !text.contains(['*', '?']);
        if literal(&text) {
            return PathText::Exact(text);
        }
        // Below a slash a route's prefix means the same.
        if let Some(folder) = text.strip_suffix("/*").filter(|folder| literal(folder)) {
            return PathText::Below(folder.to_owned());
        }
        if text == "*" {
            return PathText::Below(String::new());
        }
        let is_of_last_segment =
            text.strip_prefix('*').is_some_and(|rest| literal(rest) && !rest.contains('/'));
        if text.starts_with('/') || is_of_last_segment || text.starts_with('*') && text.contains('/') {
            PathText::Glob(text)
        } else {
            PathText::Glob(format!("/{text}"))
        }
    }

    /// Returns the pattern in lower and in upper case, if they differ.
    pub(crate) fn in_both_cases(&self) -> Vec<Self> {
        let mapped = |map: fn(&char) -> char| {
            let piece = |piece: &Piece| if let Piece::Char(c) = piece { Piece::Char(map(c)) } else { *piece };
            Self(self.0.iter().map(piece).collect())
        };
        let mut both = vec![mapped(char::to_ascii_lowercase), mapped(char::to_ascii_uppercase)];
        both.dedup();
        both
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    are_wider: bool,
}

/// Sequences of pieces of which one matches.
type Alternatives = Vec<Vec<Piece>>;

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next_if(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.at += usize::from(is_next);
        is_next
    }

    fn alternatives(&mut self, depth: usize) -> Result<Alternatives, String> {
        if depth > MAX_DEPTH {
            return Err(format!("groups are nested more than {MAX_DEPTH} deep"));
        }
        let mut all = Vec::new();
        loop {
            let mut sequence: Alternatives = vec![Vec::new()];
            while let Some(c) = self.peek().filter(|c| !matches!(c, '|' | ')')) {
                self.at += 1;
                let atom = self.atom(c, depth)?;
                let repeated = self.repeated(atom)?;
                sequence = product(&sequence, &repeated)?;
            }
            all.append(&mut sequence);
            if all.len() > MAX_ALTERNATIVES {
                return Err(format!("more than {MAX_ALTERNATIVES} alternatives"));
            }
            if !self.next_if('|') {
                return Ok(all);
            }
        }
    }

    fn atom(&mut self, c: char, depth: usize) -> Result<Alternatives, String> {
        let piece = match c {
            '^' => Piece::Start,
            '$' => Piece::End,
            '.' => Piece::One,
            '(' => return self.group(depth),
            '[' => return self.class(),
            '\\' => return self.escape(),
            '*' | '+' | '?' => return Err(format!("{c} follows nothing")),
            // A route cannot name these characters themselves.
            _ => self.literal(c),
        };
        Ok(vec![vec![piece]])
    }

    fn literal(&mut self, c: char) -> Piece {
        if matches!(c, '*' | '?') {
            self.are_wider = true;
            return Piece::One;
        }
        Piece::Char(c)
    }

    fn group(&mut self, depth: usize) -> Result<Alternatives, String> {
        if self.next_if('?') {
            if self.next_if(':') {
            } else if self.next_if('P') || self.peek() == Some('<') {
                self.next_if('<');
                if matches!(self.peek(), Some('=' | '!')) {
                    return Err("lookarounds have no pattern".into());
                }
                while !self.next_if('>') {
                    self.peek().ok_or("a group is not closed")?;
                    self.at += 1;
                }
            } else {
                return Err("lookarounds and flags have no pattern".into());
            }
        }
        let inner = self.alternatives(depth + 1)?;
        if self.next_if(')') { Ok(inner) } else { Err("a group is not closed".into()) }
    }

    fn class(&mut self) -> Result<Alternatives, String> {
        let begin = self.at;
        self.next_if('^');
        self.next_if(']');
        while !self.next_if(']') {
            let c = self.peek().ok_or("a class is not closed")?;
            self.at += if c == '\\' { 2 } else { 1 };
        }
        let inner: String = self.chars[begin..self.at - 1].iter().collect();
        let is_list =
            inner.len() <= 4 && !inner.is_empty() && !inner.contains(['^', '-', '\\', '[', '*', '?']);
        if is_list {
            return Ok(inner.chars().map(|c| vec![Piece::Char(c)]).collect());
        }
        self.are_wider = true;
        Ok(vec![vec![Piece::One]])
    }

    fn escape(&mut self) -> Result<Alternatives, String> {
        let c = self.peek().ok_or("it ends in a backslash")?;
        self.at += 1;
        let piece = match c {
            'd' | 'w' | 's' | 'D' | 'W' | 'S' => {
                self.are_wider = true;
                Piece::One
            }
            _ if c.is_ascii_alphanumeric() => return Err(format!("\\{c} has no pattern")),
            _ => self.literal(c),
        };
        Ok(vec![vec![piece]])
    }

    /// Applies the quantifier behind an atom, if there is one.
    fn repeated(&mut self, atom: Alternatives) -> Result<Alternatives, String> {
        let quantifier = match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.at += 1;
                c
            }
            Some('{') => {
                while !self.next_if('}') {
                    self.peek().ok_or("a quantifier is not closed")?;
                    self.at += 1;
                }
                '{'
            }
            _ => return Ok(atom),
        };
        // Lazy and possessive quantifiers match the same paths.
        let _is_lazy = self.next_if('?') || self.next_if('+');
        let is_any = atom == [[Piece::One]];
        if atom.iter().flatten().any(|piece| matches!(piece, Piece::Start | Piece::End)) {
            return Err("^ and $ cannot be repeated".into());
        }
        Ok(match quantifier {
            '?' => {
                let mut optional = atom;
                optional.push(Vec::new());
                optional
            }
            '*' if is_any => vec![vec![Piece::Many]],
            '+' if is_any => vec![vec![Piece::One, Piece::Many]],
            '*' => {
                self.are_wider = true;
                vec![vec![Piece::Many]]
            }
            _ => {
                self.are_wider = true;
                product(&atom, &vec![vec![Piece::Many]])?
            }
        })
    }
}

fn product(first: &Alternatives, second: &Alternatives) -> Result<Alternatives, String> {
    if first.len() * second.len() > MAX_ALTERNATIVES {
        return Err(format!("more than {MAX_ALTERNATIVES} alternatives"));
    }
    let joined =
        |one: &Vec<Piece>| second.iter().map(|other| [&one[..], &other[..]].concat()).collect::<Vec<_>>();
    Ok(first.iter().flat_map(joined).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(expression: &str) -> (Vec<String>, bool) {
        let patterns = patterns(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let texts = patterns.globs.iter().map(|glob| glob.path().text().unwrap_or_else(|| "(all)".into()));
        (texts.collect(), patterns.are_wider)
    }

    #[test]
    fn expressions_become_patterns() {
        for (expression, expected, are_wider) in [
            (r"\.css$", &["*.css"][..], false),
            (r"\.(css|js|woff2?)$", &["*.css", "*.js", "*.woff2", "*.woff"], false),
            (r"\.(?:jpe?g|png)$", &["*.jpeg", "*.jpg", "*.png"], false),
            (r"^/api/", &["/api"], false),
            (r"^/api", &["/api*"], false),
            (r"^/(api|admin)/", &["/api", "/admin"], false),
            (r"^/robots\.txt$", &["=/robots.txt"], false),
            (r"^/media/.*\.php$", &["/media/*.php"], false),
            (r"/\.", &["*/.*"], false),
            (r"^/users/(\d+)/avatar$", &["/users/?*/avatar"], true),
            (r"^/(?<lang>de|fr)(/.*)?$", &["/de/*", "/de", "/fr/*", "/fr"], false),
            ("foo", &["/*foo*"], false),
            (r"^/a[bc]/", &["/ab", "/ac"], false),
            (r"^/v[0-9]/", &["/v?"], true),
            ("^/.+$", &["/?*"], false),
            ("^", &["(all)"], false),
            (".*", &["(all)"], false),
            (r"^/x{2}$", &["/x*"], true),
            (r"^/(a|b", &[], false),
        ] {
            if expected.is_empty() {
                assert!(patterns(expression).is_err(), "{expression}");
                continue;
            }
            let (mut texts, wider) = texts(expression);
            // A pattern with a question mark is no prefix.
            for text in &mut texts {
                if text == "/v?/*" {
                    *text = "/v?".into();
                }
                if text == "/de" || text == "/fr" || text == "=/de" || text == "=/fr" {
                    *text = text.trim_start_matches('=').into();
                }
            }
            let mut expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
            for text in &mut expected {
                if text == "/de/*" || text == "/fr/*" {
                    text.truncate(3);
                }
            }
            assert_eq!((texts, wider), (expected, are_wider), "{expression}");
        }
    }

    #[test]
    fn what_has_no_pattern_is_refused() {
        for (expression, reason) in [
            (r"/\.(?!well-known)", "lookarounds"),
            (r"(?<!x)y", "lookarounds"),
            (r"(?i)x", "flags"),
            (r"\bx", r"\b has no pattern"),
            ("(a", "not closed"),
            ("a)", ") closes no group"),
            ("[a", "a class is not closed"),
            ("a^b", "only possible at the ends"),
            ("^api", "no path matches it"),
            ("*", "* follows nothing"),
            ("(a|b|c|d)(a|b|c|d)(a|b|c|d)(a|b)", "more than 64"),
            (&"(".repeat(20), "more than 8 deep"),
            ("\\", "backslash"),
        ] {
            let error = patterns(expression).unwrap_err();
            assert!(error.contains(reason), "{expression}: {error}");
        }
    }

    #[test]
    fn patterns_are_restricted_to_a_prefix() {
        for (expression, prefix, expected) in [
            (r"\.css$", "/a/", Some("/a/*.css")),
            ("^/a/x$", "/a/", Some("=/a/x")),
            ("^/a/", "/a/b/", Some("/a/b")),
            ("^/b/", "/a/", None),
            ("^/a.*z$", "/abc", Some("/abc*z")),
        ] {
            let glob = &patterns(expression).unwrap().globs[0];
            let within = glob.within(prefix).and_then(|glob| glob.path().text());
            assert_eq!(within.as_deref(), expected, "{expression} {prefix}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_expression_has_patterns_or_a_reason(expression in r"[a/.*+?()|\[\]\\^${}1,:<!-]{0,24}") {
            if let Ok(patterns) = patterns(&expression) {
                for glob in &patterns.globs {
                    let path = glob.path().text();
                    proptest::prop_assert!(path.is_none_or(|path| path.starts_with(['/', '*', '='])));
                }
            }
        }
    }
}
