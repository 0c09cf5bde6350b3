//! glog and its relatives klog and Abseil: `LMMDD HH:MM:SS.UUUUUU THREAD FILE:LINE] MESSAGE`,
//! without a year.

use super::glog_header::head;
use super::nixl;
use super::plain::{PlainLine, beginning};
use super::{EventStart, Example, LogFormat, torch};

/// Log lines of Kubernetes' and Google's loggers.
pub(super) const GLOG: LogFormat = LogFormat {
    name: "glog",
    classify_start: |line| {
        if !matches!(line.first()?, b'I' | b'W' | b'E' | b'F' | b'V' | b'C')
            || !line.get(1)?.is_ascii_digit()
        {
            return None;
        }
        let head = head(beginning(line, 256))?;
        Some(
            EventStart::logged(head.place.as_bytes(), head.body, Some(head.level))
                .repeating_header(),
        )
    },
    read: |text| {
        let head = head(text)
            .filter(|head| !nixl::is_native(head.place) && !torch::is_python(head.place))?;
        let message = text.get(head.body..)?;
        Some(
            PlainLine {
                time: Some(head.time),
                level: Some(head.level),
                component: if is_mooncake(head.place) { "mooncake" } else { "" },
                target: head.place,
                message,
                ..PlainLine::default()
            }
            .into_event(),
        )
    },
    examples: &[
        Example {
            text: "E1122 08:27:15.705274       1 pod_workers.go:1294] \"Error syncing pod, skipping\" err=\"failed\"",
            expected: "2000-11-22T08:27:15.705274Z-year-zone ERROR pod_workers.go:1294: \"Error syncing pod, skipping\" err=\"failed\"",
        },
        Example {
            text: "I1122 08:27:15.705274 120 libtensorrtllm.cc:184] \"TRITONBACKEND_ModelInstanceInitialize\"",
            expected: "2000-11-22T08:27:15.705274Z-year-zone INFO libtensorrtllm.cc:184: \"TRITONBACKEND_ModelInstanceInitialize\"",
        },
        Example {
            text: "E1122 08:27:15.705274 112112 rdma_transport.cpp:343] Failed to open session",
            expected: "2000-11-22T08:27:15.705274Z-year-zone ERROR mooncake rdma_transport.cpp:343: Failed to open session",
        },
        Example {
            text: "W20251122 08:27:15.705274  7 x.cc:1] old",
            expected: "2025-11-22T08:27:15.705274Z-zone WARN x.cc:1: old",
        },
    ],
};

/// Returns whether a source location is in a file of Mooncake's transfer engine or store, which log
/// in the processes that use them.
fn is_mooncake(place: &str) -> bool {
    const FILES: [&str; 17] = [
        "transfer_engine",
        "transfer_engine_impl",
        "transfer_engine_py",
        "transfer_metadata",
        "transfer_metadata_plugin",
        "transfer_task",
        "multi_transport",
        "rdma_transport",
        "tcp_transport",
        "nvlink_transport",
        "ascend_direct_transport",
        "rdma_context",
        "rdma_endpoint",
        "client_service",
        "master_service",
        "real_client",
        "store_py",
    ];
    let file = place.rsplit('/').next().unwrap_or(place).split_once(".cpp:");
    file.is_some_and(|(stem, _)| FILES.contains(&stem) || stem.contains("mooncake"))
}
