//! Notification that data arrived in a pipe.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Wakeup {
    notified: Mutex<bool>,
    condvar: Condvar,
}

impl Wakeup {
    pub(super) fn notify(&self) {
        if let Ok(mut notified) = self.notified.lock() {
            *notified = true;
            self.condvar.notify_one();
        }
    }

    pub(super) fn wait(&self, most: Duration) {
        let Ok(notified) = self.notified.lock() else { return };
        if let Ok((mut notified, _)) =
            self.condvar.wait_timeout_while(notified, most, |notified| !*notified)
        {
            *notified = false;
        }
    }
}
