//! Filter by component name.

use std::collections::BTreeSet;

use compact_str::CompactString;

/// Selected components; an empty set selects all.
#[derive(Debug, Clone, Default)]
pub struct ComponentFilter(BTreeSet<CompactString>);

impl ComponentFilter {
    /// Creates a filter for these names. Case and surrounding whitespace are ignored.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(
            names.into_iter().map(|name| CompactString::from(name.trim()).to_lowercase()).collect(),
        )
    }

    /// Returns whether every component is selected.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a component is selected.
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
    fn an_empty_filter_selects_all() {
        assert!(ComponentFilter::default().holds("router") && ComponentFilter::default().holds(""));
        let two = ComponentFilter::of(["Router", " backend"]);
        assert_eq!(
            ["router", "Backend", "prefill", ""].map(|name| two.holds(name)),
            [true, true, false, false]
        );
    }
}
