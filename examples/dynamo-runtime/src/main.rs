//! Two processes on the published `dynamo-runtime` crate: a frontend that sends requests through
//! Dynamo's router, and a backend that answers them.
//!
//! Dynamo logs and traces as usual. In addition, both processes emit flowlog records of their work.
//! All of it shares one ID.
//!
//! `cargo run -- OUT` runs both, and leaves their logs in `OUT`.

mod backend;
mod frontend;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("backend") => backend::main(),
        Some("frontend") => frontend::main(),
        Some(out) => run(Path::new(out)),
        None => bail!("missing log folder; usage: `cargo run -- OUT`"),
    }
}

/// Runs a backend, and a frontend until it exits.
fn run(out: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("failed to create `{}`", out.display()))?;
    let store = std::env::temp_dir().join(format!("flowlog-dynamo-{}", std::process::id()));
    let start = |role: &str| -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        // Dynamo on one machine: discovery by files, requests over TCP. Dynamo only logs trace IDs
        // with JSONL or OTLP.
        command
            .arg(role)
            .env_remove("NATS_SERVER")
            .env("DYN_DISCOVERY_BACKEND", "file")
            .env("DYN_FILE_KV", &store);
        command
            .env("DYN_REQUEST_PLANE", "tcp")
            .env("DYN_EVENT_PLANE", "zmq")
            .env("DYN_LOGGING_JSONL", "1");
        command
            .env("DYN_TCP_RPC_HOST", "127.0.0.1")
            .env("DYN_TCP_RESPONSE_STREAM_HOST", "127.0.0.1");
        command
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .env("OTEL_BLRP_SCHEDULE_DELAY", "100")
            .env("OTEL_SERVICE_NAME", role);
        // Both write to the stream that Dynamo logs to, as in a container's log.
        command
            .env("FLOWLOG_SINK", "stderr")
            .stderr(File::create(out.join(format!("{role}.log")))?);
        Ok(command)
    };
    let mut backend = start("backend")?.stdout(Stdio::piped()).spawn()?;
    let output = backend.stdout.take().context("the backend has no output")?;
    let mut ready = String::new();
    BufReader::new(output).read_line(&mut ready)?;
    if ready.is_empty() {
        bail!("the backend did not start: see `{}`", out.join("backend.log").display());
    }
    let frontend = start("frontend")?.status();
    Command::new("kill").arg(backend.id().to_string()).status()?;
    backend.wait()?;
    let _ = fs::remove_dir_all(PathBuf::from(&store));
    if !frontend?.success() {
        bail!("the frontend failed: see `{}`", out.join("frontend.log").display());
    }
    Ok(())
}
