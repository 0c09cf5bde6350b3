//! Conversion of errors into the form that records carry.

use std::any::type_name;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{Display, Write};

use flowlog_schema::{DYNAMO_ERROR_TYPES, ErrorInfo, is_error_type};

/// The reason that something failed, kept for the code that ends the flow.
///
/// A request handler puts it into the extensions of its response.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure(pub(crate) ErrorInfo<'static>);

impl Failure {
    /// Captures the type, message and causes of an error.
    pub fn of<E: Error + ?Sized>(error: &E) -> Self {
        Self(describe(error))
    }

    /// Creates a failure from an error that does not implement [`Error`]: its type, its message,
    /// and its causes, nearest first. At most eight causes are kept. If the message begins with an
    /// error type that Dynamo defines (`Unavailable: no ready worker`), that becomes the type. A
    /// type name that is not valid in a record is prepended to the message, and the type becomes
    /// `Unknown`.
    pub fn new(kind: &str, message: &str, causes: impl IntoIterator<Item = String>) -> Self {
        let (kind, message) = match dynamo_type(message) {
            Some(named) => (named, Cow::Borrowed(message[named.len() + 1..].trim_start())),
            None if is_error_type(kind) => (kind, Cow::Borrowed(message)),
            None => ("Unknown", Cow::Owned(format!("{kind}: {message}"))),
        };
        let causes = causes.into_iter().take(MAX_CAUSES).map(Cow::Owned).collect();
        Self(ErrorInfo {
            kind: Cow::Owned(kind.to_owned()),
            message: Cow::Owned(message.into_owned()),
            causes,
        })
    }
}

/// Maximum number of causes recorded for an error.
const MAX_CAUSES: usize = 8;

/// Returns the type, message and causes of an error. The type is the Dynamo error type that the
/// error or one of its causes begins with (`Unavailable: no ready worker`); otherwise the error's
/// Rust type without its path; otherwise `Unknown`.
pub(crate) fn describe<E: Error + ?Sized>(error: &E) -> ErrorInfo<'static> {
    let message = message_of(error);
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < MAX_CAUSES) {
        causes.push(message_of(cause));
        next = cause.source();
    }
    let named = std::iter::once(&message).chain(&causes).find_map(|text| dynamo_type(text));
    let kind = named.or_else(|| of_type(type_name::<E>())).unwrap_or("Unknown").to_owned();
    let message = message
        .strip_prefix(&kind)
        .and_then(|rest| rest.strip_prefix(": "))
        .map(str::to_owned)
        .unwrap_or(message);
    ErrorInfo {
        kind: Cow::Owned(kind),
        message: Cow::Owned(message),
        causes: causes.into_iter().map(Cow::Owned).collect(),
    }
}

/// Formats an error, up to the point at which `Display` fails, where `to_string` would panic.
pub(crate) fn message_of<E: Display + ?Sized>(error: &E) -> String {
    let mut text = String::new();
    let _ = write!(text, "{error}");
    text
}

/// Returns the Dynamo error type that `words` begins with, if any.
pub(crate) fn dynamo_type(text: &str) -> Option<&str> {
    let (kind, _) = text.split_once(':')?;
    DYNAMO_ERROR_TYPES.contains(&kind).then_some(kind)
}

/// Returns the error type in a Rust type name: `Error` for `alloc::boxed::Box<my_crate::Error>`,
/// but `None` for `dyn core::error::Error`, which can be any type.
fn of_type(name: &str) -> Option<&str> {
    if name.contains("dyn ") {
        return None;
    }
    let name = name.rsplit('<').next()?.trim_end_matches('>');
    let name = name.rsplit("::").next()?;
    is_error_type(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(&'static str, Option<Box<Self>>);

    impl Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
        }
    }

    fn ended_records<E: Error + ?Sized>(error: &E) -> (String, String, Vec<String>) {
        let info = describe(error);
        (
            info.kind.into_owned(),
            info.message.into_owned(),
            info.causes.into_iter().map(Cow::into_owned).collect(),
        )
    }

    #[test]
    fn error_type_is_dynamos_then_rusts_then_unknown() {
        let one = |text| Wrapped(text, None);
        let of = |kind: &str, message: &str, causes: &[&str]| {
            (kind.to_owned(), message.to_owned(), causes.iter().map(|c| (*c).to_owned()).collect())
        };
        assert_eq!(
            ended_records(&one("Unavailable: no ready worker")),
            of("Unavailable", "no ready worker", &[])
        );
        assert_eq!(ended_records(&one("no: ready worker")), of("Wrapped", "no: ready worker", &[]));
        let wrapped =
            Wrapped("while routing", Some(Box::new(one("Disconnected: the stream ended"))));
        assert_eq!(
            ended_records(&wrapped),
            of("Disconnected", "while routing", &["Disconnected: the stream ended"])
        );
        let anything: &(dyn Error + Send + Sync) = &one("gone");
        assert_eq!(ended_records(anything), of("Unknown", "gone", &[]));
        assert_eq!(of_type("alloc::boxed::Box<my_crate::deep::Error>"), Some("Error"));
        assert_eq!(ended_records(&"x".parse::<u8>().unwrap_err()).0, "ParseIntError");
    }

    #[test]
    fn builds_a_failure_from_a_non_rust_error() {
        for (kind, message, expected) in [
            ("RuntimeError", "gone", ("RuntimeError", "gone")),
            (
                "RuntimeError",
                "Disconnected: the stream ended",
                ("Disconnected", "the stream ended"),
            ),
            ("RuntimeError", "Disconnected:", ("Disconnected", "")),
            ("a b", "gone", ("Unknown", "a b: gone")),
        ] {
            let Failure(info) = Failure::new(kind, message, (0..9).map(|at| at.to_string()));
            assert_eq!(
                (info.kind.as_ref(), info.message.as_ref(), info.causes.len()),
                (expected.0, expected.1, MAX_CAUSES)
            );
        }
    }

    #[test]
    fn long_cause_chains_are_truncated() {
        let long =
            (0..100).fold(Wrapped("last", None), |cause, _| Wrapped("more", Some(Box::new(cause))));
        assert_eq!(ended_records(&long).2.len(), MAX_CAUSES);
    }
}
