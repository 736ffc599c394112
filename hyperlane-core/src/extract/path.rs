//! Route parameters as the program's own types.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::{RequestError, RouteParams};

/// Reads all parameters of a route as `T`.
pub(super) fn read<T: DeserializeOwned>(params: &RouteParams) -> Result<T, RequestError> {
    T::deserialize(Parameters(params)).map_err(|Unfit(text)| RequestError::Path(text))
}

/// What does not fit.
#[derive(Debug)]
struct Unfit(String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

impl serde::de::Error for Unfit {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// All parameters: a struct or map by their names, a list or tuple in their order, or the only one.
#[derive(Clone, Copy)]
struct Parameters<'a>(&'a RouteParams);

impl<'a> Parameters<'a> {
    fn values(self) -> impl Iterator<Item = Parameter<'a>> {
        self.0.iter().map(|(name, value)| Parameter { name, value })
    }

    fn only(self) -> Result<Parameter<'a>, Unfit> {
        let mut values = self.values();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(Unfit(format!(
                "the route has {} parameters where one is asked for",
                self.0.len()
            ))),
        }
    }
}

/// Hands what is one value to the only parameter.
macro_rules! only {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
            self.only()?.$method(visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for Parameters<'_> {
    type Error = Unfit;

    only! {
        deserialize_bool deserialize_char deserialize_str deserialize_string
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_map(MapDeserializer::new(
            self.values().map(|parameter| (parameter.name, parameter)),
        ))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        let mut values = SeqDeserializer::new(self.values());
        let value = visitor.visit_seq(&mut values)?;
        values.end().map(|()| value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Unfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }
}

/// One parameter: text, which is parsed as what is asked for.
#[derive(Clone, Copy)]
struct Parameter<'a> {
    name: &'a str,
    value: &'a str,
}

impl Parameter<'_> {
    /// Puts the parameter's name before what is wrong.
    fn named<T>(self, result: Result<T, Unfit>) -> Result<T, Unfit> {
        result.map_err(|Unfit(text)| Unfit(format!("`{}`: {text}", self.name)))
    }
}

impl<'de> IntoDeserializer<'de, Unfit> for Parameter<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Parses what is not text.
macro_rules! parsed {
    ($($method:ident $visit:ident $ty:ty;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
            match self.value.parse::<$ty>() {
                Ok(value) => self.named(visitor.$visit(value)),
                Err(error) => self.named(Err(Unfit::custom(format_args!(
                    "{:?} is no {}: {error}", self.value, stringify!($ty)
                )))),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for Parameter<'_> {
    type Error = Unfit;

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

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.named(visitor.visit_str(self.value))
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.named(visitor.visit_bytes(self.value.as_bytes()))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.named(visitor.visit_enum(self.value.into_deserializer()))
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
        assert!(refused::<Post>(&[("id", "1")]).contains("missing field `room`"));
        assert!(refused::<u32>(&[]).contains("0 parameters"));
        assert!(refused::<u32>(&[("a", "1"), ("b", "2")]).contains("2 parameters"));
        assert!(refused::<(u8, u8)>(&[("a", "1")]).contains("invalid length 1"));
        assert!(refused::<(u8,)>(&[("a", "1"), ("b", "2")]).contains("invalid length 2"));
        assert!(refused::<Vec<Vec<u8>>>(&bad).contains("`id`: invalid type"));
    }
}
