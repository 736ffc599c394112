use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU8};

use serde::Deserialize;

use super::*;

macro_rules! forms {
    ($($item:item)+) => {$(
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only its form counts")]
        $item
    )+};
}

forms! {
    struct Id(u64);
    struct Pair(String, i8);
    struct Defaults(u8, #[serde(default)] u8);
    struct Post { id: Id, room: String, side: Option<Side> }
    struct Strange { odd: Odd, id: u8 }
    struct Odds { id: u8, between: u8, odd: Odd }
    struct Other { #[serde(alias = "post", alias = "item")] id: Odd }
    #[serde(deny_unknown_fields)]
    struct Strict { id: u8 }
    struct Renamed { #[serde(rename = "post-id")] id: u8, #[serde(default)] page: u32 }
    struct Flat { #[serde(flatten)] rest: BTreeMap<String, String>, id: String }
    struct Nested { id: Id, post: Box<Strict> }
    struct Tried { #[serde(deserialize_with = "odd")] id: u8, ip: IpAddr, count: NonZeroU8 }
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only its form counts")]
enum Side {
    Of(u8),
    Left,
}

/// A type that accepts only one value. No sample is this value.
struct Odd;

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match <&str>::deserialize(deserializer)? {
            "odd value" => Ok(Self),
            _ => Err(D::Error::custom("odd")),
        }
    }
}

fn odd<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    // The deserializer of a program may panic. This one panics on a sample that is not a number.
    Ok(String::deserialize(deserializer)?.parse().unwrap())
}

struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert_eq!(text, "odd value");
        Ok(Self)
    }
}

fn fits<T: DeserializeOwned>(names: &[&str]) {
    assert_eq!(check::<T>(names), Ok(()), "{}", std::any::type_name::<T>());
}

fn lacks<T: DeserializeOwned>(names: &[&str], text: &str) {
    let name = std::any::type_name::<T>();
    let error = check::<T>(names).expect_err(name);
    assert!(error.contains(text), "{name}: {error}");
}

#[test]
fn what_some_request_could_fit_starts() {
    fits::<u32>(&["id"]);
    fits::<String>(&["id"]);
    fits::<Option<bool>>(&["id"]);
    fits::<Id>(&["id"]);
    fits::<Side>(&["side"]);
    fits::<Odd>(&["odd"]);
    fits::<Panics>(&["odd"]);
    fits::<(Panics, u8)>(&["odd", "id"]);
    fits::<()>(&["id", "room"]);
    fits::<(u8, Odd, char)>(&["a", "b", "c"]);
    fits::<[f32; 2]>(&["a", "b"]);
    fits::<Vec<String>>(&[]);
    fits::<Vec<Side>>(&["a", "b"]);
    fits::<Pair>(&["a", "b"]);
    fits::<Defaults>(&["a"]);
    fits::<Defaults>(&["a", "b"]);
    fits::<BTreeMap<String, String>>(&["a", "b"]);
    fits::<serde_json::Value>(&["a", "b"]);
    fits::<Post>(&["room", "id"]);
    fits::<Post>(&["room", "id", "side", "more"]);
    fits::<Strange>(&["odd", "id"]);
    fits::<Other>(&["post"]);
    fits::<Other>(&["id"]);
    fits::<Renamed>(&["post-id"]);
    fits::<Flat>(&["id", "more"]);
    fits::<Tried>(&["id", "ip", "count"]);
    // The result is unclear, so the check passes.
    fits::<Other>(&["nothing", "item"]);
    fits::<Strange>(&["odd"]);
}

#[test]
fn what_no_request_could_fit_is_told() {
    let two = ["a", "b"];
    lacks::<u32>(
        &[],
        "it takes one parameter, and the pattern has no parameter",
    );
    lacks::<u32>(&two, "the pattern has 2 parameters");
    lacks::<Option<Id>>(&[], "no parameter");
    lacks::<Side>(&two, "2 parameters");
    lacks::<Odd>(&two, "2 parameters");
    lacks::<(u8,)>(&two, "it takes 1 parameter, and the pattern has 2");
    lacks::<(u8, Odd)>(&["a"], "it takes 2 parameters, and the pattern has 1");
    lacks::<(u8, u8)>(&[], "no parameter");
    lacks::<[u8; 3]>(&two, "3 parameters");
    lacks::<Pair>(&["a"], "more parameters");
    lacks::<Pair>(&["a", "b", "c"], "3 parameters");
    lacks::<Post>(
        &["id"],
        "it has the field `room`, and the pattern has only `id`",
    );
    lacks::<Post>(&[], "no parameter");
    lacks::<Post>(&["room", "post_id"], "`id`");
    lacks::<Renamed>(&["id"], "`post-id`");
    lacks::<Odds>(&["odd", "between"], "`id`");
    lacks::<Strict>(&["id", "more"], "no field `more`");
    lacks::<Flat>(&["more"], "`id`");
    lacks::<Tried>(&["id", "ip"], "`count`");
    lacks::<Nested>(
        &["id", "post"],
        "more than one text of the parameter `post`",
    );
    lacks::<Vec<Vec<u8>>>(&two, "more than one text of the parameter `a`");
    lacks::<(u8, (u8, u8))>(&two, "more than one text of the parameter `b`");
    lacks::<BTreeMap<u8, u8>>(&two, "the name `a` does not fit it");
}
