//! The flight file: a process's latest records and open flows, kept where they survive its death.
//!
//! Each process maps one file. It consists of a header, a ring of the process's last records and a
//! table of its open flows. All numbers are little-endian and all parts are at fixed offsets, so a
//! reader needs no help from the process and accepts only what was written completely.
//!
//! | offset | content |
//! |---:|---|
//! | 0 | [`MAGIC`] |
//! | 8 | version, `u32`: [`VERSION`] |
//! | 16 | process ID, `u64` |
//! | 24 | start time of the process, in ticks since boot, `u64` (`/proc/PID/stat`, field 22) |
//! | 32 | boot ID of the machine, 36 characters (`/proc/sys/kernel/random/boot_id`) |
//! | 80 | slots of the ring, `u32`; bytes of a slot, `u32`; flows in the table, `u32` |
//! | 128 | number of records appended to the ring, `u64` |
//! | 192 | 1 if the process shut down cleanly, `u64` |
//! | 200 | number of records that the sink dropped and no `lost` record has reported, `u64` |
//! | 256 | component, instance, versions: each a length, `u16`, and text, in [`NAME_BYTES`] bytes |
//! | [`COUNTERS_OFFSET`] | records begun by each stripe, `u64`, [`COUNTER_BYTES`] apart: see [`number`] |
//! | [`HEADER_BYTES`] | ring |
//! | after the ring | table: see [`flow`] |
//!
//! The `n`th record appended to the ring is in slot `n % slots`. A slot holds `n` (`u64`, with all
//! bits set while the slot is being written), the length of the record (`u32`) and, at
//! [`RECORD_HEADER_BYTES`], the record itself.

use std::str;

use crate::{Clock, ErrorInfo, EventKind, FlowId, Level, Record, SpanId, Time};

/// First bytes of a flight file.
pub const MAGIC: &[u8; 8] = b"FLOWFLT1";

/// Version that this crate reads and writes.
pub const VERSION: u32 = 1;

/// Size of the header, in bytes.
pub const HEADER_BYTES: usize = 12_288;

/// Number of counter stripes. Each thread counts its records in a stripe of its own, unless there
/// are more threads than stripes.
pub const COUNTER_STRIPES: usize = 100;

/// Offset of the record counters of the stripes.
pub const COUNTERS_OFFSET: usize = 4096;

/// Distance between the counters of two stripes, in bytes: a cache line, so that threads do not
/// contend for it.
pub const COUNTER_BYTES: usize = 64;

/// Returns the number of the `count`th record of a stripe. Its last two digits are the stripe; the
/// digits before them have no gaps within a stripe.
pub fn number(stripe: usize, count: u64) -> u64 {
    count * COUNTER_STRIPES as u64 + (stripe % COUNTER_STRIPES) as u64
}

/// Offset of the record's text in its slot.
pub const RECORD_HEADER_BYTES: usize = 16;

/// Size of a name in the header, in bytes, including its length.
pub const NAME_BYTES: usize = 1024;

/// Offsets of the names in the header.
pub const NAME_OFFSETS: [usize; 3] = [256, 256 + NAME_BYTES, 256 + 2 * NAME_BYTES];

/// Offsets of the numbers in the header.
pub mod at {
    #![allow(missing_docs, reason = "documented in the table of the module")]
    pub const VERSION: usize = 8;
    pub const PROCESS: usize = 16;
    pub const START_TICKS: usize = 24;
    pub const BOOT: usize = 32;
    pub const SLOTS: usize = 80;
    pub const SLOT_BYTES: usize = 84;
    pub const FLOWS: usize = 88;
    pub const APPENDED: usize = 128;
    pub const ENDED: usize = 192;
    pub const UNREPORTED_LOST: usize = 200;
}

/// Offsets of the parts of an open flow in its slot of the table.
pub mod flow {
    /// Size of a slot, in bytes.
    pub const SLOT_BYTES: usize = 256;
    /// `u64`: 0 in a free slot, odd while the slot is being written, otherwise even.
    pub const SEQUENCE: usize = 0;
    /// Flow ID, `u128`.
    pub const FLOW_ID: usize = 16;
    /// Span ID, `u64`.
    pub const SPAN_ID: usize = 32;
    /// Id of the caller's span, `u64`; zero if there is none.
    pub const PARENT_ID: usize = 40;
    /// Clock at the last record, `u64`.
    pub const CLOCK: usize = 48;
    /// Time of the last record, `i64`, in nanoseconds since the Unix epoch.
    pub const TIME: usize = 56;
    /// Kind of flow: a length, `u8`, and the text.
    pub const KIND: usize = 64;
    /// State, in the same form.
    pub const STATE: usize = 160;
    /// Maximum length of a kind or a state, in bytes.
    pub const TEXT_BYTES: usize = 95;
}

/// Content of a flight file.
#[derive(Debug, Clone, PartialEq)]
pub struct Flight<'a> {
    /// Process ID.
    pub process_id: u64,
    /// Start time of the process, in ticks since boot.
    pub start_ticks: u64,
    /// Boot ID of the machine.
    pub boot: &'a str,
    /// Name of the component.
    pub component: &'a str,
    /// Instance; empty if there is none.
    pub instance: &'a str,
    /// Versions, as a JSON object; may be empty.
    pub versions: &'a str,
    /// Whether the process shut down cleanly.
    pub ended: bool,
    /// Last records of the process, in the order in which they were appended.
    pub records: Vec<&'a [u8]>,
    /// Number of the last record that each stripe began. A stripe finishes a record before it
    /// begins the next, so any other record that is missing from both the ring and the log was
    /// dropped, and is counted in a `lost` record or in the header.
    pub last: Vec<u64>,
    /// Number of records that the sink dropped and that no `lost` record in the log reports.
    pub unreported_lost: u64,
    /// Flows that the process had open.
    pub open: Vec<OpenFlow<'a>>,
}

/// A flow that a process had open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFlow<'a> {
    /// Flow ID.
    pub flow_id: FlowId,
    /// Id of the process's span in the flow.
    pub span_id: SpanId,
    /// Id of the caller's span.
    pub parent_id: Option<SpanId>,
    /// Clock at the last record of the flow.
    pub clock: Clock,
    /// Time of the last record of the flow.
    pub time: Time,
    /// Kind of flow; empty if there is none.
    pub kind: &'a str,
    /// State of the flow; empty if unknown.
    pub state: &'a str,
}

impl Flight<'_> {
    /// Returns the record that closes a flow on behalf of a dead process: a failure with error type
    /// `process_killed`.
    pub fn closing_record<'a>(&'a self, open: &'a OpenFlow<'_>) -> Record<'a> {
        let mut record = Record::new(self.component, EventKind::Fail);
        record.time = Some(open.time);
        record.level = Some(Level::Error);
        record.instance = Some(self.instance).filter(|name| !name.is_empty()).map(Into::into);
        record.flow_id = Some(open.flow_id);
        record.flow = Some(open.kind).filter(|kind| !kind.is_empty()).map(Into::into);
        record.state = Some(open.state).filter(|state| !state.is_empty()).map(Into::into);
        record.span_id = Some(open.span_id);
        record.parent_id = open.parent_id;
        record.clock = Some(Clock(open.clock.0.saturating_add(1)));
        let versions: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(self.versions).unwrap_or_default();
        let named = versions
            .into_iter()
            .filter_map(|(name, version)| Some((name.into(), version.as_str()?.to_owned().into())));
        record.versions = named.collect();
        let how = if self.ended { "ended" } else { "was killed" };
        let message =
            format!("the process {how} while this flow was open (process {})", self.process_id)
                .into();
        record.error =
            Some(ErrorInfo { kind: "process_killed".into(), message, causes: Vec::new() });
        record
    }

    /// Returns whether the process is alive. `boot` is the current boot ID of the machine, `stat`
    /// the `/proc/PID/stat` of the process that has this process ID now, if there is one.
    pub fn is_alive(&self, boot: &str, stat: Option<&str>) -> bool {
        self.boot == boot.trim() && stat.and_then(start_ticks) == Some(self.start_ticks)
    }
}

/// Returns the start time of a process, in ticks since boot, from its `/proc/PID/stat`; `None` if
/// the process has ended and its parent has not waited for it.
pub fn start_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, which may itself contain any
    // character.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    if matches!(fields.next(), None | Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Returns whether the file begins like a flight file.
pub fn is_flight(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Reads a flight file. Returns `None` if it is not one, is truncated, or has an unsupported
/// version.
pub fn read(bytes: &[u8]) -> Option<Flight<'_>> {
    if !is_flight(bytes) || u32_at(bytes, at::VERSION)? != VERSION {
        return None;
    }
    let [slots, slot_bytes, flows] =
        [at::SLOTS, at::SLOT_BYTES, at::FLOWS].map(|at| u32_at(bytes, at).unwrap_or(0) as usize);
    let ring = bytes.get(HEADER_BYTES..)?.get(..slots.checked_mul(slot_bytes)?)?;
    let table =
        bytes.get(HEADER_BYTES + ring.len()..)?.get(..flows.checked_mul(flow::SLOT_BYTES)?)?;
    let appended = u64_at(bytes, at::APPENDED)?;
    let mut records: Vec<(u64, &[u8])> = Vec::new();
    for (at, slot) in ring.chunks_exact(slot_bytes.max(RECORD_HEADER_BYTES + 1)).enumerate() {
        let number = u64_at(slot, 0)?;
        // A number that does not belong in its slot means that the slot was not written completely.
        if number > 0 && number <= appended && number % slots as u64 == at as u64 {
            records.extend(
                slot.get(RECORD_HEADER_BYTES..)?
                    .get(..u32_at(slot, 8)? as usize)
                    .map(|words| (number, words)),
            );
        }
    }
    records.sort_unstable_by_key(|(number, _)| *number);
    // A thread that was delayed for a whole round of the ring may have left an older record.
    records.retain(|(number, _)| *number > appended.saturating_sub(slots as u64));
    let [component, instance, versions] =
        NAME_OFFSETS.map(|at| name_at(bytes, at).unwrap_or_default());
    Some(Flight {
        process_id: u64_at(bytes, at::PROCESS)?,
        start_ticks: u64_at(bytes, at::START_TICKS)?,
        boot: str::from_utf8(bytes.get(at::BOOT..at::BOOT + 36)?).unwrap_or_default(),
        component,
        instance,
        versions,
        ended: u64_at(bytes, at::ENDED)? == 1,
        unreported_lost: u64_at(bytes, at::UNREPORTED_LOST)?,
        last: (0..COUNTER_STRIPES)
            .filter_map(|stripe| {
                Some((stripe, u64_at(bytes, COUNTERS_OFFSET + stripe * COUNTER_BYTES)?))
            })
            .filter(|(_, count)| *count > 0)
            .map(|(stripe, count)| number(stripe, count.min(u64::MAX / COUNTER_STRIPES as u64 - 1)))
            .collect(),
        records: records.into_iter().map(|(_, words)| words).collect(),
        open: table.chunks_exact(flow::SLOT_BYTES).filter_map(open_flow).collect(),
    })
}

/// Reads a slot of the table, if it holds a complete flow.
fn open_flow(slot: &[u8]) -> Option<OpenFlow<'_>> {
    let sequence = u64_at(slot, flow::SEQUENCE)?;
    if sequence == 0 || sequence % 2 == 1 {
        return None;
    }
    let flow_id =
        u128::from_le_bytes(slot.get(flow::FLOW_ID..flow::FLOW_ID + 16)?.try_into().ok()?);
    Some(OpenFlow {
        flow_id: FlowId::from_u128(flow_id).ok()?,
        span_id: SpanId::from_u64(u64_at(slot, flow::SPAN_ID)?).ok()?,
        parent_id: SpanId::from_u64(u64_at(slot, flow::PARENT_ID)?).ok(),
        clock: Clock(u64_at(slot, flow::CLOCK)?),
        time: Time(u64_at(slot, flow::TIME)?.cast_signed()),
        kind: text_at(slot, flow::KIND),
        state: text_at(slot, flow::STATE),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn name_at(bytes: &[u8], at: usize) -> Option<&str> {
    let length = u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
    str::from_utf8(bytes.get(at + 2..)?.get(..usize::from(length).min(NAME_BYTES - 2))?).ok()
}

fn text_at(slot: &[u8], at: usize) -> &str {
    let text = || slot.get(at + 1..)?.get(..usize::from(*slot.get(at)?).min(flow::TEXT_BYTES));
    text().and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// Builds a file of four slots and two flows, with the sixth record as the last one.
    fn file() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + 4 * 64 + 2 * flow::SLOT_BYTES];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, at::VERSION, &VERSION.to_le_bytes());
        put(&mut bytes, at::PROCESS, &7u64.to_le_bytes());
        for (at, value) in [(at::SLOTS, 4u32), (at::SLOT_BYTES, 64), (at::FLOWS, 2)] {
            put(&mut bytes, at, &value.to_le_bytes());
        }
        put(&mut bytes, at::APPENDED, &6u64.to_le_bytes());
        put(&mut bytes, NAME_OFFSETS[0], b"\x06\0router");
        for (number, words) in [(3u64, "three"), (4, "four"), (6, "six")] {
            let at = HEADER_BYTES + usize::try_from(number % 4).unwrap() * 64;
            put(&mut bytes, at, &number.to_le_bytes());
            put(&mut bytes, at + 8, &u32::try_from(words.len()).unwrap().to_le_bytes());
            put(&mut bytes, at + RECORD_HEADER_BYTES, words.as_bytes());
        }
        put(&mut bytes, COUNTERS_OFFSET + COUNTER_BYTES, &5u64.to_le_bytes());
        let table = HEADER_BYTES + 4 * 64;
        for (at, sequence) in [(table, 2u64), (table + flow::SLOT_BYTES, 3)] {
            put(&mut bytes, at + flow::SEQUENCE, &sequence.to_le_bytes());
            put(&mut bytes, at + flow::FLOW_ID, &9u128.to_le_bytes());
            put(&mut bytes, at + flow::SPAN_ID, &5u64.to_le_bytes());
            put(&mut bytes, at + flow::STATE, b"\x07prefill");
        }
        bytes
    }

    #[test]
    fn complete_parts_are_read() {
        let bytes = file();
        let flight = read(&bytes).unwrap();
        assert_eq!((flight.process_id, flight.component, flight.ended), (7, "router", false));
        assert_eq!(flight.records, [&b"three"[..], b"four", b"six"]);
        assert_eq!(flight.last, [501]);
        assert_eq!(flight.open.len(), 1, "the other flow is being written");
        assert_eq!((flight.open[0].state, flight.open[0].parent_id), ("prefill", None));
    }

    #[test]
    fn dead_and_live_processes_are_distinguished() {
        let bytes = file();
        let flight = Flight { boot: "b", start_ticks: 77, ..read(&bytes).unwrap() };
        let stat = |state: &str, start_ticks: u64| {
            format!(
                "7 (a (b) c) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 {start_ticks} 20"
            )
        };
        assert!(flight.is_alive("b\n", Some(&stat("S", 77))));
        assert!(
            !flight.is_alive("b", Some(&stat("S", 78)))
                && !flight.is_alive("b", Some(&stat("Z", 77)))
        );
        assert!(!flight.is_alive("b", None) && !flight.is_alive("c", Some(&stat("S", 77))));
        let closing_record = flight.closing_record(&flight.open[0]);
        assert_eq!(
            (closing_record.event, closing_record.state.as_deref(), &closing_record.component),
            (EventKind::Fail, Some("prefill"), &"router".into())
        );
        assert_eq!(closing_record.error.unwrap().kind, "process_killed");
    }

    #[test]
    fn truncated_and_unsupported_files_are_rejected() {
        let bytes = file();
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), None, "{length}");
        }
        let mut later = bytes.clone();
        put(&mut later, at::VERSION, &2u32.to_le_bytes());
        assert_eq!(read(&later), None);
        let mut huge = bytes;
        put(&mut huge, at::SLOTS, &u32::MAX.to_le_bytes());
        assert_eq!(read(&huge), None);
    }

    #[test]
    fn corrupted_files_never_panic() {
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut bytes = file();
            for _ in 0..4 {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(seed >> 33).unwrap() % bytes.len();
                bytes[at] = (seed >> 24) as u8;
            }
            let _ = read(&bytes);
        }
    }
}
