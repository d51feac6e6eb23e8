//! The implementation of `Object`: the parts in the order in which they were written.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Generics, Member, Path, parse_quote};

use super::check::{Body, Field, Object, Variant};
use crate::spans;

pub(crate) fn expand(object: &Object<'_>) -> TokenStream {
    let Object { krate, name, .. } = object;
    let generics = bounded(object.generics, krate);
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let methods = match &object.body {
        Body::Struct(fields) => of_struct(krate, fields),
        Body::Enum(variants) => of_enum(krate, name, variants),
    };
    let Methods {
        encode,
        decode,
        describe,
        least_bytes,
    } = methods;
    quote! {
        #[automatically_derived]
        impl #impl_generics #krate::Object for #name #ty_generics #where_clause {
            fn encode<'__crossmist>(
                &'__crossmist self,
                encoder: &mut #krate::Encoder<'__crossmist>,
            ) {
                #encode
            }

            fn decode(
                decoder: &mut #krate::Decoder<'_>,
            ) -> ::core::result::Result<Self, #krate::DecodeError> {
                #decode
            }

            fn describe(shape: &mut #krate::Shape) {
                #describe
            }

            fn least_bytes() -> ::core::primitive::usize {
                #least_bytes
            }
        }
    }
}

struct Methods {
    encode: TokenStream,
    decode: TokenStream,
    describe: TokenStream,
    least_bytes: TokenStream,
}

/// Returns the user's generics with `T: Object` for each type.
fn bounded(generics: &Generics, krate: &Path) -> Generics {
    let parameters: Vec<Ident> = generics
        .type_params()
        .map(|p| spans::generated(&p.ident))
        .collect();
    let mut generics = generics.clone();
    if !parameters.is_empty() {
        let clause = generics.make_where_clause();
        for parameter in parameters {
            clause
                .predicates
                .push(parse_quote!(#parameter: #krate::Object));
        }
    }
    generics
}

fn of_struct(krate: &Path, fields: &[Field<'_>]) -> Methods {
    let names: Vec<String> = fields.iter().map(|field| text(&field.member)).collect();
    let encode = fields.iter().map(|field| {
        let (member, ty) = (&field.member, field.ty);
        quote_spanned!(ty.span()=> <#ty as #krate::Object>::encode(&self.#member, encoder);)
    });
    let least = fields.iter().map(|Field { ty, .. }| {
        quote_spanned!(ty.span()=> .saturating_add(<#ty as #krate::Object>::least_bytes()))
    });
    let decode = decode(krate, quote!(Self), fields, &names);
    Methods {
        encode: quote! {
            let _ = &encoder;
            #(#encode)*
        },
        decode: quote! {
            let _ = &decoder;
            ::core::result::Result::Ok(#decode)
        },
        describe: describe(krate, fields, &names),
        least_bytes: quote!(<::core::primitive::usize>::MIN #(#least)*),
    }
}

fn of_enum(krate: &Path, name: &Ident, variants: &[Variant<'_>]) -> Methods {
    let name = name.unraw().to_string();
    if variants.is_empty() {
        let expected = format!("nothing: `{name}` has no value");
        return Methods {
            encode: quote! {
                let _ = encoder;
                match *self {}
            },
            decode: quote!(::core::result::Result::Err(decoder.error(#expected, "a message"))),
            describe: quote!(let _ = shape;),
            least_bytes: quote!(0),
        };
    }

    // One byte if that is enough.
    let tag = if variants.len() <= 1 << 8 {
        "u8"
    } else {
        "u16"
    };
    let tag_bytes: usize = if tag == "u8" { 1 } else { 2 };
    let tag = Ident::new(tag, Span::call_site());
    let tag = quote!(::core::primitive::#tag);

    let mut encode = Vec::new();
    let mut decoded = Vec::new();
    let mut described = Vec::new();
    for (index, variant) in variants.iter().enumerate() {
        let index = syn::LitInt::new(&index.to_string(), Span::call_site());
        let (variant, fields) = (variant.name, &variant.fields);
        let path = |member| format!("{}.{}", variant.unraw(), text(member));
        let names: Vec<String> = fields.iter().map(|field| path(&field.member)).collect();
        let members = fields.iter().map(|field| &field.member);
        let bindings: Vec<Ident> = (0..fields.len())
            .map(|i| format_ident!("field{i}"))
            .collect();
        let parts = fields.iter().zip(&bindings).map(|(Field { ty, .. }, binding)| {
            quote_spanned!(ty.span()=> <#ty as #krate::Object>::encode(#binding, encoder);)
        });
        encode.push(quote! {
            Self::#variant { #(#members: #bindings),* } => {
                <#tag as #krate::Object>::encode(&#index, encoder);
                #(#parts)*
            }
        });
        let value = decode(krate, quote!(Self::#variant), fields, &names);
        decoded.push(quote!(#index => ::core::result::Result::Ok(#value)));
        described.push(describe(krate, fields, &names));
    }
    let expected = format!(
        "the number of a variant of `{name}`, below {}",
        variants.len()
    );
    // If there are as many variants as the tag has values, no value is unknown.
    let other = (variants.len() != 1 << 8 && variants.len() != 1 << 16).then(|| {
        quote! {
            tag => ::core::result::Result::Err(decoder.error(#expected, tag)),
        }
    });
    Methods {
        // The tag is a temporary, which is fine for a number: it is copied.
        encode: quote!(match self { #(#encode)* }),
        decode: quote! {
            match <#tag as #krate::Object>::decode(decoder)? {
                #(#decoded,)*
                #other
            }
        },
        describe: quote!(#(#described)*),
        least_bytes: quote!(#tag_bytes),
    }
}

/// `Type { field: …, … }`, whose fields are decoded from the left, as they are evaluated.
fn decode(krate: &Path, path: TokenStream, fields: &[Field<'_>], names: &[String]) -> TokenStream {
    let fields = fields.iter().zip(names).map(|(field, name)| {
        let (member, ty) = (&field.member, field.ty);
        quote_spanned! {ty.span()=>
            #member: match <#ty as #krate::Object>::decode(decoder) {
                ::core::result::Result::Ok(value) => value,
                ::core::result::Result::Err(error) => {
                    return ::core::result::Result::Err(error.within(#name));
                }
            }
        }
    });
    quote!(#path { #(#fields),* })
}

fn describe(krate: &Path, fields: &[Field<'_>], names: &[String]) -> TokenStream {
    let parts = fields.iter().zip(names).map(|(Field { ty, .. }, name)| {
        quote_spanned! {ty.span()=>
            if shape.begin(::core::any::TypeId::of::<#ty>(), #name) {
                <#ty as #krate::Object>::describe(shape);
                shape.end();
            }
        }
    });
    quote! {
        let _ = &shape;
        #(#parts)*
    }
}

fn text(member: &Member) -> String {
    match member {
        Member::Named(name) => name.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}
