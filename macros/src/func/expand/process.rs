//! The function in a child process: the methods that start it, and its entry.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Ident};

use super::super::args::Starter;
use super::super::check::{Output, Runtime};
use super::super::sandbox::Sandbox;
use super::Parts;
use crate::spans;

impl Parts<'_> {
    pub(super) fn func_impl(&self) -> TokenStream {
        let Parts {
            this,
            krate,
            names,
            output,
            ..
        } = self;
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        let arguments = self.arguments_type();
        let path = self.path();
        let (entered, enter) = match &self.function.runtime {
            None => {
                let call = self.call(quote!(#(#names),*));
                let returned = match self.function.output {
                    // The call does not return, so it has every type.
                    Output::Never => call,
                    _ => quote!(::core::result::Result::Ok(#call)),
                };
                let enter = quote! {
                    let (#(#names,)*) = #krate::__private::decode::<Self>(__crossmist_arguments)?;
                    #returned
                };
                (TokenStream::new(), enter)
            }
            Some(runtime) => self.enter_async(runtime),
        };
        let sandbox = match &self.function.sandbox {
            None => TokenStream::new(),
            Some(Sandbox::Dynamic) => quote!(
                const DYNAMIC: bool = true;
            ),
            Some(Sandbox::Policy(_)) => quote! {
                fn sandbox() -> ::core::option::Option<&'static #krate::__private::Sandbox> {
                    ::core::option::Option::Some(&__CROSSMIST_SANDBOX)
                }
            },
        };
        let preload = self.function.preload.as_ref().map(|path| {
            let name = quote!(#path).to_string().replace(' ', "");
            // Errors about the function are on its name.
            quote_spanned! {path.span()=>
                fn preload() -> ::core::option::Option<#krate::__private::PreloadReference> {
                    const RECORD: &#krate::__private::Preload =
                        &#krate::__private::Preload::new(#krate::__private::PreloadPoint {
                            name: #name,
                            run: || #krate::__private::Prepared::result(#path()),
                        });
                    ::core::option::Option::Some(#krate::__private::PreloadReference {
                        function: (#path as fn() -> _) as ::core::primitive::usize,
                        record: RECORD.reference(),
                    })
                }
            }
        });
        let bulk = self.function.bulk.then(|| {
            quote!(
                const BULK: bool = true;
            )
        });
        quote! {
            #[automatically_derived]
            impl #impl_generics #krate::__private::Func for #this #where_clause {
                type Args = #arguments;
                type Output = #output;
                const NAME: &'static ::core::primitive::str = #path;
                #sandbox
                #preload
                #bulk

                fn enter(
                    __crossmist_arguments: #krate::__private::Arguments<'_>,
                ) -> ::core::result::Result<#output, #krate::DecodeError> {
                    #enter
                }
            }

            #entered
        }
    }

    /// The entry of an `async fn`. Its arguments are decoded within the runtime, because they may
    /// need it.
    fn enter_async(&self, runtime: &Runtime) -> (TokenStream, TokenStream) {
        let Parts {
            this,
            krate,
            names,
            output,
            ..
        } = self;
        let (impl_generics, ty_generics, where_clause) = self.generics.split_for_impl();
        let turbofish = ty_generics.as_turbofish();
        let call = self.call(quote!(#(#names),*));
        let body = quote! {
            let (#(#names,)*) = #krate::__private::decode::<#this>(__crossmist_arguments)?;
            ::core::result::Result::Ok(#call.await)
        };
        let (start, is_async, body) = match runtime {
            Runtime::Below(attr) => (quote!(#attr), quote!(async), body),
            Runtime::Ours(Starter::Tokio { span, arguments }) => {
                let mut arguments = arguments.clone();
                if !arguments.is_empty() && !ends_with_comma(&arguments) {
                    arguments.extend(quote!(,));
                }
                let start = quote_spanned! {*span=>
                    use #krate::__private::tokio as __crossmist_tokio;
                    #[__crossmist_tokio::main(#arguments crate = "__crossmist_tokio")]
                };
                (start, quote!(async), body)
            }
            Runtime::Ours(Starter::Smol { span }) => {
                let block_on = quote_spanned!(*span=> #krate::__private::block_on_smol);
                let body = quote!(#block_on(async move { #body }));
                (quote!(), quote!(), body)
            }
        };
        let entered = quote! {
            #start
            #is_async fn __crossmist_entered #impl_generics (
                __crossmist_arguments: #krate::__private::Arguments<'_>,
            ) -> ::core::result::Result<#output, #krate::DecodeError>
            #where_clause
            {
                #body
            }
        };
        (
            entered,
            quote!(__crossmist_entered #turbofish (__crossmist_arguments)),
        )
    }

    /// `run`, `spawn` and `builder`, with the names and the types that the user gave.
    pub(super) fn methods(&self) -> TokenStream {
        let Parts {
            this,
            krate,
            vis,
            names,
            types,
            output,
            ..
        } = self;
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        let arguments = self.arguments_type();
        let run = self.docs("Runs", "in a child process and waits for its result.");
        let spawn = self.docs("Starts", "in a child process.");
        let builder = self.docs("Sets up a call of", "in a child process.");
        let errors = errors_section();
        let span = spans::generated(&self.function.name).span();
        let spares = self.function.spares_item(krate, &arguments, output);
        let run_call = match &spares {
            None => quote!(#krate::__private::run::<Self>(self, (#(#names,)*))),
            Some(_) => quote!(__CROSSMIST_SPARES.run::<Self>(self, (#(#names,)*))),
        };
        quote_spanned! {span=>
            #spares

            #[allow(clippy::too_many_arguments)]
            impl #impl_generics #this #where_clause {
                #run
                #errors
                #vis fn run(
                    self,
                    #(#names: #types),*
                ) -> ::core::result::Result<#output, #krate::Error> {
                    #run_call
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

    /// The only method of a function whose calls choose their policies.
    pub(super) fn dynamic_methods(&self) -> TokenStream {
        let Parts {
            this, krate, vis, ..
        } = self;
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        let arguments = self.arguments_type();
        let sandbox = self.docs("Sets up a call of", "in a process that a policy confines.");
        let span = spans::generated(&self.function.name).span();
        quote_spanned! {span=>
            impl #impl_generics #this #where_clause {
                #sandbox
                #[must_use]
                #vis fn sandbox(
                    self,
                    policy: &#krate::SandboxPolicy,
                ) -> #krate::Builder<Self, #arguments> {
                    #krate::__private::sandbox::<Self>(self, policy)
                }
            }
        }
    }

    /// The same for each asynchronous runtime that the library was built with.
    pub(super) fn runtime_methods(&self) -> TokenStream {
        let tokio = self.methods_under("tokio");
        let smol = self.methods_under("smol");
        quote!(#tokio #smol)
    }

    fn methods_under(&self, runtime: &str) -> TokenStream {
        let Parts {
            this,
            krate,
            vis,
            names,
            types,
            output,
            ..
        } = self;
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        let run_docs = format!("in a child process and waits for its result, under {runtime}.");
        let run_docs = self.docs("Runs", &run_docs);
        let spawn_docs = self.docs("Starts", &format!("in a child process, under {runtime}."));
        let errors = errors_section();
        let span = spans::generated(&self.function.name).span();
        let [if_built, module, run, spawn] = ["if_", "", "run_", "spawn_"]
            .map(|prefix| Ident::new(&format!("{prefix}{runtime}"), span));
        let run_call = match &self.function.spares {
            None => quote!(#krate::__private::#run::<Self>(self, (#(#names,)*)).await),
            Some(_) => quote!(__CROSSMIST_SPARES.#run::<Self>(self, (#(#names,)*)).await),
        };
        quote_spanned! {span=>
            #krate::__private::#if_built! {
                #[allow(clippy::too_many_arguments, clippy::future_not_send)]
                impl #impl_generics #this #where_clause {
                    #run_docs
                    #errors
                    #vis async fn #run(
                        self,
                        #(#names: #types),*
                    ) -> ::core::result::Result<#output, #krate::Error> {
                        #run_call
                    }

                    #spawn_docs
                    #errors
                    #vis async fn #spawn(
                        self,
                        #(#names: #types),*
                    ) -> ::core::result::Result<#krate::#module::Child<#output>, #krate::Error> {
                        #krate::__private::#spawn::<Self>(self, (#(#names,)*)).await
                    }
                }
            }
        }
    }

    /// The documentation of a method: what it does, then what the user wrote about the function.
    pub(super) fn docs(&self, verb: &str, rest: &str) -> TokenStream {
        let first = format!("{verb} `{}` {rest}", self.function.name.unraw());
        let docs: &[Attribute] = &self.function.attrs.docs;
        if docs.is_empty() {
            return quote!(#[doc = #first]);
        }
        quote!(#[doc = #first] #[doc = ""] #(#docs)*)
    }

    fn arguments_type(&self) -> TokenStream {
        let types = &self.types;
        let tuple = quote!(#(#types,)*);
        let mut group = Group::new(Delimiter::Parenthesis, tuple);
        // If an argument cannot be sent, the compiler points at the tuple.
        group.set_span(self.function.sig.paren_token.span.join());
        quote!(#group)
    }
}

fn errors_section() -> TokenStream {
    quote! {
        #[doc = ""]
        #[doc = "# Errors"]
        #[doc = ""]
        #[doc = "An error if the child cannot be started, or ends without a result."]
    }
}

fn ends_with_comma(tokens: &TokenStream) -> bool {
    matches!(
        tokens.clone().into_iter().last(),
        Some(TokenTree::Punct(punct)) if punct.as_char() == ','
    )
}
