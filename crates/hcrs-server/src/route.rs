//! Routes requests. This is the one place that decides where a request goes, for every protocol, without I/O
//! and without a clock.

use std::rc::Rc;

use hcrs_http::{Fault, RequestHead, Scheme, request_content_length};

use crate::origin::app::apps::App;
use crate::origin::health::Probe;
use crate::origin::{challenge, redirect};
use crate::settings::{AppIndex, RouteAction, Settings, Taken};

/// The destination of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// A worker of an app.
    App(AppIndex),
    /// The page of a server without an app.
    Welcome,
    /// The reason why the app cannot be served, for its developer.
    AppFailure(AppIndex),
    /// A redirect to HTTPS at this port.
    Redirect(u16),
    /// The action of this configured route, which is not the app.
    Configured(Taken),
    /// The answer to the challenge of an authority of certificates, if there is one.
    Challenge,
    /// The answer to a probe.
    Health(Probe),
    /// The admin interface.
    Admin,
    /// The fault's response.
    Refused(Fault),
}

/// The outcome of routing a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Routed {
    /// The destination.
    pub route: Route,
    /// The configured route that takes the request; its rules apply.
    pub taken: Option<Taken>,
}

/// The facts that a route depends on besides the request's head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    /// The settings of the server.
    pub settings: &'a Settings,
    /// Whether the connection is to the admin interface.
    pub is_admin: bool,
    /// Whether there may be an answer to the challenge of an authority of certificates.
    pub may_answer_challenge: bool,
    /// The port of HTTPS, if the connection is cleartext and its requests are to be redirected there.
    pub https_port: Option<u16>,
    /// The first of the configured routes that may take the request.
    pub first_route: usize,
    /// The apps of the thread, in the order of the settings.
    pub apps: &'a [Rc<App>],
    /// Whether the connection has as many requests in workers as it may.
    pub has_too_many_running: bool,
}

/// Returns the route of a request.
pub(crate) fn route(head: &RequestHead, of: Circumstances<'_>) -> Routed {
    let routed = match before_configured(head, of) {
        Some(route) => Routed { route, taken: None },
        None => configured(head, of),
    };
    // To an extended CONNECT, 2xx means that a WebSocket is open (RFC 8441 §5), which only the app has.
    if head.is_websocket() && routed.route.may_succeed(of.settings) {
        return Routed { route: Route::Refused(Fault::MethodNotAllowed), ..routed };
    }
    routed
}

impl Route {
    /// Whether the rules decide about the requests. They do not about those that are redirected to HTTPS, where the
    /// rules are asked, and about probes.
    pub(crate) fn has_rules(self) -> bool {
        matches!(self, Self::App(_) | Self::Welcome | Self::AppFailure(_) | Self::Configured(_))
    }

    /// Whether the edge itself may answer with 2xx. Files are not sent to a WebSocket (`origin/files.rs`).
    fn may_succeed(self, settings: &Settings) -> bool {
        match self {
            Self::Welcome | Self::Challenge | Self::Health(_) | Self::Admin => true,
            Self::Configured(taken) => match &settings.routes[taken].action {
                RouteAction::Fixed(fixed) => fixed.status < 300,
                RouteAction::Welcome => true,
                // An upstream opens it, or 2xx is not passed on (`origin/upstream/serve.rs`).
                RouteAction::App(_)
                | RouteAction::Files(_)
                | RouteAction::Redirect(_)
                | RouteAction::Upstream(_) => false,
            },
            Self::App(_) | Self::AppFailure(_) | Self::Redirect(_) | Self::Refused(_) => false,
        }
    }
}

/// Returns the destination of a request that no configured route may take.
fn before_configured(head: &RequestHead, of: Circumstances<'_>) -> Option<Route> {
    if !head.is_whole() {
        return Some(Route::Refused(Fault::HeadTooLarge));
    }
    if of.is_admin || of.settings.health.public {
        let view = head.view();
        let probe = Probe::at(view.path, &of.settings.health);
        // Before the host is checked, because probes name a pod's address or none.
        if let Some(probe) = probe.filter(|_| matches!(view.method, b"GET" | b"HEAD")) {
            return Some(Route::Health(probe));
        }
    }
    if of.is_admin {
        return Some(Route::Admin);
    }
    // Before the host is checked and the request redirected: an authority looks for nothing else here.
    if of.may_answer_challenge && challenge::applies_to(&head.view()) {
        return Some(Route::Challenge);
    }
    if !of.settings.connection.server_names.serve(head) {
        return Some(Route::Refused(Fault::UnknownHost));
    }
    if let Some(port) = of.https_port {
        let view = head.view();
        // A trusted proxy may have terminated TLS.
        if view.scheme == Scheme::Http && redirect::applies_to(&view) {
            return Some(Route::Redirect(port));
        }
    }
    None
}

fn configured(head: &RequestHead, of: Circumstances<'_>) -> Routed {
    let taken = of.settings.routes.find(&head.view(), of.first_route);
    let routed = |route| Routed { route, taken };
    let destination = match taken.map(|taken| (taken, &of.settings.routes[taken].action)) {
        None => to_app(of.settings.default_app(), of),
        Some((_, RouteAction::App(app))) => to_app(Some(*app), of),
        Some((taken, RouteAction::Upstream(_))) => Route::Configured(taken),
        Some((_, RouteAction::Welcome)) => return routed(Route::Welcome),
        Some((taken, _)) => return routed(Route::Configured(taken)),
    };
    if !matches!(destination, Route::App(_) | Route::Configured(_)) {
        return routed(destination);
    }
    let max_body_size = of.settings.routes.rules(taken).max_body_size;
    if max_body_size.is_some_and(|max| announced_length(head).is_some_and(|length| length > max)) {
        return routed(Route::Refused(Fault::BodyTooLarge));
    }
    routed(if of.has_too_many_running { Route::Refused(Fault::QueueFull) } else { destination })
}

/// Returns the destination of a request to an app; without one it goes nowhere.
fn to_app(app: Option<AppIndex>, of: Circumstances<'_>) -> Route {
    if of.settings.apps.is_empty() {
        return Route::Welcome;
    }
    match app.filter(|app| app.0 < of.settings.apps.len()) {
        None => Route::Refused(Fault::NoRoute),
        Some(app) if of.apps.get(app.0).is_some_and(|app| app.has_failed()) => Route::AppFailure(app),
        Some(app) => Route::App(app),
    }
}

/// Returns the app that answers a request which an app has promised to the client: that of its route, or the default
/// one if its route is none of an app.
pub(crate) fn app_of_promised(head: &RequestHead, settings: &Settings) -> Option<AppIndex> {
    let taken = settings.routes.find(&head.view(), 0);
    match taken.map(|taken| &settings.routes[taken].action) {
        Some(RouteAction::App(app)) => Some(*app),
        _ => settings.default_app(),
    }
}

/// Returns the length of the body, if the head names it.
fn announced_length(head: &RequestHead) -> Option<u64> {
    let value = head.view().fields().first(b"content-length")?;
    request_content_length(value)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hcrs_http::{Endpoints, RequestLine, Scheme, Version};

    use super::*;
    use crate::bind::tests::settings;
    use crate::origin::app::apps::Apps;
    use crate::settings::{
        ConfiguredRoute, FixedBody, FixedResponse, PathPattern, RouteMatcher, Routes, Rules,
    };
    use crate::{AppName, AppSettings};

    const APP: Route = Route::App(AppIndex(0));

    fn head(scheme: Scheme, path: &[u8]) -> RequestHead {
        let line = RequestLine { version: Version::Http2, scheme, method: b"GET", path, query: b"" };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        head.push_field(b"host", b"example.com");
        head
    }

    fn route_of(head: &RequestHead, of: Circumstances<'_>) -> Route {
        route(head, of).route
    }

    fn of(settings: &Settings) -> Circumstances<'_> {
        Circumstances {
            settings,
            is_admin: false,
            may_answer_challenge: false,
            https_port: None,
            first_route: 0,
            apps: &[],
            has_too_many_running: false,
        }
    }

    fn with_app() -> Settings {
        let mut settings = settings(Vec::new());
        settings.apps = vec![AppSettings::new("app".to_owned())];
        settings
    }

    #[test]
    fn a_server_without_an_app_has_its_page_and_nothing_to_connect_to() {
        let settings = settings(Vec::new());
        let mut head = head(Scheme::Https, b"/");
        assert_eq!(route_of(&head, of(&settings)), Route::Welcome);
        head.set_websocket();
        assert_eq!(route_of(&head, of(&settings)), Route::Refused(Fault::MethodNotAllowed));
    }

    #[test]
    fn no_answer_of_the_edge_opens_a_websocket() {
        let mut settings = with_app();
        settings.health.public = true;
        let fixed = |status| ConfiguredRoute {
            matcher: RouteMatcher::default(),
            action: RouteAction::Fixed(FixedResponse {
                status,
                body: FixedBody::Text(String::new()),
                content_type: None,
            }),
            rules: Arc::default(),
        };
        let refused = Route::Refused(Fault::MethodNotAllowed);
        let websocket = |path| {
            let mut head = head(Scheme::Https, path);
            head.set_websocket();
            head
        };
        assert_eq!(route_of(&websocket(b"/"), of(&settings)), APP);
        assert_eq!(route_of(&websocket(b"/-/live"), of(&settings)), refused);
        let admin = Circumstances { is_admin: true, ..of(&settings) };
        assert_eq!(route_of(&websocket(b"/status"), admin), refused);
        settings.routes = Routes::new(vec![fixed(200)], Rules::default());
        assert_eq!(route_of(&websocket(b"/"), of(&settings)), refused);
        settings.routes = Routes::new(vec![fixed(404)], Rules::default());
        assert!(matches!(route_of(&websocket(b"/"), of(&settings)), Route::Configured(_)));
    }

    #[test]
    fn probes_are_answered_on_the_admin_interface_and_elsewhere_if_they_are_public() {
        let mut settings = with_app();
        settings.connection.server_names.push("example.org").unwrap();
        let ready = head(Scheme::Http, b"/-/ready");
        assert_eq!(route_of(&ready, of(&settings)), Route::Refused(Fault::UnknownHost));
        let admin = Circumstances { is_admin: true, ..of(&settings) };
        assert_eq!(route_of(&ready, admin), Route::Health(Probe::Ready));
        assert_eq!(route_of(&head(Scheme::Http, b"/status"), admin), Route::Admin);
        settings.health.public = true;
        assert_eq!(route_of(&ready, of(&settings)), Route::Health(Probe::Ready), "whatever host it names");
        let line = RequestLine {
            version: Version::Http11,
            scheme: Scheme::Http,
            method: b"POST",
            path: b"/-/ready",
            query: b"",
        };
        let posted = RequestHead::new(Vec::new(), line, &Endpoints::default());
        assert_ne!(route_of(&posted, of(&settings)), Route::Health(Probe::Ready));
    }

    #[test]
    fn hosts_are_checked_before_anything_else_is_done() {
        let mut settings = with_app();
        let head = head(Scheme::Https, b"/");
        assert_eq!(route_of(&head, of(&settings)), APP);
        let overloaded = Circumstances { has_too_many_running: true, ..of(&settings) };
        assert_eq!(route_of(&head, overloaded), Route::Refused(Fault::QueueFull));
        settings.connection.server_names.push("example.org").unwrap();
        let overloaded = Circumstances { has_too_many_running: true, https_port: Some(443), ..of(&settings) };
        assert_eq!(route_of(&head, overloaded), Route::Refused(Fault::UnknownHost));
    }

    #[test]
    fn bodies_that_are_too_long_are_refused_by_the_length_that_they_announce() {
        let mut settings = with_app();
        let line = RequestLine {
            version: Version::Http2,
            scheme: Scheme::Https,
            method: b"POST",
            path: b"/upload",
            query: b"",
        };
        let mut upload = RequestHead::new(Vec::new(), line, &Endpoints::default());
        upload.push_field(b"content-length", b"100");
        assert_eq!(route_of(&upload, of(&settings)), APP);
        let limit = |max| Rules { max_body_size: Some(max), ..Rules::default() };
        for (max, expected) in [(99, Route::Refused(Fault::BodyTooLarge)), (100, APP)] {
            settings.routes = Routes::new(Vec::new(), limit(max));
            assert_eq!(route(&upload, of(&settings)), Routed { route: expected, taken: None });
        }
        let matcher =
            RouteMatcher { paths: vec![PathPattern::parse("/upload").unwrap()], ..RouteMatcher::default() };
        let wide =
            ConfiguredRoute { matcher, action: RouteAction::App(AppIndex(0)), rules: Arc::new(limit(1000)) };
        settings.routes = Routes::new(vec![wide], limit(1));
        let limit_of = |head| settings.routes.rules(route(head, of(&settings)).taken).max_body_size;
        assert_eq!(route_of(&upload, of(&settings)), APP);
        assert_eq!(limit_of(&upload), Some(1000));
        assert_eq!(limit_of(&head(Scheme::Https, b"/")), Some(1));
    }

    #[test]
    fn each_route_has_its_app_and_the_rest_goes_to_the_main_one_or_the_only_one() {
        let mut settings = with_app();
        let named = |name: &str| AppSettings {
            name: AppName::parse(name).unwrap(),
            ..AppSettings::new("m:a".to_owned())
        };
        let matcher =
            RouteMatcher { paths: vec![PathPattern::parse("/shop").unwrap()], ..RouteMatcher::default() };
        let to_shop =
            ConfiguredRoute { matcher, action: RouteAction::App(AppIndex(1)), rules: Arc::default() };
        settings.routes = Routes::new(vec![to_shop], Rules::default());
        let at = |settings: &Settings, path: &[u8]| route_of(&head(Scheme::Https, path), of(settings));
        let shop = Route::App(AppIndex(1));
        settings.apps.push(named("shop"));
        assert_eq!((at(&settings, b"/shop/1"), at(&settings, b"/")), (shop, APP));
        settings.apps[0] = named("blog");
        assert_eq!((at(&settings, b"/shop/1"), at(&settings, b"/")), (shop, Route::Refused(Fault::NoRoute)));
        settings.apps.truncate(1);
        settings.routes = Routes::default();
        assert_eq!(at(&settings, b"/"), APP, "it is the only one");
    }

    #[test]
    fn an_app_that_cannot_be_served_is_explained_and_not_waited_for() {
        let settings = with_app();
        let apps = Apps::new(&settings.apps);
        apps.served()[0].set_failure(Some("why".into()));
        let served = apps.served();
        let failed = Circumstances { apps: &served, has_too_many_running: true, ..of(&settings) };
        assert_eq!(route_of(&head(Scheme::Https, b"/"), failed), Route::AppFailure(AppIndex(0)));
        let cleartext = Circumstances { https_port: Some(8443), ..failed };
        assert_eq!(route_of(&head(Scheme::Http, b"/"), cleartext), Route::Redirect(8443));
    }

    #[test]
    fn cleartext_is_redirected_but_for_challenges_and_what_was_tls_before_a_proxy() {
        let settings = with_app();
        let of = Circumstances { https_port: Some(8443), ..of(&settings) };
        assert_eq!(route_of(&head(Scheme::Http, b"/"), of), Route::Redirect(8443));
        assert_eq!(route_of(&head(Scheme::Https, b"/"), of), APP);
        assert_eq!(route_of(&head(Scheme::Http, b"/.well-known/acme-challenge/token"), of), APP);
        assert_eq!(route_of(&head(Scheme::Http, b"*"), of), APP, "of OPTIONS *");
    }
}
