//! All the rules for a function, in the order of its tokens.

use proc_macro2::{Group, Ident, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, GenericParam, Generics, Pat, PatType, Path, ReturnType, Safety, Signature,
    Type, Visibility,
};

use super::args::{Args, Starter};
use super::sandbox::{self, Sandbox};
use super::signature::Parsed;
use super::spares::Spares;
use crate::errors::Errors;
use crate::types;

/// The size of the largest tuple that can be sent.
const MAX_ARGUMENTS: usize = 16;

/// A function that satisfies the rules.
pub(crate) struct Function {
    pub(crate) krate: Path,
    /// Whether it is called in the process that it was sent to, and never starts a process.
    pub(crate) callback: bool,
    /// The sandbox that confines the child.
    pub(crate) sandbox: Option<Sandbox>,
    /// The function that prepares what its children share.
    pub(crate) preload: Option<Path>,
    /// The children that wait for `run`.
    pub(crate) spares: Option<Spares>,
    /// Whether its children share memory with the program.
    pub(crate) bulk: bool,
    pub(crate) attrs: Attrs,
    pub(crate) vis: Visibility,
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) output: Output,
    pub(crate) is_async: bool,
    /// For an `async fn`, the attribute that starts the runtime in the child. A callback needs
    /// none, because it runs in an existing runtime.
    pub(crate) runtime: Option<Runtime>,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

/// The user's attributes, sorted by where they go.
#[derive(Default)]
pub(crate) struct Attrs {
    /// On everything that is generated for the function.
    pub(crate) cfg: Vec<Attribute>,
    /// On the item that has the user's name.
    pub(crate) docs: Vec<Attribute>,
    pub(crate) value: Vec<Attribute>,
    /// On the function with the user's body.
    pub(crate) body: Vec<Attribute>,
}

pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
}

pub(crate) enum Output {
    Unit,
    Never,
    Type(Box<Type>),
}

pub(crate) enum Runtime {
    /// The attribute below `#[func]`, such as `#[tokio::main]`.
    Below(Box<Attribute>),
    /// `#[func(tokio(…))]` or `#[func(smol)]`
    Ours(Starter),
}

/// Applies the rules. `None` means that the function itself is refused.
pub(crate) fn check(parsed: Parsed, args: Args, errors: &mut Errors) -> Option<Function> {
    let mut refusals = Errors::default();
    let Parsed {
        attrs,
        vis,
        sig,
        body,
    } = parsed;

    let (attrs, below) = sort_attrs(attrs, sig.asyncness.is_some());
    qualifiers(&sig, &mut refusals);
    let runtime = runtime(
        &sig,
        below,
        args.starter,
        args.callback,
        errors,
        &mut refusals,
    );
    generics(&sig.generics, &mut refusals);
    let arguments = arguments(&sig, args.callback, &mut refusals);
    let output = output(&sig.output, &mut refusals);
    let sandbox = sandbox(&args.sandbox, args.callback, &output, errors);
    let spares = args.spares.check(sandbox.as_ref(), &sig.generics, errors);
    let bulk = args
        .spares
        .shares_memory(args.callback, !sig.inputs.is_empty(), &output, errors);
    self_types(&sig, &mut refusals);

    if !refusals.is_empty() {
        errors.append(refusals);
        return None;
    }
    Some(Function {
        krate: args.krate,
        callback: args.callback,
        sandbox,
        preload: args.preload,
        spares,
        bulk,
        attrs,
        vis,
        name: sig.ident.clone(),
        generics: sig.generics.clone(),
        arguments,
        output,
        is_async: sig.asyncness.is_some(),
        runtime,
        sig,
        body,
    })
}

/// Compiles the policy, and applies the rules for confined functions.
fn sandbox(
    words: &sandbox::Words,
    callback: bool,
    output: &Output,
    errors: &mut Errors,
) -> Option<Sandbox> {
    let span = words.span()?;
    if callback {
        errors.at(
            span,
            "a callback runs where it has been sent to, in a process that is confined already or \
             isn't: only a function that is run in a process of its own has a sandbox",
        );
    }
    if let Output::Type(output) = output {
        sandbox::refuse_code(output, errors);
    }
    words.compile(errors)
}

/// Sorts the attributes, and takes out the one that starts a runtime.
fn sort_attrs(attrs: Vec<Attribute>, is_async: bool) -> (Attrs, Option<Attribute>) {
    let mut sorted = Attrs::default();
    let mut runtime = None;
    for attr in attrs {
        let path = attr.path();
        let last = path
            .segments
            .last()
            .map(|segment| segment.ident.to_string());
        match last.as_deref() {
            Some("cfg") => sorted.cfg.push(attr),
            Some("doc") => sorted.docs.push(attr),
            Some("deprecated") => sorted.value.push(attr),
            // A lint about the name or its use concerns the value.
            Some("allow" | "warn" | "deny" | "forbid") => {
                sorted.value.push(attr.clone());
                sorted.body.push(attr);
            }
            Some("main") if is_async && path.segments.len() > 1 => runtime = Some(attr),
            _ => sorted.body.push(attr),
        }
    }
    (sorted, runtime)
}

fn qualifiers(sig: &Signature, errors: &mut Errors) {
    if let Some(token) = &sig.constness {
        errors.at(
            token.span,
            "a `const fn` can't be a `#[func]`: a call to another process isn't constant",
        );
    }
    if let Safety::Unsafe(token) = &sig.safety {
        errors.at(
            token.span,
            "an `unsafe fn` can't be a `#[func]`: what its caller would have to promise can't be \
             checked in another process; make the function safe, with `unsafe` blocks in its body",
        );
    }
    if let Safety::Safe(token) = &sig.safety {
        errors.on(token, "`safe` is for functions of an `extern` block");
    }
    if let Some(abi) = &sig.abi {
        errors.on(
            abi,
            "an `extern fn` can't be a `#[func]`: leave the ABI out",
        );
    }
    if let Some(variadic) = &sig.variadic {
        errors.on(
            variadic,
            "a variadic function can't be a `#[func]`: use a `Vec`",
        );
    }
}

fn runtime(
    sig: &Signature,
    below: Option<Attribute>,
    ours: Option<Starter>,
    callback: bool,
    errors: &mut Errors,
    refusals: &mut Errors,
) -> Option<Runtime> {
    let Some(token) = &sig.asyncness else {
        if let Some(ours) = ours {
            let (word, span) = ours.word();
            errors.at(
                span,
                format!("`{word}` is for an `async fn`; this one needs no runtime"),
            );
        }
        return None;
    };
    match (below, ours) {
        (Some(below), Some(ours)) => {
            errors.at(
                ours.word().1,
                "the function has an attribute of its own that starts a runtime",
            );
            Some(Runtime::Below(Box::new(below)))
        }
        (Some(below), None) => Some(Runtime::Below(Box::new(below))),
        (None, Some(ours)) => Some(Runtime::Ours(ours)),
        (None, None) if callback => None,
        (None, None) => {
            refusals.at(
                token.span,
                "the child process needs a runtime for an `async fn`: write `#[func(tokio)]` or `#[func(smol)]`, or \
                 `#[tokio::main(flavor = \"current_thread\")]` below `#[func]`",
            );
            None
        }
    }
}

fn generics(generics: &Generics, errors: &mut Errors) {
    for param in &generics.params {
        if let GenericParam::Lifetime(param) = param {
            errors.at(
                param.lifetime.span(),
                "a function with lifetimes can't be a `#[func]`: another process can't borrow \
                 memory of this one",
            );
        }
    }
}

fn arguments(sig: &Signature, callback: bool, errors: &mut Errors) -> Vec<Argument> {
    let mut arguments = Vec::new();
    for (index, input) in sig.inputs.iter().enumerate() {
        if index == MAX_ARGUMENTS {
            errors.on(
                input,
                format!(
                    "a `#[func]` has at most {MAX_ARGUMENTS} arguments: put some into a struct \
                     with `#[derive(Object)]`"
                ),
            );
        }
        match input {
            FnArg::Receiver(receiver) => errors.at(
                receiver.self_token.span,
                "a `#[func]` can't be a method: make it a free function and pass the value as an \
                 argument",
            ),
            FnArg::Typed(input) => {
                argument_attrs(input, errors);
                match &*input.ty {
                    // Whatever a callback borrows is in the same process.
                    Type::Reference(_) if callback && sig.asyncness.is_none() => {}
                    Type::Reference(_) if callback => errors.on(
                        &input.ty,
                        "the future of an `async` callback can outlive what its arguments borrow",
                    ),
                    Type::Reference(reference) => errors.on(
                        reference,
                        format!(
                            "{}; a function that is only called where it has been sent to, as by \
                             `bind_ref`, is a `#[func(callback)]`",
                            types::borrowed(reference)
                        ),
                    ),
                    ty => types::check(ty, errors),
                }
                if let Some(name) = argument_name(input, index, sig, errors) {
                    arguments.push(Argument {
                        name,
                        ty: (*input.ty).clone(),
                    });
                }
            }
        }
    }
    arguments
}

fn argument_attrs(input: &PatType, errors: &mut Errors) {
    for attr in &input.attrs {
        if attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr") {
            errors.on(
                attr,
                "an argument of a `#[func]` can't depend on the configuration: write the function \
                 twice, each with its `#[cfg(…)]`",
            );
        }
    }
}

fn argument_name(
    input: &PatType,
    index: usize,
    sig: &Signature,
    errors: &mut Errors,
) -> Option<Ident> {
    match &*input.pat {
        Pat::Wild(wild) => Some(Ident::new(&format!("argument{index}"), wild.span())),
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
            if pat.ident == sig.ident {
                errors.at(
                    pat.ident.span(),
                    "an argument can't have the name of its function, which means the function \
                     object in here: choose another",
                );
            }
            Some(pat.ident.clone())
        }
        pat => {
            errors.on(
                pat,
                format!(
                    "an argument of a `#[func]` has a name, not a pattern: write `value: {}`, and \
                     in the body `let {} = value;`",
                    types::text(&input.ty),
                    types::text(pat),
                ),
            );
            None
        }
    }
}

fn output(output: &ReturnType, errors: &mut Errors) -> Output {
    match output {
        ReturnType::Default => Output::Unit,
        ReturnType::Type(_, ty) => match &**ty {
            Type::Never(_) => Output::Never,
            ty => {
                types::check(ty, errors);
                Output::Type(Box::new(ty.clone()))
            }
        },
    }
}

/// `Self` in the signature means that the function is in an `impl`, where the items that the macro
/// generates cannot stand.
fn self_types(sig: &Signature, errors: &mut Errors) {
    if sig.receiver().is_some() {
        return;
    }
    let (inputs, output) = (&sig.inputs, &sig.output);
    if let Some(word) = find_self(quote!(#inputs #output)) {
        errors.at(
            word.span(),
            "a `#[func]` can't stand in an `impl` or a trait: make it a free function",
        );
    }
}

fn find_self(tokens: TokenStream) -> Option<Ident> {
    tokens.into_iter().find_map(|token| match token {
        proc_macro2::TokenTree::Ident(word) if word == "Self" => Some(word),
        proc_macro2::TokenTree::Group(group) => find_self(group.stream()),
        _ => None,
    })
}
