//! The side that answers.

use std::fmt::Display;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::verdict::Side;
use super::{Answer, FlowBody, Of};
use crate::flow::Flow;
use crate::otlp::Role;

/// A service whose requests are flows. See [`ServerLayer`](super::ServerLayer).
#[derive(Debug, Clone)]
pub struct Server<S> {
    pub(super) inner: S,
    pub(super) of: Of,
}

impl<S, A, B> Service<Request<A>> for Server<S>
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
        // A query may hold a secret, a path does not.
        let flow = self.of.emitter().map_or_else(Flow::nothing, |emitter| {
            let fields = [
                ("http.request.method", request.method().as_str().into()),
                ("url.path", request.uri().path().into()),
            ];
            emitter.accept_with(request.headers(), self.of.kind.clone(), &fields)
        });
        flow.is_a(Role::Server);
        // Whatever body is made for it is thrown away.
        let is_bare = request.method() == Method::HEAD;
        if flow.is_enabled() {
            request.extensions_mut().insert(flow.handle());
        }
        let answer = flow.run(|| self.inner.call(request));
        Answer::of(flow, Side::Server { is_bare }, answer)
    }
}
