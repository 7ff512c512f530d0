//! Whether a request is sent again. No clocks, no sockets.

/// How an attempt has ended before a byte of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// There was no connection.
    Unconnected,
    /// The connection was closed before a byte of the request was written.
    Unsent,
    /// The connection, which had carried other requests before, was closed after the request: it may have been closed
    /// before the server could see it.
    LostWithReused,
    /// The connection was closed after the request, or the response was late or none.
    Lost,
}

/// The next step of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is sent to another server.
    OtherServer,
    /// It is sent over a new connection.
    NewConnection,
    /// It has failed.
    Fail,
}

/// The facts about a request that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempted {
    /// Whether its method may be repeated (RFC 9110 §9.2.2), and it has no body.
    pub is_repeatable: bool,
    /// Whether a byte of its body has left.
    pub has_sent_body: bool,
    /// The number of attempts that are left.
    pub left: u8,
}

/// Decides after an attempt has ended. A request that a server may have begun is sent again only if it may be repeated
/// and the connection was an old one.
pub(super) fn next(ended: Ended, of: Attempted) -> Next {
    if of.left == 0 || of.has_sent_body {
        return Next::Fail;
    }
    match ended {
        Ended::Unconnected => Next::OtherServer,
        Ended::Unsent => Next::NewConnection,
        Ended::LostWithReused if of.is_repeatable => Next::NewConnection,
        Ended::LostWithReused | Ended::Lost => Next::Fail,
    }
}

/// Whether a method may be repeated (RFC 9110 §9.2.2).
pub(super) fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_begun_is_never_sent_again_unless_it_may_be_repeated() {
        for ended in [Ended::Unconnected, Ended::Unsent, Ended::LostWithReused, Ended::Lost] {
            for is_repeatable in [false, true] {
                for has_sent_body in [false, true] {
                    for left in 0..3 {
                        let next = next(ended, Attempted { is_repeatable, has_sent_body, left });
                        let is_certainly_unbegun = matches!(ended, Ended::Unconnected | Ended::Unsent);
                        if next == Next::Fail {
                            assert!(left == 0 || has_sent_body || !is_certainly_unbegun);
                        } else {
                            assert!(left > 0 && !has_sent_body);
                            assert!(is_certainly_unbegun || is_repeatable && ended == Ended::LostWithReused);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_post_may_not_be_repeated() {
        assert!(is_idempotent(b"GET") && is_idempotent(b"DELETE"));
        assert!(!is_idempotent(b"POST") && !is_idempotent(b"PATCH") && !is_idempotent(b"get"));
    }
}
