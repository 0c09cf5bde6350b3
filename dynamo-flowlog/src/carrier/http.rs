//! Headers of the `http` crate, as used by hyper, axum, reqwest and tower.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Extract, Inject};

impl Extract for HeaderMap {
    fn values(&self, name: &str, found: &mut dyn FnMut(&[u8])) {
        self.get_all(name).iter().for_each(|value| found(value.as_bytes()));
    }
}

impl Inject for HeaderMap {
    fn set(&mut self, name: &'static str, value: &str) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            self.insert(name, value);
        }
    }
}
