//! One thread that sends spans and records in batches.

mod convert;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowlog_schema::json::Line;
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::LoggerProvider;
use opentelemetry_otlp::{
    LogExporter, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    LogBatch, LogExporter as _, SdkLogRecord, SdkLogger, SdkLoggerProvider,
};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use super::{Ended, Otlp};
use crate::emitter::Inner;
use crate::shared::Shared;

/// Spans or records of one request.
const BATCH: usize = 512;

/// How often what was lost is said, in milliseconds.
const SAY_EVERY_MS: u64 = 1_000;

/// Within its timeout (ten seconds, or `OTEL_EXPORTER_OTLP_TIMEOUT`) a request is tried again that often: a collector that is restarted is
/// back in a few seconds.
const RETRIES: usize = 12;

/// Sends what ended and what was said.
#[derive(Debug)]
pub(crate) struct Exporter {
    spans: mpsc::Sender<SpanData>,
    // Some hundred bytes each, and the queue moves them about.
    records: mpsc::Sender<Box<SdkLogRecord>>,
    scope: InstrumentationScope,
    logger: SdkLogger,
    tally: Arc<Tally>,
    closing: watch::Sender<bool>,
    /// Disconnected when the thread is done.
    done: Mutex<std::sync::mpsc::Receiver<()>>,
}

/// What became of what was handed over.
#[derive(Debug, Default)]
struct Tally {
    handed: AtomicU64,
    exported: AtomicU64,
    lost: AtomicU64,
    /// Of those lost, how many no record has said yet.
    unsaid: AtomicU64,
    /// When that was said last, in milliseconds since the epoch.
    said: AtomicU64,
    /// What is not sent yet was given up.
    is_given_up: AtomicBool,
    reason: Mutex<String>,
}

impl Tally {
    fn lose(&self, count: u64, reason: &str) {
        if count > 0 {
            self.lost.fetch_add(count, Ordering::Relaxed);
            self.unsaid.fetch_add(count, Ordering::Relaxed);
            if let Ok(mut kept) = self.reason.try_lock() {
                reason.clone_into(&mut kept);
            }
        }
    }
}

impl Exporter {
    /// Begins to send. What can be wrong is the endpoint; whether anybody listens there shows later.
    pub(crate) fn begin(otlp: &Otlp, emitter: &Inner) -> Result<Self, String> {
        let resource = convert::resource(emitter);
        let scope = InstrumentationScope::builder("dynamo-flowlog")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let logger = SdkLoggerProvider::builder().build().logger_with_scope(scope.clone());
        let (spans, mut spans_out) = mpsc::channel(otlp.queue);
        let (records, mut records_out) = mpsc::channel(otlp.queue);
        let (closing, closed) = watch::channel(false);
        let (working, done) = std::sync::mpsc::channel();
        let (began, begun) = std::sync::mpsc::channel();
        let tally = Arc::new(Tally::default());
        let (otlp, its_tally, its_scope) = (otlp.clone(), Arc::clone(&tally), scope.clone());
        let run = move || {
            let delay = otlp.delay;
            // In no other thread: one of somebody else's runtime may not even drop it.
            let made = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string());
            let made = made.and_then(|runtime| {
                // Their connections live in the runtime that they are made in.
                let made = runtime.block_on(async { exporters(&otlp) });
                made.map(|exporters| (runtime, exporters)).map_err(|error| error.to_string())
            });
            let (runtime, (mut to_spans, mut to_records)) = match made {
                Ok(made) => made,
                Err(error) => return drop(began.send(Err(error))),
            };
            let _ = began.send(Ok(()));
            to_spans.set_resource(&resource);
            to_records.set_resource(&resource);
            runtime.block_on(async {
                let of_spans = pump(
                    &mut spans_out,
                    closed.clone(),
                    delay,
                    &its_tally,
                    async |batch: &mut Vec<SpanData>| to_spans.export(std::mem::take(batch)).await,
                );
                let of_records = pump(
                    &mut records_out,
                    closed,
                    delay,
                    &its_tally,
                    async |batch: &mut Vec<Box<SdkLogRecord>>| {
                        let batch: Vec<(&SdkLogRecord, &InstrumentationScope)> =
                            batch.iter().map(|record| (record.as_ref(), &its_scope)).collect();
                        to_records.export(LogBatch::new(&batch)).await
                    },
                );
                tokio::join!(of_spans, of_records);
            });
            // What it says by ending is that all is sent.
            drop(working);
        };
        let thread = std::thread::Builder::new().name("flowlog-otlp".to_owned());
        thread.spawn(run).map_err(|error| error.to_string())?;
        begun.recv().map_err(|_| "the thread that sends did not start".to_owned())??;
        Ok(Self { spans, records, scope, logger, tally, closing, done: Mutex::new(done) })
    }

    pub(crate) fn is_built_in() -> bool {
        true
    }

    /// Hands a record over.
    pub(crate) fn record(&self, shared: &Shared, line: &Line<'_>) {
        if shared.flow_id.is_none() || shared.flags.is_sampled() {
            self.hand(&self.records, Box::new(convert::record(&self.logger, shared, line)));
        }
    }

    /// Hands a span over.
    pub(crate) fn span(&self, ended: &Ended<'_>) {
        if let Some(span) =
            convert::span(&self.scope, ended).filter(|_| ended.shared.flags.is_sampled())
        {
            self.hand(&self.spans, span);
        }
    }

    fn hand<T>(&self, queue: &mpsc::Sender<T>, item: T) {
        self.tally.handed.fetch_add(1, Ordering::Relaxed);
        match queue.try_send(item) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.tally.lose(1, "the queue is full: the collector does not keep up")
            }
            Err(TrySendError::Closed(_)) => self.tally.lose(1, "the exporter is closed"),
        }
    }

    /// How many spans and records the collector took, and how many it did not.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.tally.exported.load(Ordering::Relaxed), self.tally.lost.load(Ordering::Relaxed))
    }

    /// How many were lost that nobody has said yet, and why the last of them was; once a second, or a collector that is down would have
    /// every other line.
    pub(crate) fn take_unsaid(&self, now_ms: u64) -> Option<(u64, String)> {
        let said = self.tally.said.load(Ordering::Relaxed);
        if self.tally.unsaid.load(Ordering::Relaxed) == 0
            || now_ms < said.saturating_add(SAY_EVERY_MS)
        {
            return None;
        }
        if self
            .tally
            .said
            .compare_exchange(said, now_ms, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return None;
        }
        let unsaid = self.tally.unsaid.swap(0, Ordering::Relaxed);
        (unsaid > 0).then(|| {
            (unsaid, self.tally.reason.try_lock().map(|reason| reason.clone()).unwrap_or_default())
        })
    }

    /// They could not be said.
    pub(crate) fn put_back(&self, unsaid: u64) {
        self.tally.unsaid.fetch_add(unsaid, Ordering::Relaxed);
    }

    /// Sends what waits; what is not sent by then is lost, and is not sent later.
    pub(crate) fn close(&self, patience: Duration) {
        let _ = self.closing.send(true);
        let Ok(done) = self.done.try_lock() else { return };
        // It is disconnected when all is sent, or the thread is no more.
        let _ = done.recv_timeout(patience);
        self.tally.is_given_up.store(true, Ordering::Relaxed);
        let (exported, lost) = self.counts();
        let waiting = self.tally.handed.load(Ordering::Relaxed).saturating_sub(exported + lost);
        self.tally.lose(waiting, "the process ended before the collector had taken all");
        // The last word on it is not put off.
        self.tally.said.store(0, Ordering::Relaxed);
    }
}

type Exporters = (SpanExporter, LogExporter);

fn exporters(otlp: &Otlp) -> Result<Exporters, opentelemetry_otlp::ExporterBuildError> {
    let retries = RetryPolicy::recommended().with_max_retries(RETRIES);
    let endpoint = otlp.endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/'));
    if otlp.is_http {
        let (mut spans, mut records) =
            (SpanExporter::builder().with_http(), LogExporter::builder().with_http());
        if let Some(endpoint) = endpoint {
            spans = spans.with_endpoint(format!("{endpoint}/v1/traces"));
            records = records.with_endpoint(format!("{endpoint}/v1/logs"));
        }
        return Ok((
            spans.with_retry_policy(retries.clone()).build()?,
            records.with_retry_policy(retries).build()?,
        ));
    }
    let (mut spans, mut records) =
        (SpanExporter::builder().with_tonic(), LogExporter::builder().with_tonic());
    if let Some(endpoint) = endpoint {
        spans = spans.with_endpoint(endpoint);
        records = records.with_endpoint(endpoint);
    }
    Ok((
        spans.with_retry_policy(retries.clone()).build()?,
        records.with_retry_policy(retries).build()?,
    ))
}

/// Sends what comes out of a queue in batches, until it is closed and empty.
async fn pump<T>(
    queue: &mut mpsc::Receiver<T>,
    mut closing: watch::Receiver<bool>,
    delay: Duration,
    tally: &Tally,
    export: impl AsyncFn(&mut Vec<T>) -> OTelSdkResult,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let has_more = tokio::select! {
            count = queue.recv_many(&mut batch, BATCH) => count > 0,
            _ = closing.wait_for(|closing| *closing), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if !has_more {
            return;
        }
        let mut is_late = std::pin::pin!(tokio::time::sleep(delay));
        while batch.len() < BATCH && !queue.is_closed() {
            let room = BATCH - batch.len();
            tokio::select! {
                _ = queue.recv_many(&mut batch, room) => {}
                () = &mut is_late => break,
                _ = closing.wait_for(|closing| *closing) => queue.close(),
            }
        }
        let count = batch.len() as u64;
        let is_given_up = || tally.is_given_up.load(Ordering::Relaxed);
        if is_given_up() {
            return;
        }
        match export(&mut batch).await {
            // They were counted as lost.
            _ if is_given_up() => return,
            Ok(()) => drop(tally.exported.fetch_add(count, Ordering::Relaxed)),
            Err(error) => tally.lose(count, &error.to_string()),
        }
        batch.clear();
    }
}
