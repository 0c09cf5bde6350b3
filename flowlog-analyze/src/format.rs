//! Log formats, which determine what a line means: one file per format, collected in one table.

mod ci;
mod chain;
pub mod ownership;
mod controller_runtime;
mod dynamo;
mod dynamo_json;
mod dynamo_readable;
mod etcd;
mod exit_status;
mod error;
mod summary;
mod fields;
mod flowlog;
mod generic;
mod glog;
mod glog_header;
mod go_panic;
mod ids;
mod journal_export;
mod json;
mod kernel;
mod kubectl;
mod logfmt;
mod native_abort;
pub mod otlp;
mod nats;
mod nccl;
mod nixl;
mod lifecycle;
mod pytest;
mod python_logging;
mod python_traceback;
mod rust_panic;
mod rust_tests;
mod sglang;
pub mod stack;
mod tensorrt_llm;
mod torch;
mod ucx;
mod uvicorn;
mod vllm;
mod plain;

use std::hash::Hasher;

use flowlog_schema::{CachedRecord, FastRecord, Level, RecordCache};

use crate::event::ParsedEvent;

pub use chain::root_cause;
pub use error::{
    ClientFault, client_fault, is_caller_gone, is_lost, is_own, is_refused, is_timeout,
    reports_failed_call,
};
pub use flowlog::Fields;
pub use lifecycle::phrases_with_digits;
pub use summary::{ErrorSummary, error_of};

/// How a line starts an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStart {
    /// The event is complete: it ends with this line.
    Whole,
    /// A logger's line. It is continued by lines that start no event, and by lines with the same
    /// header and a message that is indented or part of a stack.
    Logged {
        /// Hash of the level and the stable part of the header, without the time.
        header: u64,
        /// Byte offset of the message; zero if an equal header on the next line does not indicate
        /// that it continues the event.
        body: usize,
        /// Whether a stack may follow: true of warnings, errors and lines without a level.
        may_have_stack: bool,
        /// Whether the logger repeats the header on every line of a message, so that a line without
        /// one is not part of the message.
        repeats_header: bool,
    },
    /// A panic. It bypasses every logger, so it never continues a logger's line.
    Panic,
    /// The start of a stack. It continues a logger's line, or is an event of its own.
    Stack,
    /// A part of a stack. It continues any pending event, or is an event of its own.
    Part,
}

impl EventStart {
    /// Creates the start of a logger's line: `header` is the part of the header that, together with
    /// the level, stays the same; the message begins at `body`.
    fn logged(header: &[u8], body: usize, level: Option<Level>) -> Self {
        let mut hasher = fnv::FnvHasher::default();
        hasher.write(header);
        hasher.write_u8(level.map_or(0, |level| level as u8 + 1));
        Self::Logged {
            header: hasher.finish(),
            body,
            may_have_stack: level.is_none_or(|level| level >= Level::Warn),
            repeats_header: false,
        }
    }

    /// Returns this start as that of a logger that repeats its header on every line.
    fn repeating_header(self) -> Self {
        match self {
            Self::Logged { header, body, may_have_stack, .. } => {
                Self::Logged { header, body, may_have_stack, repeats_header: true }
            }
            other => other,
        }
    }
}

/// A log format: how its events start and how they are parsed.
struct LogFormat {
    /// Name in the report.
    name: &'static str,
    /// Classifies a line that may start one of the format's events. Cheap, and accepts every line
    /// that `read` accepts on its own.
    classify_start: fn(&[u8]) -> Option<EventStart>,
    /// Parses an event, or returns `None` if it is not of this format.
    read: for<'a> fn(&'a str) -> Option<ParsedEvent<'a>>,
    #[cfg_attr(not(test), expect(dead_code, reason = "used by tests, and as documentation"))]
    examples: &'static [Example],
}

/// An example event and its expected parse: time, level, component, instance, target, message,
/// error and flows.
struct Example {
    #[cfg_attr(not(test), expect(dead_code, reason = "used by tests, and as documentation"))]
    text: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "used by tests, and as documentation"))]
    expected: &'static str,
}

/// All formats in match order, the most frequent first. No event is accepted by two formats; the
/// start of a line is classified by the first format that recognizes it.
const FORMATS: &[&LogFormat] = &[
    &flowlog::JSON,
    &dynamo_json::JSON,
    &otlp::OTLP,
    &flowlog::TEXT,
    &dynamo_readable::READABLE,
    &vllm::VLLM,
    &sglang::SGLANG,
    &tensorrt_llm::TENSORRT_LLM,
    &ucx::UCX,
    &nixl::NIXL,
    &nccl::NCCL,
    &torch::TORCH,
    &nats::NATS,
    &etcd::ETCD,
    &controller_runtime::CONTROLLER_RUNTIME,
    &glog::GLOG,
    &logfmt::LOGFMT,
    &python_logging::PYTHON_LOGGING,
    &uvicorn::UVICORN,
    &python_traceback::PYTHON_TRACEBACK,
    &rust_panic::RUST_PANIC,
    &go_panic::GO_PANIC,
    &native_abort::NATIVE_ABORT,
    &kernel::KERNEL,
    &exit_status::EXIT_STATUS,
    &kubectl::KUBECTL,
    &pytest::PYTEST,
    &rust_tests::RUST_TESTS,
    &ci::CI,
    &journal_export::JOURNAL_EXPORT,
];

/// Formats of lines that no specific format accepts, in match order.
const FALLBACKS: &[&LogFormat] = &[&json::JSON, &generic::GENERIC];

/// `==` for bytes, at compile time.
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Format under which lines are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Format(usize);

impl Format {
    /// Stands for events that no format accepts.
    pub const UNRECOGNISED: Self = Self(FORMATS.len() + FALLBACKS.len());

    /// Lines of any logger.
    pub const GENERIC: Self = Self(FORMATS.len() + FALLBACKS.len() - 1);

    /// OTLP as JSON lines.
    pub const OTLP: Self = Self::named("otlp_json");

    /// Output of kubectl.
    pub const KUBECTL: Self = Self::named("kubectl");

    /// Flowlog records in JSON form.
    pub const FLOWLOG_JSON: Self = Self::named("flowlog_json");

    /// Flowlog records in text form.
    const FLOWLOG_TEXT: Self = Self::named("flowlog_text");

    /// Returns the format of a name. Called at compile time only.
    #[expect(clippy::panic, reason = "an unknown name is a compile error")]
    const fn named(name: &str) -> Self {
        let mut at = 0;
        while at < FORMATS.len() {
            if is_same(FORMATS[at].name.as_bytes(), name.as_bytes()) {
                return Self(at);
            }
            at += 1;
        }
        panic!("no format has this name")
    }

    const fn of_record(is_json: bool) -> Self {
        if is_json { Self::FLOWLOG_JSON } else { Self::FLOWLOG_TEXT }
    }

    /// Number of formats, including [`Format::UNRECOGNISED`].
    pub const COUNT: usize = FORMATS.len() + FALLBACKS.len() + 1;

    /// Returns the format's index, which is less than [`Format::COUNT`].
    pub fn number(self) -> usize {
        self.0
    }

    /// Iterates over every format, and [`Format::UNRECOGNISED`].
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Returns whether the format's lines name flow and process in structured fields: flowlog's
    /// records, and Dynamo's JSON, which they extend.
    pub fn is_structured(self) -> bool {
        matches!(self.name(), "flowlog_json" | "flowlog_text" | "dynamo_json")
    }

    /// Returns the format's name in the report.
    pub fn name(self) -> &'static str {
        let fallback = || FALLBACKS.get(self.0.checked_sub(FORMATS.len())?);
        FORMATS.get(self.0).or_else(fallback).map_or("unrecognised", |format| format.name)
    }

    /// Formats of loggers that any program may use, apart from the generic ones.
    const OF_ANY_LOGGER: [Self; 3] =
        [Self::named("python_logging"), Self::named("logfmt"), Self::named("glog")];

    /// Other formats that any program may write.
    const OF_ANY_PROGRAM: [Self; 6] = [
        Self::named("python_traceback"),
        Self::named("uvicorn"),
        Self::named("go_panic"),
        Self::named("rust_panic"),
        Self::named("native_abort"),
        Self::named("exit_status"),
    ];

    /// Returns whether any program may write the format, so that it identifies none.
    pub fn is_of_any_program(self) -> bool {
        self.is_of_any_logger()
            || self == Self::UNRECOGNISED
            || Self::OF_ANY_PROGRAM.contains(&self)
    }

    /// Returns whether the format is that of a logger that any program may use.
    pub fn is_of_any_logger(self) -> bool {
        self.is_generic() || Self::OF_ANY_LOGGER.contains(&self)
    }

    /// Returns whether the format accepts the lines of any logger, so that its levels and IDs prove
    /// less than those of a known program.
    pub fn is_generic(self) -> bool {
        (FORMATS.len()..FORMATS.len() + FALLBACKS.len()).contains(&self.0)
    }
}

/// Iterates over all formats in match order.
fn all_formats() -> impl Iterator<Item = &'static LogFormat> {
    FORMATS.iter().chain(FALLBACKS).copied()
}

/// Returns how well a line is understood: 2 if its format names what it belongs to, 1 if it is any
/// logger's, 0 if nothing accepts it. For the choice between several ways to peel a line.
pub fn understanding(line: &[u8]) -> u8 {
    let head = line.get(..line.len().min(MAX_UNDERSTOOD_BYTES)).unwrap_or_default();
    let Ok(text) = std::str::from_utf8(head) else { return 0 };
    match read(text) {
        (format, Some(_)) if !format.is_generic() => 2,
        (format, Some(event)) if format.name() == "json" => {
            if event.level.is_some() || event.time.is_some() { 2 } else { 1 }
        }
        // A level in front is what a logger writes.
        (_, Some(event)) => 1 + u8::from(event.level.is_some() && event.time.is_some()),
        (_, None) => u8::from(stack::classify_start(line).is_some()),
    }
}

/// Bytes of a line by which its format is recognized.
const MAX_UNDERSTOOD_BYTES: usize = 4_096;

/// Returns type and message of the error that a line without a stack reports: the error that it begins
/// or ends with, or else an empty type and the line.
pub fn line_error(line: &str) -> (&str, &str) {
    error::typed(line).or_else(|| error::typed_in(line)).unwrap_or(("", line))
}

/// Returns how a line starts an event of any format, or `None` if it starts none.
pub fn classify_start(line: &[u8]) -> Option<EventStart> {
    let start = FORMATS
        .iter()
        .find_map(|format| (format.classify_start)(line))
        .or_else(|| stack::classify_start(line))
        .or_else(|| FALLBACKS.iter().find_map(|format| (format.classify_start)(line)))?;
    Some(match start {
        EventStart::Logged { header, body, may_have_stack: false, repeats_header } => {
            let may_have_stack = announces_stack(line.get(body..).unwrap_or_default());
            EventStart::Logged { header, body, may_have_stack, repeats_header }
        }
        other => other,
    })
}

/// Returns whether a message of any level may be followed by the stack of an exception: a handler
/// may log it below the level of a warning.
fn announces_stack(message: &[u8]) -> bool {
    let end = message.len().min(MAX_ANNOUNCEMENT_BYTES);
    let head = message.get(..end).unwrap_or_default();
    [&b"xception"[..], b"rror", b"ailed"]
        .iter()
        .any(|word| memchr::memmem::find(head, word).is_some())
}

/// Maximum length of the part of a message that may announce a stack, in bytes.
const MAX_ANNOUNCEMENT_BYTES: usize = 256;

/// Decodes an ordinary flowlog record by the byte runs that it shares with earlier records. If it
/// is declined, [`decode_fast`] may still accept it.
#[inline]
pub fn decode_cached<'a>(
    cache: &mut RecordCache,
    line: &'a [u8],
) -> Option<(Format, CachedRecord<'a>, Fields<'a>)> {
    let (record, fields) = flowlog::decode(cache, line)?;
    Some((Format::of_record(record.is_json), record, fields))
}

/// Decodes an ordinary flowlog record on the fast path. If it is declined, [`read`] may still
/// accept it.
pub fn decode_fast(line: &[u8]) -> Option<(Format, FastRecord<'_>, Fields<'_>)> {
    let (is_json, record, fields) = flowlog::decode_fast(line)?;
    Some((Format::of_record(is_json), record, fields))
}

/// Parses an event. Returns its format and the result, or [`Format::UNRECOGNISED`] and `None` if no
/// format accepts the event.
pub fn read(text: &str) -> (Format, Option<ParsedEvent<'_>>) {
    let found =
        all_formats().enumerate().find_map(|(at, format)| Some((Format(at), (format.read)(text)?)));
    found.map_or((Format::UNRECOGNISED, None), |(format, event)| (format, Some(event)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(event: &ParsedEvent<'_>) -> String {
        let mut summary = Vec::new();
        if let Some(stamp) = event.time {
            let lacks = [(stamp.missing_year, "-year"), (stamp.missing_zone, "-zone")];
            let lacks: String = lacks.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
            summary.push(format!("{}{lacks}", flowlog_schema::Time(stamp.ns)));
        }
        if let Some(level) = event.level {
            summary.push(level.as_str().to_owned());
        }
        summary.extend(event.component.as_deref().map(ToOwned::to_owned));
        summary.extend(event.instance.as_deref().map(|instance| format!("/{instance}")));
        let words = if event.target.is_empty() {
            event.message.to_string()
        } else {
            format!("{}: {}", event.target, event.message)
        };
        summary.push(words);
        summary.extend(event.error.as_ref().map(|error| format!("error={error}")));
        summary.extend(event.flows.iter().map(|flow| format!("flow={flow}")));
        summary.join(" ")
    }

    #[test]
    fn every_example_is_accepted_only_by_its_own_format() {
        let mut wrong = Vec::new();
        for own in all_formats() {
            assert!(own.examples.len() >= 2, "{} has too few examples", own.name);
            for example in own.examples {
                // A fallback accepts what no format does, so that only its own examples count.
                let is_fallback = |format: &LogFormat| {
                    FALLBACKS.iter().any(|fallback| fallback.name == format.name)
                };
                let others = all_formats().filter(|other| {
                    !is_fallback(other) || is_fallback(own) && own.name == other.name
                });
                for other in others {
                    let taken = (other.read)(example.text);
                    match (taken.is_some(), own.name == other.name) {
                        (true, false) => wrong.push(format!(
                            "example of {} accepted by {}: {}",
                            own.name, other.name, example.text
                        )),
                        (false, true) => wrong.push(format!(
                            "{} rejects its own example: {}",
                            own.name, example.text
                        )),
                        _ => {}
                    }
                    if let Some(event) = taken.filter(|_| own.name == other.name)
                        && expected(&event) != example.expected
                    {
                        wrong.push(format!(
                            "{}: {}\n     read {:?}\n expected {:?}",
                            own.name,
                            example.text,
                            expected(&event),
                            example.expected
                        ));
                    }
                }
                let first = example.text.lines().next().unwrap().as_bytes();
                if (own.classify_start)(first).is_none() {
                    wrong.push(format!(
                        "{} does not classify the start of: {}",
                        own.name, example.text
                    ));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn format_names_are_unique() {
        let names: std::collections::BTreeSet<&str> = Format::all().map(Format::name).collect();
        assert_eq!(names.len(), Format::COUNT);
    }

    #[test]
    fn other_lines_match_no_format() {
        for line in [
            "",
            "hello",
            "[]",
            "2025",
            "Error",
            "INFO",
            "a: b",
            "- - -",
            "1.5",
            "Loading model weights: 50%",
        ] {
            assert_eq!(read(line).0, Format::UNRECOGNISED, "{line}");
            // The format of an object depends on its keys, so every `{` is accepted as a start.
            assert_eq!(
                classify_start(line.as_bytes()),
                line.starts_with('{').then_some(EventStart::Whole),
                "{line}"
            );
        }
    }

    #[test]
    fn a_character_at_a_prefix_limit_does_not_affect_the_start() {
        // The prefixes that `classify_start` looks at have at most 1,024 bytes.
        for example in FORMATS.iter().flat_map(|format| format.examples) {
            let line = example.text.lines().next().unwrap_or_default();
            for padding in 0..1_100usize.saturating_sub(line.len()) {
                let ending = |end: &str| format!("{line}{}{end}", "x".repeat(padding));
                assert_eq!(
                    classify_start(ending("\u{e9}").as_bytes()),
                    classify_start(ending("ee").as_bytes()),
                    "{line}, {padding} bytes of padding"
                );
            }
        }
    }
}
