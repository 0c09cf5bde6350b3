//! gRPC metadata, a wrapper around the `http` crate's headers.

use http::HeaderMap;
use tonic::metadata::MetadataMap;

use super::{Extract, Inject};

impl Extract for MetadataMap {
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8])) {
        Extract::values(AsRef::<HeaderMap>::as_ref(self), name, found);
    }
}

impl Inject for MetadataMap {
    fn set(&mut self, name: &'static str, value: &str) {
        AsMut::<HeaderMap>::as_mut(self).set(name, value);
    }
}
