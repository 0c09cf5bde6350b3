//! Carriers that propagate a flow's context between processes.
//!
//! This module covers maps of strings, lists of pairs and the environment of a child process; its
//! submodules cover the header maps of other crates.

#[cfg(feature = "http")]
mod http;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "tonic")]
mod tonic;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::process::Command;

/// Carrier that a context is read from.
pub trait Extract {
    /// Calls `found` with every value of the header `name`, in order.
    ///
    /// Header names are compared case-insensitively.
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8]));
}

/// Carrier that a context is written to.
pub trait Inject {
    /// Sets the header `name` to `value`, replacing any values that it had.
    ///
    /// Header names are compared case-insensitively. `value` is printable ASCII.
    fn set(&mut self, name: &'static str, value: &str);
}

/// Pairs in the order received; pairs with equal names are several values of one header.
impl<K: AsRef<str>, V: AsRef<[u8]>> Extract for [(K, V)] {
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8])) {
        each(self.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), name, found);
    }
}

impl<K: AsRef<str>, V: AsRef<[u8]>> Extract for Vec<(K, V)> {
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8])) {
        self.as_slice().values(name, found);
    }
}

impl<K: AsRef<str>, V: AsRef<[u8]>, S: BuildHasher> Extract for HashMap<K, V, S> {
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8])) {
        each(self.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), name, found);
    }
}

impl<K: AsRef<str>, V: AsRef<[u8]>> Extract for BTreeMap<K, V> {
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8])) {
        each(self.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), name, found);
    }
}

fn each<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a [u8])>,
    name: &str,
    found: &mut dyn FnMut(&[u8]),
) {
    pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).for_each(|(_, value)| found(value));
}

impl<S: BuildHasher> Inject for HashMap<String, String, S> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value.to_owned());
    }
}

impl Inject for BTreeMap<String, String> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value.to_owned());
    }
}

impl Inject for Vec<(String, String)> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value.to_owned()));
    }
}

/// Passes the context to a child process in its environment, as `TRACEPARENT` and `TRACESTATE`.
///
/// For `tokio`'s `Command`, use `as_std_mut()`.
impl Inject for Command {
    fn set(&mut self, name: &'static str, value: &str) {
        self.env(name.to_ascii_uppercase().replace('-', "_"), value);
    }
}
