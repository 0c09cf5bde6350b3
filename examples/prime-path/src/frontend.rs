//! Frontend: accepts requests, and passes each through router, prefill and decode.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use dynamo_flowlog::current;
use dynamo_flowlog::tower::ServerLayer;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::component::{Found, Service};
use crate::router::SELECT;
use crate::wire::{DEADLINE, Failed, Http, ask, in_time, whole};

struct Frontend {
    service: Service,
    prefill: Http,
    decode: Http,
}

/// Request of a client.
#[derive(Debug, Deserialize)]
struct Asked {
    prompt: String,
    max_tokens: u32,
}

/// Instances that the router picked.
#[derive(Debug, Deserialize)]
struct Picked {
    prefill: Found,
    decode: Found,
    kvbm: Found,
    nixl: Found,
}

pub(crate) async fn serve(mut service: Service) -> anyhow::Result<()> {
    let unreachable = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let listener = std::mem::replace(&mut service.listener, unreachable);
    let frontend =
        Arc::new(Frontend { service, prefill: Http::new("prefill"), decode: Http::new("decode") });
    let app = Router::new()
        .route("/v1/completions", post(complete))
        .with_state(frontend)
        .layer(ServerLayer::new("chat_completion"));
    Ok(axum::serve(listener, app).await?)
}

async fn complete(State(frontend): State<Arc<Frontend>>, Json(asked): Json<Asked>) -> Response {
    match frontend.complete(&asked).await {
        Ok(body) => body.into_response(),
        Err(error) => error.into_response(),
    }
}

impl Frontend {
    async fn complete(&self, asked: &Asked) -> Result<Body, Failed> {
        let flow = current().unwrap_or_default();
        let tokens = asked.prompt.split_whitespace().count();
        if tokens == 0 {
            return Err(Failed::new("InvalidArgument", "the prompt is empty"));
        }
        self.service.faulty.strike().await?;
        flow.state("route");
        let picked = in_time("router", ask(&self.service.nats, SELECT, "route")).await?;
        let picked: Picked = serde_json::from_value(picked)
            .map_err(|error| Failed::new("BackendProtocol", error.to_string()))?;
        flow.state("prefill");
        let (origin, url) =
            (&picked.prefill.instance, format!("http://{}/prefill", picked.prefill.address));
        let body = json!({"tokens": tokens, "kvbm": picked.kvbm.address});
        let blocks =
            in_time(origin, async { whole(origin, self.prefill.post(&url, &body).await?).await })
                .await?;
        let blocks: Value = serde_json::from_slice(&blocks)
            .map_err(|error| Failed::new("BackendProtocol", error.to_string()))?;
        flow.state("decode");
        let (origin, url) =
            (picked.decode.instance.clone(), format!("http://{}/decode", picked.decode.address));
        let body = json!({
            "max_tokens": asked.max_tokens, "blocks": blocks, "from": picked.prefill.instance,
            "kvbm": picked.kvbm.address, "nixl": picked.nixl.address,
        });
        let answer = in_time(&origin, self.decode.post(&url, &body)).await?;
        // The remaining tokens arrive one by one, each with the same deadline.
        let tokens = answer.into_data_stream().map(move |token| {
            token.map_err(|error| Failed::new("Disconnected", format!("{origin}: {error}")))
        });
        Ok(Body::from_stream(until_late(tokens)))
    }
}

/// Limits the time to wait for each item of a stream.
fn until_late<T>(
    items: impl futures_util::Stream<Item = Result<T, Failed>>,
) -> impl futures_util::Stream<Item = Result<T, Failed>> {
    futures_util::stream::unfold(Some(Box::pin(items)), |items| async move {
        let mut items = items?;
        match tokio::time::timeout(DEADLINE, items.next()).await {
            Ok(item) => item.map(|item| (item, Some(items))),
            Err(_) => Some((
                Err(Failed::new("ResponseTimeout", "timed out waiting for the next token")),
                None,
            )),
        }
    })
}
