//! `start_response`, `write` and the iterable: how a WSGI app answers (PEP 3333).

use std::sync::{Arc, Mutex};

use hcrs_link::{FileOut, HeadKind};
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::ClientGoneError;
use crate::lock;
use crate::message::{FIELDS_MAX, FieldError, Seen, without_finalizer, write_field};
use crate::wsgi::file::{FILE_READ, FileWrapper};
use crate::wsgi::link::{WsgiLink, WsgiStream};

/// Fields of the connection, which are the server's to send (RFC 2616 §13.5.1, PEP 3333 "Other HTTP Features").
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

/// A response under way.
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
    /// The head was sent.
    sent: bool,
    /// Body bytes that were sent.
    len: u64,
    /// The last frame was sent.
    ended: bool,
    /// The request's method is HEAD.
    head_only: bool,
}

/// What became of a piece of body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// It has left, or will.
    Yes,
    /// The response has no body on the wire, and is complete.
    Bodiless,
    /// The client is gone.
    Gone,
}

/// What `start_response` was given, checked.
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

    /// Notes that the request's method is HEAD.
    pub(crate) fn set_head_only(&self) {
        lock(&self.state).head_only = true;
    }

    /// The status that the app has given, while it can still be replaced.
    pub(crate) fn unsent_status(&self) -> Option<u16> {
        let state = lock(&self.state);
        state.head.as_ref().filter(|_| !state.sent).map(|head| head.status)
    }

    /// Whether the head has gone out.
    pub(crate) fn is_sent(&self) -> bool {
        lock(&self.state).sent
    }

    /// Sends what the app's iterable gives; the caller closes the iterable.
    pub(crate) fn send_all(&self, iterable: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = iterable.py();
        if let Ok(file) = iterable.cast_exact::<FileWrapper>() {
            return self.send_file(py, file.get());
        }
        // A len of 1 says that the first piece is all (PEP 3333, "Handling the Content-Length Header").
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

    /// Has the edge send what is left of a file, but no more than the announced length wants.
    fn send_rest(&self, py: Python<'_>, mut file: FileOut) -> PyResult<()> {
        let wanted = {
            let state = lock(&self.state);
            let announced = state.head.as_ref().and_then(|head| head.content_length);
            announced.map(|length| length - state.len)
        };
        match wanted {
            // All was sent before, by way of `write`.
            Some(0) => return self.send_end(py),
            Some(wanted) if file.len < wanted => return Err(PyValueError::new_err(TOO_SHORT)),
            Some(wanted) => file.len = wanted,
            None if !self.is_sent() => self.set_length(file.len),
            None => {}
        }
        self.send_head(py)?;
        let mut state = lock(&self.state);
        state.len += file.len;
        state.ended = true;
        drop(state);
        self.stream.file(py, &self.link, file);
        Ok(())
    }

    /// Answers by the server itself.
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

    /// Sends a piece, with the head before it.
    fn send_piece(&self, py: Python<'_>, piece: PyBackedBytes) -> PyResult<Sent> {
        self.send_head(py)?;
        let end = {
            let mut state = lock(&self.state);
            if state.is_bodiless() {
                drop(state);
                self.send_end(py)?;
                return Ok(Sent::Bodiless);
            }
            if state.ended {
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
                length => state.ended = length == Some(state.len),
            }
            state.ended
        };
        Ok(if self.stream.body(py, &self.link, piece, end) { Sent::Yes } else { Sent::Gone })
    }

    /// Whether the announced length still wants bytes.
    fn is_short(&self) -> bool {
        let state = lock(&self.state);
        let announced = state.head.as_ref().and_then(|head| head.content_length);
        !state.is_bodiless() && announced.is_some_and(|length| state.len < length)
    }

    fn send_head(&self, py: Python<'_>) -> PyResult<()> {
        let (status, fields) = {
            let mut state = lock(&self.state);
            if state.sent {
                return Ok(());
            }
            let head = state.head.as_mut().map(|head| (head.status, std::mem::take(&mut head.fields)));
            state.sent = head.is_some();
            head.ok_or_else(|| {
                PyAssertionError::new_err("the app has sent a body before it called start_response")
            })?
        };
        let pushed = self.push_head(py, status, &fields);
        if pushed.is_err() {
            // An app that catches the error may begin another response.
            let mut state = lock(&self.state);
            (state.head, state.sent) = (None, false);
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
        if !std::mem::replace(&mut lock(&self.state).ended, true) {
            self.stream.body(py, &self.link, PyBytes::new(py, b"").into(), true);
        }
        Ok(())
    }
}

#[pymethods]
impl Response {
    /// Takes status and headers; they go out with the first piece of the body.
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
            (state.head.is_some(), state.sent)
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

    /// The old way to send a body: whole pieces, at once.
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
    /// Whether the response has no body on the wire, whatever the app gives (RFC 9110 §6.4.1).
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
            .map_err(|_| PyTypeError::new_err(format!("the status must be a str, not {}", kind(status))))?
            .to_cow()?;
        let code = status.split(' ').next().filter(|code| code.len() == 3).and_then(|code| code.parse().ok());
        let Some(code @ 200..=999) = code else {
            return Err(PyValueError::new_err(format!("the status must be like '200 OK', not {status:?}")));
        };
        let headers = headers.cast::<PyList>().map_err(|_| {
            PyTypeError::new_err(format!("the headers must be a list, not {}", kind(headers)))
        })?;
        let mut head =
            Self { status: code, fields: Vec::with_capacity(headers.len() + 1), content_length: None };
        // Checked here, so that the app is told in start_response and not later.
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
                    "'{name}' is a hop-by-hop header, which the server sends"
                )));
            }
            write_field(&mut writer, &mut scratch, (&name, &value), &mut seen)?;
            head.fields.push((name, value));
        }
        head.content_length = seen.length();
        Ok(head)
    }
}

/// A piece of the body, of the one type that PEP 3333 allows.
fn bytes(piece: &Bound<'_, PyAny>) -> PyResult<PyBackedBytes> {
    let piece = piece.cast::<PyBytes>().map_err(|_| {
        PyTypeError::new_err(format!("a WSGI app's iterable must give bytes, not {}", kind(piece)))
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

fn kind(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| String::from("something else"), |name| name.to_string())
}
