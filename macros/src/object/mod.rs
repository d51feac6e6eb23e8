//! `#[derive(Object)]`: structs and enums that can be sent.

mod check;
mod expand;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::errors::Errors;

pub(crate) fn derive(item: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(item) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    match check::check(&input, &mut errors) {
        Some(data) if errors.is_empty() => expand::expand(&data),
        // The output of a derive does not include the item itself.
        _ => errors.into_tokens(),
    }
}
