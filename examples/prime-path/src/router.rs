//! Router: tracks the live instances, and picks a prefill and a decode worker for each request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_nats::{HeaderMap, Message};
use dynamo_flowlog::{Flow, FlowFutureExt, current, state};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::component::{Found, HEARTBEAT, REGISTER, Service};
use crate::wire::{Failed, ended, write_answer};

/// Subject of requests for a selection of workers.
pub(crate) const SELECT: &str = "router.select";

/// Subject of requests for the live instances.
pub(crate) const INSTANCES: &str = "router.instances";

/// Instances and the time of their last heartbeat, by name.
type Registry = HashMap<String, (Found, Instant)>;

#[derive(Debug, Default)]
struct Table {
    registry: Mutex<Registry>,
    turn: AtomicUsize,
}

impl Table {
    fn register(&self, found: Found) {
        if let Ok(mut registry) = self.registry.lock() {
            registry.insert(found.instance.clone(), (found, Instant::now()));
        }
    }

    /// Returns the instances with a heartbeat within the last ten intervals, sorted by name.
    fn alive(&self) -> Vec<Found> {
        let Ok(registry) = self.registry.lock() else { return Vec::new() };
        let mut alive: Vec<Found> = registry
            .values()
            .filter(|(_, when)| when.elapsed() < 10 * HEARTBEAT)
            .map(|(found, _)| found.clone())
            .collect();
        alive.sort_by(|one, other| one.instance.cmp(&other.instance));
        alive
    }

    /// Picks one of a component's instances, round-robin.
    fn pick(&self, component: &str, turn: usize) -> Result<Found, Failed> {
        let mut alive = self.alive();
        alive.retain(|found| found.component == component);
        let at = turn.checked_rem(alive.len()).ok_or_else(|| {
            Failed::new("Unavailable", format!("no {component} worker is available"))
        })?;
        Ok(alive.swap_remove(at))
    }
}

pub(crate) async fn serve(service: Service) -> anyhow::Result<()> {
    let table = Arc::new(Table::default());
    let service = Arc::new(service);
    let mut registration = service.nats.subscribe(REGISTER).await?;
    let mut asked = service.nats.subscribe(SELECT).await?;
    let mut last_check = service.nats.subscribe(INSTANCES).await?;
    loop {
        tokio::select! {
            Some(message) = registration.next() => {
                if let Ok(found) = serde_json::from_slice(&message.payload) {
                    table.register(found);
                }
            }
            Some(message) = asked.next() => drop(tokio::spawn(route(Arc::clone(&service), Arc::clone(&table), message))),
            Some(message) = last_check.next() => {
                let answer = write_answer(&Ok(json!(table.alive())));
                if let Some(reply) = message.reply {
                    service.nats.publish(reply, answer.into()).await?;
                }
            }
            else => return Ok(()),
        }
    }
}

async fn route(service: Arc<Service>, table: Arc<Table>, message: Message) {
    let Some(reply) = message.reply else { return };
    let flow = Flow::accept(&message.headers.unwrap_or_default(), "route");
    let done = select(&service, &table).in_flow(&flow).await;
    let (handle, answer) = (flow.handle(), write_answer(&done));
    let _ = ended(done, flow);
    let mut headers = HeaderMap::new();
    handle.inject_response(&mut headers);
    let _ = service.nats.publish_with_headers(reply, headers, answer.into()).await;
}

async fn select(service: &Service, table: &Table) -> Result<Value, Failed> {
    let flow = current().unwrap_or_default();
    flow.state("select_worker");
    service.faulty.strike().await?;
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
