//! The pipeline of a record: numbers and encodes it, appends it to the flight file, writes it to
//! the sink, exports it to the collector, and reports what was lost.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::Ordering;

use flowlog_schema::flight::{COUNTER_STRIPES, number};
use flowlog_schema::json::RecordData;
use flowlog_schema::{EventKind, Level, Record, Scalar, Time, text};

use crate::emitter::Inner;
use crate::flight::Flight;
use crate::otlp::Exporter;
use crate::record_args::SpanHeader;
use crate::sink::{Encoding, SinkWriter};
use crate::thread_buffer::{ThreadBuffer, with_thread_buffer};

impl Inner {
    /// Writes a record, unless its level is below the minimum.
    #[inline]
    pub(crate) fn emit(&self, header: &SpanHeader, line: &RecordData<'_>) {
        if !self.ensure_after_fork() {
            return self.count_lost(&io::ErrorKind::TimedOut.into());
        }
        if !self.enabled(line.level) {
            return;
        }
        if self.closed.load(Ordering::Relaxed) {
            return self
                .counters
                .count_lost(&io::Error::new(io::ErrorKind::NotConnected, "the emitter is closed"));
        }
        with_thread_buffer(|buffer| {
            let flight = self.flight();
            let flight = flight.as_ref().and_then(|flight| flight.as_deref());
            let number = self.number(flight, buffer);
            buffer.line.clear();
            match self.encoding {
                // The encoded line would be discarded.
                _ if matches!(self.sink, SinkWriter::Discard) && flight.is_none() => {}
                Encoding::Json => header.template.encode(
                    &RecordData { number, ..*line },
                    &mut buffer.second,
                    &mut buffer.line,
                ),
                Encoding::Text => self.encode_text(header, line, number, &mut buffer.line),
            }
            buffer.line.push(b'\n');
            let is_taken = self.deliver(flight, &buffer.line, line.time);
            if is_taken && self.counters.unreported_lost.load(Ordering::Relaxed) > 0 {
                self.report_lost(line.time, buffer);
            }
            if self.has_exporter()
                && let Some(exporter) = &*self.exporter.load()
            {
                exporter.record(header, &RecordData { number, ..*line });
                if is_taken {
                    self.report_not_exported(exporter, line.time, buffer);
                }
            }
        });
    }

    fn encode_text(
        &self,
        header: &SpanHeader,
        line: &RecordData<'_>,
        number: u64,
        out: &mut Vec<u8>,
    ) {
        let mut record = self.resource.new_record(
            header.flow_id,
            header.span_id,
            header.parent_id,
            &header.kind,
            line.event,
        );
        record.target = line.location.map(|location| location.target.into());
        record.file = line.location.and_then(|location| location.file).map(Into::into);
        record.line = line.location.and_then(|location| location.line);
        record.time = Some(line.time);
        record.level = Some(line.level);
        record.message = Some(line.message).filter(|message| !message.is_empty()).map(Into::into);
        record.state = Some(line.state).filter(|state| !state.is_empty()).map(Into::into);
        record.clock = Some(line.clock);
        record.error = line.error.cloned();
        if !line.names_versions {
            record.versions.clear();
        }
        record.fields.push(("seq".into(), number.into()));
        record.fields.extend(line.fields.iter().map(|(name, value)| {
            (Cow::Borrowed(if *name == "seq" { "field.seq" } else { name }), value.clone())
        }));
        text::encode(&record, out);
    }

    /// Appends a line to the flight file and writes it to the sink. Returns whether the sink
    /// accepted it; if not, the line is counted as lost.
    #[inline]
    fn deliver(&self, flight: Option<&Flight>, line: &[u8], now: Time) -> bool {
        if let Some(flight) = flight {
            flight.push(line);
        }
        let taken = self.sink.write(line, now.0);
        if let Err(error) = &taken {
            self.count_lost(error);
        }
        taken.is_ok()
    }

    /// Reports how many records were lost. If the sink rejects the report, the count is kept for
    /// the next one.
    #[cold]
    fn report_lost(&self, now: Time, buffer: &mut ThreadBuffer) {
        let count = self.counters.unreported_lost.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        if !self.write_lost(vec![("count".into(), count.into())], now, buffer) {
            self.counters.unreported_lost.fetch_add(count, Ordering::Relaxed);
        } else if let Some(flight) = &*self.flight.load() {
            flight.ack_lost(count);
        }
    }

    /// Reports how many spans and records were not exported, if any.
    pub(crate) fn report_not_exported(
        &self,
        exporter: &Exporter,
        now: Time,
        buffer: &mut ThreadBuffer,
    ) {
        let Some((count, reason)) = exporter.take_unreported(now.unix_ms()) else { return };
        let fields = vec![
            ("count".into(), count.into()),
            ("sink".into(), "otlp".into()),
            ("reason".into(), reason.into()),
        ];
        if !self.write_lost(fields, now, buffer) {
            exporter.restore_unreported(count);
        }
    }

    /// Writes a `lost` record. Returns whether the sink accepted it.
    fn write_lost(
        &self,
        fields: Vec<(Cow<'_, str>, Scalar<'_>)>,
        now: Time,
        buffer: &mut ThreadBuffer,
    ) -> bool {
        let mut record = self.resource.new_record(None, None, None, "", EventKind::Lost);
        record.time = Some(now);
        record.level = Some(Level::Warn);
        record.versions.clear();
        record.clock = Some(self.tick(now));
        record.fields = fields;
        self.write_record(record, now, buffer)
    }

    /// Writes a record that has no template. Returns whether the sink accepted it.
    pub(crate) fn write_record(
        &self,
        mut record: Record<'_>,
        now: Time,
        buffer: &mut ThreadBuffer,
    ) -> bool {
        let flight = self.flight();
        let flight = flight.as_ref().and_then(|flight| flight.as_deref());
        let number = self.number(flight, buffer);
        record.fields.insert(0, ("seq".into(), number.into()));
        buffer.line.clear();
        match self.encoding {
            Encoding::Json => flowlog_schema::json::encode(&record, &mut buffer.line),
            Encoding::Text => text::encode(&record, &mut buffer.line),
        }
        buffer.line.push(b'\n');
        self.deliver(flight, &buffer.line, now)
    }

    /// Returns the sequence number for the next record of a thread's stripe.
    #[inline]
    fn number(&self, flight: Option<&Flight>, buffer: &ThreadBuffer) -> u64 {
        let stripe = buffer.number;
        number(
            stripe,
            flight.map_or_else(
                || self.counts[stripe % COUNTER_STRIPES].fetch_add(1, Ordering::Relaxed) + 1,
                |flight| flight.count(stripe),
            ),
        )
    }
}
