//! Reads the messages that an app sends (ASGI HTTP spec), with an error message for each mistake in them.

use hcrs_http::{ResponseHeadWriter, content_length, is_field_name, is_field_value, is_promise_name};
use hcrs_link::{HEAD_MAX, HINT_LEN_MAX, HeadTooLongError, begin_promise};
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyInt, PyList, PyMemoryView, PyString, PyTuple};

/// Fields that a response's head, or its trailers, may have at most: the count in the link's encoding has 16
/// bits.
pub(crate) const FIELDS_MAX: usize = u16::MAX as usize;

/// The `type` of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `http.response.start`
    Start,
    /// `http.response.body`
    Body,
    /// `http.response.pathsend`
    PathSend,
    /// `http.response.zerocopysend`
    ZeroCopySend,
    /// `http.response.trailers`
    Trailers,
    /// `http.response.early_hint`
    EarlyHint,
    /// `http.response.push`
    Push,
    /// `http.response.debug`
    Debug,
}

impl Kind {
    /// Returns the type as text.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Start => "http.response.start",
            Self::Body => "http.response.body",
            Self::PathSend => "http.response.pathsend",
            Self::ZeroCopySend => "http.response.zerocopysend",
            Self::Trailers => "http.response.trailers",
            Self::EarlyHint => "http.response.early_hint",
            Self::Push => "http.response.push",
            Self::Debug => "http.response.debug",
        }
    }
}

/// A message's type; `Err` holds the text of a type other than those of [`Kind`].
pub(crate) type Type<'py> = Result<Kind, Bound<'py, PyString>>;

/// A message as a dict, with its type.
pub(crate) type Typed<'a, 'py> = (&'a Bound<'py, PyDict>, Type<'py>);

/// Checks that a message is a dict with a type.
pub(crate) fn kind<'a, 'py>(message: &'a Bound<'py, PyAny>) -> PyResult<Typed<'a, 'py>> {
    let py = message.py();
    let dict = message.cast::<PyDict>().map_err(|_| {
        PyTypeError::new_err(format!("an ASGI message must be a dict, not {}", type_name(message)))
    })?;
    let kind = dict
        .get_item(intern!(py, "type"))?
        .ok_or_else(|| PyKeyError::new_err("the ASGI message has no 'type'"))?;
    let kind = kind.cast_into::<PyString>().map_err(|error| {
        PyTypeError::new_err(format!("'type' must be a str, not {}", type_name(&error.into_inner())))
    })?;
    let known = match kind.to_str() {
        Ok("http.response.start") => Kind::Start,
        Ok("http.response.body") => Kind::Body,
        Ok("http.response.pathsend") => Kind::PathSend,
        Ok("http.response.zerocopysend") => Kind::ZeroCopySend,
        Ok("http.response.trailers") => Kind::Trailers,
        Ok("http.response.early_hint") => Kind::EarlyHint,
        Ok("http.response.push") => Kind::Push,
        Ok("http.response.debug") => Kind::Debug,
        Ok(_) | Err(_) => return Ok((dict, Err(kind))),
    };
    Ok((dict, Ok(known)))
}

/// Returns the `status` of `http.response.start`.
pub(crate) fn status(message: &Bound<'_, PyDict>) -> PyResult<u16> {
    let status = message
        .get_item(intern!(message.py(), "status"))?
        .ok_or_else(|| PyKeyError::new_err("'http.response.start' has no 'status'"))?;
    if !status.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!("'status' must be an int, not {}", type_name(&status))));
    }
    match status.extract::<u16>() {
        Ok(code @ 200..=999) => Ok(code),
        Ok(_) | Err(_) => {
            Err(PyValueError::new_err(format!("'status' must be between 200 and 999, not {}", status.str()?)))
        }
    }
}

/// Returns whether `http.response.start` announces trailers.
pub(crate) fn announces_trailers(message: &Bound<'_, PyDict>) -> PyResult<bool> {
    match message.get_item(intern!(message.py(), "trailers"))? {
        Some(trailers) => trailers.is_truthy(),
        None => Ok(false),
    }
}

/// The contents of `http.response.trailers`.
#[derive(Debug)]
pub(crate) struct TrailersMessage<'py> {
    /// The `headers`.
    pub(crate) parts: Parts<'py>,
    /// The opposite of `more_trailers`.
    pub(crate) end: bool,
}

/// Reads `http.response.trailers`.
pub(crate) fn trailers<'py>(message: &Bound<'py, PyDict>) -> PyResult<TrailersMessage<'py>> {
    let end = match message.get_item(intern!(message.py(), "more_trailers"))? {
        Some(more) => !more.is_truthy()?,
        None => true,
    };
    let parts = headers(message)?.map_or_else(|| Ok(Vec::new()), |headers| parts(&headers))?;
    Ok(TrailersMessage { parts, end })
}

/// Encodes the `links` of `http.response.early_hint` as the head of an interim response (RFC 8297).
pub(crate) fn early_hint(message: &Bound<'_, PyDict>) -> PyResult<Vec<u8>> {
    let py = message.py();
    let mut block = Vec::new();
    let mut head = ResponseHeadWriter::begin(&mut block, 103);
    let mut seen = Seen::default();
    if let Some(links) = message.get_item(intern!(py, "links"))? {
        let wrong = || PyTypeError::new_err("'links' must be an iterable of bytes");
        if links.is_instance_of::<PyBytes>() || links.is_instance_of::<PyString>() {
            return Err(wrong());
        }
        for link in links.try_iter().map_err(|_| wrong())? {
            let link = bytes_of(&link?, "a link")?;
            let field = Field { name: b"link", value: link.as_bytes() };
            write_field(&mut head, &mut block, field, &mut seen)?;
            if block.len() > HINT_LEN_MAX {
                return Err(PyValueError::new_err(format!(
                    "the links of an early hint are longer than {HINT_LEN_MAX} bytes"
                )));
            }
        }
    }
    head.finish(&mut block);
    Ok(block)
}

/// Encodes the request that `http.response.push` promises.
pub(crate) fn promise(message: &Bound<'_, PyDict>) -> PyResult<Vec<u8>> {
    let py = message.py();
    let path = message
        .get_item(intern!(py, "path"))?
        .ok_or_else(|| PyKeyError::new_err("'http.response.push' has no 'path'"))?;
    let path = path.cast_into::<PyString>().map_err(|error| {
        PyTypeError::new_err(format!("'path' must be a str, not {}", type_name(&error.into_inner())))
    })?;
    let (mut block, mut head) = begin_promise(path.encode_utf8()?.as_bytes()).ok_or_else(|| {
        PyValueError::new_err(format!(
            "'path' must begin with a slash, be percent-encoded and have no '#', not {:?}",
            path.to_string_lossy()
        ))
    })?;
    let parts = headers(message)?.map_or_else(|| Ok(Vec::new()), |headers| parts(&headers))?;
    let mut seen = Seen::default();
    for (name, value) in &parts {
        let name = name.as_bytes().trim_ascii();
        if !is_promise_name(name) {
            return Err(PyValueError::new_err(format!(
                "header b\"{}\" is not allowed in a promised request, which has no body, and the host of the \
                 request that it belongs to",
                name.escape_ascii()
            )));
        }
        write_field(&mut head, &mut block, Field { name, value: value.as_bytes() }, &mut seen)?;
        if block.len() > HINT_LEN_MAX {
            return Err(PyValueError::new_err(format!(
                "path and headers of a promised request are longer than {HINT_LEN_MAX} bytes"
            )));
        }
    }
    head.finish(&mut block);
    Ok(block)
}

/// Returns the `headers` of a message, or `None` if it has none.
pub(crate) fn headers<'py>(message: &Bound<'py, PyDict>) -> PyResult<Option<Bound<'py, PyAny>>> {
    message.get_item(intern!(message.py(), "headers"))
}

/// A response's fields as bytes objects.
pub(crate) type Parts<'py> = Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>;

/// Reads any iterable of pairs. This may run code of the app.
pub(crate) fn parts<'py>(headers: &Bound<'py, PyAny>) -> PyResult<Parts<'py>> {
    let wrong = |what: &Bound<'_, PyAny>| {
        PyTypeError::new_err(format!(
            "'headers' must be an iterable of (name, value) pairs of bytes, not {}",
            type_name(what)
        ))
    };
    let mut parts = Vec::new();
    for item in headers.try_iter().map_err(|_| wrong(headers))? {
        let item = item?;
        let mut halves = item.try_iter().map_err(|_| wrong(&item))?;
        let (Some(name), Some(value), None) = (halves.next(), halves.next(), halves.next()) else {
            return Err(PyValueError::new_err("each of 'headers' must hold a name and a value"));
        };
        parts.push((bytes_of(&name?, "a header's name")?, bytes_of(&value?, "a header's value")?));
        if parts.len() > FIELDS_MAX {
            return Err(FieldError::TooMany.into());
        }
    }
    Ok(parts)
}

/// Checks and writes fields that [`parts`] returned. Returns the content-length among them.
pub(crate) fn write_parts(
    parts: &Parts<'_>,
    head: &mut ResponseHeadWriter,
    out: &mut Vec<u8>,
) -> Result<Option<u64>, FieldError> {
    let mut seen = Seen::default();
    for (name, value) in parts {
        write_field(head, out, Field { name: name.as_bytes(), value: value.as_bytes() }, &mut seen)?;
    }
    Ok(seen.length)
}

/// Checks and writes the fields of a list of plain pairs of bytes, which runs no code of the app. Returns the
/// content-length among them.
pub(crate) fn write_list(
    headers: &Bound<'_, PyList>,
    head: &mut ResponseHeadWriter,
    out: &mut Vec<u8>,
) -> Result<Option<u64>, FieldError> {
    let mut seen = Seen::default();
    for item in headers.iter() {
        let (name, value) = plain_pair(&item).ok_or(FieldError::NotPlain)?;
        write_field(head, out, Field { name: name.as_bytes(), value: value.as_bytes() }, &mut seen)?;
    }
    Ok(seen.length)
}

/// An error in a response's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FieldError {
    /// The name is not a token.
    Name(Vec<u8>),
    /// The value of the field of this name holds characters that are not allowed.
    Value(Vec<u8>),
    /// The content-length is not a number, or differs from an earlier one.
    Length(Vec<u8>),
    /// The field is not allowed in trailers.
    Trailer(Vec<u8>),
    /// The fields are longer than [`HEAD_MAX`] in all.
    TooLarge,
    /// There are more than [`FIELDS_MAX`] fields.
    TooMany,
    /// The list holds an item that is not a plain pair, which [`write_list`] leaves to [`parts`].
    NotPlain,
}

impl From<HeadTooLongError> for FieldError {
    fn from(HeadTooLongError: HeadTooLongError) -> Self {
        Self::TooLarge
    }
}

impl From<FieldError> for PyErr {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Name(name) => {
                PyValueError::new_err(format!("header name b\"{}\" is not a token", name.escape_ascii()))
            }
            FieldError::Value(name) => PyValueError::new_err(format!(
                "the value of header b\"{}\" holds a line break, NUL or another control character",
                name.escape_ascii()
            )),
            FieldError::Length(value) => PyValueError::new_err(format!(
                "content-length b\"{}\" is not a number of bytes, or not the only one",
                value.escape_ascii()
            )),
            FieldError::Trailer(name) => PyValueError::new_err(format!(
                "header b\"{}\" is not allowed in trailers: it is needed before the body",
                name.escape_ascii()
            )),
            FieldError::TooLarge => {
                PyValueError::new_err(format!("the response's headers are larger than {HEAD_MAX} bytes"))
            }
            FieldError::TooMany => PyValueError::new_err(format!(
                "a response has at most {FIELDS_MAX} headers, including a WebSocket's subprotocol"
            )),
            FieldError::NotPlain => PyTypeError::new_err("'headers' must hold pairs of bytes"),
        }
    }
}

/// Totals of a head's fields so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Bytes, at most [`HEAD_MAX`].
    size: usize,
    /// Fields, at most [`FIELDS_MAX`].
    count: usize,
    /// The content-length.
    length: Option<u64>,
}

impl Seen {
    /// Returns the content-length, if there is one.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }
}

/// Bytes of a field that count against [`HEAD_MAX`] beside name and value: their lengths.
const FIELD_COST: usize = 6;

/// The name and value of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Checks a field and writes it without the whitespace around name and value.
pub(crate) fn write_field(
    head: &mut ResponseHeadWriter,
    out: &mut Vec<u8>,
    field: Field<'_>,
    seen: &mut Seen,
) -> Result<(), FieldError> {
    let (name, value) = (field.name.trim_ascii(), field.value.trim_ascii());
    seen.size += name.len() + value.len() + FIELD_COST;
    if seen.size > HEAD_MAX || name.len() > usize::from(u16::MAX) {
        return Err(FieldError::TooLarge);
    }
    seen.count += 1;
    if seen.count > FIELDS_MAX {
        return Err(FieldError::TooMany);
    }
    if !is_field_name(name) {
        return Err(FieldError::Name(name.to_vec()));
    }
    if !is_field_value(value) {
        return Err(FieldError::Value(name.to_vec()));
    }
    if name.eq_ignore_ascii_case(b"content-length") {
        let length =
            content_length(value).filter(|length| seen.length.is_none_or(|earlier| earlier == *length));
        seen.length = Some(length.ok_or_else(|| FieldError::Length(value.to_vec()))?);
    }
    head.field(out, name, value);
    Ok(())
}

/// The contents of `http.response.body`.
#[derive(Debug)]
pub(crate) struct BodyMessage {
    /// The `body`, if there is one.
    pub(crate) bytes: Option<PyBackedBytes>,
    /// The opposite of `more_body`.
    pub(crate) end: bool,
}

/// Reads `http.response.body`.
pub(crate) fn body(message: &Bound<'_, PyDict>) -> PyResult<BodyMessage> {
    let py = message.py();
    let end = is_last(message)?;
    let body = message.get_item(intern!(py, "body"))?;
    let bytes = body.map(|body| bytes_of(&body, "'body'")).transpose()?.map(Into::into);
    Ok(BodyMessage { bytes, end })
}

/// Returns the opposite of a message's `more_body`.
pub(crate) fn is_last(message: &Bound<'_, PyDict>) -> PyResult<bool> {
    match message.get_item(intern!(message.py(), "more_body"))? {
        Some(more) => Ok(!more.is_truthy()?),
        None => Ok(true),
    }
}

fn plain_pair<'py>(item: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (name, value) = if let Ok(pair) = item.cast_exact::<PyTuple>() {
        if pair.len() != 2 {
            return None;
        }
        (pair.get_item(0).ok()?, pair.get_item(1).ok()?)
    } else {
        let pair = item.cast_exact::<PyList>().ok()?;
        if pair.len() != 2 {
            return None;
        }
        (pair.get_item(0).ok()?, pair.get_item(1).ok()?)
    };
    Some((name.cast_into_exact().ok()?, value.cast_into_exact().ok()?))
}

/// Returns the same bytes in an object whose drop runs no code of the app. Stored bytes are dropped under
/// locks, and a subclass of bytes may have a finalizer.
pub(crate) fn without_finalizer<'py>(bytes: &Bound<'py, PyBytes>) -> Bound<'py, PyBytes> {
    if bytes.is_exact_instance_of::<PyBytes>() {
        bytes.clone()
    } else {
        PyBytes::new(bytes.py(), bytes.as_bytes())
    }
}

/// Returns the bytes of a bytes-like object, in an object as of [`without_finalizer`].
pub(crate) fn bytes_of<'py>(object: &Bound<'py, PyAny>, what: &str) -> PyResult<Bound<'py, PyBytes>> {
    let py = object.py();
    if let Ok(bytes) = object.cast::<PyBytes>() {
        Ok(without_finalizer(bytes))
    } else if let Ok(array) = object.cast::<PyByteArray>() {
        Ok(PyBytes::new(py, &array.to_vec()))
    } else if object.is_instance_of::<PyMemoryView>() {
        Ok(object.call_method0(intern!(py, "tobytes"))?.cast_into()?)
    } else {
        Err(PyTypeError::new_err(format!("{what} must be bytes, not {}", type_name(object))))
    }
}

/// Returns the name of an object's type, for error messages.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| String::from("something else"), |name| name.to_string())
}
