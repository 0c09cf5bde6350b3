//! KV block manager: allocates blocks, and frees them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use dynamo_flowlog::{Emitter, current, state};
use serde_json::{Value, json};

use crate::component::Service;
use crate::wire::{Failed, respond};

/// Total number of blocks.
const BLOCKS: u64 = 24;

pub(crate) async fn serve(service: Service, emitter: &Emitter) -> anyhow::Result<()> {
    let free: Arc<Mutex<BTreeSet<u64>>> = Arc::new(Mutex::new((0..BLOCKS).collect()));
    let gauged = Arc::clone(&free);
    let used = move || BLOCKS - gauged.lock().map_or(BLOCKS, |free| free.len() as u64);
    #[expect(clippy::cast_precision_loss, reason = "a few dozen blocks")]
    emitter.gauge("kv_blocks_used", move || used() as f64);
    let Service { listener, faulty, .. } = service;
    let faulty = Arc::new(faulty);
    respond(listener, "kv_blocks", move |asked| {
        let (free, faulty) = (Arc::clone(&free), Arc::clone(&faulty));
        async move { manage(&free, &faulty, &asked).await }
    })
    .await;
    Ok(())
}

async fn manage(
    free: &Mutex<BTreeSet<u64>>,
    faulty: &crate::fault::Faulty,
    asked: &Value,
) -> Result<Value, Failed> {
    let flow = current().unwrap_or_default();
    let poisoned = |_| Failed::new("Internal", "the lock of the block table is poisoned");
    if let Some(count) = asked["allocate"].as_u64() {
        state!(flow, "allocate", blocks = count);
        faulty.strike().await?;
        let mut free = free.lock().map_err(|_| poisoned(()))?;
        let given: Vec<u64> =
            free.iter().copied().take(usize::try_from(count).unwrap_or(usize::MAX)).collect();
        if given.len() as u64 != count {
            let left = free.len();
            return Err(Failed::new(
                "ResourceExhausted",
                format!("{count} KV blocks requested, {left} of {BLOCKS} are free"),
            ));
        }
        free.retain(|block| !given.contains(block));
        return Ok(json!(given));
    }
    let given_back: Vec<u64> =
        asked["free"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    state!(flow, "free", blocks = given_back.len());
    if !faulty.leaks() {
        free.lock().map_err(|_| poisoned(()))?.extend(given_back);
    }
    Ok(json!({}))
}
