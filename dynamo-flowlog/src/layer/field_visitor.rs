//! Collects the fields of events and spans.

use std::cell::Cell;
use std::fmt::{Debug, Write};
use std::ops::Range;

use flowlog_schema::{ErrorInfo, Scalar};
use smallvec::SmallVec;
use tracing::field::{Field, Visit};

use crate::failure::Failure;

/// Names and values of fields; up to eight are stored inline.
pub(super) type Fields<'a> = SmallVec<[(&'static str, Scalar<'a>); 8]>;

/// Fields of an event or a span. Strings share one buffer, so that reuse needs no allocation.
#[derive(Debug, Default)]
pub(super) struct FieldVisitor {
    text: String,
    message: Option<Range<usize>>,
    target: Option<Range<usize>>,
    values: Vec<(&'static str, Value)>,
}

#[derive(Debug, Clone)]
enum Value {
    Text(Range<usize>),
    Int(i64),
    Uint(u64),
    Float(f64),
    Bool(bool),
}

/// Maximum capacity of the text buffer that a thread retains, in bytes.
const MAX_RETAINED_BYTES: usize = 16 * 1024;

thread_local! {
    static VISITOR: Cell<Option<Box<FieldVisitor>>> = const { Cell::new(None) };
}

/// Calls `work` with the thread's visitor, or with a new one if a value being formatted emits an
/// event itself.
pub(super) fn with_visitor(work: impl FnOnce(&mut FieldVisitor)) {
    let mut visitor = VISITOR.try_with(Cell::take).ok().flatten().unwrap_or_default();
    work(&mut visitor);
    if visitor.text.capacity() <= MAX_RETAINED_BYTES {
        visitor.clear();
        let _ = VISITOR.try_with(|kept| kept.set(Some(visitor)));
    }
}

impl FieldVisitor {
    fn clear(&mut self) {
        self.text.clear();
        self.values.clear();
        (self.message, self.target) = (None, None);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn message(&self) -> &str {
        self.message.clone().and_then(|range| self.text.get(range)).unwrap_or_default()
    }

    /// Target of the module that logged, if the event came through the `log` crate.
    pub(super) fn target(&self) -> Option<&str> {
        self.target.clone().and_then(|range| self.text.get(range))
    }

    /// Returns all fields except the message.
    pub(super) fn fields(&self) -> Fields<'_> {
        let scalar = |value: &Value| match value {
            Value::Text(range) => self.text.get(range.clone()).unwrap_or_default().into(),
            Value::Int(value) => (*value).into(),
            Value::Uint(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Bool(value) => (*value).into(),
        };
        self.values.iter().map(|(name, value)| (*name, scalar(value))).collect()
    }

    /// Returns the failure that the field `error` describes.
    pub(super) fn failure(&self) -> Option<Failure> {
        let words =
            self.fields().into_iter().find(|(name, _)| *name == "error")?.1.to_text().into_owned();
        let info = ErrorInfo::from_text(&words);
        Some(Failure(ErrorInfo {
            kind: info.kind.into_owned().into(),
            message: info.message.into_owned().into(),
            causes: Vec::new(),
        }))
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.values.retain(|(other, _)| *other != name);
    }

    /// Appends the fields of another visitor. If both have a name, the earlier value is written.
    pub(super) fn append(&mut self, other: &Self) {
        let at = self.text.len();
        self.text.push_str(&other.text);
        self.values.extend(other.values.iter().map(|(name, value)| {
            let moved = match value {
                Value::Text(range) => Value::Text(range.start + at..range.end + at),
                other => other.clone(),
            };
            (*name, moved)
        }));
    }

    /// Adds the fields of a later visitor, replacing fields of the same name.
    pub(super) fn replace(&mut self, later: &Self) {
        later.values.iter().for_each(|(name, _)| self.forget(name));
        self.append(later);
    }

    /// Stores a string that `write` appends to the buffer.
    fn keep(&mut self, field: &Field, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        write(&mut self.text);
        let range = start..self.text.len();
        match field.name() {
            "message" => self.message = Some(range),
            "log.target" => self.target = Some(range),
            // The remaining `log.*` fields describe the source location.
            name if name.starts_with("log.") => {}
            // Strips the prefix of a raw identifier, such as `r#type`.
            name => self.values.push((name.strip_prefix("r#").unwrap_or(name), Value::Text(range))),
        }
    }

    fn keep_value(&mut self, field: &Field, value: Value) {
        if !field.name().starts_with("log.") {
            self.values.push((field.name(), value));
        }
    }
}

impl Visit for FieldVisitor {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // If formatting fails, the text written so far is kept.
        self.keep(field, |text| {
            let _ = write!(text, "{value:?}");
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, |text| text.push_str(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.keep(field, |text| {
            let _ = write!(text, "{value}");
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep_value(field, Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep_value(field, Value::Uint(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.record_debug(field, &value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.record_debug(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep_value(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep_value(field, Value::Bool(value));
    }
}
