//! `#[crossmist::main]`: a child branches off at the top of `main`.

use proc_macro2::{Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Signature, Visibility};

use crate::errors::Errors;
use crate::func::body;
use crate::words;

pub(crate) fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let krate = words::crate_only("main", arguments, &mut errors);
    let main = match syn::parse2::<Main>(item.clone()) {
        Ok(main) => main,
        Err(_) => {
            errors.at(
                Span::call_site(),
                "`#[crossmist::main]` is for the function `main`",
            );
            return refused(errors, item);
        }
    };
    check(&main, &mut errors);
    if main.sig.ident != "main" {
        return refused(errors, item);
    }
    let is_refused = !errors.is_empty();
    let errors = errors.into_tokens();

    // Attributes below this one, such as that of a runtime, belong on the user's function. Those
    // that concern `main` itself are copied.
    let Main {
        attrs,
        vis,
        sig,
        body,
    } = &main;
    let outer = attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg") || attr.path().is_ident("doc"));
    let mut inner = sig.clone();
    inner.ident = Ident::new("__crossmist_main", Span::call_site());
    if is_refused {
        // A `main` that the compiler does not complain about, and the user's body, so that it is
        // checked.
        return quote! {
            #errors
            #(#outer)*
            #vis fn main() {
                #[allow(dead_code)]
                #inner #body
            }
        };
    }
    let mut sig = sig.clone();
    sig.asyncness = None;
    quote! {
        #(#outer)*
        #vis #sig {
            #(#attrs)*
            #inner #body

            #krate::init();
            __crossmist_main()
        }
    }
}

struct Main {
    attrs: Vec<Attribute>,
    vis: Visibility,
    sig: Signature,
    body: Group,
}

impl Parse for Main {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Main {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            sig: input.parse()?,
            body: body(input)?,
        })
    }
}

fn check(main: &Main, errors: &mut Errors) {
    let sig = &main.sig;
    if sig.ident != "main" {
        errors.at(
            sig.ident.span(),
            "`#[crossmist::main]` is for the function `main`: a child has to go its way before \
             anything else is done. In another place, call `crossmist::init()`",
        );
    }
    if !sig.inputs.is_empty() {
        errors.on(&sig.inputs, "`main` has no arguments");
    }
    if let Some(token) = &sig.asyncness {
        let is_runtime =
            |attr: &Attribute| !attr.path().is_ident("cfg") && !attr.path().is_ident("doc");
        if !main.attrs.iter().any(is_runtime) {
            errors.at(
                token.span(),
                "an `async` main needs a runtime: write `#[tokio::main]` below \
                 `#[crossmist::main]`",
            );
        }
    }
}

fn refused(errors: Errors, item: TokenStream) -> TokenStream {
    let mut tokens = errors.into_tokens();
    item.to_tokens(&mut tokens);
    tokens
}
