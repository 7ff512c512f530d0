//! Routes requests. This is the one place that decides where a request goes, for every protocol, without I/O
//! and without a clock.

use hcrs_http::{Fault, RequestHead, Scheme, request_content_length};

use crate::origin::health::Probe;
use crate::origin::redirect;
use crate::settings::{RouteAction, Settings, Taken};

/// The destination of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// A worker of the app, with a limit of the body in bytes.
    App {
        /// The limit; `None` if there is none.
        max_body_size: Option<u64>,
    },
    /// The page of a server without an app.
    Welcome,
    /// The reason why the app cannot be served, for its developer.
    AppFailure,
    /// A redirect to HTTPS at this port.
    Redirect(u16),
    /// The action of this configured route, which is not the app.
    Configured(Taken),
    /// The answer to a probe.
    Health(Probe),
    /// The admin interface.
    Admin,
    /// The fault's response.
    Refused(Fault),
}

/// The facts that a route depends on besides the request's head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    /// The settings of the server.
    pub settings: &'a Settings,
    /// Whether the connection is to the admin interface.
    pub is_admin: bool,
    /// The port of HTTPS, if the connection is cleartext and its requests are to be redirected there.
    pub https_port: Option<u16>,
    /// The first of the configured routes that may take the request.
    pub first_route: usize,
    /// Whether the app cannot be served, and requests are answered with the reason.
    pub app_has_failed: bool,
    /// Whether the connection has as many requests in workers as it may.
    pub has_too_many_running: bool,
}

/// Returns the route of a request.
pub(crate) fn route(head: &RequestHead, of: Circumstances<'_>) -> Route {
    let route = destination(head, of);
    // To an extended CONNECT, 2xx means that a WebSocket is open (RFC 8441 §5), which only the app has.
    if head.is_websocket() && route.may_succeed(of.settings) {
        return Route::Refused(Fault::MethodNotAllowed);
    }
    route
}

impl Route {
    /// Whether the edge itself may answer with 2xx. Files are not sent to a WebSocket (`origin/files.rs`).
    fn may_succeed(self, settings: &Settings) -> bool {
        match self {
            Self::Welcome | Self::Health(_) | Self::Admin => true,
            Self::Configured(taken) => match &settings.routes.0[taken.index].action {
                RouteAction::Fixed(fixed) => fixed.status < 300,
                RouteAction::App | RouteAction::Files(_) | RouteAction::Redirect(_) => false,
            },
            Self::App { .. } | Self::AppFailure | Self::Redirect(_) | Self::Refused(_) => false,
        }
    }
}

fn destination(head: &RequestHead, of: Circumstances<'_>) -> Route {
    if !head.is_whole() {
        return Route::Refused(Fault::HeadTooLarge);
    }
    if of.is_admin || of.settings.health.public {
        let view = head.view();
        let probe = Probe::at(view.path, &of.settings.health);
        // Before the host is checked, because probes name a pod's address or none.
        if let Some(probe) = probe.filter(|_| matches!(view.method, b"GET" | b"HEAD")) {
            return Route::Health(probe);
        }
    }
    if of.is_admin {
        return Route::Admin;
    }
    if !of.settings.connection.server_names.serve(head) {
        return Route::Refused(Fault::UnknownHost);
    }
    if let Some(port) = of.https_port {
        let view = head.view();
        // A trusted proxy may have terminated TLS.
        if view.scheme == Scheme::Http && redirect::applies_to(&view) {
            return Route::Redirect(port);
        }
    }
    let mut max_body_size = of.settings.connection.max_body_size;
    if let Some(taken) = of.settings.routes.find(&head.view(), of.first_route) {
        let rule = &of.settings.routes.0[taken.index];
        if rule.action != RouteAction::App {
            return Route::Configured(taken);
        }
        max_body_size = rule.max_body_size.or(max_body_size);
    }
    if of.settings.app.is_none() {
        return Route::Welcome;
    }
    if of.app_has_failed {
        return Route::AppFailure;
    }
    if max_body_size.is_some_and(|max| announced_length(head).is_some_and(|length| length > max)) {
        return Route::Refused(Fault::BodyTooLarge);
    }
    if of.has_too_many_running { Route::Refused(Fault::QueueFull) } else { Route::App { max_body_size } }
}

/// Returns the length of the body, if the head names it.
fn announced_length(head: &RequestHead) -> Option<u64> {
    let value = head.view().fields().first(b"content-length")?;
    request_content_length(value)
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestLine, Scheme, Version};

    use super::*;
    use crate::AppSettings;
    use crate::bind::tests::settings;
    use crate::settings::{FixedResponse, PathPattern, RouteMatcher, RouteRule};

    const APP: Route = Route::App { max_body_size: None };

    fn head(scheme: Scheme, path: &[u8]) -> RequestHead {
        let line = RequestLine { version: Version::Http2, scheme, method: b"GET", path, query: b"" };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        head.push_field(b"host", b"example.com");
        head
    }

    fn of(settings: &Settings) -> Circumstances<'_> {
        Circumstances {
            settings,
            is_admin: false,
            https_port: None,
            first_route: 0,
            app_has_failed: false,
            has_too_many_running: false,
        }
    }

    fn with_app() -> Settings {
        let mut settings = settings(Vec::new());
        settings.app = Some(AppSettings::new("app".to_owned()));
        settings
    }

    #[test]
    fn a_server_without_an_app_has_its_page_and_nothing_to_connect_to() {
        let settings = settings(Vec::new());
        let mut head = head(Scheme::Https, b"/");
        assert_eq!(route(&head, of(&settings)), Route::Welcome);
        head.set_websocket();
        assert_eq!(route(&head, of(&settings)), Route::Refused(Fault::MethodNotAllowed));
    }

    #[test]
    fn no_answer_of_the_edge_opens_a_websocket() {
        let mut settings = with_app();
        settings.health.public = true;
        let fixed = |status| RouteRule {
            matcher: RouteMatcher::default(),
            action: RouteAction::Fixed(FixedResponse {
                status,
                text: String::new(),
                content_type: String::new(),
            }),
            max_body_size: None,
        };
        let refused = Route::Refused(Fault::MethodNotAllowed);
        let websocket = |path| {
            let mut head = head(Scheme::Https, path);
            head.set_websocket();
            head
        };
        assert_eq!(route(&websocket(b"/"), of(&settings)), APP);
        assert_eq!(route(&websocket(b"/-/live"), of(&settings)), refused);
        let admin = Circumstances { is_admin: true, ..of(&settings) };
        assert_eq!(route(&websocket(b"/status"), admin), refused);
        settings.routes.0 = vec![fixed(200)];
        assert_eq!(route(&websocket(b"/"), of(&settings)), refused);
        settings.routes.0 = vec![fixed(404)];
        assert!(matches!(route(&websocket(b"/"), of(&settings)), Route::Configured(_)));
    }

    #[test]
    fn probes_are_answered_on_the_admin_interface_and_elsewhere_if_they_are_public() {
        let mut settings = with_app();
        settings.connection.server_names.push("example.org").unwrap();
        let ready = head(Scheme::Http, b"/-/ready");
        assert_eq!(route(&ready, of(&settings)), Route::Refused(Fault::UnknownHost));
        let admin = Circumstances { is_admin: true, ..of(&settings) };
        assert_eq!(route(&ready, admin), Route::Health(Probe::Ready));
        assert_eq!(route(&head(Scheme::Http, b"/status"), admin), Route::Admin);
        settings.health.public = true;
        assert_eq!(route(&ready, of(&settings)), Route::Health(Probe::Ready), "whatever host it names");
        let line = RequestLine {
            version: Version::Http11,
            scheme: Scheme::Http,
            method: b"POST",
            path: b"/-/ready",
            query: b"",
        };
        let posted = RequestHead::new(Vec::new(), line, &Endpoints::default());
        assert_ne!(route(&posted, of(&settings)), Route::Health(Probe::Ready));
    }

    #[test]
    fn hosts_are_checked_before_anything_else_is_done() {
        let mut settings = with_app();
        let head = head(Scheme::Https, b"/");
        assert_eq!(route(&head, of(&settings)), APP);
        let overloaded = Circumstances { has_too_many_running: true, ..of(&settings) };
        assert_eq!(route(&head, overloaded), Route::Refused(Fault::QueueFull));
        settings.connection.server_names.push("example.org").unwrap();
        let overloaded = Circumstances { has_too_many_running: true, https_port: Some(443), ..of(&settings) };
        assert_eq!(route(&head, overloaded), Route::Refused(Fault::UnknownHost));
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
        assert_eq!(route(&upload, of(&settings)), APP);
        for (max, expected) in
            [(99, Route::Refused(Fault::BodyTooLarge)), (100, Route::App { max_body_size: Some(100) })]
        {
            settings.connection.max_body_size = Some(max);
            assert_eq!(route(&upload, of(&settings)), expected);
        }
        settings.connection.max_body_size = Some(1);
        let matcher =
            RouteMatcher { path: Some(PathPattern::parse("/upload").unwrap()), ..RouteMatcher::default() };
        settings.routes.0 = vec![RouteRule { matcher, action: RouteAction::App, max_body_size: Some(1000) }];
        assert_eq!(route(&upload, of(&settings)), Route::App { max_body_size: Some(1000) });
        assert_eq!(route(&head(Scheme::Https, b"/"), of(&settings)), Route::App { max_body_size: Some(1) });
    }

    #[test]
    fn an_app_that_cannot_be_served_is_explained_and_not_waited_for() {
        let settings = with_app();
        let failed = Circumstances { app_has_failed: true, has_too_many_running: true, ..of(&settings) };
        assert_eq!(route(&head(Scheme::Https, b"/"), failed), Route::AppFailure);
        let cleartext = Circumstances { https_port: Some(8443), ..failed };
        assert_eq!(route(&head(Scheme::Http, b"/"), cleartext), Route::Redirect(8443));
    }

    #[test]
    fn cleartext_is_redirected_but_for_challenges_and_what_was_tls_before_a_proxy() {
        let settings = with_app();
        let of = Circumstances { https_port: Some(8443), ..of(&settings) };
        assert_eq!(route(&head(Scheme::Http, b"/"), of), Route::Redirect(8443));
        assert_eq!(route(&head(Scheme::Https, b"/"), of), APP);
        assert_eq!(route(&head(Scheme::Http, b"/.well-known/acme-challenge/token"), of), APP);
        assert_eq!(route(&head(Scheme::Http, b"*"), of), APP, "of OPTIONS *");
    }
}
