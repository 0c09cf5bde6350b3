//! Response body that ends its flow when it ends.

use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::outcome::{Exchange, ResponseOutcome};
use crate::current::Scope;
use crate::flow::Flow;

pin_project! {
    /// Body that ends a flow when it ends. See [the module](super).
    #[derive(Debug)]
    pub struct FlowBody<B> {
        #[pin]
        body: B,
        open: Option<Open>,
        // Whether the last frame was returned.
        is_done: bool,
    }

    impl<B> PinnedDrop for FlowBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(open) = this.open.take() {
                // A body without trailers may be dropped before it returns `None`.
                if *this.is_done { open.end() } else { open.drop_unfinished() }
            }
        }
    }
}

/// Flow that ends with the body.
#[derive(Debug)]
struct Open {
    flow: Flow,
    exchange: Exchange,
    outcome: ResponseOutcome,
}

impl Open {
    fn end(self) {
        self.outcome.end(self.flow);
    }

    /// Ends the flow of a body that was dropped before its end.
    fn drop_unfinished(self) {
        match self.outcome {
            ResponseOutcome::Ok => self.flow.cancel(self.exchange.cancel_reason()),
            // The head already decided the outcome.
            outcome => outcome.end(self.flow),
        }
    }
}

impl<B> FlowBody<B> {
    /// Creates a body without a flow.
    pub(super) fn without_flow(body: B) -> Self {
        Self { body, open: None, is_done: false }
    }
}

impl<B: Body> FlowBody<B> {
    pub(super) fn of(body: B, flow: Flow, exchange: Exchange, outcome: ResponseOutcome) -> Self {
        let is_done = body.is_end_stream();
        Self { body, open: Some(Open { flow, exchange, outcome }), is_done }
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
                    open.outcome.read_trailers(trailers);
                }
                // Callers may stop polling after trailers.
                *this.is_done = frame.is_trailers() || this.body.is_end_stream();
            }
            Some(Err(error)) => {
                if let Some(open) = this.open.take() {
                    open.exchange.on_error(open.flow, error);
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
