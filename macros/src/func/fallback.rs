//! The output when the user's function is refused.

use proc_macro2::TokenStream;

use crate::errors::Errors;

/// Returns the errors, and the item unchanged, so that whatever else names the function still finds
/// it.
pub(crate) fn refused(errors: Errors, item: TokenStream) -> TokenStream {
    let mut tokens = errors.into_tokens();
    tokens.extend(item);
    tokens
}
