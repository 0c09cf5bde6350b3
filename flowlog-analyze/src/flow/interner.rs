//! String interning: small IDs for names that occur in millions of lines.

use std::hash::Hash;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use indexmap::IndexSet;

use super::position::{ProducerId, ServiceInstance};

/// Strings, each with a number. The empty string is [`StringInterner::NONE`].
#[derive(Debug, Clone)]
pub(super) struct StringInterner(IndexSet<CompactString, FixedState>);

impl StringInterner {
    /// Number of the empty string.
    pub(super) const NONE: u32 = 0;

    /// Returns the number of a string, and adds it if it is new. `None` if there are `max` already.
    pub(super) fn get_or_intern(&mut self, text: &str, max: usize) -> Option<u32> {
        if text.is_empty() {
            return Some(Self::NONE);
        }
        let known = self.0.get_index_of(text);
        let number = known.or_else(|| {
            (self.0.len() < max).then(|| self.0.insert_full(CompactString::from(text)).0)
        });
        u32::try_from(number?).ok()
    }

    pub(super) fn clear(&mut self) {
        self.0.truncate(1);
    }

    /// Returns the string of a number; the empty one if there is none.
    pub(super) fn resolve(&self, number: u32) -> &CompactString {
        const EMPTY: &CompactString = &CompactString::const_new("");
        self.0.get_index(number as usize).unwrap_or(EMPTY)
    }

    /// Iterates over all strings in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &CompactString> {
        self.0.iter()
    }
}

impl Default for StringInterner {
    fn default() -> Self {
        Self(IndexSet::from_iter([CompactString::default()]))
    }
}

fn intern<T: Eq + Hash>(values: &mut IndexSet<T, FixedState>, value: T) -> u32 {
    u32::try_from(values.insert_full(value).0).unwrap_or(u32::MAX)
}

/// Writer of rows: a producer, with the component and instance that its lines name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) producer_id: ProducerId,
    /// Interned ID of the component name.
    pub(super) component: u32,
    /// Interned ID of the instance name.
    pub(super) instance: u32,
    /// ID of the service instance, by which flows refer to the process.
    pub(super) service_instance: u32,
}

/// Interned names, writers and service instances of the rows of all flows.
#[derive(Debug, Clone, Default)]
pub(super) struct Interner {
    pub(super) names: StringInterner,
    writers: IndexSet<Writer, FixedState>,
    instances: IndexSet<(u32, u32, ProducerId), FixedState>,
}

impl Interner {
    /// Maximum number of interned names. Lines with further names are kept in full, so that a log
    /// in which every line names another state cannot fill memory.
    pub(super) const MAX_NAMES: usize = 100_000;

    /// Returns the ID of a writer, interning it if needed.
    pub(super) fn writer(&mut self, producer_id: ProducerId, component: u32, instance: u32) -> u32 {
        // The producer stands for an instance only if none is named.
        let own = if instance == StringInterner::NONE { producer_id } else { ProducerId::NONE };
        let service_instance = intern(&mut self.instances, (component, instance, own));
        let writer = Writer { producer_id, component, instance, service_instance };
        intern(&mut self.writers, writer)
    }

    pub(super) fn writer_of(&self, number: u32) -> Writer {
        const UNKNOWN_WRITER: Writer = Writer {
            producer_id: ProducerId::NONE,
            component: StringInterner::NONE,
            instance: StringInterner::NONE,
            service_instance: 0,
        };
        self.writers.get_index(number as usize).copied().unwrap_or(UNKNOWN_WRITER)
    }

    pub(super) fn service_instance(&self, number: u32) -> ServiceInstance {
        let (component, instance, producer_id) =
            self.instances.get_index(number as usize).copied().unwrap_or((0, 0, ProducerId::NONE));
        (self.names.resolve(component).clone(), self.names.resolve(instance).clone(), producer_id)
    }
}
