//! Cache of templates for lines without information.
//!
//! Most of a log is background noise: the same few messages with different numbers. The shape of a
//! line is the line with every digit replaced by the same character. If a shape was seen before and
//! showed nothing but that its producer was active, only the timestamp is parsed.
//!
//! Which numbers matter is measured, not assumed. When a template is learned, its numbers are
//! changed one by one, and those that change the meaning of the line (a pod's name, a rank, an HTTP
//! status) must be the same for a line to match. So must those in place of the digits in a rule's
//! text (`exit code 137`).

mod digit_roles;
mod template;
mod timestamp_slots;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::FixedState;

pub use self::template::Template;

use self::digit_roles::{
    DIGIT_PLACEHOLDER, DigitRun, find_significant_runs, is_free, numbers, overlaps, role_key,
    significant_digit_ranges,
};
use self::template::read;
use self::timestamp_slots::{TimestampCache, TimestampSlot, bump_last_digit, find};
use crate::multiline::TemplateOwner;
use crate::timestamp::Timestamp;

/// Cache of learned templates.
#[derive(Debug)]
pub struct TemplateCache {
    /// Latest entry of each shape, by the hash of the shape.
    latest: HashMap<u64, usize, FixedState>,
    entries: Vec<CacheEntry>,
    /// Which numbers of a line matter, in order, by the hash of its shape with numbers of any
    /// length.
    digit_roles: HashMap<u64, Vec<DigitRun>, FixedState>,
    /// Hashes of shapes that were seen once. A shape is learned when it is seen again.
    seen_once: Box<[u32]>,
    /// Shape of the current line.
    key: Vec<u8>,
    /// Cache of the last timestamps.
    timestamps: TimestampCache,
    /// How much learning may still cost, in parts of a read of a line ([`READ_COST`]): what matching
    /// has saved, less what learning took.
    budget: i64,
    /// Number of times the cache was cleared. Template numbers of another generation are invalid.
    generation: u32,
}

/// Learned line, and all lines that match it.
#[derive(Debug)]
struct CacheEntry {
    /// Template of the line; `None` if the line or its numbers have information.
    template: Option<Template>,
    /// Earlier entry of the same shape, with other names.
    previous: Option<usize>,
    key: Box<[u8]>,
    line: Box<[u8]>,
    /// Ranges in which other lines must be the same.
    literals: Vec<Range<usize>>,
}

/// Maximum length in bytes of a line that is matched.
const MAX_TEMPLATE_BYTES: usize = 2048;

/// Maximum number of entries; beyond it, the cache is cleared.
const MAX_TEMPLATES: usize = 8192;

/// Maximum number of entries per shape.
const MAX_CANDIDATES: usize = 64;

/// Cost of one read of a line. A line that matches no template allows a part of that for learning,
/// so that logs in which no line occurs twice cost an eighth more, not many times as much.
const READ_COST: i64 = 8;

/// Cost that learning may have before any line matched.
const FIRST_BUDGET: i64 = 4_000 * READ_COST;

/// Maximum cost that learning may have at once, however much was saved before.
const MAX_BUDGET: i64 = 50_000 * READ_COST;

/// Number of hashes of shapes seen once that are kept.
const SEEN_ONCE_SLOTS: usize = 1 << 14;

impl Default for TemplateCache {
    fn default() -> Self {
        Self {
            latest: HashMap::default(),
            entries: Vec::new(),
            digit_roles: HashMap::default(),
            seen_once: vec![0; SEEN_ONCE_SLOTS].into(),
            key: Vec::with_capacity(MAX_TEMPLATE_BYTES),
            timestamps: TimestampCache::default(),
            budget: FIRST_BUDGET,
            generation: 0,
        }
    }
}

impl TemplateCache {
    /// Returns the number of the template that the line matches.
    ///
    /// If there is none, learns it from a line of a shape that was seen before.
    pub fn match_template(&mut self, line: &[u8]) -> Option<usize> {
        if line.len() < MIN_TEMPLATE_BYTES || line.len() > MAX_TEMPLATE_BYTES {
            return None;
        }
        self.key.clear();
        self.key.extend(
            line.iter()
                .map(|byte| if byte.wrapping_sub(b'0') < 10 { DIGIT_PLACEHOLDER } else { *byte }),
        );
        let hash = FixedState::default().hash_one(self.key.as_slice());
        let mut next = self.latest.get(&hash).copied();
        let is_new = next.is_none();
        let mut passed = 0;
        while let Some(entry) = next.and_then(|at| self.entries.get(at)) {
            if *entry.key == *self.key
                && entry
                    .literals
                    .iter()
                    .all(|range| line.get(range.clone()) == entry.line.get(range.clone()))
            {
                let found = next.filter(|_| entry.template.is_some());
                self.allow(if found.is_some() { READ_COST } else { 1 });
                return found;
            }
            next = entry.previous;
            passed += 1;
        }
        self.allow(1);
        // Names that never repeat are not worth an entry.
        if passed >= MAX_CANDIDATES || self.budget < 0 {
            return None;
        }
        // Store the upper half of the hash. The lower half selects the slot.
        let slot = usize::try_from(hash).unwrap_or(usize::MAX) % SEEN_ONCE_SLOTS;
        let mark = u32::try_from(hash >> 32).unwrap_or(0) | 1;
        if is_new && self.seen_once.get(slot) != Some(&mark) {
            if let Some(slot) = self.seen_once.get_mut(slot) {
                *slot = mark;
            }
            return None;
        }
        self.learn(hash, line);
        None
    }

    /// Adds to what learning may cost.
    fn allow(&mut self, cost: i64) {
        self.budget = MAX_BUDGET.min(self.budget + cost);
    }

    /// Returns a number that changes when template numbers become invalid.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns the template with that number.
    pub fn template(&self, number: usize) -> Option<&Template> {
        self.entries.get(number).and_then(|entry| entry.template.as_ref())
    }

    /// Returns the owner of a line that matches a template, for the aggregator.
    pub fn template_owner(&self, number: usize) -> Option<TemplateOwner<'_>> {
        let template = self.template(number)?;
        Some(TemplateOwner {
            stream_key: template.stream_key,
            producer: template.producer(),
            splits_lines: template.meta.splits_lines,
            needs_earlier_time: !template.has_complete_time,
        })
    }

    /// Returns the line's own timestamp and that of its envelope, as the full parser would find
    /// them.
    ///
    /// Returns `None` if one of them is not a timestamp.
    pub fn timestamps(
        &mut self,
        number: usize,
        line: &[u8],
    ) -> Option<(Option<Timestamp>, Option<Timestamp>)> {
        let template = self.entries.get(number)?.template.as_ref()?;
        let mut read = |slot: &Option<TimestampSlot>, slot_index: usize| match slot {
            Some(slot) => self.timestamps.read(slot, slot_index, line).map(Some),
            None => Some(None),
        };
        Some((read(&template.own_slot, 0)?, read(&template.envelope_slot, 1)?))
    }

    /// Learns a line: its meaning, and which of its numbers affect that.
    fn learn(&mut self, hash: u64, line: &[u8]) {
        if self.entries.len() >= MAX_TEMPLATES {
            self.latest.clear();
            self.entries.clear();
            self.digit_roles.clear();
            self.generation = self.generation.wrapping_add(1);
        }
        let mut reads = 4;
        let template = read(line)
            .and_then(|(template, timestamps)| locate_timestamps(line, template, timestamps));
        let numbers = numbers(line);
        let mut literals = Vec::new();
        let template = template.and_then(|template| {
            let is_timestamp = |range: &Range<usize>| {
                [&template.own_slot, &template.envelope_slot]
                    .into_iter()
                    .flatten()
                    .any(|slot| overlaps(&slot.range, range))
            };
            let candidates: Vec<Range<usize>> =
                numbers.iter().filter(|range| !is_timestamp(range)).cloned().collect();
            let key = role_key(line, &template, candidates.len());
            let digit_roles = self
                .digit_roles
                .entry(key)
                .or_insert_with(|| find_significant_runs(line, &template, &candidates, &mut reads));
            let phrases = significant_digit_ranges(&self.key);
            let mut free = Vec::new();
            for (range, role) in candidates.iter().zip(digit_roles.iter()) {
                let is_free = *role == DigitRun::Wildcard
                    && !phrases.iter().any(|phrase| overlaps(phrase, range));
                if is_free { &mut free } else { &mut literals }.push(range.clone());
            }
            // Numbers that do not matter one by one might matter together.
            is_free(line, &free, &template, &mut reads).then_some(template)
        });
        let entry = CacheEntry {
            template,
            previous: self.latest.get(&hash).copied(),
            key: self.key.as_slice().into(),
            line: line.into(),
            literals,
        };
        self.latest.insert(hash, self.entries.len());
        self.entries.push(entry);
        self.budget -= reads * READ_COST;
    }
}

/// Minimum length in bytes of a line that is matched. Shorter lines are parsed as quickly.
const MIN_TEMPLATE_BYTES: usize = 24;

/// Locates the timestamps that were parsed. Returns `None` if their positions are not certain.
fn locate_timestamps(
    line: &[u8],
    template: Template,
    timestamps: [Option<Timestamp>; 2],
) -> Option<Template> {
    let [own, envelope] = timestamps;
    // The envelope comes before the text in it.
    let envelope_slot = match envelope {
        Some(timestamp) => Some(find(line, timestamp, 0)?),
        None => None,
    };
    let own_slot = match own {
        Some(timestamp) => {
            Some(find(line, timestamp, envelope_slot.as_ref().map_or(0, |slot| slot.range.end))?)
        }
        None => None,
    };
    let template = Template { own_slot, envelope_slot, ..template };
    // Check each position: if its digits change, the parsed time must change with them.
    let mut cache = TimestampCache::default();
    for (slot, which) in [(&template.own_slot, 0), (&template.envelope_slot, 1)] {
        let Some(slot) = slot else { continue };
        let other = bump_last_digit(line, &slot.range)?;
        let (again, read) = read(&other)?;
        let moved = cache.read(slot, which, &other)?;
        if !template.is_same_as(again)
            || read[which] != Some(moved)
            || read[1 - which] != timestamps[1 - which]
            || Some(moved) == timestamps[which]
        {
            return None;
        }
    }
    Some(template)
}
