//! Any headers are taken; what is made of them is understood by whoever is called.
#![no_main]

use std::collections::HashMap;

use dynamo_flowlog::Context;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 5] = ["traceparent", "tracestate", "x-flow-id", "x-request-id", "request-id"];

fuzz_target!(|bytes: &[u8]| {
    // A header a line; its first byte says which.
    let headers: Vec<(&str, &[u8])> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_first())
        .map(|(name, value)| (NAMES[usize::from(*name) % 5], value))
        .collect();
    let (context, malformed) = Context::extract(&headers);
    assert!(malformed <= 5 && context.others.len() <= 2048);
    assert!(
        context
            .request_id
            .as_ref()
            .is_none_or(|id| id.len() <= 128 && !id.contains(char::is_control))
    );
    let mut sent: HashMap<String, String> = HashMap::new();
    context.inject(&mut sent);
    assert!(sent.values().all(|value| value.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
    let (received, malformed) = Context::extract(&sent);
    assert_eq!((received.flow_id, malformed), (context.flow_id, 0));
    if context.span_id.is_some() {
        assert_eq!((received.span_id, received.clock), (context.span_id, context.clock));
        assert_eq!((received.flags, received.others), (context.flags, context.others));
    }
});
