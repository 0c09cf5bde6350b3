//! Values of fields that the record does not know by name.

use std::borrow::Cow;

/// A string, a number or a bool. Writers turn non-finite floats into strings.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    /// A string.
    Text(Cow<'a, str>),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    /// A finite number with a fraction or an exponent.
    Float(f64),
    /// A bool.
    Bool(bool),
}

impl Scalar<'_> {
    /// Returns the value as a number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "readings are displayed and compared, so rounding is acceptable"
        )]
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Uint(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Text(_) | Self::Bool(_) => None,
        }
    }

    /// Converts the value into one that borrows nothing.
    pub fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
            Self::Int(value) => Scalar::Int(value),
            Self::Uint(value) => Scalar::Uint(value),
            Self::Float(value) => Scalar::Float(value),
            Self::Bool(value) => Scalar::Bool(value),
        }
    }

    /// Returns the value as unquoted text.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Int(value) => Cow::Owned(value.to_string()),
            Self::Uint(value) => Cow::Owned(value.to_string()),
            Self::Float(value) => Cow::Owned(value.to_string()),
            Self::Bool(value) => Cow::Owned(value.to_string()),
        }
    }

    /// Parses an unquoted word as a bool or a JSON number. Returns `None` for any other word, which
    /// stands for itself.
    pub(crate) fn parse_word(word: &str) -> Option<Scalar<'static>> {
        match word {
            "true" => return Some(Scalar::Bool(true)),
            "false" => return Some(Scalar::Bool(false)),
            _ => {}
        }
        if !word.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return None;
        }
        Self::from_number(&serde_json::from_str(word).ok()?)
    }

    pub(crate) fn from_number(number: &serde_json::Number) -> Option<Scalar<'static>> {
        if let Some(value) = number.as_i64() {
            Some(Scalar::Int(value))
        } else if let Some(value) = number.as_u64() {
            Some(Scalar::Uint(value))
        } else {
            number.as_f64().map(Scalar::Float)
        }
    }

    /// Returns the normal form: integers as `Int` if they fit, non-finite floats as strings.
    pub(crate) fn normal(&self) -> Scalar<'_> {
        match self {
            Self::Uint(value) => i64::try_from(*value).map_or(Scalar::Uint(*value), Scalar::Int),
            Self::Float(value) if !value.is_finite() => Scalar::Text(Cow::Owned(value.to_string())),
            Self::Text(text) => Scalar::Text(Cow::Borrowed(text)),
            Self::Int(value) => Scalar::Int(*value),
            Self::Float(value) => Scalar::Float(*value),
            Self::Bool(value) => Scalar::Bool(*value),
        }
    }
}

impl<'a> From<&'a str> for Scalar<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<i64> for Scalar<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Scalar<'_> {
    fn from(value: u64) -> Self {
        Self::Uint(value)
    }
}

impl From<i32> for Scalar<'_> {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u32> for Scalar<'_> {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<usize> for Scalar<'_> {
    fn from(value: usize) -> Self {
        Self::Uint(value as u64)
    }
}

impl From<String> for Scalar<'_> {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl From<f64> for Scalar<'_> {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for Scalar<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
