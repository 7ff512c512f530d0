//! Pages in place of the server's own texts for errors.

/// The responses that a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusPattern {
    /// Those with this status.
    Exactly(u16),
    /// Those whose status begins with this digit.
    Class(u16),
}

impl StatusPattern {
    /// Parses a status of an error as `404`, or a class as `5xx`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "4xx" => return Some(Self::Class(4)),
            "5xx" => return Some(Self::Class(5)),
            _ => {}
        }
        let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let status = text.parse().ok().filter(|status| is_number && (400..600).contains(status))?;
        Some(Self::Exactly(status))
    }

    fn matches(self, status: u16) -> bool {
        match self {
            Self::Exactly(own) => own == status,
            Self::Class(digit) => status / 100 == digit,
        }
    }
}

/// The pages of a rule, each for some statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPages<T>(Vec<(StatusPattern, T)>);

impl<T> Default for ErrorPages<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ErrorPages<T> {
    /// Adds a page. Returns false if there is one for the same pattern.
    #[must_use]
    pub fn add(&mut self, pattern: StatusPattern, page: T) -> bool {
        let is_new = self.0.iter().all(|(other, _)| *other != pattern);
        self.0.push((pattern, page));
        is_new
    }

    /// Returns all pages.
    pub fn pages(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, page)| page)
    }

    /// Returns all pages, to be changed.
    pub fn pages_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, page)| page)
    }

    /// Returns the page for a status: the one for exactly this status, or else the one for its class.
    pub fn find(&self, status: u16) -> Option<&T> {
        let find = |is_exact: bool| {
            let matches = |pattern: &StatusPattern| pattern.matches(status);
            let has_kind = |pattern: &StatusPattern| matches!(pattern, StatusPattern::Exactly(_)) == is_exact;
            self.0.iter().find(|(pattern, _)| has_kind(pattern) && matches(pattern))
        };
        find(true).or_else(|| find(false)).map(|(_, page)| page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_errors_are_patterns_and_others_are_not() {
        assert_eq!(StatusPattern::parse("404"), Some(StatusPattern::Exactly(404)));
        assert_eq!(StatusPattern::parse("5xx"), Some(StatusPattern::Class(5)));
        for bad in ["", "200", "399", "600", "3xx", "5XX", "+404", "0404", "50x", "xx"] {
            assert_eq!(StatusPattern::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_status_of_its_own_precedes_its_class() {
        let mut pages = ErrorPages::default();
        for (pattern, text) in [("5xx", "class"), ("502", "own"), ("404", "missing")] {
            assert!(pages.add(StatusPattern::parse(pattern).unwrap(), text));
        }
        assert_eq!(pages.find(502), Some(&"own"));
        assert_eq!(pages.find(503), Some(&"class"));
        assert_eq!(pages.find(404), Some(&"missing"));
        assert_eq!(pages.find(403), None);
        assert!(!pages.add(StatusPattern::Class(5), "again"));
    }
}
