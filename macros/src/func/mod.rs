//! `#[func]`: a function that can run in a child process.
//!
//! A small compiler: [`args`] and [`signature`] parse, [`sandbox`] compiles a policy, [`check`] knows all the rules and gives a
//! [`Function`](check::Function) that satisfies them, [`expand`] writes it out, [`fallback`] is what comes out
//! otherwise.

mod args;
mod borrow;
mod check;
mod expand;
mod fallback;
mod sandbox;
mod signature;

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
        // Errors here are those of the attribute alone. The function itself is fine: without it,
        // each of its calls would be one error more.
        Some(function) => {
            let mut tokens = errors.into_tokens();
            tokens.extend(expand::expand(&function));
            tokens
        }
        None => fallback::refused(errors, item),
    }
}
