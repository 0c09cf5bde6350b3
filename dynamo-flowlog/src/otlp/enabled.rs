//! Exporter: a thread that sends spans and records in batches.

mod convert;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowlog_schema::json::RecordData;
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

use super::{FinishedSpan, Otlp};
use crate::record_args::SpanHeader;
use crate::resource::Resource;

/// Maximum number of spans or records per export request.
const MAX_BATCH: usize = 512;

/// Minimum interval between reports of lost items, in milliseconds.
const REPORT_INTERVAL_MS: u64 = 1_000;

/// Maximum number of retries of a request within its timeout (10 s, or
/// `OTEL_EXPORTER_OTLP_TIMEOUT`): a collector that is restarted is back in a few seconds.
const MAX_RETRIES: usize = 12;

/// Exporter of finished spans and emitted records.
#[derive(Debug)]
pub(crate) struct Exporter {
    spans: mpsc::Sender<SpanData>,
    // Boxed, because a record takes a few hundred bytes and the queue moves its items.
    records: mpsc::Sender<Box<SdkLogRecord>>,
    scope: InstrumentationScope,
    logger: SdkLogger,
    stats: Arc<ExportStats>,
    closing: watch::Sender<bool>,
    /// Disconnected when the thread has finished.
    done: Mutex<std::sync::mpsc::Receiver<()>>,
}

/// Counts of the spans and records handed over, by outcome.
#[derive(Debug, Default)]
struct ExportStats {
    handed: AtomicU64,
    exported: AtomicU64,
    lost: AtomicU64,
    /// Lost items that no record has reported yet.
    unreported_lost: AtomicU64,
    /// Time of the last report, in milliseconds since the epoch.
    last_report_ms: AtomicU64,
    /// Whether unsent items were abandoned.
    is_abandoned: AtomicBool,
    reason: Mutex<String>,
}

impl ExportStats {
    fn count_lost(&self, count: u64, reason: &str) {
        if count > 0 {
            self.lost.fetch_add(count, Ordering::Relaxed);
            self.unreported_lost.fetch_add(count, Ordering::Relaxed);
            if let Ok(mut kept) = self.reason.try_lock() {
                reason.clone_into(&mut kept);
            }
        }
    }
}

impl Exporter {
    /// Starts the exporter's thread.
    ///
    /// Fails if the endpoint is invalid. An unreachable collector is only noticed later.
    pub(crate) fn begin(otlp: &Otlp, emitter: &Resource) -> Result<Self, String> {
        let resource = convert::resource(emitter);
        let scope = InstrumentationScope::builder("dynamo-flowlog")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let logger = SdkLoggerProvider::builder().build().logger_with_scope(scope.clone());
        let (spans, mut spans_out) = mpsc::channel(otlp.queue);
        let (records, mut records_out) = mpsc::channel(otlp.queue);
        let (closing, closed) = watch::channel(false);
        let (working, done) = std::sync::mpsc::channel();
        let (began, opened_at) = std::sync::mpsc::channel();
        let stats = Arc::new(ExportStats::default());
        let (otlp, its_tally, its_scope) = (otlp.clone(), Arc::clone(&stats), scope.clone());
        let run = move || {
            let delay = otlp.delay;
            // Built on this thread, because a thread of another runtime may not even drop a
            // runtime.
            let made = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string());
            let made = made.and_then(|runtime| {
                // The exporters' connections are bound to the runtime in which they are created.
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
            // Dropping the sender signals that everything was sent.
            drop(working);
        };
        let thread = std::thread::Builder::new().name("flowlog-otlp".to_owned());
        thread.spawn(run).map_err(|error| error.to_string())?;
        opened_at.recv().map_err(|_| "the exporter thread did not start".to_owned())??;
        Ok(Self { spans, records, scope, logger, stats, closing, done: Mutex::new(done) })
    }

    pub(crate) fn is_built_in() -> bool {
        true
    }

    /// Queues a record for export if it has no flow or its flow is sampled.
    pub(crate) fn record(&self, header: &SpanHeader, line: &RecordData<'_>) {
        if header.flow_id.is_none() || header.flags.is_sampled() {
            self.hand(&self.records, Box::new(convert::record(&self.logger, header, line)));
        }
    }

    /// Queues a span for export if its flow is sampled.
    pub(crate) fn span(&self, ended: &FinishedSpan<'_>) {
        if let Some(span) =
            convert::span(&self.scope, ended).filter(|_| ended.header.flags.is_sampled())
        {
            self.hand(&self.spans, span);
        }
    }

    fn hand<T>(&self, queue: &mpsc::Sender<T>, item: T) {
        self.stats.handed.fetch_add(1, Ordering::Relaxed);
        match queue.try_send(item) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.stats.count_lost(1, "the queue is full: the collector does not keep up");
            }
            Err(TrySendError::Closed(_)) => self.stats.count_lost(1, "the exporter is closed"),
        }
    }

    /// Returns how many spans and records the collector accepted, and how many were lost.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.stats.exported.load(Ordering::Relaxed), self.stats.lost.load(Ordering::Relaxed))
    }

    /// Returns how many lost items were not reported yet, and the reason for the latest loss.
    ///
    /// Returns them at most once a second; otherwise every second line would report a collector
    /// that is down.
    pub(crate) fn take_unreported(&self, now_ms: u64) -> Option<(u64, String)> {
        let last = self.stats.last_report_ms.load(Ordering::Relaxed);
        if self.stats.unreported_lost.load(Ordering::Relaxed) == 0
            || now_ms < last.saturating_add(REPORT_INTERVAL_MS)
        {
            return None;
        }
        if self
            .stats
            .last_report_ms
            .compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return None;
        }
        let unreported_lost = self.stats.unreported_lost.swap(0, Ordering::Relaxed);
        (unreported_lost > 0).then(|| {
            (
                unreported_lost,
                self.stats.reason.try_lock().map(|reason| reason.clone()).unwrap_or_default(),
            )
        })
    }

    /// Adds back a count that could not be reported.
    pub(crate) fn restore_unreported(&self, unreported_lost: u64) {
        self.stats.unreported_lost.fetch_add(unreported_lost, Ordering::Relaxed);
    }

    /// Flushes the queues. Items that are not sent within the timeout are lost, and are not sent
    /// later.
    pub(crate) fn close(&self, timeout: Duration) {
        let _ = self.closing.send(true);
        let Ok(done) = self.done.try_lock() else { return };
        // The channel is disconnected when everything was sent or the thread has exited.
        let _ = done.recv_timeout(timeout);
        self.stats.is_abandoned.store(true, Ordering::Relaxed);
        let (exported, lost) = self.counts();
        let waiting = self.stats.handed.load(Ordering::Relaxed).saturating_sub(exported + lost);
        self.stats.count_lost(waiting, "the process exited before everything was exported");
        // The final report is not rate-limited.
        self.stats.last_report_ms.store(0, Ordering::Relaxed);
    }
}

type Exporters = (SpanExporter, LogExporter);

fn exporters(otlp: &Otlp) -> Result<Exporters, opentelemetry_otlp::ExporterBuildError> {
    let retries = RetryPolicy::recommended().with_max_retries(MAX_RETRIES);
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

/// Exports the items of a queue in batches until the queue is closed and empty.
async fn pump<T>(
    queue: &mut mpsc::Receiver<T>,
    mut closing: watch::Receiver<bool>,
    delay: Duration,
    stats: &ExportStats,
    export: impl AsyncFn(&mut Vec<T>) -> OTelSdkResult,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    loop {
        let has_more = tokio::select! {
            count = queue.recv_many(&mut batch, MAX_BATCH) => count > 0,
            _ = closing.wait_for(|closing| *closing), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if !has_more {
            return;
        }
        let mut is_late = std::pin::pin!(tokio::time::sleep(delay));
        while batch.len() < MAX_BATCH && !queue.is_closed() {
            let capacity = MAX_BATCH - batch.len();
            tokio::select! {
                _ = queue.recv_many(&mut batch, capacity) => {}
                () = &mut is_late => break,
                _ = closing.wait_for(|closing| *closing) => queue.close(),
            }
        }
        let count = batch.len() as u64;
        let is_abandoned = || stats.is_abandoned.load(Ordering::Relaxed);
        if is_abandoned() {
            return;
        }
        match export(&mut batch).await {
            // `close` has already counted them as lost.
            _ if is_abandoned() => return,
            Ok(()) => drop(stats.exported.fetch_add(count, Ordering::Relaxed)),
            Err(error) => stats.count_lost(count, &error.to_string()),
        }
        batch.clear();
    }
}
