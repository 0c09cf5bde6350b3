//! A record on its way: numbered, encoded, kept in the flight file, handed to the sink and the collector; and what was lost on it, said.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::Ordering;

use flowlog_schema::flight::{LANES, number};
use flowlog_schema::json::Line;
use flowlog_schema::{Event, Level, Record, Scalar, Time, text};

use crate::emitter::Inner;
use crate::flight::Flight;
use crate::lane::{Lane, with_lane};
use crate::otlp::Exporter;
use crate::shared::Shared;
use crate::sink::{Form, OpenSink};

impl Inner {
    /// Writes a record.
    #[inline]
    pub(crate) fn emit(&self, shared: &Shared, line: &Line<'_>) {
        if !self.settle() {
            return self.lose(&io::ErrorKind::TimedOut.into());
        }
        if !self.writes(line.level) {
            return;
        }
        if self.closed.load(Ordering::Relaxed) {
            return self
                .counters
                .lose(&io::Error::new(io::ErrorKind::NotConnected, "the emitter is closed"));
        }
        with_lane(|lane| {
            let flight = self.flight();
            let flight = flight.as_ref().and_then(|flight| flight.as_deref());
            let number = self.number(flight, lane);
            lane.line.clear();
            match self.form {
                // Nobody would read it.
                _ if matches!(self.sink, OpenSink::Nothing) && flight.is_none() => {}
                Form::Json => shared.stencil.encode(
                    &Line { number, ..*line },
                    &mut lane.second,
                    &mut lane.line,
                ),
                Form::Text => self.encode_text(shared, line, number, &mut lane.line),
            }
            lane.line.push(b'\n');
            let is_taken = self.deliver(flight, &lane.line, line.time);
            if is_taken && self.counters.unsaid.load(Ordering::Relaxed) > 0 {
                self.say_lost(line.time, lane);
            }
            if self.exports()
                && let Some(exporter) = &*self.exporter.load()
            {
                exporter.record(shared, &Line { number, ..*line });
                if is_taken {
                    self.say_not_exported(exporter, line.time, lane);
                }
            }
        });
    }

    fn encode_text(&self, shared: &Shared, line: &Line<'_>, number: u64, out: &mut Vec<u8>) {
        let mut record =
            self.record(shared.flow_id, shared.span_id, shared.parent_id, &shared.kind, line.event);
        record.target = line.place.map(|place| place.target.into());
        record.file = line.place.and_then(|place| place.file).map(Into::into);
        record.line = line.place.and_then(|place| place.line);
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

    /// Hands a line to the flight file and the sink; what the sink does not take is counted. Whether it took it.
    #[inline]
    fn deliver(&self, flight: Option<&Flight>, line: &[u8], now: Time) -> bool {
        if let Some(flight) = flight {
            flight.keep(line);
        }
        let taken = self.sink.write(line, now.0);
        if let Err(error) = &taken {
            self.lose(error);
        }
        taken.is_ok()
    }

    /// Says how many records were lost, if the sink takes this one.
    #[cold]
    fn say_lost(&self, now: Time, lane: &mut Lane) {
        let count = self.counters.unsaid.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        if !self.write_lost(vec![("count".into(), count.into())], now, lane) {
            self.counters.unsaid.fetch_add(count, Ordering::Relaxed);
        } else if let Some(flight) = &*self.flight.load() {
            flight.said(count);
        }
    }

    /// Says how many spans and records the collector did not get, if there are any.
    pub(crate) fn say_not_exported(&self, exporter: &Exporter, now: Time, lane: &mut Lane) {
        let Some((count, reason)) = exporter.take_unsaid(now.unix_ms()) else { return };
        let fields = vec![
            ("count".into(), count.into()),
            ("sink".into(), "otlp".into()),
            ("reason".into(), reason.into()),
        ];
        if !self.write_lost(fields, now, lane) {
            exporter.put_back(count);
        }
    }

    /// Writes a `lost` record; whether the sink took it.
    fn write_lost(
        &self,
        fields: Vec<(Cow<'_, str>, Scalar<'_>)>,
        now: Time,
        lane: &mut Lane,
    ) -> bool {
        let mut record = self.record(None, None, None, "", Event::Lost);
        record.time = Some(now);
        record.level = Some(Level::Warn);
        record.versions.clear();
        record.clock = Some(self.tick(now));
        record.fields = fields;
        self.write_record(record, now, lane)
    }

    /// Writes a record that no stencil was made for; whether the sink took it.
    pub(crate) fn write_record(&self, mut record: Record<'_>, now: Time, lane: &mut Lane) -> bool {
        let flight = self.flight();
        let flight = flight.as_ref().and_then(|flight| flight.as_deref());
        let number = self.number(flight, lane);
        record.fields.insert(0, ("seq".into(), number.into()));
        lane.line.clear();
        match self.form {
            Form::Json => flowlog_schema::json::encode(&record, &mut lane.line),
            Form::Text => text::encode(&record, &mut lane.line),
        }
        lane.line.push(b'\n');
        self.deliver(flight, &lane.line, now)
    }

    /// The number of a lane's next record.
    #[inline]
    fn number(&self, flight: Option<&Flight>, lane: &Lane) -> u64 {
        let lane = lane.number;
        number(
            lane,
            flight.map_or_else(
                || self.counts[lane % LANES].0.fetch_add(1, Ordering::Relaxed) + 1,
                |flight| flight.count(lane),
            ),
        )
    }
}
