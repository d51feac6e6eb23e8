//! `#[crossmist::object]`: boxed trait objects of a trait that can be sent.
//!
//! A hidden supertrait, which every type with the trait has, leads from the vtable of a trait
//! object to a record of the type that it was made of. A reference to that record is sent before
//! the value.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::spanned::Spanned;
use syn::{GenericParam, Generics, ItemTrait, Path, Signature, TraitItem, parse_quote};

use crate::errors::Errors;
use crate::spans;
use crate::words;

pub(crate) fn object(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let krate = words::crate_only("object", arguments, &mut errors);
    match syn::parse2::<ItemTrait>(item.clone()) {
        Ok(user) => {
            check(&user, &mut errors);
            if errors.is_empty() {
                return expand(&krate, user);
            }
        }
        Err(_) => errors.at(
            Span::call_site(),
            "`#[crossmist::object]` is for traits; for a struct or an enum there is \
             `#[derive(Object)]`",
        ),
    }
    let mut tokens = errors.into_tokens();
    item.to_tokens(&mut tokens);
    tokens
}

fn check(user: &ItemTrait, errors: &mut Errors) {
    if let Some(token) = &user.unsafety {
        errors.at(
            token.span(),
            "an `unsafe trait` can't be sent as a trait object",
        );
    }
    for param in &user.generics.params {
        if let GenericParam::Lifetime(param) = param {
            errors.at(
                param.lifetime.span(),
                "a trait object that borrows can't be sent to another process",
            );
        }
    }
    for item in &user.items {
        match item {
            TraitItem::Type(item) => errors.at(
                item.ident.span(),
                "a trait whose objects are sent has no associated types: make it a parameter of \
                 the trait",
            ),
            TraitItem::Const(item) => errors.at(
                item.ident.span(),
                "a trait whose objects are sent has no associated constants: make it a method",
            ),
            TraitItem::Fn(item) if !is_for_sized(&item.sig) => method(&item.sig, errors),
            _ => {}
        }
    }
}

/// Reports methods that a trait object cannot have. The compiler finds the rest.
fn method(sig: &Signature, errors: &mut Errors) {
    let cure = "with `where Self: Sized` it is not called on trait objects";
    if sig.receiver().is_none() {
        errors.at(
            sig.ident.span(),
            format!("a trait object has no function without `self`: {cure}"),
        );
    }
    if let Some(param) = sig.generics.type_params().next() {
        errors.at(
            param.ident.span(),
            format!("a trait object has no generic method: {cure}"),
        );
    }
    if let Some(token) = &sig.asyncness {
        errors.at(
            token.span(),
            format!("a trait object has no `async` method: {cure}"),
        );
    }
}

fn is_for_sized(sig: &Signature) -> bool {
    let clause = sig.generics.where_clause.to_token_stream();
    let clause = clause.to_string();
    clause.contains("Self : Sized") || clause.contains("Self : :: core :: marker :: Sized")
}

fn expand(krate: &Path, mut user: ItemTrait) -> TokenStream {
    let name = user.ident.clone();
    let hidden = format_ident!("__crossmist_object_{}", name, span = Span::call_site());
    let vis = spans::generated_visibility(&user.vis);
    let cfg: Vec<_> = user
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg"))
        .cloned()
        .collect();

    // A trait object is `'static` only if its parameters are.
    let mut generics = user.generics.clone();
    let parameters: Vec<Ident> = user
        .generics
        .type_params()
        .map(|p| spans::generated(&p.ident))
        .collect();
    if !parameters.is_empty() {
        let clause = generics.make_where_clause();
        for parameter in &parameters {
            clause.predicates.push(parse_quote!(#parameter: 'static));
        }
    }
    let hidden_generics = without_defaults(&user.generics);
    let hidden_where = &user.generics.where_clause;
    let (_, ty_generics, _) = generics.split_for_impl();
    let object = quote!(dyn #name #ty_generics);
    let plain = boxed(krate, &hidden, &generics, &object, None);
    let autos = [
        ("SEND", quote!(::core::marker::Send)),
        ("SYNC", quote!(::core::marker::Sync)),
        ("BOTH", quote!(::core::marker::Send + ::core::marker::Sync)),
    ];
    let autos = autos.map(|auto| boxed(krate, &hidden, &generics, &object, Some(auto)));

    let (_, user_generics, _) = user.generics.split_for_impl();
    let supertrait = parse_quote!(#hidden #user_generics);
    let own: syn::TypeParamBound = parse_quote!(#krate::Object);
    user.supertraits.push(own);
    user.supertraits.push(supertrait);
    user.colon_token.get_or_insert_with(Default::default);

    // The record is one of the trait's parameters and of the type behind it.
    let mut with_type = generics.clone();
    let ty = Ident::new("__CrossmistType", Span::call_site());
    with_type.params.push(parse_quote!(#ty));
    let clause = with_type.make_where_clause();
    clause
        .predicates
        .push(parse_quote!(#ty: #name #ty_generics));
    let (type_impl, type_generics, type_where) = with_type.split_for_impl();
    let type_turbofish = type_generics.as_turbofish();
    let record = without_bounds(&with_type);
    quote! {
        #user

        #(#cfg)*
        #[doc(hidden)]
        #vis trait #hidden #hidden_generics #hidden_where {
            #[doc(hidden)]
            fn __crossmist_reference(&self) -> ::core::option::Option<::core::primitive::u64>;
        }

        #(#cfg)*
        #[doc(hidden)]
        const _: () = {
            struct Record<#(#record),*>(
                ::core::marker::PhantomData<fn() -> (#(::core::marker::PhantomData<#parameters>,)* ::core::marker::PhantomData<#ty>,)>,
            );

            impl #type_impl Record #type_generics #type_where {
                const TARGET: &'static #krate::__private::Target<
                    #krate::__private::Rebuild<#object>,
                > = &#krate::__private::Target::new(#krate::__private::Rebuild::new(|decoder| {
                    match <#ty as #krate::Object>::decode(decoder) {
                        ::core::result::Result::Ok(value) => {
                            ::core::result::Result::Ok(#krate::__private::Box::new(value))
                        }
                        ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
                    }
                }));
            }

            impl #type_impl #hidden #ty_generics for #ty #type_where {
                fn __crossmist_reference(
                    &self,
                ) -> ::core::option::Option<::core::primitive::u64> {
                    Record #type_turbofish::TARGET.reference()
                }
            }

            #plain
            #(#autos)*
        };
    }
}

/// `Object` for the box with one set of auto traits.
fn boxed(
    krate: &Path,
    hidden: &Ident,
    generics: &Generics,
    object: &TokenStream,
    auto: Option<(&str, TokenStream)>,
) -> TokenStream {
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let (encode, with_auto, decode) = match auto {
        None => {
            let encode = quote!(#krate::__private::encode_dyn(value, reference, encoder));
            let decode = quote!(#krate::__private::decode_dyn(decoder));
            (encode, object.clone(), decode)
        }
        Some((name, bounds)) => {
            let name = Ident::new(name, Span::call_site());
            let auto = quote!(#krate::__private::Auto::#name);
            let with_auto = quote!(#object + #bounds);
            let encode = quote! {
                // SAFETY: the box says that what is in it has the auto traits.
                unsafe { #krate::__private::encode_dyn_auto(value, reference, #auto, encoder) }
            };
            let decode = quote! {
                // SAFETY: the two are the same trait, with and without the auto traits.
                unsafe { #krate::__private::decode_dyn_auto::<#object, #with_auto>(decoder, #auto) }
            };
            (encode, with_auto, decode)
        }
    };
    quote! {
        impl #impl_generics #krate::Object for #krate::__private::Box<#with_auto> #where_clause {
            fn encode<'__crossmist>(
                &'__crossmist self,
                encoder: &mut #krate::Encoder<'__crossmist>,
            ) {
                let value: &'__crossmist (#with_auto) = &**self;
                let reference = <#with_auto as #hidden #ty_generics>::__crossmist_reference(value);
                #encode
            }

            fn decode(
                decoder: &mut #krate::Decoder<'_>,
            ) -> ::core::result::Result<Self, #krate::DecodeError> {
                #decode
            }

            fn describe(shape: &mut #krate::Shape) {
                #krate::__private::describe_code(shape);
            }
        }
    }
}

fn without_defaults(generics: &Generics) -> Generics {
    let mut generics = generics.clone();
    for param in &mut generics.params {
        match param {
            GenericParam::Type(param) => param.default = None,
            GenericParam::Const(param) => param.default = None,
            GenericParam::Lifetime(_) => {}
        }
    }
    generics.where_clause = None;
    generics
}

fn without_bounds(generics: &Generics) -> Vec<TokenStream> {
    let params = generics.params.iter();
    params
        .filter_map(|param| match param {
            GenericParam::Type(param) => {
                let name = &param.ident;
                Some(quote!(#name: ?::core::marker::Sized))
            }
            GenericParam::Const(param) => {
                let (name, ty) = (&param.ident, &param.ty);
                Some(quote!(const #name: #ty))
            }
            GenericParam::Lifetime(_) => None,
        })
        .collect()
}
