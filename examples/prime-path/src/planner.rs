//! Planner: notices that a decode worker is missing, and starts one.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use dynamo_flowlog::{Flow, FlowFutureExt, FlowHandle, state};

use crate::component::{Found, Service};
use crate::router::INSTANCES;
use crate::wire::{Failed, ask, ended, in_time};

/// Desired number of decode workers.
const DESIRED_WORKERS: usize = 2;

pub(crate) async fn serve(service: Service) -> anyhow::Result<()> {
    let flow = Flow::start("scaling");
    let handle = flow.handle();
    let done = scale(&service, &handle).in_flow(&handle).await;
    ended(done, flow).context("failed to scale")?;
    // Nothing else remains to be decided.
    std::future::pending().await
}

async fn scale(service: &Service, flow: &FlowHandle) -> Result<(), Failed> {
    flow.state("observe");
    let replicas = loop {
        let count = count(service).await?;
        if count > 0 {
            break count;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    state!(flow, "decide", replicas = replicas, wanted = DESIRED_WORKERS);
    service.faulty.strike().await?;
    for number in replicas..DESIRED_WORKERS {
        let failed = |error: std::io::Error| {
            Failed::new("Internal", format!("failed to start a worker: {error}"))
        };
        let instance = format!("decode-{number}");
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["component", &instance, "--nats", &service.identity.nats]);
        if let Ok(sink) = std::env::var("FLOWLOG_SINK") {
            command.env("FLOWLOG_SINK", sink.replace(&service.identity.instance, &instance));
        }
        if let Some(fault) = &service.identity.fault {
            command.args(["--fault", &fault.to_string()]);
        }
        flow.inject(&mut command);
        state!(flow, "start_worker", worker_id = instance);
        // The worker stops with the planner's process group.
        command.spawn().map_err(failed)?;
    }
    flow.state("await_worker");
    while count(service).await? < DESIRED_WORKERS {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Returns the number of live decode workers, or 0 if the router does not answer.
async fn count(service: &Service) -> Result<usize, Failed> {
    let Ok(found) = in_time("router", ask(&service.nats, INSTANCES, "instances")).await else {
        return Ok(0);
    };
    let found: Vec<Found> = serde_json::from_value(found)
        .map_err(|error| Failed::new("BackendProtocol", error.to_string()))?;
    Ok(found.iter().filter(|found| found.component == "decode").count())
}
