//! What comes out when the user's function is refused.

use proc_macro2::TokenStream;

use crate::errors::Errors;

/// The errors, and the item as it was: whatever else names the function still finds it.
pub(crate) fn refused(errors: Errors, item: TokenStream) -> TokenStream {
    let mut tokens = errors.into_tokens();
    tokens.extend(item);
    tokens
}
