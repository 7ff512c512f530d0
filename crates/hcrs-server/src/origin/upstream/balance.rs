//! The choice of a server for a request. No clocks, no sockets.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The state of a server that a choice depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    /// Its URL, which tells it from the others in hashes.
    pub name: &'a str,
    /// The number of its requests.
    pub busy: usize,
    /// Whether requests are sent to it.
    pub is_up: bool,
    /// Whether it has failed for this request.
    pub has_failed: bool,
}

/// Chooses among servers: the first in the order of `hash` if there is one, otherwise the least busy. Equally busy ones
/// take turns, by `turn`. Servers that are down are chosen if no other is left, because they may be up again.
pub(super) fn choose(servers: &[Candidate<'_>], hash: Option<&[u8]>, turn: usize) -> Option<usize> {
    let among = |takes: &dyn Fn(&Candidate<'_>) -> bool| {
        let places = (0..servers.len()).filter(|&at| takes(&servers[at]));
        match hash {
            Some(key) => places.max_by_key(|&at| weight(key, servers[at].name)),
            None => places.min_by_key(|&at| {
                (servers[at].busy, (at + servers.len() - turn % servers.len()) % servers.len())
            }),
        }
    };
    among(&|server| server.is_up && !server.has_failed).or_else(|| among(&|server| !server.has_failed))
}

/// Returns the weight of a server for a key (rendezvous hashing): when a server is added or removed, only the keys that
/// it gets or had move. It is the same in all threads.
fn weight(key: &[u8], name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, busy: usize) -> Candidate<'_> {
        Candidate { name, busy, is_up: true, has_failed: false }
    }

    #[test]
    fn the_least_busy_server_is_chosen_and_equals_take_turns() {
        let servers = [server("a", 2), server("b", 1), server("c", 1)];
        let chosen: Vec<_> = (0..4).map(|turn| choose(&servers, None, turn).unwrap()).collect();
        assert_eq!(chosen, [1, 1, 2, 1]);
        let equal = [server("a", 0), server("b", 0), server("c", 0)];
        let chosen: Vec<_> = (0..6).map(|turn| choose(&equal, None, turn).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn servers_that_are_down_come_last_and_those_that_have_failed_never() {
        let mut servers = [server("a", 0), server("b", 9)];
        servers[0].is_up = false;
        assert_eq!(choose(&servers, None, 0), Some(1));
        servers[1].has_failed = true;
        assert_eq!(choose(&servers, None, 0), Some(0));
        servers[0].has_failed = true;
        assert_eq!(choose(&servers, None, 0), None);
        assert_eq!(choose(&[], None, 3), None);
    }

    #[test]
    fn a_key_moves_only_when_its_server_goes() {
        let names: Vec<String> = (0..8).map(|at| format!("http://10.0.0.{at}")).collect();
        let all: Vec<_> = names.iter().map(|name| server(name, 0)).collect();
        let mut counts = [0; 8];
        for key in 0..4000_u32 {
            let key = key.to_le_bytes();
            let before = choose(&all, Some(&key), 0).unwrap();
            counts[before] += 1;
            assert_eq!(choose(&all, Some(&key), 5), Some(before), "the turn does not matter");
            let mut fewer = all.clone();
            fewer[3].is_up = false;
            let after = choose(&fewer, Some(&key), 0).unwrap();
            assert!(after == before || before == 3);
        }
        assert!(counts.iter().all(|&count| (350..650).contains(&count)), "{counts:?}");
    }
}
