//! Every shape of struct and enum goes there and back, and what no sender wrote is refused.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::fmt::Debug;
use std::marker::PhantomData;

use crossmist::{BytesError, DecodeError, Object, from_bytes, to_bytes};

fn round_trip<T: Object + Debug + PartialEq>(value: T) {
    let bytes = to_bytes(&value).unwrap();
    assert_eq!(from_bytes::<T>(&bytes).unwrap(), value);
}

/// Decodes the bytes of another value as a `T`, which they are not.
fn refusal<T: Object + Debug>(other: impl Object) -> DecodeError {
    match from_bytes::<T>(&to_bytes(&other).unwrap()) {
        Err(BytesError::Decode(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[derive(Object, Debug, PartialEq)]
struct Named {
    number: u32,
    r#type: String,
}

#[derive(Object, Debug, PartialEq)]
struct Tuple(u8, Vec<i16>);

#[derive(Object, Debug, PartialEq)]
struct Unit;

#[derive(Object, Debug, PartialEq)]
struct Empty {}

#[derive(Object, Debug, PartialEq)]
struct EmptyTuple();

#[test]
fn structs_go_there_and_back() {
    round_trip(Named {
        number: 7,
        r#type: "text".to_owned(),
    });
    round_trip(Tuple(1, vec![-1, 2]));
    round_trip(Unit);
    round_trip(Empty {});
    round_trip(EmptyTuple());
}

#[test]
fn a_struct_is_its_fields_in_their_order() {
    let value = Named {
        number: 7,
        r#type: "text".to_owned(),
    };
    assert_eq!(
        to_bytes(&value).unwrap(),
        to_bytes(&(7u32, "text".to_owned())).unwrap()
    );
}

#[derive(Object, Debug, PartialEq)]
#[repr(i8)]
enum Shape {
    Nothing,
    Circle(f64),
    Rectangle { width: f64, height: f64 },
    Negative = -5,
}

#[derive(Object, Debug, PartialEq)]
enum One {
    Only,
}

#[test]
fn enums_go_there_and_back() {
    round_trip(Shape::Nothing);
    round_trip(Shape::Circle(1.5));
    round_trip(Shape::Rectangle {
        width: 2.0,
        height: 3.0,
    });
    round_trip(Shape::Negative);
    round_trip(One::Only);
}

#[test]
fn a_tag_is_the_place_of_the_variant_not_its_discriminant() {
    assert_eq!(to_bytes(&Shape::Negative).unwrap(), to_bytes(&3u8).unwrap());
}

#[test]
fn a_tag_beyond_the_variants_is_refused() {
    let error = refusal::<Shape>(4u8);
    assert_eq!(
        error.expected(),
        "the number of a variant of `Shape`, below 4"
    );
    assert_eq!(error.found(), "4");
    assert_eq!(refusal::<Shape>(255u8).found(), "255");
    assert_eq!(
        refusal::<One>(1u8).expected(),
        "the number of a variant of `One`, below 1"
    );
}

#[derive(Object, Debug, PartialEq)]
enum Never {}

#[test]
fn an_enum_without_variants_has_no_encoding() {
    assert_eq!(
        refusal::<Never>(()).expected(),
        "nothing: `Never` has no value"
    );
    assert_eq!(
        refusal::<Vec<Never>>(1u32).expected(),
        "nothing: `Never` has no value"
    );
    round_trip(Vec::<Never>::new());
}

/// An enum of 256 variants, and more.
macro_rules! variants {
    ($name:ident $($more:ident)?) => {
        variants! { @ $name:
            V00 V01 V02 V03 V04 V05 V06 V07 V08 V09 V0a V0b V0c V0d V0e V0f
            V10 V11 V12 V13 V14 V15 V16 V17 V18 V19 V1a V1b V1c V1d V1e V1f
            V20 V21 V22 V23 V24 V25 V26 V27 V28 V29 V2a V2b V2c V2d V2e V2f
            V30 V31 V32 V33 V34 V35 V36 V37 V38 V39 V3a V3b V3c V3d V3e V3f
            V40 V41 V42 V43 V44 V45 V46 V47 V48 V49 V4a V4b V4c V4d V4e V4f
            V50 V51 V52 V53 V54 V55 V56 V57 V58 V59 V5a V5b V5c V5d V5e V5f
            V60 V61 V62 V63 V64 V65 V66 V67 V68 V69 V6a V6b V6c V6d V6e V6f
            V70 V71 V72 V73 V74 V75 V76 V77 V78 V79 V7a V7b V7c V7d V7e V7f
            V80 V81 V82 V83 V84 V85 V86 V87 V88 V89 V8a V8b V8c V8d V8e V8f
            V90 V91 V92 V93 V94 V95 V96 V97 V98 V99 V9a V9b V9c V9d V9e V9f
            Va0 Va1 Va2 Va3 Va4 Va5 Va6 Va7 Va8 Va9 Vaa Vab Vac Vad Vae Vaf
            Vb0 Vb1 Vb2 Vb3 Vb4 Vb5 Vb6 Vb7 Vb8 Vb9 Vba Vbb Vbc Vbd Vbe Vbf
            Vc0 Vc1 Vc2 Vc3 Vc4 Vc5 Vc6 Vc7 Vc8 Vc9 Vca Vcb Vcc Vcd Vce Vcf
            Vd0 Vd1 Vd2 Vd3 Vd4 Vd5 Vd6 Vd7 Vd8 Vd9 Vda Vdb Vdc Vdd Vde Vdf
            Ve0 Ve1 Ve2 Ve3 Ve4 Ve5 Ve6 Ve7 Ve8 Ve9 Vea Veb Vec Ved Vee Vef
            Vf0 Vf1 Vf2 Vf3 Vf4 Vf5 Vf6 Vf7 Vf8 Vf9 Vfa Vfb Vfc Vfd Vfe Vff
            $($more)?
        }
    };
    (@ $name:ident: $($variant:ident)*) => {
        #[derive(Object, Clone, Copy, Debug, PartialEq)]
        enum $name { $($variant),* }

        impl $name {
            const ALL: &[$name] = &[$($name::$variant),*];
        }
    };
}

variants! { Full }
variants! { Many V100 }

#[test]
fn a_tag_has_one_byte_up_to_256_variants() {
    for (number, variant) in (0u8..=255).zip(Full::ALL) {
        round_trip(*variant);
        assert_eq!(to_bytes(variant).unwrap(), to_bytes(&number).unwrap());
    }
    assert_eq!(to_bytes(&Full::Vff).unwrap(), to_bytes(&255u8).unwrap());
}

#[test]
fn a_tag_has_two_bytes_above() {
    for (number, variant) in (0u16..).zip(Many::ALL) {
        round_trip(*variant);
        assert_eq!(to_bytes(variant).unwrap(), to_bytes(&number).unwrap());
    }
    let error = refusal::<Many>(257u16);
    assert_eq!(
        error.expected(),
        "the number of a variant of `Many`, below 257"
    );
    assert_eq!(error.found(), "257");
}

#[derive(Object, Debug, PartialEq)]
struct Generic<T, const N: usize, U = u8>
where
    U: Copy,
{
    array: [T; N],
    pair: (T, U),
    marker: PhantomData<fn(&U) -> &U>,
}

#[test]
fn generics_go_there_and_back() {
    let marker = PhantomData;
    round_trip(Generic {
        array: ["a".to_owned()],
        pair: ("b".to_owned(), 7u8),
        marker,
    });
    round_trip(Generic::<u64, 0, char> {
        array: [],
        pair: (1, 'x'),
        marker: PhantomData,
    });
}

#[derive(Object, Debug, PartialEq)]
struct List {
    value: u32,
    next: Option<Box<List>>,
}

#[derive(Object, Debug, PartialEq)]
struct Tree(Vec<Self>);

#[derive(Object, Debug, PartialEq)]
enum Expr {
    Number(i64),
    Negative(Box<Expr>),
    Block(Vec<Stmt>),
}

#[derive(Object, Debug, PartialEq)]
enum Stmt {
    Let { name: String, value: Expr },
    If(Expr, Box<Stmt>, Option<Box<Stmt>>),
}

#[derive(Object, Debug, PartialEq)]
enum Search<T> {
    Leaf,
    Node(Box<Search<T>>, T, Box<Search<T>>),
}

#[test]
fn recursive_types_go_there_and_back() {
    let last = List {
        value: 2,
        next: None,
    };
    round_trip(List {
        value: 1,
        next: Some(Box::new(last)),
    });
    round_trip(Tree(vec![Tree(vec![]), Tree(vec![Tree(vec![])])]));
    let name = "x".to_owned();
    let value = Expr::Negative(Box::new(Expr::Number(5)));
    round_trip(Expr::Block(vec![Stmt::If(
        Expr::Number(1),
        Box::new(Stmt::Let { name, value }),
        None,
    )]));
    let leaf = || Box::new(Search::Leaf);
    round_trip(Search::Node(leaf(), "middle".to_owned(), leaf()));
}

#[test]
fn a_list_without_an_end_is_refused_by_its_nesting() {
    // `Some` again and again: 1, then the value.
    let endless = [1u8, 9, 9, 9, 9].repeat(1000);
    let mut bytes = vec![9u8, 9, 9, 9];
    bytes.extend(endless);
    // As a tuple of arrays, so that no count stands before them.
    let array: [u8; 5004] = bytes.try_into().unwrap();
    let error = refusal::<List>(array);
    assert!(error.expected().contains("Limits::nesting"), "{error}");
}

#[test]
fn an_error_names_the_way_to_it() {
    // Expr::Block of one Stmt::Let, whose name isn't UTF-8.
    let error = refusal::<Expr>((2u8, 1u32, 0u8, vec![0xffu8], 0u8));
    assert_eq!(
        error.path().skip(1).collect::<Vec<_>>(),
        ["Block.0", "Let.name"]
    );
    assert_eq!(error.expected(), "UTF-8");
    let error = refusal::<Named>((7u32, 100u32));
    assert_eq!(error.path().skip(1).collect::<Vec<_>>(), ["type"]);
    assert_eq!(error.expected(), "100 bytes");
}

#[test]
fn a_value_followed_by_more_is_refused() {
    let error = refusal::<Unit>(0u8);
    assert_eq!(error.expected(), "the end of the message");
}

#[test]
fn the_least_size_is_that_of_the_fields_and_of_the_tag() {
    assert_eq!(Named::least_bytes(), 8);
    assert_eq!(Tuple::least_bytes(), 5);
    assert_eq!(Unit::least_bytes(), 0);
    assert_eq!(Shape::least_bytes(), 1);
    assert_eq!(Many::least_bytes(), 2);
    assert_eq!(Never::least_bytes(), 0);
    assert_eq!(List::least_bytes(), 5);
    assert_eq!(Generic::<u16, 3, u64>::least_bytes(), 16);
}

#[test]
fn a_count_that_the_bytes_cannot_hold_is_refused_before_it_is_believed() {
    let error = refusal::<Vec<Named>>((u32::MAX, 0u64));
    assert_eq!(error.found(), u32::MAX.to_string());
}

#[derive(Object, Debug)]
struct Carries(std::os::fd::OwnedFd);

#[test]
fn a_descriptor_within_a_struct_is_no_bytes() {
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(to_bytes(&Carries(file.into())).is_err());
}
