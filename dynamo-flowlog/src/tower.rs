//! Layers around services that speak HTTP: servers take up the flow that a request names, clients pass theirs on.
//!
//! Both fit whatever is a `tower` service of the `http` crate's requests and responses: axum, hyper, tonic's servers and channels.
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
//! A flow ends with the answer's body, not with its head, unless that says that it failed; and [`current`](crate::current) is that flow while handler and body are polled. What
//! becomes of it:
//!
//! | the answer | the flow |
//! |---|---|
//! | below 400 | ends |
//! | 408, 429, 500 and above; a `grpc-status` but 0 and 1 | fails, with Dynamo's type for it: `InvalidArgument` where the caller is to blame |
//! | other 4xx | ends, with the status: the caller's fault |
//! | 499, `grpc-status` 1; dropped before its end | cancelled |
//! | none: the service failed | fails |
//!
//! A handler that knows why it failed puts a [`Failure`] into the answer's extensions. The flow itself is in the request's: a [`FlowHandle`].
//! The answer's head brings the server's clock back, in `tracestate`.

mod body;
mod client;
mod server;
mod verdict;

use std::borrow::Cow;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::current::InFlow;
use crate::emitter::Emitter;
use crate::flow::Flow;

pub use body::FlowBody;
pub use client::Client;
pub use server::Server;

#[cfg(doc)]
use crate::{Failure, FlowHandle};

/// Who emits, and of which kind the flows are.
#[derive(Debug, Clone)]
struct Of {
    kind: Cow<'static, str>,
    /// `None`: the process's own.
    emitter: Option<Emitter>,
}

impl Of {
    fn emitter(&self) -> Option<&Emitter> {
        self.emitter.as_ref().or(Emitter::installed())
    }
}

/// Takes up the flow that a request names. See [the module](self).
#[derive(Debug, Clone)]
pub struct ServerLayer(Of);

/// Passes the flow on, as a call of its own. See [the module](self).
#[derive(Debug, Clone)]
pub struct ClientLayer(Of);

macro_rules! layer {
    ($layer:ident, $service:ident) => {
        impl $layer {
            /// Flows of that kind, with the process's emitter.
            pub fn new(kind: impl Into<Cow<'static, str>>) -> Self {
                Self(Of { kind: kind.into(), emitter: None })
            }

            /// With that emitter rather than the process's.
            #[must_use]
            pub fn emitter(self, emitter: &Emitter) -> Self {
                Self(Of { emitter: Some(emitter.clone()), ..self.0 })
            }
        }

        impl<S> tower_layer::Layer<S> for $layer {
            type Service = $service<S>;

            fn layer(&self, inner: S) -> $service<S> {
                $service { inner, of: self.0.clone() }
            }
        }
    };
}

layer!(ServerLayer, Server);
layer!(ClientLayer, Client);

pin_project! {
    /// An answer that is waited for.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Answer<F> {
        #[pin]
        answer: InFlow<F>,
        flow: Option<Flow>,
        side: verdict::Side,
    }
}

impl<F: Future> Answer<F> {
    fn of(flow: Flow, side: verdict::Side, answer: F) -> Self {
        Self { answer: crate::in_flow(&flow, answer), flow: Some(flow), side }
    }
}

impl<F, B, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: Display,
{
    type Output = Result<Response<FlowBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context));
        let Some(flow) = this.flow.take() else {
            return Poll::Ready(answer.map(|answer| answer.map(FlowBody::of_nothing)));
        };
        Poll::Ready(match answer {
            Ok(answer) => Ok(this.side.answered(flow, answer)),
            Err(error) => {
                this.side.failed(flow, &error);
                Err(error)
            }
        })
    }
}
