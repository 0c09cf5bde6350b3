//! Message patterns: messages without their variable parts, with counts, places and rates.
//!
//! Every line of a format that names no flow by structure belongs to a pattern. What is unusual in
//! a run is found by its patterns: new ones, ones that are missing, and ones that come more often.
//!
//! Merging does not depend on the order of the parts: counts are sums, places are minima and
//! maxima, and when there are too many patterns, they are sampled by their hashes, which gives the
//! same ones in any order.

mod mask;
mod rate;

use std::collections::HashMap;

use compact_str::CompactString;
use flowlog_schema::Level;
use foldhash::fast::FixedState;

use crate::event::truncate;
use crate::flow::{LogPosition, ProducerId};
use crate::format::{ownership, root_cause};
use crate::secrets;

pub use mask::{masked, pattern_hash, without_line};
pub use rate::Rate;

/// Identity of a pattern within a run: who logged it, and a hash of logger and masked message.
pub type PatternKey = (ProducerId, u64);

/// Lines of one producer with one pattern.
#[derive(Debug, Clone)]
pub struct PatternStats {
    /// Component that the lines name as their own; empty if none.
    pub component: CompactString,
    /// Instance that the lines name; empty if none.
    pub instance: CompactString,
    /// Logger, module or program.
    pub target: CompactString,
    /// Severity.
    pub level: Option<Level>,
    /// Whether the lines report a failure: by their level, a stack, or the type of an error.
    pub is_error: bool,
    /// Whether an exception's stack follows.
    pub has_stack: bool,
    /// Number of lines.
    pub count: u64,
    /// Earliest line and its message.
    pub first: (LogPosition, Box<str>),
    /// Component that owns the code in the stack of the earliest line; empty if none is known.
    pub code_owner: CompactString,
    /// Root cause of the chain of exceptions in the earliest line; empty if there is none.
    pub root_cause: Box<str>,
    /// Latest line.
    pub last: LogPosition,
    /// When the lines were logged.
    pub rate: Rate,
}

impl PatternStats {
    /// Takes the earliest line's names and message.
    fn describe(&mut self, line: &PatternLine<'_>) {
        self.component = line.component.into();
        self.instance = line.instance.into();
        self.target = line.target.into();
        self.first = (line.position, truncate(line.message, MAX_MESSAGE_BYTES).into());
        let stack = line.has_stack.then_some(line.message);
        self.code_owner = stack.and_then(ownership::of_stack).unwrap_or_default().into();
        // What is cut may be what a secret is known by.
        let root_cause = secrets::mask(stack.and_then(root_cause).unwrap_or_default());
        self.root_cause = truncate(&root_cause, MAX_ROOT_BYTES).into();
    }

    /// Merges the lines of another part of the input.
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        if other.first.0 < self.first.0 {
            self.first = other.first;
            self.root_cause = other.root_cause;
            self.code_owner = other.code_owner;
            self.component = other.component;
            self.instance = other.instance;
            self.target = other.target;
        }
        self.level = self.level.max(other.level);
        self.is_error |= other.is_error;
        self.has_stack |= other.has_stack;
        self.last = self.last.max(other.last);
        self.rate.merge(other.rate);
    }
}

/// A line to add.
#[derive(Debug, Clone, Copy)]
pub struct PatternLine<'a> {
    /// Component that the line names as its own; empty if none.
    pub component: &'a str,
    /// Instance that the line names; empty if none.
    pub instance: &'a str,
    /// Logger, module or program; empty if none.
    pub target: &'a str,
    /// Severity.
    pub level: Option<Level>,
    /// See [`PatternStats::is_error`].
    pub is_error: bool,
    /// See [`PatternStats::has_stack`].
    pub has_stack: bool,
    /// Place of the line.
    pub position: LogPosition,
    /// Message, with the error.
    pub message: &'a str,
}

/// Maximum length of the message that a pattern keeps, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Maximum length of the root cause that a pattern keeps, in bytes.
const MAX_ROOT_BYTES: usize = 256;

/// Maximum number of patterns, of which half may be errors.
const MAX_PATTERNS: usize = 32_768;

/// All patterns of a part of the input.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    stats: HashMap<PatternKey, PatternStats, FixedState>,
    /// Patterns of errors, and others, with a hash that has more leading zeros than this are kept.
    depths: [u32; 2],
    counts: [usize; 2],
}

impl Patterns {
    /// Iterates over the patterns, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&PatternKey, &PatternStats)> {
        let mut stats: Vec<(&PatternKey, &PatternStats)> = self.stats.iter().collect();
        stats.sort_unstable_by_key(|(key, _)| **key);
        stats.into_iter()
    }

    /// Returns whether patterns were dropped because there were too many.
    pub fn is_sampled(&self) -> bool {
        self.depths.iter().any(|depth| *depth > 0)
    }

    /// Adds one line.
    pub fn add(&mut self, key: PatternKey, line: &PatternLine<'_>) {
        let position = line.position;
        if let Some(stats) = self.stats.get_mut(&key) {
            stats.count += 1;
            if line.is_error && !stats.is_error {
                stats.is_error = true;
                self.counts[0] += 1;
                self.counts[1] -= 1;
            }
            stats.has_stack |= line.has_stack;
            stats.level = stats.level.max(line.level);
            // A line may come again, as a part of a longer event.
            if position <= stats.first.0 {
                stats.describe(line);
            }
            stats.last = stats.last.max(position);
            if let Some(time) = position.time() {
                stats.rate.add(time, 1);
            }
            return;
        }
        let mut rate = Rate::default();
        if let Some(time) = position.time() {
            rate.add(time, 1);
        }
        let mut stats = PatternStats {
            component: CompactString::default(),
            instance: CompactString::default(),
            target: CompactString::default(),
            level: line.level,
            is_error: line.is_error,
            has_stack: line.has_stack,
            count: 1,
            first: (position, Box::default()),
            code_owner: CompactString::default(),
            root_cause: Box::default(),
            last: position,
            rate,
        };
        stats.describe(line);
        self.insert(key, stats);
    }

    /// Takes back a line that is added again as a part of a longer event.
    pub fn take_back(&mut self, key: PatternKey, time: i64) {
        if let Some(stats) = self.stats.get_mut(&key) {
            stats.count = stats.count.saturating_sub(1);
            stats.rate.take_back(time);
        }
    }

    /// Merges the patterns of another part of the input.
    pub fn merge(&mut self, other: Self) {
        for class in 0..2 {
            if other.depths[class] > self.depths[class] {
                self.depths[class] = other.depths[class];
                self.drop_shallow(class);
            }
        }
        for (key, stats) in other.stats {
            self.insert(key, stats);
        }
    }

    fn insert(&mut self, key: PatternKey, stats: PatternStats) {
        let class = usize::from(!stats.is_error);
        if depth_of(key) < self.depths[class] {
            return;
        }
        match self.stats.entry(key) {
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                if known.is_error != stats.is_error {
                    // It counts as an error from now on.
                    self.counts[1] -= usize::from(!known.is_error);
                    self.counts[0] += usize::from(!known.is_error);
                }
                known.merge(stats);
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(stats);
                self.counts[class] += 1;
            }
        }
        while self.counts[class] > MAX_PATTERNS / 2 {
            self.depths[class] += 1;
            self.drop_shallow(class);
        }
    }

    fn drop_shallow(&mut self, class: usize) {
        let depth = self.depths[class];
        let counts = &mut self.counts;
        self.stats.retain(|key, stats| {
            let is_kept = usize::from(!stats.is_error) != class || depth_of(*key) >= depth;
            counts[class] -= usize::from(!is_kept);
            is_kept
        });
    }
}

/// Returns the number of leading zeros of a key's hash: half of all keys have one or more.
fn depth_of(key: PatternKey) -> u32 {
    // The lower bits vary as much as the upper ones, which the hash's last step mixes less.
    key.1.reverse_bits().leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::LineRef;

    fn stats(at: u64, is_error: bool) -> PatternStats {
        let line = LineRef { source: 0, offset: at, producer: 0 };
        let position =
            LogPosition { clock: 0, time: 1_000_000_000 * at as i64, line, resolution_ns: 1 };
        let mut rate = Rate::default();
        rate.add(position.time, 1);
        PatternStats {
            component: CompactString::default(),
            instance: CompactString::default(),
            target: CompactString::default(),
            level: None,
            is_error,
            has_stack: false,
            count: 1,
            first: (position, format!("m{at}").into()),
            code_owner: CompactString::default(),
            root_cause: Box::default(),
            last: position,
            rate,
        }
    }

    #[test]
    fn the_earliest_line_describes_a_pattern_in_any_order_and_in_any_parts() {
        let key: PatternKey = (ProducerId { source: 0, producer: 0 }, 7);
        let line = |at: i64, message: &'static str| PatternLine {
            component: "",
            instance: "",
            target: "",
            level: None,
            is_error: at == 10,
            has_stack: true,
            position: LogPosition {
                clock: 0,
                time: at,
                line: LineRef { source: 0, offset: 0, producer: 0 },
                resolution_ns: 1,
            },
            message,
        };
        let late = line(10, "x\na.BException: x\n\tat a.b(C.java:1)\nCaused by: a.DError: late");
        let early = line(5, "x\na.BException: x\n\tat a.b(C.java:1)\nCaused by: a.DError: early");
        let part = |lines: &[PatternLine<'_>]| {
            let mut part = Patterns::default();
            lines.iter().for_each(|line| part.add(key, line));
            part
        };
        let mut merged = part(&[late]);
        merged.merge(part(&[early]));
        for patterns in [part(&[late, early]), part(&[early, late]), merged] {
            let (_, stats) = patterns.iter().next().unwrap();
            assert_eq!((&*stats.root_cause, stats.first.0.time), ("a.DError: early", 5));
            assert_eq!((stats.is_error, patterns.counts), (true, [1, 0]));
        }
    }

    #[test]
    fn a_root_cause_is_masked_before_it_is_cut() {
        let padding = "x".repeat(MAX_ROOT_BYTES - 60);
        let message = format!(
            "x\na.BException: x\n\tat a.b(C.java:1)\nCaused by: a.DError: {padding} postgres://app:hunter22hunter22hunter22hunter22hunter22@db/x"
        );
        let mut patterns = Patterns::default();
        let line = PatternLine {
            component: "",
            instance: "",
            target: "",
            level: None,
            is_error: true,
            has_stack: true,
            position: stats(1, true).first.0,
            message: &message,
        };
        patterns.add((ProducerId { source: 0, producer: 0 }, 7), &line);
        let (_, stats) = patterns.iter().next().unwrap();
        assert!(!stats.root_cause.contains("hunter"), "{}", stats.root_cause);
    }

    #[test]
    fn dropping_patterns_does_not_depend_on_the_order() {
        let keys: Vec<PatternKey> = (0..60_000u64)
            .map(|at| (ProducerId { source: 0, producer: 0 }, pattern_hash(&at.to_string(), "x y")))
            .collect();
        let build = |order: &mut dyn Iterator<Item = usize>| {
            let mut patterns = Patterns::default();
            for at in order {
                let key = (keys[at].0, keys[at].1 ^ at as u64);
                patterns.insert(key, stats(at as u64, at % 100 == 0));
            }
            let kept: Vec<PatternKey> = patterns.iter().map(|(key, _)| *key).collect();
            (kept, patterns.depths)
        };
        let forward = build(&mut (0..keys.len()));
        assert_eq!(forward, build(&mut (0..keys.len()).rev()));
        assert!(forward.0.len() <= MAX_PATTERNS && forward.1[1] > 0 && forward.1[0] == 0);
    }
}
