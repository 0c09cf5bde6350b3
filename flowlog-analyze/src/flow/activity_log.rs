//! Process activity: when processes logged, started, shut down or were killed, and the rule matches
//! in their lines outside flows.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::activity::Activity;
use super::position::{LogPosition, keep_max, keep_min};
use crate::envelope::Producer;
use crate::event::ProcessEvent;
use crate::rules::{HEAD_BYTES, RuleClass, RuleMatch, StackLayer, TAIL_BYTES};

/// Activity and lifecycle of a process.
#[derive(Debug, Clone, Default)]
pub struct ProcessActivity {
    /// Times at which the process logged.
    pub activity: Activity,
    /// Times at which the process reported its start.
    pub starts: Activity,
    /// Times at which the process reported its shutdown.
    pub shutdowns: Activity,
    /// Times at which a line of any process reported that this one was killed.
    pub kills: Activity,
    /// Earliest line that reports a kill.
    pub kill_position: Option<LogPosition>,
    /// First line.
    pub first: Option<LogPosition>,
    /// Last line.
    pub last: Option<LogPosition>,
}

impl ProcessActivity {
    /// No activity.
    pub const EMPTY: Self = Self {
        activity: Activity::EMPTY,
        starts: Activity::EMPTY,
        shutdowns: Activity::EMPTY,
        kills: Activity::EMPTY,
        kill_position: None,
        first: None,
        last: None,
    };

    /// Adds a line.
    pub(super) fn note(&mut self, position: LogPosition, event: Option<ProcessEvent>) {
        keep_min(&mut self.first, Some(position));
        keep_max(&mut self.last, Some(position));
        let Some(time) = position.time() else { return };
        match event {
            // A line that reports a kill was not logged by the process that was killed.
            Some(ProcessEvent::Kill) => {
                self.kills.insert(time);
                keep_min(&mut self.kill_position, Some(position));
                return;
            }
            Some(ProcessEvent::Start) => self.starts.insert(time),
            Some(ProcessEvent::Shutdown) => self.shutdowns.insert(time),
            None => {}
        }
        self.activity.insert(time);
    }

    /// Merges the activity from another part of the input.
    pub fn merge(&mut self, other: &Self) {
        self.activity.merge(&other.activity);
        self.starts.merge(&other.starts);
        self.shutdowns.merge(&other.shutdowns);
        self.kills.merge(&other.kills);
        keep_min(&mut self.kill_position, other.kill_position);
        keep_min(&mut self.first, other.first);
        keep_max(&mut self.last, other.last);
    }
}

/// Rule matches of one producer with the same class, component and layer.
#[derive(Debug, Clone)]
pub struct MatchStats {
    /// Earliest match: its position and message, and the name of its rule.
    pub first: (LogPosition, Box<str>, &'static str),
    /// Latest match.
    pub last: LogPosition,
    /// Number of matches.
    pub count: u64,
    /// Earliest match times, in order; at most [`MatchStats::MAX_TIMES`].
    pub times: Vec<i64>,
    /// All match times, to the second.
    pub activity: Activity,
}

impl MatchStats {
    /// Maximum number of match times kept: enough to detect a regular interval.
    pub const MAX_TIMES: usize = 12;

    /// Keeps only the beginning and the end of a long message, which are the parts that the rules
    /// search: the exception of a stack trace comes last.
    fn new(position: LogPosition, words: &str, rule: &'static str) -> Self {
        let words: Box<str> = if words.len() <= HEAD_BYTES + TAIL_BYTES {
            words.into()
        } else {
            let head = words.get(..words.floor_char_boundary(HEAD_BYTES)).unwrap_or_default();
            let tail =
                words.get(words.ceil_char_boundary(words.len() - TAIL_BYTES)..).unwrap_or_default();
            // Keep only whole lines, so that the cut leaves no line that was never logged.
            let (head, tail) = (
                head.rsplit_once('\n').map_or(head, |(head, _)| head),
                tail.split_once('\n').map_or(tail, |(_, tail)| tail),
            );
            format!("{head}\n{tail}").into()
        };
        Self {
            first: (position, words, rule),
            last: position,
            count: 1,
            times: position.time().into_iter().collect(),
            activity: position.time().into_iter().collect(),
        }
    }

    fn merge(&mut self, other: Self) {
        if other.first.0 < self.first.0 {
            self.first = other.first;
        }
        self.last = self.last.max(other.last);
        self.count += other.count;
        self.times.extend(other.times);
        self.times.sort_unstable();
        self.times.truncate(Self::MAX_TIMES);
        self.activity.merge(&other.activity);
    }
}

/// Activity and rule matches of one producer in one source.
#[derive(Debug, Clone, Default)]
pub struct ProducerActivity {
    /// Identity of the producer, if an envelope provides it.
    pub name: Option<Producer>,
    /// Lines that name no instance, and lines of spans that inherit their instance.
    pub unnamed_lines: ProcessActivity,
    /// All lines.
    pub all_lines: ProcessActivity,
    /// Named instances, each with its component.
    pub named_instances: BTreeSet<(CompactString, CompactString)>,
    /// Components that are named without an instance.
    pub components: BTreeSet<CompactString>,
    /// Whether any line is of a format that only known programs write.
    pub has_known_format: bool,
    /// Whether any line is of a logger that any program may use, with a level.
    pub has_any_logger: bool,
    /// Libraries that log through this producer.
    pub libraries: BTreeSet<CompactString>,
    /// Rule matches, by class, by affected component (empty if it is the producer itself) and by
    /// layer.
    pub matches: BTreeMap<(RuleClass, CompactString, StackLayer), MatchStats>,
}

impl ProducerActivity {
    /// Adds a rule match.
    pub(super) fn add_match(&mut self, rule_match: RuleMatch, position: LogPosition, words: &str) {
        self.merge_match(
            (rule_match.class, rule_match.component, rule_match.layer),
            MatchStats::new(position, words, rule_match.rule),
        );
    }

    fn merge_match(
        &mut self,
        key: (RuleClass, CompactString, StackLayer),
        match_stats: MatchStats,
    ) {
        match self.matches.entry(key) {
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                entry.get_mut().merge(match_stats);
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(match_stats);
            }
        }
    }

    /// Merges the data from another part of the input.
    pub(super) fn merge(&mut self, other: Self) {
        self.unnamed_lines.merge(&other.unnamed_lines);
        self.all_lines.merge(&other.all_lines);
        self.named_instances.extend(other.named_instances);
        self.components.extend(other.components);
        self.libraries.extend(other.libraries);
        self.has_known_format |= other.has_known_format;
        self.has_any_logger |= other.has_any_logger;
        if self.name.is_none() {
            self.name = other.name;
        }
        for (key, match_stats) in other.matches {
            self.merge_match(key, match_stats);
        }
    }
}
