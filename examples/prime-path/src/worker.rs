//! Workers: prefill fills KV blocks with a prompt, decode has them transferred and makes tokens of them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use dynamo_flowlog::tower::ServerLayer;
use dynamo_flowlog::{FlowHandle, current, in_flow, state};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::component::Place;
use crate::wire::{Failed, tell};

/// Tokens of one KV block.
const BLOCK: usize = 16;

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

pub(crate) async fn prefill(place: Place) -> anyhow::Result<()> {
    let (place, listener) = apart(place).await?;
    let app = Router::new()
        .route("/prefill", post(fill))
        .with_state(place)
        .layer(ServerLayer::new("prefill"));
    Ok(axum::serve(listener, app).await?)
}

pub(crate) async fn decode(place: Place) -> anyhow::Result<()> {
    let (place, listener) = apart(place).await?;
    let app = Router::new()
        .route("/decode", post(generate))
        .with_state(place)
        .layer(ServerLayer::new("decode"));
    Ok(axum::serve(listener, app).await?)
}

async fn apart(mut place: Place) -> anyhow::Result<(Arc<Place>, TcpListener)> {
    let nobody = TcpListener::bind("127.0.0.1:0").await?;
    let listener = std::mem::replace(&mut place.listener, nobody);
    Ok((Arc::new(place), listener))
}

async fn fill(State(place): State<Arc<Place>>, Json(asked): Json<Prefill>) -> Response {
    let work = async {
        let flow = current().unwrap_or_default();
        flow.state("allocate");
        let blocks =
            tell(&asked.kvbm, "kv_allocate", json!({"allocate": asked.tokens.div_ceil(BLOCK)}))
                .await?;
        let held = Held { blocks, kvbm: asked.kvbm, flow: flow.clone() };
        state!(flow, "prefill", tokens = asked.tokens);
        tokio::time::sleep(Duration::from_millis(20)).await;
        place.faulty.strike().await?;
        // They go with the answer.
        Ok::<_, Failed>(Json(held.hand_over()))
    };
    work.await.into_response()
}

/// Blocks that are given back whatever becomes of the work: it fails, or nobody waits for it any more.
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
        // Where the process stops there is nobody left to do it.
        if let (false, Ok(runtime)) = (blocks.is_null(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(in_flow(&self.flow, async move {
                tell(&kvbm, "kv_free", json!({"free": blocks})).await
            }));
        }
    }
}

async fn generate(State(place): State<Arc<Place>>, Json(asked): Json<Decode>) -> Response {
    match begin(&place, asked).await {
        Ok(body) => body.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn begin(place: &Arc<Place>, asked: Decode) -> Result<Body, Failed> {
    let flow = current().unwrap_or_default();
    let held = Held { blocks: asked.blocks.clone(), kvbm: asked.kvbm, flow: flow.clone() };
    flow.state("transfer");
    tell(
        &asked.nixl,
        "kv_transfer",
        json!({"blocks": asked.blocks, "from": asked.from, "to": place.identity.instance}),
    )
    .await?;
    flow.state("decode");
    place.faulty.strike().await?;
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
    tokio::spawn(in_flow(&flow, work));
    let stream = futures_util::stream::poll_fn(move |context| {
        tokens.poll_recv(context).map(|token| token.map(Ok::<_, Failed>))
    });
    Ok(Body::from_stream(stream))
}
