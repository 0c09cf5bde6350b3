//! Backend that serves an endpoint and joins the flow of each request.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use dynamo_flowlog::{Emitter, Flow};
use dynamo_runtime::pipeline::network::Ingress;
use dynamo_runtime::pipeline::{
    AsyncEngine, AsyncEngineContextProvider, Error, ManyOut, ResponseStream, SingleIn, async_trait,
};
use dynamo_runtime::protocols::annotated::Annotated;
use dynamo_runtime::{DistributedRuntime, Runtime, Worker, logging, stream};

struct Echo;

/// Maximum length of a prompt, in bytes.
const MAX_PROMPT_BYTES: usize = 64;

#[async_trait]
impl AsyncEngine<SingleIn<String>, ManyOut<Annotated<String>>, Error> for Echo {
    async fn generate(&self, input: SingleIn<String>) -> Result<ManyOut<Annotated<String>>, Error> {
        let (text, context) = input.into_parts();
        // Dynamo's span `handle_payload` is entered here; its trace headers are our caller's.
        let mut headers = HashMap::new();
        logging::inject_trace_headers_into_map(&mut headers);
        let flow = Flow::accept(&headers, "generate");
        flow.state("prefill");
        if text.len() > MAX_PROMPT_BYTES {
            let error =
                anyhow::anyhow!("ResourceExhausted: no KV block is free for {} bytes", text.len());
            flow.fail::<dyn std::error::Error + Send + Sync>(error.as_ref());
            return Err(error);
        }
        flow.state("decode");
        let words: Vec<_> =
            text.split(' ').map(|word| Annotated::from_data(word.to_owned())).collect();
        flow.end_with(&[("tokens", words.len().into())]);
        Ok(ResponseStream::new(Box::pin(stream::iter(words)), context.context()))
    }
}

pub(crate) fn main() -> anyhow::Result<()> {
    logging::init();
    let _installed = Emitter::from_env("backend")
        .instance("backend-0")
        .version("dynamo-runtime", "1.6.1")
        .install()?;
    Worker::from_settings()?.execute(serve)?;
    // Dynamo has no API to flush its exporters.
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent process waits for this line")]
async fn serve(runtime: Runtime) -> anyhow::Result<()> {
    let start = Flow::inherit("worker_start");
    start.state("connect");
    let runtime = DistributedRuntime::from_settings(runtime).await?;
    let endpoint = runtime.namespace("flowlog")?.component("backend")?.endpoint("generate");
    start.state("register");
    let started = endpoint
        .endpoint_builder()
        .handler(Ingress::for_engine(Arc::new(Echo))?)
        .start_with_registration()
        .await?;
    start.end();
    println!("ready {}", started.instance().instance_id);
    started.wait().await
}
