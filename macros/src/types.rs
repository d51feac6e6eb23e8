//! Types that cannot be sent, as far as their spelling tells: those that borrow, and those without
//! a size. The compiler finds the rest through the trait `Object`.

use quote::ToTokens;
use syn::{GenericArgument, Lifetime, PathArguments, Type, TypePath, TypeReference};

use crate::errors::Errors;

/// Reports what is wrong with the type of an argument, a result or a field.
pub(crate) fn check(ty: &Type, errors: &mut Errors) {
    match ty {
        Type::Slice(slice) => errors.on(
            ty,
            format!(
                "a slice has no size of its own: use `Vec<{0}>` or `Box<[{0}]>`",
                text(&slice.elem)
            ),
        ),
        Type::TraitObject(_) => errors.on(
            ty,
            format!(
                "a trait object has no size of its own: use `Box<{}>`",
                text(ty)
            ),
        ),
        Type::Path(path) if path.qself.is_none() && path.path.is_ident("str") => {
            errors.on(ty, "a `str` has no size of its own: use `String`");
        }
        _ => check_part(ty, errors),
    }
}

/// Does the same for a type within another type, where `Box<dyn …>` and `Box<[T]>` are allowed.
fn check_part(ty: &Type, errors: &mut Errors) {
    match ty {
        Type::Reference(reference) => errors.on(ty, borrowed(reference)),
        Type::ImplTrait(_) => errors.on(
            ty,
            "`impl Trait` has no name that both processes could use: make it a generic parameter, \
             or name the type",
        ),
        Type::Paren(inner) => check_part(&inner.elem, errors),
        Type::Group(inner) => check_part(&inner.elem, errors),
        Type::Array(array) => check_part(&array.elem, errors),
        Type::Slice(slice) => check_part(&slice.elem, errors),
        Type::Tuple(tuple) => tuple.elems.iter().for_each(|elem| check_part(elem, errors)),
        Type::Path(path) => check_path(path, errors),
        // Types in the bounds of a trait object or in the signature of a function pointer are not part of the
        // value.
        _ => {}
    }
}

fn check_path(path: &TypePath, errors: &mut Errors) {
    if let Some(qself) = &path.qself {
        check_part(&qself.ty, errors);
    }
    for segment in &path.path.segments {
        // It holds no value of the type that it names, so that type may borrow.
        if segment.ident == "PhantomData" {
            continue;
        }
        let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
            continue;
        };
        for argument in &arguments.args {
            match argument {
                GenericArgument::Lifetime(lifetime) => check_lifetime(lifetime, errors),
                GenericArgument::Type(ty) => check_part(ty, errors),
                _ => {}
            }
        }
    }
}

fn check_lifetime(lifetime: &Lifetime, errors: &mut Errors) {
    // A lifetime with a name is a parameter, and is refused there.
    if lifetime.ident == "_" {
        errors.at(
            lifetime.span(),
            "what borrows can't be sent to another process: use a type that owns what it holds \
             (`'static` is fine here)",
        );
    }
}

/// Says what is wrong with a reference, and what to use instead.
pub(crate) fn borrowed(reference: &TypeReference) -> String {
    let elem = peel(&reference.elem);
    let owned = match elem {
        Type::Slice(slice) => format!("Vec<{}>", text(&slice.elem)),
        Type::TraitObject(_) => format!("Box<{}>", text(elem)),
        Type::Path(path) => match path.path.segments.last() {
            Some(last) if last.arguments.is_none() => match last.ident.to_string().as_str() {
                "str" => "String".to_owned(),
                "Path" => "PathBuf".to_owned(),
                "OsStr" => "OsString".to_owned(),
                "CStr" => "CString".to_owned(),
                _ => text(elem),
            },
            _ => text(elem),
        },
        _ => text(elem),
    };
    if reference.mutability.is_some() {
        format!(
            "another process can't change memory of this one: send `{owned}` and send it back, or \
             send an end of a channel"
        )
    } else {
        format!("what is borrowed can't be sent to another process: use `{owned}`")
    }
}

fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Paren(inner) => peel(&inner.elem),
        Type::Group(inner) => peel(&inner.elem),
        _ => ty,
    }
}

/// Returns tokens as a person would write them.
pub(crate) fn text(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (wide, narrow) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" < ", "<"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("& ", "&"),
        ("( ", "("),
        (" )", ")"),
        ("[ ", "["),
        (" ]", "]"),
        (" ;", ";"),
        (" :", ":"),
        ("' ", "'"),
    ] {
        text = text.replace(wide, narrow);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn refusals(ty: &Type) -> usize {
        let mut errors = Errors::default();
        check(ty, &mut errors);
        errors
            .into_tokens()
            .to_string()
            .matches("compile_error")
            .count()
    }

    #[test]
    fn owned_types_pass() {
        for ty in [
            parse_quote!(Vec<Option<String>>),
            parse_quote!(Box<dyn Fn(&str) -> &str>),
            parse_quote!(Box<[u8]>),
            parse_quote!(PhantomData<&'static str>),
            parse_quote!(Cow<'static, str>),
            parse_quote!(fn(&u8) -> &u8),
        ] {
            assert_eq!(refusals(&ty), 0, "{}", text(&ty));
        }
    }

    #[test]
    fn every_borrow_in_a_type_is_named() {
        assert_eq!(
            refusals(&parse_quote!((&str, Option<&[u8]>, Cow<'_, str>))),
            3
        );
        assert_eq!(refusals(&parse_quote!([u8])), 1);
        assert_eq!(refusals(&parse_quote!(dyn Fn())), 1);
        assert_eq!(refusals(&parse_quote!(Vec<impl Copy>)), 1);
    }
}
