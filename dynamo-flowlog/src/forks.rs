//! Forks: a process that was forked inherits files and flows that are its parent's.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Forks that this process came of.
pub(crate) static FORKS: AtomicU32 = AtomicU32::new(0);

/// Counts forks from now on.
#[expect(
    unsafe_code,
    reason = "the standard library has no door to it, and to ask for the process's id costs a call into the kernel a record"
)]
pub(crate) fn watch() {
    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    static WATCHED: OnceLock<()> = OnceLock::new();
    WATCHED.get_or_init(|| {
        // SAFETY: the handler changes one atomic number, which is allowed where little else is: in a process that was just forked.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    });
}

/// Which of the processes that came of one another by forks this is.
#[inline]
pub(crate) fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}
