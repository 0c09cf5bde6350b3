//! Fork detection: a forked process inherits files and flows that belong to its parent.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Number of forks that led to this process.
pub(crate) static FORK_COUNT: AtomicU32 = AtomicU32::new(0);

/// Starts counting forks.
#[expect(
    unsafe_code,
    reason = "the standard library has no `pthread_atfork`, and querying the process ID costs a system call per record"
)]
pub(crate) fn watch() {
    extern "C" fn forked() {
        FORK_COUNT.fetch_add(1, Ordering::Relaxed);
    }
    static WATCHED: OnceLock<()> = OnceLock::new();
    WATCHED.get_or_init(|| {
        // SAFETY: the handler only updates an atomic number, which is one of the few things allowed
        // in a process that was just forked.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    });
}

/// Returns the number of forks that led to this process, which distinguishes it from its ancestors.
#[inline]
pub(crate) fn generation() -> u32 {
    FORK_COUNT.load(Ordering::Relaxed)
}
