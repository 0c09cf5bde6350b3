//! Any text as any kind of owner table: a table that parses is written and parsed again unchanged.

use flowlog_analyze::owners::{Owners, OwnersFormat};

/// Checks one input.
///
/// # Panics
/// Panics if a property does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for name in ["owners.toml", "pics.md", "areas.yaml", "CODEOWNERS"] {
        let Ok(read) = Owners::read(name, text) else { continue };
        let mut owners = Owners::default();
        let _ = owners.merge(read);
        let written = owners.write(OwnersFormat::Toml);
        assert_eq!(Owners::read("owners.toml", &written).unwrap_or_default(), owners, "{written}");
        let _ = owners.write(OwnersFormat::Markdown);
        let _ = owners.of("vllm");
    }
}
