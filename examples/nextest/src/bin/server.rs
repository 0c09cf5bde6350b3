//! Server that a test starts: it joins the test's flow, and waits to be stopped.
#![expect(clippy::print_stdout, reason = "the test waits for this line")]

use std::time::Duration;

use dynamo_flowlog::{Emitter, Flow, InstallError};

fn main() -> Result<(), InstallError> {
    let _installed = Emitter::from_env("prefill").instance("prefill-0").install()?;
    let flow = Flow::inherit("generate");
    flow.state("prefill");
    println!("ready");
    std::thread::sleep(Duration::from_secs(60));
    flow.end();
    Ok(())
}
