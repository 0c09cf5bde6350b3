//! The planner: sees that there is one decode worker too few, and starts it.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use dynamo_flowlog::{Flow, FlowHandle, in_flow, state};

use crate::component::{Found, Place};
use crate::router::INSTANCES;
use crate::wire::{Failed, ask, ended, in_time};

/// Decode workers that are wanted.
const WANTED: usize = 2;

pub(crate) async fn serve(place: Place) -> anyhow::Result<()> {
    let flow = Flow::start("scaling");
    let handle = flow.handle();
    let done = in_flow(&handle, scale(&place, &handle)).await;
    ended(done, flow).context("failed to scale")?;
    // There is nothing else to decide.
    std::future::pending().await
}

async fn scale(place: &Place, flow: &FlowHandle) -> Result<(), Failed> {
    flow.state("observe");
    let replicas = loop {
        let count = count(place).await?;
        if count > 0 {
            break count;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    state!(flow, "decide", replicas = replicas, wanted = WANTED);
    place.faulty.strike().await?;
    for number in replicas..WANTED {
        let failed = |error: std::io::Error| {
            Failed::new("Internal", format!("failed to start a worker: {error}"))
        };
        let instance = format!("decode-{number}");
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["component", &instance, "--nats", &place.identity.nats]);
        if let Ok(sink) = std::env::var("FLOWLOG_SINK") {
            command.env("FLOWLOG_SINK", sink.replace(&place.identity.instance, &instance));
        }
        if let Some(fault) = &place.identity.fault {
            command.args(["--fault", &fault.to_string()]);
        }
        flow.inject(&mut command);
        state!(flow, "start_worker", worker_id = instance);
        // It stops when the planner's group of processes is told to.
        command.spawn().map_err(failed)?;
    }
    flow.state("await_worker");
    while count(place).await? < WANTED {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Decode workers that are there; none while nobody answers.
async fn count(place: &Place) -> Result<usize, Failed> {
    let Ok(found) = in_time("router", ask(&place.nats, INSTANCES, "instances")).await else {
        return Ok(0);
    };
    let found: Vec<Found> = serde_json::from_value(found)
        .map_err(|error| Failed::new("BackendProtocol", error.to_string()))?;
    Ok(found.iter().filter(|found| found.component == "decode").count())
}
