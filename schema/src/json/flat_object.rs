//! Flat JSON objects of any vocabulary.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::NotJson;
use super::value::{Depth, Key, Value};
use crate::{Problems, Scalar};

/// Decodes one flat object of any vocabulary into its keys and scalar values, in order.
///
/// `null` values are omitted, nested values are kept as JSON text, and the first value of a
/// repeated key wins.
///
/// # Errors
/// [`NotJson`] if the line is not a JSON object.
pub fn flat_object(line: &[u8]) -> Result<(Fields<'_>, Problems), NotJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let Flat(fields, problems) = Flat::deserialize(&mut deserializer).map_err(|_| NotJson)?;
    deserializer.end().map_err(|_| NotJson)?;
    Ok((fields, problems))
}

/// Keys and scalar values of a flat object.
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
                // Enough room for the fields of most lines.
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

/// Fields in order, each name once.
#[derive(Default)]
pub(super) struct Collected<'a> {
    pub(super) fields: Fields<'a>,
    seen: HashSet<Cow<'a, str>>,
}

impl<'a> Collected<'a> {
    pub(super) fn push(&mut self, name: Cow<'a, str>, value: Value<'a>, problems: &mut Problems) {
        let twice = if self.fields.len() < MAX_LINEAR_FIELDS {
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
                self.fields.push((name, Scalar::Text(Cow::Owned(value.to_string()))));
            }
            Value::Null | Value::Object(_) => {}
        }
    }
}

/// Number of fields above which duplicates are found with a set, so that a hostile line does not
/// take quadratic time.
const MAX_LINEAR_FIELDS: usize = 32;
