//! The reader as a sink of events, with its fast paths for records and for lines of known templates.

use std::borrow::Cow;

use super::chunk_error::ChunkError;
use super::reader::{Reader, without_unfinished};
use crate::flow::{LineRef, LogPosition, ProducerId};
use crate::format;
use crate::lines::{MAX_EVENT_BYTES, MAX_LINE_BYTES};
use crate::multiline::{AcceptedLine, EventSink, RawEvent, TemplateOwner};
use crate::patterns::PatternLine;

impl<'c> EventSink<'c> for Reader<'_> {
    type Error = ChunkError;

    fn on_event(&mut self, raw: &RawEvent<'c>) -> Result<(), ChunkError> {
        let needs_past = self.take(raw);
        // Without lookbehind, every event begins in the chunk.
        if needs_past
            && !self.has_lookbehind
            && raw.at - self.result.offset <= MAX_EVENT_BYTES as u64
        {
            Err(ChunkError::NeedsLookbehind)
        } else {
            Ok(())
        }
    }

    fn try_record(&mut self, at: u64, line: &[u8]) -> bool {
        if !self.fast_path {
            return false;
        }
        let line_ref = LineRef { source: self.source, offset: at, producer: 0 };
        if at < self.result.offset {
            return false;
        }
        let found = self.result.delta.try_record(
            line.trim_ascii_end(),
            line_ref,
            &self.span,
            self.components,
        );
        let Some((format, time, counts)) = found else { return false };
        self.note_record(format, time, at, counts);
        true
    }

    fn match_template(&mut self, line: &[u8]) -> Option<usize> {
        if self.fast_path { self.templates.match_template(line) } else { None }
    }

    fn template_owner(&self, number: usize) -> Option<TemplateOwner<'_>> {
        self.templates.template_owner(number)
    }

    fn note_pending_time(&mut self, raw: &RawEvent<'c>) {
        let line = without_unfinished(&raw.text).split(|byte| *byte == b'\n').next();
        let line = line.unwrap_or_default();
        let line = line.get(..line.len().min(MAX_LINE_BYTES)).unwrap_or_default();
        let text =
            std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed);
        let own = format::read(text.trim_end()).1.and_then(|event| event.time);
        let recent = self.recent_times.latest_before(raw.at);
        if let Some(resolved) = self.resolve_time(own, raw.meta.time, recent) {
            self.recent_times.record(resolved.ns, resolved.resolution_ns, raw.at);
        }
    }

    fn accept_template_line(
        &mut self,
        number: usize,
        at: u64,
        line: &[u8],
    ) -> Option<AcceptedLine> {
        let (own, envelope) = self.templates.timestamps(number, line)?;
        let (writer, producer) = self.writer(number)?;
        let recent = self.recent_times.latest_before(at);
        let resolved = self.resolve_time(own, envelope, recent);
        let stamp = own.or(envelope);
        let (time_ns, resolution_ns) =
            resolved.map(|time| (time.ns, time.resolution_ns)).or(recent)?;
        if recent.is_none() && resolved.is_none_or(|time| time.needs_earlier_event) {
            return None;
        }
        let format = self.templates.template(number)?.format;
        let is_time_inferred = stamp.is_some_and(|stamp| !stamp.is_complete());
        if let Some(resolved) = resolved {
            self.recent_times.record(resolved.ns, resolved.resolution_ns, at);
        }
        let in_scope = at >= self.result.offset && self.span.contains(&time_ns) && {
            let known = self.templates.template(number)?;
            self.counts(
                Some(known.component.as_str()).filter(|_| !known.is_library),
                known.producer(),
            )
        };
        let pattern = (self.templates.template(number)?.pattern, producer);
        let accepted = AcceptedLine { format, is_time_inferred, in_scope, pattern, time: time_ns };
        if !in_scope {
            return Some(accepted);
        }
        let line = LineRef { source: self.source, offset: at, producer };
        let position = LogPosition { clock: 0, time: time_ns, line, resolution_ns };
        let known = self.templates.template(number)?;
        self.result.delta.touch(writer, format, known.level.is_some(), position);
        self.result.patterns.add(
            (line.producer_id(), known.pattern),
            &PatternLine {
                component: if known.is_library { "" } else { &known.component },
                instance: &known.instance,
                target: &known.target,
                level: known.level,
                is_error: known.severity.is_error,
                has_stack: known.severity.has_stack,
                position,
                message: &known.message.0,
            },
        );
        self.result.count(format, 1);
        self.result.input.records += 1;
        self.result.input.problems.inferred_timestamps += u64::from(is_time_inferred);
        if let Some(resolved) = resolved {
            self.result.note_time(resolved.ns);
        }
        Some(accepted)
    }

    fn retract(&mut self, accepted: AcceptedLine) {
        if accepted.in_scope {
            self.result.uncount(accepted.format);
            self.result.input.problems.inferred_timestamps -= u64::from(accepted.is_time_inferred);
            let (pattern, producer) = accepted.pattern;
            let producer_id = ProducerId { source: self.source, producer };
            self.result.patterns.take_back((producer_id, pattern), accepted.time);
        }
    }
}
