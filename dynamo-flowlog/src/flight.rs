//! The flight file, as its process writes it. What it looks like is known in `flowlog_schema::flight`.
//!
//! # Durability
//! The file is shared memory of the kernel's: what was written to it stays, whatever becomes of the process. A record stands in it
//! before its sink is asked to take it.
//!
//! # When it fails
//! Its room is taken on the disk before it is mapped, so that a full disk is an error at the start and no signal later. Two threads that
//! write one flow's place at once do not wait: one of them leaves it.
#![expect(
    unsafe_code,
    reason = "only a mapped file outlives the process without a call into the kernel for each record"
)]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use flowlog_schema::flight::{self as layout, at, flow};
use flowlog_schema::{Clock, Time};
use memmap2::MmapRaw;

use crate::lane::Apart;
use crate::room;
use crate::system::{boot, started};

/// Records in the ring.
const SLOTS: usize = 1024;

/// Bytes of a slot: longer records are cut, which their reader sees.
const SLOT_BYTES: usize = 1024;

/// Flows in the table.
const FLOWS: usize = 4096;

/// The mark of a slot that is being written: above every number, so that readers and writers leave it.
const WRITTEN: u64 = u64::MAX;

/// How flight files end.
pub(crate) const SUFFIX: &str = "flight";

/// Who writes it.
pub(crate) struct Writer<'a> {
    pub(crate) component: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) versions: &'a str,
}

/// A flight file.
#[derive(Debug)]
pub(crate) struct Flight {
    map: MmapRaw,
    path: PathBuf,
    /// Where the search for a free place in the table begins.
    hint: Apart<AtomicUsize>,
    /// Held for as long as the process lives.
    _locked: File,
}

/// A flow's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat(usize);

/// What a flow's place says that does not change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passenger<'a> {
    pub(crate) flow_id: u128,
    pub(crate) span_id: u64,
    /// Zero where there is none.
    pub(crate) parent_id: u64,
    pub(crate) kind: &'a str,
}

impl Flight {
    /// Makes this process's file in a folder.
    pub(crate) fn begin(folder: &Path, writer: &Writer<'_>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let process = std::process::id();
        let started = started().unwrap_or(0);
        let name: String = writer
            .component
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
            .collect();
        // Of several emitters in a process each has one.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{name}-{process}-{started}-{number}.{SUFFIX}"));
        let length = layout::HEADER + SLOTS * SLOT_BYTES + FLOWS * flow::BYTES;
        let (file, map) = room::make(&path, length as u64)?;
        // Who can lock it knows that its process is no more, in whichever namespace that was.
        file.try_lock().map_err(io::Error::from)?;
        let flight = Self { map, path, hint: Apart::default(), _locked: file };
        flight.put(at::VERSION, &layout::VERSION.to_le_bytes());
        flight.put(at::PROCESS, &u64::from(process).to_le_bytes());
        flight.put(at::STARTED, &started.to_le_bytes());
        let boot = boot();
        flight.put(at::BOOT, boot.as_bytes().get(..36).unwrap_or_default());
        for (at, value) in [(at::SLOTS, SLOTS), (at::SLOT_BYTES, SLOT_BYTES), (at::FLOWS, FLOWS)] {
            flight.put(at, &u32::try_from(value).unwrap_or(0).to_le_bytes());
        }
        for (at, name) in
            layout::NAMES.into_iter().zip([writer.component, writer.instance, writer.versions])
        {
            let name = &name[..name.floor_char_boundary(layout::NAME - 2)];
            flight.put(at, &u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
            flight.put(at + 2, name.as_bytes());
        }
        // A reader that comes earlier finds no flight file.
        flight.put(0, layout::MAGIC);
        Ok(flight)
    }

    /// Copies bytes to a place; those that would lie behind the end are left out.
    #[inline]
    fn put(&self, at: usize, bytes: &[u8]) {
        let room = self.map.len().saturating_sub(at);
        let length = bytes.len().min(room);
        if length > 0 {
            // SAFETY: `at..at + length` lies in the map, and in the file, whose room was taken. The map is never borrowed as a slice;
            // whoever reads the file expects anything and believes what its numbers prove. `bytes` is other memory.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(at), length)
            };
        }
    }

    /// A number in the map that several threads change.
    #[inline]
    fn number(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.map.len(), "{at}");
        // SAFETY: the map begins at a page, `at` is a multiple of eight inside of it (the places are constants of the layout, or
        // such plus a multiple of a slot's or a flow's bytes below their count), and it is changed through atomics alone while
        // it is shared.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// A length in a slot, which one thread at a time writes.
    #[inline]
    fn length(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(4) && at + 4 <= self.map.len(), "{at}");
        // SAFETY: as in `number`, for four bytes.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// Counts a lane's next record; how many there are.
    #[inline]
    pub(crate) fn count(&self, lane: usize) -> u64 {
        self.number(layout::COUNTS + lane % layout::LANES * layout::COUNT_BYTES)
            .fetch_add(1, Ordering::Relaxed)
            + 1
    }

    /// Counts records that the sink did not take.
    pub(crate) fn lose(&self) {
        self.number(at::UNSAID).fetch_add(1, Ordering::Relaxed);
    }

    /// A `lost` record in the log tells of so many of them.
    pub(crate) fn said(&self, count: u64) {
        let fewer = |unsaid: u64| Some(unsaid.saturating_sub(count));
        let _ = self.number(at::UNSAID).fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
    }

    /// Keeps a record.
    #[inline]
    pub(crate) fn keep(&self, line: &[u8]) {
        let number = self.number(at::GIVEN).fetch_add(1, Ordering::Relaxed) + 1;
        let slot =
            layout::HEADER + usize::try_from(number % SLOTS as u64).unwrap_or(0) * SLOT_BYTES;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.get(..SLOT_BYTES - layout::RECORD).unwrap_or(line);
        let mark = self.number(slot);
        // One at a time: who was kept waiting for a whole round does not undo what others wrote since, nor mix with it.
        let before = mark.load(Ordering::Relaxed);
        if before > number
            || mark.compare_exchange(before, WRITTEN, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return;
        }
        self.length(slot + 8).store(u32::try_from(line.len()).unwrap_or(0), Ordering::Relaxed);
        self.put(slot + layout::RECORD, line);
        mark.store(number, Ordering::Release);
    }

    /// Takes a place in the table; none where all are taken.
    pub(crate) fn board(
        &self,
        passenger: &Passenger<'_>,
        clock: Clock,
        time: Time,
    ) -> Option<Seat> {
        let begin = self.hint.0.fetch_add(1, Ordering::Relaxed);
        for step in 0..FLOWS {
            let place = Self::place((begin + step) % FLOWS);
            let mark = self.number(place + flow::MARK);
            if mark.load(Ordering::Relaxed) == 0
                && mark.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                self.put(place + flow::FLOW_ID, &passenger.flow_id.to_le_bytes());
                self.put(place + flow::SPAN_ID, &passenger.span_id.to_le_bytes());
                self.put(place + flow::PARENT_ID, &passenger.parent_id.to_le_bytes());
                self.put_word(place + flow::KIND, passenger.kind);
                self.put(place + flow::STATE, &[0]);
                self.put_progress(place, "", clock, time);
                mark.store(2, Ordering::Release);
                return Some(Seat((begin + step) % FLOWS));
            }
        }
        None
    }

    /// Says how far a flow is.
    #[inline]
    pub(crate) fn progress(&self, seat: Seat, state: &str, clock: Clock, time: Time) {
        let place = Self::place(seat.0);
        let mark = self.number(place + flow::MARK);
        let before = mark.load(Ordering::Relaxed);
        // Who comes while another writes leaves it: both are of this moment.
        if before != 0
            && before.is_multiple_of(2)
            && mark
                .compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            self.put_progress(place, state, clock, time);
            mark.store(before + 2, Ordering::Release);
        }
    }

    /// Gives a place back: the flow has ended.
    #[inline]
    pub(crate) fn leave(&self, seat: Seat) {
        self.number(Self::place(seat.0) + flow::MARK).store(0, Ordering::Release);
        self.hint.0.store(seat.0, Ordering::Relaxed);
    }

    fn place(index: usize) -> usize {
        layout::HEADER + SLOTS * SLOT_BYTES + index * flow::BYTES
    }

    #[inline]
    fn put_progress(&self, place: usize, state: &str, clock: Clock, time: Time) {
        self.put(place + flow::CLOCK, &clock.0.to_le_bytes());
        self.put(place + flow::TIME, &time.0.to_le_bytes());
        if !state.is_empty() {
            self.put_word(place + flow::STATE, state);
        }
    }

    #[inline]
    fn put_word(&self, at: usize, word: &str) {
        let word = &word[..word.floor_char_boundary(flow::WORD)];
        self.put(at, &[u8::try_from(word.len()).unwrap_or(0)]);
        self.put(at + 1, word.as_bytes());
    }

    /// The process ends in order: nothing is left to close, and the file goes.
    pub(crate) fn end(&self) {
        self.number(at::ENDED).store(1, Ordering::Release);
        let open = (0..FLOWS)
            .any(|index| self.number(Self::place(index) + flow::MARK).load(Ordering::Relaxed) != 0);
        if !open && self.number(at::UNSAID).load(Ordering::Relaxed) == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}
