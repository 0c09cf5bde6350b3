//! What one event says, in the analyzer's own words, whatever format it came in.

use std::borrow::Cow;
use std::hash::Hasher;

use compact_str::CompactString;
use flowlog_schema::{FlowId, Level, Problems};

use crate::stamp::Stamp;

/// The name of a flow: a UUID (or trace id), or the foreign id as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowKey {
    /// 16 bytes.
    Id(FlowId),
    /// Anything else, shortened to [`FlowKey::MAX`] bytes.
    Foreign(CompactString),
    /// A number that counts one process's requests: it means something in that source alone.
    Local(u32, CompactString),
}

impl FlowKey {
    /// Longest foreign id that is told apart.
    pub const MAX: usize = 128;

    /// Reads an id; `None` for an empty one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text == "None" {
            return None;
        }
        match FlowId::parse(text) {
            Ok(id) => Some(Self::Id(id)),
            Err(_) => {
                let end = text
                    .char_indices()
                    .map(|(at, c)| at + c.len_utf8())
                    .take_while(|end| *end <= Self::MAX)
                    .last();
                Some(Self::Foreign(CompactString::from(
                    text.get(..end.unwrap_or(0)).unwrap_or_default(),
                )))
            }
        }
    }
}

impl FlowKey {
    /// Says in which source a local id was found.
    pub fn belongs_to(&mut self, source: u32) {
        if let Self::Local(own, _) = self {
            *own = source;
        }
    }
}

impl std::fmt::Display for FlowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Foreign(text) | Self::Local(_, text) => text.fmt(f),
        }
    }
}

/// The span that an event belongs to.
#[derive(Debug, Clone)]
pub struct SpanRef<'a> {
    /// Its id, or a hash of what stands for one.
    pub key: u64,
    /// The caller's span.
    pub parent: Option<u64>,
    /// The component, where the span itself tells.
    pub component: Option<Cow<'a, str>>,
    /// The instance, where the span itself tells.
    pub instance: Option<Cow<'a, str>>,
    /// The instance that it calls.
    pub callee: Option<Cow<'a, str>>,
}

/// An error as a line tells it.
#[derive(Debug, Clone, Default)]
pub struct Fault<'a> {
    /// Its type, empty where none is known.
    pub kind: Cow<'a, str>,
    /// What it says.
    pub message: Cow<'a, str>,
    /// The HTTP status that went with it.
    pub status: Option<u16>,
}

/// What happened to the span.
#[derive(Debug, Clone)]
pub enum Said<'a> {
    /// It opened.
    Open,
    /// A word about it.
    Word,
    /// A word that shows it waits for a stream's end before it is done.
    Streaming,
    /// A word that is its last unless it streams.
    Answered,
    /// A word that may be its last: an error that proves nothing yet.
    Distress {
        /// The error.
        fault: Fault<'a>,
        /// An exception with its stack fails a span also when other words follow.
        traceback: bool,
    },
    /// Its stream was made anew elsewhere.
    Recreated,
    /// It closed, well or not.
    Closed,
    /// It ended well.
    End,
    /// It failed.
    Fail(Fault<'a>),
    /// Its caller went away.
    Cancel,
}

/// What a line says of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It started.
    Start,
    /// It shuts down in order, or was told to.
    Shutdown,
    /// It was killed.
    Kill,
}

/// One event of a log.
#[derive(Debug, Clone)]
pub struct Observation<'a> {
    /// When.
    pub time: Option<Stamp>,
    /// The hybrid logical clock; zero where there is none.
    pub clock: u64,
    /// How loud.
    pub level: Option<Level>,
    /// Every id that the line gives its flow; the first is the one to show.
    pub flows: Vec<FlowKey>,
    /// Whether the first id is a trace id or flow id rather than a request id.
    pub traced: bool,
    /// The span.
    pub span: Option<SpanRef<'a>>,
    /// What happened to it.
    pub said: Said<'a>,
    /// The component that speaks, where the line tells.
    pub component: Option<Cow<'a, str>>,
    /// The component is a library in whatever process speaks, and does not name it.
    pub embedded: bool,
    /// The instance that speaks, where the line tells.
    pub instance: Option<Cow<'a, str>>,
    /// Where in its work the component is.
    pub state: Option<Cow<'a, str>>,
    /// The module that speaks.
    pub target: Cow<'a, str>,
    /// Its words.
    pub message: Cow<'a, str>,
    /// The error beside the words.
    pub error: Option<Cow<'a, str>>,
    /// What it says of the process.
    pub process: Option<ProcessEvent>,
    /// It is a flowlog record, and whether that names versions.
    pub versions: Option<bool>,
    /// Records that a writer says it dropped.
    pub lost: u64,
    /// What was odd about the line.
    pub problems: Problems,
}

impl Observation<'_> {
    /// The words, with the error beside them.
    pub fn words(&self) -> Cow<'_, str> {
        match self.error.as_deref() {
            Some(error) if self.message.is_empty() => Cow::Borrowed(error),
            Some(error) if !error.is_empty() && !self.message.contains(error) => {
                Cow::Owned(format!("{}: {error}", self.message))
            }
            _ => Cow::Borrowed(&self.message),
        }
    }
}

impl Default for Observation<'_> {
    fn default() -> Self {
        Self {
            time: None,
            clock: 0,
            level: None,
            flows: Vec::new(),
            traced: false,
            span: None,
            said: Said::Word,
            component: None,
            embedded: false,
            instance: None,
            state: None,
            target: Cow::Borrowed(""),
            message: Cow::Borrowed(""),
            error: None,
            process: None,
            versions: None,
            lost: 0,
            problems: Problems::default(),
        }
    }
}

/// A span's key made of what stands for an id. Never zero.
pub fn span_key(parts: &[&str]) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    for part in parts {
        hasher.write(part.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish().max(1)
}
