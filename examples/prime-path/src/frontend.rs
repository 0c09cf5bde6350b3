//! The frontend: takes requests, and sees each through router, prefill and decode.

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

use crate::component::{Found, Place};
use crate::router::SELECT;
use crate::wire::{DEADLINE, Failed, Http, ask, in_time, whole};

struct Frontend {
    place: Place,
    prefill: Http,
    decode: Http,
}

/// What a client asks for.
#[derive(Debug, Deserialize)]
struct Asked {
    prompt: String,
    max_tokens: u32,
}

/// Whom the router picked.
#[derive(Debug, Deserialize)]
struct Picked {
    prefill: Found,
    decode: Found,
    kvbm: Found,
    nixl: Found,
}

pub(crate) async fn serve(mut place: Place) -> anyhow::Result<()> {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let listener = std::mem::replace(&mut place.listener, nobody);
    let frontend =
        Arc::new(Frontend { place, prefill: Http::new("prefill"), decode: Http::new("decode") });
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
        self.place.faulty.strike().await?;
        flow.state("route");
        let picked = in_time("router", ask(&self.place.nats, SELECT, "route")).await?;
        let picked: Picked = serde_json::from_value(picked)
            .map_err(|error| Failed::new("BackendProtocol", error.to_string()))?;
        flow.state("prefill");
        let (whose, url) =
            (&picked.prefill.instance, format!("http://{}/prefill", picked.prefill.address));
        let body = json!({"tokens": tokens, "kvbm": picked.kvbm.address});
        let blocks =
            in_time(whose, async { whole(whose, self.prefill.post(&url, &body).await?).await })
                .await?;
        let blocks: Value = serde_json::from_slice(&blocks)
            .map_err(|error| Failed::new("BackendProtocol", error.to_string()))?;
        flow.state("decode");
        let (whose, url) =
            (picked.decode.instance.clone(), format!("http://{}/decode", picked.decode.address));
        let body = json!({
            "max_tokens": asked.max_tokens, "blocks": blocks, "from": picked.prefill.instance,
            "kvbm": picked.kvbm.address, "nixl": picked.nixl.address,
        });
        let answer = in_time(&whose, self.decode.post(&url, &body)).await?;
        // The rest comes token by token, and none may be late.
        let tokens = answer.into_data_stream().map(move |token| {
            token.map_err(|error| Failed::new("Disconnected", format!("{whose}: {error}")))
        });
        Ok(Body::from_stream(until_late(tokens)))
    }
}

/// A stream whose items are waited for no longer than anybody waits.
fn until_late<T>(
    items: impl futures_util::Stream<Item = Result<T, Failed>>,
) -> impl futures_util::Stream<Item = Result<T, Failed>> {
    futures_util::stream::unfold(Some(Box::pin(items)), |items| async move {
        let mut items = items?;
        match tokio::time::timeout(DEADLINE, items.next()).await {
            Ok(item) => item.map(|item| (item, Some(items))),
            Err(_) => {
                Some((Err(Failed::new("ResponseTimeout", "the next token did not come")), None))
            }
        }
    })
}
