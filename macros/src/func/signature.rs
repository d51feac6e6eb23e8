//! The user's function, as it was written. Its body stays unparsed tokens: the macro does not need
//! to understand it, and an unfinished body still gets completions in an editor.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Item, Signature, Token, Visibility};

/// A function before the rules are applied to it.
pub(crate) struct Parsed {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl Parsed {
    /// Parses a function. If the item is something else, the error is at its first word.
    pub(crate) fn parse(item: TokenStream) -> syn::Result<Self> {
        syn::parse2(item.clone()).map_err(|error| match syn::parse2::<Item>(item.clone()) {
            Ok(Item::Fn(_)) | Err(_) => error,
            Ok(_) => not_a_function(item),
        })
    }
}

impl Parse for Parsed {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig: Signature = input.parse()?;
        if let Some(semicolon) = input.parse::<Option<Token![;]>>()? {
            return Err(syn::Error::new(
                semicolon.span,
                "expected the body of the function",
            ));
        }
        Ok(Parsed {
            attrs,
            vis,
            sig,
            body: body(input)?,
        })
    }
}

/// Parses the block. It is a group within a group if a `macro_rules!` macro matched it.
pub(crate) fn body(input: ParseStream<'_>) -> syn::Result<Group> {
    let span = input.span();
    let mut tokens: TokenStream = input.parse()?;
    loop {
        let mut trees = tokens.into_iter();
        match (trees.next(), trees.next()) {
            (Some(TokenTree::Group(group)), None) => match group.delimiter() {
                Delimiter::None => tokens = group.stream(),
                Delimiter::Brace => return Ok(group),
                _ => break,
            },
            _ => break,
        }
    }
    Err(syn::Error::new(span, "expected the body of the function"))
}

fn not_a_function(item: TokenStream) -> syn::Error {
    let keyword = syn::parse2::<Keyword>(item.clone())
        .map(|keyword| keyword.0)
        .unwrap_or(item);
    syn::Error::new_spanned(
        keyword,
        "`#[func]` is for functions; for a struct or an enum there is `#[derive(Object)]`, for a \
         trait `#[crossmist::object]`",
    )
}

/// The first word of an item after attributes and visibility.
struct Keyword(TokenStream);

impl Parse for Keyword {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        let word: TokenTree = input.parse()?;
        input.parse::<TokenStream>()?;
        Ok(Keyword(word.into_token_stream()))
    }
}
