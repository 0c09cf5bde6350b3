//! Steps of the script: the log output of each process and its times.

use flowlog_schema::FlowId;

/// A log output of a process, at a true time.
pub(crate) struct Step {
    pub process: usize,
    /// Microseconds from the start of the run.
    pub at: i64,
    /// Index of the step that sent the message received before this step.
    pub receives: Option<usize>,
    pub entries: Entry,
}

/// Content of a step.
pub(crate) enum Entry {
    Span {
        span: Span,
        what: What,
    },
    Process {
        state: &'static str,
    },
    Noise {
        loud: bool,
    },
    /// A line of Python's `logging` that carries the flow's ID, with a stack if `error` is set.
    Text {
        flow: FlowId,
        message: String,
        error: Option<(&'static str, String)>,
    },
}

#[derive(Clone)]
pub(crate) struct Span {
    pub flow: FlowId,
    pub id: u64,
    pub parent: Option<u64>,
    pub request: u64,
    /// Instance that a router calls.
    pub callee: Option<String>,
    pub attempt: u32,
}

pub(crate) enum What {
    Start,
    State(&'static str),
    /// A state with an error that the span handles, such as a failed attempt.
    Warn {
        state: &'static str,
        kind: &'static str,
        message: String,
    },
    /// A handled error, which is logged at level `ERROR` but is not a failure.
    Handled,
    End,
    Fail {
        kind: &'static str,
        message: String,
        status: Option<u16>,
    },
    Cancel,
}

impl Step {
    pub(crate) fn of_process(process: usize, at: i64, state: &'static str) -> Self {
        Self { process, at, receives: None, entries: Entry::Process { state } }
    }

    /// Returns whether the received message was a response: only a step that opens a span follows
    /// from a call.
    pub(crate) fn is_answer(&self) -> bool {
        !matches!(&self.entries, Entry::Span { what: What::Start, .. })
    }

    pub(crate) fn write_noise(process: usize, at: i64, loud: bool) -> Self {
        Self { process, at, receives: None, entries: Entry::Noise { loud } }
    }
}
