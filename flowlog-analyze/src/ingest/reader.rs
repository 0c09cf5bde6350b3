//! Conversion of events into the result of a chunk.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use flowlog_schema::Level;

use super::IngestOptions;
use super::alert::Alert;
use super::chunk_result::ChunkResult;
use super::event_row::EventRow;
use super::recent_times::RecentTimes;
use crate::component_filter::ComponentFilter;
use crate::component_names;
use crate::envelope::Producer;
use crate::event::{ParsedEvent, SpanUpdate};
use crate::flow::{LineRef, LogPosition, ProducerId};
use crate::format::{self, Format};
use crate::lines::MAX_LINE_BYTES;
use crate::multiline::RawEvent;
use crate::patterns::{PatternLine, pattern_hash, without_line};
use crate::rules;
use crate::source::Sources;
use crate::templates::TemplateCache;
use crate::timestamp::{self, Timestamp};
use crate::timestamp_inference::{TimestampResolvers, YearCache};

/// Sink that builds a chunk's result from its events.
pub(super) struct Reader<'t> {
    pub(super) result: ChunkResult,
    pub(super) source: u32,
    pub(super) sources: &'t Sources,
    pub(super) resolvers: &'t TimestampResolvers,
    pub(super) recent_times: RecentTimes,
    /// See [`IngestOptions::collect_line_stats`].
    pub(super) collect_line_stats: bool,
    /// See [`IngestOptions::follow`].
    pub(super) follow: bool,
    /// See [`IngestOptions::collect_events`].
    pub(super) collect_events: bool,
    /// See [`IngestOptions::fast_path`]. Off if line statistics or events are collected, which need
    /// every line.
    pub(super) fast_path: bool,
    /// Requested times.
    pub(super) span: RangeInclusive<i64>,
    /// Requested components.
    pub(super) components: &'t ComponentFilter,
    /// Component that the source's name indicates.
    pub(super) of_file: Option<&'static str>,
    /// Whether the lines before the chunk were read.
    pub(super) has_lookbehind: bool,
    pub(super) templates: Box<TemplateCache>,
    /// Writer and producer key by template index.
    pub(super) writers: Vec<Option<(u16, u32)>>,
    pub(super) year: YearCache,
    /// Generation of the templates that the indexes above refer to.
    pub(super) generation: u32,
}

/// The sources, and what was learned about their timestamps.
pub(super) type SourceContext<'t> = (&'t Sources, &'t TimestampResolvers);

/// Time of an event, as resolved from a timestamp.
#[derive(Clone, Copy)]
pub(super) struct ResolvedTime {
    /// Nanoseconds since the epoch.
    pub(super) ns: i64,
    pub(super) resolution_ns: u32,
    /// Whether an event before it can change the result.
    pub(super) needs_earlier_event: bool,
}

impl<'t> Reader<'t> {
    /// Creates a reader of a chunk. `has_lookbehind` is whether the lines before it were read.
    pub(super) fn new(
        result: ChunkResult,
        (sources, resolvers): SourceContext<'t>,
        has_lookbehind: bool,
        templates: Box<TemplateCache>,
        plan: &'t IngestOptions,
    ) -> Self {
        let file = sources
            .read
            .get(result.source as usize)
            .filter(|_| plan.collect_events || !plan.components.is_all());
        Self {
            source: result.source,
            result,
            sources,
            resolvers,
            follow: plan.follow,
            recent_times: RecentTimes::default(),
            collect_line_stats: plan.collect_line_stats,
            collect_events: plan.collect_events,
            fast_path: plan.fast_path && !plan.collect_line_stats && !plan.collect_events,
            span: plan.since..=plan.until,
            components: &plan.components,
            of_file: file.and_then(|file| component_names::of_file(&file.name).component),
            has_lookbehind,
            templates,
            writers: Vec::new(),
            generation: 0,
            year: YearCache::default(),
        }
    }

    /// Returns the chunk's result and the templates that were learned.
    pub(super) fn into_parts(self) -> (ChunkResult, Box<TemplateCache>) {
        (self.result, self.templates)
    }

    /// Resolves the time of an event from its own timestamp, or else from its envelope's.
    pub(super) fn resolve_time(
        &mut self,
        own: Option<Timestamp>,
        envelope: Option<Timestamp>,
        recent: Option<(i64, u32)>,
    ) -> Option<ResolvedTime> {
        let stamp = own.or(envelope)?;
        let resolution_ns = u32::try_from(stamp.unit).unwrap_or(u32::MAX);
        if stamp.is_complete() {
            return Some(ResolvedTime { ns: stamp.ns, resolution_ns, needs_earlier_event: false });
        }
        let complete = envelope.filter(|stamp| stamp.is_complete()).map(|stamp| stamp.ns);
        let (ns, needs_earlier_event) = self
            .resolvers
            .of(self.sources, self.source as usize)
            .resolve(stamp, complete, recent.map(|(time, _)| time), &mut self.year);
        Some(ResolvedTime { ns, resolution_ns, needs_earlier_event })
    }

    /// Returns the writer of a known template and the key of its producer.
    pub(super) fn writer(&mut self, number: usize) -> Option<(u16, u32)> {
        if self.generation != self.templates.generation() {
            self.generation = self.templates.generation();
            self.writers.clear();
        }
        if let Some(writer) = self.writers.get(number).copied().flatten() {
            return Some(writer);
        }
        let known = self.templates.template(number)?;
        let producer = known.producer().key();
        let writer = self.result.delta.writer(
            producer,
            &known.component,
            &known.instance,
            known.is_library,
        )?;
        if producer != 0 {
            self.result.delta.name(ProducerId { source: self.source, producer }, known.producer());
        }
        if self.writers.len() <= number {
            self.writers.resize(number + 1, None);
        }
        self.writers[number] = Some((writer, producer));
        Some((writer, producer))
    }

    /// Processes an event. Returns whether it lacks a time that an earlier event could provide.
    pub(super) fn take(&mut self, raw: &RawEvent<'_>) -> bool {
        if raw.text.is_empty() {
            let in_scope = raw.starts_in_chunk
                && self.counts(None, &raw.meta.producer)
                && self
                    .recent_times
                    .latest_before(raw.at)
                    .is_none_or(|(time, _)| self.span.contains(&time));
            self.result.count(Format::UNRECOGNISED, if in_scope { raw.lines } else { 0 });
            return false;
        }
        if self.decode_fast(raw) {
            return false;
        }
        let whole = without_unfinished(&raw.text);
        let kept = whole.get(..whole.len().min(MAX_LINE_BYTES)).unwrap_or_default();
        let text =
            std::str::from_utf8(kept).map_or_else(|_| String::from_utf8_lossy(kept), Cow::Borrowed);
        let (format, event) = format::read(text.trim_end());
        let event = event.filter(|event| !self.is_fragment(raw, event));
        // A line that an envelope gives a time is read, whatever it says.
        let format = match (&event, raw.meta.time) {
            (None, Some(_)) => Format::GENERIC,
            _ => format,
        };
        let recent = self.recent_times.latest_before(raw.at);
        let envelope = raw.meta.time;
        let own = event.as_ref().and_then(|event| event.time);
        let stamp = own.or(envelope);
        let resolved = self.resolve_time(own, envelope, recent);
        let time = resolved.map(|time| (time.ns, time.resolution_ns));
        if let Some((time, resolution_ns)) = time {
            self.recent_times.record(time, resolution_ns, raw.at);
        }
        // Without a timestamp, an event has the milliseconds of its clock, or else the time of the
        // event before it.
        let clock = event.as_ref().map_or(0, |event| event.clock);
        let by_clock = (clock > 0).then(|| {
            (i64::try_from((clock >> 16) * 1_000_000).unwrap_or(LogPosition::NO_TIME), 1_000_000)
        });
        let found = time.or(by_clock).or(recent);
        // An incomplete timestamp is resolved by the order of neighboring events.
        let needs_past = recent.is_none()
            && (found.is_none() || resolved.is_some_and(|time| time.needs_earlier_event));
        if !raw.starts_in_chunk {
            return false;
        }
        let named = event
            .as_ref()
            .filter(|event| !event.is_library)
            .and_then(|event| event.component.as_deref());
        if found.is_some_and(|(time, _)| !self.span.contains(&time))
            || !self.counts(named, &raw.meta.producer)
        {
            return needs_past;
        }
        self.result.count(format, raw.lines);
        if format == Format::KUBECTL {
            self.result.note_object(raw.at);
        }
        let input = &mut self.result.input;
        input.problems.invalid_utf8 += u64::from(matches!(text, Cow::Owned(_)));
        input.problems.truncated_lines += u64::from(kept.len() < whole.len());
        input.problems.inferred_timestamps +=
            u64::from(stamp.is_some_and(|stamp| !stamp.is_complete()));
        let producer = raw.meta.producer.key();
        let (time_ns, resolution_ns) = found.unwrap_or((LogPosition::NO_TIME, 0));
        let line = LineRef { source: self.source, offset: raw.at, producer };
        if producer != 0 {
            self.result.delta.name(line.producer_id(), &raw.meta.producer);
        }
        let position = LogPosition { clock, time: time_ns, line, resolution_ns };
        if self.collect_line_stats {
            self.result.line_stats.note(
                format.is_structured(),
                raw.lines,
                event.as_ref(),
                position,
            );
        }
        if format == Format::OTLP {
            self.take_otlp(&text, raw, position);
            return needs_past;
        }
        let Some(mut event) = event else {
            // Text that no format accepts may still be the one line that explains the failure: a
            // build tool's or a shell's.
            let level = raw.meta.level;
            let words = ParsedEvent { message: text, level, ..ParsedEvent::default() };
            self.collect_event("", &words, &raw.meta.producer, position);
            self.note_pattern("", &words, position);
            self.note_rule_match("", &words, &raw.meta.producer, position);
            return needs_past;
        };
        event.level = event.level.or(raw.meta.level);
        input.records += 1;
        input.problems.duplicate_keys += u64::from(event.problems.duplicate_keys);
        input.problems.bad_values += u64::from(event.problems.bad_values);
        input.problems.lost_records += event.lost;
        if let Some((time, _)) = time {
            self.result.note_time(time);
        }
        for flow in &mut event.flows {
            flow.set_source(self.source);
        }
        self.collect_event(format.name(), &event, &raw.meta.producer, position);
        // The state of objects is examined as a whole.
        if event.span.is_none() && format != Format::KUBECTL {
            self.note_pattern(format.name(), &event, position);
        }
        if format.is_generic() && event.level.is_none_or(|level| level < Level::Error) {
            // The lines of any logger say that they belong to a flow, not what became of it.
            event.flows.clear();
        }
        self.result.failures += u64::from(matches!(event.update, SpanUpdate::Fail(_)));
        self.result.delta.insert(format, &event, position);
        if self.follow {
            self.result.alerts.extend(Alert::of_span(&event, &raw.meta.producer, position));
        }
        self.note_rule_match(format.name(), &event, &raw.meta.producer, position);
        needs_past
    }

    /// Processes the logs or spans of a line of OTLP.
    fn take_otlp(&mut self, text: &str, raw: &RawEvent<'_>, position: LogPosition) {
        self.result.input.records += 1;
        for event in format::otlp::events(text).unwrap_or_default() {
            let time = event.time.map(|stamp| stamp.ns);
            if let Some(time) = time {
                self.result.note_time(time);
            }
            let position = LogPosition { time: time.unwrap_or(position.time), ..position };
            self.collect_event(Format::OTLP.name(), &event, &raw.meta.producer, position);
            self.result.failures += u64::from(matches!(event.update, SpanUpdate::Fail(_)));
            if event.span.is_none() {
                self.note_pattern(Format::OTLP.name(), &event, position);
            }
            self.result.delta.insert(Format::OTLP, &event, position);
            self.note_rule_match("json", &event, &raw.meta.producer, position);
        }
    }

    /// Returns whether an event is the rest of a line of which the beginning was cut off with all that
    /// came before: it is the first of its source, names a span but no time, and the next line has a
    /// time. Its component is cut, too.
    fn is_fragment(&self, raw: &RawEvent<'_>, event: &ParsedEvent<'_>) -> bool {
        if raw.at > 0 || event.time.is_some() || event.span.is_none() || raw.lines > 1 {
            return false;
        }
        let Some(source) = self.sources.read.get(self.source as usize) else { return false };
        let mut next = [0; 64];
        let at = raw.text.len() as u64 + 1;
        let filled = source.read_at(at, &mut next).unwrap_or(0);
        timestamp::iso(next.get(..filled).unwrap_or_default()).is_some()
    }

    /// Collects an event, if events are requested.
    fn collect_event(
        &mut self,
        format: &'static str,
        event: &ParsedEvent<'_>,
        producer: &Producer,
        position: LogPosition,
    ) {
        if self.collect_events {
            self.result.events.push(EventRow::of(format, event, self.of_file, producer, position));
        }
    }

    /// Adds an event to its pattern, and to its flow's lines.
    fn note_pattern(&mut self, format: &str, event: &ParsedEvent<'_>, position: LogPosition) {
        let message = event.full_message();
        let target = without_line(&event.target);
        let pattern = pattern_hash(target, &message);
        let severity = rules::severity_of(format, event);
        let key = (position.line.producer_id(), pattern);
        let own = event.component.as_deref().filter(|_| !event.is_library);
        self.result.patterns.add(
            key,
            &PatternLine {
                component: own.unwrap_or_default(),
                instance: event.instance.as_deref().unwrap_or_default(),
                target,
                level: event.level,
                is_error: severity.is_error,
                has_stack: severity.has_stack,
                position,
                message: &message,
            },
        );
        if let (Some(flow), Some(time)) = (event.flows.first(), position.time()) {
            self.result.traces.add(flow, time, position.line, pattern);
        }
    }

    /// Records what an event shows about the run. `format` is empty if no format accepted the
    /// event.
    fn note_rule_match(
        &mut self,
        format: &str,
        event: &ParsedEvent<'_>,
        producer: &Producer,
        position: LogPosition,
    ) {
        let Some(rule_match) = rules::of(format, event, &producer.process) else { return };
        if self.follow {
            self.result.alerts.extend(Alert::of_rule_match(&rule_match, event, producer, position));
        }
        self.result.delta.add_match(rule_match, position, &event.full_message());
    }

    /// Tries to consume an event as an ordinary record. Returns `true` if consumed.
    fn decode_fast(&mut self, raw: &RawEvent<'_>) -> bool {
        if !self.fast_path || raw.lines > 1 || memchr::memchr(0, &raw.text).is_some() {
            return false;
        }
        let Some((format, decode_fast, fields)) = format::decode_fast(raw.text.trim_ascii_end())
        else {
            return false;
        };
        let producer = raw.meta.producer.key();
        let line = LineRef { source: self.source, offset: raw.at, producer };
        if !raw.starts_in_chunk
            || !self.span.contains(&decode_fast.time.0)
            || !self.components.holds(decode_fast.component)
        {
            self.recent_times.record(decode_fast.time.0, 1, raw.at);
            return true;
        }
        if !self.result.delta.add_record(&decode_fast, fields, line) {
            return false;
        }
        if producer != 0 {
            self.result.delta.name(line.producer_id(), &raw.meta.producer);
        }
        self.note_record(format, decode_fast.time.0, raw.at, true);
        true
    }

    /// Returns whether the component of an event is requested: the one that the event names, or
    /// else the one that its envelopes or its file's name indicate.
    pub(super) fn counts(&self, named: Option<&str>, producer: &Producer) -> bool {
        self.components.is_all() || {
            let named = named.filter(|name| !name.is_empty());
            named
                .or_else(|| producer.component())
                .or(self.of_file)
                .is_some_and(|name| self.components.holds(name))
        }
    }

    pub(super) fn note_record(&mut self, format: Format, time: i64, at: u64, counts: bool) {
        self.recent_times.record(time, 1, at);
        if !counts {
            return;
        }
        self.result.count(format, 1);
        self.result.input.records += 1;
        self.result.note_time(time);
    }
}

/// Returns an event without the beginning of its first line that another line overwrote: a
/// memory-mapped line that its writer did not finish ends in zeros, and the next line follows them.
pub(super) fn without_unfinished(text: &[u8]) -> &[u8] {
    let first = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let zero = memchr::memrchr(0, text.get(..first).unwrap_or_default());
    text.get(zero.map_or(0, |zero| zero + 1)..).unwrap_or_default()
}
