//! Events to what a chunk holds.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::Plan;
use super::alert::Alert;
use super::chunk::Stop;
use super::logged::LoggedEvent;
use super::part::Part;
use super::told::Told;
use crate::envelope::Speaker;
use crate::events::{Counted, Event, Hearer, Recalled};
use crate::flow::{Mark, Place, Voice};
use crate::format::{self, Format};
use crate::lines::{MAX_EVENT, MAX_LINE};
use crate::names::{self, Components};
use crate::observation::{Observation, Said};
use crate::shapes::Shapes;
use crate::sign;
use crate::source::Sources;
use crate::stamp::Stamp;
use crate::timeline::{Timelines, YearMemory};

/// Reads a chunk's events into a part.
pub(super) struct Reader<'t> {
    pub(super) part: Part,
    source: u32,
    sources: &'t Sources,
    timelines: &'t Timelines,
    told: Told,
    /// See [`Plan::keeps_ledger`].
    keeps_ledger: bool,
    /// See [`Plan::follows`].
    follows: bool,
    /// See [`Plan::keeps_events`].
    keeps_events: bool,
    /// See [`Plan::by_sight`]; ledger and events want every line.
    by_sight: bool,
    /// The times that count,
    span: RangeInclusive<i64>,
    /// and the components.
    components: &'t Components,
    /// The component that the source's name tells.
    of_file: Option<&'static str>,
    /// Where the chunk begins, and whether its past is known.
    begins: (u64, bool),
    shapes: Box<Shapes>,
    /// By the number of a shape: its author, and the speaker's key.
    authors: Vec<Option<(u16, u32)>>,
    year: YearMemory,
    /// That of the shapes whose numbers `authors` has.
    generation: u32,
}

/// The sources, and what is known of their times.
pub(super) type Known<'t> = (&'t Sources, &'t Timelines);

impl<'c> Hearer<'c> for Reader<'_> {
    type Error = Stop;

    fn hear(&mut self, event: &Event<'c>) -> Result<(), Stop> {
        let needs_past = self.take(event);
        let (own, knows_past) = self.begins;
        if needs_past && !knows_past && event.at - own <= MAX_EVENT as u64 {
            Err(Stop::NeedsPast)
        } else {
            Ok(())
        }
    }

    fn skim(&mut self, at: u64, line: &[u8]) -> bool {
        if !self.by_sight {
            return false;
        }
        let place = Place { source: self.source, offset: at, speaker: 0 };
        if at < self.begins.0 {
            return false;
        }
        let found = self.part.notes.skim(line.trim_ascii_end(), place, &self.span, self.components);
        let Some((format, time, counts)) = found else { return false };
        self.note_record(format, time, at, counts);
        true
    }

    fn recall(&mut self, line: &[u8]) -> Option<usize> {
        if self.by_sight { self.shapes.recall(line) } else { None }
    }

    fn recalled(&self, number: usize) -> Option<Recalled<'_>> {
        self.shapes.recalled(number)
    }

    fn foretell(&mut self, event: &Event<'c>) {
        let line = event.text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let text =
            String::from_utf8_lossy(line.get(..line.len().min(MAX_LINE)).unwrap_or_default());
        let own = format::read(text.trim_end()).1.and_then(|observation| observation.time);
        if let Some((time, blur, _)) =
            self.moment(own, event.facts.time, self.told.before(event.at))
        {
            self.told.tell(time, blur, event.at);
        }
    }

    fn count(&mut self, number: usize, at: u64, line: &[u8]) -> Option<Counted> {
        let (own, envelope) = self.shapes.stamps(number, line)?;
        let (author, speaker) = self.author(number)?;
        let told = self.told.before(at);
        let time = self.moment(own, envelope, told);
        let stamp = own.or(envelope);
        let (time_ns, blur) = time.map(|(time, blur, _)| (time, blur)).or(told)?;
        if told.is_none() && time.is_none_or(|(_, _, asks)| asks) {
            return None;
        }
        let format = self.shapes.known(number)?.format;
        let guessed = stamp.is_some_and(|stamp| !stamp.is_complete());
        if let Some((time, blur, _)) = time {
            self.told.tell(time, blur, at);
        }
        let is_part = at >= self.begins.0 && self.span.contains(&time_ns) && {
            let known = self.shapes.known(number)?;
            self.counts(Some(known.component.as_str()).filter(|_| !known.embedded), known.speaker())
        };
        if !is_part {
            return Some(Counted { format, guessed, is_part });
        }
        let place = Place { source: self.source, offset: at, speaker };
        self.part.notes.spoke(author, Mark { clock: 0, time: time_ns, place, blur });
        self.part.count(format, 1);
        self.part.input.records += 1;
        self.part.input.problems.guessed_times += u64::from(guessed);
        if let Some((time, _, _)) = time {
            self.part.note_time(time);
        }
        Some(Counted { format, guessed, is_part })
    }

    fn take_back(&mut self, counted: Counted) {
        if counted.is_part {
            self.part.uncount(counted.format);
            self.part.input.problems.guessed_times -= u64::from(counted.guessed);
        }
    }
}

impl<'t> Reader<'t> {
    /// A reader of a chunk that begins there and whose past is known or not.
    pub(super) fn new(
        part: Part,
        (sources, timelines): Known<'t>,
        begins: (u64, bool),
        shapes: Box<Shapes>,
        plan: &'t Plan,
    ) -> Self {
        let file = sources
            .read
            .get(part.place.0 as usize)
            .filter(|_| plan.keeps_events || !plan.components.is_all());
        Self {
            source: part.place.0,
            part,
            sources,
            timelines,
            follows: plan.follows,
            told: Told::default(),
            keeps_ledger: plan.keeps_ledger,
            keeps_events: plan.keeps_events,
            by_sight: plan.by_sight && !plan.keeps_ledger && !plan.keeps_events,
            span: plan.since..=plan.until,
            components: &plan.components,
            of_file: file.and_then(|file| names::of_file(&file.name).component),
            begins,
            shapes,
            authors: Vec::new(),
            generation: 0,
            year: YearMemory::default(),
        }
    }

    /// What was read, and the shapes that were learnt.
    pub(super) fn into_parts(self) -> (Part, Box<Shapes>) {
        (self.part, self.shapes)
    }

    /// The moment that an event's own stamp tells, or its envelope's, how much later it may have been, and whether an event
    /// before it may have a say in that.
    fn moment(
        &mut self,
        own: Option<Stamp>,
        envelope: Option<Stamp>,
        told: Option<(i64, u32)>,
    ) -> Option<(i64, u32, bool)> {
        let stamp = own.or(envelope)?;
        let blur = u32::try_from(stamp.unit).unwrap_or(u32::MAX);
        if stamp.is_complete() {
            return Some((stamp.ns, blur, false));
        }
        let complete = envelope.filter(|stamp| stamp.is_complete()).map(|stamp| stamp.ns);
        let (moment, asks) = self.timelines.of(self.sources, self.source as usize).resolve(
            stamp,
            complete,
            told.map(|(time, _)| time),
            &mut self.year,
        );
        Some((moment, blur, asks))
    }

    /// The author of a known shape, and the key of its speaker.
    fn author(&mut self, number: usize) -> Option<(u16, u32)> {
        if self.generation != self.shapes.generation() {
            self.generation = self.shapes.generation();
            self.authors.clear();
        }
        if let Some(author) = self.authors.get(number).copied().flatten() {
            return Some(author);
        }
        let known = self.shapes.known(number)?;
        let speaker = known.speaker().key();
        let author =
            self.part.notes.author(speaker, &known.component, &known.instance, known.embedded)?;
        if speaker != 0 {
            self.part.notes.name(Voice { source: self.source, speaker }, known.speaker());
        }
        if self.authors.len() <= number {
            self.authors.resize(number + 1, None);
        }
        self.authors[number] = Some((author, speaker));
        Some((author, speaker))
    }

    /// Takes an event; whether it lacked a time that an earlier one might tell.
    fn take(&mut self, event: &Event<'_>) -> bool {
        if event.text.is_empty() {
            let is_part = event.own
                && self.counts(None, &event.facts.speaker)
                && self.told.before(event.at).is_none_or(|(time, _)| self.span.contains(&time));
            self.part.count(Format::UNRECOGNISED, if is_part { event.lines } else { 0 });
            return false;
        }
        if self.glance(event) {
            return false;
        }
        // A mapped line that its writer did not finish ends in zeros, and the next one follows them.
        let whole = memchr::memrchr(0, &event.text)
            .map_or(&event.text[..], |zero| event.text.get(zero + 1..).unwrap_or_default());
        let kept = whole.get(..whole.len().min(MAX_LINE)).unwrap_or_default();
        let text =
            std::str::from_utf8(kept).map_or_else(|_| String::from_utf8_lossy(kept), Cow::Borrowed);
        let (format, observation) = format::read(text.trim_end());
        let told = self.told.before(event.at);
        let envelope = event.facts.time;
        let own = observation.as_ref().and_then(|observation| observation.time);
        let stamp = own.or(envelope);
        let moment = self.moment(own, envelope, told);
        let time = moment.map(|(time, blur, _)| (time, blur));
        if let Some((time, blur)) = time {
            self.told.tell(time, blur, event.at);
        }
        // A line without a stamp has the milliseconds of its clock, else the time of the line before it.
        let clock = observation.as_ref().map_or(0, |observation| observation.clock);
        let by_clock = (clock > 0).then(|| {
            (i64::try_from((clock >> 16) * 1_000_000).unwrap_or(Mark::NO_TIME), 1_000_000)
        });
        let found = time.or(by_clock).or(told);
        // Which of two neighbours came first matters to a stamp that leaves something out.
        let needs_past =
            told.is_none() && (found.is_none() || moment.is_some_and(|(_, _, asks)| asks));
        if !event.own {
            return false;
        }
        let named = observation
            .as_ref()
            .filter(|observation| !observation.embedded)
            .and_then(|observation| observation.component.as_deref());
        if found.is_some_and(|(time, _)| !self.span.contains(&time))
            || !self.counts(named, &event.facts.speaker)
        {
            return needs_past;
        }
        self.part.count(format, event.lines);
        let input = &mut self.part.input;
        input.problems.invalid_utf8 += u64::from(matches!(text, Cow::Owned(_)));
        input.problems.long_lines += u64::from(kept.len() < whole.len());
        input.problems.guessed_times += u64::from(stamp.is_some_and(|stamp| !stamp.is_complete()));
        let speaker = event.facts.speaker.key();
        let (time_ns, blur) = found.unwrap_or((Mark::NO_TIME, 0));
        let place = Place { source: self.source, offset: event.at, speaker };
        if speaker != 0 {
            self.part.notes.name(place.voice(), &event.facts.speaker);
        }
        let mark = Mark { clock, time: time_ns, place, blur };
        if self.keeps_ledger {
            self.part.ledger.note(format.is_structured(), event.lines, observation.as_ref(), mark);
        }
        let Some(mut observation) = observation else {
            // What no format takes may still be the one line that tells why: a build tool's, a shell's.
            let words = Observation { message: text, ..Observation::default() };
            self.keep("", &words, &event.facts.speaker, mark);
            self.note_sign("", &words, &event.facts.speaker, mark);
            return needs_past;
        };
        input.records += 1;
        input.problems.duplicate_keys += u64::from(observation.problems.duplicate_keys);
        input.problems.bad_values += u64::from(observation.problems.bad_values);
        input.problems.lost_records += observation.lost;
        if let Some((time, _)) = time {
            self.part.note_time(time);
        }
        for flow in &mut observation.flows {
            flow.belongs_to(self.source);
        }
        self.keep(format.name(), &observation, &event.facts.speaker, mark);
        self.part.failures += u64::from(matches!(observation.said, Said::Fail(_)));
        self.part.notes.insert(&observation, mark);
        if self.follows {
            self.part.alerts.extend(Alert::of_span(&observation, &event.facts.speaker, mark));
        }
        self.note_sign(format.name(), &observation, &event.facts.speaker, mark);
        needs_past
    }

    /// Keeps an event, where events are asked for.
    fn keep(
        &mut self,
        format: &'static str,
        observation: &Observation<'_>,
        speaker: &Speaker,
        mark: Mark,
    ) {
        if self.keeps_events {
            self.part.events.push(LoggedEvent::of(
                format,
                observation,
                self.of_file,
                speaker,
                mark,
            ));
        }
    }

    /// Notes what an event tells of the run, in a format; empty where none takes it.
    fn note_sign(
        &mut self,
        format: &str,
        observation: &Observation<'_>,
        speaker: &Speaker,
        mark: Mark,
    ) {
        let Some(clue) = sign::of(format, observation, &speaker.process) else { return };
        if self.follows {
            self.part.alerts.extend(Alert::of_sign(&clue, observation, speaker, mark));
        }
        self.part.notes.sign(clue, mark, &observation.words());
    }

    /// Takes an event that is an ordinary record; whether it did.
    fn glance(&mut self, event: &Event<'_>) -> bool {
        if !self.by_sight || event.lines > 1 || memchr::memchr(0, &event.text).is_some() {
            return false;
        }
        let Some((format, glance, fields)) = format::glance(event.text.trim_ascii_end()) else {
            return false;
        };
        let speaker = event.facts.speaker.key();
        let place = Place { source: self.source, offset: event.at, speaker };
        if !event.own
            || !self.span.contains(&glance.time.0)
            || !self.components.holds(glance.component)
        {
            self.told.tell(glance.time.0, 1, event.at);
            return true;
        }
        if !self.part.notes.pass(&glance, fields, place) {
            return false;
        }
        if speaker != 0 {
            self.part.notes.name(place.voice(), &event.facts.speaker);
        }
        self.note_record(format, glance.time.0, event.at, true);
        true
    }

    /// Whether the component counts that an event names; else the one that its envelopes or its file's name tell.
    fn counts(&self, named: Option<&str>, speaker: &Speaker) -> bool {
        self.components.is_all() || {
            let named = named.filter(|name| !name.is_empty());
            named
                .or_else(|| speaker.component())
                .or(self.of_file)
                .is_some_and(|name| self.components.holds(name))
        }
    }

    fn note_record(&mut self, format: Format, time: i64, at: u64, counts: bool) {
        self.told.tell(time, 1, at);
        if !counts {
            return;
        }
        self.part.count(format, 1);
        self.part.input.records += 1;
        self.part.note_time(time);
    }
}
