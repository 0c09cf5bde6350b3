//! The components that somebody asks for.

use std::collections::BTreeSet;

use compact_str::CompactString;

/// The components that count; all of them where none is asked for.
#[derive(Debug, Clone, Default)]
pub struct Components(BTreeSet<CompactString>);

impl Components {
    /// Those of these names, in capitals or not.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(
            names.into_iter().map(|name| CompactString::from(name.trim()).to_lowercase()).collect(),
        )
    }

    /// Whether every component counts.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what a component says counts.
    pub fn holds(&self, name: &str) -> bool {
        self.is_all()
            || self.0.contains(name)
            || self.0.iter().any(|chosen| chosen.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_asked_for_is_all() {
        assert!(Components::default().holds("router") && Components::default().holds(""));
        let two = Components::of(["Router", " backend"]);
        assert_eq!(
            ["router", "Backend", "prefill", ""].map(|name| two.holds(name)),
            [true, true, false, false]
        );
    }
}
