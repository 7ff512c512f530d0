//! Where a request goes. The one place that decides it, for every protocol, without I/O and without a clock.

use hcrs_http::{Fault, RequestHead};

use crate::settings::Settings;

/// What answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// A worker of the app.
    App,
    /// The page of a server without an app.
    Welcome,
    /// What the fault is owed.
    Refused(Fault),
}

/// Returns the route of a request whose head is `head`. `has_too_many_running`: its connection has as many requests in workers as it may.
pub(crate) fn route(head: &RequestHead, settings: &Settings, has_too_many_running: bool) -> Route {
    if !head.is_whole() {
        Route::Refused(Fault::HeadTooLarge)
    } else if !settings.connection.server_names.serve(head) {
        Route::Refused(Fault::UnknownHost)
    } else if settings.app.is_none() {
        // A CONNECT asks for nothing that the page could be.
        if head.is_websocket() { Route::Refused(Fault::MethodNotAllowed) } else { Route::Welcome }
    } else if has_too_many_running {
        Route::Refused(Fault::QueueFull)
    } else {
        Route::App
    }
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestLine, Scheme, Version};

    use super::*;
    use crate::AppSettings;
    use crate::bind::tests::settings;

    fn head() -> RequestHead {
        let line = RequestLine {
            version: Version::Http2,
            scheme: Scheme::Https,
            method: b"GET",
            path: b"/",
            query: b"",
        };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        head.push_field(b"host", b"example.com");
        head
    }

    #[test]
    fn a_server_without_an_app_has_its_page_and_nothing_to_connect_to() {
        let settings = settings(Vec::new());
        assert_eq!(route(&head(), &settings, false), Route::Welcome);
        let mut websocket = head();
        websocket.set_websocket();
        assert_eq!(route(&websocket, &settings, false), Route::Refused(Fault::MethodNotAllowed));
    }

    #[test]
    fn hosts_are_checked_before_anything_else_is_done() {
        let mut settings = settings(Vec::new());
        settings.app = Some(AppSettings::new("app".to_owned()));
        assert_eq!(route(&head(), &settings, false), Route::App);
        assert_eq!(route(&head(), &settings, true), Route::Refused(Fault::QueueFull));
        settings.connection.server_names.push("example.org").unwrap();
        assert_eq!(route(&head(), &settings, true), Route::Refused(Fault::UnknownHost));
    }
}
