//! What is known of processes: when they spoke, started, shut down or were killed, and what they said outside flows.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::activity::Activity;
use super::mark::{Mark, keep_max, keep_min};
use crate::envelope::Speaker;
use crate::observation::ProcessEvent;
use crate::sign::{Class, Clue, HEAD, Layer, TAIL};

/// When a process spoke and what it said of itself.
#[derive(Debug, Clone, Default)]
pub struct ProcessFacts {
    /// When it spoke.
    pub activity: Activity,
    /// When it said that it starts.
    pub starts: Activity,
    /// When it said that it shuts down.
    pub shutdowns: Activity,
    /// When it, or somebody, said that it was killed.
    pub kills: Activity,
    /// A line that says so.
    pub kill_mark: Option<Mark>,
    /// Its first line.
    pub first: Option<Mark>,
    /// Its last line.
    pub last: Option<Mark>,
}

impl ProcessFacts {
    /// Facts of nobody.
    pub const EMPTY: Self = Self {
        activity: Activity::EMPTY,
        starts: Activity::EMPTY,
        shutdowns: Activity::EMPTY,
        kills: Activity::EMPTY,
        kill_mark: None,
        first: None,
        last: None,
    };

    /// Notes a line.
    pub(super) fn note(&mut self, mark: Mark, event: Option<ProcessEvent>) {
        keep_min(&mut self.first, Some(mark));
        keep_max(&mut self.last, Some(mark));
        let Some(time) = mark.time() else { return };
        match event {
            // The line that tells of a death is not the dead one's.
            Some(ProcessEvent::Kill) => {
                self.kills.insert(time);
                keep_min(&mut self.kill_mark, Some(mark));
                return;
            }
            Some(ProcessEvent::Start) => self.starts.insert(time),
            Some(ProcessEvent::Shutdown) => self.shutdowns.insert(time),
            None => {}
        }
        self.activity.insert(time);
    }

    /// Adds what another part of the input knows.
    pub fn merge(&mut self, other: &Self) {
        self.activity.merge(&other.activity);
        self.starts.merge(&other.starts);
        self.shutdowns.merge(&other.shutdowns);
        self.kills.merge(&other.kills);
        keep_min(&mut self.kill_mark, other.kill_mark);
        keep_min(&mut self.first, other.first);
        keep_max(&mut self.last, other.last);
    }
}

/// What was said of the run, by whom, how often.
#[derive(Debug, Clone)]
pub struct Sign {
    /// The earliest and its words.
    pub first: (Mark, Box<str>),
    /// The latest.
    pub last: Mark,
    /// How often.
    pub count: u64,
    /// The earliest moments, in order, at most [`Sign::MOMENTS`].
    pub moments: Vec<i64>,
}

impl Sign {
    /// How many moments are kept: enough to tell a beat.
    pub const MOMENTS: usize = 12;

    /// Of long words the beginning and the end are kept, which are what was searched: a stack's exception stands last.
    fn new(mark: Mark, words: &str) -> Self {
        let words: Box<str> = if words.len() <= HEAD + TAIL {
            words.into()
        } else {
            let head = words.get(..words.floor_char_boundary(HEAD)).unwrap_or_default();
            let tail =
                words.get(words.ceil_char_boundary(words.len() - TAIL)..).unwrap_or_default();
            // Whole lines, so that what is left out does not make a new one.
            let (head, tail) = (
                head.rsplit_once('\n').map_or(head, |(head, _)| head),
                tail.split_once('\n').map_or(tail, |(_, tail)| tail),
            );
            format!("{head}\n{tail}").into()
        };
        Self {
            first: (mark, words),
            last: mark,
            count: 1,
            moments: mark.time().into_iter().collect(),
        }
    }

    fn merge(&mut self, other: Self) {
        if other.first.0 < self.first.0 {
            self.first = other.first;
        }
        self.last = self.last.max(other.last);
        self.count += other.count;
        self.moments.extend(other.moments);
        self.moments.sort_unstable();
        self.moments.truncate(Self::MOMENTS);
    }
}

/// What is known of one speaker in one source.
#[derive(Debug, Clone, Default)]
pub struct VoiceFacts {
    /// Who it is, where its lines' envelopes tell.
    pub name: Option<Speaker>,
    /// Lines that name no instance; and lines of spans whose instance is inherited.
    pub own: ProcessFacts,
    /// Every line.
    pub all: ProcessFacts,
    /// The instances that speak in it, each with its component.
    pub named: BTreeSet<(CompactString, CompactString)>,
    /// Components that speak in it without naming an instance.
    pub components: BTreeSet<CompactString>,
    /// Libraries that speak in it.
    pub libraries: BTreeSet<CompactString>,
    /// What it says of the run, by class, by what it is about (empty where that is the speaker), and by where it was said.
    pub signs: BTreeMap<(Class, CompactString, Layer), Sign>,
}

impl VoiceFacts {
    /// Notes a sign.
    pub(super) fn sign(&mut self, clue: Clue, mark: Mark, words: &str) {
        self.add_sign((clue.class, clue.about, clue.layer), Sign::new(mark, words));
    }

    fn add_sign(&mut self, key: (Class, CompactString, Layer), sign: Sign) {
        match self.signs.entry(key) {
            std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().merge(sign),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(sign);
            }
        }
    }

    /// Adds what another part of the input knows.
    pub(super) fn merge(&mut self, other: Self) {
        self.own.merge(&other.own);
        self.all.merge(&other.all);
        self.named.extend(other.named);
        self.components.extend(other.components);
        self.libraries.extend(other.libraries);
        if self.name.is_none() {
            self.name = other.name;
        }
        for (key, sign) in other.signs {
            self.add_sign(key, sign);
        }
    }
}
