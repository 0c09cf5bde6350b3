//! Carriers: what brings a flow's context from process to process. Maps of strings here, others' header maps beside it.

#[cfg(feature = "http")]
mod http;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "tonic")]
mod tonic;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::process::Command;

/// What a context is read from.
pub trait Extract {
    /// Tells every value of a header, in order. Names are compared without regard to case.
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8]));
}

/// What a context is written to.
pub trait Inject {
    /// Sets a header in place of what it held; `value` is printable ASCII. Names are compared without regard to case.
    fn set(&mut self, name: &'static str, value: &str);
}

/// Pairs, as they came: several of one name are several values.
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

/// A child process, by its environment: `TRACEPARENT` and `TRACESTATE`. Of `tokio`'s, use `as_std_mut()`.
impl Inject for Command {
    fn set(&mut self, name: &'static str, value: &str) {
        self.env(name.to_ascii_uppercase().replace('-', "_"), value);
    }
}
