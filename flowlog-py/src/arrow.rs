//! Tables for other programs: the Arrow C stream interface, in PyCapsules, without an extra copy.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::builder::{
    Float64Builder, ListBuilder, StringBuilder, TimestampNanosecondBuilder, UInt64Builder,
};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use dynamo_flowlog::Level;
use flowlog_analyze::ingest::EventRow;
use flowlog_schema::Time;
use flowlog_schema::report::{Failure, FlowFailure, FlowOutcome};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// An in-memory table that any Arrow consumer can read.
///
/// Examples: `pandas.DataFrame.from_arrow`, `polars.DataFrame`, `duckdb.sql`, `pyarrow.table`.
///
/// Interface: <https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>.
#[pyclass(module = "flowlog", frozen)]
pub struct Table(Result<RecordBatch, String>);

#[pymethods]
impl Table {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The interface allows a producer to ignore the requested schema; the consumer then casts.
        let _ = requested_schema;
        let batch = self.0.as_ref().map_err(|error| PyValueError::new_err(error.clone()))?;
        stream(py, Box::new(RecordBatchIterator::new([Ok(batch.clone())], batch.schema())))
    }

    fn __len__(&self) -> usize {
        self.0.as_ref().map_or(0, RecordBatch::num_rows)
    }
}

/// Exports batches as an Arrow stream capsule.
pub(crate) fn stream<'py>(
    py: Python<'py>,
    batches: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(batches), c"arrow_array_stream")
}

impl Table {
    pub(crate) fn of_failures(failures: &[Failure]) -> Self {
        let text = |of: &dyn Fn(&Failure) -> Option<String>| texts(failures.iter().map(of));
        Self::of([
            ("fingerprint", text(&|failure| Some(failure.fingerprint.clone()))),
            ("kind", text(&|failure| Some(failure.kind.as_str().to_owned()))),
            ("component", text(&|failure| Some(failure.component.clone()))),
            ("instances", lists(failures.iter().map(|failure| &failure.instances))),
            ("state", text(&|failure| failure.state.clone())),
            ("error_type", text(&|failure| failure.error_type.clone())),
            ("message", text(&|failure| failure.message.clone())),
            ("flows", counts(failures.iter().map(|failure| Some(failure.flows)))),
            ("first", times(failures.iter().map(|failure| moment(failure.first.as_deref())))),
            ("last", times(failures.iter().map(|failure| moment(failure.last.as_deref())))),
            ("owner", text(&|failure| failure.owner.component.clone())),
            ("pic", text(&|failure| failure.owner.pic.clone())),
            ("affected", lists(failures.iter().map(|failure| &failure.affected))),
            ("confidence", numbers(failures.iter().map(|failure| failure.confidence))),
            ("examples", lists(failures.iter().map(|failure| &failure.examples))),
            ("source", text(&|failure| failure.evidence.first().map(|line| line.source.clone()))),
            (
                "line",
                counts(
                    failures.iter().map(|failure| failure.evidence.first().map(|line| line.line)),
                ),
            ),
        ])
    }

    pub(crate) fn of_flow_failures(flows: &[FlowFailure]) -> Self {
        let text = |of: &dyn Fn(&FlowFailure) -> Option<String>| texts(flows.iter().map(of));
        let outcome = |flow: &FlowFailure| match flow.outcome {
            FlowOutcome::Failed => "failed".to_owned(),
            FlowOutcome::Recovered => "recovered".to_owned(),
        };
        Self::of([
            ("flow_id", text(&|flow| Some(flow.flow_id.clone()))),
            ("outcome", text(&|flow| Some(outcome(flow)))),
            ("kind", text(&|flow| Some(flow.kind.as_str().to_owned()))),
            ("component", text(&|flow| Some(flow.component.clone()))),
            ("instance", text(&|flow| flow.instance.clone())),
            ("state", text(&|flow| flow.state.clone())),
            ("error_type", text(&|flow| flow.error_type.clone())),
            ("time", times(flows.iter().map(|flow| moment(flow.time.as_deref())))),
            ("fingerprint", text(&|flow| Some(flow.fingerprint.clone()))),
        ])
    }

    fn of<const COLUMNS: usize>(columns: [(&str, ArrayRef); COLUMNS]) -> Self {
        Self(
            RecordBatch::try_from_iter_with_nullable(
                columns.into_iter().map(|(name, column)| (name, column, true)),
            )
            .map_err(|error| error.to_string()),
        )
    }
}

/// Batches of log events, produced as the logs are read.
pub(crate) struct Batches(pub(crate) Mutex<std::sync::mpsc::Receiver<RecordBatch>>);

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).recv().ok().map(Ok)
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        events_schema()
    }
}

/// Returns the schema of event batches.
pub(crate) fn events_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("time", time, true),
        text("level"),
        text("component"),
        text("instance"),
        text("flow_id"),
        text("event"),
        text("state"),
        text("error_type"),
        text("message"),
        text("format"),
        text("source"),
        Field::new("offset", DataType::UInt64, true),
    ]))
}

/// Converts events to a batch; `source` maps the index of a source to its name.
pub(crate) fn batch(
    events: &[EventRow],
    source: &dyn Fn(u32) -> String,
) -> Result<RecordBatch, ArrowError> {
    let text = |of: &dyn Fn(&EventRow) -> &str| {
        texts(events.iter().map(|event| Some(of(event)).filter(|text| !text.is_empty())))
    };
    let columns = vec![
        times(events.iter().map(|event| event.time)),
        text(&|event| event.level.map_or("", Level::as_str)),
        text(&|event| &event.component),
        text(&|event| &event.instance),
        text(&|event| &event.flow),
        text(&|event| event.event),
        text(&|event| &event.state),
        text(&|event| &event.error_type),
        text(&|event| &event.message),
        text(&|event| event.format),
        texts(events.iter().map(|event| Some(source(event.line.source)))),
        counts(events.iter().map(|event| Some(event.line.offset))),
    ];
    RecordBatch::try_new(events_schema(), columns)
}

fn moment(text: Option<&str>) -> Option<i64> {
    Some(Time::parse(text?)?.0)
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    let mut column = StringBuilder::new();
    values.for_each(|value| column.append_option(value));
    Arc::new(column.finish())
}

fn lists<'a>(values: impl Iterator<Item = &'a Vec<String>>) -> ArrayRef {
    let mut column = ListBuilder::new(StringBuilder::new());
    values.for_each(|value| column.append_value(value.iter().map(Some)));
    Arc::new(column.finish())
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut column = TimestampNanosecondBuilder::new().with_timezone("UTC");
    values.for_each(|value| column.append_option(value));
    Arc::new(column.finish())
}

fn counts(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    let mut column = UInt64Builder::new();
    values.for_each(|value| column.append_option(value));
    Arc::new(column.finish())
}

fn numbers(values: impl Iterator<Item = f64>) -> ArrayRef {
    let mut column = Float64Builder::new();
    values.for_each(|value| column.append_value(value));
    Arc::new(column.finish())
}
