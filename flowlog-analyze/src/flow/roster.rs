//! Numbers for names: what comes by the million is told apart by them.

use std::collections::HashMap;
use std::hash::Hash;

use compact_str::CompactString;
use foldhash::fast::FixedState;

use super::mark::Voice;
use super::settled::Party;

/// Texts, each with a number. The empty one is [`Names::NONE`].
#[derive(Debug, Clone)]
pub(super) struct Names {
    texts: Vec<CompactString>,
    numbers: HashMap<CompactString, u32, FixedState>,
}

impl Names {
    /// The number of the empty text.
    pub(super) const NONE: u32 = 0;

    /// The number of a text; none where there are `most` already.
    pub(super) fn number(&mut self, text: &str, most: usize) -> Option<u32> {
        if text.is_empty() {
            return Some(Self::NONE);
        }
        if let Some(number) = self.numbers.get(text) {
            return Some(*number);
        }
        let number = u32::try_from(self.texts.len()).ok().filter(|_| self.texts.len() < most)?;
        self.texts.push(CompactString::from(text));
        self.numbers.insert(CompactString::from(text), number);
        Some(number)
    }

    pub(super) fn clear(&mut self) {
        self.texts.truncate(1);
        self.numbers.clear();
    }

    pub(super) fn text(&self, number: u32) -> &CompactString {
        const EMPTY: &CompactString = &CompactString::const_new("");
        self.texts.get(number as usize).unwrap_or(EMPTY)
    }

    /// Every text, in the order of the numbers.
    pub(super) fn texts(&self) -> &[CompactString] {
        &self.texts
    }
}

impl Default for Names {
    fn default() -> Self {
        Self { texts: vec![CompactString::default()], numbers: HashMap::default() }
    }
}

/// Values, each with a number.
#[derive(Debug, Clone)]
struct Numbered<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32, FixedState>,
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn number(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let values = &mut self.values;
        *self.numbers.entry(value).or_insert_with_key(|value| {
            values.push(value.clone());
            next
        })
    }
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: HashMap::default() }
    }
}

/// Who writes: a voice, and the component and instance that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) voice: Voice,
    /// Number of the component's name.
    pub(super) component: u32,
    /// Number of the instance's name.
    pub(super) instance: u32,
    /// Number of the process, as a flow names it.
    pub(super) party: u32,
}

/// Who is who in the rows of all flows, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Roster {
    pub(super) names: Names,
    writers: Numbered<Writer>,
    parties: Numbered<(u32, u32, Voice)>,
}

impl Roster {
    /// Most names. Past them lines are kept in full: a log in which every line names another state must not fill memory.
    pub(super) const MOST: usize = 100_000;

    /// The number of a writer.
    pub(super) fn writer(&mut self, voice: Voice, component: u32, instance: u32) -> u32 {
        // The voice stands for an instance only where none is named.
        let party = self.parties.number((
            component,
            instance,
            if instance == Names::NONE { voice } else { Voice::NONE },
        ));
        self.writers.number(Writer { voice, component, instance, party })
    }

    pub(super) fn writer_of(&self, number: u32) -> Writer {
        const NOBODY: Writer =
            Writer { voice: Voice::NONE, component: Names::NONE, instance: Names::NONE, party: 0 };
        self.writers.values.get(number as usize).copied().unwrap_or(NOBODY)
    }

    pub(super) fn party(&self, number: u32) -> Party {
        let (component, instance, voice) =
            self.parties.values.get(number as usize).copied().unwrap_or((0, 0, Voice::NONE));
        (self.names.text(component).clone(), self.names.text(instance).clone(), voice)
    }
}
