//! Errors to what a record tells of them.

use std::any::type_name;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{Display, Write};

use flowlog_schema::{DYNAMO_ERROR_TYPES, ErrorInfo, is_error_type};

/// Why something failed, kept for whoever ends the flow: a handler of requests puts it into its answer's extensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure(pub(crate) ErrorInfo<'static>);

impl Failure {
    /// Type, words and causes of an error.
    pub fn of<E: Error + ?Sized>(error: &E) -> Self {
        Self(describe(error))
    }

    /// An error that is no `Error`: its type, its words, and what caused it, nearest first; at most eight causes are kept.
    ///
    /// Where the words begin with a type that Dynamo names (`Unavailable: no ready worker`), that is its type. A name that cannot stand in
    /// a record is put before the words, and the type is `Unknown`.
    pub fn new(kind: &str, message: &str, causes: impl IntoIterator<Item = String>) -> Self {
        let (kind, message) = match dynamo_type(message) {
            Some(named) => (named, Cow::Borrowed(message[named.len() + 1..].trim_start())),
            None if is_error_type(kind) => (kind, Cow::Borrowed(message)),
            None => ("Unknown", Cow::Owned(format!("{kind}: {message}"))),
        };
        let causes = causes.into_iter().take(MOST_CAUSES).map(Cow::Owned).collect();
        Self(ErrorInfo {
            kind: Cow::Owned(kind.to_owned()),
            message: Cow::Owned(message.into_owned()),
            causes,
        })
    }
}

/// Most causes of an error that are told.
const MOST_CAUSES: usize = 8;

/// Type, words and causes of an error.
///
/// Its type is the one that Dynamo names, where it or one of its causes begins with it (`Unavailable: no ready worker`); else its
/// own in Rust, without its path; else `Unknown`.
pub(crate) fn describe<E: Error + ?Sized>(error: &E) -> ErrorInfo<'static> {
    let message = words(error);
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < MOST_CAUSES) {
        causes.push(words(cause));
        next = cause.source();
    }
    let named = std::iter::once(&message).chain(&causes).find_map(|words| dynamo_type(words));
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

/// What an error says, as far as it says it: `to_string` panics where `Display` fails.
pub(crate) fn words<E: Display + ?Sized>(error: &E) -> String {
    let mut words = String::new();
    let _ = write!(words, "{error}");
    words
}

/// The type with which words begin that Dynamo names.
pub(crate) fn dynamo_type(words: &str) -> Option<&str> {
    let (kind, _) = words.split_once(':')?;
    DYNAMO_ERROR_TYPES.contains(&kind).then_some(kind)
}

/// `alloc::boxed::Box<my_crate::Error>` is an `Error`; `dyn core::error::Error` is anything.
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

    fn told<E: Error + ?Sized>(error: &E) -> (String, String, Vec<String>) {
        let info = describe(error);
        (
            info.kind.into_owned(),
            info.message.into_owned(),
            info.causes.into_iter().map(Cow::into_owned).collect(),
        )
    }

    #[test]
    fn the_type_is_dynamos_else_rusts_else_unknown() {
        let one = |words| Wrapped(words, None);
        let of = |kind: &str, message: &str, causes: &[&str]| {
            (kind.to_owned(), message.to_owned(), causes.iter().map(|c| (*c).to_owned()).collect())
        };
        assert_eq!(
            told(&one("Unavailable: no ready worker")),
            of("Unavailable", "no ready worker", &[])
        );
        assert_eq!(told(&one("no: ready worker")), of("Wrapped", "no: ready worker", &[]));
        let wrapped =
            Wrapped("while routing", Some(Box::new(one("Disconnected: the stream ended"))));
        assert_eq!(
            told(&wrapped),
            of("Disconnected", "while routing", &["Disconnected: the stream ended"])
        );
        let anything: &(dyn Error + Send + Sync) = &one("gone");
        assert_eq!(told(anything), of("Unknown", "gone", &[]));
        assert_eq!(of_type("alloc::boxed::Box<my_crate::deep::Error>"), Some("Error"));
        assert_eq!(told(&"x".parse::<u8>().unwrap_err()).0, "ParseIntError");
    }

    #[test]
    fn an_error_of_another_language() {
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
                (expected.0, expected.1, MOST_CAUSES)
            );
        }
    }

    #[test]
    fn a_chain_without_end_is_cut() {
        let long =
            (0..100).fold(Wrapped("last", None), |cause, _| Wrapped("more", Some(Box::new(cause))));
        assert_eq!(told(&long).2.len(), MOST_CAUSES);
    }
}
