//! Common parts of all components: identity, registration and shutdown.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use dynamo_flowlog::{Emitter, EmitterGuard, Flow};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::fault::{Faulty, Switch};
use crate::{frontend, kvbm, nixl, planner, router, worker};

/// Identity of a component's process.
#[derive(Debug, Clone, Args)]
pub struct Identity {
    /// Component and number of the instance: `prefill-0`
    pub instance: String,
    /// URL of NATS
    #[arg(long)]
    pub nats: String,
    /// Fault and instance
    #[arg(long)]
    pub fault: Option<Switch>,
}

impl Identity {
    /// Returns `prefill` for `prefill-0`.
    pub fn component(&self) -> &str {
        self.instance.rsplit_once('-').map_or(&*self.instance, |(component, _)| component)
    }
}

/// Address of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) component: String,
    pub(crate) instance: String,
    pub(crate) address: String,
}

/// Resources of a component.
pub(crate) struct Service {
    pub(crate) identity: Identity,
    pub(crate) nats: async_nats::Client,
    pub(crate) listener: TcpListener,
    pub(crate) faulty: Faulty,
}

/// Subject on which components publish their address.
pub(crate) const REGISTER: &str = "register";

/// Interval between publications; instances silent for ten intervals are considered gone.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);

/// Runs one component until it receives SIGTERM.
///
/// # Errors
/// Returns an error if the component cannot start or fails.
pub fn be(identity: &Identity) -> anyhow::Result<()> {
    let emitter = Emitter::from_env(identity.component()).instance(&identity.instance);
    let installed = emitter
        .version("prime-path", env!("CARGO_PKG_VERSION"))
        .sample_interval(Duration::from_millis(250))
        .install()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(work(identity, &installed));
    // Dropping the runtime drops all unfinished work, and its flows are recorded as abandoned.
    drop(runtime);
    done
}

async fn work(identity: &Identity, installed: &EmitterGuard) -> anyhow::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    // The process may have been started as part of a flow.
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
    let service = Service { identity: identity.clone(), nats: nats.clone(), listener, faulty };
    let serve = async {
        match found.component.as_str() {
            "frontend" => frontend::serve(service).await,
            "router" => router::serve(service).await,
            "planner" => planner::serve(service).await,
            "prefill" => worker::prefill(service).await,
            "decode" => worker::decode(service).await,
            "kvbm" => kvbm::serve(service, installed).await,
            "nixl" => nixl::serve(service).await,
            other => anyhow::bail!("unknown component `{other}`"),
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
    let registration = serde_json::to_vec(found).unwrap_or_default();
    while nats.publish(REGISTER, registration.clone().into()).await.is_ok() {
        tokio::time::sleep(HEARTBEAT).await;
    }
}
