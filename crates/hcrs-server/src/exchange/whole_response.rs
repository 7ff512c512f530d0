//! Responses that the edge has as a whole.

use bytes::Bytes;
use hcrs_http::ResponseHead;

use super::file_body::FileBody;
use super::response::Piece;

/// A response that its origin has as a whole.
#[derive(Debug)]
pub(crate) struct WholeResponse {
    /// The head, which announces the body's length.
    pub head: ResponseHead,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
}

/// A response that its origin has as a whole, but for the contents of files.
#[derive(Debug)]
pub(crate) struct PiecedResponse {
    /// The head, which announces the body's length.
    pub head: ResponseHead,
    /// The pieces of the body, none of them empty.
    pub body: Vec<BodyPiece>,
}

impl From<WholeResponse> for PiecedResponse {
    fn from(WholeResponse { head, body }: WholeResponse) -> Self {
        let body = if body.is_empty() { Vec::new() } else { vec![BodyPiece::bytes(body)] };
        Self { head, body }
    }
}

/// A piece of a body that the edge sends itself.
#[derive(Debug)]
pub(crate) struct BodyPiece(pub(super) Piece);

impl BodyPiece {
    /// Returns a piece of these bytes.
    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Piece::Bytes(bytes.into()))
    }

    /// Returns a piece with the contents of a file.
    pub(crate) fn file(file: FileBody) -> Self {
        Self(Piece::File(Box::new(file)))
    }
}
