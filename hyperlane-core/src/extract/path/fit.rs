//! Checks, at the server's start, whether a route's parameters can be deserialized as the type that the handler takes.
//!
//! serde does not describe the shape of a type. So the check deserializes the type from the names of the parameters and
//! from sample values. The type shows its shape by the `Deserializer` methods that it calls. If the type refuses a
//! sample value, the check runs again with another sample. If the result is unclear, the check passes, because it must
//! not stop a program that works.

use std::{
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, Expected, IntoDeserializer, MapAccess,
        SeqAccess, Unexpected, Visitor, value::BorrowedStrDeserializer,
    },
};

use crate::panic::drop_payload;

/// The texts of the sample values. Common types accept at least one of them.
const SAMPLES: [&str; 10] = [
    "1",
    "a",
    "00000000-0000-4000-8000-000000000000",
    "2000-01-01",
    "2000-01-01T00:00:00Z",
    "127.0.0.1",
    "true",
    "https://a.example/",
    "00",
    "a@a.example",
];

/// Returns an error if no values of the parameters could ever become a `T`.
pub(crate) fn check<T: DeserializeOwned>(names: &[&str]) -> Result<(), String> {
    let trial = Trial {
        names,
        refused: names.iter().map(|_| Cell::new(0)).collect(),
        fields: Cell::new(&[]),
    };
    // A run deserializes `T` once. Each run except the last one records one more refused sample.
    for _ in 0..=names.len() * SAMPLES.len() {
        // The `Deserialize` implementation of the program may do anything with sample values. It may even panic.
        let run = catch_unwind(AssertUnwindSafe(|| T::deserialize(Whole(&trial)).map(drop)));
        match run {
            Ok(Err(Stop::Form(text))) => return Err(text),
            Ok(Err(Stop::Missing(field))) if trial.lacks(field) => {
                return Err(format!(
                    "it has the field `{field}`, and {}",
                    trial.parameter_names()
                ));
            }
            Ok(Err(Stop::Refused)) => {}
            Err(payload) => {
                drop_payload(payload);
                return Ok(());
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// The results of all runs so far.
struct Trial<'a> {
    names: &'a [&'a str],
    /// The number of refused samples of each parameter.
    refused: Box<[Cell<usize>]>,
    /// The fields of the struct that the type reads, including aliases.
    fields: Cell<&'static [&'static str]>,
}

impl<'a> Trial<'a> {
    fn values(&self) -> impl Iterator<Item = Value<'_>> {
        let values = self.names.iter().zip(&self.refused);
        values.map(|(name, refused)| Value { name, refused })
    }

    fn parameter_names(&self) -> String {
        match self.names {
            [] => "the pattern has no parameter".to_owned(),
            names => format!("the pattern has only `{}`", names.join("`, `")),
        }
    }

    fn count(&self) -> String {
        match self.names.len() {
            0 => "the pattern has no parameter".to_owned(),
            1 => "the pattern has 1 parameter".to_owned(),
            more => format!("the pattern has {more} parameters"),
        }
    }

    /// Returns whether the pattern certainly lacks a field that the type did not find. If the type has refused all
    /// samples of a parameter, later runs omit the parameter. The result is false if an omitted parameter could be the
    /// field under an alias.
    fn lacks(&self, field: &str) -> bool {
        if self.names.contains(&field) {
            return false;
        }
        self.values()
            .filter(|value| value.is_used_up())
            .all(|value| self.are_distinct(field, value.name))
    }

    /// Returns whether two names certainly belong to different fields. In `fields`, all names of one field are
    /// adjacent. So if both names belonged to one field, all names between them would belong to it too. If one of the
    /// names between is a parameter, this parameter would have filled the field, and the field would not be missing.
    fn are_distinct(&self, one: &str, other: &str) -> bool {
        let fields = self.fields.get();
        let place = |name: &str| fields.iter().position(|field| *field == name);
        let (Some(one), Some(other)) = (place(one), place(other)) else {
            return false;
        };
        let between = fields.get(one.min(other) + 1..one.max(other));
        between.is_some_and(|between| between.iter().any(|name| self.names.contains(name)))
    }

    /// Returns the reason with which a run ends if the type takes a single value.
    fn single_value(&self) -> Stop {
        match self.names.len() {
            1 => Stop::Fits,
            _ => Stop::Form(format!("it takes one parameter, and {}", self.count())),
        }
    }
}

/// The reason why a run ended.
#[derive(Debug)]
enum Stop {
    /// The parameters fit the shape of the type.
    Fits,
    /// The parameters do not fit the shape of the type.
    Form(String),
    /// The type requires a field that it did not find.
    Missing(&'static str),
    /// The type refused a sample value, and the trial recorded the refusal.
    Refused,
    /// The type refused the kind of a value, such as text for a number.
    Type(String),
    /// The type refused the number of values.
    Length(String),
    /// Any other error.
    Other(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fits => f.write_str("the shape fits"),
            Self::Missing(field) => write!(f, "missing field `{field}`"),
            Self::Refused => f.write_str("a value was refused"),
            Self::Form(text) | Self::Type(text) | Self::Length(text) | Self::Other(text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for Stop {}

impl serde::de::Error for Stop {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Other(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Type(format!("{found}, expected {expected}"))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::Length(format!("{length}, expected {expected}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::Form(format!("it has no field `{field}`, which the pattern has"))
    }
}

/// All parameters of a route, with sample values. Mirrors [`Parameters`](super::Parameters).
#[derive(Clone, Copy)]
struct Whole<'a>(&'a Trial<'a>);

/// Implements methods that a type calls for a single value.
macro_rules! one {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            Err(self.0.single_value())
        }
    )+};
}

impl<'de> Deserializer<'de> for Whole<'de> {
    type Error = Stop;

    one! {
        deserialize_bool deserialize_char deserialize_str deserialize_string
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_map(Rest {
            values: self.0.values().filter(|value| !value.is_used_up()),
            value: None,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.0.fields.set(fields);
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let mut rest = Rest {
            values: self.0.values(),
            value: None,
        };
        let value = visitor.visit_seq(&mut rest).map_err(|stop| match stop {
            Stop::Length(_) => {
                Stop::Form(format!("it takes more parameters, and {}", self.0.count()))
            }
            stop => stop,
        })?;
        match rest.values.count() {
            0 => Ok(value),
            more => Err(Stop::Form(format!(
                "it takes {} of them, and {}",
                self.0.names.len() - more,
                self.0.count()
            ))),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if length == self.0.names.len() {
            return self.deserialize_seq(visitor);
        }
        let takes = match length {
            1 => "1 parameter".to_owned(),
            length => format!("{length} parameters"),
        };
        Err(Stop::Form(format!(
            "it takes {takes}, and {}",
            self.0.count()
        )))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        // A tuple struct with more fields than parameters may still fit: the additional fields may have defaults.
        if length < self.0.names.len() {
            return self.deserialize_tuple(length, visitor);
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        Err(self.0.single_value())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }
}

/// One parameter with a sample value. Mirrors [`Parameter`](super::Parameter).
#[derive(Clone, Copy)]
struct Value<'a> {
    name: &'a str,
    refused: &'a Cell<usize>,
}

impl<'de> Value<'de> {
    fn is_used_up(self) -> bool {
        self.refused.get() >= SAMPLES.len()
    }

    fn text(self) -> &'static str {
        SAMPLES.get(self.refused.get()).copied().unwrap_or("1")
    }

    /// Returns a small number that grows with each refusal. The first number is 1.
    fn number(self) -> u8 {
        u8::try_from(self.refused.get()).map_or(1, |refused| refused.saturating_add(1))
    }

    /// Deserializes the type for this parameter from the current sample. If the type refuses the sample, records the
    /// refusal.
    fn read<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self).map_err(|stop| match stop {
            Stop::Fits | Stop::Form(_) => stop,
            _ => {
                self.refused.set(self.refused.get() + 1);
                Stop::Refused
            }
        })
    }

    /// Passes text to a type that requested several values from one parameter, or a unit (no value).
    fn visit_several<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let name = self.name;
        visitor
            .visit_borrowed_str(self.text())
            .map_err(|stop| match stop {
                Stop::Type(text) => Stop::Form(format!(
                    "it needs more than one text of the parameter `{name}` ({text})"
                )),
                stop => stop,
            })
    }
}

/// Implements methods that pass a number.
macro_rules! numbers {
    ($($method:ident $visit:ident $ty:ty;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            // The number is small enough for every number type.
            visitor.$visit(self.number() as $ty)
        }
    )+};
}

/// Implements methods that pass a text.
macro_rules! texts {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.visit_borrowed_str(self.text())
        }
    )+};
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Stop;

    numbers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_f32 visit_f32 f32;
        deserialize_f64 visit_f64 f64;
    }

    texts! {
        deserialize_any deserialize_str deserialize_string deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_bool(self.refused.get().is_multiple_of(2))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_char(self.text().chars().next().unwrap_or('1'))
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_borrowed_bytes(self.text().as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let variant = variants.get(self.refused.get()).or(variants.first());
        visitor.visit_enum(variant.copied().unwrap_or_default().into_deserializer())
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.visit_several(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.visit_several(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.visit_several(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Stop> {
        self.visit_several(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.visit_several(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.visit_several(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.visit_several(visitor)
    }
}

/// The parameters that the type has not read yet.
struct Rest<'de, I> {
    values: I,
    /// The parameter whose name was read and whose value was not read yet.
    value: Option<Value<'de>>,
}

impl<'de, I: Iterator<Item = Value<'de>>> SeqAccess<'de> for Rest<'de, I> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        match self.values.next() {
            // The type refused all samples of this parameter. So the result is unclear.
            Some(value) if value.is_used_up() => Err(Stop::Fits),
            Some(value) => value.read(seed).map(Some),
            None => Ok(None),
        }
    }
}

impl<'de, I: Iterator<Item = Value<'de>>> MapAccess<'de> for Rest<'de, I> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        let Some(value) = self.values.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let name = BorrowedStrDeserializer::new(value.name);
        // Every request has the same names, so another run would fail in the same way.
        let key = seed.deserialize(name).map_err(|stop| match stop {
            Stop::Form(_) => stop,
            stop => Stop::Form(format!("the name `{}` does not fit it: {stop}", value.name)),
        });
        key.map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        match self.value.take() {
            Some(value) => value.read(seed),
            None => Err(Stop::custom("a value was asked for before its name")),
        }
    }
}

#[cfg(test)]
mod tests;
