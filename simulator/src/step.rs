//! What a process says, and when.

use flowlog_schema::FlowId;

/// Something that a process says, at a true time.
pub(crate) struct Step {
    pub process: usize,
    /// Microseconds from the beginning.
    pub at: i64,
    /// The step whose message it has received before.
    pub hears: Option<usize>,
    pub says: Says,
}

/// What it says.
pub(crate) enum Says {
    Span { span: Span, what: What },
    Process { state: &'static str },
    Chat { loud: bool },
}

#[derive(Clone)]
pub(crate) struct Span {
    pub flow: FlowId,
    pub id: u64,
    pub parent: Option<u64>,
    pub request: u64,
    /// The instance that a router calls.
    pub callee: Option<String>,
    pub attempt: u32,
}

pub(crate) enum What {
    Start,
    State(&'static str),
    /// A loud line that means nothing.
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
        Self { process, at, hears: None, says: Says::Process { state } }
    }

    /// Whether what it heard was an answer: only what opens a span follows from a call.
    pub(crate) fn is_answer(&self) -> bool {
        !matches!(&self.says, Says::Span { what: What::Start, .. })
    }

    pub(crate) fn chat(process: usize, at: i64, loud: bool) -> Self {
        Self { process, at, hears: None, says: Says::Chat { loud } }
    }
}
