//! Serves a WSGI app: a reader for each link, a queue, and threads that run the app (PEP 3333).

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
use pyo3::types::PyList;

use crate::link::Link;
use crate::lock;
use crate::pulse::note_step;
use crate::wsgi::environ::{EnvironBuilder, Server};
use crate::wsgi::input::Input;
use crate::wsgi::job::Job;
use crate::wsgi::link::{WsgiLink, content_length};
use crate::wsgi::queue::Queue;
use crate::wsgi::reader::{News, Reader};
use crate::wsgi::response::Response;
use crate::wsgi::spool::{Cut, Spool};

/// The answer to a body above `wsgi_max_body_size`.
const CONTENT_TOO_LARGE: u16 = 413;

/// The answer to an upload beyond those that a worker holds.
const SERVICE_UNAVAILABLE: u16 = 503;

/// The answer to a body that cannot be kept (RFC 4918 §11.5).
const INSUFFICIENT_STORAGE: u16 = 507;

/// A worker's links and the WSGI app behind them.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct WsgiServer {
    links: Vec<Arc<WsgiLink>>,
    app: Py<PyAny>,
    environs: Mutex<EnvironBuilder>,
    max_body_size: usize,
    failed: Py<PyAny>,
    shared: Arc<Shared>,
}

/// What the readers share with the pool.
#[derive(Debug)]
struct Shared {
    queue: Queue<Job>,
    spool: Arc<Spool>,
    end: Mutex<End>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct End {
    /// The signal for which the worker is to end, until somebody is told.
    stopping: Option<u16>,
    /// Links on which more may come.
    undrained: usize,
    /// When what the app still does is cut off.
    until: Option<Instant>,
    gone: bool,
    broken: Option<String>,
}

#[pymethods]
impl WsgiServer {
    /// Makes links serve `app`; `failed(exception or None, whether the client has left)` is called when it has raised or
    /// not answered. `errors`,
    /// `multithread` and `multiprocess` are for the environ. Long bodies are kept in `spool_folder`, or without one
    /// in memory.
    #[new]
    #[pyo3(signature = (
        links, app, *, root_path, max_body_size, spool_folder, errors, multithread, multiprocess, failed
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
        failed: Py<PyAny>,
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
            failed,
            shared: Arc::new(Shared {
                queue: Queue::new(),
                spool,
                end: Mutex::new(end),
                changed: Condvar::new(),
            }),
        })
    }

    /// Says Ready and reads the links from now on.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        for link in &self.links {
            py.detach(|| link.say(&FromWorker::Ready))?;
            let (link, shared, body_max) = (link.clone(), self.shared.clone(), self.max_body_size);
            std::thread::Builder::new().name("hcrs-link".into()).spawn(move || {
                let reader = Reader::new(&link, &shared.queue, &shared.spool, body_max);
                reader.run(&|news| shared.take(news));
            })?;
        }
        Ok(())
    }

    /// Runs requests, one after another, until the server is closed: the body of a thread of the pool.
    fn work(&self, py: Python<'_>) -> PyResult<()> {
        let mut sought = false;
        loop {
            while let Some(job) = self.shared.queue.take(std::mem::take(&mut sought)) {
                self.run(py, job)?;
                note_step();
            }
            for link in &self.links {
                link.flush_gathered(py);
            }
            if !py.detach(|| self.shared.queue.sleep()) {
                return Ok(());
            }
            sought = true;
        }
    }

    /// Waits until the worker is to end; gives the number of the signal for which it is, or None if the edge is gone.
    fn wait_for_signal(&self, py: Python<'_>) -> Option<u16> {
        py.detach(|| {
            let is_serving = |end: &mut End| !end.is_over() && end.stopping.is_none();
            let end = lock(&self.shared.end);
            let mut end =
                self.shared.changed.wait_while(end, is_serving).unwrap_or_else(PoisonError::into_inner);
            end.stopping.take()
        })
    }

    /// Waits until the edge has nothing more to send; gives the seconds that are left for what the app still does, or None
    /// if the edge is gone.
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

    /// The requests that have not ended, as in `GET /mail`.
    fn left(&self) -> Vec<String> {
        self.links.iter().flat_map(|link| link.left()).collect()
    }

    /// Whether a thread is free, or waits for a client and not for the app.
    fn has_free_thread(&self) -> bool {
        self.shared.queue.has_idle() || self.links.iter().any(|link| link.awaits_client())
    }

    /// Lets the pool's threads end once they have nothing more to do, or after `timeout` seconds.
    fn close(&self, py: Python<'_>, timeout: f64) {
        let patience = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        py.detach(|| self.shared.queue.close(patience));
    }

    /// Tells the edge that the app's requests are over. `all` says that the pool's threads have ended.
    fn finish(&self, py: Python<'_>, all: bool) {
        for link in &self.links {
            // An error says that the edge is gone.
            let _gone = py.detach(|| link.say(&FromWorker::Finished { all }));
        }
    }
}

impl Shared {
    fn take(&self, news: News) {
        let mut end = lock(&self.end);
        match news {
            News::Stopping(signal) => end.stopping = Some(signal),
            News::Drained(left) => {
                end.undrained = end.undrained.saturating_sub(1);
                end.until = end.until.max(Some(Instant::now() + left));
            }
            News::Gone(broken) => {
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
    /// The builder of environs. A thread that waits for it lets go of the GIL, for the one that has it may need
    /// the GIL again: the first use of an interned string gives it up for a moment.
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
            self.failed.bind(py).call1((error.map(|error| error.into_value(py)), has_left))?;
        }
        Ok(())
    }

    /// Writes a response: at once if there is nothing else to do.
    fn flush(&self, py: Python<'_>, link: &WsgiLink) {
        if self.shared.queue.is_empty() { link.flush(py) } else { link.flush_or_gather(py) }
    }

    fn answer(&self, response: &Bound<'_, Response>, job: &mut Job) -> PyResult<()> {
        let py = response.py();
        let head =
            RequestView::parse(&job.head).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        if job.stream.lock().is_gone() {
            return Ok(());
        }
        if head.websocket {
            return response.get().answer(py, 403, "This app has no WebSockets\n");
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
        let body = job.body.take();
        let input = Input::new(job.link.clone(), job.stream.clone(), body, self.max_body_size);
        let input = Bound::new(py, input)?;
        environ.set_item(intern!(py, "wsgi.input"), &input)?;
        let start_response = response.getattr(intern!(py, "start_response"))?;
        let ran = self.app.bind(py).call1((environ, start_response)).and_then(|iterable| {
            // What the app answers after it was refused the rest of the body is its failure, not the client's answer.
            let refused = input.get().is_too_large()
                && response.get().unsent_status().is_some_and(|status| status != CONTENT_TOO_LARGE);
            let sent = if refused { self.refuse(response) } else { response.get().send_all(&iterable) };
            self.flush(py, &job.link); // what close does may take its time
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

    #[expect(clippy::unused_self, reason = "one of the answers of the server")]
    fn refuse(&self, response: &Bound<'_, Response>) -> PyResult<()> {
        response.get().answer(response.py(), CONTENT_TOO_LARGE, "Content Too Large\n")
    }
}
