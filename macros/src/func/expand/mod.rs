//! The expansion of a function: a value with its name, and the function itself in a hidden place.
//!
//! A function that is not generic becomes a constant of a hidden unit type. A generic one becomes
//! the unit variant of a hidden enum. Of all items that are called like a value, only a variant can
//! have its type arguments inferred (`add.spawn(5, 7)`) or written (`add::<u8>.spawn(5, 7)`). It is
//! imported by a glob, so that another item of its name, such as a module, takes precedence among
//! the types.

mod process;
mod values;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{GenericParam, Generics, Path, Type, Visibility, parse_quote};

use super::check::{Function, Output};
use super::sandbox::Sandbox;
use crate::spans;

pub(crate) fn expand(function: &Function) -> TokenStream {
    let parts = Parts::new(function);
    let declaration = parts.declaration();
    let cfg = &function.attrs.cfg;
    let mut items = vec![parts.body(), parts.value_impls(), parts.object_impl()];
    match &function.sandbox {
        // The name of a call in this process says that nothing confines it.
        Some(_) => items.push(parts.unconfined_call()),
        None => items.extend([parts.direct_call(), parts.callable_impls()]),
    }
    match &function.sandbox {
        _ if function.callback => {}
        Some(Sandbox::Dynamic) => items.extend([parts.func_impl(), parts.dynamic_methods()]),
        Some(Sandbox::Policy(policy)) => {
            items.push(policy.items(&function.krate));
            items.extend([parts.func_impl(), parts.methods(), parts.runtime_methods()]);
        }
        None => items.extend([parts.func_impl(), parts.methods(), parts.runtime_methods()]),
    }
    quote! {
        #declaration

        // Here the body and the rest are hidden, but see what the function would see.
        #(#cfg)*
        #[doc(hidden)]
        const _: () = { #(#items)* };
    }
}

/// The tokens that several of the items share.
struct Parts<'f> {
    function: &'f Function,
    krate: &'f Path,
    /// The name of the hidden type.
    object: Ident,
    /// The type of the function's value, and the value.
    this: TokenStream,
    value: TokenStream,
    /// The function as a pointer.
    pointer: TokenStream,
    vis: Visibility,
    /// The user's generics, with types that are also `'static`, as those of a function object are.
    generics: Generics,
    names: Vec<&'f Ident>,
    types: Vec<&'f Type>,
    output: TokenStream,
    /// The type that the direct call returns.
    direct: TokenStream,
}

impl<'f> Parts<'f> {
    fn new(function: &'f Function) -> Self {
        let krate = &function.krate;
        let name = &function.name;
        let object = format_ident!("__crossmist_func_{}", name, span = Span::call_site());

        let mut generics = function.generics.clone();
        let parameters: Vec<Ident> = function
            .generics
            .type_params()
            .map(|p| p.ident.clone())
            .collect();
        if !parameters.is_empty() {
            let clause = generics.make_where_clause();
            for parameter in &parameters {
                let parameter = spans::generated(parameter);
                clause.predicates.push(parse_quote!(#parameter: 'static));
            }
        }

        let is_generic = !function.generics.params.is_empty();
        let value = if is_generic {
            quote!(#object::#name)
        } else {
            quote!(#object(::core::marker::PhantomData))
        };
        let output = match &function.output {
            Output::Unit => quote!(()),
            Output::Never => quote!(::core::convert::Infallible),
            Output::Type(ty) => quote!(#ty),
        };
        let direct = match (function.is_async, &function.output) {
            (true, _) => quote! {
                ::core::pin::Pin<#krate::__private::Box<dyn ::core::future::Future<Output = #output>>>
            },
            (false, Output::Never) => quote!(!),
            (false, _) => output.clone(),
        };
        let types: Vec<&Type> = function
            .arguments
            .iter()
            .map(|argument| &argument.ty)
            .collect();
        let pointer = quote!(fn(#(#types),*) -> #direct);
        let parameters = function
            .generics
            .params
            .iter()
            .filter_map(|param| match param {
                GenericParam::Type(param) => Some(&param.ident),
                GenericParam::Const(param) => Some(&param.ident),
                GenericParam::Lifetime(_) => None,
            });
        let this = quote!(#object<#(#parameters,)* #pointer>);
        Parts {
            function,
            krate,
            object,
            this,
            value,
            pointer,
            vis: spans::generated_visibility(&function.vis),
            generics,
            names: function
                .arguments
                .iter()
                .map(|argument| &argument.name)
                .collect(),
            types,
            output,
            direct,
        }
    }

    /// The hidden type, and the value with the user's name.
    ///
    /// The type has the function's pointer type as a parameter. If the function's signature names a
    /// type that is less visible than the function, so does every implementation, and the compiler
    /// accepts it as it accepts the function.
    fn declaration(&self) -> TokenStream {
        let Parts {
            object,
            this,
            value,
            pointer,
            vis,
            ..
        } = self;
        // The compiler's messages about the value point at the user's name for it.
        let span = spans::generated(&self.function.name).span();
        let Function {
            attrs,
            name,
            vis: user_vis,
            ..
        } = self.function;
        let (cfg, docs, value_attrs) = (&attrs.cfg, &attrs.docs, &attrs.value);
        if self.function.generics.params.is_empty() {
            return quote_spanned! {span=>
                #(#cfg)*
                #[doc(hidden)]
                #vis struct #object<F>(::core::marker::PhantomData<F>);

                #(#cfg)*
                #(#docs)*
                #(#value_attrs)*
                #[allow(non_upper_case_globals)]
                #user_vis const #name: #this = #value;
            };
        }

        let parameters = &self.generics.params;
        let where_clause = &self.generics.where_clause;
        let types = self
            .function
            .generics
            .type_params()
            .map(|param| &param.ident);
        let never = format_ident!("__crossmist_never_{}", name, span = Span::call_site());
        let separator = (!parameters.trailing_punct()).then(|| quote!(,));
        quote_spanned! {span=>
            #(#cfg)*
            #[doc(hidden)]
            #vis enum #object<#parameters #separator __CrossmistPointer = #pointer> #where_clause {
                #(#docs)*
                #(#value_attrs)*
                #[allow(non_camel_case_types)]
                #name,
                #[doc(hidden)]
                #never(
                    ::core::convert::Infallible,
                    ::core::marker::PhantomData<fn() -> (
                        #(::core::marker::PhantomData<#types>,)*
                        ::core::marker::PhantomData<__CrossmistPointer>,
                    )>,
                ),
            }

            #(#cfg)*
            #[doc(hidden)]
            #user_vis use #object::*;
        }
    }

    /// The function that the user wrote, under another name: in its body, the original name means
    /// the value.
    fn body(&self) -> TokenStream {
        let Function {
            attrs, sig, body, ..
        } = self.function;
        let attrs = &attrs.body;
        let mut sig = sig.clone();
        sig.ident = self.body_name();
        if let (true, Output::Never) = (self.function.is_async, &self.function.output) {
            // A future of `!` cannot be named.
            let output = &self.output;
            sig.output = parse_quote!(-> #output);
        }
        quote! {
            #(#attrs)*
            #[allow(clippy::missing_const_for_fn, clippy::needless_pass_by_value, clippy::unused_async)]
            #sig #body
        }
    }

    /// Returns the path that a direct call calls.
    fn callee(&self) -> TokenStream {
        let (_, ty_generics, _) = self.generics.split_for_impl();
        let turbofish = ty_generics.as_turbofish();
        let name = if self.function.is_async {
            boxed_name()
        } else {
            self.body_name()
        };
        quote!(#name #turbofish)
    }

    /// The function's path, for messages.
    fn path(&self) -> TokenStream {
        let name = format!("::{}", self.function.name.unraw());
        quote!(::core::concat!(::core::module_path!(), #name))
    }

    fn call(&self, arguments: TokenStream) -> TokenStream {
        let (_, ty_generics, _) = self.generics.split_for_impl();
        let turbofish = ty_generics.as_turbofish();
        let body = self.body_name();
        quote!(#body #turbofish (#arguments))
    }

    /// Backtraces remove the prefix again.
    fn body_name(&self) -> Ident {
        let name = self.function.name.unraw();
        format_ident!("__crossmist_body_{}", name, span = Span::call_site())
    }
}

/// The function that returns the future of an `async fn` in a box.
fn boxed_name() -> Ident {
    Ident::new("__crossmist_boxed", Span::call_site())
}
