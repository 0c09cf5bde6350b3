//! gRPC metadata.

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};

use super::{Extract, Inject};

impl Extract for MetadataMap {
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8])) {
        self.get_all(name).iter().for_each(|value| found(value.as_bytes()));
    }
}

impl Inject for MetadataMap {
    fn set(&mut self, name: &'static str, value: &str) {
        if let (Ok(name), Ok(value)) = (AsciiMetadataKey::from_bytes(name.as_bytes()), AsciiMetadataValue::try_from(value)) {
            self.insert(name, value);
        }
    }
}
