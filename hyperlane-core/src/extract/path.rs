//! Deserialization of route parameters into types of the program.

pub(super) mod fit;

use std::fmt;

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, Expected, IntoDeserializer, MapAccess,
        SeqAccess, Visitor, value::BorrowedStrDeserializer,
    },
    forward_to_deserialize_any,
};

use crate::{RequestError, RouteParams};

/// Deserializes all parameters of a route as `T`.
pub(super) fn read<T: DeserializeOwned>(params: &RouteParams) -> Result<T, RequestError> {
    let params = Parameters(params);
    let value = T::deserialize(params).or_else(|mismatch| match (mismatch, params.only()) {
        // `T` read the only parameter as text and parsed the text itself, so the error does not name the parameter yet.
        (mismatch @ Mismatch::Value(_), Ok(parameter)) => parameter.named(Err(mismatch)),
        (mismatch, _) => Err(mismatch),
    });
    value.map_err(|mismatch| match mismatch {
        Mismatch::Value(text) | Mismatch::Named(text) => RequestError::Path(text),
        Mismatch::Route(text) => RequestError::refused(
            500,
            format!("the route's parameters do not match the handler's: {text}"),
        ),
    })
}

/// The reason why the parameters cannot become the requested type.
#[derive(Debug)]
enum Mismatch {
    /// A value is invalid. This is the client's fault.
    Value(String),
    /// A value is invalid, and the text names its parameter.
    Named(String),
    /// The parameters of the pattern do not match the type. This is the program's fault, because every request would
    /// fail.
    Route(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Value(text) | Self::Named(text) | Self::Route(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for Mismatch {}

impl serde::de::Error for Mismatch {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Value(text.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Route(format!("missing field `{field}`"))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::Route(format!("unknown field `{field}`"))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::Route(format!("{length} parameters, expected {expected}"))
    }
}

/// All parameters of a route. They deserialize by name as a struct or map, and in order as a list or tuple. If there is
/// only one parameter, they also deserialize as a single value.
#[derive(Clone, Copy)]
struct Parameters<'a>(&'a RouteParams);

impl<'a> Parameters<'a> {
    fn values(self) -> impl Iterator<Item = Parameter<'a>> {
        self.0.iter().map(|(name, value)| Parameter { name, value })
    }

    fn only(self) -> Result<Parameter<'a>, Mismatch> {
        let mut values = self.values();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(Mismatch::Route(format!(
                "{} parameters, expected one",
                self.0.len()
            ))),
        }
    }
}

/// Implements methods that deserialize a single value from the only parameter.
macro_rules! only {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            let parameter = self.only()?;
            parameter.named(parameter.$method(visitor))
        }
    )+};
}

impl<'de> Deserializer<'de> for Parameters<'de> {
    type Error = Mismatch;

    only! {
        deserialize_bool deserialize_char deserialize_str deserialize_string
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_map(Remaining {
            values: self.values(),
            value: None,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let mut remaining = Remaining {
            values: self.values(),
            value: None,
        };
        let value = visitor.visit_seq(&mut remaining)?;
        match remaining.values.count() {
            0 => Ok(value),
            more => Err(Mismatch::Route(format!(
                "{} parameters, expected {}",
                self.0.len(),
                self.0.len() - more
            ))),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let parameter = self.only()?;
        parameter.named(parameter.deserialize_enum(name, variants, visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }
}

/// One parameter. Its text is parsed as the requested type.
#[derive(Clone, Copy)]
struct Parameter<'a> {
    name: &'a str,
    value: &'a str,
}

impl Parameter<'_> {
    /// Adds the parameter's name to the error. The result counts as the client's fault, whatever the error was.
    fn named<T>(self, result: Result<T, Mismatch>) -> Result<T, Mismatch> {
        result.map_err(|mismatch| match mismatch {
            Mismatch::Named(text) => Mismatch::Named(text),
            mismatch => Mismatch::Named(format!("`{}`: {mismatch}", self.name)),
        })
    }
}

/// The parameters of a list or a map that have not been read.
struct Remaining<'de, I> {
    values: I,
    /// The parameter whose name was read and whose value was not read yet.
    value: Option<Parameter<'de>>,
}

impl<'de, I: Iterator<Item = Parameter<'de>>> SeqAccess<'de> for Remaining<'de, I> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mismatch> {
        let Some(parameter) = self.values.next() else {
            return Ok(None);
        };
        parameter.named(seed.deserialize(parameter)).map(Some)
    }
}

impl<'de, I: Iterator<Item = Parameter<'de>>> MapAccess<'de> for Remaining<'de, I> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mismatch> {
        let Some(parameter) = self.values.next() else {
            return Ok(None);
        };
        self.value = Some(parameter);
        seed.deserialize(BorrowedStrDeserializer::new(parameter.name))
            .map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Mismatch> {
        match self.value.take() {
            Some(parameter) => parameter.named(seed.deserialize(parameter)),
            None => Err(Mismatch::custom("a value was requested before its name")),
        }
    }
}

/// Implements methods that parse the text as the requested type.
macro_rules! parsed {
    ($($method:ident $visit:ident $ty:ty;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            match self.value.parse::<$ty>() {
                Ok(value) => visitor.$visit(value),
                Err(error) => Err(Mismatch::custom(format_args!(
                    "{:?} is no {}: {error}", self.value, stringify!($ty)
                ))),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for Parameter<'de> {
    type Error = Mismatch;

    parsed! {
        deserialize_bool visit_bool bool;
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
        deserialize_char visit_char char;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_borrowed_str(self.value)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_borrowed_bytes(self.value.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_enum(self.value.into_deserializer())
    }

    forward_to_deserialize_any! {
        str string unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    fn params(pairs: &[(&str, &str)]) -> RouteParams {
        let mut params = RouteParams::default();
        for (name, value) in pairs {
            params.push(*name, *value);
        }
        params
    }

    fn fits<T: DeserializeOwned + PartialEq + fmt::Debug>(pairs: &[(&str, &str)], value: T) {
        assert_eq!(read::<T>(&params(pairs)), Ok(value));
    }

    fn refused<T: DeserializeOwned + fmt::Debug>(pairs: &[(&str, &str)]) -> String {
        read::<T>(&params(pairs)).unwrap_err().to_string()
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Side {
        Left,
        Right,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Id(u64);

    #[derive(Debug, Deserialize, PartialEq)]
    struct Post {
        id: Id,
        room: String,
        side: Option<Side>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Pair(String, i8);

    #[derive(Debug, Deserialize, PartialEq)]
    struct Nothing;

    #[test]
    fn parameters_become_what_is_asked_for() {
        let one = [("id", "7")];
        fits(&one, "7".to_owned());
        fits(&one, '7');
        fits(&one, 7_u8);
        fits(&one, 7_i128);
        fits(&one, 7.0_f64);
        fits(&one, Some(7_u16));
        fits(&one, Id(7));
        fits(&one, (7_u32,));
        fits(&one, vec!["7".to_owned()]);
        fits(&[("side", "left")], Side::Left);
        fits(&[("yes", "true")], true);
        fits(&[], ());
        fits(&[], Nothing);
        let two = [("room", "a b"), ("id", "-1")];
        fits(&two, ("a b".to_owned(), -1_i64));
        fits(&two, Pair("a b".to_owned(), -1));
        fits(
            &two,
            BTreeMap::from(
                [("id", "-1"), ("room", "a b")].map(|(n, v)| (n.to_owned(), v.to_owned())),
            ),
        );
        fits(
            &[("room", "r"), ("id", "1"), ("side", "right")],
            Post {
                id: Id(1),
                room: "r".to_owned(),
                side: Some(Side::Right),
            },
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let bad = [("id", "seven")];
        assert_eq!(
            refused::<u32>(&bad),
            "invalid path: `id`: \"seven\" is no u32: invalid digit found in string"
        );
        assert!(refused::<(u32,)>(&bad).contains("`id`"));
        assert!(refused::<Side>(&bad).contains("`id`: unknown variant `seven`"));
        assert!(refused::<Post>(&bad).contains("`id`"));
        assert!(refused::<Vec<Vec<u8>>>(&bad).contains("`id`: invalid type"));
        // The error also names the parameter if the program's type parses the text itself.
        let (hex, two) = ("`id`: invalid digit", [("a", "1"), ("id", "xx")]);
        assert!(refused::<Hex>(&bad).contains(hex));
        assert!(refused::<(u8, Hex)>(&two).contains(hex));
        assert!(refused::<BTreeMap<String, Hex>>(&bad).contains(hex));
    }

    /// A type that borrows the text of the parameter while it parses the text.
    #[derive(Debug, PartialEq)]
    struct Hex(u32);

    impl<'de> Deserialize<'de> for Hex {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = <&str>::deserialize(deserializer)?;
            u32::from_str_radix(text, 16)
                .map(Self)
                .map_err(serde::de::Error::custom)
        }
    }

    #[test]
    fn values_can_be_borrowed() {
        fits(&[("id", "ff")], Hex(255));
        fits(&[("a", "1"), ("id", "ff")], (1_u8, Hex(255)));
    }

    #[test]
    fn a_pattern_that_no_request_could_fit_is_the_programs_fault() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Strict {
            #[serde(rename = "id")]
            _id: u8,
        }

        fn status<T: DeserializeOwned + fmt::Debug>(pairs: &[(&str, &str)], text: &str) {
            let error = read::<T>(&params(pairs)).unwrap_err();
            assert_eq!(error.status(), 500);
            assert!(error.to_string().contains(text), "{error}");
        }

        let two = [("a", "1"), ("b", "2")];
        status::<Post>(&[("id", "1")], "missing field `room`");
        status::<Strict>(&[("id", "1"), ("b", "2")], "unknown field `b`");
        status::<u32>(&[], "0 parameters");
        status::<u32>(&two, "2 parameters");
        status::<(u8, u8)>(&two[..1], "1 parameters, expected a tuple of size 2");
        status::<(u8,)>(&two, "2 parameters");
    }
}
