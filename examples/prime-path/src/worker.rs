//! Workers: prefill fills KV blocks with a prompt; decode transfers them and generates tokens from
//! them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use dynamo_flowlog::tower::ServerLayer;
use dynamo_flowlog::{FlowFutureExt, FlowHandle, current, state};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::component::Service;
use crate::wire::{Failed, send};

/// Tokens per KV block.
const BLOCK_TOKENS: usize = 16;

#[derive(Debug, Deserialize)]
struct Prefill {
    tokens: usize,
    kvbm: String,
}

#[derive(Debug, Deserialize)]
struct Decode {
    max_tokens: u32,
    blocks: Value,
    from: String,
    kvbm: String,
    nixl: String,
}

pub(crate) async fn prefill(service: Service) -> anyhow::Result<()> {
    let (service, listener) = apart(service).await?;
    let app = Router::new()
        .route("/prefill", post(fill))
        .with_state(service)
        .layer(ServerLayer::new("prefill"));
    Ok(axum::serve(listener, app).await?)
}

pub(crate) async fn decode(service: Service) -> anyhow::Result<()> {
    let (service, listener) = apart(service).await?;
    let app = Router::new()
        .route("/decode", post(generate))
        .with_state(service)
        .layer(ServerLayer::new("decode"));
    Ok(axum::serve(listener, app).await?)
}

async fn apart(mut service: Service) -> anyhow::Result<(Arc<Service>, TcpListener)> {
    let unreachable = TcpListener::bind("127.0.0.1:0").await?;
    let listener = std::mem::replace(&mut service.listener, unreachable);
    Ok((Arc::new(service), listener))
}

async fn fill(State(service): State<Arc<Service>>, Json(asked): Json<Prefill>) -> Response {
    let work = async {
        let flow = current().unwrap_or_default();
        flow.state("allocate");
        let blocks = send(
            &asked.kvbm,
            "kv_allocate",
            json!({"allocate": asked.tokens.div_ceil(BLOCK_TOKENS)}),
        )
        .await?;
        let held = Held { blocks, kvbm: asked.kvbm, flow: flow.clone() };
        state!(flow, "prefill", tokens = asked.tokens);
        tokio::time::sleep(Duration::from_millis(20)).await;
        service.faulty.strike().await?;
        // The blocks are handed over with the response.
        Ok::<_, Failed>(Json(held.hand_over()))
    };
    work.await.into_response()
}

/// KV blocks that are freed on drop: when the work fails or is no longer awaited.
struct Held {
    blocks: Value,
    kvbm: String,
    flow: FlowHandle,
}

impl Held {
    fn hand_over(mut self) -> Value {
        self.blocks.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (blocks, kvbm) = (self.blocks.take(), std::mem::take(&mut self.kvbm));
        // During shutdown there is no runtime left to free them on.
        if let (false, Ok(runtime)) = (blocks.is_null(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(
                async move { send(&kvbm, "kv_free", json!({"free": blocks})).await }
                    .in_flow(&self.flow),
            );
        }
    }
}

async fn generate(State(service): State<Arc<Service>>, Json(asked): Json<Decode>) -> Response {
    match begin(&service, asked).await {
        Ok(body) => body.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn begin(service: &Arc<Service>, asked: Decode) -> Result<Body, Failed> {
    let flow = current().unwrap_or_default();
    let held = Held { blocks: asked.blocks.clone(), kvbm: asked.kvbm, flow: flow.clone() };
    flow.state("transfer");
    send(
        &asked.nixl,
        "kv_transfer",
        json!({"blocks": asked.blocks, "from": asked.from, "to": service.identity.instance}),
    )
    .await?;
    flow.state("decode");
    service.faulty.strike().await?;
    let (out, mut tokens) = mpsc::channel::<Bytes>(1);
    let work = async move {
        for token in 0..asked.max_tokens {
            tokio::time::sleep(Duration::from_millis(4)).await;
            if out.send(format!("data: token {token}\n\n").into()).await.is_err() {
                break;
            }
        }
        drop(held);
    };
    tokio::spawn(work.in_flow(&flow));
    let stream = futures_util::stream::poll_fn(move |context| {
        tokens.poll_recv(context).map(|token| token.map(Ok::<_, Failed>))
    });
    Ok(Body::from_stream(stream))
}
