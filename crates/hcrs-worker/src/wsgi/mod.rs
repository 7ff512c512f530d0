//! A server of a WSGI app (PEP 3333): a reader for each link, a queue, and threads that run the app.

mod environ;
mod file;
mod input;
mod job;
mod link;
mod queue;
mod reader;
mod response;
mod spool;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hcrs_http::RequestView;
use hcrs_link::FromWorker;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyList};

use crate::link::Link;
use crate::lock;
use crate::pulse::note_step;
use crate::wsgi::environ::{EnvironBuilder, Server};
use crate::wsgi::input::Input;
use crate::wsgi::job::Job;
use crate::wsgi::link::{WsgiLink, content_length};
use crate::wsgi::queue::Queue;
use crate::wsgi::reader::{LinkEvent, Reader};
use crate::wsgi::response::Response;
use crate::wsgi::spool::{Cut, Spool};

/// The status for a body above `wsgi_max_body_size`.
const CONTENT_TOO_LARGE: u16 = 413;

/// The status for an upload beyond the limits of the spool.
const SERVICE_UNAVAILABLE: u16 = 503;

/// The status for a body that cannot be stored (RFC 4918 §11.5).
const INSUFFICIENT_STORAGE: u16 = 507;

/// A worker's links and the WSGI app that is served on them.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct WsgiServer {
    links: Vec<Arc<WsgiLink>>,
    app: Py<PyAny>,
    environs: Mutex<EnvironBuilder>,
    max_body_size: usize,
    on_failed: Py<PyAny>,
    shared: Arc<Shared>,
}

/// State shared by the readers and the pool.
#[derive(Debug)]
struct Shared {
    queue: Queue<Job>,
    spool: Arc<Spool>,
    end: Mutex<End>,
    changed: Condvar,
}

/// The reports of the links about the end of the worker.
#[derive(Debug, Default)]
struct End {
    /// The signal for which the worker is to end, until it is returned by `wait_for_signal`.
    stopping: Option<u16>,
    /// Number of links on which more may arrive.
    undrained: usize,
    /// The time at which the app's remaining work is cut off.
    until: Option<Instant>,
    gone: bool,
    broken: Option<String>,
}

#[pymethods]
impl WsgiServer {
    /// Creates a server of `app` on the links.
    ///
    /// `on_failed(exception or None, client has left)` is called when the app has raised or left a response
    /// incomplete. `errors`, `multithread` and `multiprocess` are values of the environ. Large bodies are
    /// stored in `spool_folder`, or in memory if that is None.
    #[new]
    #[pyo3(signature = (
        links, app, *, root_path, max_body_size, spool_folder, errors, multithread, multiprocess, on_failed
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python constructor")]
    fn new(
        py: Python<'_>,
        links: &Bound<'_, PyList>,
        app: Py<PyAny>,
        root_path: &str,
        max_body_size: usize,
        spool_folder: Option<PathBuf>,
        errors: &Bound<'_, PyAny>,
        multithread: bool,
        multiprocess: bool,
        on_failed: Py<PyAny>,
    ) -> PyResult<Self> {
        let ends =
            links.iter().map(|link| link.cast::<Link>()?.get().take()).collect::<PyResult<Vec<_>>>()?;
        let links: Vec<_> = ends.into_iter().map(|end| Arc::new(WsgiLink::new(end))).collect();
        let end = End { undrained: links.len(), ..End::default() };
        let spool = Spool::new(spool_folder, max_body_size);
        Ok(Self {
            links,
            app,
            environs: Mutex::new(EnvironBuilder::new(
                py,
                &Server { root_path, multithread, multiprocess, errors },
            )?),
            max_body_size,
            on_failed,
            shared: Arc::new(Shared {
                queue: Queue::new(),
                spool,
                end: Mutex::new(end),
                changed: Condvar::new(),
            }),
        })
    }

    /// Sends Ready on all links and starts their readers.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        for link in &self.links {
            py.detach(|| link.send(&FromWorker::Ready))?;
            let (link, shared, body_max) = (link.clone(), self.shared.clone(), self.max_body_size);
            std::thread::Builder::new().name("hcrs-link".into()).spawn(move || {
                let reader = Reader::new(&link, &shared.queue, &shared.spool, body_max);
                reader.run(&|event| shared.take(event));
            })?;
        }
        Ok(())
    }

    /// Runs requests one after another until the server is closed, as the body of a thread of the pool.
    fn work(&self, py: Python<'_>) -> PyResult<()> {
        let mut was_woken = false;
        loop {
            while let Some(job) = self.shared.queue.take(std::mem::take(&mut was_woken)) {
                self.run(py, job)?;
                note_step();
            }
            for link in &self.links {
                link.flush_gathered(py);
            }
            if !py.detach(|| self.shared.queue.sleep()) {
                return Ok(());
            }
            was_woken = true;
        }
    }

    /// Waits until the worker is to end. Returns the number of the signal that is the reason, or None if the
    /// edge is gone.
    fn wait_for_signal(&self, py: Python<'_>) -> Option<u16> {
        py.detach(|| {
            let is_serving = |end: &mut End| !end.is_over() && end.stopping.is_none();
            let end = lock(&self.shared.end);
            let mut end =
                self.shared.changed.wait_while(end, is_serving).unwrap_or_else(PoisonError::into_inner);
            end.stopping.take()
        })
    }

    /// Waits until the edge has nothing more to send. Returns the seconds that the app has left, or None if
    /// the edge is gone.
    fn wait(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let (left, broken) = py.detach(|| {
            let end = lock(&self.shared.end);
            let mut end = self
                .shared
                .changed
                .wait_while(end, |end| !end.is_over())
                .unwrap_or_else(PoisonError::into_inner);
            let until = end.until.filter(|_| !end.gone);
            (until.map(|until| until.saturating_duration_since(Instant::now())), end.broken.take())
        });
        match broken {
            Some(why) => Err(PyRuntimeError::new_err(why)),
            None => Ok(left.map(|left| left.as_secs_f64())),
        }
    }

    /// Returns the requests that have not ended, as in `GET /mail`.
    fn unfinished(&self) -> Vec<String> {
        self.links.iter().flat_map(|link| link.unfinished()).collect()
    }

    /// Returns whether a thread is idle, or waits for a client rather than for the app.
    fn has_free_thread(&self) -> bool {
        self.shared.queue.has_idle() || self.links.iter().any(|link| link.awaits_client())
    }

    /// Makes the pool's threads end once the queue is empty, or after `timeout` seconds.
    fn close(&self, py: Python<'_>, timeout: f64) {
        let patience = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        py.detach(|| self.shared.queue.close(patience));
    }

    /// Reports to the edge that the app's shutdown begins, and whether `all` threads of the pool have ended.
    fn finish(&self, py: Python<'_>, all: bool) {
        for link in &self.links {
            // An error means that the edge is gone.
            let _gone = py.detach(|| link.send(&FromWorker::Finished { all }));
        }
    }
}

impl Shared {
    fn take(&self, event: LinkEvent) {
        let mut end = lock(&self.end);
        match event {
            LinkEvent::Stopping(signal) => end.stopping = Some(signal),
            LinkEvent::Drained(left) => {
                end.undrained = end.undrained.saturating_sub(1);
                end.until = end.until.max(Some(Instant::now() + left));
            }
            LinkEvent::Gone(broken) => {
                end.gone = true;
                end.broken = end.broken.take().or(broken);
            }
        }
        self.changed.notify_all();
    }
}

impl End {
    fn is_over(&self) -> bool {
        self.gone || self.undrained == 0
    }
}

impl WsgiServer {
    /// Locks the builder of environs. A thread that waits for the lock releases the GIL, because the holder
    /// of the lock may need the GIL again: the first use of an interned string releases it for a moment.
    fn environs(&self, py: Python<'_>) -> MutexGuard<'_, EnvironBuilder> {
        self.environs.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, py: Python<'_>, mut job: Job) -> PyResult<()> {
        if !job.begin() {
            return Ok(());
        }
        let response = Bound::new(py, Response::new(job.link.clone(), job.stream.clone()))?;
        let error = self.answer(&response, &mut job).err();
        let (failed, has_left) = {
            let mut out = job.link.out(py);
            let mut stream = job.stream.lock();
            (stream.finish(&mut out), stream.is_gone())
        };
        self.flush(py, &job.link);
        drop(job);
        if failed || error.is_some() {
            self.on_failed.bind(py).call1((error.map(|error| error.into_value(py)), has_left))?;
        }
        Ok(())
    }

    /// Writes a response, at once if no other request is waiting.
    fn flush(&self, py: Python<'_>, link: &WsgiLink) {
        if self.shared.queue.is_empty() { link.flush(py) } else { link.flush_or_gather(py) }
    }

    /// Responds to a request, by the app or, for a request that it does not get, with an error.
    fn answer(&self, response: &Bound<'_, Response>, job: &mut Job) -> PyResult<()> {
        let py = response.py();
        let head =
            RequestView::parse(&job.head).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        if job.stream.lock().is_gone() {
            return Ok(());
        }
        if head.websocket {
            return response.get().answer(py, 403, "This app does not support WebSockets\n");
        }
        if head.method == b"HEAD" {
            response.get().set_head_only();
        }
        let template = self.environs(py).template(py);
        let environ = template.copy()?;
        let inside = {
            let mut environs = self.environs(py);
            let path_info = environs.path_info(&head);
            path_info.map(|path_info| environs.fill(&environ, &head, &path_info)).transpose()?
        };
        if inside.is_none() {
            return response.get().answer(py, 404, "Not Found\n");
        }
        if content_length(&head).is_some_and(|length| length > self.max_body_size as u64) {
            return self.refuse(response);
        }
        match job.cut.take() {
            None => {}
            Some(Cut::Full) => {
                return response.get().answer(py, SERVICE_UNAVAILABLE, "Service Unavailable\n");
            }
            Some(Cut::Failed(error)) => {
                response.get().answer(py, INSUFFICIENT_STORAGE, "Insufficient Storage\n")?;
                return Err(error.into());
            }
        }
        self.call_app(response, job, &environ)
    }

    /// Calls the app and sends its response. A body beyond the limit is refused when the app reads it.
    fn call_app(
        &self,
        response: &Bound<'_, Response>,
        job: &mut Job,
        environ: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let py = response.py();
        let body = job.body.take();
        let input = Input::new(job.link.clone(), job.stream.clone(), body, self.max_body_size);
        let input = Bound::new(py, input)?;
        environ.set_item(intern!(py, "wsgi.input"), &input)?;
        let start_response = response.getattr(intern!(py, "start_response"))?;
        let ran = self.app.bind(py).call1((environ, start_response)).and_then(|iterable| {
            // After the app was refused the rest of the body, any other response is replaced by that of the
            // refusal.
            let refused = input.get().is_too_large()
                && response.get().unsent_status().is_some_and(|status| status != CONTENT_TOO_LARGE);
            let sent = if refused { self.refuse(response) } else { response.get().send_all(&iterable) };
            self.flush(py, &job.link); // close may take a while
            let closed = match iterable.getattr_opt(intern!(py, "close"))? {
                Some(close) => close.call0().map(drop),
                None => Ok(()),
            };
            sent.and(closed)
        });
        input.get().close();
        if ran.is_err() && input.get().is_too_large() && !response.get().is_sent() {
            return self.refuse(response);
        }
        ran
    }

    #[expect(clippy::unused_self, reason = "one of the responses of the server")]
    fn refuse(&self, response: &Bound<'_, Response>) -> PyResult<()> {
        response.get().answer(response.py(), CONTENT_TOO_LARGE, "Content Too Large\n")
    }
}
