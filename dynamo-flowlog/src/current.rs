//! The flow that a thread is currently working on.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::flow::FlowHandle;

thread_local! {
    pub(crate) static CURRENT: RefCell<FlowHandle> = const { RefCell::new(FlowHandle::NONE) };
}

/// Returns the flow that this thread is working on: that of the innermost
/// [`FlowFutureExt::in_flow`] or [`FlowHandle::run`] around the caller.
pub fn current() -> Option<FlowHandle> {
    CURRENT
        .try_with(|current| current.try_borrow().ok().map(|current| current.clone()))
        .ok()
        .flatten()
        .filter(FlowHandle::is_enabled)
}

/// Sets the current flow, and restores the previous one when dropped.
pub(crate) struct Scope(FlowHandle);

impl Scope {
    pub(crate) fn enter(flow: FlowHandle) -> Self {
        Self(CURRENT.try_with(|current| current.replace(flow)).unwrap_or_default())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let before = std::mem::take(&mut self.0);
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}

impl FlowHandle {
    /// Calls `work` with this flow as the [`current`] one.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _scope = Scope::enter(self.clone());
        work()
    }
}

/// Runs a future within a flow: [`current`] returns that flow only while the future is being
/// polled.
///
/// The future may move to another thread between polls, and other futures on the thread are not
/// affected.
pub trait FlowFutureExt: Future + Sized {
    /// Makes `flow` [`current`] whenever this future is polled, and at no other time.
    fn in_flow(self, flow: &FlowHandle) -> InFlow<Self> {
        InFlow { future: self, flow: flow.clone() }
    }
}

impl<F: Future> FlowFutureExt for F {}

pin_project! {
    /// A future that runs within a flow. See [`FlowFutureExt::in_flow`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InFlow<F> {
        #[pin]
        future: F,
        flow: FlowHandle,
    }
}

impl<F: Future> Future for InFlow<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _scope = Scope::enter(this.flow.clone());
        this.future.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::{Emitter, Flow, Sink};

    fn flow() -> Flow {
        Emitter::builder("test").sink(Sink::Discard).build().unwrap().flow("x").start()
    }

    fn id() -> Option<flowlog_schema::FlowId> {
        current().and_then(|flow| flow.flow_id())
    }

    #[test]
    fn scopes_nest_and_end_with_a_panic() {
        let (outer, inner) = (flow(), flow());
        assert_eq!(id(), None);
        outer.run(|| {
            assert_eq!(id(), outer.flow_id());
            inner.run(|| assert_eq!(id(), inner.flow_id()));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                inner.run(|| std::panic::resume_unwind(Box::new(0)))
            }));
            assert!(panicked.is_err());
            assert_eq!(id(), outer.flow_id());
        });
        assert_eq!(id(), None);
    }

    #[test]
    fn a_future_has_its_flow_while_it_is_polled() {
        let flow = flow();
        let expected = flow.flow_id();
        let mut pending = true;
        let work = std::future::poll_fn(|_| {
            assert_eq!(id(), expected);
            if std::mem::take(&mut pending) { Poll::Pending } else { Poll::Ready(7) }
        });
        let mut work = std::pin::pin!(work.in_flow(&flow));
        let mut context = Context::from_waker(Waker::noop());
        assert!(work.as_mut().poll(&mut context).is_pending());
        assert_eq!(id(), None, "the flow must not be current between polls");
        // The same holds on another thread.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(
                    work.as_mut().poll(&mut Context::from_waker(Waker::noop())),
                    Poll::Ready(7)
                );
            });
        });
    }
}
