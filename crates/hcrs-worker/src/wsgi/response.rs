//! The response of a WSGI app: `start_response`, `write` and the iterable (PEP 3333).

use std::sync::{Arc, Mutex};

use hcrs_link::{FileOut, HeadKind};
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::ClientGoneError;
use crate::lock;
use crate::message::{FIELDS_MAX, Field, FieldError, Seen, type_name, without_finalizer, write_field};
use crate::wsgi::file::{FILE_READ, FileWrapper};
use crate::wsgi::link::{WsgiLink, WsgiStream};

/// Hop-by-hop fields, which only the server may send (RFC 2616 §13.5.1, PEP 3333 "Other HTTP Features").
const HOP_BY_HOP: [&[u8]; 8] = [
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"te",
    b"trailers",
    b"transfer-encoding",
    b"upgrade",
];

const TOO_SHORT: &str = "the response's body is shorter than its content-length";

/// A response in progress.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct Response {
    link: Arc<WsgiLink>,
    stream: Arc<WsgiStream>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    head: Option<Head>,
    progress: Progress,
    /// Bytes of the body that were sent.
    len: u64,
    /// Whether the request's method is HEAD.
    head_only: bool,
}

/// The progress of a response.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Progress {
    /// Nothing was sent.
    #[default]
    Pending,
    /// The head was sent.
    Begun,
    /// The last frame was sent.
    Ended,
}

/// The outcome of sending a piece of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// The piece was sent, or will be.
    Yes,
    /// The response has no body on the wire, and is complete.
    Bodiless,
    /// The client is gone.
    Gone,
}

/// The status and fields of `start_response`, checked.
#[derive(Debug)]
struct Head {
    status: u16,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    content_length: Option<u64>,
}

impl Response {
    pub(crate) fn new(link: Arc<WsgiLink>, stream: Arc<WsgiStream>) -> Self {
        Self { link, stream, state: Mutex::default() }
    }

    /// Marks the request's method as HEAD.
    pub(crate) fn set_head_only(&self) {
        lock(&self.state).head_only = true;
    }

    /// Returns the status of `start_response`, unless the head was sent.
    pub(crate) fn unsent_status(&self) -> Option<u16> {
        let state = lock(&self.state);
        state.head.as_ref().filter(|_| state.progress == Progress::Pending).map(|head| head.status)
    }

    /// Returns whether the head was sent.
    pub(crate) fn is_sent(&self) -> bool {
        lock(&self.state).progress != Progress::Pending
    }

    /// Sends the pieces of the app's iterable, which the caller closes.
    pub(crate) fn send_all(&self, iterable: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = iterable.py();
        if let Ok(file) = iterable.cast_exact::<FileWrapper>() {
            return self.send_file(py, file.get());
        }
        // With a len of 1 the first piece is the whole body (PEP 3333, "Handling the Content-Length Header").
        let only_one = match iterable.cast_exact::<PyList>() {
            Ok(list) => list.len() == 1,
            Err(_) => iterable.hasattr(intern!(py, "__len__"))? && iterable.len()? == 1,
        };
        for piece in iterable.try_iter()? {
            let piece = bytes(&piece?)?;
            if piece.is_empty() {
                continue;
            }
            if only_one && !self.is_sent() {
                self.set_length(piece.len() as u64);
            }
            if self.send_piece(py, piece)? != Sent::Yes {
                return Ok(());
            }
        }
        self.send_end(py)
    }

    fn send_file(&self, py: Python<'_>, file: &FileWrapper) -> PyResult<()> {
        if !lock(&self.state).is_bodiless()
            && let Some(rest) = file.rest(py)
        {
            return self.send_rest(py, rest);
        }
        loop {
            let block = bytes(&file.read(py, FILE_READ)?)?;
            if block.is_empty() {
                return self.send_end(py);
            }
            if self.send_piece(py, block)? != Sent::Yes {
                return Ok(());
            }
        }
    }

    /// Lets the edge send the rest of a file, up to the announced length.
    fn send_rest(&self, py: Python<'_>, mut file: FileOut) -> PyResult<()> {
        let wanted = {
            let state = lock(&self.state);
            let announced = state.head.as_ref().and_then(|head| head.content_length);
            announced.map(|length| length - state.len)
        };
        match wanted {
            // The whole body was sent before, by `write`.
            Some(0) => return self.send_end(py),
            Some(wanted) if file.len < wanted => return Err(PyValueError::new_err(TOO_SHORT)),
            Some(wanted) => file.len = wanted,
            None if !self.is_sent() => self.set_length(file.len),
            None => {}
        }
        self.send_head(py)?;
        let mut state = lock(&self.state);
        state.len += file.len;
        state.progress = Progress::Ended;
        drop(state);
        self.stream.file(py, &self.link, file);
        Ok(())
    }

    /// Sends a response of the server itself.
    pub(crate) fn answer(&self, py: Python<'_>, status: u16, text: &'static str) -> PyResult<()> {
        let mut fields = vec![
            (b"content-type".to_vec(), b"text/plain; charset=utf-8".to_vec()),
            (b"content-length".to_vec(), text.len().to_string().into_bytes()),
        ];
        if status == 503 {
            fields.push((b"retry-after".to_vec(), b"1".to_vec()));
        }
        lock(&self.state).head = Some(Head { status, fields, content_length: Some(text.len() as u64) });
        self.send_piece(py, PyBytes::new(py, text.as_bytes()).into())?;
        Ok(())
    }

    fn set_length(&self, len: u64) {
        if let Some(head) = &mut lock(&self.state).head
            && head.content_length.is_none()
            && head.fields.len() < FIELDS_MAX
            && !head.is_bodiless()
        {
            head.content_length = Some(len);
            head.fields.push((b"content-length".to_vec(), len.to_string().into_bytes()));
        }
    }

    /// Sends a piece of the body, after the head if that was not sent.
    fn send_piece(&self, py: Python<'_>, piece: PyBackedBytes) -> PyResult<Sent> {
        self.send_head(py)?;
        let end = {
            let mut state = lock(&self.state);
            if state.is_bodiless() {
                drop(state);
                self.send_end(py)?;
                return Ok(Sent::Bodiless);
            }
            if state.progress == Progress::Ended {
                return Err(PyValueError::new_err("the response's body is longer than its content-length"));
            }
            let before = state.len;
            state.len += piece.len() as u64;
            match state.head.as_ref().and_then(|head| head.content_length) {
                Some(length) if state.len > length => {
                    state.len = before;
                    return Err(PyValueError::new_err(
                        "the response's body is longer than its content-length",
                    ));
                }
                Some(length) if state.len == length => state.progress = Progress::Ended,
                Some(_) | None => {}
            }
            state.progress == Progress::Ended
        };
        Ok(if self.stream.body(py, &self.link, piece, end) { Sent::Yes } else { Sent::Gone })
    }

    /// Returns whether fewer bytes were sent than the announced length.
    fn is_short(&self) -> bool {
        let state = lock(&self.state);
        let announced = state.head.as_ref().and_then(|head| head.content_length);
        !state.is_bodiless() && announced.is_some_and(|length| state.len < length)
    }

    fn send_head(&self, py: Python<'_>) -> PyResult<()> {
        let (status, fields) = {
            let mut state = lock(&self.state);
            if state.progress != Progress::Pending {
                return Ok(());
            }
            let head = state.head.as_mut().map(|head| (head.status, std::mem::take(&mut head.fields)));
            let head = head.ok_or_else(|| {
                PyAssertionError::new_err("the app has sent a body before it called start_response")
            })?;
            state.progress = Progress::Begun;
            head
        };
        let pushed = self.push_head(py, status, &fields);
        if pushed.is_err() {
            // An app that catches the error may begin another response.
            let mut state = lock(&self.state);
            (state.head, state.progress) = (None, Progress::Pending);
        }
        Ok(pushed?)
    }

    fn push_head(
        &self,
        py: Python<'_>,
        status: u16,
        fields: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), FieldError> {
        let mut out = self.link.out(py);
        let mut stream = self.stream.lock();
        if stream.is_gone() {
            stream.start_nowhere();
            return Ok(());
        }
        let mark = out.push_head(HeadKind::Response, stream.id(), status, |writer, bytes| {
            for (name, value) in fields {
                writer.field(bytes, name.trim_ascii(), value.trim_ascii());
            }
            Ok::<_, FieldError>(())
        })?;
        stream.start(mark, None);
        Ok(())
    }

    fn send_end(&self, py: Python<'_>) -> PyResult<()> {
        self.send_head(py)?;
        if self.is_short() && !self.stream.lock().is_gone() {
            return Err(PyValueError::new_err(TOO_SHORT));
        }
        if std::mem::replace(&mut lock(&self.state).progress, Progress::Ended) != Progress::Ended {
            self.stream.body(py, &self.link, PyBytes::new(py, b"").into(), true);
        }
        Ok(())
    }
}

#[pymethods]
impl Response {
    /// Sets status and headers, which are sent with the first piece of the body.
    #[pyo3(signature = (status, headers, exc_info = None))]
    fn start_response<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<Bound<'py, PyTuple>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let (started, sent) = {
            let state = lock(&slf.get().state);
            (state.head.is_some(), state.progress != Progress::Pending)
        };
        match exc_info {
            None if started => {
                return Err(PyAssertionError::new_err(
                    "start_response was called a second time without exc_info",
                ));
            }
            Some(exc_info) if sent => return Err(PyErr::from_value(exc_info.get_item(1)?)),
            None | Some(_) => {}
        }
        let head = Head::read(status, headers)?;
        lock(&slf.get().state).head = Some(head);
        slf.getattr(intern!(py, "write"))
    }

    /// Sends a piece of the body at once, as the callable that `start_response` returns.
    #[pyo3(signature = (data, /))]
    fn write(&self, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        if data.as_bytes().is_empty() {
            return Ok(());
        }
        match self.send_piece(data.py(), without_finalizer(data).into())? {
            Sent::Yes | Sent::Bodiless => Ok(()),
            Sent::Gone => Err(ClientGoneError::new_err("the client has gone")),
        }
    }
}

impl State {
    /// Returns whether the response has no body on the wire, even if the app sends one (RFC 9110 §6.4.1).
    fn is_bodiless(&self) -> bool {
        self.head_only || self.head.as_ref().is_some_and(Head::is_bodiless)
    }
}

impl Head {
    fn is_bodiless(&self) -> bool {
        matches!(self.status, 204 | 304)
    }

    fn read(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Self> {
        let status = status
            .cast::<PyString>()
            .map_err(|_| {
                PyTypeError::new_err(format!("the status must be a str, not {}", type_name(status)))
            })?
            .to_cow()?;
        let code = status.split(' ').next().filter(|code| code.len() == 3).and_then(|code| code.parse().ok());
        let Some(code @ 200..=999) = code else {
            return Err(PyValueError::new_err(format!("the status must be like '200 OK', not {status:?}")));
        };
        let headers = headers.cast::<PyList>().map_err(|_| {
            PyTypeError::new_err(format!("the headers must be a list, not {}", type_name(headers)))
        })?;
        let mut head =
            Self { status: code, fields: Vec::with_capacity(headers.len() + 1), content_length: None };
        // Checked here, so that start_response raises and not a later call.
        let (mut scratch, mut seen) = (Vec::new(), Seen::default());
        let mut writer = hcrs_http::ResponseHeadWriter::begin(&mut scratch, code);
        for item in headers {
            let (name, value) =
                item.extract::<(Bound<'_, PyString>, Bound<'_, PyString>)>().map_err(|_| {
                    PyTypeError::new_err("each of the headers must be a tuple of two str, name and value")
                })?;
            let (mut name, value) = (latin1(&name)?, latin1(&value)?);
            name.make_ascii_lowercase();
            if HOP_BY_HOP.contains(&&name[..]) {
                let name = String::from_utf8_lossy(&name);
                return Err(PyAssertionError::new_err(format!(
                    "'{name}' is a hop-by-hop header, which only the server may send"
                )));
            }
            write_field(&mut writer, &mut scratch, Field { name: &name, value: &value }, &mut seen)?;
            head.fields.push((name, value));
        }
        head.content_length = seen.length();
        Ok(head)
    }
}

/// Returns the bytes of a piece of the body, which must be of type bytes (PEP 3333).
fn bytes(piece: &Bound<'_, PyAny>) -> PyResult<PyBackedBytes> {
    let piece = piece.cast::<PyBytes>().map_err(|_| {
        PyTypeError::new_err(format!("a WSGI app's iterable must yield bytes, not {}", type_name(piece)))
    })?;
    Ok(without_finalizer(piece).into())
}

fn latin1(text: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    let chars = text.to_cow()?;
    if chars.is_ascii() {
        return Ok(chars.into_owned().into_bytes());
    }
    chars
        .chars()
        .map(|c| {
            u8::try_from(c)
                .map_err(|_| PyValueError::new_err(format!("{text:?} has a character beyond Latin-1")))
        })
        .collect()
}
