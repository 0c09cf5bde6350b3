//! Lines that say nothing, known again by their shape.
//!
//! Most of a log is chatter: the same few sentences with other numbers in them. A line's shape is the line with every digit
//! made the same. Of a shape that came before, and that turned out to tell nothing but that somebody spoke, only the time is
//! read.
//!
//! Whether numbers matter is found out, not assumed: when a shape is learnt, its numbers are changed one by one, and those
//! that change what the line means (a pod's name, a rank, an HTTP status) have to be the same for the line to be known again.
//! So do those that stand where words of a rule have digits (`exit code 137`).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::FixedState;

use crate::envelope::{Facts, Speaker, peel_whole};
use crate::events::Recalled;
use crate::format::{self, Begin, Format, stack};
use crate::sign;
use crate::stamp::{self, Stamp};

/// Shapes that were learnt.
#[derive(Debug)]
pub struct Shapes {
    /// By the hash of a shape: the latest entry of it.
    latest: HashMap<u64, usize, FixedState>,
    entries: Vec<Entry>,
    /// By the hash of a shape whose numbers have no length: which of its numbers matter, in their order.
    kinds: HashMap<u64, Vec<Number>, FixedState>,
    /// Hashes of shapes that came once. A shape is learnt when it comes again.
    once: Box<[u32]>,
    /// The shape of the line at hand.
    shape: Vec<u8>,
    /// What was read of stamps last.
    stamps: StampCache,
    /// How often all was forgotten: numbers of another generation say nothing.
    generation: u32,
}

/// A line that tells nothing, and whatever has its shape.
#[derive(Debug)]
struct Entry {
    /// Its shape; none where the shape tells something, or its numbers do.
    known: Option<Known>,
    /// A line of the same shape with other names.
    before: Option<usize>,
    shape: Box<[u8]>,
    line: Box<[u8]>,
    /// Where other lines have to be the same.
    exact: Vec<Range<usize>>,
}

/// What is to be known of a line that tells nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its format.
    pub format: Format,
    /// The component that it names; empty where none.
    pub component: String,
    /// The component is a library.
    pub embedded: bool,
    /// The instance that it names; empty where none.
    pub instance: String,
    facts: Facts,
    begin: Begin,
    own: Option<Place>,
    envelope: Option<Place>,
    /// [`Facts::thread`].
    thread: u64,
}

impl Known {
    /// Who wrote it, as its envelopes tell.
    pub fn speaker(&self) -> &Speaker {
        &self.facts.speaker
    }

    /// Whether another means the same, wherever its stamps stand.
    fn is_like(&self, other: Self) -> bool {
        Self { own: self.own.clone(), envelope: self.envelope.clone(), ..other } == *self
    }
}

/// Where a stamp stands.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    range: Range<usize>,
    parser: usize,
}

/// A number in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Free,
    Exact,
}

/// How stamps are written.
const PARSERS: [fn(&[u8]) -> stamp::Read; 7] = [
    stamp::iso,
    stamp::month_day,
    stamp::slashes,
    stamp::month_first,
    stamp::glog,
    stamp::syslog,
    stamp::epoch,
];

/// Longest line whose shape is looked at, in bytes.
const LONGEST: usize = 2048;

/// Most shapes that are remembered; then all are forgotten.
const MOST: usize = 8192;

/// Most entries of one shape.
const MOST_ALIKE: usize = 64;

/// How many hashes of shapes that came once are kept.
const ONCE: usize = 1 << 14;

impl Default for Shapes {
    fn default() -> Self {
        Self {
            latest: HashMap::default(),
            entries: Vec::new(),
            kinds: HashMap::default(),
            once: vec![0; ONCE].into(),
            shape: Vec::with_capacity(LONGEST),
            stamps: StampCache::default(),
            generation: 0,
        }
    }
}

impl Shapes {
    /// The number of an entry that the line is known by.
    pub fn recall(&mut self, line: &[u8]) -> Option<usize> {
        if line.len() < SHORTEST || line.len() > LONGEST {
            return None;
        }
        self.shape.clear();
        self.shape.extend(
            line.iter().map(|byte| if byte.wrapping_sub(b'0') < 10 { DIGIT } else { *byte }),
        );
        let hash = FixedState::default().hash_one(self.shape.as_slice());
        let mut next = self.latest.get(&hash).copied();
        let is_new = next.is_none();
        let mut passed = 0;
        while let Some(entry) = next.and_then(|at| self.entries.get(at)) {
            if *entry.shape == *self.shape
                && entry
                    .exact
                    .iter()
                    .all(|range| line.get(range.clone()) == entry.line.get(range.clone()))
            {
                return next.filter(|_| entry.known.is_some());
            }
            next = entry.before;
            passed += 1;
        }
        // Names that are never the same are not worth it.
        if passed >= MOST_ALIKE {
            return None;
        }
        // The upper half: the lower chooses the place.
        let place = usize::try_from(hash).unwrap_or(usize::MAX) % ONCE;
        let mark = u32::try_from(hash >> 32).unwrap_or(0) | 1;
        if is_new && self.once.get(place) != Some(&mark) {
            if let Some(slot) = self.once.get_mut(place) {
                *slot = mark;
            }
            return None;
        }
        self.learn(hash, line);
        None
    }

    /// Changes when numbers lose their meaning.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// What an entry knows.
    pub fn known(&self, number: usize) -> Option<&Known> {
        self.entries.get(number).and_then(|entry| entry.known.as_ref())
    }

    /// For the joiner: to whom a known line belongs.
    pub fn recalled(&self, number: usize) -> Option<Recalled<'_>> {
        let known = self.known(number)?;
        Some(Recalled { thread: known.thread, speaker: known.speaker(), cuts: known.facts.cuts })
    }

    /// The line's own stamp, and its envelope's, as reading the line would find them; nothing where one is no stamp.
    pub fn stamps(&mut self, number: usize, line: &[u8]) -> Option<(Option<Stamp>, Option<Stamp>)> {
        let known = self.entries.get(number)?.known.as_ref()?;
        let mut read = |place: &Option<Place>, lane: usize| match place {
            Some(place) => self.stamps.read(place, lane, line).map(Some),
            None => Some(None),
        };
        Some((read(&known.own, 0)?, read(&known.envelope, 1)?))
    }

    /// Looks at a line closely: what it means, and which of its numbers matter to that.
    fn learn(&mut self, hash: u64, line: &[u8]) {
        if self.entries.len() >= MOST {
            self.latest.clear();
            self.entries.clear();
            self.kinds.clear();
            self.generation = self.generation.wrapping_add(1);
        }
        let known = read(line).and_then(|(known, stamps)| place_stamps(line, known, stamps));
        let numbers = numbers(line);
        let mut exact = Vec::new();
        let known = known.and_then(|known| {
            let of_stamp = |range: &Range<usize>| {
                [&known.own, &known.envelope]
                    .into_iter()
                    .flatten()
                    .any(|place| overlaps(&place.range, range))
            };
            let looked_at: Vec<Range<usize>> =
                numbers.iter().filter(|range| !of_stamp(range)).cloned().collect();
            let kind = kind_hash(line, &known, looked_at.len());
            let kinds =
                self.kinds.entry(kind).or_insert_with(|| which_matter(line, &known, &looked_at));
            let words = digit_words(&self.shape);
            let mut free = Vec::new();
            for (range, kind) in looked_at.iter().zip(kinds.iter()) {
                let is_free =
                    *kind == Number::Free && !words.iter().any(|word| overlaps(word, range));
                if is_free { &mut free } else { &mut exact }.push(range.clone());
            }
            // Together they might matter where none does alone.
            CHANGES
                .iter()
                .all(|digit| means_the_same(&changed(line, &free, *digit), &known))
                .then_some(known)
        });
        let entry = Entry {
            known,
            before: self.latest.get(&hash).copied(),
            shape: self.shape.as_slice().into(),
            line: line.into(),
            exact,
        };
        self.latest.insert(hash, self.entries.len());
        self.entries.push(entry);
    }
}

/// What stands for a digit in a shape.
const DIGIT: u8 = b'?';

/// Shorter lines are read as quickly.
const SHORTEST: usize = 24;

/// What numbers are changed to: their sizes on both sides of HTTP's and exit statuses' borders, and none at all.
const CHANGES: [u8; 6] = *b"012459";

/// What a line means, if that is nothing but that somebody spoke; and its own stamp and its envelope's.
fn read(line: &[u8]) -> Option<(Known, [Option<Stamp>; 2])> {
    // What stands before a zero is no part of a line (see `lines`), and of these nobody asks where it ends.
    if memchr::memchr(0, line).is_some() {
        return None;
    }
    let (text, facts) = peel_whole(line);
    if facts.partial || facts.continues || facts.marks_later {
        return None;
    }
    let begin = format::begins(&text)?;
    match begin {
        Begin::Whole => {}
        Begin::Logged { body, .. }
            if !stack::goes_on(text.get(body..).unwrap_or_default(), true) => {}
        Begin::Logged { .. } | Begin::Panic | Begin::Stack | Begin::Part => return None,
    }
    let text = std::str::from_utf8(&text).ok()?.trim_end();
    let (format, observation) = format::read(text);
    let observation = observation?;
    let says_nothing = observation.flows.is_empty()
        && observation.span.is_none()
        && observation.process.is_none()
        && observation.lost == 0
        && observation.clock == 0
        && observation.problems.is_empty()
        && sign::of(format.name(), &observation, &facts.speaker.process).is_none();
    let known = Known {
        format,
        component: observation.component.as_deref().unwrap_or_default().to_owned(),
        embedded: observation.embedded,
        instance: observation.instance.as_deref().unwrap_or_default().to_owned(),
        begin,
        own: None,
        envelope: None,
        thread: facts.thread(),
        facts: Facts { time: None, ..facts.clone() },
    };
    says_nothing.then_some((known, [observation.time, facts.time]))
}

/// Finds where the stamps stand that were read. Nothing where that is not certain.
fn place_stamps(line: &[u8], known: Known, stamps: [Option<Stamp>; 2]) -> Option<Known> {
    let [own, envelope] = stamps;
    // The envelope stands before what it wraps.
    let envelope = match envelope {
        Some(stamp) => Some(find(line, stamp, 0)?),
        None => None,
    };
    let own = match own {
        Some(stamp) => {
            Some(find(line, stamp, envelope.as_ref().map_or(0, |place| place.range.end))?)
        }
        None => None,
    };
    let known = Known { own, envelope, ..known };
    // Each is what is read: change it, and the reading changes with it.
    let mut cache = StampCache::default();
    for (place, which) in [(&known.own, 0), (&known.envelope, 1)] {
        let Some(place) = place else { continue };
        let other = tick(line, &place.range)?;
        let (again, read) = read(&other)?;
        let moved = cache.read(place, which, &other)?;
        if !known.is_like(again)
            || read[which] != Some(moved)
            || read[1 - which] != stamps[1 - which]
            || Some(moved) == stamps[which]
        {
            return None;
        }
    }
    Some(known)
}

/// The first place at or after `from` where that stamp stands.
fn find(line: &[u8], stamp: Stamp, from: usize) -> Option<Place> {
    let starts = |at: &usize| *at == 0 || !line.get(at - 1).is_some_and(u8::is_ascii_digit);
    (from..line.len().min(from + 160)).filter(starts).find_map(|at| {
        let rest = line.get(at..)?;
        let found = PARSERS.iter().enumerate().find_map(|(parser, parse)| {
            let (read, len) = parse(rest)?;
            (read == stamp).then_some((parser, len))
        });
        found.map(|(parser, len)| Place { range: at..at + len, parser })
    })
}

/// The line with another last digit of a stamp's seconds or minutes.
fn tick(line: &[u8], range: &Range<usize>) -> Option<Vec<u8>> {
    let text = line.get(range.clone())?;
    // The digit behind the last colon but the first: of the seconds, whose first is at most five.
    let colon = text.iter().rposition(|byte| *byte == b':')?;
    // A zone may have a colon too.
    let colon = if colon > 16 && text.len() == colon + 3 {
        text.iter().position(|byte| *byte == b':')? + 3
    } else {
        colon
    };
    let at = range.start + colon + 2;
    let mut other = line.to_vec();
    let digit = other.get_mut(at).filter(|byte| byte.is_ascii_digit())?;
    *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
    Some(other)
}

/// Every run of digits.
fn numbers(line: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in line.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

fn overlaps(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// A hash of a line whose numbers have no length, with what it means.
fn kind_hash(line: &[u8], known: &Known, numbers: usize) -> u64 {
    let mut kind: Vec<u8> = Vec::with_capacity(line.len());
    for byte in line {
        if !byte.is_ascii_digit() {
            kind.push(*byte);
        } else if kind.last() != Some(&DIGIT) {
            kind.push(DIGIT);
        }
    }
    FixedState::default().hash_one((kind, known.format, numbers))
}

/// Which numbers matter to what a line means.
fn which_matter(line: &[u8], known: &Known, numbers: &[Range<usize>]) -> Vec<Number> {
    let is_free = |ranges: &[Range<usize>]| {
        CHANGES.iter().all(|digit| means_the_same(&changed(line, ranges, *digit), known))
    };
    if is_free(numbers) {
        return vec![Number::Free; numbers.len()];
    }
    numbers
        .iter()
        .map(
            |range| if is_free(std::slice::from_ref(range)) { Number::Free } else { Number::Exact },
        )
        .collect()
}

fn changed(line: &[u8], ranges: &[Range<usize>], digit: u8) -> Vec<u8> {
    let mut other = line.to_vec();
    for range in ranges {
        if let Some(run) = other.get_mut(range.clone()) {
            run.fill(digit);
            // JSON knows no number with a zero before it.
            if run.len() > 1 && digit == b'0' {
                run[0] = b'1';
            }
        }
    }
    other
}

fn means_the_same(line: &[u8], known: &Known) -> bool {
    let Some((other, stamps)) = read(line) else { return false };
    let mut cache = StampCache::default();
    let mut is_stamp = |place: &Option<Place>, stamp: Option<Stamp>| match place {
        Some(place) => cache.read(place, 0, line) == stamp,
        None => stamp.is_none(),
    };
    known.is_like(other) && is_stamp(&known.own, stamps[0]) && is_stamp(&known.envelope, stamps[1])
}

/// Where a shape holds words of a rule in which digits matter.
fn digit_words(shape: &[u8]) -> Vec<Range<usize>> {
    let lower = shape.to_ascii_lowercase();
    let mut found = Vec::new();
    for word in sign::words_with_digits().chain(format::words_with_digits()) {
        let word: Vec<u8> = word
            .bytes()
            .map(|byte| if byte.is_ascii_digit() { DIGIT } else { byte.to_ascii_lowercase() })
            .collect();
        found.extend(memchr::memmem::find_iter(&lower, &word).map(|at| at..at + word.len()));
    }
    found
}

/// What stamps said last, by parser, and apart for lines and envelopes: most are of the second of the one before.
#[derive(Debug, Default)]
struct StampCache {
    latest: [[Option<ReadStamp>; 2]; PARSERS.len()],
}

/// A stamp that was read.
#[derive(Debug)]
struct ReadStamp {
    text: Vec<u8>,
    stamp: Stamp,
    /// Its nanoseconds without the fraction, where that can be read apart.
    whole: Option<i64>,
}

impl StampCache {
    fn read(&mut self, place: &Place, lane: usize, line: &[u8]) -> Option<Stamp> {
        let text = line.get(place.range.clone())?;
        let slot = self.latest.get_mut(place.parser)?.get_mut(lane)?;
        if let Some(latest) = slot {
            if latest.text == text {
                return Some(latest.stamp);
            }
            if let Some(whole) = latest.whole
                && latest.text.len() == text.len()
                && latest.text.get(..20) == text.get(..20)
                && let Some(fraction) = fraction(text)
            {
                return Some(Stamp { ns: whole + fraction, ..latest.stamp });
            }
        }
        let (stamp, len) = PARSERS.get(place.parser)?(line.get(place.range.start..)?)?;
        if len != text.len() {
            return None;
        }
        let whole = if place.parser == 0 {
            fraction(text).map(|fraction| stamp.ns - fraction)
        } else {
            None
        };
        match slot {
            Some(latest) => {
                latest.text.clear();
                latest.text.extend_from_slice(text);
                (latest.stamp, latest.whole) = (stamp, whole);
            }
            None => *slot = Some(ReadStamp { text: text.to_vec(), stamp, whole }),
        }
        Some(stamp)
    }
}

/// Nanoseconds of the digits between a point and a final `Z`.
fn fraction(text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?.get(20..).filter(|_| text.get(19) == Some(&b'.'))?;
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut value = 0i64;
    for digit in digits {
        value = value * 10 + i64::from(digit.wrapping_sub(b'0'));
        if !digit.is_ascii_digit() {
            return None;
        }
    }
    Some(
        value
            * [
                1_000_000_000,
                100_000_000,
                10_000_000,
                1_000_000,
                100_000,
                10_000,
                1_000,
                100,
                10,
                1,
            ][digits.len()],
    )
}
