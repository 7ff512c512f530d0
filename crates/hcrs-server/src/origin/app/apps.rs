//! The apps of an edge thread: each has a queue and links of its own, so that one whose workers are busy, hang or
//! crash takes nothing from another.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_http::Fault;
use hcrs_metrics::ThreadSnapshot;

use super::WorkerId;
use super::dispatch::Dispatch;
use super::link::Link;
use super::tick_waker::TickWaker;
use crate::settings::{AppIndex, AppName, AppSettings};

/// An app as an edge thread knows it.
#[derive(Debug)]
pub(crate) struct App {
    name: AppName,
    /// The requests that wait for its workers, and the links to them.
    pub dispatch: Dispatch,
    /// The reason why it cannot be served, while requests are answered with it.
    failure: RefCell<Option<Arc<str>>>,
}

impl App {
    fn new(settings: &AppSettings, waker: &Rc<TickWaker>) -> Rc<Self> {
        Rc::new(Self {
            name: settings.name.clone(),
            dispatch: Dispatch::new(settings.dispatch, Rc::clone(waker)),
            failure: RefCell::default(),
        })
    }

    /// Whether requests are answered with the reason why the app cannot be served.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Returns the reason why the app cannot be served, if there is one.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.failure.borrow().clone()
    }

    /// Sets the reason why the app cannot be served, or that it can be.
    pub(crate) fn set_failure(&self, reason: Option<Arc<str>>) {
        self.failure.replace(reason);
    }
}

/// The apps of an edge thread.
#[derive(Debug)]
pub(crate) struct Apps {
    /// In the order of the settings.
    served: RefCell<Vec<Rc<App>>>,
    /// Those that are configured no more, and whose workers finish what they have begun.
    leaving: RefCell<Vec<Rc<App>>>,
    waker: Rc<TickWaker>,
}

impl Apps {
    /// Returns the apps with these settings.
    pub(crate) fn new(settings: &[AppSettings]) -> Self {
        let waker = Rc::<TickWaker>::default();
        let served = settings.iter().map(|app| App::new(app, &waker)).collect();
        Self { served: RefCell::new(served), leaving: RefCell::default(), waker }
    }

    /// Replaces the settings. Apps are added and removed; requests that wait for one that is removed get 503.
    pub(crate) fn apply(&self, settings: &[AppSettings]) {
        let mut known = self.served.take();
        known.append(&mut self.leaving.borrow_mut());
        let served = settings.iter().map(|app| match known.iter().position(|other| other.name == app.name) {
            Some(at) => {
                let app_of_thread = known.swap_remove(at);
                app_of_thread.dispatch.apply(app.dispatch);
                app_of_thread
            }
            None => App::new(app, &self.waker),
        });
        self.served.replace(served.collect());
        for app in &known {
            fail_waiting(app);
        }
        known.retain(|app| app.dispatch.has_links());
        self.leaving.replace(known);
    }

    /// Returns the apps in the order of the settings.
    pub(crate) fn served(&self) -> Ref<'_, [Rc<App>]> {
        Ref::map(self.served.borrow(), Vec::as_slice)
    }

    /// Returns the app at this place of the settings.
    pub(crate) fn get(&self, AppIndex(at): AppIndex) -> Option<Rc<App>> {
        self.served.borrow().get(at).map(Rc::clone)
    }

    /// Returns the app with this name, which may be leaving.
    pub(crate) fn named(&self, name: &AppName) -> Option<Rc<App>> {
        self.all().into_iter().find(|app| app.name == *name)
    }

    fn all(&self) -> Vec<Rc<App>> {
        self.served.borrow().iter().chain(&*self.leaving.borrow()).map(Rc::clone).collect()
    }

    /// Returns the waker of the task that calls [`Apps::tick`].
    pub(crate) fn waker(&self) -> &TickWaker {
        &self.waker
    }

    /// Whether there is anything for [`Apps::tick`] to do.
    pub(crate) fn has_work(&self, now: Instant) -> bool {
        self.served.borrow().iter().chain(&*self.leaving.borrow()).any(|app| app.dispatch.has_work(now))
    }

    /// Looks at the deadlines of requests that wait, and at workers that stall.
    pub(crate) fn tick(&self, now: Instant) {
        self.all().iter().for_each(|app| app.dispatch.tick(now));
    }

    /// Returns memory that no response needs now to the system.
    pub(crate) fn release_memory(&self) {
        self.all().iter().for_each(|app| app.dispatch.release_memory());
    }

    /// Stops sending requests to a worker and notifies it of the signal. Returns the worker's link.
    pub(crate) fn retire(&self, worker: WorkerId, signal: u16, now: Instant) -> Option<Rc<Link>> {
        let link = self.all().iter().find_map(|app| app.dispatch.retire(worker, signal, now));
        // No other worker will begin the requests that are left over of an app which is leaving.
        self.leaving.borrow().iter().for_each(|app| fail_waiting(app));
        link
    }

    /// Removes the link of a worker of the app.
    pub(crate) fn detach(&self, app: &App, link: &Rc<Link>, now: Instant) {
        app.dispatch.detach(link, now);
        self.leaving.borrow_mut().retain(|app| app.dispatch.has_links());
    }

    /// Marks a worker's process as ended.
    pub(crate) fn lost(&self, worker: WorkerId) {
        self.all().iter().for_each(|app| app.dispatch.lost(worker));
    }

    /// Logs the requests that a worker has in flight.
    pub(crate) fn describe(&self, worker: WorkerId, now: Instant) {
        self.all().iter().for_each(|app| app.dispatch.describe(worker, now));
    }

    /// Notifies the workers that the drain begins because of the signal with this number.
    pub(crate) fn begin_drain(&self, signal: u16) {
        self.all().iter().for_each(|app| app.dispatch.begin_drain(signal));
    }

    /// Sends `Drain` over every link; the apps have `left` for what they still do.
    pub(crate) fn drain(&self, left: Duration) {
        self.all().iter().for_each(|app| app.dispatch.drain(left));
    }

    /// Describes the requests and bytes that remain after the last connection has ended; `None` if there are
    /// none.
    pub(crate) fn left_over(&self) -> Option<String> {
        let left = |app: &Rc<App>| Some(format!("{}{}", app.dispatch.left_over()?, app.name.suffix()));
        self.all().iter().filter_map(left).reduce(|all, more| format!("{all}, {more}"))
    }

    /// Adds the queues, the streams of the workers and the stalls of the links to the thread's snapshot.
    pub(crate) fn add_to(&self, snapshot: &mut ThreadSnapshot) {
        let mut streams = Vec::new();
        for app in self.all() {
            snapshot.add_queue(app.name.as_str(), app.dispatch.queue_facts());
            app.dispatch.add_stalls_to(snapshot);
            app.dispatch.append_streams_to(&mut streams);
        }
        snapshot.set_streams(streams.into_iter());
    }
}

/// Answers the requests that wait for an app which is leaving.
fn fail_waiting(app: &App) {
    for exchange in app.dispatch.take_queue() {
        exchange.fail(Fault::QueueTimeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(names: &[&str]) -> Vec<AppSettings> {
        let of = |name: &&str| {
            let name = AppName::parse(name).unwrap();
            AppSettings { name, ..AppSettings::new("m:a".to_owned()) }
        };
        names.iter().map(of).collect()
    }

    fn names(apps: &Apps) -> Vec<String> {
        apps.served().iter().map(|app| app.name.to_string()).collect()
    }

    #[test]
    fn apps_keep_their_state_by_name_wherever_they_stand() {
        let apps = Apps::new(&settings(&["main", "shop"]));
        let shop = apps.get(AppIndex(1)).unwrap();
        shop.set_failure(Some("why".into()));
        apps.apply(&settings(&["shop", "blog"]));
        assert_eq!(names(&apps), ["shop", "blog"]);
        assert!(Rc::ptr_eq(&shop, &apps.get(AppIndex(0)).unwrap()));
        assert!(shop.has_failed() && apps.get(AppIndex(2)).is_none());
        assert!(apps.named(&AppName::default()).is_none(), "it has no links that would keep it");
    }
}
