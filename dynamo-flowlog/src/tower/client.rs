//! The side that asks.

use std::fmt::Display;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::verdict::Side;
use super::{Answer, FlowBody, Of};
use crate::current::current;
use crate::flow::{Flow, FlowHandle};
use crate::otlp::Role;

/// A service that is called within flows. See [`ClientLayer`](super::ClientLayer).
#[derive(Debug, Clone)]
pub struct Client<S> {
    pub(super) inner: S,
    pub(super) of: Of,
}

impl<S, A, B> Service<Request<A>> for Client<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Display,
    B: Body,
{
    type Response = Response<FlowBody<B>>;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let kind = self.of.kind.clone();
        // The flow that works on it, or the one that the request was made for; a request of nobody's is a flow of its own.
        let caller = request.extensions().get::<FlowHandle>().cloned().or_else(current);
        let flow = match (caller, self.of.emitter()) {
            (Some(caller), _) => caller.call(kind),
            (None, Some(emitter)) => emitter.start(kind),
            (None, None) => Flow::nothing(),
        };
        flow.is_a(Role::Client);
        flow.inject(request.headers_mut());
        let answer = flow.run(|| self.inner.call(request));
        Answer::of(flow, Side::Client, answer)
    }
}
