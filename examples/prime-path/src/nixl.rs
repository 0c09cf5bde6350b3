//! Transfer agent: moves KV blocks from one worker to another.

use std::sync::Arc;
use std::time::Duration;

use dynamo_flowlog::{current, state};
use serde_json::json;

use crate::component::Service;
use crate::wire::respond;

pub(crate) async fn serve(service: Service) -> anyhow::Result<()> {
    let Service { listener, faulty, .. } = service;
    let faulty = Arc::new(faulty);
    respond(listener, "kv_transfer", move |asked| {
        let faulty = Arc::clone(&faulty);
        async move {
            let flow = current().unwrap_or_default();
            let blocks = asked["blocks"].as_array().map_or(0, Vec::len);
            let name = |end: &str| asked[end].as_str().unwrap_or_default().to_owned();
            state!(flow, "register", blocks = blocks, from = name("from"), to = name("to"));
            flow.state("post");
            tokio::time::sleep(Duration::from_millis(3)).await;
            faulty.strike().await?;
            flow.state("done");
            Ok(json!({"blocks": blocks}))
        }
    })
    .await;
    Ok(())
}
