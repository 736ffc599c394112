//! Header fields and query parameters as JSON and the like: maps from names to lists of values, for programs that store
//! them.

use std::fmt;

use serde::{
    de::{self, Deserialize, Deserializer, MapAccess, Visitor},
    ser::{Serialize, SerializeMap, Serializer},
};

use super::{Headers, Querys};

/// Serializes names with all of their values: `{"name": ["value"]}`. Names are in the order of their first value.
/// The function returns the text of a value.
pub(super) struct Values<'a, F>(pub(super) Vec<(&'a str, &'a str)>, pub(super) F);

impl<F: Fn(&str, &str) -> String> Serialize for Values<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &self.0 {
            if !names.contains(name) {
                names.push(name);
            }
        }
        let mut map = serializer.serialize_map(Some(names.len()))?;
        for name in names {
            let values = self.0.iter().filter(|(other, _)| *other == name);
            let values: Vec<String> = values.map(|(name, value)| self.1(name, value)).collect();
            map.serialize_entry(name, &values)?;
        }
        map.end()
    }
}

/// Serializes the fields as a map from names to lists of values, secrets included.
impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.iter().collect();
        Values(values, |_: &str, value: &str| value.to_owned()).serialize(serializer)
    }
}

/// Serializes the parameters as a map from names to lists of values, secrets included.
impl Serialize for Querys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.iter().collect();
        Values(values, |_: &str, value: &str| value.to_owned()).serialize(serializer)
    }
}

/// Deserializes a map from names to lists of values. An invalid name or value is an error.
impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from header names to lists of values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Headers::new();
                while let Some((name, values)) = map.next_entry::<String, Vec<String>>()? {
                    for value in values {
                        headers.try_add(&name, &value).map_err(de::Error::custom)?;
                    }
                }
                Ok(headers)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_stored_and_read_again() {
        let mut headers = Headers::new();
        for (name, value) in [("host", "h"), ("x", "1"), ("cookie", "a=b"), ("x", "2")] {
            headers.try_add(name, value).unwrap();
        }
        let json = serde_json::to_string(&headers).unwrap();
        assert_eq!(json, r#"{"host":["h"],"x":["1","2"],"cookie":["a=b"]}"#);
        let read: Headers = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        for wrong in [
            r#"{"a b":["c"]}"#,
            r#"{"a":["b\nc"]}"#,
            r#"{"a":"b"}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<Headers>(wrong).is_err(), "{wrong}");
        }
        let querys = serde_json::to_string(&Querys::parse("a=1&b=2&a=3")).unwrap();
        assert_eq!(querys, r#"{"a":["1","3"],"b":["2"]}"#);
    }
}
