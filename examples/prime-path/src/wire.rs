//! How components speak to one another: HTTP, NATS, and lines of JSON over TCP. Each carries the flow in its own headers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use dynamo_flowlog::tower::{Client, ClientLayer, FlowBody};
use dynamo_flowlog::{Context, Failure, Flow, current, in_flow};
use http_body_util::BodyExt;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Hyper, Error as HyperError};
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer;
use tower_service::Service;

/// How long anybody waits for an answer.
pub(crate) const DEADLINE: Duration = Duration::from_millis(1_500);

/// Why something failed: `Type: message`, with Dynamo's types.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    kind: String,
    message: String,
}

impl Failed {
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into() }
    }

    /// What somebody else said, in the form in which it is shown.
    fn parse(text: &str) -> Self {
        let (kind, message) = text.split_once(": ").unwrap_or(("Unknown", text));
        Self::new(kind, message)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Failed {}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match self.kind.as_str() {
            "ResponseTimeout" => 504,
            "Unavailable" | "CannotConnect" | "Disconnected" => 503,
            "InvalidArgument" => 400,
            _ => 500,
        };
        let mut answer =
            (axum::http::StatusCode::from_u16(status).unwrap_or_default(), self.to_string())
                .into_response();
        answer.extensions_mut().insert(Failure::of(&self));
        answer
    }
}

/// Waits for an answer no longer than anybody does.
pub(crate) async fn in_time<T>(
    whose: &str,
    answer: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let late = |_| {
        Failed::new(
            "ResponseTimeout",
            format!("{whose} did not answer within {} ms", DEADLINE.as_millis()),
        )
    };
    tokio::time::timeout(DEADLINE, answer).await.map_err(late)?
}

/// An HTTP client whose calls are spans of the flow that makes them.
#[derive(Debug, Clone)]
pub(crate) struct Http(Client<Hyper<HttpConnector, Body>>);

/// A body that goes on with its flow.
pub(crate) type Answered = FlowBody<hyper::body::Incoming>;

impl Http {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self(
            ClientLayer::new(kind)
                .layer(Hyper::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http()),
        )
    }

    /// Sends JSON, and gives the body of an answer that is none of an error's.
    pub(crate) async fn post(&self, url: &str, body: &impl Serialize) -> Result<Answered, Failed> {
        let json = serde_json::to_vec(body)
            .map_err(|error| Failed::new("InvalidArgument", error.to_string()))?;
        let request = axum::http::Request::post(url)
            .header("content-type", "application/json")
            .body(Body::from(json));
        let request = request.map_err(|error| Failed::new("InvalidArgument", error.to_string()))?;
        let lost = |error: HyperError| {
            let kind = if error.is_connect() { "CannotConnect" } else { "Disconnected" };
            Failed::new(kind, format!("{url}: {error}"))
        };
        let answer = self.0.clone().call(request).await.map_err(lost)?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        let words = whole(url, answer.into_body()).await?;
        Err(Failed::parse(&String::from_utf8_lossy(&words)))
    }
}

/// All of a body.
pub(crate) async fn whole(whose: &str, body: Answered) -> Result<Vec<u8>, Failed> {
    let lost = |error: hyper::Error| Failed::new("Disconnected", format!("{whose}: {error}"));
    Ok(body.collect().await.map_err(lost)?.to_bytes().to_vec())
}

/// Asks over NATS, in a span of its own.
pub(crate) async fn ask(
    nats: &async_nats::Client,
    subject: &'static str,
    kind: &'static str,
) -> Result<Value, Failed> {
    let call = current().unwrap_or_default().call(kind);
    let mut headers = HeaderMap::new();
    call.inject(&mut headers);
    let asked = async {
        let lost = |error: async_nats::RequestError| {
            Failed::new("Unavailable", format!("{subject}: {error}"))
        };
        let answer = nats.request_with_headers(subject, headers, "".into()).await.map_err(lost)?;
        if let Some(clock) = answer.headers.as_ref().and_then(Context::clock_of) {
            call.receive(clock);
        }
        read_answer(&answer.payload)
    };
    ended(asked.await, call)
}

/// Ends a flow as its work ended.
pub(crate) fn ended<T>(done: Result<T, Failed>, flow: Flow) -> Result<T, Failed> {
    match &done {
        Ok(_) => flow.end(),
        Err(error) => flow.fail(error),
    }
    done
}

/// What is answered: `{"ok": ...}` or `{"error": "Type: message"}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Ok(Value),
    Error(String),
}

fn read_answer(json: &[u8]) -> Result<Value, Failed> {
    match serde_json::from_slice(json) {
        Ok(Told::Ok(value)) => Ok(value),
        Ok(Told::Error(words)) => Err(Failed::parse(&words)),
        Err(error) => Err(Failed::new("BackendProtocol", error.to_string())),
    }
}

/// An answer in the form in which it is sent.
pub(crate) fn write_answer(done: &Result<Value, Failed>) -> Vec<u8> {
    let told = match done {
        Ok(value) => Told::Ok(value.clone()),
        Err(error) => Told::Error(error.to_string()),
    };
    serde_json::to_vec(&told).unwrap_or_default()
}

/// A request over TCP: one line, with headers of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    headers: HashMap<String, String>,
    body: Value,
}

/// An answer over TCP: one line.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    headers: HashMap<String, String>,
    #[serde(flatten)]
    told: Told,
}

/// Asks over TCP, in a span of its own.
pub(crate) async fn tell(address: &str, kind: &'static str, body: Value) -> Result<Value, Failed> {
    let call = current().unwrap_or_default().call(kind);
    let mut headers = HashMap::new();
    call.inject(&mut headers);
    let asked = async {
        let lost = |kind: &'static str| {
            move |error: std::io::Error| Failed::new(kind, format!("{address}: {error}"))
        };
        let mut stream = TcpStream::connect(address).await.map_err(lost("CannotConnect"))?;
        let mut line = serde_json::to_vec(&Asked { headers, body }).unwrap_or_default();
        line.push(b'\n');
        stream.write_all(&line).await.map_err(lost("Disconnected"))?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await.map_err(lost("Disconnected"))?;
        if answer.is_empty() {
            return Err(Failed::new("Disconnected", format!("{address} hung up")));
        }
        let answer: Answer = serde_json::from_str(&answer)
            .map_err(|error| Failed::new("BackendProtocol", error.to_string()))?;
        if let Some(clock) = Context::clock_of(&answer.headers) {
            call.receive(clock);
        }
        match answer.told {
            Told::Ok(value) => Ok(value),
            Told::Error(words) => Err(Failed::parse(&words)),
        }
    };
    ended(asked.await, call)
}

/// Answers over TCP, each request in its flow.
pub(crate) async fn answer<W, F>(listener: TcpListener, kind: &'static str, work: W)
where
    W: Fn(Value) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Value, Failed>> + Send,
{
    let work = Arc::new(work);
    while let Ok((stream, _)) = listener.accept().await {
        let work = Arc::clone(&work);
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            if stream.read_line(&mut line).await.is_err() {
                return;
            }
            let Ok(asked) = serde_json::from_str::<Asked>(&line) else { return };
            let flow = Flow::accept(&asked.headers, kind);
            let done = in_flow(&flow, work(asked.body)).await;
            let handle = flow.handle();
            let told = match ended(done, flow) {
                Ok(value) => Told::Ok(value),
                Err(error) => Told::Error(error.to_string()),
            };
            let mut headers = HashMap::new();
            handle.answer(&mut headers);
            let mut line = serde_json::to_vec(&Answer { headers, told }).unwrap_or_default();
            line.push(b'\n');
            // Whoever asked may be gone.
            let _ = stream.get_mut().write_all(&line).await;
        });
    }
}
