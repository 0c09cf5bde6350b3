//! What a line means: one file per format, a table of recognisers.

mod ci;
pub mod code;
mod controller_runtime;
mod dynamo;
mod dynamo_json;
mod dynamo_readable;
mod etcd;
mod exit_status;
mod fault;
mod flowlog;
mod glog;
mod go_panic;
mod ids;
mod journal_export;
mod kernel;
mod kubectl;
mod logfmt;
mod native_abort;
mod nats;
mod nccl;
mod nixl;
mod process;
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
mod words;

use std::hash::Hasher;

use flowlog_schema::{Glance, Level, Skim, Skimmer};

use crate::observation::Observation;

pub use fault::{Caller, caller_of, error_of, is_caller_gone, is_lost, is_timeout};
pub use flowlog::Fields;
pub use process::words_with_digits;

/// How a line begins an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// The event ends with the line.
    Whole,
    /// A logger wrote it. Lines that begin nothing go on with it, and lines with the same header whose words are more
    /// of a stack.
    Logged {
        /// A number for what stands before the words, without the time.
        header: u64,
        /// Where the words begin; zero where the header says nothing of the next line's.
        body: usize,
        /// It may announce a stack: a warning, an error, or a line without a level.
        loud: bool,
        /// Its logger repeats the header on every line of a message: words without one are others'.
        repeats: bool,
    },
    /// A panic: printed past every logger, it never goes on with a logger's line.
    Panic,
    /// A stack: it goes on with a logger's line, or stands alone.
    Stack,
    /// A part of a stack: it goes on with whatever is there, or stands alone.
    Part,
}

impl Begin {
    /// A logger's line whose words begin at `body`, after a header of which only `header` and the level stay the same.
    fn logged(header: &[u8], body: usize, level: Option<Level>) -> Self {
        let mut hasher = fnv::FnvHasher::default();
        hasher.write(header);
        hasher.write_u8(level.map_or(0, |level| level as u8 + 1));
        Self::Logged {
            header: hasher.finish(),
            body,
            loud: level.is_none_or(|level| level >= Level::Warn),
            repeats: false,
        }
    }

    /// As it is, of a logger that repeats its header.
    fn repeating(self) -> Self {
        match self {
            Self::Logged { header, body, loud, .. } => {
                Self::Logged { header, body, loud, repeats: true }
            }
            other => other,
        }
    }
}

/// A format: how its events begin, and what they say.
struct Recogniser {
    /// Its name in the report.
    name: &'static str,
    /// Whether a line can begin one of its events. Cheap, and true of every line that `read` takes alone.
    begins: fn(&[u8]) -> Option<Begin>,
    /// Takes an event or leaves it.
    read: for<'a> fn(&'a str) -> Option<Observation<'a>>,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use them"))]
    examples: &'static [Example],
}

/// An event, and what is read from it: time, level, component, target, words.
struct Example {
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use it"))]
    text: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use it"))]
    tells: &'static str,
}

/// The recognisers in the order in which they are asked: what comes by the million first. No event is taken by two; how
/// a line begins, the first that knows says.
const RECOGNISERS: [&Recogniser; FORMATS] = [
    &flowlog::JSON,
    &dynamo_json::JSON,
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

/// How many formats there are, beside lines that none takes.
const FORMATS: usize = 29;

/// The formats that lines are counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Format(usize);

impl Format {
    /// What no format takes.
    pub const UNRECOGNISED: Self = Self(FORMATS);

    /// That of our own records.
    const fn of_record(is_json: bool) -> Self {
        if is_json { Self(0) } else { Self(2) }
    }

    /// How many there are, with [`Format::UNRECOGNISED`].
    pub const COUNT: usize = FORMATS + 1;

    /// Its number, less than [`Format::COUNT`].
    pub fn number(self) -> usize {
        self.0
    }

    /// Every format, and [`Format::UNRECOGNISED`].
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=FORMATS).map(Self)
    }

    /// Whether its lines name flow and process in a structure: flowlog's records, and Dynamo's JSON, which they extend.
    pub fn is_structured(self) -> bool {
        matches!(self.name(), "flowlog_json" | "flowlog_text" | "dynamo_json")
    }

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        RECOGNISERS.get(self.0).map_or("unrecognised", |recogniser| recogniser.name)
    }
}

/// How a line begins an event of any format.
pub fn begins(line: &[u8]) -> Option<Begin> {
    RECOGNISERS
        .iter()
        .find_map(|recogniser| (recogniser.begins)(line))
        .or_else(|| stack::begins(line))
}

/// An ordinary record of ours, by what it shares with those before it. What it leaves, [`glance`] takes or leaves.
#[inline]
pub fn skim<'a>(skimmer: &mut Skimmer, line: &'a [u8]) -> Option<(Format, Skim<'a>, Fields<'a>)> {
    let (skim, fields) = flowlog::skim(skimmer, line)?;
    Some((Format::of_record(skim.is_json), skim, fields))
}

/// An ordinary record of ours at a glance. What it leaves, [`read`] takes or leaves.
pub fn glance(line: &[u8]) -> Option<(Format, Glance<'_>, Fields<'_>)> {
    let (is_json, glance, fields) = flowlog::glance(line)?;
    Some((Format::of_record(is_json), glance, fields))
}

/// What an event says, and in which format.
pub fn read(text: &str) -> (Format, Option<Observation<'_>>) {
    let found = RECOGNISERS
        .iter()
        .enumerate()
        .find_map(|(at, recogniser)| Some((Format(at), (recogniser.read)(text)?)));
    found.map_or((Format::UNRECOGNISED, None), |(format, observation)| (format, Some(observation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tells(observation: &Observation<'_>) -> String {
        let mut told = Vec::new();
        if let Some(stamp) = observation.time {
            let lacks = [(stamp.lacks_year, "-year"), (stamp.lacks_zone, "-zone")];
            let lacks: String = lacks.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
            told.push(format!("{}{lacks}", flowlog_schema::Time(stamp.ns)));
        }
        if let Some(level) = observation.level {
            told.push(level.as_str().to_owned());
        }
        told.extend(observation.component.as_deref().map(ToOwned::to_owned));
        told.extend(observation.instance.as_deref().map(|instance| format!("/{instance}")));
        let words = if observation.target.is_empty() {
            observation.message.to_string()
        } else {
            format!("{}: {}", observation.target, observation.message)
        };
        told.push(words);
        told.extend(observation.error.as_ref().map(|error| format!("error={error}")));
        told.extend(observation.flows.iter().map(|flow| format!("flow={flow}")));
        told.join(" ")
    }

    #[test]
    fn every_example_is_taken_by_its_own_format_alone() {
        let mut wrong = Vec::new();
        for own in RECOGNISERS {
            assert!(own.examples.len() >= 2, "{} has too few examples", own.name);
            for example in own.examples {
                for other in RECOGNISERS {
                    let taken = (other.read)(example.text);
                    match (taken.is_some(), own.name == other.name) {
                        (true, false) => wrong.push(format!(
                            "{} taken by {}: {}",
                            own.name, other.name, example.text
                        )),
                        (false, true) => wrong
                            .push(format!("{} does not take its own: {}", own.name, example.text)),
                        _ => {}
                    }
                    if let Some(observation) = taken.filter(|_| own.name == other.name)
                        && tells(&observation) != example.tells
                    {
                        wrong.push(format!(
                            "{}: {}\n     read {:?}\n expected {:?}",
                            own.name,
                            example.text,
                            tells(&observation),
                            example.tells
                        ));
                    }
                }
                let first = example.text.lines().next().unwrap().as_bytes();
                if (own.begins)(first).is_none() {
                    wrong.push(format!("{} does not begin with: {}", own.name, example.text));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn names_are_told_apart() {
        let names: std::collections::BTreeSet<&str> = Format::all().map(Format::name).collect();
        assert_eq!(names.len(), FORMATS + 1);
    }

    #[test]
    fn other_lines_are_no_formats() {
        for line in [
            "",
            "hello",
            "{\"a\":1}",
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
            // What an object is, only its keys tell.
            assert_eq!(
                begins(line.as_bytes()),
                line.starts_with('{').then_some(Begin::Whole),
                "{line}"
            );
        }
    }
}
