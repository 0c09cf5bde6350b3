//! Settings from environment variables of Dynamo, OpenTelemetry and flowlog. No other module reads
//! them.

use std::collections::HashMap;
use std::path::PathBuf;

use flowlog_schema::Level;
use flowlog_schema::propagation::{TRACEPARENT, TRACESTATE};

use crate::otlp::{Exporter, Otlp};
use crate::sink::{Encoding, Sink};
use crate::trace_sampling::Sampling;

/// Settings from environment variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `OTEL_SERVICE_NAME`, else `service.name` of `OTEL_RESOURCE_ATTRIBUTES`.
    pub(crate) component: Option<String>,
    /// `service.instance.id` or `k8s.pod.name` of `OTEL_RESOURCE_ATTRIBUTES`, else `POD_NAME`.
    pub(crate) instance: Option<String>,
    /// `service.version` of `OTEL_RESOURCE_ATTRIBUTES`.
    pub(crate) version: Option<String>,
    /// `FLOWLOG_SINK`: `stderr`, `none`, `file:PATH` or `mapped:PATH`.
    pub(crate) sink: Option<Sink>,
    /// `DYN_LOGGING_CONSOLE_FORMAT` (`readable` or `jsonl`), else `DYN_LOGGING_JSONL`.
    pub(crate) encoding: Option<Encoding>,
    /// `DYN_LOG`: the level for `flowlog` if it has one, else the default level.
    pub(crate) level: Option<Level>,
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub(crate) sampling: Option<Sampling>,
    /// `FLOWLOG_FLIGHT`: a folder.
    pub(crate) flight: Option<PathBuf>,
    /// `OTEL_EXPORT_ENABLED`, which is Dynamo's, or the value `otlp` for `OTEL_TRACES_EXPORTER` or
    /// `OTEL_LOGS_EXPORTER`; and `OTEL_EXPORTER_OTLP_PROTOCOL`. `None` if built without the feature
    /// `otlp`.
    pub(crate) otlp: Option<Otlp>,
    /// `OTEL_SDK_DISABLED`.
    pub(crate) disabled: bool,
}

impl Environment {
    pub(crate) fn read() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| {
            variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let attributes: HashMap<&str, &str> = attributes
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let attribute = |name: &str| attributes.get(name).map(|value| (*value).to_owned());
        let is_true = |value: String| {
            matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes")
        };
        let encoding = match variable("DYN_LOGGING_CONSOLE_FORMAT").as_deref() {
            Some("jsonl") => Some(Encoding::Json),
            Some("readable") => Some(Encoding::Text),
            _ => variable("DYN_LOGGING_JSONL")
                .map(|value| if is_true(value) { Encoding::Json } else { Encoding::Text }),
        };
        let asks = |name| variable(name).is_some_and(|exporter| exporter == "otlp");
        let has_exporter = variable("OTEL_EXPORT_ENABLED").is_some_and(is_true)
            || asks("OTEL_TRACES_EXPORTER")
            || asks("OTEL_LOGS_EXPORTER");
        let is_http = variable("OTEL_EXPORTER_OTLP_PROTOCOL")
            .is_some_and(|protocol| protocol.starts_with("http"));
        Self {
            component: variable("OTEL_SERVICE_NAME").or_else(|| attribute("service.name")),
            instance: attribute("service.instance.id")
                .or_else(|| attribute("k8s.pod.name"))
                .or_else(|| variable("POD_NAME")),
            version: attribute("service.version"),
            sink: variable("FLOWLOG_SINK").and_then(|sink| sink.parse().ok()),
            encoding,
            level: variable("DYN_LOG").and_then(|filter| level_of(&filter)),
            sampling: variable("OTEL_TRACES_SAMPLER").and_then(|sampler| {
                Sampling::of(&sampler, variable("OTEL_TRACES_SAMPLER_ARG").as_deref())
            }),
            flight: variable("FLOWLOG_FLIGHT").map(PathBuf::from),
            otlp: (has_exporter && Exporter::is_built_in())
                .then(|| if is_http { Otlp::http() } else { Otlp::grpc() }),
            disabled: variable("OTEL_SDK_DISABLED").is_some_and(is_true),
        }
    }
}

/// Returns the trace context that a parent process put into the environment: see
/// `Inject for Command`.
pub(crate) fn carrier() -> Vec<(&'static str, String)> {
    [TRACEPARENT, TRACESTATE]
        .into_iter()
        .filter_map(|name| Some((name, std::env::var(name.to_ascii_uppercase()).ok()?)))
        .collect()
}

/// Returns the level that a filter such as `info,dynamo_runtime=debug,flowlog=warn` sets for
/// flowlog.
///
/// The last directive for flowlog wins, else the last default level.
fn level_of(filter: &str) -> Option<Level> {
    let parts = || filter.split(',').map(str::trim);
    let own = parts().rev().find_map(|part| {
        part.strip_prefix("flowlog=").or_else(|| part.strip_prefix("dynamo_flowlog="))
    });
    let for_all = || parts().rev().find(|part| !part.contains('='));
    Level::parse(own.or_else(for_all)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn every_variable_is_read() {
        let read = environment(&[
            ("OTEL_SERVICE_NAME", "router"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.version=1.6.1, k8s.pod.name=router-0,other"),
            ("FLOWLOG_SINK", "mapped:/var/log/flow"),
            ("FLOWLOG_FLIGHT", "/var/log/flight"),
            ("DYN_LOGGING_CONSOLE_FORMAT", " jsonl "),
            ("DYN_LOG", "info,flowlog=warn"),
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ]);
        let expected = Environment {
            component: Some("router".into()),
            instance: Some("router-0".into()),
            version: Some("1.6.1".into()),
            sink: Some(Sink::mapped("/var/log/flow")),
            encoding: Some(Encoding::Json),
            level: Some(Level::Warn),
            sampling: Sampling::of("traceidratio", Some("0.25")),
            flight: Some("/var/log/flight".into()),
            otlp: Exporter::is_built_in().then(Otlp::http),
            disabled: true,
        };
        assert_eq!(read, expected);
        assert_eq!(
            environment(&[("DYN_LOG", " "), ("FLOWLOG_SINK", "nowhere")]),
            Environment::default()
        );
    }

    #[test]
    fn parses_encodings_and_levels() {
        for (pairs, form) in [
            (&[("DYN_LOGGING_JSONL", "1")][..], Some(Encoding::Json)),
            (&[("DYN_LOGGING_JSONL", "0")], Some(Encoding::Text)),
            (
                &[("DYN_LOGGING_CONSOLE_FORMAT", "readable"), ("DYN_LOGGING_JSONL", "1")],
                Some(Encoding::Text),
            ),
            (&[], None),
        ] {
            assert_eq!(environment(pairs).encoding, form, "{pairs:?}");
        }
        for (filter, level) in [
            ("debug", Some(Level::Debug)),
            ("dynamo=trace,error", Some(Level::Error)),
            ("dynamo=trace", None),
            ("loud", None),
        ] {
            assert_eq!(level_of(filter), level, "{filter}");
        }
    }
}
