//! Flight files (`flowlog_schema::flight`) as logs.
//!
//! Such a log holds the last records of a process, and a closing record for each flow that it left
//! open.

use std::fs;

use flowlog_schema::{flight, json};

/// Maximum size of a flight file in bytes.
pub(super) const MAX_FLIGHT_BYTES: u64 = 64 << 20;

/// Returns the log in a flight file; `None` if the bytes are not a complete flight file.
pub(super) fn log(bytes: &[u8]) -> Option<Vec<u8>> {
    let found = flight::read(bytes)?;
    let mut log = Vec::new();
    for words in &found.records {
        log.extend_from_slice(words);
        log.push(b'\n');
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{}/stat", found.process_id)).ok();
    // A process that is alive will end its open flows itself.
    if !found.is_alive(&boot, stat.as_deref()) {
        for open in &found.open {
            json::encode(&found.closing_record(open), &mut log);
            log.push(b'\n');
        }
    }
    Some(log)
}

#[cfg(test)]
mod tests {
    use flowlog_schema::flight::{at, flow};
    use flowlog_schema::json;

    use super::super::Sources;
    use super::*;

    /// Returns the file of a process that no longer exists, with one record and one open flow.
    fn file() -> Vec<u8> {
        let mut bytes = vec![0; flight::HEADER_BYTES + 128 + flow::SLOT_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, flight::MAGIC);
        for (at, value) in
            [(at::VERSION, flight::VERSION), (at::SLOTS, 1), (at::SLOT_BYTES, 128), (at::FLOWS, 1)]
        {
            put(at, &value.to_le_bytes());
        }
        put(at::PROCESS, &u64::from(u32::MAX).to_le_bytes());
        put(at::APPENDED, &1u64.to_le_bytes());
        put(flight::NAME_OFFSETS[0], b"\x06\0router");
        let record = b"{\"component\":\"router\",\"event\":\"state\"}";
        put(flight::HEADER_BYTES, &1u64.to_le_bytes());
        put(flight::HEADER_BYTES + 8, &[u8::try_from(record.len()).unwrap(), 0, 0, 0]);
        put(flight::HEADER_BYTES + flight::RECORD_HEADER_BYTES, record);
        let place = flight::HEADER_BYTES + 128;
        put(place + flow::SEQUENCE, &2u64.to_le_bytes());
        put(place + flow::FLOW_ID, &7u128.to_le_bytes());
        put(place + flow::SPAN_ID, &5u64.to_le_bytes());
        bytes
    }

    #[test]
    fn last_records_and_open_flows_become_lines() {
        let log = log(&file()).unwrap();
        let lines: Vec<&[u8]> =
            log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 2);
        let (closing, _) = json::decode(lines[1]).unwrap();
        assert_eq!(
            (closing.component.as_ref(), closing.error.unwrap().kind.as_ref()),
            ("router", "process_killed")
        );
    }

    #[test]
    fn a_flight_file_is_read_and_a_truncated_one_is_reported() {
        let bytes = file();
        let sources = Sources::from_texts([
            ("a.flight", &bytes[..]),
            ("b.flight", &bytes[..flight::HEADER_BYTES]),
        ])
        .unwrap();
        assert_eq!(
            sources.read.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(),
            ["a.flight"]
        );
        assert_eq!(sources.read_errors[0].error, "damaged: incomplete flight file");
    }
}
