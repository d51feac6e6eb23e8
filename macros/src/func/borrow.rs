//! Names for the lifetimes that a callback's arguments leave out, because an `impl` has to name
//! them.

use proc_macro2::Span;
use quote::format_ident;
use syn::{GenericArgument, Lifetime, PathArguments, Type};

/// Returns the types with every elided lifetime named, and the names.
pub(super) fn named(types: &[&Type]) -> (Vec<Type>, Vec<Lifetime>) {
    let mut names = Vec::new();
    let mut types: Vec<Type> = types.iter().map(|ty| (*ty).clone()).collect();
    types.iter_mut().for_each(|ty| name(ty, &mut names));
    (types, names)
}

fn name(ty: &mut Type, names: &mut Vec<Lifetime>) {
    match ty {
        Type::Reference(reference) => {
            match &mut reference.lifetime {
                Some(lifetime) => name_lifetime(lifetime, names),
                none => *none = Some(fresh(names)),
            }
            name(&mut reference.elem, names);
        }
        Type::Paren(inner) => name(&mut inner.elem, names),
        Type::Group(inner) => name(&mut inner.elem, names),
        Type::Array(array) => name(&mut array.elem, names),
        Type::Slice(slice) => name(&mut slice.elem, names),
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(|elem| name(elem, names)),
        Type::Path(path) => {
            for segment in &mut path.path.segments {
                let PathArguments::AngleBracketed(arguments) = &mut segment.arguments else {
                    continue;
                };
                for argument in &mut arguments.args {
                    match argument {
                        GenericArgument::Lifetime(lifetime) => name_lifetime(lifetime, names),
                        GenericArgument::Type(ty) => name(ty, names),
                        _ => {}
                    }
                }
            }
        }
        // Function pointers and trait objects bind their own lifetimes.
        _ => {}
    }
}

fn name_lifetime(lifetime: &mut Lifetime, names: &mut Vec<Lifetime>) {
    if lifetime.ident == "_" {
        *lifetime = fresh(names);
    }
}

fn fresh(names: &mut Vec<Lifetime>) -> Lifetime {
    let ident = format_ident!("__crossmist_{}", names.len());
    let mut lifetime = Lifetime::new("'_", Span::call_site());
    lifetime.ident = ident;
    names.push(lifetime.clone());
    lifetime
}
