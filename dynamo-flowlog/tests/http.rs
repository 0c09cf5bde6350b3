//! Flows over HTTP, from a hyper client to an axum server: outcomes on both sides.
#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::convert::Infallible;
use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dynamo_flowlog::tower::{ClientLayer, ServerLayer};
use dynamo_flowlog::{Emitter, Failure, FlowFutureExt, FlowHandle, Sink, current};
use flowlog_schema::{EventKind, Record, json};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower_layer::Layer;
use tower_service::Service;

/// Emitter of one side, and the folder with its log.
struct Side {
    emitter: Emitter,
    folder: tempfile::TempDir,
}

impl Side {
    fn new(component: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let emitter = Emitter::builder(component)
            .sink(Sink::file(folder.path().join("log")))
            .build()
            .unwrap();
        Self { emitter, folder }
    }

    fn records(&self) -> Vec<Record<'static>> {
        let log: &'static str =
            Box::leak(fs::read_to_string(self.folder.path().join("log")).unwrap().into_boxed_str());
        let records = log.lines().map(|line| json::decode(line.as_bytes()).unwrap().0);
        records.filter(|record| record.event != EventKind::Process).collect()
    }

    /// Returns the event, and the error type if any, of every record except starts.
    fn ended_records(&self) -> Vec<String> {
        let ended_records = |record: Record<'_>| {
            let kind =
                record.error.as_ref().map(|error| format!(" {}", error.kind)).unwrap_or_default();
            format!("{}{kind}", record.event.as_str())
        };
        self.records()
            .into_iter()
            .filter(|record| record.event != EventKind::Start)
            .map(ended_records)
            .collect()
    }

    /// Waits until a flow is open.
    async fn has_open_flow(&self) {
        while self.emitter.open_flows() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `flows` flows have ended, and returns their records.
    async fn ended(&self, flows: usize) -> Vec<String> {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_secs(120) {
            let ended_records = self.ended_records();
            if ended_records
                .iter()
                .filter(|ended_records| !ended_records.starts_with("state"))
                .count()
                >= flows
                && self.emitter.open_flows() == 0
            {
                return ended_records;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.ended_records());
    }
}

/// Stream of chunks that breaks, or never ends.
struct Chunks {
    left: u32,
    breaks: bool,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        if let Some(flow) = current() {
            flow.state("stream");
        }
        match self.left {
            0 if self.breaks => Poll::Ready(Some(Err(std::io::Error::other(
                "BackendEngineShutdown: the engine is gone",
            )))),
            0 => Poll::Pending,
            _ => {
                self.left -= 1;
                Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"token ")))))
            }
        }
    }
}

fn app(emitter: &Emitter) -> Router {
    let seen = |flow: Option<FlowHandle>| {
        flow.and_then(|flow| flow.flow_id()).map(|id| id.to_string()).unwrap_or_default()
    };
    Router::new()
        .route(
            "/id",
            get(move |request: Request| async move {
                let extension = seen(request.extensions().get::<FlowHandle>().cloned());
                assert_eq!(extension, seen(current()));
                current().unwrap().state("work");
                extension
            }),
        )
        .route(
            "/breaks",
            get(|| async { Response::new(Body::new(Chunks { left: 2, breaks: true })) }),
        )
        .route(
            "/hangs",
            get(|| async { Response::new(Body::new(Chunks { left: 1, breaks: false })) }),
        )
        .route(
            "/status/{code}",
            get(|axum::extract::Path(code): axum::extract::Path<u16>| async move {
                StatusCode::from_u16(code).unwrap()
            }),
        )
        .route(
            "/why",
            get(|| async {
                let mut answer = StatusCode::INTERNAL_SERVER_ERROR.into_response();
                answer.extensions_mut().insert(Failure::of(&std::io::Error::other(
                    "ResourceExhausted: no KV block is free",
                )));
                answer
            }),
        )
        .layer(ServerLayer::new("chat_completion").emitter(emitter))
}

/// Serves the app on loopback, and returns its address.
async fn serve(server: &Side) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let app = app(&server.emitter);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Sends a request, and returns the response read to its end.
async fn ask(client: &Side, uri: &str) -> Result<(StatusCode, HeaderMap, String), String> {
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let mut service = ClientLayer::new("generate").emitter(&client.emitter).layer(hyper);
    let request = http::Request::get(uri).body(Body::empty()).unwrap();
    let answer = service.call(request).await.map_err(|error| error.to_string())?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((head.status, head.headers, String::from_utf8(body.to_vec()).unwrap()))
}

#[tokio::test]
async fn a_request_is_one_flow_on_both_sides() {
    let (client, server) = (Side::new("router"), Side::new("backend"));
    let address = serve(&server).await;
    let flow = client.emitter.flow("chat_completion").start();
    let (status, headers, body) =
        ask(&client, &format!("{address}/id?key=secret")).in_flow(&flow).await.unwrap();
    let flow_id = flow.flow_id().unwrap();
    flow.end();
    assert_eq!((status.as_u16(), body), (200, flow_id.to_string()));
    assert!(headers["tracestate"].to_str().unwrap().starts_with("flowlog="));
    assert_eq!(server.ended(1).await, ["state", "end"]);
    assert_eq!(client.ended_records(), ["end", "end"]);
    let (client, server) = (client.records(), server.records());
    assert!(client.iter().chain(&server).all(|record| record.flow_id == Some(flow_id)));
    // The call has a span of its own, which is the parent of the callee's.
    let [root, call, ..] = client.as_slice() else { panic!() };
    assert_eq!((call.parent_id, server[0].parent_id), (root.span_id, call.span_id));
    assert_eq!(
        (call.flow.as_deref(), server[0].flow.as_deref()),
        (Some("generate"), Some("chat_completion"))
    );
    assert_eq!(
        (server[0].field("url.path"), server[0].field("http.request.method")),
        (Some(&"/id".into()), Some(&"GET".into()))
    );
    assert_eq!(server[2].field("http.response.status_code"), Some(&200.into()));
    // Client records after the response are ordered after server records before it.
    assert!(client[2].clock > server[1].clock && client[3].clock > client[2].clock);
}

#[tokio::test]
async fn response_determines_the_outcome() {
    for (path, there, here) in [
        ("status/404", "end", "end"),
        ("status/499", "cancel Cancelled", "cancel Cancelled"),
        ("status/429", "fail ResourceExhausted", "fail ResourceExhausted"),
        ("status/503", "fail Unavailable", "fail Unavailable"),
        ("status/504", "fail ResponseTimeout", "fail ResponseTimeout"),
        ("why", "fail ResourceExhausted", "fail Internal"),
        ("breaks", "state state state fail BackendEngineShutdown", "fail Disconnected"),
    ] {
        let (client, server) = (Side::new("router"), Side::new("backend"));
        let address = serve(&server).await;
        let _ = ask(&client, &format!("{address}/{path}")).await;
        assert_eq!(server.ended(1).await.join(" "), there, "{path}");
        assert_eq!(client.ended(1).await.join(" "), here, "{path}");
    }
    let client = Side::new("router");
    let refused = ask(&client, "http://127.0.0.1:1/").await.unwrap_err();
    assert_eq!(client.ended_records(), ["fail CannotConnect"], "{refused}");
}

#[tokio::test]
async fn client_disconnect_cancels_both_sides() {
    let (client, server) = (Side::new("router"), Side::new("backend"));
    let address = serve(&server).await;
    // The client disconnects once the server works on its request.
    let url = format!("{address}/hangs");
    tokio::select! {
        answer = ask(&client, &url) => panic!("{answer:?}"),
        () = server.has_open_flow() => {}
    }
    let there = server.ended(1).await;
    assert_eq!(there.last().map(String::as_str), Some("cancel Cancelled"), "{there:?}");
    assert_eq!(client.ended_records(), ["cancel Cancelled"]);
    let (client, server) = (client.records(), server.records());
    let why = |records: &[Record<'_>]| {
        records.last().unwrap().error.clone().unwrap().message.into_owned()
    };
    assert_eq!(
        (why(&client).as_str(), why(&server).as_str()),
        ("the response was not read to the end", "the caller went away before the response ended")
    );
}

#[tokio::test]
async fn malformed_headers_are_counted_and_ignored() {
    let server = Side::new("backend");
    let mut service = ServerLayer::new("x")
        .emitter(&server.emitter)
        .layer(service(|_| Response::new(Body::empty())));
    let nothing = [
        "",
        "00-",
        "\u{7f}",
        &"f".repeat(9_000),
        "00-00000000000000000000000000000000-0000000000000000-00",
    ];
    let mut asked = 0;
    for name in ["traceparent", "tracestate", "x-flow-id", "x-request-id"] {
        for value in nothing.iter().map(|text| text.as_bytes()).chain([
            &b"\xff\xfe"[..],
            b"a=b;c=,,,=",
            b"rojo=\xe9",
        ]) {
            let mut request = http::Request::get("/").body(Body::empty()).unwrap();
            if let Ok(value) = http::HeaderValue::from_bytes(value) {
                request.headers_mut().insert(http::HeaderName::from_static(name), value);
                let answer = service.call(request).await.unwrap();
                assert_eq!(answer.status(), 200);
                asked += 1;
            }
        }
    }
    assert_eq!(server.ended(asked).await.len(), asked);
    let malformed = server.emitter.health().malformed_headers;
    // A `tracestate` without `traceparent` is not read; the other values are malformed, except the
    // long and the empty request ID.
    assert!(malformed >= 15 && malformed < asked as u64, "{malformed} of {asked}");
}

#[tokio::test]
async fn grpc_status_determines_the_outcome() {
    for (in_head, code, ended_records) in [
        (true, "14", "fail Unavailable"),
        (true, "1", "cancel Cancelled"),
        (false, "8", "fail ResourceExhausted"),
        (false, "3", "fail InvalidArgument"),
        (false, "0", "end"),
        (false, "99", "fail Unknown"),
    ] {
        let server = Side::new("backend");
        let answer = move |_| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", code.parse().unwrap());
            headers.insert("grpc-message", "no%20ready%20worker".parse().unwrap());
            let body = http_body_util::Full::new(Bytes::from_static(b"x"));
            if in_head {
                let mut answer = Response::new(Body::new(body));
                *answer.headers_mut() = headers;
                return answer;
            }
            Response::new(Body::new(body.with_trailers(async { Some(Ok(headers)) })))
        };
        let mut service = ServerLayer::new("x").emitter(&server.emitter).layer(service(answer));
        let answer = service.call(http::Request::new(Body::empty())).await.unwrap();
        // Servers do not poll for frames after the trailers.
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            if frame.unwrap().is_trailers() {
                break;
            }
        }
        drop(body);
        assert_eq!(server.ended(1).await, [ended_records], "{code}");
        let error = server.records().pop().unwrap().error;
        assert!(
            error.is_none_or(
                |error| ["no ready worker", "the caller went away"].contains(&&*error.message)
            ),
            "{code}"
        );
    }
}

#[tokio::test]
async fn response_without_a_body_ends_the_flow_with_its_head() {
    let server = Side::new("backend");
    let address = serve(&server).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let request = http::Request::head(format!("{address}/id")).body(Body::empty()).unwrap();
    assert_eq!(client.request(request).await.unwrap().status(), 200);
    assert_eq!(server.ended(1).await, ["state", "end"]);
}

#[tokio::test]
async fn without_an_emitter_nothing_happens() {
    let mut service = ServerLayer::new("x").layer(service(|request| {
        assert!(request.headers().is_empty() && request.extensions().get::<FlowHandle>().is_none());
        Response::new(Body::from("as it was"))
    }));
    let mut service = ClientLayer::new("y")
        .layer(service.call(http::Request::new(Body::empty())).await.map(|_| service).unwrap());
    let answer = service.call(http::Request::new(Body::empty())).await.unwrap();
    assert!(answer.headers().is_empty());
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "as it was");
}

/// Makes a service from a function.
fn service(answer: impl Fn(http::Request<Body>) -> Response + Send + Sync + 'static) -> Answers {
    Answers(Arc::new(answer))
}

#[derive(Clone)]
struct Answers(Arc<dyn Fn(http::Request<Body>) -> Response + Send + Sync>);

impl Service<http::Request<Body>> for Answers {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        std::future::ready(Ok((self.0)(request)))
    }
}
