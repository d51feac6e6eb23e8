//! `#[func]`: a function that can run in a child process.
//!
//! A small compiler: [`args`] and [`signature`] parse, [`sandbox`] compiles a policy, [`check`]
//! applies all the rules and returns a [`Function`](check::Function) that satisfies them, and
//! [`expand`] generates the output. If there are errors, [`fallback`] does so.

mod args;
mod borrow;
mod check;
mod expand;
mod fallback;
mod sandbox;
mod signature;
mod spares;

use proc_macro2::TokenStream;

use self::args::Args;
use self::signature::Parsed;
pub(crate) use self::signature::body;
use crate::errors::Errors;

pub(crate) fn func(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = Args::parse(arguments, &mut errors);
    let parsed = match Parsed::parse(item.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            errors.add(error);
            return fallback::refused(errors, item);
        }
    };
    match check::check(parsed, args, &mut errors) {
        // These errors concern only the attribute. The function itself is fine, and without it each
        // of its calls would be one more error.
        Some(function) => {
            let mut tokens = errors.into_tokens();
            tokens.extend(expand::expand(&function));
            tokens
        }
        None => fallback::refused(errors, item),
    }
}
