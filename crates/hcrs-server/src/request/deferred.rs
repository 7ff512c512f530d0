//! Requests whose origin is asked when their name and password were verified.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hcrs_forwarded::Forwarding;
use hcrs_http::{Endpoints, Fault};
use tokio::task::spawn_local;

use super::{Configured, Intake, PassedOn, Proxied, Ruled, configured, proxied, welcome};
use crate::client::Client;
use crate::clock;
use crate::exchange::{Exchange, WholeResponse};
use crate::origin::{app_failure, upstream};
use crate::route::{Circumstances, Route, Routed, route};
use crate::rules::{Judged, Verification, judge};
use crate::settings::{RouteAction, Settings};
use crate::state::ThreadState;

/// A request whose name and password are being verified.
pub(super) struct Waiting {
    /// The verification.
    pub verification: Verification,
    /// Its route.
    pub route: Route,
    /// The first of the configured routes that may take it.
    pub first_route: usize,
}

/// The next step of a request whose name and password are right.
enum Then {
    /// The edge answers it.
    Answer(WholeResponse),
    /// An upstream gets it.
    PassOn(PassedOn),
    /// It is routed, from the first of these routes on.
    Route(Rerouted),
}

/// The facts about a request that is routed again.
struct Rerouted {
    first: usize,
    /// The settings by whose routes its password was verified.
    settings: Arc<Settings>,
    endpoints: Rc<Endpoints>,
    believed: Option<Forwarding>,
}

impl Intake {
    /// Returns the exchange of a request whose origin is asked when its name and password were verified.
    pub(super) fn defer(
        &self,
        client: &Client,
        ruled: Ruled<'_>,
        waiting: Waiting,
        now: Instant,
    ) -> Rc<Exchange> {
        let Ruled { arrived, rules } = ruled;
        let Waiting { verification, route, first_route } = waiting;
        let shared = &client.admitted.shared;
        let settings = shared.settings();
        let upstream = match route {
            Route::Configured(taken) => match &settings.routes[taken].action {
                RouteAction::Upstream(upstream) => {
                    Some(proxied(shared, &arrived.head, &settings.routes[taken], upstream))
                }
                _ => None,
            },
            _ => None,
        };
        let (exchange, then) = if let Some(upstream) = upstream {
            let (exchange, passed_on) =
                self.open_for_upstream(client, Ruled { arrived, rules }, upstream, now);
            (exchange, Then::PassOn(passed_on))
        } else {
            let then = match route {
                Route::Welcome => Then::Answer(welcome(client, &arrived)),
                Route::AppFailure(app) => {
                    let reason = shared.apps.get(app).and_then(|app| app.failure());
                    Then::Answer(app_failure::answer(&arrived.head, reason.as_deref()))
                }
                _ => Then::Route(Rerouted {
                    first: first_route,
                    settings: shared.kept_settings(),
                    endpoints: Rc::clone(&client.endpoints),
                    believed: client.believed(),
                }),
            };
            match self.open_for_app(client, Ruled { arrived, rules }, now) {
                Ok(exchange) => (exchange, then),
                Err(answered) => return answered,
            }
        };
        spawn_local(proceed(Rc::clone(shared), Rc::clone(&exchange), verification, then));
        exchange
    }
}

/// Asks the origin of a request once its name and password were verified.
async fn proceed(
    shared: Rc<ThreadState>,
    exchange: Rc<Exchange>,
    mut verification: Verification,
    mut then: Then,
) {
    loop {
        let is_right = verification.outcome().await;
        if exchange.is_over() {
            // The client has gone.
            return;
        }
        if !is_right {
            return exchange.fail(Fault::Unauthorized);
        }
        let rerouted = match then {
            Then::Answer(response) => return exchange.answer_queued(|_| response),
            Then::PassOn(PassedOn { group, arrival }) => {
                return upstream::submit(&exchange, group, arrival, &shared.metrics);
            }
            Then::Route(rerouted) => rerouted,
        };
        let asked = ask_origin(&shared, &exchange, &rerouted);
        let Rerouted { endpoints, believed, .. } = rerouted;
        match asked {
            Asked::Done => return,
            // Another route asks for a password of another file.
            Asked::Verifying { verification: next, first, settings } => {
                let rerouted = Rerouted { first, settings, endpoints, believed };
                (verification, then) = (next, Then::Route(rerouted));
            }
            Asked::Upstream(Proxied { group, stripped }) => {
                let (is_tunnel, is_extended_connect) = (false, false);
                let arrival =
                    upstream::Arrival { endpoints, believed, stripped, is_tunnel, is_extended_connect };
                return upstream::submit(&exchange, group, arrival, &shared.metrics);
            }
        }
    }
}

/// The outcome of asking the origin of a request.
enum Asked {
    Done,
    Verifying { verification: Verification, first: usize, settings: Arc<Settings> },
    Upstream(Proxied),
}

/// Routes a request whose name and password were verified for the first of the routes, and asks its origin.
fn ask_origin(shared: &Rc<ThreadState>, exchange: &Rc<Exchange>, rerouted: &Rerouted) -> Asked {
    let (settings, now) = (shared.kept_settings(), clock::now());
    let apps = shared.apps.served();
    // The routes of a configuration that was read meanwhile are others, and may ask for another password.
    let mut is_verified = Arc::ptr_eq(&settings, &rerouted.settings);
    let mut first = if is_verified { rerouted.first } else { 0 };
    // It has taken a token before its password was verified.
    let mut is_counted = true;
    loop {
        let Some(head) = exchange.head() else { return Asked::Done };
        let circumstances = Circumstances {
            settings: &settings,
            first_route: first,
            is_admin: false,
            may_answer_challenge: false,
            https_port: None,
            apps: &apps,
            has_too_many_running: false,
        };
        let Routed { route, taken } = route(&head, circumstances);
        let rules = settings.routes.rules(taken);
        let judged = if std::mem::take(&mut is_verified) || !rules.may_refuse() {
            Judged::Admitted
        } else {
            judge(rules, &head, &shared.rules, &mut is_counted, now)
        };
        let outcome = match (judged, route) {
            (Judged::Verifying(verification), _) => {
                let settings = Arc::clone(&settings);
                return Asked::Verifying { verification, first, settings };
            }
            (Judged::Refused(fault), _) | (Judged::Admitted, Route::Refused(fault)) => {
                Configured::Refused(fault)
            }
            (Judged::Answered(response), _) => Configured::Pieced(response),
            (Judged::Admitted, Route::Configured(taken)) => {
                configured(shared, &head, &settings.routes[taken], now)
            }
            (Judged::Admitted, Route::App(app)) => {
                drop(head);
                exchange.set_rules(rules.for_exchange());
                apps[app.0].dispatch.submit(exchange, now);
                return Asked::Done;
            }
            // There is no app, or it has failed meanwhile.
            (Judged::Admitted, _) => Configured::Refused(Fault::NoRoute),
        };
        if let (Configured::NextRoute, Some(taken)) = (&outcome, taken) {
            first = taken.next();
            continue;
        }
        let is_websocket = head.is_websocket();
        drop(head);
        exchange.set_rules(rules.for_exchange());
        match outcome {
            Configured::Pieced(response) => {
                exchange.leave_queue();
                exchange.answer_in_pieces(response);
            }
            Configured::Upstream(upstream) if !is_websocket => return Asked::Upstream(upstream),
            // The exchange is one for a WebSocket of the app, because files came first.
            Configured::Upstream(_) => exchange.fail(Fault::MethodNotAllowed),
            Configured::Refused(fault) => exchange.fail(fault),
            Configured::NextRoute => {}
        }
        return Asked::Done;
    }
}
