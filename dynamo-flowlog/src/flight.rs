//! Writes the flight file of a process. Its layout is documented in `flowlog_schema::flight`.
//!
//! # Durability
//! The file is shared memory of the kernel: data written to it survives the process, however the
//! process ends. A record is in the file before it is handed to its sink.
//!
//! # When it fails
//! Disk space is reserved before the file is mapped, so that a full disk is an error at startup
//! rather than a signal later. Two threads that write the slot of one flow at the same time do not
//! wait: one of them skips its write.
#![expect(
    unsafe_code,
    reason = "only a mapped file survives the process without a system call per record"
)]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use flowlog_schema::flight::{self as layout, at, flow};
use flowlog_schema::{Clock, Time};
use memmap2::MmapRaw;

use crate::mmap;
use crate::platform::{boot, start_ticks};

/// Number of records in the ring.
const RING_SLOTS: usize = 1024;

/// Bytes per slot. Longer records are truncated, which readers detect.
const SLOT_BYTES: usize = 1024;

/// Number of flows in the table.
const MAX_OPEN_FLOWS: usize = 4096;

/// Mark of a slot that is being written. It is greater than every record number, so that readers
/// and writers skip the slot.
const WRITE_IN_PROGRESS: u64 = u64::MAX;

/// File name extension of flight files.
pub(crate) const SUFFIX: &str = "flight";

/// Identity of the process that writes a flight file.
pub(crate) struct FlightHeader<'a> {
    pub(crate) component: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) versions: &'a str,
}

/// A mapped flight file.
#[derive(Debug)]
pub(crate) struct Flight {
    map: MmapRaw,
    path: PathBuf,
    /// Index at which the search for a free slot in the table starts.
    hint: CachePadded<AtomicUsize>,
    /// Locked for as long as the process lives.
    _locked: File,
}

/// Index of a flow's slot in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowSlot(usize);

/// The part of a flow's slot that does not change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowEntry<'a> {
    pub(crate) flow_id: u128,
    pub(crate) span_id: u64,
    /// Zero if the span has no parent.
    pub(crate) parent_id: u64,
    pub(crate) kind: &'a str,
}

impl Flight {
    /// Creates the flight file of this process in `folder`.
    pub(crate) fn begin(folder: &Path, writer: &FlightHeader<'_>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let process = std::process::id();
        let start_ticks = start_ticks().unwrap_or(0);
        let name: String = writer
            .component
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
            .collect();
        // Each emitter of a process has its own file.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{name}-{process}-{start_ticks}-{number}.{SUFFIX}"));
        let length =
            layout::HEADER_BYTES + RING_SLOTS * SLOT_BYTES + MAX_OPEN_FLOWS * flow::SLOT_BYTES;
        let (file, map) = mmap::make(&path, length as u64)?;
        // A reader that can lock the file knows that its process has exited, whatever the namespace
        // of that process.
        file.try_lock().map_err(io::Error::from)?;
        let flight = Self { map, path, hint: CachePadded::default(), _locked: file };
        flight.put(at::VERSION, &layout::VERSION.to_le_bytes());
        flight.put(at::PROCESS, &u64::from(process).to_le_bytes());
        flight.put(at::START_TICKS, &start_ticks.to_le_bytes());
        let boot = boot();
        flight.put(at::BOOT, boot.as_bytes().get(..36).unwrap_or_default());
        for (at, value) in
            [(at::SLOTS, RING_SLOTS), (at::SLOT_BYTES, SLOT_BYTES), (at::FLOWS, MAX_OPEN_FLOWS)]
        {
            flight.put(at, &u32::try_from(value).unwrap_or(0).to_le_bytes());
        }
        for (at, name) in layout::NAME_OFFSETS.into_iter().zip([
            writer.component,
            writer.instance,
            writer.versions,
        ]) {
            let name = &name[..name.floor_char_boundary(layout::NAME_BYTES - 2)];
            flight.put(at, &u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
            flight.put(at + 2, name.as_bytes());
        }
        // The magic is written last: an earlier reader does not recognize the file as a flight
        // file.
        flight.put(0, layout::MAGIC);
        Ok(flight)
    }

    /// Copies bytes to the offset `at`. Bytes past the end of the map are dropped.
    #[inline]
    fn put(&self, at: usize, bytes: &[u8]) {
        let capacity = self.map.len().saturating_sub(at);
        let length = bytes.len().min(capacity);
        if length > 0 {
            // SAFETY: `at..at + length` is within the map, and within the file, as its disk space
            // was reserved. The map is never borrowed as a slice; readers of the file expect
            // arbitrary bytes and trust only what the numbers in it prove. `bytes` does not overlap
            // the map.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    bytes.as_ptr(),
                    self.map.as_mut_ptr().add(at),
                    length,
                );
            };
        }
    }

    /// Returns a number in the map that several threads update.
    #[inline]
    fn number(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.map.len(), "{at}");
        // SAFETY: the map is page-aligned, and `at` is a multiple of eight within it: every offset
        // is a constant of the layout, or such a constant plus a multiple of the size of a slot,
        // flow or counter, with an index below their count. While it is shared, the number is
        // modified only through atomics.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// Returns the length of a record in a slot, which one thread at a time writes.
    #[inline]
    fn length(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(4) && at + 4 <= self.map.len(), "{at}");
        // SAFETY: as in `number`, but for four bytes.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// Counts the next record of a stripe and returns the stripe's new count.
    #[inline]
    pub(crate) fn count(&self, buffer: usize) -> u64 {
        self.number(
            layout::COUNTERS_OFFSET + buffer % layout::COUNTER_STRIPES * layout::COUNTER_BYTES,
        )
        .fetch_add(1, Ordering::Relaxed)
            + 1
    }

    /// Counts a record that the sink did not accept.
    pub(crate) fn count_lost(&self) {
        self.number(at::UNREPORTED_LOST).fetch_add(1, Ordering::Relaxed);
    }

    /// Subtracts lost records that a `lost` record in the log has reported.
    pub(crate) fn ack_lost(&self, count: u64) {
        let fewer = |unreported_lost: u64| Some(unreported_lost.saturating_sub(count));
        let _ = self.number(at::UNREPORTED_LOST).fetch_update(
            Ordering::Relaxed,
            Ordering::Relaxed,
            fewer,
        );
    }

    /// Appends a record to the ring.
    #[inline]
    pub(crate) fn push(&self, line: &[u8]) {
        let number = self.number(at::APPENDED).fetch_add(1, Ordering::Relaxed) + 1;
        let slot = layout::HEADER_BYTES
            + usize::try_from(number % RING_SLOTS as u64).unwrap_or(0) * SLOT_BYTES;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.get(..SLOT_BYTES - layout::RECORD_HEADER_BYTES).unwrap_or(line);
        let sequence = self.number(slot);
        // One writer at a time: a writer that was delayed for a whole round of the ring must
        // neither overwrite newer records nor interleave with them.
        let before = sequence.load(Ordering::Relaxed);
        if before > number
            || sequence
                .compare_exchange(before, WRITE_IN_PROGRESS, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        self.length(slot + 8).store(u32::try_from(line.len()).unwrap_or(0), Ordering::Relaxed);
        self.put(slot + layout::RECORD_HEADER_BYTES, line);
        sequence.store(number, Ordering::Release);
    }

    /// Claims a slot in the table; `None` if all slots are taken.
    pub(crate) fn insert(
        &self,
        entry: &FlowEntry<'_>,
        clock: Clock,
        time: Time,
    ) -> Option<FlowSlot> {
        let begin = self.hint.fetch_add(1, Ordering::Relaxed);
        for step in 0..MAX_OPEN_FLOWS {
            let slot = Self::slot_offset((begin + step) % MAX_OPEN_FLOWS);
            let sequence = self.number(slot + flow::SEQUENCE);
            if sequence.load(Ordering::Relaxed) == 0
                && sequence.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                self.put(slot + flow::FLOW_ID, &entry.flow_id.to_le_bytes());
                self.put(slot + flow::SPAN_ID, &entry.span_id.to_le_bytes());
                self.put(slot + flow::PARENT_ID, &entry.parent_id.to_le_bytes());
                self.put_text(slot + flow::KIND, entry.kind);
                self.put(slot + flow::STATE, &[0]);
                self.put_update(slot, "", clock, time);
                sequence.store(2, Ordering::Release);
                return Some(FlowSlot((begin + step) % MAX_OPEN_FLOWS));
            }
        }
        None
    }

    /// Updates the state, clock and time of a flow.
    #[inline]
    pub(crate) fn update(&self, slot: FlowSlot, state: &str, clock: Clock, time: Time) {
        let slot = Self::slot_offset(slot.0);
        let sequence = self.number(slot + flow::SEQUENCE);
        let before = sequence.load(Ordering::Relaxed);
        // Skips the update while another thread writes: both updates are equally recent.
        if before != 0
            && before.is_multiple_of(2)
            && sequence
                .compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            self.put_update(slot, state, clock, time);
            sequence.store(before + 2, Ordering::Release);
        }
    }

    /// Frees the slot of a flow that has ended.
    #[inline]
    pub(crate) fn remove(&self, slot: FlowSlot) {
        self.number(Self::slot_offset(slot.0) + flow::SEQUENCE).store(0, Ordering::Release);
        self.hint.store(slot.0, Ordering::Relaxed);
    }

    fn slot_offset(index: usize) -> usize {
        layout::HEADER_BYTES + RING_SLOTS * SLOT_BYTES + index * flow::SLOT_BYTES
    }

    #[inline]
    fn put_update(&self, slot: usize, state: &str, clock: Clock, time: Time) {
        self.put(slot + flow::CLOCK, &clock.0.to_le_bytes());
        self.put(slot + flow::TIME, &time.0.to_le_bytes());
        if !state.is_empty() {
            self.put_text(slot + flow::STATE, state);
        }
    }

    #[inline]
    fn put_text(&self, at: usize, text: &str) {
        let text = &text[..text.floor_char_boundary(flow::TEXT_BYTES)];
        self.put(at, &[u8::try_from(text.len()).unwrap_or(0)]);
        self.put(at + 1, text.as_bytes());
    }

    /// Marks an orderly exit, and deletes the file unless it still has open flows or unreported
    /// losses.
    pub(crate) fn end(&self) {
        self.number(at::ENDED).store(1, Ordering::Release);
        let open = (0..MAX_OPEN_FLOWS).any(|index| {
            self.number(Self::slot_offset(index) + flow::SEQUENCE).load(Ordering::Relaxed) != 0
        });
        if !open && self.number(at::UNREPORTED_LOST).load(Ordering::Relaxed) == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}
