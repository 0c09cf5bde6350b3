//! The JSON decoder takes any bytes; what it reads, the encoder writes back to the same record.
#![no_main]

use flowlog_schema::{Skimmer, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let _ = json::flat(line);
    let glance = json::glance(line, &mut |_, _| true);
    let mut skimmer = Skimmer::default();
    let skims = [0; 2].map(|_| {
        skimmer
            .skim(line, &mut |_, _| true)
            .map(|skim| (skim.time, skim.flow_id, skim.span_id, skim.parent_id))
    });
    let Ok((record, _)) = json::decode(line) else {
        assert!(glance.is_none() && skims == [None; 2]);
        return;
    };
    for skim in skims {
        assert_eq!(
            skim,
            glance.map(|glance| (glance.time, glance.flow_id, glance.span_id, glance.parent_id))
        );
    }
    if let Some(glance) = glance {
        assert_eq!(
            (Some(glance.time), Some(glance.flow_id), Some(glance.span_id)),
            (record.time, record.flow_id, record.span_id)
        );
        assert_eq!(
            (glance.component, glance.state, glance.event),
            (&*record.component, record.state.as_deref(), record.event)
        );
    }
    let mut written = Vec::new();
    json::encode(&record, &mut written);
    let (again, problems) = json::decode(&written).expect("what was written can be read");
    assert!(problems.is_empty());
    let mut twice = Vec::new();
    json::encode(&again, &mut twice);
    assert_eq!(written, twice);
});
