//! The user's tokens, in places where only this macro can be to blame for what the compiler
//! reports.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Visibility;

/// Returns `word` as if the macro had written it.
pub(crate) fn generated(word: &Ident) -> Ident {
    let mut word = word.clone();
    word.set_span(word.span().resolved_at(Span::call_site()));
    word
}

/// Returns `vis` as if the macro had written it, so that no lint says that a hidden item is more
/// public than needed.
pub(crate) fn generated_visibility(vis: &Visibility) -> Visibility {
    let tokens = relocate(vis.to_token_stream());
    syn::parse2(tokens).unwrap_or_else(|_| vis.clone())
}

fn relocate(tokens: TokenStream) -> TokenStream {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), relocate(group.stream()));
                inner.set_span(group.span().resolved_at(Span::call_site()));
                TokenTree::Group(inner)
            }
            mut token => {
                token.set_span(token.span().resolved_at(Span::call_site()));
                token
            }
        })
        .collect()
}
