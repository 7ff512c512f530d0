//! Files that an app names as a response's body. They are opened here, so that errors are raised at once and
//! the app may remove the file as soon as `send` has returned. The edge reads them.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hcrs_link::FileOut;
use pyo3::exceptions::{PyKeyError, PyOSError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyInt};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;

use crate::message::type_name;

/// Opens the file of `http.response.pathsend`. Returns `None` if it is empty.
pub(crate) fn of_path(message: &Bound<'_, PyDict>) -> PyResult<Option<FileOut>> {
    let path = message
        .get_item(intern!(message.py(), "path"))?
        .ok_or_else(|| PyKeyError::new_err("'http.response.pathsend' has no 'path'"))?;
    let path: PathBuf = path
        .extract()
        .map_err(|_| PyTypeError::new_err(format!("'path' must be a str, not {}", type_name(&path))))?;
    let name = path.to_string_lossy().into_owned();
    let descriptor = open(&path, &name)?;
    let size = size(&descriptor, &name)?;
    Ok(part(descriptor, 0, size))
}

/// Opens the part of a file of `http.response.zerocopysend`. Returns `None` if it is empty.
///
/// Without an offset the part begins at the descriptor's position, which is moved to the part's end, as by
/// `os.sendfile`.
pub(crate) fn of_descriptor(message: &Bound<'_, PyDict>) -> PyResult<Option<FileOut>> {
    let py = message.py();
    let file = message
        .get_item(intern!(py, "file"))?
        .ok_or_else(|| PyKeyError::new_err("'http.response.zerocopysend' has no 'file'"))?;
    let number = if file.is_instance_of::<PyInt>() {
        file.extract()
    } else {
        file.call_method0(intern!(py, "fileno")).and_then(|number| number.extract())
    };
    let number: i32 = number.map_err(|_| {
        PyTypeError::new_err(format!("'file' must be an open file, not {}", type_name(&file)))
    })?;
    let name = format!("/proc/self/fd/{number}");
    let descriptor = open(name.as_ref(), &name)?;
    let size = size(&descriptor, &name)?;
    let (given, count) = (number_of(message, "offset")?, number_of(message, "count")?);
    let os = py.import(intern!(py, "os"))?;
    let offset = match given {
        Some(offset) => offset,
        None => os.call_method1(intern!(py, "lseek"), (number, 0, 1))?.extract()?,
    };
    let len = size.saturating_sub(offset).min(count.unwrap_or(u64::MAX));
    if given.is_none() {
        os.call_method1(intern!(py, "lseek"), (number, offset + len, 0))?;
    }
    Ok(part(descriptor, offset, len))
}

/// Returns the rest of an open file from its position, if it is of one of Python's own types and its `read`
/// is not replaced. Other objects with a descriptor, such as a `GzipFile`, may read other bytes than the
/// descriptor has.
pub(crate) fn rest_of(file: &Bound<'_, PyAny>) -> Option<FileOut> {
    let py = file.py();
    let read = reader(file).ok()?;
    let owner = read.getattr(intern!(py, "__self__")).ok()?;
    if !is_plain(&owner).ok()? || !owner.call_method0(intern!(py, "readable")).ok()?.is_truthy().ok()? {
        return None;
    }
    owner.call_method0(intern!(py, "flush")).ok()?;
    let offset: u64 = owner.call_method0(intern!(py, "tell")).ok()?.extract().ok()?;
    let number: i32 = owner.call_method0(intern!(py, "fileno")).ok()?.extract().ok()?;
    let name = format!("/proc/self/fd/{number}");
    let descriptor = open(name.as_ref(), &name).ok()?;
    let size = size(&descriptor, &name).ok()?;
    part(descriptor, offset, size.saturating_sub(offset))
}

/// Returns the `read` of a file-like object, or of the inner file of a wrapper of `tempfile`.
fn reader<'py>(file: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyCFunction>> {
    let py = file.py();
    let wrapper = py.import(intern!(py, "tempfile"))?.getattr(intern!(py, "_TemporaryFileWrapper"))?;
    let inner = file.get_type().is(&wrapper).then(|| file.getattr(intern!(py, "file"))).transpose()?;
    let read = inner.as_ref().unwrap_or(file).getattr(intern!(py, "read"))?;
    let read = read.cast_into::<PyCFunction>()?;
    if read.getattr(intern!(py, "__name__"))?.eq("read")? {
        Ok(read)
    } else {
        Err(PyTypeError::new_err("'read' is another function"))
    }
}

/// Returns whether the file is exactly of one of the types that `open` returns for bytes.
fn is_plain(file: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = file.py();
    let io = py.import(intern!(py, "io"))?;
    let (kind, raw) = (file.get_type(), io.getattr(intern!(py, "FileIO"))?);
    if kind.is(&raw) {
        return Ok(true);
    }
    let is_buffered = kind.is(&io.getattr(intern!(py, "BufferedReader"))?)
        || kind.is(&io.getattr(intern!(py, "BufferedRandom"))?);
    Ok(is_buffered && file.getattr(intern!(py, "raw"))?.get_type().is(&raw))
}

fn part(descriptor: OwnedFd, offset: u64, len: u64) -> Option<FileOut> {
    (len > 0).then_some(FileOut { descriptor, offset, len })
}

fn number_of(message: &Bound<'_, PyDict>, key: &str) -> PyResult<Option<u64>> {
    let Some(number) = message.get_item(key)?.filter(|number| !number.is_none()) else { return Ok(None) };
    if !number.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!("'{key}' must be an int, not {}", type_name(&number))));
    }
    let number = number
        .extract()
        .map_err(|_| PyValueError::new_err(format!("'{key}' must be a number of bytes, 0 or more")))?;
    Ok(Some(number))
}

/// Opens a file. It does not block on special files such as pipes.
fn open(path: &std::path::Path, name: &str) -> PyResult<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| os_error(error, name))
}

/// Returns the size of a regular file.
fn size(descriptor: &OwnedFd, name: &str) -> PyResult<u64> {
    let status = fstat(descriptor).map_err(|error| os_error(error, name))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(PyValueError::new_err(format!("{name} is not a regular file")));
    }
    Ok(status.st_size.cast_unsigned())
}

/// Creates the error that Python's `open` would raise: of the class of the number, with the file's name.
fn os_error(error: Errno, name: &str) -> PyErr {
    let text = std::io::Error::from(error).to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
    PyOSError::new_err((error.raw_os_error(), text, name.to_owned()))
}
