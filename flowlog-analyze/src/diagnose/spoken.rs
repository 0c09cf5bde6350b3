//! What was said beside flows, with all that bears on it: how much it weighs, when it was said, and of whom it tells.

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::confidence::Basis;
use super::processes::World;
use crate::flow::{Mark, Place, ProcessFacts, Sign, Table, Voice, VoiceFacts};
use crate::format::error_of;
use crate::names;
use crate::sign::{Class, Layer};

/// How often an unreachable dependency must be told of: once may be a slow start.
const ENOUGH: u64 = 2;

/// How long before the end of a log the last sign may lie and still hold until the end, in nanoseconds.
const STILL: i64 = 15 * SECOND;

/// How long after a stop began what is said is noise of going down, in nanoseconds.
pub(super) const GOING_DOWN: i64 = 60 * SECOND;

/// How often somebody must say that he waits.
const BEATS: u64 = 3;

pub(super) const SECOND: i64 = 1_000_000_000;

/// How much a failure weighs, the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// It ends a process or a run.
    Heavy,
    /// An error that somebody told, or passed on.
    Told,
    /// A test, a step of a job or a client says that something failed.
    Seen,
    /// Waiting without progress.
    Stall,
    /// A stop that nobody ordered.
    Stop,
}

/// What may have failed first.
#[derive(Debug)]
pub(super) struct Suspect {
    pub weight: Weight,
    pub relay: bool,
    pub layer: Layer,
    /// When it was said, by the common clock, at the earliest and at the latest.
    pub from: i64,
    pub until: i64,
    pub failure: FirstFailure,
}

/// A sign with all that bears on it.
pub(super) struct Spoken<'t> {
    pub table: &'t Table,
    pub world: &'t World,
    pub voice: Voice,
    pub facts: &'t VoiceFacts,
    pub class: Class,
    pub about: &'t CompactString,
    pub layer: Layer,
    pub sign: &'t Sign,
}

impl<'t> Spoken<'t> {
    /// Everything that was said, voice by voice.
    pub(super) fn every(table: &'t Table, world: &'t World) -> impl Iterator<Item = Self> {
        table.voices.iter().flat_map(move |(voice, facts)| {
            let of = move |((class, about, layer), sign): (
                &'t (Class, CompactString, Layer),
                &'t Sign,
            )| Self {
                table,
                world,
                voice: *voice,
                facts,
                class: *class,
                about,
                layer: *layer,
                sign,
            };
            facts.signs.iter().map(of)
        })
    }

    /// How much it weighs as a failure; `None` where it is none.
    pub(super) fn weight(&self, judged: bool, signals: &[(Option<i64>, Place)]) -> Option<Weight> {
        let (facts, sign) = (self.facts, self.sign);
        let ordered = || shut_down_before(facts, sign);
        let stops = || ordered() || self.follows_order(signals);
        let handled = || self.outlived(&[Class::Works, Class::Recovered]);
        let seen = |weight: Weight| if self.layer >= Layer::Client { Weight::Seen } else { weight };
        match self.class {
            Class::Panic => (judged || !handled()).then_some(Weight::Heavy),
            Class::StartFailure => (!ordered()
                && (!judged || !served(facts) || last_word(facts, sign)))
            .then_some(Weight::Heavy),
            Class::Unreachable => {
                (if judged { sign.count >= ENOUGH && lasts(facts, sign) } else { !handled() })
                    .then_some(Weight::Heavy)
            }
            Class::Fatal | Class::Killed => {
                (!stops() && (!judged || last_word(facts, sign))).then_some(Weight::Heavy)
            }
            // After an ordinary shutdown began, and in a process that goes on, an exception was only printed.
            Class::Traceback => {
                (if judged { last_word(facts, sign) && !ordered() } else { !stops() && !handled() })
                    .then_some(seen(Weight::Heavy))
            }
            Class::Infrastructure => (!judged && !handled()).then_some(Weight::Heavy),
            Class::Error | Class::Relay => {
                (!judged && !stops() && !handled()).then_some(seen(Weight::Told))
            }
            Class::Waiting => (!judged
                && is_beat(sign)
                && lasts(facts, sign)
                && !self.outlived(&[Class::Works, Class::Ready]))
            .then_some(Weight::Stall),
            Class::Recovered
            | Class::Client
            | Class::Left
            | Class::Handled
            | Class::Teardown
            | Class::Signal
            | Class::Stop
            | Class::InFlight
            | Class::Ready
            | Class::Works => None,
        }
    }

    /// Whether the speaker told of something better after it had said this last.
    pub(super) fn outlived(&self, better: &[Class]) -> bool {
        let later = |sign: &Sign| {
            (sign.last.time, sign.last.place) > (self.sign.last.time, self.sign.last.place)
        };
        self.facts.signs.iter().any(|((class, ..), sign)| better.contains(class) && later(sign))
    }

    /// Whether it was said when the run or the process had just been told to stop.
    fn follows_order(&self, signals: &[(Option<i64>, Place)]) -> bool {
        let own = self.sign.first.0.place;
        signals.iter().any(|(stop, place)| {
            match (stop, self.sign.first.0.time().and(self.time())) {
                (Some(stop), Some(time)) if *stop != time => {
                    (*stop..stop + GOING_DOWN).contains(&time)
                }
                // Without times, or at one time, the order in one log tells.
                _ => place.source == own.source && place.offset < own.offset,
            }
        })
    }

    /// When it was first said, by the common clock; before any stamp it was said before the first.
    pub(super) fn time(&self) -> Option<i64> {
        let process = self.world.of_voice(self.voice);
        let first = self.facts.all.first.filter(|first| first.time().is_some());
        self.world.time(self.sign.first.0, process).or_else(|| self.world.time(first?, process))
    }

    pub(super) fn suspect(&self, weight: Weight) -> Suspect {
        let failure = self.failure();
        let from = failure.time.unwrap_or(i64::MIN);
        let relay = self.class == Class::Relay;
        Suspect {
            weight,
            relay,
            layer: self.layer,
            from,
            until: from.saturating_add(failure.blur.max(1)),
            failure,
        }
    }

    /// Component, instance and process that it tells of.
    pub(super) fn who(&self) -> (CompactString, Option<CompactString>, usize) {
        let known = |instance: &CompactString| (!instance.is_empty()).then(|| instance.clone());
        let shared =
            matches!(self.about.as_str(), "etcd" | "nats") || self.class == Class::Infrastructure;
        if shared {
            return (self.about.clone(), None, usize::MAX);
        }
        let process = self.world.of_voice(self.voice);
        let speaker = self.world.process(process);
        if !self.about.is_empty() {
            return (self.about.clone(), known(&speaker.instance), process);
        }
        // Whose code a process runs, a stack shows, if any of its lines has one.
        let own = self.facts.named.len() <= 1 && speaker.component != "unknown";
        let stack = self
            .facts
            .signs
            .keys()
            .find(|(class, about, _)| own && *class == Class::Traceback && !about.is_empty());
        if let Some((_, about, _)) = stack {
            return (about.clone(), known(&speaker.instance), process);
        }
        let words = self.sign.first.1.lines().next().unwrap_or_default();
        // Whom the words name; what was killed for its memory is the cluster's where they name nobody.
        let named = || {
            names::component_in(words)
                .or(words.to_ascii_lowercase().contains("oom").then_some("k8s"))
        };
        // A job's log is named after the job, which is no component.
        let of_job = matches!(self.class, Class::Error | Class::Relay | Class::StartFailure);
        if of_job && self.layer == Layer::Step && names::component_in(&speaker.component).is_none()
        {
            return (CompactString::from(named().unwrap_or("test_fail")), None, process);
        }
        // Who started it tells of an end, and of whose.
        if let Some(named) = names::component_in(words)
            .filter(|_| self.layer == Layer::Step && self.class == Class::Killed)
        {
            return (CompactString::from(named), None, process);
        }
        if speaker.component != "unknown" {
            return (speaker.component.clone(), known(&speaker.instance), process);
        }
        // A log of many: who speaks next to it.
        if let Some((component, instance)) = self.neighbour() {
            return (component.clone(), known(instance), process);
        }
        (
            named().map_or_else(|| speaker.component.clone(), CompactString::from),
            known(&speaker.instance),
            process,
        )
    }

    /// Who speaks nearest to it in the same log, of those that say who they are.
    fn neighbour(&self) -> Option<(&CompactString, &CompactString)> {
        let place = self.sign.first.0.place;
        let distance = |facts: &ProcessFacts| {
            let own = |mark: Option<Mark>| {
                mark.map(|mark| mark.place).filter(|own| own.source == place.source)
            };
            let (first, last) = (own(facts.first)?.offset, own(facts.last)?.offset);
            Some(if (first..=last).contains(&place.offset) {
                0
            } else {
                first.abs_diff(place.offset).min(last.abs_diff(place.offset))
            })
        };
        let named = self.facts.named.iter().filter_map(|name| {
            Some((distance(self.table.processes.get(name)?)?, &name.0, &name.1))
        });
        let voices = self.table.voices.iter().filter_map(|(voice, facts)| {
            let process = self.world.process(self.world.of_voice(*voice));
            (process.component != "unknown").then_some((
                distance(&facts.all)?,
                &process.component,
                &process.instance,
            ))
        });
        named.chain(voices).min().map(|(_, component, instance)| (component, instance))
    }

    pub(super) fn failure(&self) -> FirstFailure {
        let error = error_of(&self.sign.first.1);
        let (component, instance, process) = self.who();
        let message = match self.class {
            Class::Waiting => {
                format!("waits without progress, {} times: {}", self.sign.count, error.message)
            }
            Class::Stop => {
                format!("stopped first, with work in flight and no order to: {}", error.message)
            }
            _ => error.message.into_owned(),
        };
        FirstFailure {
            kind: FailureKind::Run,
            component,
            instance,
            process,
            state: CompactString::default(),
            error_type: error.kind.into(),
            message: message.into(),
            told: Box::default(),
            time: self.time(),
            blur: i64::from(self.sign.first.0.blur),
            status: None,
            callee: CompactString::default(),
            answered: Vec::new(),
            whole_process: false,
            basis: match self.class {
                Class::Error => Basis::Word,
                Class::Relay => Basis::Relay,
                Class::Waiting | Class::Stop => Basis::Pattern,
                _ => Basis::Sign,
            },
            victims: Vec::new(),
            evidence: vec![self.sign.first.0.place],
        }
    }
}

/// Whether somebody says the same again and again, at a steady beat.
fn is_beat(sign: &Sign) -> bool {
    let mut gaps: Vec<i64> = sign.moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let at = |index: usize| gaps.get(index).copied().unwrap_or(0);
    let (median, longest) =
        (at(gaps.len().saturating_sub(1) / 2), at(gaps.len().saturating_sub(1)));
    // Two lines that alternate beat in pairs, so that only the longer half of the pauses tells.
    let pairs = if gaps.len() >= 4 { at(gaps.len() - gaps.len() / 2) } else { 0 };
    sign.count >= BEATS && longest <= median.max(pairs).saturating_mul(3)
}

fn served(facts: &VoiceFacts) -> bool {
    facts.signs.keys().any(|(class, ..)| *class == Class::Ready) || !facts.named.is_empty()
}

fn last_word(facts: &VoiceFacts, sign: &Sign) -> bool {
    let last = facts.all.activity.last().unwrap_or(i64::MIN);
    sign.last.time().is_none_or(|time| last <= time.saturating_add(2 * SECOND))
}

fn shut_down_before(facts: &VoiceFacts, sign: &Sign) -> bool {
    facts
        .all
        .shutdowns
        .first()
        .is_some_and(|stop| sign.first.0.time().is_some_and(|time| stop < time))
}

/// Whether it was still so when the log ended or an ordinary shutdown began.
fn lasts(facts: &VoiceFacts, sign: &Sign) -> bool {
    let stops = facts
        .signs
        .iter()
        .filter(|((class, ..), stop)| *class == Class::Stop && stop.first.0 > sign.first.0);
    let stop =
        stops.filter_map(|(_, stop)| stop.first.0.time()).chain(facts.all.shutdowns.first()).min();
    let end = stop.or(facts.all.activity.last()).unwrap_or(i64::MAX);
    sign.last.time().is_none_or(|time| end <= time.saturating_add(STILL))
}
