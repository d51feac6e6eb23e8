//! The macros of crossmist.

// What a library does not do; its tests may.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod errors;
mod func;
mod main_attr;
mod object;
mod spans;
mod trait_object;
mod types;
mod words;

use proc_macro::TokenStream;

/// Makes a function one that can run in a child process.
#[proc_macro_attribute]
pub fn func(arguments: TokenStream, item: TokenStream) -> TokenStream {
    func::func(arguments.into(), item.into()).into()
}

/// Makes a struct or an enum one that can be sent.
#[proc_macro_derive(Object, attributes(object))]
pub fn derive_object(item: TokenStream) -> TokenStream {
    object::derive(item.into()).into()
}

/// Lets a child go its way at the top of `main`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    main_attr::main(arguments.into(), item.into()).into()
}

/// Lets the boxed trait objects of a trait be sent.
#[proc_macro_attribute]
pub fn object(arguments: TokenStream, item: TokenStream) -> TokenStream {
    trait_object::object(arguments.into(), item.into()).into()
}
