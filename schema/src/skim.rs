//! Records of ordinary progress, read by what they share with the lines before them.
//!
//! What one place in the code of one process writes differs from line to line in its time and ids, and in little else. A
//! [`Skimmer`] remembers what lies between those, from lines that it read at a [glance](crate::Glance), and knows it again by
//! comparing bytes; only time and ids are read anew. So a line costs a few comparisons of long runs of bytes.

use crate::glance::{Cursor, Cuts, Glance, ascii, flow_id, is_plain, without_hyphens};
use crate::{Clock, Event, FlowId, SpanId, Time, json, text};

/// What is left to know of a line whose shares are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skim<'a> {
    /// Wall clock, with microseconds.
    pub time: Time,
    /// The flow.
    pub flow_id: FlowId,
    /// The span.
    pub span_id: SpanId,
    /// The caller's span.
    pub parent_id: Option<SpanId>,
    /// Reading of the hybrid logical clock.
    pub clock: Option<Clock>,
    /// Free words; empty where there are none.
    pub message: &'a str,
    /// Number of its [`Origin`].
    pub origin: usize,
    /// Number of its [`Step`].
    pub step: usize,
    /// Number of what stands behind its ids, where that is known; the fields of any other were told.
    pub tail: Option<usize>,
    /// It is in JSON.
    pub is_json: bool,
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The component.
    pub component: String,
    /// Pod, worker id or rank; empty where there is none.
    pub instance: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `Start`, `State` or `End`.
    pub event: Event,
    /// Where in its work the component is; empty where unknown.
    pub state: String,
    /// It names versions.
    pub has_versions: bool,
}

/// What lines share, as far as it was seen.
#[derive(Debug, Default)]
pub struct Skimmer {
    /// The minute that was read last.
    minute: Minute,
    /// JSON from the time to the message: the place in the code.
    places: Shares<()>,
    /// From there to the flow's id.
    origins: Shares<Origin>,
    /// From there to the next id.
    steps: Shares<Step>,
    /// Behind the last id.
    tails: Shares<Tail>,
}

/// The field in which our own emitter writes a record's number.
const SEQ: &[u8] = b"seq";

/// What stands behind the ids, but for the record's number.
#[derive(Debug)]
struct Tail {
    fields: Vec<(String, String)>,
    /// The message, in text.
    message: String,
}

impl Skimmer {
    /// Reads a line that is an ordinary record in either form.
    ///
    /// `field` is told of the fields of a line whose tail is not known yet, in the order in which they stand; it says whether
    /// the line may be read so. Of a line that may not, the tail is not remembered.
    ///
    /// Where it is `Some`, [`json::decode`] or [`text::decode`] read the same, and count no problem.
    #[inline]
    pub fn skim<'a>(
        &mut self,
        line: &'a [u8],
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
    ) -> Option<Skim<'a>> {
        match line.first() {
            Some(b'{') => self.json(line, field).or_else(|| self.learn(line, true, field)),
            Some(b'0'..=b'9') => self.text(line, field).or_else(|| self.learn(line, false, field)),
            _ => None,
        }
    }

    /// The origin of that number.
    pub fn origin(&self, number: usize) -> Option<&Origin> {
        self.origins.meaning(number)
    }

    /// The step of that number.
    pub fn step(&self, number: usize) -> Option<&Step> {
        self.steps.meaning(number)
    }

    /// The fields in the tail of that number, as they were told, but for the record's own number (`seq`).
    pub fn fields(&self, number: usize) -> &[(String, String)] {
        self.tails.meaning(number).map_or(&[], |tail| &tail.fields)
    }

    fn json<'a>(
        &mut self,
        line: &'a [u8],
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
    ) -> Option<Skim<'a>> {
        let mut cursor = Cursor::new(line);
        cursor.expect(json::PREFIX)?;
        let time = self.minute.time(cursor.take_array()?)?;
        self.places.find(&mut cursor)?;
        let message = if cursor.rest().first() == Some(&b'"') {
            b""
        } else {
            let message = cursor.take(memchr::memchr2(b'"', b'\\', cursor.rest())?)?;
            Some(message).filter(|message| is_plain(message))?
        };
        let origin = self.origins.find(&mut cursor)?;
        let hyphenated = cursor.take_array()?;
        let step = self.steps.find(&mut cursor)?;
        let (flow_id, span_id, parent_id, clock) = json::ids(hyphenated, &mut cursor)?;
        // Every record of ours has a number of its own, so no tail is shared that holds it.
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
        Some(Skim {
            time,
            flow_id,
            span_id,
            parent_id,
            clock,
            message: ascii(message),
            origin,
            step,
            tail,
            is_json: true,
        })
    }

    fn text<'a>(
        &mut self,
        line: &'a [u8],
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
    ) -> Option<Skim<'a>> {
        let mut cursor = Cursor::new(line);
        let time = self.minute.time(cursor.take_array()?)?;
        let origin = self.origins.find(&mut cursor)?;
        let flow_id = flow_id(&without_hyphens(cursor.take_array()?)?)?;
        let step = self.steps.find(&mut cursor)?;
        let (span_id, parent_id, clock) = text::ids(&mut cursor)?;
        let number = text::number(&mut cursor);
        let rest = cursor.rest();
        let tail = self.tails.find_rest(rest);
        let message = match tail {
            // Where it stands in this line, at its end.
            Some(known) => {
                let known = self.tails.meaning(known)?;
                // A line with two numbers is for the decoder to judge.
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
        Some(Skim {
            time,
            flow_id,
            span_id,
            parent_id,
            clock,
            message: ascii(message),
            origin,
            step,
            tail,
            is_json: false,
        })
    }

    /// Reads a tail that is not known, and remembers it; its message, in text.
    fn new_tail<'a>(
        &mut self,
        rest: &'a [u8],
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
        read: impl FnOnce(&mut dyn FnMut(&'a [u8], &'a [u8]) -> bool) -> Option<&'a [u8]>,
    ) -> Option<&'a [u8]> {
        if !is_plain(rest) {
            return None;
        }
        self.tails.give_up();
        if !self.tails.has_room() {
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

    /// Reads a line of which something is new, and remembers that.
    #[cold]
    fn learn<'a>(
        &mut self,
        line: &'a [u8],
        is_json: bool,
        field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
    ) -> Option<Skim<'a>> {
        let mut fields = Vec::new();
        let mut keep = |key: &'a [u8], value: &'a [u8]| {
            fields.push((ascii(key).to_owned(), ascii(value).to_owned()));
            field(key, value)
        };
        let (glance, cuts) =
            if is_json { json::read(line, &mut keep)? } else { text::read(line, &mut keep)? };
        let between = |from: usize, to: usize| line.get(from..to).unwrap_or_default();
        let begin = if is_json { json::PREFIX.len() + 27 } else { 27 };
        let Cuts { message, origin, flow_id, middle_end, tail } = cuts;
        if is_json {
            self.places.add(between(begin, message), || ())?;
        }
        let origin = self.origins.add(between(origin, flow_id), || Origin {
            component: glance.component.to_owned(),
            instance: glance.instance.unwrap_or_default().to_owned(),
        })?;
        let step = self.steps.add(between(flow_id + 36, middle_end), || Step {
            event: glance.event,
            state: glance.state.unwrap_or_default().to_owned(),
            has_versions: glance.has_versions,
        })?;
        // Its fields were told, as those of no tail that is known are.
        let message = if is_json { "" } else { glance.message };
        self.tails.add(between(tail, line.len()), || Tail { fields, message: message.to_owned() });
        let Glance { time, flow_id, span_id, parent_id, clock, message, .. } = glance;
        Some(Skim {
            time,
            flow_id,
            span_id,
            parent_id,
            clock,
            message,
            origin,
            step,
            tail: None,
            is_json,
        })
    }
}

/// A minute as it is written, and when it begins: most lines have that of the line before them.
#[derive(Debug, Default)]
struct Minute {
    text: [u8; 17],
    begins: i64,
}

impl Minute {
    /// Reads a time.
    #[inline]
    fn time(&mut self, text: &[u8; 27]) -> Option<Time> {
        let (minute, rest) = text.split_first_chunk::<17>()?;
        if *minute != self.text {
            let time = Time::of_digits(text)?;
            let mut first = *b"0000-00-00T00:00:00.000000Z";
            first.get_mut(..17)?.copy_from_slice(minute);
            (self.text, self.begins) = (*minute, Time::of_digits(&first)?.0);
            return Some(time);
        }
        let [s1, s2, b'.', f1, f2, f3, f4, f5, f6, b'Z'] = *rest else { return None };
        let digits = [s1, s2, f1, f2, f3, f4, f5, f6];
        let word = u64::from_le_bytes(digits);
        const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
        const SIXES: u64 = u64::from_le_bytes([6; 8]);
        const HIGH: u64 = u64::from_le_bytes([0xf0; 8]);
        // Each byte is 0x30 to 0x39: so is its upper half, and still is when six is added.
        if word & HIGH != ZEROS || word.wrapping_add(SIXES) & HIGH != ZEROS || s1 > b'5' {
            return None;
        }
        // Pairs, then fours, then all of the digits at once (Lemire, "Quickly parsing eight digits", 2022).
        let ones = word - ZEROS;
        let pairs = ones.wrapping_mul(10) + (ones >> 8);
        let mask = 0x0000_00ff_0000_00ff;
        let value = ((pairs & mask).wrapping_mul(0x000f_4240_0000_0064))
            .wrapping_add(((pairs >> 16) & mask).wrapping_mul(0x0000_2710_0000_0001))
            >> 32;
        Some(Time(self.begins + i64::try_from(value).ok()? * 1_000))
    }
}

/// Runs of bytes that lines share, each with what it means.
#[derive(Debug)]
struct Shares<T> {
    runs: Vec<Run<T>>,
    /// Of each run eight bytes near its end, where runs differ most, and where they stand: compared first.
    probes: Vec<(u64, usize)>,
    /// The one that was found last.
    latest: usize,
    /// How often one was not found that all should know, after there was no room for more.
    misses: usize,
}

#[derive(Debug)]
struct Run<T> {
    bytes: Box<[u8]>,
    meaning: T,
}

impl<T> Default for Shares<T> {
    fn default() -> Self {
        Self { runs: Vec::new(), probes: Vec::new(), latest: 0, misses: 0 }
    }
}

impl<T> Shares<T> {
    /// Most runs that are remembered: all are looked through for one that is not there.
    const MOST: usize = 128;

    /// Longest run that is remembered, in bytes.
    const LONGEST: usize = 1024;

    /// Goes past a known run.
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

    /// The known run that is all of the rest.
    #[inline]
    fn find_rest(&mut self, rest: &[u8]) -> Option<usize> {
        let is = |at: usize| {
            self.is_probed(at, rest) && self.runs.get(at).is_some_and(|run| *rest == *run.bytes)
        };
        if !is(self.latest) {
            match (0..self.runs.len()).find(|at| is(*at)) {
                Some(at) => self.latest = at,
                None => {
                    self.misses += usize::from(self.runs.len() == Self::MOST);
                    return None;
                }
            }
        }
        Some(self.latest)
    }

    #[inline]
    fn is_probed(&self, at: usize, rest: &[u8]) -> bool {
        self.probes.get(at).is_some_and(|(probe, at)| word(rest, *at) == *probe)
    }

    /// Whether there is room for another.
    fn has_room(&self) -> bool {
        self.runs.len() < Self::MOST
    }

    /// Forgets runs that turn out to be no two lines': it is no use to look for them. Their numbers are not given again.
    fn give_up(&mut self) {
        if self.misses > MANY_MISSES {
            self.probes.clear();
        }
    }

    fn meaning(&self, number: usize) -> Option<&T> {
        self.runs.get(number).map(|run| &run.meaning)
    }

    /// The number of a run, which is remembered if there is room.
    fn add(&mut self, bytes: &[u8], meaning: impl FnOnce() -> T) -> Option<usize> {
        if let Some(at) = self.runs.iter().position(|run| *run.bytes == *bytes) {
            return Some(at);
        }
        if !self.has_room() || bytes.len() > Self::LONGEST {
            return None;
        }
        let at = bytes.len().saturating_sub(PROBE_FROM_END);
        self.probes.push((word(bytes, at), at));
        self.runs.push(Run { bytes: bytes.into(), meaning: meaning() });
        Some(self.runs.len() - 1)
    }
}

/// How far from a run's end its probe begins: before `","trace_id":"`, where the state ends.
const PROBE_FROM_END: usize = 22;

/// After so many lines whose tail was not known, tails are not looked for.
const MANY_MISSES: usize = 256;

/// The eight bytes at a place; zero where there are fewer.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|eight| eight.first_chunk())
        .map_or(0, |eight| u64::from_le_bytes(*eight))
}
