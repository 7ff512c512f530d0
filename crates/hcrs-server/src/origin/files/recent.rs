//! The files that an edge thread has just opened, so that many requests for one file at a time are answered from
//! memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::resource::Resource;
use crate::settings::FilesSettings;

/// How long a file is not looked up again. A change shows after that at the latest, and even a rare request finds its
/// file in this state at most once in so short a time: the cost of a look-up every 20 ms is nothing beside the requests
/// that come in it.
const FRESH: Duration = Duration::from_millis(20);

/// The most files.
const FILES_MAX: usize = 256;

/// The most bytes of their contents and names.
const BYTES_MAX: usize = 4 << 20;

/// The files that were opened within the last moments, by route and name. A route is known by the address of its
/// settings, so that everything has to be forgotten once other settings may have that address.
#[derive(Debug, Default)]
pub(super) struct Recent {
    files: RefCell<HashMap<Vec<u8>, Rc<Resource>>>,
    bytes: Cell<usize>,
    /// Memory for a key.
    key: RefCell<Vec<u8>>,
}

impl Recent {
    /// Returns the file of this name at the route with these settings.
    pub(super) fn get(&self, of: &FilesSettings, name: &[u8], now: Instant) -> Option<Rc<Resource>> {
        let key = &mut *self.key.borrow_mut();
        write_key(key, of, name);
        let files = self.files.borrow();
        let resource = files.get(key.as_slice())?;
        is_fresh(resource, now).then(|| Rc::clone(resource))
    }

    /// Stores a file that was opened now.
    pub(super) fn put(&self, of: &FilesSettings, name: &[u8], resource: &Rc<Resource>, now: Instant) {
        let mut key = Vec::new();
        write_key(&mut key, of, name);
        let size = |key: &[u8], resource: &Resource| key.len() + resource.memory();
        let added = size(&key, resource);
        let files = &mut *self.files.borrow_mut();
        let fits = |files: &HashMap<_, _>, bytes| files.len() < FILES_MAX && bytes + added <= BYTES_MAX;
        if !fits(files, self.bytes.get()) {
            files.retain(|_, resource| is_fresh(resource, now));
            self.bytes.set(files.iter().map(|(key, resource)| size(key, resource)).sum());
            if !fits(files, self.bytes.get()) {
                return;
            }
        }
        let replaced = files.get(&key).map_or(0, |old| size(&key, old));
        files.insert(key, Rc::clone(resource));
        self.bytes.set(self.bytes.get() + added - replaced);
    }

    /// Forgets all files.
    pub(super) fn clear(&self) {
        self.files.take();
        self.key.take();
        self.bytes.set(0);
    }
}

fn is_fresh(resource: &Resource, now: Instant) -> bool {
    now.saturating_duration_since(resource.opened) < FRESH
}

fn write_key(key: &mut Vec<u8>, of: &FilesSettings, name: &[u8]) {
    key.clear();
    key.extend_from_slice(&std::ptr::from_ref(of).addr().to_ne_bytes());
    key.extend_from_slice(name);
}
