//! Communication between components: HTTP, NATS, and lines of JSON over TCP. Each propagates the
//! flow in its own headers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use dynamo_flowlog::tower::{Client, ClientLayer, FlowBody};
use dynamo_flowlog::{Context, Failure, Flow, FlowFutureExt, current};
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

/// Maximum time that a caller waits for a response.
pub(crate) const DEADLINE: Duration = Duration::from_millis(1_500);

/// Error in the form `Type: message`, with a Dynamo error type.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    kind: String,
    message: String,
}

impl Failed {
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into() }
    }

    /// Parses an error of another component from its displayed form.
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

/// Awaits a response until the deadline.
pub(crate) async fn in_time<T>(
    origin: &str,
    answer: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let late = |_| {
        Failed::new(
            "ResponseTimeout",
            format!("{origin} did not answer within {} ms", DEADLINE.as_millis()),
        )
    };
    tokio::time::timeout(DEADLINE, answer).await.map_err(late)?
}

/// HTTP client that makes each call as a child span of the current flow.
#[derive(Debug, Clone)]
pub(crate) struct Http(Client<Hyper<HttpConnector, Body>>);

/// Response body that ends the flow of its call.
pub(crate) type Answered = FlowBody<hyper::body::Incoming>;

impl Http {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self(
            ClientLayer::new(kind)
                .layer(Hyper::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http()),
        )
    }

    /// Sends JSON, and returns the body of a successful response.
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

/// Reads a body to its end.
pub(crate) async fn whole(origin: &str, body: Answered) -> Result<Vec<u8>, Failed> {
    let lost = |error: hyper::Error| Failed::new("Disconnected", format!("{origin}: {error}"));
    Ok(body.collect().await.map_err(lost)?.to_bytes().to_vec())
}

/// Sends a request over NATS, in a span of its own.
pub(crate) async fn ask(
    nats: &async_nats::Client,
    subject: &'static str,
    kind: &'static str,
) -> Result<Value, Failed> {
    let call = current().unwrap_or_default().child(kind);
    let mut headers = HeaderMap::new();
    call.inject(&mut headers);
    let asked = async {
        let lost = |error: async_nats::RequestError| {
            Failed::new("Unavailable", format!("{subject}: {error}"))
        };
        let answer = nats.request_with_headers(subject, headers, "".into()).await.map_err(lost)?;
        if let Some(clock) = answer.headers.as_ref().and_then(Context::clock_of) {
            call.merge_clock(clock);
        }
        read_answer(&answer.payload)
    };
    ended(asked.await, call)
}

/// Ends a flow with the result of its work.
pub(crate) fn ended<T>(done: Result<T, Failed>, flow: Flow) -> Result<T, Failed> {
    match &done {
        Ok(_) => flow.end(),
        Err(error) => flow.fail(error),
    }
    done
}

/// Result in a response: `{"ok": ...}` or `{"error": "Type: message"}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Ok(Value),
    Error(String),
}

fn read_answer(json: &[u8]) -> Result<Value, Failed> {
    match serde_json::from_slice(json) {
        Ok(Reply::Ok(value)) => Ok(value),
        Ok(Reply::Error(words)) => Err(Failed::parse(&words)),
        Err(error) => Err(Failed::new("BackendProtocol", error.to_string())),
    }
}

/// Encodes a response.
pub(crate) fn write_answer(done: &Result<Value, Failed>) -> Vec<u8> {
    let reply = match done {
        Ok(value) => Reply::Ok(value.clone()),
        Err(error) => Reply::Error(error.to_string()),
    };
    serde_json::to_vec(&reply).unwrap_or_default()
}

/// Request over TCP: one line, with headers of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    headers: HashMap<String, String>,
    body: Value,
}

/// Response over TCP: one line.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    headers: HashMap<String, String>,
    #[serde(flatten)]
    reply: Reply,
}

/// Sends a request over TCP, in a span of its own.
pub(crate) async fn send(address: &str, kind: &'static str, body: Value) -> Result<Value, Failed> {
    let call = current().unwrap_or_default().child(kind);
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
            return Err(Failed::new("Disconnected", format!("{address} closed the connection")));
        }
        let answer: Answer = serde_json::from_str(&answer)
            .map_err(|error| Failed::new("BackendProtocol", error.to_string()))?;
        if let Some(clock) = Context::clock_of(&answer.headers) {
            call.merge_clock(clock);
        }
        match answer.reply {
            Reply::Ok(value) => Ok(value),
            Reply::Error(words) => Err(Failed::parse(&words)),
        }
    };
    ended(asked.await, call)
}

/// Serves requests over TCP, each in its own flow.
pub(crate) async fn respond<W, F>(listener: TcpListener, kind: &'static str, work: W)
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
            let done = work(asked.body).in_flow(&flow).await;
            let handle = flow.handle();
            let reply = match ended(done, flow) {
                Ok(value) => Reply::Ok(value),
                Err(error) => Reply::Error(error.to_string()),
            };
            let mut headers = HashMap::new();
            handle.inject_response(&mut headers);
            let mut line = serde_json::to_vec(&Answer { headers, reply }).unwrap_or_default();
            line.push(b'\n');
            // The caller may be gone.
            let _ = stream.get_mut().write_all(&line).await;
        });
    }
}
