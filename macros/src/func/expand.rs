//! What a function becomes: a value that bears its name, and the function itself out of sight.
//!
//! A function that isn't generic becomes a constant of a hidden unit type. A generic one becomes
//! the unit variant of a hidden enum: of the things that are called like a value it alone can have
//! its type arguments inferred, `add.spawn(5, 7)`, or written, `add::<u8>.spawn(5, 7)`. It is
//! imported by glob, so that another item of its name, such as a module, takes precedence among
//! the types.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Attribute, GenericParam, Generics, Path, Type, Visibility, parse_quote};

use super::check::{Function, Output, Runtime};
use crate::spans;

pub(crate) fn expand(function: &Function) -> TokenStream {
    let parts = Parts::new(function);
    let declaration = parts.declaration();
    let cfg = &function.attrs.cfg;
    let items = [
        parts.body(),
        parts.value_impls(),
        parts.object_impl(),
        parts.func_impl(),
        parts.methods(),
        parts.tokio_methods(),
        parts.direct_call(),
    ];
    quote! {
        #declaration

        // Here the body and the rest are out of sight, but see what the function would see.
        #(#cfg)*
        #[doc(hidden)]
        const _: () = { #(#items)* };
    }
}

/// The tokens that several of the items are made of.
struct Parts<'f> {
    function: &'f Function,
    krate: &'f Path,
    /// The hidden type.
    object: Ident,
    /// The function's value.
    value: TokenStream,
    vis: Visibility,
    /// The user's generics, whose types are `'static` in addition: those of a function object are.
    generics: Generics,
    names: Vec<&'f Ident>,
    types: Vec<&'f Type>,
    output: TokenStream,
    /// What the direct call gives.
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
            quote!(#object)
        };
        let output = match &function.output {
            Output::Unit => quote!(()),
            Output::Never => quote!(::core::convert::Infallible),
            Output::Type(ty) => quote!(#ty),
        };
        let direct = match (&function.runtime, &function.output) {
            (Some(_), _) => quote! {
                ::core::pin::Pin<#krate::__private::Box<dyn ::core::future::Future<Output = #output>>>
            },
            (None, Output::Never) => quote!(!),
            (None, _) => output.clone(),
        };
        Parts {
            function,
            krate,
            object,
            value,
            vis: spans::generated_visibility(&function.vis),
            generics,
            names: function
                .arguments
                .iter()
                .map(|argument| &argument.name)
                .collect(),
            types: function
                .arguments
                .iter()
                .map(|argument| &argument.ty)
                .collect(),
            output,
            direct,
        }
    }

    /// The hidden type, and the value with the user's name.
    fn declaration(&self) -> TokenStream {
        let Parts { object, vis, .. } = self;
        // What the compiler says of the value is said at the user's name for it.
        let span = spans::generated(&self.function.name).span();
        let Function {
            attrs,
            name,
            vis: user_vis,
            ..
        } = self.function;
        let (cfg, docs, value) = (&attrs.cfg, &attrs.docs, &attrs.value);
        if self.function.generics.params.is_empty() {
            return quote_spanned! {span=>
                #(#cfg)*
                #[doc(hidden)]
                #[allow(non_camel_case_types)]
                #vis struct #object;

                #(#cfg)*
                #(#docs)*
                #(#value)*
                #[allow(non_upper_case_globals)]
                #user_vis const #name: #object = #object;
            };
        }

        let parameters = self
            .function
            .generics
            .params
            .iter()
            .filter_map(|param| match param {
                GenericParam::Type(param) => {
                    let name = &param.ident;
                    Some(quote!(#name: ?::core::marker::Sized))
                }
                GenericParam::Const(param) => {
                    let (name, ty) = (&param.ident, &param.ty);
                    Some(quote!(const #name: #ty))
                }
                GenericParam::Lifetime(_) => None,
            });
        let types = self
            .function
            .generics
            .type_params()
            .map(|param| &param.ident);
        let never = format_ident!("__crossmist_never_{}", name, span = Span::call_site());
        quote_spanned! {span=>
            #(#cfg)*
            #[doc(hidden)]
            #[allow(non_camel_case_types, dead_code)]
            #vis enum #object<#(#parameters),*> {
                #(#docs)*
                #(#value)*
                #name,
                #[doc(hidden)]
                #never(
                    ::core::convert::Infallible,
                    ::core::marker::PhantomData<fn() -> (#(::core::marker::PhantomData<#types>,)*)>,
                ),
            }

            #(#cfg)*
            #[doc(hidden)]
            #[allow(unused_imports)]
            #user_vis use #object::*;
        }
    }

    /// The function that the user wrote, by another name: in its body the old one means the value.
    fn body(&self) -> TokenStream {
        let Function {
            attrs, sig, body, ..
        } = self.function;
        let attrs = &attrs.body;
        let mut sig = sig.clone();
        sig.ident = body_name();
        quote! {
            #(#attrs)*
            #[allow(clippy::needless_pass_by_value, clippy::unused_async)]
            #sig #body
        }
    }

    /// `Clone`, `Copy` and `Debug`: written out, as a derive would put bounds on the parameters.
    fn value_impls(&self) -> TokenStream {
        let Parts { object, krate, .. } = self;
        let (impl_generics, ty_generics, where_clause) = self.generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #impl_generics ::core::clone::Clone for #object #ty_generics #where_clause {
                fn clone(&self) -> Self { *self }
            }

            #[automatically_derived]
            impl #impl_generics ::core::marker::Copy for #object #ty_generics #where_clause {}

            #[automatically_derived]
            impl #impl_generics ::core::fmt::Debug for #object #ty_generics #where_clause {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.write_str(<Self as #krate::__private::Func>::NAME)
                }
            }
        }
    }

    /// A function object is all type: there is nothing to be sent.
    fn object_impl(&self) -> TokenStream {
        let Parts {
            object,
            krate,
            value,
            ..
        } = self;
        let (impl_generics, ty_generics, where_clause) = self.generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #impl_generics #krate::Object for #object #ty_generics #where_clause {
                fn encode<'__crossmist>(&'__crossmist self, _: &mut #krate::Encoder<'__crossmist>) {}

                fn decode(
                    _: &mut #krate::Decoder<'_>,
                ) -> ::core::result::Result<Self, #krate::DecodeError> {
                    ::core::result::Result::Ok(#value)
                }

                fn describe(_: &mut #krate::Shape) {}
            }
        }
    }

    fn func_impl(&self) -> TokenStream {
        let Parts {
            object,
            krate,
            names,
            output,
            ..
        } = self;
        let (impl_generics, ty_generics, where_clause) = self.generics.split_for_impl();
        let arguments = self.arguments_type();
        let name = format!("::{}", self.function.name.unraw());
        let (entered, enter) = match &self.function.runtime {
            None => {
                let call = self.call(quote!(#(#names),*));
                let returned = match self.function.output {
                    // The call doesn't return, so it is of every type.
                    Output::Never => call,
                    _ => quote!(::core::result::Result::Ok(#call)),
                };
                let enter = quote! {
                    let (#(#names,)*) = #krate::__private::decode::<Self>(arguments)?;
                    #returned
                };
                (TokenStream::new(), enter)
            }
            Some(runtime) => self.enter_async(runtime),
        };
        quote! {
            #[automatically_derived]
            impl #impl_generics #krate::__private::Func for #object #ty_generics #where_clause {
                type Args = #arguments;
                type Output = #output;
                const NAME: &'static str = ::core::concat!(::core::module_path!(), #name);

                fn enter(
                    arguments: #krate::__private::Arguments<'_>,
                ) -> ::core::result::Result<#output, #krate::DecodeError> {
                    #enter
                }
            }

            #entered
        }
    }

    /// The way in of an `async fn`: what its arguments are made of may need the runtime, so they
    /// are decoded within it.
    fn enter_async(&self, runtime: &Runtime) -> (TokenStream, TokenStream) {
        let Parts {
            object,
            krate,
            names,
            output,
            ..
        } = self;
        let (impl_generics, ty_generics, where_clause) = self.generics.split_for_impl();
        let turbofish = ty_generics.as_turbofish();
        let runtime = match runtime {
            Runtime::Below(attr) => quote!(#attr),
            Runtime::Ours(tokio) => {
                let path = quote!(#krate::__private::tokio)
                    .to_string()
                    .replace(' ', "");
                let mut arguments = tokio.arguments.clone();
                if !arguments.is_empty() && !types_end_with_comma(&arguments) {
                    arguments.extend(quote!(,));
                }
                quote_spanned!(tokio.span=> #[#krate::__private::tokio::main(#arguments crate = #path)])
            }
        };
        let call = self.call(quote!(#(#names),*));
        let entered = quote! {
            #runtime
            async fn __crossmist_entered #impl_generics (
                arguments: #krate::__private::Arguments<'_>,
            ) -> ::core::result::Result<#output, #krate::DecodeError>
            #where_clause
            {
                let (#(#names,)*) =
                    #krate::__private::decode::<#object #ty_generics>(arguments)?;
                let output: #output = #call.await;
                ::core::result::Result::Ok(output)
            }
        };
        (entered, quote!(__crossmist_entered #turbofish (arguments)))
    }

    /// `run`, `spawn` and `builder`, with the names and the types that the user gave.
    fn methods(&self) -> TokenStream {
        let Parts {
            object,
            krate,
            vis,
            names,
            types,
            output,
            ..
        } = self;
        let (impl_generics, ty_generics, where_clause) = self.generics.split_for_impl();
        let arguments = self.arguments_type();
        let run = self.docs("Runs", "in a child process and waits for its result.");
        let spawn = self.docs("Starts", "in a child process.");
        let builder = self.docs("Sets up a call of", "in a child process.");
        let errors = errors_section(krate);
        let span = spans::generated(&self.function.name).span();
        quote_spanned! {span=>
            #[allow(dead_code, clippy::too_many_arguments)]
            impl #impl_generics #object #ty_generics #where_clause {
                #run
                #errors
                #vis fn run(
                    self,
                    #(#names: #types),*
                ) -> ::core::result::Result<#output, #krate::Error> {
                    #krate::__private::run::<Self>(self, (#(#names,)*))
                }

                #spawn
                #errors
                #vis fn spawn(
                    self,
                    #(#names: #types),*
                ) -> ::core::result::Result<#krate::Child<#output>, #krate::Error> {
                    #krate::__private::spawn::<Self>(self, (#(#names,)*))
                }

                #builder
                #[must_use]
                #vis fn builder(self) -> #krate::Builder<Self, #arguments> {
                    #krate::__private::builder::<Self>(self)
                }
            }
        }
    }

    /// The same for tokio, where our crate was built with it.
    fn tokio_methods(&self) -> TokenStream {
        let Parts {
            object,
            krate,
            vis,
            names,
            types,
            output,
            ..
        } = self;
        let (impl_generics, ty_generics, where_clause) = self.generics.split_for_impl();
        let run = self.docs(
            "Runs",
            "in a child process and waits for its result, under tokio.",
        );
        let spawn = self.docs("Starts", "in a child process, under tokio.");
        let errors = errors_section(krate);
        let span = spans::generated(&self.function.name).span();
        quote_spanned! {span=>
            #krate::__private::if_tokio! {
                #[allow(dead_code, clippy::too_many_arguments)]
                impl #impl_generics #object #ty_generics #where_clause {
                    #run
                    #errors
                    #vis async fn run_tokio(
                        self,
                        #(#names: #types),*
                    ) -> ::core::result::Result<#output, #krate::Error> {
                        #krate::__private::run_tokio::<Self>(self, (#(#names,)*)).await
                    }

                    #spawn
                    #errors
                    #vis async fn spawn_tokio(
                        self,
                        #(#names: #types),*
                    ) -> ::core::result::Result<#krate::tokio::Child<#output>, #krate::Error> {
                        #krate::__private::spawn_tokio::<Self>(self, (#(#names,)*)).await
                    }
                }
            }
        }
    }

    /// `add(5, 7)` in this process: a callee is dereferenced until it is something to call.
    fn direct_call(&self) -> TokenStream {
        let Parts {
            object,
            krate,
            names,
            types,
            output,
            direct,
            ..
        } = self;
        let (impl_generics, ty_generics, where_clause) = self.generics.split_for_impl();
        let turbofish = ty_generics.as_turbofish();
        let pointer = quote!(fn(#(#types),*) -> #direct);
        let body = body_name();
        let (boxed, callee) = match &self.function.runtime {
            None => (TokenStream::new(), quote!(#body #turbofish)),
            Some(_) => {
                let call = self.call(quote!(#(#names),*));
                let boxed = quote! {
                    fn __crossmist_boxed #impl_generics (#(#names: #types),*) -> #direct
                    #where_clause
                    {
                        #krate::__private::Box::pin(async move {
                            let output: #output = #call.await;
                            output
                        })
                    }
                };
                (boxed, quote!(__crossmist_boxed #turbofish))
            }
        };
        quote! {
            #boxed

            #[automatically_derived]
            impl #impl_generics ::core::ops::Deref for #object #ty_generics #where_clause {
                type Target = #pointer;

                fn deref(&self) -> &Self::Target {
                    &(#callee as #pointer)
                }
            }
        }
    }

    fn call(&self, arguments: TokenStream) -> TokenStream {
        let (_, ty_generics, _) = self.generics.split_for_impl();
        let turbofish = ty_generics.as_turbofish();
        let body = body_name();
        quote!(#body #turbofish (#arguments))
    }

    fn arguments_type(&self) -> TokenStream {
        let types = &self.types;
        let tuple = quote!(#(#types,)*);
        let mut group = proc_macro2::Group::new(proc_macro2::Delimiter::Parenthesis, tuple);
        // Where an argument can't be sent, the compiler points at the tuple.
        group.set_span(self.function.sig.paren_token.span.join());
        quote!(#group)
    }

    /// Documentation of a method: what it does, then what the user says of the function.
    fn docs(&self, verb: &str, rest: &str) -> TokenStream {
        let first = format!("{verb} `{}` {rest}", self.function.name.unraw());
        let docs: &[Attribute] = &self.function.attrs.docs;
        if docs.is_empty() {
            return quote!(#[doc = #first]);
        }
        quote!(#[doc = #first] #[doc = ""] #(#docs)*)
    }
}

fn body_name() -> Ident {
    Ident::new("__crossmist_body", Span::call_site())
}

fn errors_section(krate: &Path) -> TokenStream {
    let text = format!(
        "An [`Error`]({}::Error) where the child can't be started or ends without a result.",
        quote!(#krate).to_string().replace(' ', ""),
    );
    quote!(#[doc = ""] #[doc = "# Errors"] #[doc = ""] #[doc = #text])
}

fn types_end_with_comma(tokens: &TokenStream) -> bool {
    matches!(
        tokens.clone().into_iter().last(),
        Some(proc_macro2::TokenTree::Punct(punct)) if punct.as_char() == ','
    )
}
