//! The router: knows who is there, and picks a prefill and a decode worker for each request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_nats::{HeaderMap, Message};
use dynamo_flowlog::{Flow, current, in_flow, state};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::component::{Found, HEARTBEAT, Place, REGISTER};
use crate::wire::{Failed, ended, write_answer};

/// The subject on which a request's workers are asked for.
pub(crate) const SELECT: &str = "router.select";

/// The subject on which is asked who is there.
pub(crate) const INSTANCES: &str = "router.instances";

/// Who was heard of, and when.
type Heard = HashMap<String, (Found, Instant)>;

#[derive(Debug, Default)]
struct Table {
    heard: Mutex<Heard>,
    turn: AtomicUsize,
}

impl Table {
    fn hear(&self, found: Found) {
        if let Ok(mut heard) = self.heard.lock() {
            heard.insert(found.instance.clone(), (found, Instant::now()));
        }
    }

    /// Who said something within ten heartbeats, by name.
    fn alive(&self) -> Vec<Found> {
        let Ok(heard) = self.heard.lock() else { return Vec::new() };
        let mut alive: Vec<Found> = heard
            .values()
            .filter(|(_, when)| when.elapsed() < 10 * HEARTBEAT)
            .map(|(found, _)| found.clone())
            .collect();
        alive.sort_by(|one, other| one.instance.cmp(&other.instance));
        alive
    }

    /// One of a component's, in turn.
    fn pick(&self, component: &str, turn: usize) -> Result<Found, Failed> {
        let mut alive = self.alive();
        alive.retain(|found| found.component == component);
        let at = turn
            .checked_rem(alive.len())
            .ok_or_else(|| Failed::new("Unavailable", format!("no {component} worker is there")))?;
        Ok(alive.swap_remove(at))
    }
}

pub(crate) async fn serve(place: Place) -> anyhow::Result<()> {
    let table = Arc::new(Table::default());
    let place = Arc::new(place);
    let mut told = place.nats.subscribe(REGISTER).await?;
    let mut asked = place.nats.subscribe(SELECT).await?;
    let mut looked = place.nats.subscribe(INSTANCES).await?;
    loop {
        tokio::select! {
            Some(message) = told.next() => {
                if let Ok(found) = serde_json::from_slice(&message.payload) {
                    table.hear(found);
                }
            }
            Some(message) = asked.next() => drop(tokio::spawn(route(Arc::clone(&place), Arc::clone(&table), message))),
            Some(message) = looked.next() => {
                let answer = write_answer(&Ok(json!(table.alive())));
                if let Some(reply) = message.reply {
                    place.nats.publish(reply, answer.into()).await?;
                }
            }
            else => return Ok(()),
        }
    }
}

async fn route(place: Arc<Place>, table: Arc<Table>, message: Message) {
    let Some(reply) = message.reply else { return };
    let flow = Flow::accept(&message.headers.unwrap_or_default(), "route");
    let done = in_flow(&flow, select(&place, &table)).await;
    let (handle, answer) = (flow.handle(), write_answer(&done));
    let _ = ended(done, flow);
    let mut headers = HeaderMap::new();
    handle.answer(&mut headers);
    let _ = place.nats.publish_with_headers(reply, headers, answer.into()).await;
}

async fn select(place: &Place, table: &Table) -> Result<Value, Failed> {
    let flow = current().unwrap_or_default();
    flow.state("select_worker");
    place.faulty.strike().await?;
    let turn = table.turn.fetch_add(1, Ordering::Relaxed);
    let (prefill, decode) = (table.pick("prefill", turn)?, table.pick("decode", turn)?);
    let (kvbm, nixl) = (table.pick("kvbm", 0)?, table.pick("nixl", 0)?);
    state!(
        flow,
        "selected",
        prefill_worker_id = prefill.instance.clone(),
        decode_worker_id = decode.instance.clone()
    );
    Ok(json!({"prefill": prefill, "decode": decode, "kvbm": kvbm, "nixl": nixl}))
}
