//! `Serde<T>` with each attribute that serde has: a value arrives as it was sent, or isn't sent.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;

use crossmist::{EncodeErrorKind, Serde, to_bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::support::through;

/// Arrives, alone and between neighbours that would take or give a byte.
#[track_caller]
fn arrives<T>(value: T)
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + Debug + 'static,
{
    let alone = Serde(value.clone());
    assert_eq!(through(&alone), alone);
    let among = Serde((vec![0u8], value.clone(), value, vec![0u8, 0]));
    assert_eq!(through(&among), among);
}

/// Is refused by its sender, with an error that says all of this.
#[track_caller]
fn is_refused<T>(value: T, says: &[&str])
where
    T: Serialize + DeserializeOwned + Clone + 'static,
{
    let reasons = [
        to_bytes(&Serde(value.clone())).err(),
        // A missing field may be taken from a neighbour.
        to_bytes(&Serde((value.clone(), vec![0u8, 0], 0u64, 0u8))).err(),
        to_bytes(&Serde((vec![value.clone(), value], vec![1u8; 8]))).err(),
    ];
    for error in reasons {
        let error = error.expect("it was sent");
        let EncodeErrorKind::Refused { reason } = error.kind() else {
            panic!("{error}");
        };
        for word in says
            .iter()
            .chain(&["can't be sent by `Serde`", "derive `Object`"])
        {
            assert!(reason.contains(word), "no {word:?} in {reason:?}");
        }
    }
}

macro_rules! data {
    ($($(#[$attribute:meta])* $kind:ident $name:ident $body:tt)*) => {$(
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])*
        $kind $name $body
    )*};
}

data! {
    #[serde(rename = "other", rename_all = "camelCase", deny_unknown_fields, default)]
    #[derive(Default)]
    struct Container { first_one: u8, second_one: String }
    #[serde(transparent)]
    struct Transparent { inner: Vec<u8> }
    #[serde(from = "String", into = "String")]
    struct Converted { text: String }
    #[serde(try_from = "u8", into = "u8")]
    struct Checked { small: u8 }
    #[serde(rename_all = "kebab-case", rename_all_fields = "SCREAMING_SNAKE_CASE")]
    enum Variants { One, TwoWords(u8), Fields { first_one: u8 }, #[serde(rename = "z")] Last(u8, u8) }
    struct Aliased { #[serde(alias = "b", alias = "c")] a: u8, #[serde(rename = "z", alias = "y")] d: u16 }
    enum AliasedVariants { #[serde(alias = "Old", alias = "Older")] New, #[serde(alias = "Z")] Next, Third(u8) }
    struct Defaulted { #[serde(default)] a: u8, #[serde(default = "seven")] b: u8 }
    struct Skipped { a: u8, #[serde(skip)] b: u8, #[serde(skip, default = "seven")] c: u8, d: u8 }
    struct With { #[serde(with = "as_text")] number: u32, next: u8 }
    enum WithVariant { #[serde(with = "as_text")] Number(u32), Other(u8) }
    struct Bytes { #[serde(serialize_with = "as_bytes", deserialize_with = "of_bytes")] bytes: Vec<u8> }
    #[serde(tag = "kind", content = "value")]
    enum Adjacent { Empty, One(u8), Two { text: String }, Three(u8, u8) }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    bound(serialize = "T: Serialize", deserialize = "T: Deserialize<'de>"),
    expecting = "one"
)]
struct Bound<T> {
    inner: T,
}

fn seven() -> u8 {
    7
}

mod as_text {
    use super::*;
    pub(super) fn serialize<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn of_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
    deserializer.deserialize_byte_buf(Visitor)
}

impl From<String> for Converted {
    fn from(text: String) -> Self {
        Self { text }
    }
}

impl From<Converted> for String {
    fn from(converted: Converted) -> Self {
        converted.text
    }
}

impl TryFrom<u8> for Checked {
    type Error = &'static str;
    fn try_from(small: u8) -> Result<Self, Self::Error> {
        (small < 10).then_some(Self { small }).ok_or("too large")
    }
}

impl From<Checked> for u8 {
    fn from(checked: Checked) -> Self {
        checked.small
    }
}

/// As if it were another crate's.
#[derive(Clone, Debug, PartialEq)]
struct Foreign {
    hidden: u8,
}

impl Foreign {
    fn get(&self) -> u8 {
        self.hidden
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Foreign")]
struct ForeignDef {
    #[serde(getter = "Foreign::get")]
    hidden: u8,
}

impl From<ForeignDef> for Foreign {
    fn from(def: ForeignDef) -> Self {
        Self { hidden: def.hidden }
    }
}

data! {
    struct Remote { #[serde(with = "ForeignDef")] foreign: Foreign, next: u8 }
}

#[test]
fn what_both_directions_agree_on_arrives() {
    let text = || "text".to_owned();
    arrives(Container {
        first_one: 1,
        second_one: text(),
    });
    arrives(Transparent { inner: vec![1, 2] });
    arrives(Converted { text: text() });
    arrives(Checked { small: 3 });
    arrives(Bound { inner: Some(1u8) });
    arrives(vec![
        Variants::One,
        Variants::TwoWords(1),
        Variants::Fields { first_one: 2 },
        Variants::Last(3, 4),
    ]);
    arrives(Aliased { a: 1, d: 300 });
    arrives(vec![
        AliasedVariants::New,
        AliasedVariants::Next,
        AliasedVariants::Third(1),
    ]);
    arrives(Defaulted { a: 0, b: 0 });
    arrives(Skipped {
        a: 1,
        b: 0,
        c: 7,
        d: 2,
    });
    arrives(With { number: 5, next: 6 });
    arrives(vec![WithVariant::Number(70), WithVariant::Other(1)]);
    arrives(Bytes {
        bytes: vec![1, 2, 3],
    });
    arrives(Remote {
        foreign: Foreign { hidden: 1 },
        next: 2,
    });
}

#[test]
fn what_is_skipped_both_ways_arrives_as_its_default() {
    let sent = Skipped {
        a: 1,
        b: 2,
        c: 3,
        d: 4,
    };
    let Serde(arrived) = through(&Serde(sent));
    assert_eq!(
        arrived,
        Skipped {
            a: 1,
            b: 0,
            c: 7,
            d: 4
        }
    );
}

#[test]
fn containers_without_an_order_arrive() {
    // Each copy has an order of its own.
    let map: HashMap<String, Vec<Variants>> = (0..100u8)
        .map(|key| (key.to_string(), vec![Variants::TwoWords(key)]))
        .collect();
    arrives(map.clone());
    arrives(BTreeMap::from([(1u8, map)]));
    arrives((0..100).collect::<HashSet<u32>>());
    let numbers = (
        f32::MAX,
        f64::MIN_POSITIVE,
        i128::MIN,
        u128::MAX,
        -0.0f64,
        'ä',
    );
    arrives(numbers);
}

data! {
    struct LeavesOut {
        #[serde(skip_serializing_if = "Option::is_none", default)] quality: Option<u8>,
        level: u8,
    }
    enum VariantLeavesOut { Fields { #[serde(skip_serializing_if = "Vec::is_empty", default)] list: Vec<u8> } }
    struct OnlyIn { #[serde(skip_serializing, default)] secret: u8, shown: u8, more: u8 }
    struct OnlyOut { #[serde(skip_deserializing)] secret: u8, shown: u8, more: u8 }
    struct Crossed { #[serde(skip_serializing, default)] a: u8, #[serde(skip_deserializing)] b: u8 }
    #[expect(dead_code, reason = "it can't be sent")]
    enum Gap { First, #[serde(skip)] Hidden, Third, Fourth }
    #[expect(dead_code, reason = "it can't be sent")]
    enum GapIn { #[serde(skip_deserializing)] Hidden, Second, Third }
    #[expect(dead_code, reason = "it can't be sent")]
    enum Cancelled { #[serde(alias = "Uno")] One, #[serde(skip)] Hidden, Third, Fourth }
    #[serde(tag = "kind")]
    enum Tagged { A { x: u8 } }
    #[serde(untagged)]
    enum Untagged { Number(u8), Text(String) }
    enum PartlyUntagged { A, #[serde(untagged)] B(u8) }
    struct Inner { x: u8 }
    struct Flat { #[serde(flatten)] inner: Inner, k: u8 }
    #[serde(tag = "type")]
    struct TaggedStruct { x: u8 }
}

#[test]
fn a_field_that_is_left_out_is_refused_by_its_name() {
    arrives(LeavesOut {
        quality: Some(1),
        level: 2,
    });
    for level in [0, 1, 5] {
        let value = LeavesOut {
            quality: None,
            level,
        };
        is_refused(value, &["`LeavesOut::quality`", "skip_serializing_if"]);
    }
    arrives(VariantLeavesOut::Fields { list: vec![1] });
    let value = VariantLeavesOut::Fields { list: Vec::new() };
    is_refused(value, &["`Fields::list`", "skip_serializing_if"]);
}

#[test]
fn fields_of_one_direction_are_refused() {
    for shown in [0, 1, 2, 200] {
        is_refused(
            OnlyIn {
                secret: 0,
                shown,
                more: 2,
            },
            &["skip_serializing"],
        );
        is_refused(
            OnlyOut {
                secret: 0,
                shown,
                more: 2,
            },
            &["skip_deserializing"],
        );
    }
    is_refused(Crossed { a: 0, b: 5 }, &["skip_serializing"]);
}

#[test]
fn variants_behind_a_skipped_one_are_refused() {
    arrives(Gap::First);
    is_refused(Gap::Third, &["`Gap::Third` would arrive as `Gap::Fourth`"]);
    is_refused(Gap::Fourth, &["Gap` could not be read again", "`skip`"]);
    is_refused(
        GapIn::Second,
        &["`GapIn::Second` would arrive as `GapIn::Third`"],
    );
    // An alias in front doesn't hide it.
    is_refused(
        Cancelled::Third,
        &["`Cancelled::Third` would arrive as `Cancelled::Fourth`"],
    );
}

#[test]
fn what_asks_what_comes_next_is_refused() {
    is_refused(
        Tagged::A { x: 1 },
        &["Tagged` depends on what the input holds"],
    );
    for value in [Untagged::Number(1), Untagged::Text("text".into())] {
        is_refused(value, &["Untagged` depends on what the input holds"]);
    }
    is_refused(PartlyUntagged::B(1), &["PartlyUntagged`"]);
    is_refused(
        Flat {
            inner: Inner { x: 1 },
            k: 2,
        },
        &["`flatten`"],
    );
    let text = "text".to_owned();
    for value in [
        Adjacent::Empty,
        Adjacent::One(1),
        Adjacent::Two { text },
        Adjacent::Three(1, 2),
    ] {
        is_refused(value, &["Adjacent`"]);
    }
    is_refused(TaggedStruct { x: 1 }, &["TaggedStruct"]);
}

data! {
    #[serde(tag = "kind")]
    enum Other { Known, #[serde(other)] Unknown }
}

#[test]
fn a_variant_for_all_others_is_refused() {
    // It stands in tagged enums only. `variant_identifier` and `field_identifier` can't be serialized
    // at all, which serde's derive says.
    is_refused(Other::Known, &["Other`"]);
    is_refused(Other::Unknown, &["Other`"]);
}

#[test]
fn implementations_that_differ_are_refused() {
    /// Written in one order and read in the other.
    #[derive(Clone)]
    struct Swapped(u8, u8);
    impl Serialize for Swapped {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            (self.0, self.1).serialize(serializer)
        }
    }
    impl<'de> Deserialize<'de> for Swapped {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            <(u8, u8)>::deserialize(deserializer).map(|(b, a)| Self(a, b))
        }
    }
    is_refused(Swapped(1, 2), &["another value"]);

    /// Leaves out a field without a word.
    #[derive(Clone, Deserialize)]
    struct Silent {
        _level: u8,
        _list: Vec<u8>,
    }
    impl Serialize for Silent {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeStruct;
            let mut fields = serializer.serialize_struct("Silent", 1)?;
            fields.serialize_field("_list", &self._list)?;
            fields.end()
        }
    }
    for list in [vec![], vec![1, 0], vec![1, 1]] {
        is_refused(
            Silent {
                _level: 0,
                _list: list,
            },
            &["Silent"],
        );
    }
}
