//! The sockets of an address, and the ways by which its threads pass each other what has arrived at the wrong one.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use socket2::Socket;
use tokio::sync::mpsc;

use super::ids::{ID_LEN, destination, may_have_id_of_client};
use super::keys::Keys;
use super::socket::Datagram;
use super::succession::message;
use crate::bind::udp::BoundUdp;

/// The most datagrams that may wait for a thread. More are dropped, as the network drops them.
const WAITING: usize = 1024;

/// The part of a thread in an address for HTTP/3.
#[derive(Debug)]
pub(crate) struct QuicListener {
    /// The URL that a client would open.
    pub address: String,
    /// The socket that the thread sends from.
    pub(super) socket: UdpSocket,
    /// Whether the thread also receives from it.
    pub(super) receives: bool,
    pub(crate) passing: Passing,
    /// Datagrams that other threads have received for this one.
    pub(super) passed: mpsc::Receiver<Datagram>,
}

/// Decides which thread a datagram is for.
#[derive(Debug, Clone)]
pub(crate) struct Passing {
    pub(super) keys: Keys,
    pub(super) thread: u16,
    /// The address of the socket.
    own: SocketAddr,
    /// The way to the server that had the socket before, which still has its connections.
    predecessor: Option<Arc<Socket>>,
    /// The ways to all threads, by number.
    ways: Vec<mpsc::Sender<Datagram>>,
    /// The threads that the connections of this one's socket are spread over.
    sharers: Vec<u16>,
}

/// Returns the listeners of each thread.
pub(crate) fn listeners(
    bound: Vec<BoundUdp>,
    threads: usize,
    predecessor: Option<Socket>,
) -> io::Result<Vec<Vec<QuicListener>>> {
    let predecessor = predecessor.map(Arc::new);
    let keys = Keys::random();
    let mut by_thread: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
    for bound in bound {
        let (ways, passed): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel(WAITING)).unzip();
        let sockets = bound.sockets.len();
        for (at, passed) in passed.into_iter().enumerate() {
            let thread = u16::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
            let receives = at < sockets;
            let sharers = (thread..).step_by(sockets).take_while(|&sharer| usize::from(sharer) < threads);
            let passing = Passing {
                keys: keys.clone(),
                thread,
                own: bound.sockets[at % sockets].local_addr()?,
                predecessor: predecessor.clone(),
                ways: ways.clone(),
                sharers: if receives { sharers.collect() } else { Vec::new() },
            };
            by_thread[at].push(QuicListener {
                address: bound.address.clone(),
                socket: bound.sockets[at % sockets].try_clone()?,
                receives,
                passing,
                passed,
            });
        }
    }
    Ok(by_thread)
}

impl Passing {
    /// Returns the datagram if it is for this thread; passes it on otherwise.
    pub(super) fn keep(&self, datagram: Datagram) -> Option<Datagram> {
        let Some(id) = destination(&datagram.bytes) else { return Some(datagram) };
        let thread = if let Some(thread) = self.keys.ids.thread(id) {
            thread
        } else {
            if id.len() == ID_LEN {
                self.send_back(&datagram);
                if self.predecessor.is_some() && !may_have_id_of_client(&datagram.bytes) {
                    return None;
                }
            }
            // The client has chosen the id, for a handshake. If the predecessor has, for one that it has begun, the
            // datagram cannot be decrypted here.
            match self.sharers[..] {
                [] | [_] => self.thread,
                ref sharers => sharers[self.keys.ids.place(id, sharers.len())],
            }
        };
        if thread == self.thread {
            return Some(datagram);
        }
        self.send(thread, datagram);
        None
    }

    /// Whether this is the part in the address of the socket.
    pub(super) fn is_of(&self, own: SocketAddr) -> bool {
        self.own == own
    }

    /// Passes a datagram of the successor's to the thread of its connection, or on to the predecessor's.
    pub(super) fn pass(&self, datagram: Datagram) {
        match destination(&datagram.bytes).and_then(|id| self.keys.ids.thread(id)) {
            Some(thread) => self.send(thread, datagram),
            None => self.send_back(&datagram),
        }
    }

    /// Sends a datagram to the predecessor, if there is one.
    fn send_back(&self, datagram: &Datagram) {
        if let Some(predecessor) = &self.predecessor {
            // It may have ended, or have no room.
            let _dropped = predecessor.send(&message(self.own, datagram));
        }
    }

    fn send(&self, thread: u16, datagram: Datagram) {
        if let Some(way) = self.ways.get(usize::from(thread)) {
            // One that finds no room is lost, as any datagram may be.
            let _dropped = way.try_send(datagram);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::udp::bind_udp;
    use crate::settings::Bind;

    fn listeners_of(threads: usize, sockets: usize) -> Vec<QuicListener> {
        let bind = Bind::Tcp { host: "127.0.0.1".into(), port: 0 };
        let bound = bind_udp(&[bind], sockets, |_| Vec::new()).unwrap();
        listeners(bound, threads, None).unwrap().into_iter().flatten().collect()
    }

    fn datagram(bytes: &[u8]) -> Datagram {
        Datagram { remote: ([127, 0, 0, 1], 9).into(), local: None, ecn: None, bytes: bytes.into() }
    }

    impl Datagram {
        fn copy(&self) -> Self {
            Self { bytes: self.bytes.clone(), ..*self }
        }
    }

    /// The first packet of a connection whose client has chosen this id.
    fn initial(id: u8) -> Datagram {
        datagram(&[&[0xc0, 0, 0, 0, 1, 8][..], &[id; 8], &[0]].concat())
    }

    fn short(id: &[u8]) -> Datagram {
        datagram(&[&[0x40], id, &[0; 20]].concat())
    }

    #[test]
    fn datagrams_of_a_connection_reach_its_thread_wherever_they_arrive() {
        let mut threads = listeners_of(3, 3);
        for owner in 0..3 {
            let thread = threads[owner].passing.thread;
            let id = threads[owner].passing.keys.ids.id(thread);
            for (at, here) in threads.iter().enumerate() {
                let kept = here.passing.keep(short(&id));
                assert_eq!(kept.is_some(), at == owner);
            }
            let passed: usize = std::iter::from_fn(|| threads[owner].passed.try_recv().ok()).count();
            assert_eq!(passed, 2);
        }
        assert!((0..50).all(|id| threads[1].passing.keep(initial(id)).is_some()), "its own clients");
        assert!(threads[1].passing.keep(datagram(b"?")).is_some());
    }

    #[test]
    fn the_clients_of_one_socket_are_spread_over_the_threads_that_share_it() {
        let threads = listeners_of(3, 1);
        assert_eq!(threads.iter().map(|thread| thread.receives).collect::<Vec<_>>(), [true, false, false]);
        let kept = (0..200).filter(|&id| threads[0].passing.keep(initial(id)).is_some()).count();
        assert!((30..120).contains(&kept), "{kept} of 200");
        let threads = listeners_of(4, 2);
        assert_eq!(threads[0].passing.sharers, [0, 2]);
        assert_eq!(threads[1].passing.sharers, [1, 3]);
    }

    #[test]
    fn datagrams_beyond_the_room_are_dropped() {
        let mut threads = listeners_of(2, 2);
        let id = threads[0].passing.keys.ids.id(1);
        for _ in 0..WAITING + 10 {
            assert!(threads[0].passing.keep(short(&id)).is_none());
        }
        assert_eq!(std::iter::from_fn(|| threads[1].passed.try_recv().ok()).count(), WAITING);
        drop(threads.pop());
        assert!(threads[0].passing.keep(short(&id)).is_none(), "a thread that has ended gets nothing");
    }

    #[test]
    fn datagrams_of_a_predecessors_connections_are_passed_to_it() {
        let bind = Bind::Tcp { host: "127.0.0.1".into(), port: 0 };
        let bound = bind_udp(&[bind], 1, |_| Vec::new()).unwrap();
        let old = listeners(vec![bound[0].share().unwrap()], 1, None).unwrap().remove(0).remove(0);
        let (ours, theirs) = super::super::succession::pair().unwrap();
        let new = listeners(bound, 1, Some(theirs)).unwrap().remove(0).remove(0);
        let (old_id, new_id) = (old.passing.keys.ids.id(0), new.passing.keys.ids.id(0));
        assert!(new.passing.keep(short(&new_id)).is_some() && new.passing.keep(initial(1)).is_some());
        assert!(new.passing.keep(short(&old_id)).is_none());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut passed = old.passed;
        runtime.block_on(async {
            let receiving = super::super::succession::receive(ours, vec![old.passing]);
            tokio::select! {
                () = receiving => panic!("the successor has not ended"),
                datagram = passed.recv() => assert_eq!(datagram.unwrap().bytes, short(&old_id).bytes),
            }
        });
        drop(passed);
        assert!(new.passing.keep(short(&old_id)).is_none(), "one that has ended gets nothing");
    }

    #[test]
    fn a_new_client_may_choose_an_id_as_long_as_those_of_a_predecessor() {
        let bind = Bind::Tcp { host: "127.0.0.1".into(), port: 0 };
        let bound = bind_udp(&[bind], 1, |_| Vec::new()).unwrap();
        let (ours, theirs) = super::super::succession::pair().unwrap();
        let new = listeners(bound, 1, Some(theirs)).unwrap().remove(0).remove(0);
        let first = datagram(&[&[0xc0, 0, 0, 0, 1, 13][..], &[7; ID_LEN], &[0]].concat());
        assert!(new.passing.keep(first.copy()).is_some());
        // It may be of a handshake that the predecessor has begun.
        assert_eq!(
            ours.recv(&mut [std::mem::MaybeUninit::uninit(); 256]).unwrap(),
            message(first.remote, &first).len()
        );
        drop(ours);
        assert!(new.passing.keep(first).is_some());
    }

    #[test]
    fn what_is_of_no_connection_goes_on_to_the_first_of_several_predecessors() {
        let bind = Bind::Tcp { host: "127.0.0.1".into(), port: 0 };
        let mut bound = bind_udp(&[bind], 1, |_| Vec::new()).unwrap();
        let first = listeners(vec![bound[0].share().unwrap()], 1, None).unwrap().remove(0).remove(0);
        let (ours, theirs) = super::super::succession::pair().unwrap();
        let second = listeners(vec![bound.remove(0)], 1, Some(theirs)).unwrap().remove(0).remove(0);
        let late = short(&first.passing.keys.ids.id(0));
        second.passing.pass(late.copy());
        let mut room = [std::mem::MaybeUninit::uninit(); 256];
        assert_eq!(ours.recv(&mut room).unwrap(), message(late.remote, &late).len());
    }
}
