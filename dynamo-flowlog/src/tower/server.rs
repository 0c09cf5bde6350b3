//! Server side of a request.

use std::fmt::Display;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::outcome::Exchange;
use super::{FlowBody, LayerConfig, ResponseFuture};
use crate::flow::Flow;
use crate::record_args::SpanKind;

/// Service that handles each request as a flow. See [`ServerLayer`](super::ServerLayer).
#[derive(Debug, Clone)]
pub struct Server<S> {
    pub(super) inner: S,
    pub(super) config: LayerConfig,
}

impl<S, A, B> Service<Request<A>> for Server<S>
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
        // The query is not recorded, because it may hold a secret.
        let flow = self.config.emitter().map_or_else(Flow::noop, |emitter| {
            let fields = [
                ("http.request.method", request.method().as_str().into()),
                ("url.path", request.uri().path().into()),
            ];
            emitter.flow(self.config.kind.clone()).fields(&fields).accept(request.headers())
        });
        flow.set_kind(SpanKind::Server);
        // A server discards any body of the response to a `HEAD` request.
        let has_no_body = request.method() == Method::HEAD;
        if flow.is_enabled() {
            request.extensions_mut().insert(flow.handle());
        }
        let response = flow.run(|| self.inner.call(request));
        ResponseFuture::of(flow, Exchange { span_kind: SpanKind::Server, has_no_body }, response)
    }
}
