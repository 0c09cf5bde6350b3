//! Frontend. Its flow is the trace that Dynamo's router and backend continue.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use dynamo_flowlog::{Emitter, Flow, FlowHandle};
use dynamo_runtime::logging::{self, DistributedTraceContext};
use dynamo_runtime::pipeline::{AsyncEngine, Context, PushRouter, RouterMode};
use dynamo_runtime::protocols::annotated::Annotated;
use dynamo_runtime::stream::StreamExt;
use dynamo_runtime::{DistributedRuntime, Runtime, Worker};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;

type Router = PushRouter<String, Annotated<String>>;

pub(crate) fn main() -> anyhow::Result<()> {
    logging::init();
    let _installed = Emitter::from_env("frontend")
        .instance("frontend-0")
        .version("dynamo-runtime", "1.6.1")
        .install()?;
    Worker::from_settings()?.execute(ask)?;
    // Dynamo has no API to flush its exporters.
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command-line program prints to stdout")]
async fn ask(runtime: Runtime) -> anyhow::Result<()> {
    let runtime = DistributedRuntime::from_settings(runtime).await?;
    let client =
        runtime.namespace("flowlog")?.component("backend")?.endpoint("generate").client().await?;
    client.wait_for_routable_instances().await?;
    let router = Router::from_client(client, RouterMode::RoundRobin).await?;
    for prompt in ["which component failed first".to_owned(), "and who owns it ".repeat(8)] {
        let flow = Flow::start("chat_completion");
        let flow_id = flow.flow_id().context("no emitter is installed")?;
        match generate(&router, &prompt, span(&flow)?).await {
            Ok(words) => {
                flow.end_with(&[("tokens", words.into())]);
                println!("{flow_id} {words} tokens");
            }
            Err(error) => {
                println!("{flow_id} {error}");
                flow.fail::<dyn std::error::Error + Send + Sync>(error.as_ref());
            }
        }
    }
    runtime.shutdown();
    Ok(())
}

async fn generate(router: &Router, prompt: &str, span: tracing::Span) -> anyhow::Result<usize> {
    let work = async {
        let mut answers = router.generate(Context::new(prompt.to_owned())).await?;
        let mut words = 0;
        while let Some(answer) = answers.next().await {
            answer.into_result()?;
            words += 1;
        }
        Ok(words)
    };
    work.instrument(span).await
}

/// Creates a span in which Dynamo's requests continue our flow. Dynamo's logging layer takes the
/// IDs from the fields, its tracing layer from the parent.
///
/// The flags must be 00 or 01, because Dynamo's propagator does not know those of W3C Trace Context
/// level 2.
fn span(flow: &FlowHandle) -> anyhow::Result<tracing::Span> {
    let context = flow.context().context("no emitter is installed")?;
    let trace_id = context.flow_id.trace_id().to_string();
    let parent_id = context.span_id.context("the flow has no span")?.to_string();
    let is_sampled = context.flags.is_some_and(dynamo_flowlog::TraceFlags::is_sampled);
    let trace_flags = if is_sampled { "01" } else { "00" };
    // There is no other way to construct one.
    let ids =
        serde_json::json!({"trace_id": trace_id, "span_id": parent_id, "trace_flags": trace_flags});
    let parent: DistributedTraceContext = serde_json::from_value(ids)?;
    let span = tracing::info_span!(target: "request_span", "flow_request", otel.kind = "client", trace_id, parent_id, trace_flags);
    span.set_parent(
        logging::otel_parent_context_from_distributed(&parent)
            .context("Dynamo rejected the IDs")?,
    )?;
    Ok(span)
}
