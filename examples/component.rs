//! A component in twenty lines: its identity, its flows, and their outcomes.
//!
//! Run `FLOWLOG_SINK=file:worker.log cargo run -p dynamo-flowlog --example component`, then
//! `flowlog-analyze worker.log`.

use std::io::{Error, ErrorKind};

use dynamo_flowlog::{Emitter, Flow, current, state};

fn main() -> Result<(), dynamo_flowlog::InstallError> {
    let _installed =
        Emitter::from_env("backend").instance("backend-0").version("dynamo", "1.6.1").install()?;
    for request in 0..3 {
        let flow = Flow::start("chat_completion");
        match flow.run(|| generate(request)) {
            Ok(tokens) => flow.end_with(&[("tokens", tokens.into())]),
            Err(error) => flow.fail(&error),
        }
    }
    Ok(())
}

fn generate(request: u32) -> Result<u32, Error> {
    let flow = current().unwrap_or_default();
    state!(flow, "prefill", request = request, queue_depth = 0);
    flow.state("decode");
    if request == 2 {
        Err(Error::new(ErrorKind::OutOfMemory, "ResourceExhausted: no KV block is free"))
    } else {
        Ok(17)
    }
}
