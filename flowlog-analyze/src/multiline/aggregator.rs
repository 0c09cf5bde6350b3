//! Joins the lines of a chunk into events, and passes the events on in order.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use fnv::{FnvHashMap, FnvHashSet};

use super::line::{Fragment, Line, Region};
use super::pending::{Kind, MAX_REORDER_BYTES, PendingEvent, may_continue, rebuild, within_pause};
use super::slot::Slot;
use super::{EventSink, NeedsLookbehind, RawEvent};
use crate::envelope::{EnvelopeMeta, Layout, Peeled, Producer, has_no_envelope, peel_rest};
use crate::format::{EventStart, classify_start};
use crate::lines::{Chunk, MAX_EVENT_BYTES};

/// Joins lines into events.
pub(super) struct LineAggregator<'e, 'c, H> {
    sink: &'e mut H,
    /// Offset of the chunk. `has_lookbehind` is whether the lines before it were read.
    chunk_start: u64,
    has_lookbehind: bool,
    /// See [`Chunk::layout`].
    layout: Layout,
    /// State of the lines that no envelope attributes to a producer.
    anonymous: Slot<'c>,
    /// States by producer and stream.
    streams: FnvHashMap<u64, Slot<'c>>,
    /// Streams with a pending event, by the offset of that event.
    open: BTreeMap<u64, u64>,
    /// Offset before which the sink has received every event, or its time.
    times_noted_up_to: u64,
    /// Stream key and producer of the last line.
    latest: (u64, Producer),
    /// Streams whose envelope splits lines, and of which a line was seen.
    split_streams: FnvHashSet<u64>,
    /// Lines that may continue, by such a stream.
    fragments: FnvHashMap<u64, Box<Fragment<'c>>>,
    /// Offsets of these lines.
    fragment_offsets: BTreeSet<u64>,
    /// Events that are complete while an earlier one is not.
    reorder_buffer: BTreeMap<u64, RawEvent<'c>>,
    /// Whether no line follows, so that all events go to the reorder buffer, to be passed on in
    /// order.
    flushing: bool,
}

impl<'e, 'c, H: EventSink<'c>> LineAggregator<'e, 'c, H> {
    /// Returns an aggregator of the lines of a chunk.
    pub(super) fn new(chunk: &Chunk, sink: &'e mut H) -> Self {
        Self {
            sink,
            chunk_start: chunk.chunk_start,
            has_lookbehind: chunk.has_lookbehind || chunk.quiescent_at == Some(chunk.chunk_start),
            layout: chunk.layout.clone(),
            anonymous: Slot::Unknown,
            streams: FnvHashMap::default(),
            open: BTreeMap::new(),
            times_noted_up_to: 0,
            latest: (0, Producer::default()),
            split_streams: FnvHashSet::default(),
            fragments: FnvHashMap::default(),
            fragment_offsets: BTreeSet::new(),
            reorder_buffer: BTreeMap::new(),
            flushing: false,
        }
    }

    fn slot(&mut self, stream_key: u64) -> &mut Slot<'c> {
        if stream_key == 0 {
            &mut self.anonymous
        } else {
            self.streams.entry(stream_key).or_default()
        }
    }

    fn peel<'l>(&self, line: &'l [u8]) -> Peeled<'l> {
        self.layout.peel(line)
    }

    /// Returns whether nothing before the chunk can affect the line at `offset`.
    fn is_certain(&self, offset: u64) -> bool {
        self.has_lookbehind || offset - self.chunk_start > MAX_EVENT_BYTES as u64
    }

    /// Tries the fast path for a line of the chunk or of its lookbehind. Returns whether it was
    /// consumed.
    ///
    /// Pending events reach the sink after such a line, which can depend on nothing but their
    /// times.
    pub(super) fn match_known(&mut self, offset: u64, line: &'c [u8]) -> Result<bool, H::Error> {
        if !self.layout.is_plain() || !self.fragments.is_empty() {
            return Ok(false);
        }
        if self.sink.try_record(offset, line) {
            if self.latest.0 != 0 {
                self.latest = (0, Producer::default());
            }
            return self.end(0, Slot::Closed, offset).map(|()| true);
        }
        let Some(number) = self.sink.match_template(line) else { return Ok(false) };
        let Some(owner) = self.sink.template_owner(number) else { return Ok(false) };
        let (stream_key, splits_lines) = (owner.stream_key, owner.splits_lines);
        let needs_earlier_time = owner.needs_earlier_time;
        // A split line from before the chunk may continue here.
        if splits_lines && !self.split_streams.contains(&stream_key) && !self.is_certain(offset) {
            return Ok(false);
        }
        if needs_earlier_time {
            self.note_pending_time();
        }
        let Some(accepted) = self.sink.accept_template_line(number, offset, line) else {
            return Ok(false);
        };
        if splits_lines {
            self.split_streams.insert(stream_key);
        }
        self.note_latest(stream_key, number);
        self.end(stream_key, Slot::Template { accepted, at: offset, line }, offset).map(|()| true)
    }

    /// Passes the times of pending events to the sink.
    fn note_pending_time(&mut self) {
        let from = self.times_noted_up_to;
        let held = self.reorder_buffer.range(from..).map(|(_, event)| event);
        let open = self.open.range(from..).filter_map(|(_, stream_key)| {
            let slot = match stream_key {
                0 => &self.anonymous,
                _ => self.streams.get(stream_key)?,
            };
            slot.open().map(|open| &open.event)
        });
        let mut waiting: Vec<&RawEvent<'c>> = held.chain(open).collect();
        waiting.sort_unstable_by_key(|event| event.at);
        for event in waiting {
            self.sink.note_pending_time(event);
            self.times_noted_up_to = event.at + 1;
        }
    }

    fn note_latest(&mut self, stream_key: u64, number: usize) {
        if self.latest.0 != stream_key
            && let Some(known) = self.sink.template_owner(number)
        {
            self.latest = (stream_key, known.producer.clone());
        }
    }

    /// Tries the fast path for a line after the chunk: it closes the pending event of its stream.
    fn match_known_ahead(&mut self, offset: u64, line: &[u8]) -> Result<bool, H::Error> {
        if !self.layout.is_plain() || !self.fragments.is_empty() {
            return Ok(false);
        }
        let Some(number) = self.sink.match_template(line) else { return Ok(false) };
        let Some(stream_key) = self.sink.template_owner(number).map(|known| known.stream_key)
        else {
            return Ok(false);
        };
        self.note_latest(stream_key, number);
        self.end(stream_key, Slot::Closed, offset).map(|()| true)
    }

    pub(super) fn take(
        &mut self,
        offset: u64,
        line: &'c [u8],
        region: Region,
    ) -> Result<(), H::Error> {
        let end = offset + line.len() as u64;
        if self.layout.is_plain() && has_no_envelope(line) {
            let start = classify_start(line);
            if self.latest.0 != 0 {
                self.latest = (0, Producer::default());
            }
            if start == Some(EventStart::Whole) {
                self.end(0, Slot::Closed, offset)?;
                let event = RawEvent {
                    at: offset,
                    lines: 1,
                    text: Cow::Borrowed(line),
                    meta: EnvelopeMeta::default(),
                    starts_in_chunk: region == Region::Chunk,
                };
                return self.release(event, offset);
            }
            let line = Line {
                at: offset,
                end,
                lines: 1,
                text: Cow::Borrowed(line),
                meta: EnvelopeMeta::default(),
                region,
            };
            return self.append_or_start(line, start);
        }
        let peeled = self.peel(line);
        if peeled.meta.splits_lines {
            return self.fragment(offset, end, peeled, region);
        }
        let meta = peeled.meta.clone();
        self.add_line(Line { at: offset, end, lines: 1, text: peeled.into_content(), meta, region })
    }

    /// Adds a line after the chunk.
    pub(super) fn lookahead_line(&mut self, offset: u64, line: &[u8]) -> Result<(), H::Error> {
        if self.match_known_ahead(offset, line)? {
            return Ok(());
        }
        let peeled = self.peel(line);
        let meta = peeled.meta.clone();
        let end = offset + line.len() as u64;
        let line = Line {
            at: offset,
            end,
            lines: 1,
            text: Cow::Owned(peeled.content().to_vec()),
            meta,
            region: Region::Lookahead,
        };
        if line.meta.splits_lines { self.fragment_line(line) } else { self.add_line(line) }
    }

    fn fragment(
        &mut self,
        at: u64,
        end: u64,
        peeled: Peeled<'c>,
        region: Region,
    ) -> Result<(), H::Error> {
        let meta = peeled.meta.clone();
        self.fragment_line(Line { at, end, lines: 1, text: peeled.into_content(), meta, region })
    }

    /// Adds a fragment of a line that may be split: it continues the fragment before it, or ends
    /// that.
    fn fragment_line(&mut self, line: Line<'c>) -> Result<(), H::Error> {
        let stream_key = line.meta.stream_key();
        if !self.split_streams.contains(&stream_key)
            && !self.is_certain(line.at)
            && line.region != Region::Lookahead
        {
            return Err(NeedsLookbehind.into());
        }
        let partial = line.meta.partial;
        let time = line.meta.complete_time();
        // If the envelope marks continuations, only the next line shows that this one is complete.
        let waits = partial || line.meta.marks_continuations;
        self.split_streams.insert(stream_key);
        if let Some(mut fragment) = self.take_fragment(stream_key) {
            let near = line.at - fragment.line.at <= MAX_EVENT_BYTES as u64
                && line.at.saturating_sub(fragment.line.end) <= MAX_REORDER_BYTES;
            if (fragment.partial || line.meta.is_continuation)
                && near
                && within_pause(fragment.last, time)
            {
                fragment.line.text.to_mut().extend_from_slice(&line.text);
                fragment.line.lines += line.lines;
                fragment.line.end = line.end;
                fragment.partial = partial;
                fragment.last = time.or(fragment.last);
                if waits {
                    self.keep_fragment(stream_key, fragment);
                    return Ok(());
                }
                return self.finish_line(fragment.line);
            }
            self.finish_line(fragment.line)?;
        }
        if waits {
            self.keep_fragment(stream_key, Box::new(Fragment { line, partial, last: time }));
            return Ok(());
        }
        self.finish_line(line)
    }

    fn keep_fragment(&mut self, stream_key: u64, fragment: Box<Fragment<'c>>) {
        self.fragment_offsets.insert(fragment.line.at);
        self.fragments.insert(stream_key, fragment);
    }

    fn take_fragment(&mut self, stream_key: u64) -> Option<Box<Fragment<'c>>> {
        let fragment = self.fragments.remove(&stream_key)?;
        self.fragment_offsets.remove(&fragment.line.at);
        Some(fragment)
    }

    /// Adds a line that is complete again. Its content may have envelopes too.
    fn finish_line(&mut self, line: Line<'c>) -> Result<(), H::Error> {
        let Line { at, end, lines, text, meta, region } = line;
        let (text, meta) = peel_rest(text, meta);
        self.add_line(Line { at, end, lines, text, meta, region })
    }

    fn add_line(&mut self, line: Line<'c>) -> Result<(), H::Error> {
        let start = classify_start(&line.text);
        self.append_or_start(line, start)
    }

    /// Appends a line to the event of its stream, or ends that and starts another.
    fn append_or_start(
        &mut self,
        line: Line<'c>,
        start: Option<EventStart>,
    ) -> Result<(), H::Error> {
        let time = line.meta.complete_time();
        let stream_key = self.stream_key_of(&line, start);
        if self.latest.0 != stream_key {
            self.latest = (stream_key, line.meta.producer.clone());
        }
        let certain = self.is_certain(line.at) || line.region == Region::Lookahead;
        let chunk_start = self.chunk_start;
        match self.slot(stream_key) {
            Slot::Unknown if !certain && may_continue(start, &line.text) => {
                return Err(NeedsLookbehind.into());
            }
            Slot::Open(open) => {
                if let Some(body) = open.accepts(line.at, time, start, &line.text) {
                    open.add(&line, body);
                    return Ok(());
                }
            }
            Slot::Template { accepted, at, line: known } if may_continue(start, &line.text) => {
                let (accepted, at) = (*accepted, *at);
                if let Some(mut open) = rebuild(at, known, at >= chunk_start)
                    && let Some(body) = open.accepts(line.at, time, start, &line.text)
                {
                    open.add(&line, body);
                    self.sink.retract(accepted);
                    self.put_open(stream_key, open);
                    return Ok(());
                }
            }
            Slot::Unknown | Slot::Closed | Slot::Template { .. } => {}
        }
        let before = self.close(stream_key);
        let kind = match start {
            Some(EventStart::Logged { header, may_have_stack, repeats_header, .. }) => {
                Kind::Logged { header, may_have_stack, repeats_header }
            }
            Some(EventStart::Panic | EventStart::Stack | EventStart::Part) => Kind::Raw,
            Some(EventStart::Whole) | None => Kind::Whole,
        };
        let (offset, end) = (line.at, line.end);
        let event = RawEvent {
            at: line.at,
            lines: line.lines,
            text: line.text,
            meta: line.meta,
            starts_in_chunk: line.region == Region::Chunk,
        };
        let mut whole = None;
        if kind == Kind::Whole {
            whole = Some(event);
        } else {
            let body = if let Some(EventStart::Logged { body, .. }) = start { body } else { 0 };
            self.put_open(stream_key, PendingEvent::new(event, kind, end, body));
        }
        for event in before.into_iter().chain(whole) {
            self.release(event, offset)?;
        }
        Ok(())
    }

    fn put_open(&mut self, stream_key: u64, open: PendingEvent<'c>) {
        self.open.insert(open.event.at, stream_key);
        *self.slot(stream_key) = Slot::Open(Box::new(open));
    }

    /// Closes the pending event of a stream.
    fn close(&mut self, stream_key: u64) -> Option<RawEvent<'c>> {
        let event = self.slot(stream_key).close()?;
        self.open.remove(&event.at);
        Some(event)
    }

    /// Closes the pending event of a stream, releases it, and sets the state to `after`.
    fn end(&mut self, stream_key: u64, after: Slot<'c>, now: u64) -> Result<(), H::Error> {
        let before = self.close(stream_key);
        *self.slot(stream_key) = after;
        before.map_or(Ok(()), |event| self.release(event, now))
    }

    /// Returns the key of the stream that a line belongs to.
    ///
    /// Native code bypasses the prefix that its process adds to lines, so parts of a stack directly
    /// after a prefixed line continue that line.
    fn stream_key_of(&self, line: &Line<'_>, start: Option<EventStart>) -> u64 {
        let own = line.meta.stream_key();
        let (latest, producer) = &self.latest;
        let goes_on =
            start == Some(EventStart::Part) || start.is_none() && line.text.trim_ascii().is_empty();
        if !goes_on || producer.process.is_empty() || !line.meta.producer.contains(producer) {
            return own;
        }
        let latest = *latest;
        let takes = |open: &PendingEvent<'_>| {
            line.at.saturating_sub(open.end) <= 2
                && open.accepts(line.at, None, start, &line.text).is_some()
        };
        let adjacent = match self.streams.get(&latest) {
            Some(Slot::Open(open)) => takes(open),
            Some(Slot::Template { at, line, .. }) => {
                rebuild(*at, line, *at >= self.chunk_start).is_some_and(|open| takes(&open))
            }
            _ => false,
        };
        if adjacent { latest } else { own }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot<'c>> {
        std::iter::once(&self.anonymous).chain(self.streams.values())
    }

    /// Passes on a complete event, and those that waited for it, unless it must wait itself.
    fn release(&mut self, event: RawEvent<'c>, now: u64) -> Result<(), H::Error> {
        let earliest = self.earliest_open();
        if self.flushing {
            self.reorder_buffer.insert(event.at, event);
            return Ok(());
        }
        if self.reorder_buffer.is_empty() && earliest.is_none_or(|earliest| event.at < earliest) {
            return self.sink.on_event(&event);
        }
        self.reorder_buffer.insert(event.at, event);
        // Do not wait for an event that is too long to continue.
        if earliest.is_some_and(|earliest| now.saturating_sub(earliest) > MAX_EVENT_BYTES as u64) {
            let limit = now - MAX_EVENT_BYTES as u64;
            while let Some((_, stream_key)) = self.open.range(..limit).next()
                && let Some(event) = self.close(*stream_key)
            {
                self.reorder_buffer.insert(event.at, event);
            }
        }
        let earliest = self.earliest_open().unwrap_or(u64::MAX);
        while let Some(entry) =
            self.reorder_buffer.first_entry().filter(|entry| *entry.key() < earliest)
        {
            self.sink.on_event(&entry.remove())?;
        }
        Ok(())
    }

    fn earliest_open(&self) -> Option<u64> {
        let events = self.open.keys().next();
        events.into_iter().chain(self.fragment_offsets.first()).min().copied()
    }

    /// Returns whether an event of the chunk may continue.
    pub(super) fn is_waiting(&self) -> bool {
        self.slots().any(|slot| slot.is_waiting(self.chunk_start))
            || self.fragments.values().any(|fragment| fragment.line.region == Region::Chunk)
    }

    /// Finishes all pending lines and events, which no later line continues, and passes them on.
    pub(super) fn flush(&mut self) -> Result<(), H::Error> {
        self.flushing = true;
        self.fragment_offsets.clear();
        let mut rest: Vec<Line<'c>> =
            self.fragments.drain().map(|(_, fragment)| fragment.line).collect();
        rest.sort_by_key(|line| line.at);
        for line in rest {
            self.finish_line(line)?;
        }
        for slot in std::iter::once(&mut self.anonymous).chain(self.streams.values_mut()) {
            if let Some(event) = slot.close() {
                self.reorder_buffer.insert(event.at, event);
            }
        }
        for event in std::mem::take(&mut self.reorder_buffer).into_values() {
            self.sink.on_event(&event)?;
        }
        self.open.clear();
        self.flushing = false;
        Ok(())
    }
}
