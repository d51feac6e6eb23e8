//! The policy of `#[func(sandbox = …)]`, which is found, checked and compiled together with the
//! user's crate.

use std::path::PathBuf;

use crossmist_policy::{Arch, Folder, Policy, home};
use proc_macro2::{Literal, Span, TokenStream};
use quote::quote;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Lit, LitStr, Meta, Token};

use crate::errors::Errors;

/// How a function is confined.
pub(crate) enum Sandbox {
    /// By a policy that is known at compile time.
    Policy(Box<Compiled>),
    /// By a policy that each call chooses.
    Dynamic,
}

/// A checked policy, and the files that the compiler has to watch.
pub(crate) struct Compiled {
    /// For each architecture, the policy as bytes.
    bytes: Vec<(Arch, Vec<u8>)>,
    files: Vec<PathBuf>,
}

/// The arguments of the attribute that concern the sandbox, not yet checked.
#[derive(Default)]
pub(crate) struct Words {
    name: Option<Name>,
    /// The `key = value` arguments, in order.
    narrowing: Vec<Narrowing>,
    /// Those of `raise(…)`.
    raising: Vec<Narrowing>,
}

enum Name {
    Policy(LitStr),
    Dynamic(Span),
}

struct Narrowing {
    key: syn::Ident,
    value: String,
    span: Span,
}

impl Words {
    /// Takes `sandbox = …`.
    pub(crate) fn sandbox(&mut self, argument: &Meta, errors: &mut Errors) {
        let value = match argument {
            Meta::NameValue(pair) => Some(&pair.value),
            _ => None,
        };
        let name = match value {
            Some(Expr::Lit(ExprLit {
                lit: Lit::Str(name),
                ..
            })) => Name::Policy(name.clone()),
            Some(Expr::Path(path)) if path.path.is_ident("dynamic") => Name::Dynamic(path.span()),
            _ => {
                errors.on(
                    argument,
                    "expected `sandbox = \"name\"` with the name of a policy, such as `\"parser\"`, \
                     or `sandbox = dynamic` for one that each call is given",
                );
                return;
            }
        };
        if self.name.replace(name).is_some() {
            errors.on(argument, "a function has one sandbox");
        }
    }

    /// Takes an argument if it is `key = value`.
    pub(crate) fn narrowing(&mut self, argument: &Meta) -> bool {
        let narrowing = key_and_value(argument);
        let is_one = narrowing.is_some();
        self.narrowing.extend(narrowing);
        is_one
    }

    /// Takes `raise(key = value, …)`.
    pub(crate) fn raise(&mut self, argument: &Meta, errors: &mut Errors) {
        let arguments = argument
            .require_list()
            .and_then(|list| list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated));
        match arguments {
            Ok(arguments) if arguments.is_empty() => errors.on(argument, EXPECTED_RAISE),
            Ok(arguments) => {
                for argument in &arguments {
                    match key_and_value(argument) {
                        Some(raising) => self.raising.push(raising),
                        None => errors.on(argument, EXPECTED_RAISE),
                    }
                }
            }
            Err(_) => errors.on(argument, EXPECTED_RAISE),
        }
    }

    /// Returns the span of the sandbox, if there is one.
    pub(crate) fn span(&self) -> Option<Span> {
        self.name.as_ref().map(|name| match name {
            Name::Policy(name) => name.span(),
            Name::Dynamic(span) => *span,
        })
    }

    /// Finds, checks and compiles the policy.
    pub(crate) fn compile(&self, errors: &mut Errors) -> Option<Sandbox> {
        match self.name.as_ref()? {
            Name::Dynamic(_) => {
                for raising in &self.raising {
                    errors.at(
                        raising.key.span(),
                        "there is no policy here to raise: raise the one that is given to the call, by \
                         `SandboxPolicy::raise`",
                    );
                }
                for narrowing in &self.narrowing {
                    errors.at(
                        narrowing.key.span(),
                        "there is no policy here to narrow: narrow the one that is given to the \
                         call, by `SandboxPolicy::narrow`",
                    );
                }
                Some(Sandbox::Dynamic)
            }
            Name::Policy(name) => self
                .policy(name, errors)
                .map(|compiled| Sandbox::Policy(Box::new(compiled))),
        }
    }

    fn policy(&self, name: &LitStr, errors: &mut Errors) -> Option<Compiled> {
        let folder = match folder() {
            Ok(folder) => folder,
            Err(reason) => {
                errors.at(name.span(), reason);
                return None;
            }
        };
        let mut policy = match Policy::load(&Folder::new(folder), &name.value()) {
            Ok(policy) => policy,
            Err(report) => {
                errors.at(name.span(), unusable(name, &report));
                return None;
            }
        };
        for Narrowing { key, value, span } in &self.raising {
            if self.narrowing.iter().any(|other| other.key == *key) {
                errors.at(
                    key.span(),
                    "this limit is raised and narrowed: write one of the two",
                );
                continue;
            }
            match policy.raise(&[(&key.to_string(), value)]) {
                Ok((higher, _)) => policy = higher,
                Err(error @ crossmist_policy::RaiseError::UnknownKey { .. }) => {
                    errors.at(key.span(), error);
                }
                Err(error) => errors.at(*span, error),
            }
        }
        for Narrowing { key, value, span } in &self.narrowing {
            // One by one, so that each error has the span of its cause.
            match policy.narrow(&[(&key.to_string(), value)]) {
                Ok(narrower) => policy = narrower,
                Err(error @ crossmist_policy::NarrowError::UnknownKey { .. }) => {
                    errors.at(key.span(), error);
                }
                Err(error) => errors.at(*span, error),
            }
        }
        match policy.compile() {
            Ok(compiled) => Some(Compiled {
                bytes: Arch::ALL
                    .into_iter()
                    .map(|arch| (arch, compiled.clone().only(arch).to_bytes()))
                    .collect(),
                // The manifest may be changed to name another folder.
                files: policy.files().iter().cloned().chain(manifest()).collect(),
            }),
            Err(report) => {
                errors.at(name.span(), unusable(name, &report));
                None
            }
        }
    }
}

const EXPECTED_RAISE: &str = "expected `raise(key = \"value\", …)` with the sizes and times that are more than in the \
                              policy, such as `raise(wall_time = \"2min\")`";

/// Returns the parts of `key = value`.
fn key_and_value(argument: &Meta) -> Option<Narrowing> {
    let (Meta::NameValue(pair), Some(key)) = (argument, argument.path().get_ident()) else {
        return None;
    };
    Some(Narrowing {
        key: key.clone(),
        value: text(&pair.value)?,
        span: pair.value.span(),
    })
}

fn unusable(name: &LitStr, report: &crossmist_policy::Report) -> String {
    format!("the policy `{}` can't be used\n\n{report}", name.value())
}

/// Returns a value as a policy writes it between quotes.
fn text(value: &Expr) -> Option<String> {
    if let Expr::Unary(unary) = value
        && let syn::UnOp::Neg(_) = unary.op
    {
        return text(&unary.expr).map(|number| format!("-{number}"));
    }
    let Expr::Lit(ExprLit { lit, .. }) = value else {
        return None;
    };
    match lit {
        Lit::Str(text) => Some(text.value()),
        Lit::Int(number) => Some(number.base10_digits().to_owned()),
        Lit::Bool(flag) => Some(flag.value.to_string()),
        _ => None,
    }
}

impl Compiled {
    /// Returns the items that hold the policy, and that cause the user's crate to be compiled again
    /// when it changes.
    pub(crate) fn items(&self, krate: &syn::Path) -> TokenStream {
        let files = self.files.iter().map(|file| {
            let file = file.to_string_lossy();
            quote!(
                const _: &[::core::primitive::u8] = ::core::include_bytes!(#file);
            )
        });
        let variable = home::VARIABLE;
        let known = Arch::ALL.map(|arch| arch.to_string());
        let policies = self.bytes.iter().map(|(arch, bytes)| {
            let arch = arch.to_string();
            let bytes = Literal::byte_string(bytes);
            quote! {
                #[cfg(target_arch = #arch)]
                static __CROSSMIST_SANDBOX: #krate::__private::Sandbox =
                    #krate::__private::Sandbox::new(#bytes);
            }
        });
        quote! {
            #(#files)*
            const _: ::core::option::Option<&::core::primitive::str> =
                ::core::option_env!(#variable);
            #(#policies)*
            #[cfg(not(any(#(target_arch = #known),*)))]
            ::core::compile_error!("policies can be compiled for x86_64 and aarch64");
        }
    }
}

/// Refuses code in the type of the result: a confined function never returns code.
pub(crate) fn refuse_code(output: &syn::Type, errors: &mut Errors) {
    const CODE: &[&str] = &["StaticRef", "BoundValue", "BoundRef", "BoundMut"];
    struct Finder<'e>(&'e mut Errors);
    impl Finder<'_> {
        fn visit(&mut self, ty: &syn::Type) {
            const REASON: &str = "a confined function can't return code: what it sends is data, \
                                  and nothing in it is ever called; return a value, such as an enum";
            match ty {
                syn::Type::TraitObject(object) => self.0.on(object, REASON),
                syn::Type::Path(path) => {
                    for segment in &path.path.segments {
                        if CODE.iter().any(|name| segment.ident == name) {
                            self.0.at(segment.ident.span(), REASON);
                        }
                        let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments
                        else {
                            continue;
                        };
                        for argument in &arguments.args {
                            if let syn::GenericArgument::Type(ty) = argument {
                                self.visit(ty);
                            }
                        }
                    }
                }
                syn::Type::Tuple(tuple) => tuple.elems.iter().for_each(|ty| self.visit(ty)),
                syn::Type::Array(array) => self.visit(&array.elem),
                syn::Type::Paren(inner) => self.visit(&inner.elem),
                syn::Type::Group(inner) => self.visit(&inner.elem),
                _ => {}
            }
        }
    }
    Finder(errors).visit(output);
}

/// Returns the manifest of the crate that is being compiled, if cargo compiles it.
fn manifest() -> Option<PathBuf> {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    manifest.is_file().then_some(manifest)
}

/// Returns the folder with the policies of the crate that is being compiled.
fn folder() -> Result<PathBuf, String> {
    let named = std::env::var_os(home::VARIABLE).filter(|folder| !folder.is_empty());
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    home::find(named.map(PathBuf::from), manifest)
}
