//! What a thread keeps from one record to the next.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use flowlog_schema::SecondText;

/// Room for a line, and the text of the second.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Which one, from zero: see `flowlog_schema::flight::number`.
    pub(crate) number: usize,
    pub(crate) line: Vec<u8>,
    pub(crate) second: SecondText,
}

/// Lanes that were given out, and those of them that were given back by threads that ended.
static GIVEN: AtomicUsize = AtomicUsize::new(0);
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Default for Lane {
    fn default() -> Self {
        // A new one where another thread looks, too: in a process that was forked it may be no more.
        let free = FREE.try_lock().ok().and_then(|mut free| free.pop());
        let number = free.unwrap_or_else(|| GIVEN.fetch_add(1, Ordering::Relaxed));
        Self { number, line: Vec::new(), second: SecondText::default() }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Ok(mut free) = FREE.try_lock() {
            free.push(self.number);
        }
    }
}

/// Room that a thread keeps; a longer line's is given back.
const KEPT: usize = 64 * 1024;

thread_local! {
    static LANE: RefCell<Lane> = RefCell::new(Lane::default());
}

/// Works with the thread's lane: with one of its own where the thread is about to end, or writes a record while it writes one.
pub(crate) fn with_lane(mut work: impl FnMut(&mut Lane)) {
    let worked = LANE.try_with(|lane| {
        let Ok(mut lane) = lane.try_borrow_mut() else { return false };
        work(&mut lane);
        if lane.line.capacity() > KEPT {
            lane.line = Vec::new();
        }
        true
    });
    if !worked.unwrap_or(false) {
        work(&mut Lane::default());
    }
}

/// A number that every thread changes, on cache lines of its own: what stands beside it is read by all.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);
