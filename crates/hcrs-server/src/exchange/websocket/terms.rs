//! The settings and resources that the WebSockets of an edge thread share.

use std::rc::Rc;
use std::time::Duration;

use hcrs_ws::{DeflatePool, MessageRoom};

/// The settings and shared resources of an edge thread's WebSockets.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(super) settings: hcrs_ws::Settings,
    pub(super) close_timeout: Duration,
    /// The longest gap within a message that is being read.
    pub(super) message_timeout: Duration,
    pub(super) pool: Rc<DeflatePool>,
    pub(super) room: Rc<MessageRoom>,
}

impl Terms {
    pub(crate) fn new(settings: &crate::ConnectionSettings) -> Rc<Self> {
        let compression = settings.websocket.compression.clone().unwrap_or_default();
        Rc::new(Self {
            settings: settings.websocket.clone(),
            close_timeout: settings.websocket_close_timeout,
            message_timeout: settings.body_timeout,
            pool: Rc::new(DeflatePool::new(&compression)),
            room: MessageRoom::of_thread(&settings.websocket),
        })
    }

    /// Returns the terms of WebSockets that begin from now on, with the resources of those that are open.
    pub(crate) fn renewed(&self, settings: &crate::ConnectionSettings) -> Rc<Self> {
        Rc::new(Self {
            settings: settings.websocket.clone(),
            close_timeout: settings.websocket_close_timeout,
            message_timeout: settings.body_timeout,
            pool: Rc::clone(&self.pool),
            room: Rc::clone(&self.room),
        })
    }

    /// Begins the turn of a connection's task.
    pub(crate) fn begin_turn(&self) {
        self.pool.begin_turn();
    }

    /// Returns room for the messages of one connection's WebSockets.
    pub(crate) fn room_of_connection(&self) -> Rc<MessageRoom> {
        MessageRoom::of_connection(&self.room, &self.settings)
    }
}
