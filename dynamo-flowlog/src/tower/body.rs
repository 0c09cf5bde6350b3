//! An answer's body: the flow ends when it does.

use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::verdict::{Side, Verdict};
use crate::current::Scope;
use crate::flow::Flow;

pin_project! {
    /// A body whose end is a flow's. See [the module](super).
    #[derive(Debug)]
    pub struct FlowBody<B> {
        #[pin]
        body: B,
        open: Option<Open>,
        // Whether the last frame is out.
        is_done: bool,
    }

    impl<B> PinnedDrop for FlowBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(open) = this.open.take() {
                // A body without a last frame of its own is not asked for one.
                if *this.is_done { open.end() } else { open.leave() }
            }
        }
    }
}

/// A flow that ends with a body.
#[derive(Debug)]
struct Open {
    flow: Flow,
    side: Side,
    verdict: Verdict,
}

impl Open {
    fn end(self) {
        self.verdict.end(self.flow);
    }

    /// Dropped before its end.
    fn leave(self) {
        match self.verdict {
            Verdict::Ok => self.flow.cancel(self.side.left()),
            // What became of it was told with the head.
            verdict => verdict.end(self.flow),
        }
    }
}

impl<B> FlowBody<B> {
    /// A body of no flow.
    pub(super) fn of_nothing(body: B) -> Self {
        Self { body, open: None, is_done: false }
    }
}

impl<B: Body> FlowBody<B> {
    pub(super) fn of(body: B, flow: Flow, side: Side, verdict: Verdict) -> Self {
        let is_done = body.is_end_stream();
        Self { body, open: Some(Open { flow, side, verdict }), is_done }
    }
}

impl<B> Body for FlowBody<B>
where
    B: Body,
    B::Error: Display,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(open) = this.open.as_mut() else { return this.body.poll_frame(context) };
        let scope = Scope::enter(open.flow.handle());
        let frame = ready!(this.body.as_mut().poll_frame(context));
        drop(scope);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    open.verdict.read_trailers(trailers);
                }
                // Trailers are the last that is asked for.
                *this.is_done = frame.is_trailers() || this.body.is_end_stream();
            }
            Some(Err(error)) => {
                if let Some(open) = this.open.take() {
                    open.side.failed(open.flow, error);
                }
            }
            None => {
                if let Some(open) = this.open.take() {
                    open.end();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
