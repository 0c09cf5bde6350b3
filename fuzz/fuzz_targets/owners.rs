//! Any text as any kind of table of owners: what is read goes out and comes in again the same.
#![no_main]

use flowlog_analyze::owners::{Owners, OwnersForm};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for name in ["owners.toml", "pics.md", "areas.yaml", "CODEOWNERS"] {
        let Ok(read) = Owners::read(name, text) else { continue };
        let mut owners = Owners::default();
        let _ = owners.merge(read);
        let written = owners.write(OwnersForm::Toml);
        assert_eq!(Owners::read("owners.toml", &written).unwrap_or_default(), owners, "{written}");
        let _ = owners.write(OwnersForm::Markdown);
        let _ = owners.of("vllm");
    }
});
