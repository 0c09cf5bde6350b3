//! NATS headers.
//!
//! Unlike HTTP header names, NATS header names are case-sensitive, and the sender may have written
//! `Traceparent`.

use async_nats::HeaderMap;
use async_nats::header::HeaderName;

use super::{Extract, Inject};

impl Extract for HeaderMap {
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8])) {
        let named =
            self.iter().filter(|(key, _)| AsRef::<str>::as_ref(*key).eq_ignore_ascii_case(name));
        named.flat_map(|(_, values)| values).for_each(|value| found(value.as_str().as_bytes()));
    }
}

impl Inject for HeaderMap {
    fn set(&mut self, name: &'static str, value: &str) {
        let is_named = |key: &&HeaderName| AsRef::<str>::as_ref(*key).eq_ignore_ascii_case(name);
        let named: Vec<HeaderName> =
            self.iter().map(|(key, _)| key).filter(is_named).cloned().collect();
        // A header cannot be removed, so every spelling of the name gets the value.
        if named.is_empty() {
            self.insert(name, value);
        }
        named.into_iter().for_each(|key| self.insert(key, value));
    }
}
