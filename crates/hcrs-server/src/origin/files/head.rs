//! The head of a response with a file.

use hcrs_http::{ResponseHead, ResponseHeadWriter};

use super::resource::{Representation, Resource};

/// A head that is being written. Fields that the app has given it are kept.
#[derive(Debug)]
pub(super) struct HeadDraft<'a> {
    block: Vec<u8>,
    writer: ResponseHeadWriter,
    of_app: Option<&'a ResponseHead>,
}

impl<'a> HeadDraft<'a> {
    /// Begins a head with the fields of the app that do not describe the body that it has sent itself.
    pub(super) fn new(status: u16, of_app: Option<&'a ResponseHead>) -> Self {
        let mut block = Vec::with_capacity(384);
        let writer = ResponseHeadWriter::begin(&mut block, status);
        let mut draft = Self { block, writer, of_app };
        let has_content = matches!(status, 200 | 206);
        for (name, value) in of_app.iter().flat_map(|head| head.fields()) {
            let name = name.to_ascii_lowercase();
            if is_kept(&name) && (has_content || !name.starts_with(b"content-")) {
                draft.writer.field(&mut draft.block, &name, value);
            }
        }
        draft
    }

    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.add_bytes(name, value.as_bytes());
    }

    pub(super) fn add_bytes(&mut self, name: &str, value: &[u8]) {
        self.writer.field(&mut self.block, name.as_bytes(), value);
    }

    /// Adds a field unless the app has given it.
    fn add_default(&mut self, name: &str, value: &str) {
        if self.of_app.is_none_or(|head| value_of(head, name.as_bytes()).is_none()) {
            self.add(name, value);
        }
    }

    /// Returns the content type of the file: the app's, if it has given one.
    pub(super) fn content_type<'b>(&self, resource: &'b Resource) -> &'b [u8]
    where
        'a: 'b,
    {
        let given = self.of_app.and_then(|head| value_of(head, b"content-type"));
        given.filter(|given| !given.is_empty()).unwrap_or(resource.content_type.as_bytes())
    }

    /// Adds the fields that a response has with the file, and also without it because the client has the file.
    pub(super) fn cached_file(&mut self, resource: &Resource, sent: &Representation) {
        self.add("etag", &sent.validators.etag);
        self.add("last-modified", &sent.validators.last_modified());
        if let Some(value) = &resource.cache_control {
            self.add_default("cache-control", value);
        }
        if !resource.codings.is_empty() {
            self.add("vary", "accept-encoding");
        }
    }

    /// Adds the fields of a response with the file or parts of it, except its type and length.
    pub(super) fn file(&mut self, resource: &Resource, sent: &Representation) {
        self.cached_file(resource, sent);
        self.add("accept-ranges", "bytes");
        self.add_default("x-content-type-options", "nosniff");
        if let Some(coding) = sent.coding {
            self.add("content-encoding", coding.name());
        }
        if resource.is_attachment {
            self.add_default("content-disposition", "attachment");
        }
    }

    /// Adds the fields of a response with the whole file.
    pub(super) fn whole_file(&mut self, resource: &Resource, sent: &Representation) {
        self.file(resource, sent);
        self.add_bytes("content-type", self.content_type(resource));
        self.add("content-length", itoa::Buffer::new().format(sent.len));
    }

    pub(super) fn finish(mut self) -> ResponseHead {
        self.writer.finish(&mut self.block);
        ResponseHead::parse(self.block.into()).expect("invariant: a head just written has its form")
    }
}

/// Returns the first value of a field that an app has given. Apps write names in any case.
pub(super) fn value_of<'a>(head: &'a ResponseHead, name: &[u8]) -> Option<&'a [u8]> {
    head.fields().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Whether a field of the app is kept when a file takes the place of its body. Those that describe the body are not,
/// nor those by which the app names the file.
fn is_kept(name: &[u8]) -> bool {
    const DROPPED: [&[u8]; 15] = [
        b"accept-ranges",
        b"connection",
        b"content-digest",
        b"content-encoding",
        b"content-length",
        b"content-md5",
        b"content-range",
        // Added with the length.
        b"content-type",
        b"digest",
        b"etag",
        b"last-modified",
        b"repr-digest",
        b"trailer",
        b"transfer-encoding",
        b"x-sendfile",
    ];
    !DROPPED.contains(&name) && !name.starts_with(b"x-accel-")
}
