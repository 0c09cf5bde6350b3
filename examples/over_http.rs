//! A frontend and a worker, two real processes over HTTP that share one flow.
//!
//! The `tower` layers are all that this needs.
//!
//! `cargo run -p dynamo-flowlog --features tower --example over_http -- OUT && flowlog-analyze OUT`

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use dynamo_flowlog::tower::{ClientLayer, ServerLayer};
use dynamo_flowlog::{Emitter, EmitterGuard, Failure, Flow, FlowFutureExt, Sink, current};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower_layer::Layer;
use tower_service::Service;

type Anything = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Anything> {
    let mut arguments = std::env::args().skip(1);
    let (first, second) = (arguments.next().ok_or("missing log folder")?, arguments.next());
    match second.as_deref() {
        Some("worker") => worker(Path::new(&first)).await,
        _ => frontend(Path::new(&first)).await,
    }
}

fn install(component: &str, out: &Path) -> Result<EmitterGuard, Anything> {
    let log = out.join(format!("{component}.log"));
    Ok(Emitter::builder(component)
        .instance(format!("{component}-0"))
        .version("example", "0.1.0")
        .sink(Sink::file(log))
        .install()?)
}

/// Starts a worker and sends requests to it.
async fn frontend(out: &Path) -> Result<(), Anything> {
    let _installed = install("frontend", out)?;
    let scaling = Flow::start("worker_start");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(out).arg("worker").stdout(Stdio::piped());
    // The worker continues this flow.
    scaling.inject(&mut command);
    let mut worker = command.spawn()?;
    let mut address = String::new();
    BufReader::new(worker.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    scaling.end();

    let client = ClientLayer::new("generate")
        .layer(Client::builder(TokioExecutor::new()).build_http::<Body>());
    for tokens in [3, 700] {
        let flow = Flow::start("chat_completion");
        let mut client = client.clone();
        let request = Request::post(format!("http://{}/generate", address.trim()))
            .body(Body::from(tokens.to_string()))?;
        let answered = async {
            let (head, body) = client.call(request).await?.into_parts();
            Ok::<_, Anything>((head.status, body.collect().await?.to_bytes()))
        }
        .in_flow(&flow);
        match answered.await {
            Ok((status, _)) if status.is_success() => flow.end(),
            Ok((_, words)) => flow.fail_with("Unavailable", &String::from_utf8_lossy(&words)),
            Err(error) => flow.fail(error.as_ref()),
        }
    }
    worker.kill()?;
    worker.wait()?;
    Ok(())
}

/// Serves requests for tokens, and rejects those for more than 512.
async fn worker(out: &Path) -> Result<(), Anything> {
    let _installed = install("worker", out)?;
    let start = Flow::inherit("worker_start");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let app = Router::new().route("/generate", post(generate)).layer(ServerLayer::new("generate"));
    #[expect(clippy::print_stdout, reason = "the frontend waits for this line")]
    {
        println!("{}", listener.local_addr()?);
    }
    start.end();
    Ok(axum::serve(listener, app).await?)
}

async fn generate(tokens: String) -> Response {
    let tokens: u32 = tokens.parse().unwrap_or_default();
    dynamo_flowlog::state!(current().unwrap_or_default(), "decode", tokens = tokens);
    if tokens > 512 {
        let error = std::io::Error::other("ResourceExhausted: no KV block is free");
        let mut answer = (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response();
        // The cause of the failure, for the layer that ends the flow.
        answer.extensions_mut().insert(Failure::of(&error));
        return answer;
    }
    "token ".repeat(tokens as usize).into_response()
}
