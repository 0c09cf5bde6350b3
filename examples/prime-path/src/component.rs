//! What all components have in common: a name, a place where they are found, and an end.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use dynamo_flowlog::{Emitter, Flow, Installed};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::fault::{Faulty, Switch};
use crate::{frontend, kvbm, nixl, planner, router, worker};

/// Which component a process is.
#[derive(Debug, Clone, Args)]
pub struct Identity {
    /// `prefill-0`: the component, and which of several alike
    pub instance: String,
    /// Where NATS is
    #[arg(long)]
    pub nats: String,
    /// What goes wrong where
    #[arg(long)]
    pub fault: Option<Switch>,
}

impl Identity {
    /// `prefill` of `prefill-0`.
    pub fn component(&self) -> &str {
        self.instance.rsplit_once('-').map_or(&*self.instance, |(component, _)| component)
    }
}

/// Where a component is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) component: String,
    pub(crate) instance: String,
    pub(crate) address: String,
}

/// What a component works with.
pub(crate) struct Place {
    pub(crate) identity: Identity,
    pub(crate) nats: async_nats::Client,
    pub(crate) listener: TcpListener,
    pub(crate) faulty: Faulty,
}

/// The subject on which components say where they are.
pub(crate) const REGISTER: &str = "register";

/// How often they do: who is silent for much longer is gone.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);

/// Is one component until it is told to stop.
///
/// # Errors
/// Where it cannot start.
pub fn be(identity: &Identity) -> anyhow::Result<()> {
    let emitter = Emitter::from_environment(identity.component()).instance(&identity.instance);
    let installed = emitter
        .version("prime-path", env!("CARGO_PKG_VERSION"))
        .samples(Duration::from_millis(250))
        .install()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(work(identity, &installed));
    // Whatever still works is dropped with it, and says so.
    drop(runtime);
    done
}

async fn work(identity: &Identity, installed: &Installed) -> anyhow::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    // Whoever started the process may have had a flow to do it in.
    let start = Flow::inherit("worker_start");
    start.state("connect");
    let nats = async_nats::connect(&identity.nats)
        .await
        .with_context(|| format!("failed to reach NATS at {}", identity.nats))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    start.state("load_model");
    tokio::time::sleep(Duration::from_millis(30)).await;
    let found = Found {
        component: identity.component().to_owned(),
        instance: identity.instance.clone(),
        address: listener.local_addr()?.to_string(),
    };
    let faulty = Faulty::of(identity.fault.as_ref(), &identity.instance);
    let place = Place { identity: identity.clone(), nats: nats.clone(), listener, faulty };
    let serve = async {
        match found.component.as_str() {
            "frontend" => frontend::serve(place).await,
            "router" => router::serve(place).await,
            "planner" => planner::serve(place).await,
            "prefill" => worker::prefill(place).await,
            "decode" => worker::decode(place).await,
            "kvbm" => kvbm::serve(place, installed).await,
            "nixl" => nixl::serve(place).await,
            other => anyhow::bail!("`{other}` is no component"),
        }
    };
    start.state("register");
    start.end();
    tokio::select! {
        done = serve => done,
        () = register(&nats, &found) => Ok(()),
        _ = stop.recv() => Ok(()),
    }
}

async fn register(nats: &async_nats::Client, found: &Found) {
    let told = serde_json::to_vec(found).unwrap_or_default();
    while nats.publish(REGISTER, told.clone().into()).await.is_ok() {
        tokio::time::sleep(HEARTBEAT).await;
    }
}
