//! One flat object of any vocabulary.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::NotJson;
use super::value::{Depth, Key, Value};
use crate::{Problems, Scalar};

/// Reads one flat object of any vocabulary: its keys and scalar values in their order.
///
/// `null` is left out, a nested value is kept as its JSON text, and of a key that comes twice the first wins.
///
/// # Errors
/// [`NotJson`] where the line is no JSON object.
pub fn flat(line: &[u8]) -> Result<(Fields<'_>, Problems), NotJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let Flat(fields, problems) = Flat::deserialize(&mut deserializer).map_err(|_| NotJson)?;
    deserializer.end().map_err(|_| NotJson)?;
    Ok((fields, problems))
}

/// Keys and scalar values of one flat object.
pub type Fields<'a> = Vec<(Cow<'a, str>, Scalar<'a>)>;

struct Flat<'a>(Fields<'a>, Problems);

impl<'de> Deserialize<'de> for Flat<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;
        impl<'de> Visitor<'de> for Line {
            type Value = Flat<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Flat<'de>, A::Error> {
                // Room for most lines' fields at once.
                let mut collected =
                    Collected { fields: Vec::with_capacity(24), ..Collected::default() };
                let mut problems = Problems::default();
                while let Some(Key(name)) = map.next_key()? {
                    let value = map.next_value_seed(Depth::Scalar)?;
                    collected.push(name, value, &mut problems);
                }
                Ok(Flat(collected.fields, problems))
            }
        }
        deserializer.deserialize_map(Line)
    }
}

/// Fields in their order, each name once.
#[derive(Default)]
pub(super) struct Collected<'a> {
    pub(super) fields: Fields<'a>,
    seen: HashSet<Cow<'a, str>>,
}

impl<'a> Collected<'a> {
    pub(super) fn push(&mut self, name: Cow<'a, str>, value: Value<'a>, problems: &mut Problems) {
        let twice = if self.fields.len() < LINEAR_SEARCH {
            self.fields.iter().any(|(earlier, _)| *earlier == name)
        } else {
            if self.seen.is_empty() {
                self.seen.extend(self.fields.iter().map(|(earlier, _)| earlier.clone()));
            }
            !self.seen.insert(name.clone())
        };
        match value {
            _ if twice => problems.duplicate_keys += 1,
            Value::Scalar(value) => self.fields.push((name, value)),
            Value::Nested(value) => {
                self.fields.push((name, Scalar::Text(Cow::Owned(value.to_string()))))
            }
            Value::Null | Value::Object(_) => {}
        }
    }
}

/// Past this many fields, duplicates are looked for with a set: a hostile line must not cost a square.
const LINEAR_SEARCH: usize = 32;
