//! nginx's choice of a location as an order in which the first match wins.
//!
//! nginx takes an exact location; otherwise it finds the longest prefix, and, unless that one has `^~`, the first
//! regular expression that matches is preferred to it. Locations within a location are searched in the same way, and
//! before the regular expressions beside it.

use std::cmp::Reverse;

/// The paths of a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Matcher {
    /// `= /path`
    Exact(String),
    /// `/path` or `^~ /path`
    Prefix {
        /// Beginning of the paths.
        text: String,
        /// Whether regular expressions beside it are not tried.
        is_final: bool,
    },
    /// `~ expression` or `~* expression`
    Expression,
}

/// Location, as far as its choice is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) matcher: Matcher,
    /// Index of the location around it, which is a prefix.
    pub(crate) parent: Option<usize>,
}

/// A step of the order: a location, and the prefix that a path must have as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) location: usize,
    /// Prefix to which an expression is restricted.
    pub(crate) within: Option<String>,
}

impl Step {
    fn of(location: usize) -> Self {
        Self { location, within: None }
    }
}

/// Returns the steps: a path belongs to the location of the first that matches it.
pub(crate) fn order(locations: &[Located]) -> Vec<Step> {
    let is_reached = |index: usize| !is_hidden(locations, index);
    let all = || locations.iter().enumerate().filter(|(index, _)| is_reached(*index));
    let exact = all().filter(|(_, located)| matches!(located.matcher, Matcher::Exact(_)));
    let mut steps: Vec<Step> = exact.map(|(index, _)| Step::of(index)).collect();
    let mut prefixes: Vec<(usize, &str, bool)> = all()
        .filter_map(|(index, located)| match &located.matcher {
            Matcher::Prefix { text, is_final } => Some((index, text.as_str(), *is_final)),
            _ => None,
        })
        .collect();
    prefixes.sort_by_key(|(_, text, _)| Reverse(text.len()));
    // Below one of these prefixes the expressions that apply are not those that apply elsewhere.
    let is_special = |index: usize, is_final: bool| {
        let parent = locations[index].parent;
        let has_own =
            all().any(|(_, located)| located.matcher == Matcher::Expression && located.parent == Some(index));
        is_final || has_own || parent.is_some()
    };
    let special: Vec<&str> = prefixes
        .iter()
        .filter(|(index, _, is_final)| is_special(*index, *is_final))
        .map(|(_, text, _)| *text)
        .collect();
    let (guarded, open): (Vec<_>, Vec<_>) =
        prefixes.into_iter().partition(|(_, text, _)| special.iter().any(|prefix| text.starts_with(prefix)));
    for (index, text, _) in guarded {
        for expression in expressions_of(locations, index) {
            steps.push(Step { location: expression, within: Some(text.to_owned()) });
        }
        steps.push(Step::of(index));
    }
    let outer = |located: &Located| located.matcher == Matcher::Expression && located.parent.is_none();
    steps.extend(all().filter(|(_, located)| outer(located)).map(|(index, _)| Step::of(index)));
    steps.extend(open.into_iter().map(|(index, ..)| Step::of(index)));
    steps
}

/// Returns whether no path reaches a location within others, because beside one of these there is a longer prefix of its
/// paths, or an exact location of its path.
fn is_hidden(locations: &[Located], index: usize) -> bool {
    let (Matcher::Exact(text) | Matcher::Prefix { text, .. }) = &locations[index].matcher else {
        return false;
    };
    let is_exact = matches!(locations[index].matcher, Matcher::Exact(_));
    let mut around = locations[index].parent;
    while let Some(outer) = around {
        let Located { matcher: Matcher::Prefix { text: prefix, .. }, parent } = &locations[outer] else {
            return false;
        };
        let hides = |located: &Located| {
            located.parent == *parent
                && match &located.matcher {
                    Matcher::Prefix { text: other, .. } => {
                        other.len() > prefix.len() && text.starts_with(other.as_str())
                    }
                    Matcher::Exact(other) => is_exact && other == text,
                    Matcher::Expression => false,
                }
        };
        if locations.iter().any(hides) {
            return true;
        }
        around = *parent;
    }
    false
}

/// Returns the expressions that are tried for a path whose longest prefix is this location, in their order: those within
/// it, then, level by level, those beside it and beside the locations around it, unless these have `^~`.
fn expressions_of(locations: &[Located], prefix: usize) -> Vec<usize> {
    let of_level = |level: Option<usize>| {
        let is_of_level =
            move |located: &Located| located.matcher == Matcher::Expression && located.parent == level;
        let all = locations.iter().enumerate();
        all.filter(move |(_, located)| is_of_level(located)).map(|(index, _)| index)
    };
    let mut found: Vec<usize> = of_level(Some(prefix)).collect();
    let mut around = Some(prefix);
    while let Some(index) = around {
        let Located { matcher, parent } = &locations[index];
        if !matches!(matcher, Matcher::Prefix { is_final: true, .. }) {
            found.extend(of_level(*parent));
        }
        around = *parent;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Location of the model. The expression is a text that a path contains.
    #[derive(Debug, Clone)]
    struct Given {
        located: Located,
        contains: String,
    }

    /// Chooses as nginx does, level by level: `ngx_http_core_find_location` in words of our own.
    fn choose(locations: &[Given], parent: Option<usize>, path: &str) -> Option<usize> {
        let level = || locations.iter().enumerate().filter(|(_, given)| given.located.parent == parent);
        let exact = level().find(|(_, given)| given.located.matcher == Matcher::Exact(path.into()));
        if let Some((index, _)) = exact {
            return Some(index);
        }
        let mut longest: Option<(usize, &str, bool)> = None;
        for (index, given) in level() {
            if let Matcher::Prefix { text, is_final } = &given.located.matcher
                && path.starts_with(text.as_str())
                && longest.is_none_or(|(_, best, _)| text.len() > best.len())
            {
                longest = Some((index, text, *is_final));
            }
        }
        if let Some((index, ..)) = longest {
            // An inner prefix takes the place of this one; anything else is the answer.
            let inner = choose(locations, Some(index), path);
            if let Some(inner) = inner {
                let is_prefix = matches!(locations[inner].located.matcher, Matcher::Prefix { .. });
                if !is_prefix {
                    return Some(inner);
                }
                longest = Some((inner, "", longest.is_some_and(|(.., is_final)| is_final)));
            }
        }
        if longest.is_none_or(|(.., is_final)| !is_final) {
            let expression = level().find(|(_, given)| {
                given.located.matcher == Matcher::Expression && path.contains(given.contains.as_str())
            });
            if let Some((index, _)) = expression {
                return Some(index);
            }
        }
        longest.map(|(index, ..)| index)
    }

    fn first_match(locations: &[Given], path: &str) -> Option<usize> {
        let located: Vec<_> = locations.iter().map(|given| given.located.clone()).collect();
        let matches = |step: &Step| {
            let Given { located, contains } = &locations[step.location];
            step.within.as_ref().is_none_or(|prefix| path.starts_with(prefix.as_str()))
                && match &located.matcher {
                    Matcher::Exact(text) => path == text,
                    Matcher::Prefix { text, .. } => path.starts_with(text.as_str()),
                    Matcher::Expression => path.contains(contains.as_str()),
                }
        };
        order(&located).into_iter().find(matches).map(|step| step.location)
    }

    fn given(text: &str) -> Given {
        let (kind, text) = text.split_once(' ').unwrap();
        let matcher = match kind {
            "=" => Matcher::Exact(text.into()),
            "^~" => Matcher::Prefix { text: text.into(), is_final: true },
            "/" => Matcher::Prefix { text: text.into(), is_final: false },
            _ => Matcher::Expression,
        };
        Given { located: Located { matcher, parent: None }, contains: text.into() }
    }

    #[test]
    fn locations_are_chosen_as_the_manual_says() {
        let locations = ["= /", "/ /", "/ /documents/", "^~ /images/", "~ .gif"].map(given);
        for (path, expected) in
            [("/", 0), ("/index", 1), ("/documents/x", 2), ("/images/1.gif", 3), ("/documents/1.gif", 4)]
        {
            assert_eq!(first_match(&locations, path), Some(expected), "{path}");
            assert_eq!(choose(&locations, None, path), Some(expected), "{path}");
        }
    }

    #[test]
    fn an_expression_wins_below_a_final_prefix_only_where_a_longer_one_is_open() {
        let locations = ["^~ /a/", "/ /a/b/", "~ .x"].map(given);
        for (path, expected) in [("/a/f.x", 0), ("/a/b/f.x", 2), ("/a/b/f", 1), ("/f.x", 2)] {
            assert_eq!(first_match(&locations, path), Some(expected), "{path}");
            assert_eq!(choose(&locations, None, path), Some(expected), "{path}");
        }
    }

    fn path() -> impl Strategy<Value = String> {
        "(/[ab]{0,2}){1,3}".prop_map(|path| path)
    }

    fn location() -> impl Strategy<Value = (u8, String, String, Option<usize>)> {
        (0_u8..5, path(), "[ab/]{1,2}", proptest::option::of(0_usize..4))
    }

    /// Makes locations of what was generated: no two are the same, and inner ones are below a prefix.
    fn locations(generated: Vec<(u8, String, String, Option<usize>)>) -> Vec<Given> {
        let mut made: Vec<Given> = Vec::new();
        for (kind, text, contains, parent) in generated {
            let outer = |index: &usize| match made.get(*index).map(|given| &given.located) {
                Some(Located { matcher: Matcher::Prefix { text, .. }, .. }) => Some(text.clone()),
                _ => None,
            };
            let parent = parent.filter(|index| outer(index).is_some());
            let text = parent.as_ref().and_then(outer).unwrap_or_default() + &text;
            let matcher = match kind {
                0 => Matcher::Exact(text),
                1 => Matcher::Prefix { text, is_final: true },
                2 | 3 => Matcher::Prefix { text, is_final: false },
                _ => Matcher::Expression,
            };
            let same = |given: &Given| match (&given.located.matcher, &matcher) {
                (Matcher::Exact(one), Matcher::Exact(other)) => {
                    one == other && given.located.parent == parent
                }
                (Matcher::Prefix { text: one, .. }, Matcher::Prefix { text: other, .. }) => one == other,
                _ => false,
            };
            if !made.iter().any(same) {
                made.push(Given { located: Located { matcher, parent }, contains });
            }
        }
        made
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_first_match_is_nginxs_choice_at_one_level(
            generated in proptest::collection::vec(location(), 0..7),
            paths in proptest::collection::vec(path(), 1..12),
        ) {
            let generated = generated.into_iter().map(|(kind, text, contains, _)| (kind, text, contains, None));
            let locations = locations(generated.collect());
            for path in paths {
                prop_assert_eq!(
                    first_match(&locations, &path), choose(&locations, None, &path), "{} {:?}", path, locations
                );
            }
        }

        #[test]
        fn the_first_match_is_nginxs_choice_with_inner_locations(
            generated in proptest::collection::vec(location(), 0..7),
            paths in proptest::collection::vec(path(), 1..12),
        ) {
            let locations = locations(generated);
            for path in paths {
                prop_assert_eq!(
                    first_match(&locations, &path), choose(&locations, None, &path), "{} {:?}", path, locations
                );
            }
        }
    }
}
