//! Buffers that a thread keeps from one record to the next.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use flowlog_schema::SecondText;

/// Buffer for a line, and cached text of the current second.
#[derive(Debug)]
pub(crate) struct ThreadBuffer {
    /// Index of the buffer, from zero: see `flowlog_schema::flight::number`.
    pub(crate) number: usize,
    pub(crate) line: Vec<u8>,
    pub(crate) second: SecondText,
}

/// Indexes assigned so far, and those that were returned by threads that have ended.
static NEXT_NUMBER: AtomicUsize = AtomicUsize::new(0);
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Default for ThreadBuffer {
    fn default() -> Self {
        // A new index is assigned if another thread holds the lock: in a forked process that thread
        // may no longer exist.
        let free = FREE.try_lock().ok().and_then(|mut free| free.pop());
        let number = free.unwrap_or_else(|| NEXT_NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { number, line: Vec::new(), second: SecondText::default() }
    }
}

impl Drop for ThreadBuffer {
    fn drop(&mut self) {
        if let Ok(mut free) = FREE.try_lock() {
            free.push(self.number);
        }
    }
}

/// Maximum capacity in bytes that a thread retains; the buffer of a longer line is freed.
const MAX_RETAINED_BYTES: usize = 64 * 1024;

thread_local! {
    static THREAD_BUFFER: RefCell<ThreadBuffer> = RefCell::new(ThreadBuffer::default());
}

/// Calls `work` with the thread's buffer.
///
/// A temporary buffer is used if the thread is exiting, or writes a record while it is writing one.
pub(crate) fn with_thread_buffer(mut work: impl FnMut(&mut ThreadBuffer)) {
    let worked = THREAD_BUFFER.try_with(|buffer| {
        let Ok(mut buffer) = buffer.try_borrow_mut() else { return false };
        work(&mut buffer);
        if buffer.line.capacity() > MAX_RETAINED_BYTES {
            buffer.line = Vec::new();
        }
        true
    });
    if !worked.unwrap_or(false) {
        work(&mut ThreadBuffer::default());
    }
}
