//! Fast path for records of ordinary progress, which reuses what they share with earlier lines.
//!
//! The lines from one code location of one process differ in their time and IDs, and in little
//! else. A [`RecordCache`] stores the bytes between those, taken from lines that the positional
//! fast path read (see [`FastRecord`](crate::FastRecord)), and recognizes them by comparison. Only
//! the time and the IDs are parsed again, so a line costs a few comparisons of long runs of bytes.

use crate::cursor::{Cursor, ascii};
use crate::fast_decode::{FastRecord, FieldOffsets, is_plain};
use crate::hex::{flow_id, without_hyphens};
use crate::{Clock, EventKind, FlowId, SpanId, Time, json, text};

/// A record read through a [`RecordCache`]: its own values, and the numbers of its cached parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedRecord<'a> {
    /// Wall-clock time, with microseconds.
    pub time: Time,
    /// Flow ID.
    pub flow_id: FlowId,
    /// Span ID.
    pub span_id: SpanId,
    /// Id of the caller's span.
    pub parent_id: Option<SpanId>,
    /// Reading of the hybrid logical clock.
    pub clock: Option<Clock>,
    /// Free-form message; empty if there is none.
    pub message: &'a str,
    /// Number of the record's [`Producer`].
    pub producer: usize,
    /// Number of the record's [`Transition`].
    pub transition: usize,
    /// Number of the record's tail, which is what follows the IDs, if it is cached. Otherwise, the
    /// fields were passed to the callback.
    pub tail: Option<usize>,
    /// Whether the line is in JSON form.
    pub is_json: bool,
}

/// Producer of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Name of the component.
    pub component: String,
    /// Pod, worker ID or rank; empty if there is none.
    pub instance: String,
}

/// Event of a record, with the state of its span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// `Start`, `State` or `End`.
    pub event: EventKind,
    /// State of the component's work; empty if unknown.
    pub state: String,
    /// Whether the record names versions.
    pub has_versions: bool,
}

/// Cache of the byte runs that lines share, filled while reading.
#[derive(Debug, Default)]
pub struct RecordCache {
    /// Minute that was parsed last.
    minute: Minute,
    /// In JSON, from the time to the message, which includes the code location.
    locations: ByteRunCache<()>,
    /// From the message, or from the time in text, to the flow ID.
    producers: ByteRunCache<Producer>,
    /// From the flow ID to the next ID.
    transitions: ByteRunCache<Transition>,
    /// From the last ID, or from the record's number if that follows, to the end of the line.
    tails: ByteRunCache<Tail>,
}

/// Field in which our emitter writes a record's number.
const SEQ: &[u8] = b"seq";

/// Content after the IDs, without the record's number.
#[derive(Debug)]
struct Tail {
    fields: Vec<(String, String)>,
    /// Message of a record in text form.
    message: String,
}

impl RecordCache {
    /// Reads a line that is an ordinary record in either form.
    ///
    /// If the tail of the line is not cached, `field` is called with the name and the value of each
    /// of its fields, in the order of the line, except that the record's number (`seq`) may come
    /// last. It returns whether the line may be read this way. A tail with a field for which it
    /// returns `false` is not cached, and the line is not read.
    ///
    /// If the result is `Some`, [`json::decode`] or [`text::decode`] returns the same and counts no
    /// problem.
    #[inline]
    pub fn decode<'a>(
        &mut self,
        line: &'a [u8],
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
    ) -> Option<CachedRecord<'a>> {
        match line.first() {
            Some(b'{') => self.json(line, field).or_else(|| self.learn(line, true, field)),
            Some(b'0'..=b'9') => self.text(line, field).or_else(|| self.learn(line, false, field)),
            _ => None,
        }
    }

    /// Returns the producer with this number.
    pub fn producer(&self, number: usize) -> Option<&Producer> {
        self.producers.meaning(number)
    }

    /// Returns the step with this number.
    pub fn transition(&self, number: usize) -> Option<&Transition> {
        self.transitions.meaning(number)
    }

    /// Returns the fields in the tail with this number, as they were passed to the callback,
    /// without the record's own number (`seq`).
    pub fn fields(&self, number: usize) -> &[(String, String)] {
        self.tails.meaning(number).map_or(&[], |tail| &tail.fields)
    }

    fn json<'a>(
        &mut self,
        line: &'a [u8],
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
    ) -> Option<CachedRecord<'a>> {
        let mut cursor = Cursor::new(line);
        cursor.expect(json::PREFIX)?;
        let time = self.minute.time(cursor.take_array()?)?;
        self.locations.find(&mut cursor)?;
        let message = if cursor.rest().first() == Some(&b'"') {
            b""
        } else {
            let message = cursor.take(memchr::memchr2(b'"', b'\\', cursor.rest())?)?;
            Some(message).filter(|message| is_plain(message))?
        };
        let producer = self.producers.find(&mut cursor)?;
        let hyphenated = cursor.take_array()?;
        let transition = self.transitions.find(&mut cursor)?;
        let (flow_id, span_id, parent_id, clock) = json::ids(hyphenated, &mut cursor)?;
        // Each of our records has a number of its own, so a tail that includes it is never shared.
        let number = json::number(&mut cursor);
        let rest = cursor.rest();
        let tail = self.tails.find_rest(rest);
        if let (None, Some(number)) = (tail, number) {
            let mut other = |key: &'a [u8], value: &'a [u8]| key != SEQ && field(key, value);
            self.new_tail(rest, &mut other, |keep| {
                json::fields(&mut cursor, keep).map(|()| &b""[..])
            })?;
            if !field(SEQ, number) {
                return None;
            }
        } else if tail.is_none() {
            self.new_tail(rest, field, |keep| json::tail(&mut cursor, keep).map(|()| &b""[..]))?;
        }
        Some(CachedRecord {
            time,
            flow_id,
            span_id,
            parent_id,
            clock,
            message: ascii(message),
            producer,
            transition,
            tail,
            is_json: true,
        })
    }

    fn text<'a>(
        &mut self,
        line: &'a [u8],
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
    ) -> Option<CachedRecord<'a>> {
        let mut cursor = Cursor::new(line);
        let time = self.minute.time(cursor.take_array()?)?;
        let producer = self.producers.find(&mut cursor)?;
        let flow_id = flow_id(&without_hyphens(cursor.take_array()?)?)?;
        let transition = self.transitions.find(&mut cursor)?;
        let (span_id, parent_id, clock) = text::ids(&mut cursor)?;
        let number = text::number(&mut cursor);
        let rest = cursor.rest();
        let tail = self.tails.find_rest(rest);
        let message = match tail {
            // The message is at the end of this line, too.
            Some(known) => {
                let known = self.tails.meaning(known)?;
                // A line with two numbers is left to the decoder.
                if number.is_some() && known.fields.iter().any(|(name, _)| name.as_bytes() == SEQ) {
                    return None;
                }
                let len = known.message.len();
                line.trim_ascii_end().get(line.trim_ascii_end().len().checked_sub(len)?..)?
            }
            None => {
                let mut other = |key: &'a [u8], value: &'a [u8]| {
                    (number.is_none() || key != SEQ) && field(key, value)
                };
                let message =
                    self.new_tail(rest, &mut other, |keep| text::tail(&mut cursor, keep))?;
                if number.is_some_and(|number| !field(SEQ, number)) {
                    return None;
                }
                message
            }
        };
        Some(CachedRecord {
            time,
            flow_id,
            span_id,
            parent_id,
            clock,
            message: ascii(message),
            producer,
            transition,
            tail,
            is_json: false,
        })
    }

    /// Parses a tail that is not cached and caches it. Returns its message, in text form.
    fn new_tail<'a>(
        &mut self,
        rest: &'a [u8],
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
        read: impl FnOnce(&mut dyn FnMut(&'a [u8], &'a [u8]) -> bool) -> Option<&'a [u8]>,
    ) -> Option<&'a [u8]> {
        if !is_plain(rest) {
            return None;
        }
        self.tails.clear_if_ineffective();
        if !self.tails.has_capacity() {
            return read(field);
        }
        let mut fields = Vec::new();
        let message = read(&mut |key, value| {
            fields.push((ascii(key).to_owned(), ascii(value).to_owned()));
            field(key, value)
        })?;
        self.tails.add(rest, || Tail { fields, message: ascii(message).to_owned() });
        Some(message)
    }

    /// Reads a line with a part that is not cached, and caches it.
    #[cold]
    fn learn<'a>(
        &mut self,
        line: &'a [u8],
        is_json: bool,
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
    ) -> Option<CachedRecord<'a>> {
        let mut fields = Vec::new();
        let mut keep = |key: &'a [u8], value: &'a [u8]| {
            fields.push((ascii(key).to_owned(), ascii(value).to_owned()));
            field(key, value)
        };
        let (decode_fast, offsets) =
            if is_json { json::read(line, &mut keep)? } else { text::read(line, &mut keep)? };
        let between = |from: usize, to: usize| line.get(from..to).unwrap_or_default();
        let begin = if is_json { json::PREFIX.len() + 27 } else { 27 };
        let FieldOffsets { message, producer, flow_id, middle_end, tail } = offsets;
        if is_json {
            self.locations.add(between(begin, message), || ())?;
        }
        let producer = self.producers.add(between(producer, flow_id), || Producer {
            component: decode_fast.component.to_owned(),
            instance: decode_fast.instance.unwrap_or_default().to_owned(),
        })?;
        let transition =
            self.transitions.add(between(flow_id + 36, middle_end), || Transition {
                event: decode_fast.event,
                state: decode_fast.state.unwrap_or_default().to_owned(),
                has_versions: decode_fast.has_versions,
            })?;
        // The fields were passed to the callback, as for any tail that is not cached.
        let message = if is_json { "" } else { decode_fast.message };
        self.tails.add(between(tail, line.len()), || Tail { fields, message: message.to_owned() });
        let FastRecord { time, flow_id, span_id, parent_id, clock, message, .. } = decode_fast;
        Some(CachedRecord {
            time,
            flow_id,
            span_id,
            parent_id,
            clock,
            message,
            producer,
            transition,
            tail: None,
            is_json,
        })
    }
}

/// Text and start of a minute. Most lines are of the same minute as the line before them.
#[derive(Debug, Default)]
struct Minute {
    text: [u8; 17],
    start_ns: i64,
}

impl Minute {
    /// Parses a time.
    #[inline]
    fn time(&mut self, text: &[u8; 27]) -> Option<Time> {
        let (minute, rest) = text.split_first_chunk::<17>()?;
        if *minute != self.text {
            let time = Time::parse_fixed(text)?;
            let mut first = *b"0000-00-00T00:00:00.000000Z";
            first.get_mut(..17)?.copy_from_slice(minute);
            (self.text, self.start_ns) = (*minute, Time::parse_fixed(&first)?.0);
            return Some(time);
        }
        let [s1, s2, b'.', f1, f2, f3, f4, f5, f6, b'Z'] = *rest else { return None };
        let digits = [s1, s2, f1, f2, f3, f4, f5, f6];
        let word = u64::from_le_bytes(digits);
        const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
        const SIXES: u64 = u64::from_le_bytes([6; 8]);
        const HIGH: u64 = u64::from_le_bytes([0xf0; 8]);
        // Each byte is 0x30 to 0x39: its upper half is 3, and still is after six is added.
        if word & HIGH != ZEROS || word.wrapping_add(SIXES) & HIGH != ZEROS || s1 > b'5' {
            return None;
        }
        // Combine digits to pairs, then to fours, then to the number (Lemire, "Quickly parsing
        // eight digits", 2022).
        let ones = word - ZEROS;
        let pairs = ones.wrapping_mul(10) + (ones >> 8);
        let mask = 0x0000_00ff_0000_00ff;
        let value = ((pairs & mask).wrapping_mul(0x000f_4240_0000_0064))
            .wrapping_add(((pairs >> 16) & mask).wrapping_mul(0x0000_2710_0000_0001))
            >> 32;
        Some(Time(self.start_ns + i64::try_from(value).ok()? * 1_000))
    }
}

/// Byte runs that lines share, each with its meaning.
#[derive(Debug)]
struct ByteRunCache<T> {
    runs: Vec<ByteRun<T>>,
    /// For each run, eight bytes near its end, where runs differ most, and their offset. They are
    /// compared first.
    suffix_probes: Vec<(u64, usize)>,
    /// Index of the run that was found last.
    latest: usize,
    /// Number of searches for a whole rest that failed after the cache was full.
    misses: usize,
}

#[derive(Debug)]
struct ByteRun<T> {
    bytes: Box<[u8]>,
    meaning: T,
}

impl<T> Default for ByteRunCache<T> {
    fn default() -> Self {
        Self { runs: Vec::new(), suffix_probes: Vec::new(), latest: 0, misses: 0 }
    }
}

impl<T> ByteRunCache<T> {
    /// Maximum number of cached runs. A failed search compares all of them.
    const MAX_RUNS: usize = 128;

    /// Maximum length of a cached run, in bytes.
    const MAX_RUN_BYTES: usize = 1024;

    /// Skips a cached run and returns its number.
    #[inline]
    fn find(&mut self, cursor: &mut Cursor<'_>) -> Option<usize> {
        let rest = cursor.rest();
        let is = |at: usize| {
            self.is_probed(at, rest)
                && self.runs.get(at).is_some_and(|run| rest.starts_with(&run.bytes))
        };
        if !is(self.latest) {
            self.latest = (0..self.runs.len()).find(|at| is(*at))?;
        }
        cursor.take(self.runs.get(self.latest)?.bytes.len())?;
        Some(self.latest)
    }

    /// Returns the number of the cached run that equals the whole rest.
    #[inline]
    fn find_rest(&mut self, rest: &[u8]) -> Option<usize> {
        let is = |at: usize| {
            self.is_probed(at, rest) && self.runs.get(at).is_some_and(|run| *rest == *run.bytes)
        };
        if !is(self.latest) {
            match (0..self.runs.len()).find(|at| is(*at)) {
                Some(at) => self.latest = at,
                None => {
                    self.misses += usize::from(self.runs.len() == Self::MAX_RUNS);
                    return None;
                }
            }
        }
        Some(self.latest)
    }

    #[inline]
    fn is_probed(&self, at: usize, rest: &[u8]) -> bool {
        self.suffix_probes.get(at).is_some_and(|(probe, at)| word(rest, *at) == *probe)
    }

    /// Returns whether another run can be cached.
    fn has_capacity(&self) -> bool {
        self.runs.len() < Self::MAX_RUNS
    }

    /// Disables the search after too many misses: the lines do not share these runs. The runs keep
    /// their numbers.
    fn clear_if_ineffective(&mut self) {
        if self.misses > MAX_MISSES {
            self.suffix_probes.clear();
        }
    }

    fn meaning(&self, number: usize) -> Option<&T> {
        self.runs.get(number).map(|run| &run.meaning)
    }

    /// Returns the number of a run, which is cached if there is room.
    fn add(&mut self, bytes: &[u8], meaning: impl FnOnce() -> T) -> Option<usize> {
        if let Some(at) = self.runs.iter().position(|run| *run.bytes == *bytes) {
            return Some(at);
        }
        if !self.has_capacity() || bytes.len() > Self::MAX_RUN_BYTES {
            return None;
        }
        let at = bytes.len().saturating_sub(PROBE_OFFSET_FROM_END_BYTES);
        self.suffix_probes.push((word(bytes, at), at));
        self.runs.push(ByteRun { bytes: bytes.into(), meaning: meaning() });
        Some(self.runs.len() - 1)
    }
}

/// Distance of a run's probe from its end, in bytes. In JSON, the probe is just before
/// `","trace_id":"`, where the state ends.
const PROBE_OFFSET_FROM_END_BYTES: usize = 22;

/// Number of misses after which tails are no longer searched for.
const MAX_MISSES: usize = 256;

/// Returns the eight bytes at an offset; zero if there are fewer.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|eight| eight.first_chunk())
        .map_or(0, |eight| u64::from_le_bytes(*eight))
}
