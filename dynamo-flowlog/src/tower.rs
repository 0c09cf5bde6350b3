//! Layers for HTTP services: servers join the flow that a request names, clients propagate theirs.
//!
//! Both layers fit any `tower` service with the `http` crate's requests and responses: axum, hyper,
//! tonic's servers and channels.
//!
//! ```
//! # #[derive(Clone)] struct App;
//! # use tower_layer::Layer;
//! use dynamo_flowlog::tower::{ClientLayer, ServerLayer};
//!
//! # let (app, client) = (App, App);
//! let app = ServerLayer::new("chat_completion").layer(app);     // axum: Router::layer(ServerLayer::new(...))
//! let client = ClientLayer::new("generate").layer(client);
//! ```
//!
//! A flow ends with the response body, not with the head. On the server it ends with the head if
//! that already decides the outcome or if no body follows (`HEAD`, 204, 304).
//! [`current`](crate::current) is that flow while the handler and the body are polled. The response
//! determines the outcome:
//!
//! | response | flow |
//! |---|---|
//! | status below 400 | ends |
//! | 408, 429, 500 and above; a `grpc-status` other than 0 and 1 | fails with the matching Dynamo error type, such as `InvalidArgument` if the caller is at fault |
//! | other 4xx | ends, with the status: the caller is at fault |
//! | 499, `grpc-status` 1; dropped before its end | is cancelled |
//! | none: the service failed | fails |
//!
//! A handler that knows the cause of a failure puts a [`Failure`] into the response's extensions.
//! The request's extensions hold the flow as a [`FlowHandle`]. The response head returns the
//! server's clock in `tracestate`.

mod body;
mod client;
mod server;
mod outcome;

use std::borrow::Cow;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::current::{FlowFutureExt, InFlow};
use crate::emitter::Emitter;
use crate::flow::Flow;

pub use body::FlowBody;
pub use client::Client;
use outcome::Exchange;
pub use server::Server;

#[cfg(doc)]
use crate::{Failure, FlowHandle};

/// Configuration of a layer: its emitter and the kind of its flows.
#[derive(Debug, Clone)]
struct LayerConfig {
    kind: Cow<'static, str>,
    /// Emitter to use; `None` for the process's own.
    emitter: Option<Emitter>,
}

impl LayerConfig {
    fn emitter(&self) -> Option<&Emitter> {
        self.emitter.as_ref().or(Emitter::global())
    }
}

/// Layer for servers, which joins the flow that a request names. See [the module](self).
#[derive(Debug, Clone)]
pub struct ServerLayer(LayerConfig);

/// Layer for clients, which propagates the flow as a child call. See [the module](self).
#[derive(Debug, Clone)]
pub struct ClientLayer(LayerConfig);

macro_rules! layer {
    ($layer:ident, $service:ident) => {
        impl $layer {
            /// Creates a layer for flows of this kind that uses the process's emitter.
            pub fn new(kind: impl Into<Cow<'static, str>>) -> Self {
                Self(LayerConfig { kind: kind.into(), emitter: None })
            }

            /// Uses `emitter` instead of the process's own.
            #[must_use]
            pub fn emitter(self, emitter: &Emitter) -> Self {
                Self(LayerConfig { emitter: Some(emitter.clone()), ..self.0 })
            }
        }

        impl<S> tower_layer::Layer<S> for $layer {
            type Service = $service<S>;

            fn layer(&self, inner: S) -> $service<S> {
                $service { inner, config: self.0.clone() }
            }
        }
    };
}

layer!(ServerLayer, Server);
layer!(ClientLayer, Client);

pin_project! {
    /// Future of a response to a request that belongs to a flow.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        response: InFlow<F>,
        flow: Option<Flow>,
        exchange: Exchange,
    }
}

impl<F: Future> ResponseFuture<F> {
    fn of(flow: Flow, exchange: Exchange, response: F) -> Self {
        Self { response: response.in_flow(&flow), flow: Some(flow), exchange }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: Display,
{
    type Output = Result<Response<FlowBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(context));
        let Some(flow) = this.flow.take() else {
            return Poll::Ready(response.map(|response| response.map(FlowBody::without_flow)));
        };
        Poll::Ready(match response {
            Ok(response) => Ok(this.exchange.on_response(flow, response)),
            Err(error) => {
                this.exchange.on_error(flow, &error);
                Err(error)
            }
        })
    }
}
