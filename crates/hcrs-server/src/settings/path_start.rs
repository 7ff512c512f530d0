//! The first bytes of paths, by which most routes that do not take a request are skipped.

use super::{PathPattern, RouteMatcher};

/// The first bytes that all paths of a route have. One comparison of eight bytes tells that a request's path is
/// another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PathStart {
    /// The bits that are compared; none for a route that may take any path.
    mask: u64,
    bytes: u64,
}

impl PathStart {
    /// Returns the common start of the paths that the matcher asks for.
    pub(super) fn of(matcher: &RouteMatcher) -> Self {
        let mut starts = matcher.paths.iter().map(|pattern| match pattern {
            PathPattern::Prefix(path) | PathPattern::Exact(path) => path.as_bytes(),
            PathPattern::Glob(_) => b"",
        });
        let first = starts.next().unwrap_or_default();
        let common = starts.fold(first, |common, start| {
            let len = common.iter().zip(start).take_while(|(a, b)| a == b).count();
            &common[..len]
        });
        // A request's path that ends early is filled up with zeros, which no pattern's path has.
        let bits = common.len().min(8) as u32 * 8;
        let mask = u64::MAX.checked_shl(64 - bits).unwrap_or(0);
        Self { mask, bytes: first_eight(common) & mask }
    }

    /// Whether a request with this path may be the route's.
    #[inline]
    pub(super) fn may_take(self, first_eight: u64) -> bool {
        first_eight & self.mask == self.bytes
    }
}

/// Returns the first eight bytes of a path, the first in the highest place; zeros follow a shorter one.
#[inline]
pub(super) fn first_eight(path: &[u8]) -> u64 {
    match path.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => path
            .iter()
            .zip([56, 48, 40, 32, 24, 16, 8])
            .fold(0, |eight, (&byte, place)| eight | u64::from(byte) << place),
    }
}

#[cfg(test)]
mod tests {
    use hcrs_http::NormalPath;

    use super::*;

    /// Every path of up to four bytes over an alphabet that has what decides.
    fn short_paths() -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        let mut longest = all.clone();
        for _ in 0..4 {
            let longer = |path: &Vec<u8>| b"/ab\0".map(|byte| [&path[..], &[byte]].concat());
            longest = longest.iter().flat_map(longer).collect();
            all.extend_from_slice(&longest);
        }
        all
    }

    #[test]
    fn no_path_that_a_route_takes_is_skipped() {
        let patterns =
            ["/", "=/", "/a", "=/a", "/ab", "/a/b", "=/a/b/", "/aaaaaaab", "=/aaaaaaaab", "*.a", "/a*"];
        let long = ["/aaaaaaab", "/aaaaaaab/c", "/aaaaaaaab", "/aaaaaaaac", "/aaaaaab"].map(Into::into);
        let paths = [short_paths(), long.to_vec()].concat();
        let mut skipped = 0;
        for first in patterns {
            for second in patterns {
                let paths_of_route = [first, second].map(|text| PathPattern::parse(text).unwrap()).into();
                let matcher = RouteMatcher { paths: paths_of_route, ..RouteMatcher::default() };
                let start = PathStart::of(&matcher);
                for path in &paths {
                    let normal = NormalPath::new(path);
                    let is_taken = matcher.paths.iter().any(|pattern| pattern.rest(&normal).is_some());
                    let may_take = start.may_take(first_eight(normal.as_bytes()));
                    assert!(may_take || !is_taken, "{first} {second} {}", path.escape_ascii());
                    skipped += usize::from(!may_take);
                }
            }
        }
        assert!(skipped > 0);
    }

    #[test]
    fn a_route_without_paths_may_take_any() {
        let start = PathStart::of(&RouteMatcher::default());
        assert!(["", "*", "/", "/abcdefghi"].iter().all(|path| start.may_take(first_eight(path.as_bytes()))));
    }
}
