//! All the rules for a type, in the order of its tokens.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{Attribute, Data, DeriveInput, Fields, GenericParam, Generics, Member, Meta, Path, Type};

use crate::errors::Errors;
use crate::types;
use crate::words;

/// A tag has at most two bytes.
const MAX_VARIANTS: usize = 1 << 16;

/// A type that satisfies the rules.
pub(crate) struct Object<'i> {
    pub(crate) krate: Path,
    pub(crate) name: &'i Ident,
    pub(crate) generics: &'i Generics,
    pub(crate) body: Body<'i>,
}

pub(crate) enum Body<'i> {
    Struct(Vec<Field<'i>>),
    Enum(Vec<Variant<'i>>),
}

pub(crate) struct Variant<'i> {
    pub(crate) name: &'i Ident,
    pub(crate) fields: Vec<Field<'i>>,
}

pub(crate) struct Field<'i> {
    pub(crate) member: Member,
    pub(crate) ty: &'i Type,
}

/// Applies the rules. Returns `None` if the item has no shape that `Object` can be derived for.
pub(crate) fn check<'i>(input: &'i DeriveInput, errors: &mut Errors) -> Option<Object<'i>> {
    let krate = attributes(&input.attrs, errors);
    for param in &input.generics.params {
        if let GenericParam::Lifetime(param) = param {
            errors.at(
                param.lifetime.span(),
                "a type that borrows can't be sent to another process: let its fields own what \
                 they hold (`String`, `Vec<T>`)",
            );
        }
    }
    let body = match &input.data {
        Data::Struct(data) => Body::Struct(fields(&data.fields, errors)),
        Data::Enum(data) => {
            if let Some(variant) = data.variants.iter().nth(MAX_VARIANTS) {
                errors.on(
                    &variant.ident,
                    format!("an `Object` has at most {MAX_VARIANTS} variants"),
                );
            }
            let variants = data.variants.iter();
            let variants = variants.map(|variant| Variant {
                name: &variant.ident,
                fields: fields(&variant.fields, errors),
            });
            Body::Enum(variants.collect())
        }
        Data::Union(data) => {
            errors.at(
                data.union_token.span,
                "a `union` doesn't say which of its fields is there: use an `enum`",
            );
            return None;
        }
    };
    Some(Object {
        krate,
        name: &input.ident,
        generics: &input.generics,
        body,
    })
}

/// Parses `#[object(crate = path)]`, and refuses `#[repr(packed)]`.
fn attributes(attrs: &[Attribute], errors: &mut Errors) -> Path {
    let mut arguments = TokenStream::new();
    for attr in attrs {
        if attr.path().is_ident("repr") {
            packed(attr, errors);
        }
        if attr.path().is_ident("object") {
            match &attr.meta {
                Meta::List(list) => {
                    arguments.extend(list.tokens.clone());
                    arguments.extend(quote::quote!(,));
                }
                meta => errors.on(meta, "expected `#[object(crate = path)]`"),
            }
        }
    }
    words::crate_only("object", arguments, errors)
}

fn packed(attr: &Attribute, errors: &mut Errors) {
    let Meta::List(list) = &attr.meta else { return };
    for token in list.tokens.clone() {
        if let TokenTree::Ident(word) = token
            && word == "packed"
        {
            errors.at(
                word.span(),
                "the fields of a packed type can't be borrowed, as sending them does: implement \
                 `Object` by hand, or send an unpacked copy",
            );
        }
    }
}

fn fields<'i>(fields: &'i Fields, errors: &mut Errors) -> Vec<Field<'i>> {
    for field in fields {
        field_attributes(&field.attrs, errors);
        types::check(&field.ty, errors);
    }
    let members = fields.members();
    fields
        .iter()
        .zip(members)
        .map(|(field, member)| Field {
            member,
            ty: &field.ty,
        })
        .collect()
}

fn field_attributes(attrs: &[Attribute], errors: &mut Errors) {
    for attr in attrs {
        if attr.path().is_ident("object") {
            errors.on(
                attr,
                "`#[object(…)]` belongs on the type: `#[object(crate = path)]`",
            );
        }
    }
}
