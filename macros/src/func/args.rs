//! The arguments of `#[func(…)]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Meta, Path};

use super::{sandbox, spares};
use crate::errors::Errors;
use crate::words;

const ACCEPTED: &[&str] = &[
    "bulk",
    "callback",
    "crate = path",
    "preload = function",
    "raise(key = value)",
    "reuse = number",
    "sandbox = \"policy\"",
    "sandbox = dynamic",
    "smol",
    "spares = number",
    "tokio",
    "tokio(…)",
];

/// The arguments of the attribute.
pub(crate) struct Args {
    pub(crate) krate: Path,
    pub(crate) starter: Option<Starter>,
    /// `callback`: the function is called in the process that it was sent to, and may borrow there.
    pub(crate) callback: bool,
    pub(crate) sandbox: sandbox::Words,
    /// `preload = path`
    pub(crate) preload: Option<Path>,
    pub(crate) spares: spares::Words,
}

/// `tokio(…)` or `smol`: what starts the runtime of an `async fn`.
pub(crate) enum Starter {
    /// With the arguments of `#[tokio::main]`.
    Tokio {
        span: Span,
        arguments: TokenStream,
    },
    Smol {
        span: Span,
    },
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Args {
            krate: words::default_crate(),
            starter: None,
            callback: false,
            sandbox: sandbox::Words::default(),
            preload: None,
            spares: spares::Words::default(),
        };
        let arguments = words::arguments(tokens, errors);
        let is_confined = arguments
            .iter()
            .any(|argument| argument.path().is_ident("sandbox"));
        for argument in arguments {
            let path = argument.path();
            if path.is_ident("crate") {
                if let Some(path) = words::crate_path(&argument, errors) {
                    args.krate = path;
                }
            } else if path.is_ident("callback") {
                args.callback = true;
                if let Err(error) = argument.require_path_only() {
                    errors.add(error);
                }
            } else if path.is_ident("tokio") {
                args.starter = Starter::tokio(&argument, errors);
            } else if path.is_ident("smol") {
                args.starter = Starter::smol(&argument, errors);
            } else if args.spares.take(&argument, is_confined, errors) {
                // They are checked together with the function.
            } else if path.is_ident("preload") {
                match preload(&argument) {
                    Some(_) if !is_confined => errors.on(
                        &argument,
                        "only a function with a sandbox can share prepared state with its other calls: \
                         add `sandbox = \"…\"`",
                    ),
                    Some(path) => args.preload = Some(path),
                    None => errors.on(
                        &argument,
                        "expected `preload = function`, with the path of a function without arguments that \
                         returns nothing or a `Result<(), _>`",
                    ),
                }
            } else if path.is_ident("sandbox") {
                args.sandbox.sandbox(&argument, errors);
            } else if path.is_ident("raise") && is_confined {
                args.sandbox.raise(&argument, errors);
            } else if path.is_ident("raise") {
                errors.on(
                    &argument,
                    "only a function with a sandbox has limits to raise: add `sandbox = \"…\"`",
                );
            } else if is_confined && args.sandbox.narrowing(&argument) {
                // It is checked together with the policy.
            } else {
                words::unknown("func", &argument, ACCEPTED, errors);
            }
        }
        args
    }
}

/// The path in `preload = path`.
fn preload(argument: &Meta) -> Option<Path> {
    let Meta::NameValue(pair) = argument else {
        return None;
    };
    match &pair.value {
        syn::Expr::Path(path) if path.qself.is_none() => Some(path.path.clone()),
        _ => None,
    }
}

impl Starter {
    fn tokio(argument: &Meta, errors: &mut Errors) -> Option<Self> {
        let span = argument.path().span();
        match argument {
            Meta::List(list) => Some(Self::Tokio {
                span,
                arguments: list.tokens.clone(),
            }),
            // Every build of tokio that has runtimes has this one.
            Meta::Path(_) => Some(Self::Tokio {
                span,
                arguments: quote!(flavor = "current_thread"),
            }),
            _ => {
                errors.on(
                    argument,
                    "expected `tokio`, or `tokio(…)` with the arguments of `#[tokio::main]`, such \
                     as `tokio(flavor = \"current_thread\")`",
                );
                None
            }
        }
    }

    fn smol(argument: &Meta, errors: &mut Errors) -> Option<Self> {
        if let Err(error) = argument.require_path_only() {
            errors.add(error);
        }
        Some(Self::Smol {
            span: argument.path().span(),
        })
    }

    /// Its name, and where it is.
    pub(crate) fn word(&self) -> (&'static str, Span) {
        match self {
            Self::Tokio { span, .. } => ("tokio", *span),
            Self::Smol { span } => ("smol", *span),
        }
    }
}
