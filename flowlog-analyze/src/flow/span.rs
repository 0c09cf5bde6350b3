//! One span: one component's share of one flow.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::mark::{Mark, keep_max, keep_min};
use crate::format::{Caller, caller_of, code};
use crate::observation::{Observation, Said, SpanRef};

use super::row::Kind;

/// Most states of one span that are kept, the latest; and most callees, the first.
pub(super) const MAX_STATES: usize = 16;

/// Longest message of an error that is kept, in bytes.
const MAX_MESSAGE: usize = 400;

/// An error that a span told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    /// When and where.
    pub mark: Mark,
    /// Its type, empty where none is known.
    pub kind: CompactString,
    /// What it says.
    pub message: Box<str>,
    /// The HTTP status that went with it.
    pub status: Option<u16>,
    /// Whether it came with a stack.
    pub traceback: bool,
    /// The engine that its stack names.
    pub engine: Option<CompactString>,
}

/// What became of a span by its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It ended well.
    Ok,
    /// It failed.
    Failed,
    /// It failed for the caller's fault.
    Rejected,
    /// Its caller went away.
    Cancelled,
    /// It neither ended nor failed.
    Open,
}

/// An ordinary line of a span, in words: what a row's numbers stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) span: u64,
    /// Zero where there is none.
    pub(super) parent: u64,
    pub(super) mark: Mark,
    pub(super) component: &'a str,
    pub(super) instance: Option<&'a str>,
    pub(super) state: Option<&'a str>,
    pub(super) callee: Option<&'a str>,
    pub(super) kind: Kind,
    pub(super) has_versions: bool,
}

/// Which parts of the structure any line of a span holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Held {
    /// A flowlog record spoke.
    pub record: bool,
    /// It began.
    pub start: bool,
    /// The record of its start names versions.
    pub start_versions: bool,
    /// The record of its failure names versions.
    pub fail_versions: bool,
    /// Its failure says in which state.
    pub fail_state: bool,
    /// Its failure has a type, or a status that stands for one.
    pub fail_type: bool,
}

impl Held {
    fn note(&mut self, observation: &Observation<'_>) {
        let versions = observation.versions == Some(true);
        self.record |= observation.versions.is_some();
        match &observation.said {
            Said::Open => {
                self.start = true;
                self.start_versions |= versions;
            }
            Said::Fail(fault) => {
                self.fail_versions |= versions;
                self.fail_state |=
                    observation.state.as_deref().is_some_and(|state| !matches!(state, "" | "-"));
                self.fail_type |=
                    !matches!(fault.kind.as_ref(), "" | "Unknown") || fault.status.is_some();
            }
            _ => {}
        }
    }

    fn merge(&mut self, other: Self) {
        self.record |= other.record;
        self.start |= other.start;
        self.start_versions |= other.start_versions;
        self.fail_versions |= other.fail_versions;
        self.fail_state |= other.fail_state;
        self.fail_type |= other.fail_type;
    }
}

/// One span, as far as it was seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Span {
    /// Its id.
    pub key: u64,
    /// The caller's span.
    pub parent: Option<u64>,
    /// The component; empty where only the source can tell.
    pub component: CompactString,
    /// The instance; empty where only the source can tell.
    pub instance: CompactString,
    /// The instances that it calls, in the order in which it first names them.
    pub callees: Vec<(Mark, CompactString)>,
    /// Its first line.
    pub first: Mark,
    /// Its last line.
    pub last: Mark,
    /// Its last line but a mere close.
    pub word: Option<Mark>,
    /// Its last line that ended nothing.
    pub spoke: Option<Mark>,
    /// What its lines hold.
    pub held: Held,
    /// Its end.
    pub ended: Option<Mark>,
    /// Its close, which says nothing of success.
    pub closed: Option<Mark>,
    /// Its caller's leaving.
    pub cancelled: Option<Mark>,
    /// Its failure.
    pub failed: Option<Box<Failure>>,
    /// The last error that it told without failing.
    pub distress: Option<Box<Failure>>,
    /// The last time that its stream was made anew.
    pub recreated: Option<Mark>,
    /// It answered, and
    pub answered: bool,
    /// it streams.
    pub streaming: bool,
    /// Where in its work it was, latest last.
    pub states: Vec<(Mark, CompactString)>,
}

impl Span {
    pub(super) fn new(key: u64, mark: Mark) -> Self {
        Self {
            key,
            parent: None,
            component: CompactString::default(),
            instance: CompactString::default(),
            callees: Vec::new(),
            first: mark,
            last: mark,
            word: None,
            spoke: None,
            held: Held::default(),
            ended: None,
            closed: None,
            cancelled: None,
            failed: None,
            distress: None,
            recreated: None,
            answered: false,
            streaming: false,
            states: Vec::new(),
        }
    }

    /// Notes an ordinary line.
    pub(super) fn pass(&mut self, pass: &Pass<'_>) {
        keep_max(&mut self.parent, Some(pass.parent).filter(|parent| *parent != 0));
        keep_longer(&mut self.component, Some(pass.component));
        keep_longer(&mut self.instance, pass.instance);
        self.note_words(pass.mark, pass.callee, pass.state);
        keep_max(&mut self.word, Some(pass.mark));
        if !matches!(pass.kind, Kind::End) {
            keep_max(&mut self.spoke, Some(pass.mark));
        }
        self.held.record = true;
        match pass.kind {
            Kind::Start => {
                self.held.start = true;
                self.held.start_versions |= pass.has_versions;
            }
            Kind::State => {}
            Kind::End => keep_min(&mut self.ended, Some(pass.mark)),
        }
    }

    /// Notes when a line was, whom it names and which state.
    fn note_words(&mut self, mark: Mark, callee: Option<&str>, state: Option<&str>) {
        if let Some(callee) = callee.filter(|callee| !callee.is_empty()) {
            self.callees.push((mark, CompactString::from(callee)));
            self.trim_callees();
        }
        self.first = self.first.min(mark);
        self.last = self.last.max(mark);
        if let Some(state) = state {
            self.states.push((mark, CompactString::from(state)));
            self.trim_states();
        }
    }

    pub(super) fn note(
        &mut self,
        reference: &SpanRef<'_>,
        observation: &Observation<'_>,
        mark: Mark,
    ) {
        keep_max(&mut self.parent, reference.parent);
        keep_longer(&mut self.component, reference.component.as_deref());
        keep_longer(&mut self.instance, reference.instance.as_deref());
        self.note_words(mark, reference.callee.as_deref(), observation.state.as_deref());
        if !matches!(observation.said, Said::Closed) {
            keep_max(&mut self.word, Some(mark));
        }
        if !matches!(observation.said, Said::Closed | Said::End | Said::Cancel | Said::Fail(_)) {
            keep_max(&mut self.spoke, Some(mark));
        }
        self.held.note(observation);
        let failure = |fault: &crate::observation::Fault<'_>, traceback: bool| {
            Box::new(Failure {
                mark,
                kind: CompactString::from(fault.kind.as_ref()),
                message: cut(&fault.message).into(),
                status: fault.status,
                traceback,
                engine: code::of_stack(&observation.message)
                    .or_else(|| observation.error.as_deref().and_then(code::of_stack))
                    .map(CompactString::from),
            })
        };
        match &observation.said {
            Said::Open | Said::Word => {}
            Said::Streaming => self.streaming = true,
            Said::Answered => self.answered = true,
            Said::Recreated => keep_max(&mut self.recreated, Some(mark)),
            Said::Closed => keep_min(&mut self.closed, Some(mark)),
            Said::End => keep_min(&mut self.ended, Some(mark)),
            Said::Cancel => keep_min(&mut self.cancelled, Some(mark)),
            Said::Fail(fault) => self.fail(failure(fault, false)),
            Said::Distress { fault, traceback } => {
                keep_max(&mut self.distress, Some(failure(fault, *traceback)))
            }
        }
    }

    /// Keeps the earliest failure, with the status that any of its lines tells.
    fn fail(&mut self, failure: Box<Failure>) {
        let status = self
            .failed
            .as_ref()
            .and_then(|kept| kept.status)
            .into_iter()
            .chain(failure.status)
            .min();
        keep_min(&mut self.failed, Some(failure));
        if let Some(kept) = &mut self.failed {
            kept.status = status;
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        keep_max(&mut self.parent, other.parent);
        keep_longer(&mut self.component, Some(&other.component));
        keep_longer(&mut self.instance, Some(&other.instance));
        self.callees.extend(other.callees);
        self.trim_callees();
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        keep_max(&mut self.word, other.word);
        keep_max(&mut self.spoke, other.spoke);
        self.held.merge(other.held);
        keep_min(&mut self.ended, other.ended);
        keep_min(&mut self.closed, other.closed);
        keep_min(&mut self.cancelled, other.cancelled);
        if let Some(failure) = other.failed {
            self.fail(failure);
        }
        keep_max(&mut self.distress, other.distress);
        keep_max(&mut self.recreated, other.recreated);
        self.answered |= other.answered;
        self.streaming |= other.streaming;
        self.states.extend(other.states);
        self.trim_states();
    }

    /// Keeps the latest mark of each state, and the latest states.
    fn trim_states(&mut self) {
        if self.states.len() < 2 {
            return;
        }
        self.states.sort_unstable_by(|a, b| (&a.1, b.0).cmp(&(&b.1, a.0)));
        self.states.dedup_by(|later, kept| later.1 == kept.1);
        self.states.sort_unstable();
        let surplus = self.states.len().saturating_sub(MAX_STATES);
        self.states.drain(..surplus);
    }

    /// Keeps the first mark of each callee, and the first callees.
    fn trim_callees(&mut self) {
        if self.callees.len() > 1 {
            self.callees.sort_unstable_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
            self.callees.dedup_by(|later, kept| later.1 == kept.1);
            self.callees.sort_unstable();
            self.callees.truncate(MAX_STATES);
        }
    }

    /// The instance that it named last; empty where it names none.
    pub fn callee(&self) -> &str {
        self.callees.last().map_or("", |(_, callee)| callee)
    }

    /// The state that it came to last; empty where it named none.
    pub fn state(&self) -> &str {
        self.states.last().map_or("", |(_, state)| state)
    }

    /// The state in which it has been silent since it said something. The line that ended it later names it again, if it names one.
    pub fn state_since(&self, mark: Mark) -> &str {
        let ended_in = self.states.last().filter(|(last, _)| Some(*last) == self.finished());
        let state = ended_in.or_else(|| self.states.iter().rev().find(|(since, _)| *since <= mark));
        state.map_or("", |(_, state)| state)
    }

    /// What became of it by its own words.
    ///
    /// Its first terminal line counts. Without one, an exception with its stack fails it, and so does an error that
    /// is its last word.
    pub fn fate(&self) -> Fate {
        let ended = self.ended;
        let failed = self.failed.as_ref().map(|failure| failure.mark);
        let cancelled = self.cancelled;
        let before = |a: Option<Mark>, b: Option<Mark>| a.is_some_and(|a| b.is_none_or(|b| a <= b));
        if before(failed, ended) && before(failed, cancelled) {
            return self.fate_of_failure();
        }
        if before(cancelled, ended) {
            return Fate::Cancelled;
        }
        if ended.is_some() {
            return Fate::Ok;
        }
        if self.last_distress().is_some() {
            return self.fate_of_failure();
        }
        if self.closed.is_some() || (self.answered && !self.streaming) {
            Fate::Ok
        } else {
            Fate::Open
        }
    }

    fn fate_of_failure(&self) -> Fate {
        match self.failure().and_then(|failure| caller_of(&failure.kind, failure.status)) {
            Some(Caller::Asked) => Fate::Rejected,
            Some(Caller::Left) => Fate::Cancelled,
            None => Fate::Failed,
        }
    }

    /// The failure that counts, whoever is to blame.
    pub fn failure(&self) -> Option<&Failure> {
        self.failed.as_deref().or_else(|| self.last_distress())
    }

    /// An error that proves a failure because nothing better came after it.
    fn last_distress(&self) -> Option<&Failure> {
        self.distress
            .as_deref()
            .filter(|distress| distress.traceback || Some(distress.mark) == self.word)
    }

    /// When it ended, failed, was cancelled or closed.
    pub fn finished(&self) -> Option<Mark> {
        let failed = self.failed.as_ref().map(|failure| failure.mark);
        [self.ended, failed, self.cancelled, self.closed].into_iter().flatten().min()
    }

    /// Whether its last word is that its stream is made anew.
    pub fn ends_recreated(&self) -> bool {
        self.recreated.is_some() && self.recreated == self.word
    }

    /// How long it took, where it ended well.
    pub fn duration(&self) -> Option<i64> {
        let end = self.ended.or(self.closed)?.time()?;
        Some(end.saturating_sub(self.first.time()?))
    }
}

/// Of two names the longer, then the greater: no order decides, and a name beats none.
fn keep_longer(slot: &mut CompactString, value: Option<&str>) {
    if let Some(value) = value
        && (value.len(), value) > (slot.len(), slot.as_str())
    {
        *slot = CompactString::from(value);
    }
}

fn cut(text: &str) -> &str {
    let end = text
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= MAX_MESSAGE)
        .last()
        .unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
