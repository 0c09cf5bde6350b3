//! The JSON Schemas in this crate match the types.
//!
//! `FLOWLOG_BLESS=1 cargo test -p flowlog-schema --all-features` regenerates them.
#![cfg(feature = "json-schema")]

use std::path::PathBuf;

use flowlog_schema::{Record, lint::LintReport, report::Report};

#[test]
fn generated_schemas_are_fresh() {
    for (name, schema) in [
        ("record.schema.json", schemars::schema_for!(Record<'static>)),
        ("report.schema.json", schemars::schema_for!(Report)),
        ("lint.schema.json", schemars::schema_for!(LintReport)),
    ] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
        let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("FLOWLOG_BLESS").is_some() {
            std::fs::write(&path, &generated).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), generated, "{name} is stale");
    }
}
