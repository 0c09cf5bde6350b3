//! Client side of a request.

use std::fmt::Display;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::outcome::Exchange;
use super::{FlowBody, LayerConfig, ResponseFuture};
use crate::current::current;
use crate::flow::{Flow, FlowHandle};
use crate::record_args::SpanKind;

/// Service that makes its calls within flows. See [`ClientLayer`](super::ClientLayer).
#[derive(Debug, Clone)]
pub struct Client<S> {
    pub(super) inner: S,
    pub(super) config: LayerConfig,
}

impl<S, A, B> Service<Request<A>> for Client<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Display,
    B: Body,
{
    type Response = Response<FlowBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let kind = self.config.kind.clone();
        // The parent is the flow that the request was made for, or else the current one. Without a
        // parent, the request starts a flow of its own.
        let caller = request.extensions().get::<FlowHandle>().cloned().or_else(current);
        let flow = match (caller, self.config.emitter()) {
            (Some(caller), _) => caller.child(kind),
            (None, Some(emitter)) => emitter.flow(kind).start(),
            (None, None) => Flow::noop(),
        };
        flow.set_kind(SpanKind::Client);
        flow.inject(request.headers_mut());
        let response = flow.run(|| self.inner.call(request));
        let exchange = Exchange { span_kind: SpanKind::Client, has_no_body: false };
        ResponseFuture::of(flow, exchange, response)
    }
}
