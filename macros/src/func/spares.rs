//! `spares`, `reuse` and `bulk`: the children that wait for calls, and the memory that is shared with children.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Expr, ExprLit, Generics, Lit, LitInt, Meta, Path};

use super::check::{Function, Output};
use super::sandbox::Sandbox;
use crate::errors::Errors;

/// The arguments of the attribute that concern them.
#[derive(Default)]
pub(crate) struct Words {
    spares: Option<LitInt>,
    reuse: Option<(Meta, Reuse)>,
    bulk: Option<Path>,
}

/// How many calls a child answers that waits.
#[derive(Clone, Copy)]
pub(crate) enum Reuse {
    Never,
    Times(u32),
    Always,
}

/// The children that wait for `run`.
pub(crate) struct Spares {
    number: LitInt,
    reuse: Reuse,
}

impl Words {
    /// Takes an argument if it is one of these.
    pub(crate) fn take(&mut self, argument: &Meta, is_confined: bool, errors: &mut Errors) -> bool {
        let path = argument.path();
        if path.is_ident("spares") {
            self.take_spares(argument, is_confined, errors);
        } else if path.is_ident("reuse") {
            match reuse(argument) {
                Some(reuse) => self.reuse = Some((argument.clone(), reuse)),
                None => errors.on(
                    argument,
                    "expected `reuse = number`, with how many calls a child answers, or `reuse = always`",
                ),
            }
        } else if path.is_ident("bulk") {
            match argument.require_path_only() {
                Ok(path) => self.bulk = Some(path.clone()),
                Err(error) => errors.add(error),
            }
        } else {
            return false;
        }
        true
    }

    fn take_spares(&mut self, argument: &Meta, is_confined: bool, errors: &mut Errors) {
        match number(argument) {
            Some(_) if !is_confined => errors.on(
                argument,
                "only a function with a sandbox can have spare children: add `sandbox = \"…\"`",
            ),
            Some((_, 0)) => errors.on(argument, "no child waits with `spares = 0`: leave it out"),
            Some((number, count)) if u16::try_from(count).is_ok() => self.spares = Some(number),
            _ => errors.on(
                argument,
                "expected `spares = number`: how many children wait for a call, such as `spares = 2`",
            ),
        }
    }

    /// Applies the rules. Returns the children that wait, if there are any.
    pub(crate) fn check(
        &self,
        sandbox: Option<&Sandbox>,
        generics: &Generics,
        errors: &mut Errors,
    ) -> Option<Spares> {
        if let Some(number) = &self.spares {
            if matches!(sandbox, Some(Sandbox::Dynamic)) {
                errors.on(
                    number,
                    "with `sandbox = dynamic`, each call chooses its policy, so no child can wait with it: make \
                     a `Pool` for each policy instead",
                );
            } else if !generics.params.is_empty() {
                errors.on(
                    number,
                    "a generic function is many functions, each of which would need spare children: make a \
                     `Pool` for those that you call",
                );
            }
        }
        let reuse = match &self.reuse {
            None => Reuse::Never,
            Some((argument, _)) if self.spares.is_none() => {
                errors.on(
                    argument,
                    "only children that wait for calls can answer several: add `spares = number`",
                );
                Reuse::Never
            }
            Some((argument, Reuse::Never | Reuse::Times(0 | 1))) => {
                errors.on(
                    argument,
                    "each child answers one call in any case: leave this out, or name a number from 2 on",
                );
                Reuse::Never
            }
            Some((_, reuse)) => *reuse,
        };
        let number = self.spares.clone()?;
        Some(Spares { number, reuse })
    }

    /// Returns whether children share memory with the program, after the rules for that are applied.
    pub(crate) fn shares_memory(
        &self,
        is_callback: bool,
        has_arguments: bool,
        output: &Output,
        errors: &mut Errors,
    ) -> bool {
        let Some(word) = &self.bulk else {
            return false;
        };
        if is_callback {
            errors.on(
                word,
                "a callback starts no child that memory could be shared with: leave out `bulk`",
            );
        } else if !has_arguments && !matches!(output, Output::Type(_)) {
            errors.on(
                word,
                "this function has neither arguments nor a result, so nothing would go through shared memory: \
                 leave out `bulk`",
            );
        }
        true
    }
}

/// Returns the number in `key = number`.
fn number(argument: &Meta) -> Option<(LitInt, u32)> {
    match argument {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(ExprLit {
                lit: Lit::Int(number),
                ..
            }) => number
                .base10_parse()
                .ok()
                .map(|count| (number.clone(), count)),
            _ => None,
        },
        _ => None,
    }
}

/// Returns what `reuse = …` asks for.
fn reuse(argument: &Meta) -> Option<Reuse> {
    match argument {
        Meta::NameValue(pair) if matches!(&pair.value, Expr::Path(path) if path.path.is_ident("always")) => {
            Some(Reuse::Always)
        }
        argument => number(argument).map(|(_, times)| Reuse::Times(times)),
    }
}

impl Function {
    /// Returns the static that keeps the children that wait, if there are any.
    pub(super) fn spares_item(
        &self,
        krate: &Path,
        arguments: &TokenStream,
        output: &TokenStream,
    ) -> Option<TokenStream> {
        let Spares { number, reuse } = self.spares.as_ref()?;
        let reuse = match reuse {
            Reuse::Never => quote!(Never),
            Reuse::Times(times) => quote!(Times(#times)),
            Reuse::Always => quote!(Always),
        };
        Some(quote! {
            static __CROSSMIST_SPARES: #krate::__private::Spares<#arguments, #output> =
                #krate::__private::Spares::new(#number, #krate::Reuse::#reuse);
        })
    }
}
