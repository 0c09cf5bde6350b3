//! The flight file: what a process was about to say and what it had open, kept where no death of the process can reach it.
//!
//! One file a process, mapped by it. A header, then a ring of its last records, then a table of its open flows; every number
//! little-endian, every part at a fixed place, so that a reader needs no help of the process and believes only what is whole.
//!
//! | at | what |
//! |---:|---|
//! | 0 | [`MAGIC`] |
//! | 8 | version, `u32`: [`VERSION`] |
//! | 16 | process id, `u64` |
//! | 24 | when the process started, in ticks since the machine did, `u64` (`/proc/PID/stat`, field 22) |
//! | 32 | the machine's boot, 36 characters (`/proc/sys/kernel/random/boot_id`) |
//! | 80 | records in the ring, `u32`; bytes of each, `u32`; flows in the table, `u32` |
//! | 128 | records that the ring was given, `u64` |
//! | 192 | 1 when the process ended in order, `u64` |
//! | 200 | records that the sink did not take and no `lost` record has told of, `u64` |
//! | 256 | component, instance, versions: each a length, `u16`, and so many bytes of [`NAME`] |
//! | [`COUNTS`] | how many records each lane has begun, `u64`, [`COUNT_BYTES`] apart: see [`number`] |
//! | [`HEADER`] | the ring: the `n`th record that it was given is in slot `n % slots`: `n`, `u64`, all bits set while it is written; its length, `u32`; itself |
//! | behind it | the table: see [`flow`] |

use std::str;

use crate::{Clock, ErrorInfo, Event, FlowId, Level, Record, SpanId, Time};

/// A flight file begins so.
pub const MAGIC: &[u8; 8] = b"FLOWFLT1";

/// The version that this crate reads and writes.
pub const VERSION: u32 = 1;

/// Bytes of the header.
pub const HEADER: usize = 12_288;

/// Lanes, each of which counts its records for itself: a thread's own, where there are no more threads than that.
pub const LANES: usize = 100;

/// Where lanes count.
pub const COUNTS: usize = 4096;

/// Bytes from one lane's count to the next: a cache line, so that threads do not wait for one another.
pub const COUNT_BYTES: usize = 64;

/// The number of the `count`th record of a lane: its last two digits are the lane's, and those before them have no gap in one lane.
pub fn number(lane: usize, count: u64) -> u64 {
    count * LANES as u64 + (lane % LANES) as u64
}

/// Where a record's words begin in its slot.
pub const RECORD: usize = 16;

/// Bytes of a place for a name in the header.
pub const NAME: usize = 1024;

/// Where the names stand in the header.
pub const NAMES: [usize; 3] = [256, 256 + NAME, 256 + 2 * NAME];

/// Where the numbers stand in the header.
pub mod at {
    #![allow(missing_docs, reason = "the table above says it")]
    pub const VERSION: usize = 8;
    pub const PROCESS: usize = 16;
    pub const STARTED: usize = 24;
    pub const BOOT: usize = 32;
    pub const SLOTS: usize = 80;
    pub const SLOT_BYTES: usize = 84;
    pub const FLOWS: usize = 88;
    pub const GIVEN: usize = 128;
    pub const ENDED: usize = 192;
    pub const UNSAID: usize = 200;
}

/// Where the parts of an open flow stand in its place in the table.
pub mod flow {
    /// Bytes of a place.
    pub const BYTES: usize = 256;
    /// `u64`: 0 where it is free, odd while it is written, even where a flow is open.
    pub const MARK: usize = 0;
    /// `u128`.
    pub const FLOW_ID: usize = 16;
    /// `u64`.
    pub const SPAN_ID: usize = 32;
    /// `u64`, zero where there is none.
    pub const PARENT_ID: usize = 40;
    /// `u64`.
    pub const CLOCK: usize = 48;
    /// `i64`, nanoseconds since the epoch.
    pub const TIME: usize = 56;
    /// The kind of flow: a length, `u8`, and so many bytes.
    pub const KIND: usize = 64;
    /// The state, likewise.
    pub const STATE: usize = 160;
    /// Bytes that a kind or a state has at most.
    pub const WORD: usize = 95;
}

/// What a flight file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Flight<'a> {
    /// The process.
    pub process_id: u64,
    /// When it started, in ticks since the machine did.
    pub started: u64,
    /// The machine's boot.
    pub boot: &'a str,
    /// The component.
    pub component: &'a str,
    /// The instance; empty where there is none.
    pub instance: &'a str,
    /// The versions: a JSON object, or nothing.
    pub versions: &'a str,
    /// The process ended in order.
    pub ended: bool,
    /// Its last records, in the order in which the ring was given them.
    pub records: Vec<&'a [u8]>,
    /// The number of the last record that each lane began. A lane is done with a record before it begins the next, so no other is missing
    /// from both the ring and the log, but those that the log or `unsaid` say are lost.
    pub last: Vec<u64>,
    /// Records that the sink did not take and that no `lost` record in the log tells of.
    pub unsaid: u64,
    /// What it had open.
    pub open: Vec<OpenFlow<'a>>,
}

/// A flow that a process had open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFlow<'a> {
    /// The flow.
    pub flow_id: FlowId,
    /// The process's span in it.
    pub span_id: SpanId,
    /// The caller's.
    pub parent_id: Option<SpanId>,
    /// The clock at its last record.
    pub clock: Clock,
    /// The time of its last record.
    pub time: Time,
    /// The kind of flow; empty where it has none.
    pub kind: &'a str,
    /// Where in its work it was; empty where unknown.
    pub state: &'a str,
}

impl Flight<'_> {
    /// The record that closes a flow of a dead process, in its name: failed, with error type `process_killed`.
    pub fn closing<'a>(&'a self, open: &'a OpenFlow<'_>) -> Record<'a> {
        let mut record = Record::new(self.component, Event::Fail);
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
            format!("the process {how} while this was open (process {})", self.process_id).into();
        record.error =
            Some(ErrorInfo { kind: "process_killed".into(), message, causes: Vec::new() });
        record
    }

    /// Whether the process lives, given what the system tells of the one that has its number now (`/proc/PID/stat`) and of its boot.
    pub fn is_alive(&self, boot: &str, stat: Option<&str>) -> bool {
        self.boot == boot.trim() && stat.and_then(started) == Some(self.started)
    }
}

/// When a process started, in ticks since the machine did, by its `/proc/PID/stat`; none of one that has ended and was not waited for.
pub fn started(stat: &str) -> Option<u64> {
    // The second field is the program's name, in brackets, with whatever it holds.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    if matches!(fields.next(), None | Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether a file begins as a flight file does.
pub fn is_flight(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Reads a flight file; `None` where it is none, is cut short, or is of a version that nobody knows.
pub fn read(bytes: &[u8]) -> Option<Flight<'_>> {
    if !is_flight(bytes) || u32_at(bytes, at::VERSION)? != VERSION {
        return None;
    }
    let [slots, slot_bytes, flows] =
        [at::SLOTS, at::SLOT_BYTES, at::FLOWS].map(|at| u32_at(bytes, at).unwrap_or(0) as usize);
    let ring = bytes.get(HEADER..)?.get(..slots.checked_mul(slot_bytes)?)?;
    let table = bytes.get(HEADER + ring.len()..)?.get(..flows.checked_mul(flow::BYTES)?)?;
    let given = u64_at(bytes, at::GIVEN)?;
    let mut records: Vec<(u64, &[u8])> = Vec::new();
    for (at, slot) in ring.chunks_exact(slot_bytes.max(RECORD + 1)).enumerate() {
        let number = u64_at(slot, 0)?;
        // Whatever a slot holds that its place does not explain was not written whole.
        if number > 0 && number <= given && number % slots as u64 == at as u64 {
            records.extend(
                slot.get(RECORD..)?.get(..u32_at(slot, 8)? as usize).map(|words| (number, words)),
            );
        }
    }
    records.sort_unstable_by_key(|(number, _)| *number);
    // A thread that was kept waiting for a whole round may have left one behind.
    records.retain(|(number, _)| *number > given.saturating_sub(slots as u64));
    let [component, instance, versions] = NAMES.map(|at| name_at(bytes, at).unwrap_or_default());
    Some(Flight {
        process_id: u64_at(bytes, at::PROCESS)?,
        started: u64_at(bytes, at::STARTED)?,
        boot: str::from_utf8(bytes.get(at::BOOT..at::BOOT + 36)?).unwrap_or_default(),
        component,
        instance,
        versions,
        ended: u64_at(bytes, at::ENDED)? == 1,
        unsaid: u64_at(bytes, at::UNSAID)?,
        last: (0..LANES)
            .filter_map(|lane| Some((lane, u64_at(bytes, COUNTS + lane * COUNT_BYTES)?)))
            .filter(|(_, count)| *count > 0)
            .map(|(lane, count)| number(lane, count.min(u64::MAX / LANES as u64 - 1)))
            .collect(),
        records: records.into_iter().map(|(_, words)| words).collect(),
        open: table.chunks_exact(flow::BYTES).filter_map(open_flow).collect(),
    })
}

/// A place in the table that holds a whole flow.
fn open_flow(place: &[u8]) -> Option<OpenFlow<'_>> {
    let mark = u64_at(place, flow::MARK)?;
    if mark == 0 || mark % 2 == 1 {
        return None;
    }
    let flow_id =
        u128::from_le_bytes(place.get(flow::FLOW_ID..flow::FLOW_ID + 16)?.try_into().ok()?);
    Some(OpenFlow {
        flow_id: FlowId::from_u128(flow_id).ok()?,
        span_id: SpanId::from_u64(u64_at(place, flow::SPAN_ID)?).ok()?,
        parent_id: SpanId::from_u64(u64_at(place, flow::PARENT_ID)?).ok(),
        clock: Clock(u64_at(place, flow::CLOCK)?),
        time: Time(u64_at(place, flow::TIME)?.cast_signed()),
        kind: word_at(place, flow::KIND),
        state: word_at(place, flow::STATE),
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
    str::from_utf8(bytes.get(at + 2..)?.get(..usize::from(length).min(NAME - 2))?).ok()
}

fn word_at(place: &[u8], at: usize) -> &str {
    let word = || place.get(at + 1..)?.get(..usize::from(*place.get(at)?).min(flow::WORD));
    word().and_then(|word| str::from_utf8(word).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// A file of four slots and two flows whose last record is the sixth.
    fn file() -> Vec<u8> {
        let mut bytes = vec![0; HEADER + 4 * 64 + 2 * flow::BYTES];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, at::VERSION, &VERSION.to_le_bytes());
        put(&mut bytes, at::PROCESS, &7u64.to_le_bytes());
        for (at, value) in [(at::SLOTS, 4u32), (at::SLOT_BYTES, 64), (at::FLOWS, 2)] {
            put(&mut bytes, at, &value.to_le_bytes());
        }
        put(&mut bytes, at::GIVEN, &6u64.to_le_bytes());
        put(&mut bytes, NAMES[0], b"\x06\0router");
        for (number, words) in [(3u64, "three"), (4, "four"), (6, "six")] {
            let at = HEADER + usize::try_from(number % 4).unwrap() * 64;
            put(&mut bytes, at, &number.to_le_bytes());
            put(&mut bytes, at + 8, &u32::try_from(words.len()).unwrap().to_le_bytes());
            put(&mut bytes, at + RECORD, words.as_bytes());
        }
        put(&mut bytes, COUNTS + COUNT_BYTES, &5u64.to_le_bytes());
        let table = HEADER + 4 * 64;
        for (at, mark) in [(table, 2u64), (table + flow::BYTES, 3)] {
            put(&mut bytes, at + flow::MARK, &mark.to_le_bytes());
            put(&mut bytes, at + flow::FLOW_ID, &9u128.to_le_bytes());
            put(&mut bytes, at + flow::SPAN_ID, &5u64.to_le_bytes());
            put(&mut bytes, at + flow::STATE, b"\x07prefill");
        }
        bytes
    }

    #[test]
    fn what_is_whole_is_read() {
        let bytes = file();
        let flight = read(&bytes).unwrap();
        assert_eq!((flight.process_id, flight.component, flight.ended), (7, "router", false));
        assert_eq!(flight.records, [&b"three"[..], b"four", b"six"]);
        assert_eq!(flight.last, [501]);
        assert_eq!(flight.open.len(), 1, "the other is being written");
        assert_eq!((flight.open[0].state, flight.open[0].parent_id), ("prefill", None));
    }

    #[test]
    fn a_dead_process_is_told_from_a_living_one() {
        let bytes = file();
        let flight = Flight { boot: "b", started: 77, ..read(&bytes).unwrap() };
        let stat = |state: &str, started: u64| {
            format!("7 (a (b) c) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 {started} 20")
        };
        assert!(flight.is_alive("b\n", Some(&stat("S", 77))));
        assert!(
            !flight.is_alive("b", Some(&stat("S", 78)))
                && !flight.is_alive("b", Some(&stat("Z", 77)))
        );
        assert!(!flight.is_alive("b", None) && !flight.is_alive("c", Some(&stat("S", 77))));
        let closing = flight.closing(&flight.open[0]);
        assert_eq!(
            (closing.event, closing.state.as_deref(), &closing.component),
            (Event::Fail, Some("prefill"), &"router".into())
        );
        assert_eq!(closing.error.unwrap().kind, "process_killed");
    }

    #[test]
    fn what_is_cut_short_or_of_another_time_is_none() {
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
    fn no_damage_makes_it_fail() {
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
