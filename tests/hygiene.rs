//! Generated code compiles in a crate that is strict with itself, that has no prelude, and whose own names
//! are those that generated code would like to use.
#![no_implicit_prelude]
#![forbid(unsafe_code)]
#![deny(
    warnings,
    unused,
    nonstandard_style,
    future_incompatible,
    rust_2018_idioms
)]
#![deny(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications
)]
#![deny(
    unused_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts
)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]
#![deny(
    clippy::unwrap_used,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason
)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::exhaustive_enums
)]
#![deny(
    clippy::missing_inline_in_public_items,
    clippy::partial_pub_fields,
    clippy::str_to_string
)]

/// Names that mean something else here.
#[expect(
    dead_code,
    clippy::redundant_pub_crate,
    reason = "they are in the way, that is all"
)]
mod shadow {
    pub(super) struct Result;
    pub(super) struct Option;
    pub(super) struct Vec;
    pub(super) struct Box;
    pub(super) struct Ok;
    pub(super) struct Err;
    pub(super) struct Some;
    pub(super) struct PhantomData;
    pub(super) trait Clone {}
    pub(super) trait Copy {}
    pub(super) trait Send {}
    pub(super) trait Sized {}
    pub(super) trait Object {}
    pub(super) trait Deref {}
    #[expect(non_camel_case_types, reason = "the number has this name")]
    pub(super) struct u8;
    #[expect(non_camel_case_types, reason = "the number has this name")]
    pub(super) struct usize;
    #[expect(non_camel_case_types, reason = "the type has this name")]
    pub(super) struct str;
    pub(super) mod core {}
    pub(super) mod std {}
    pub(super) mod crossmist {}
    pub(super) mod tokio {}
}
#[expect(unused_imports, reason = "they are in the way, that is all")]
use self::shadow::{
    Box, Clone, Copy, Deref, Err, Object, Ok, Option, PhantomData, Result, Send, Sized, Some, Vec,
    core, crossmist, std, str, tokio, u8, usize,
};

/// A module with the name of the function beside it.
mod add {}

/// Adds.
#[::crossmist::func]
fn add(numbers: ::std::vec::Vec<i32>, mut more: i32) -> i32 {
    for number in numbers {
        more = more.wrapping_add(number);
    }
    more
}

mod both {}

#[::crossmist::func]
fn both<T, const N: ::core::primitive::usize>(x: T, y: [T; N]) -> (T, [T; N])
where
    T: ::core::fmt::Debug + ::crossmist::Object,
{
    (x, y)
}

#[::crossmist::func]
fn nothing() {}

/// Called as what is written out for it may call something of its own.
#[::crossmist::func]
fn f(x: i32) -> i32 {
    x.wrapping_add(1)
}

#[::crossmist::func]
fn arguments(x: i32) -> i32 {
    x.wrapping_add(2)
}

#[::crossmist::func]
fn leave(status: i32) -> ! {
    ::std::process::exit(status)
}

/// Is public, and has arguments enough for a lint.
#[::crossmist::func]
pub fn many(
    i: i8,
    j: i8,
    ka: i8,
    la: i8,
    ma: i8,
    na: i8,
    text: ::std::string::String,
) -> Everything {
    Everything {
        numbers: [i, j, ka, la, ma, na],
        text: Text::Some { text },
        next: ::core::option::Option::None,
        marker: ::core::marker::PhantomData,
    }
}

/// Nobody calls these.
mod unused {
    #[::crossmist::func]
    fn plain(value: i32) -> i32 {
        value
    }

    #[::crossmist::func]
    fn generic<T: ::crossmist::Object>(value: T) -> T {
        value
    }
}

#[::crossmist::func(callback)]
fn push(list: &mut ::std::vec::Vec<i32>, _: &::core::primitive::str, number: i32) {
    list.push(number);
}

/// Every kind of field.
#[derive(::crossmist::Object, Debug, PartialEq)]
#[non_exhaustive]
pub struct Everything<const N: ::core::primitive::usize = 6> {
    /// Numbers.
    pub numbers: [i8; N],
    /// Text.
    pub text: Text<::std::string::String>,
    /// The same again.
    pub next: ::core::option::Option<::std::boxed::Box<Self>>,
    /// A type.
    pub marker: ::core::marker::PhantomData<for<'a> fn(&'a i32) -> &'a i32>,
}

/// Every kind of variant.
#[derive(::crossmist::Object, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Text<Ok> {
    /// None.
    None,
    /// With a name.
    Some {
        /// The text.
        text: Ok,
    },
    /// Without one.
    Err(Ok, i32),
}

#[derive(::crossmist::Object, Debug)]
enum Never {}

#[derive(::crossmist::Object, Debug)]
struct Unit;

/// Something that speaks.
#[::crossmist::object]
pub trait Speak {
    /// Says it.
    fn speak(&self) -> ::std::string::String;
}

impl Speak for Unit {
    fn speak(&self) -> ::std::string::String {
        ::std::string::String::new()
    }
}

#[::crossmist::object]
trait Weigh<Err, const N: ::core::primitive::usize>: ::core::fmt::Debug {
    fn weigh(&self, value: Err) -> [Err; N];
}

impl Weigh<i32, 2> for Unit {
    fn weigh(&self, value: i32) -> [i32; 2] {
        [value, value]
    }
}

#[::crossmist::func]
fn speak(
    speaker: ::std::boxed::Box<dyn Speak + ::core::marker::Send>,
    scales: ::std::boxed::Box<dyn Weigh<i32, 2>>,
) -> (::std::string::String, [i32; 2]) {
    (speaker.speak(), scales.weigh(7))
}

#[::crossmist::main]
fn main() -> ::std::process::ExitCode {
    #[::crossmist::func]
    fn local<T: ::crossmist::Object>(value: T) -> T {
        value
    }

    ::std::assert_eq!(
        add.run(::std::vec![1, 2], 3).ok(),
        ::core::option::Option::Some(6)
    );
    ::std::assert_eq!(add(::std::vec![1, 2], 3), 6);
    ::std::assert_eq!(
        both::<i16, 1>.run(1, [2]).ok(),
        ::core::option::Option::Some((1, [2]))
    );
    ::std::assert_eq!(both(1, [2, 3]), (1, [2, 3]));
    ::std::assert_eq!(nothing.run().ok(), ::core::option::Option::Some(()));
    ::std::assert_eq!(f.run(1).ok(), ::core::option::Option::Some(2));
    ::std::assert_eq!(arguments.run(1).ok(), ::core::option::Option::Some(3));
    ::std::assert_eq!(::std::format!("{f:?}"), "hygiene::f");
    ::std::assert!(::core::matches!(
        leave.run(3),
        ::core::result::Result::Err(::crossmist::Error::Exited { status: 3, .. })
    ));
    let text = ::std::string::String::new();
    let everything = many
        .spawn(1, 2, 3, 4, 5, 6, text)
        .and_then(::crossmist::Child::join);
    ::std::assert_eq!(
        everything.ok().map(|everything| everything.numbers),
        ::core::option::Option::Some([1, 2, 3, 4, 5, 6])
    );
    let mut list = ::std::vec::Vec::new();
    push(&mut list, "", 1);
    ::std::assert_eq!(list, [1]);
    let spoken = speak.run(::std::boxed::Box::new(Unit), ::std::boxed::Box::new(Unit));
    ::std::assert_eq!(
        spoken.ok().map(|spoken| spoken.1),
        ::core::option::Option::Some([7, 7])
    );
    ::std::assert_eq!(local.run(5).ok(), ::core::option::Option::Some(5));
    ::std::assert!(::crossmist::from_bytes::<Never>(&[]).is_err());
    ::std::process::ExitCode::SUCCESS
}
