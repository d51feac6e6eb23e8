//! The words that an attribute accepts, and suggestions for misspelt ones.

use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Lit, Meta, Path, Token, parse_quote};

use crate::errors::Errors;

/// Returns the path of the library in the user's crate, if it does not name another.
pub(crate) fn default_crate() -> Path {
    parse_quote!(::crossmist)
}

/// Parses the arguments of an attribute: `word`, `word = …`, `word(…)`, separated by commas.
pub(crate) fn arguments(tokens: TokenStream, errors: &mut Errors) -> Vec<Meta> {
    match Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens) {
        Ok(arguments) => arguments.into_iter().collect(),
        Err(error) => {
            errors.add(error);
            Vec::new()
        }
    }
}

/// Parses the arguments of an attribute that accepts only `crate = path`.
pub(crate) fn crate_only(attribute: &str, tokens: TokenStream, errors: &mut Errors) -> Path {
    let mut krate = default_crate();
    for argument in arguments(tokens, errors) {
        if argument.path().is_ident("crate") {
            if let Some(path) = crate_path(&argument, errors) {
                krate = path;
            }
        } else {
            unknown(attribute, &argument, &["crate = path"], errors);
        }
    }
    krate
}

/// Returns the path in `crate = path` or `crate = "path"`.
pub(crate) fn crate_path(argument: &Meta, errors: &mut Errors) -> Option<Path> {
    let path = match argument {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Path(path) if path.qself.is_none() => Some(path.path.clone()),
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => text.parse_with(Path::parse_mod_style).ok(),
            _ => None,
        },
        _ => None,
    };
    if path.is_none() {
        errors.on(
            argument,
            "expected the path of the crate: `crate = ::some::path`",
        );
    }
    path
}

/// Reports that `argument` is none of `accepted`.
pub(crate) fn unknown(attribute: &str, argument: &Meta, accepted: &[&str], errors: &mut Errors) {
    let word = argument
        .path()
        .get_ident()
        .map(ToString::to_string)
        .unwrap_or_default();
    let close = accepted
        .iter()
        .find(|known| distance(&word, first_word(known)) <= 2);
    let list = accepted
        .iter()
        .map(|known| format!("`{known}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let message = match close {
        Some(known) => format!(
            "unknown argument of `{attribute}`: did you mean `{}`? It accepts {list}",
            first_word(known)
        ),
        None => format!("unknown argument of `{attribute}`: it accepts {list}"),
    };
    errors.at(argument.path().span(), message);
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or(text)
}

/// Returns how many letters have to be added, removed or changed to turn one word into the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, above), diagonal) in right.iter().zip(row.iter().skip(1)).zip(&row) {
            let beside = next.last().copied().unwrap_or_default();
            next.push(
                (diagonal + usize::from(a != *b))
                    .min(above + 1)
                    .min(beside + 1),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distance_counts_single_letters() {
        assert_eq!(distance("tokio", "tokio"), 0);
        assert_eq!(distance("toko", "tokio"), 1);
        assert_eq!(distance("crtae", "crate"), 2);
        assert_eq!(distance("", "crate"), 5);
    }
}
