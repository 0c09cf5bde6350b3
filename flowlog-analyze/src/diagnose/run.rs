//! Failures that need no flow: a process that could not start or panicked, a shared dependency that is gone.

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::confidence::Basis;
use super::processes::World;
use crate::flow::{Sign, SignKind, Table, VoiceFacts};
use crate::format::{engine_of, error_of};

/// How often an unreachable dependency must be told of: once may be a slow start.
const ENOUGH: u64 = 2;

/// How long before the end of a log the last sign may lie and still hold until the end, in nanoseconds.
const STILL: i64 = 15_000_000_000;

/// Every failure of the run, in causal order.
pub(super) fn failures(table: &Table, world: &World) -> Vec<FirstFailure> {
    let mut failures: Vec<FirstFailure> = Vec::new();
    for (voice, facts) in &table.voices {
        let process = world.of_voice(*voice);
        for ((kind, about), sign) in &facts.signs {
            let failed = match kind {
                SignKind::Panic => true,
                SignKind::StartFailure => !shut_down_before(facts, sign) && (!served(facts) || last_word(facts, sign)),
                // After an ordinary shutdown began, and in a process that goes on, an exception was only printed.
                SignKind::Traceback => last_word(facts, sign) && !shut_down_before(facts, sign),
                SignKind::Unreachable => sign.count >= ENOUGH && lasts(facts, sign),
                SignKind::Ready => false,
            };
            if failed {
                failures.push(describe(*kind, about, sign, facts, process, world));
            }
        }
    }
    // One outage is one failure, whoever tells of it; and what a process says last is told by what it said first.
    failures.sort_by_key(|failure| (failure.time, failure.process));
    let mut seen: Vec<(usize, CompactString)> = Vec::new();
    failures.retain(|failure| {
        let key = if failure.process == usize::MAX {
            (usize::MAX, failure.component.clone())
        } else {
            (failure.process, CompactString::default())
        };
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
    if failures.iter().any(|failure| failure.process == usize::MAX) {
        // Who could not start because a dependency is gone did not fail first.
        failures.retain(|failure| failure.process == usize::MAX || !follows_outage(failure));
    }
    failures
}

fn follows_outage(failure: &FirstFailure) -> bool {
    let message = failure.message.to_ascii_lowercase();
    message.contains("etcd") || message.contains("nats") || failure.message.contains("Traceback")
}

fn served(facts: &VoiceFacts) -> bool {
    facts.signs.keys().any(|(kind, _)| *kind == SignKind::Ready) || !facts.named.is_empty()
}

fn last_word(facts: &VoiceFacts, sign: &Sign) -> bool {
    let last = facts.all.activity.last().unwrap_or(i64::MIN);
    sign.last.time().is_none_or(|time| last <= time.saturating_add(2_000_000_000))
}

fn shut_down_before(facts: &VoiceFacts, sign: &Sign) -> bool {
    facts.all.shutdowns.first().is_some_and(|stop| sign.first.0.time().is_some_and(|time| stop < time))
}

/// Whether it was still so when the log ended or an ordinary shutdown began.
fn lasts(facts: &VoiceFacts, sign: &Sign) -> bool {
    let end = facts.all.shutdowns.first().or(facts.all.activity.last()).unwrap_or(i64::MAX);
    sign.last.time().is_none_or(|time| end <= time.saturating_add(STILL))
}

fn describe(kind: SignKind, about: &CompactString, sign: &Sign, facts: &VoiceFacts, process: usize, world: &World) -> FirstFailure {
    let words = &sign.first.1;
    // Whose code it is, a stack shows, if any line of the process has one.
    let engine = facts.signs.values().find_map(|sign| engine_of(&sign.first.1));
    let error = error_of(words);
    let speaker = world.process(process);
    let (component, instance, process) = if kind == SignKind::Unreachable {
        (about.clone(), None, usize::MAX)
    } else {
        let component = engine.map_or_else(|| speaker.component.clone(), CompactString::from);
        (component, (!speaker.instance.is_empty()).then(|| speaker.instance.clone()), process)
    };
    FirstFailure {
        kind: FailureKind::Run,
        component,
        instance,
        process,
        state: CompactString::default(),
        error_type: error.kind.into(),
        message: error.message.into_owned().into(),
        told: Box::default(),
        time: world.time(sign.first.0, world.of_voice(sign.first.0.place.voice())),
        blur: i64::from(sign.first.0.blur),
        status: None,
        callee: CompactString::default(),
        answered: Vec::new(),
        whole_process: false,
        basis: Basis::Sign,
        victims: Vec::new(),
        evidence: vec![sign.first.0.place],
    }
}
