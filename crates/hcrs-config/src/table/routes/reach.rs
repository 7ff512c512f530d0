//! Routes that no request reaches.

use hcrs_server::{ConfiguredRoute, MissingFile, PathPattern, RouteAction, RouteMatcher};

/// Whether the earlier route takes every request that this route takes.
pub(super) fn covers(earlier: &ConfiguredRoute, route: &ConfiguredRoute) -> bool {
    let matcher = &route.matcher;
    let RouteMatcher { paths, hosts, methods, scheme } = &earlier.matcher;
    let passes_on =
        matches!(&earlier.action, RouteAction::Files(files) if files.missing == MissingFile::NextRoute);
    let has_path = paths.is_empty()
        || !matcher.paths.is_empty()
            && matcher.paths.iter().all(|path| paths.iter().any(|earlier| contains(earlier, path)));
    let has_host = hosts.is_empty()
        || !matcher.hosts.is_empty() && matcher.hosts.iter().all(|host| hosts.contains(host));
    let has_method = methods.is_empty()
        || !matcher.methods.is_empty() && matcher.methods.iter().all(|method| methods.contains(method));
    let has_scheme = scheme.is_none() || *scheme == matcher.scheme;
    // Clients' requests take no internal route, and what the app names takes no other.
    let is_of_same = earlier.action.is_internal() == route.action.is_internal();
    is_of_same && !passes_on && has_path && has_host && has_method && has_scheme
}

/// Whether the earlier pattern matches every path that this one matches, as far as this can be told.
fn contains(earlier: &PathPattern, path: &PathPattern) -> bool {
    match (earlier, path) {
        (PathPattern::Prefix(prefix), PathPattern::Prefix(path) | PathPattern::Exact(path)) => {
            path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (earlier, path) => earlier == path,
    }
}
